"""Figures that follow from a plan: times, batches, tokens. Computed, never typed twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline import curriculum, recipe, space, timeline, validate
from pipeline.job import Job
from pipeline.plan import Plan
from pipeline.study import Loaded
from pipeline.timeline import Order, Span
from pipeline.yamlio import flatten


def figures(plan: Plan, gpus: Sequence[int] = (), order: Order = "plan") -> dict[str, str]:
    """Name -> text, in the order a reader wants them."""
    jobs, found = plan.jobs, dict[str, str]()
    found["one after the other"] = f"{span(timeline.total(jobs))} h"
    after = timeline.stage_after_stage(jobs)
    found["stage after stage, GPU jobs one at a time"] = f"{span(after)} h"
    found["all side by side (critical path)"] = f"{span(timeline.critical_path(jobs))} h"
    found |= _side_by_side(jobs, gpus, order)
    trainings = [job for job in jobs if job.kind == "train"]
    if trainings:
        before = _ancestors(jobs, trainings)
        found["before training"] = (
            f"{span(timeline.total(before))} h one after the other, "
            f"{span(timeline.critical_path(before))} h side by side"
        )
        found["training"] = f"{span(timeline.total(trainings))} h one after the other"
        found.update(training(trainings[0]))
    found.update(chains(jobs))
    return found


def _side_by_side(jobs: Sequence[Job], gpus: Sequence[int], order: Order) -> dict[str, str]:
    """Hours with so many GPUs, and what the other order would change."""
    if not any(job.hours[1] for job in jobs):
        return {}
    on = timeline.makespans(jobs, gpus, order)
    found = {"as many at once as GPUs allow": _on(on)} if on else {}
    if order == "plan":
        longest = timeline.makespans(jobs, gpus, "longest")
        better = {n: hours for n, hours in longest.items() if sum(hours) < sum(on[n])}
        if better:
            found["longest first (--order longest)"] = _on(better)
    return found


def _on(makespans: dict[int, Span]) -> str:
    return ", ".join(f"{span(hours)} h on {gpus}" for gpus, hours in makespans.items())


def chains(jobs: Sequence[Job]) -> dict[str, str]:
    """Of each stage that is a chain, what its links hold."""
    found = {}
    for job in jobs:
        if job.chain:
            total, link = (
                validate.format_walltime(s) for s in (job.chain.total_s, job.resources.walltime_s)
            )
            found[f"chain of {job.stage}"] = (
                f"{total} in at most {job.chain.links} links of {link}, each told to write a "
                f"checkpoint {job.chain.notice_s} s before its end"
            )
    return found


def _ancestors(jobs: Sequence[Job], of: Sequence[Job]) -> list[Job]:
    """The jobs that any of `of` waits for, directly or not, in the plan's order."""
    needed = {u.job for job in of for u in job.upstream}
    for job in reversed(jobs):
        if job.name in needed:
            needed |= {u.job for u in job.upstream}
    return [job for job in jobs if job.name in needed]


def training(job: Job) -> dict[str, str]:
    """Batch, tokens and checkpoints of a training job.

    tokens a step = global batch x sequence length; accumulation = global / (micro x GPUs), which
    a training in stages has one of in each.
    """
    p = job.config["parameters"]
    batch, train, model = p["batch"], p["train"], p["model"]
    ranks = max(1, job.resources.gpus * job.resources.nodes)
    parts = curriculum.spans(p)
    sizes = sorted(samples * length for _, samples, length in parts)
    total = sum(steps * samples * length for steps, samples, length in parts)
    logits = batch["micro"] * model["seq_length"] * model["vocab_size"]
    found = {}
    if len(parts) == 1:
        found["gradient accumulation"] = (
            f"{batch['global'] // (batch['micro'] * ranks)} "
            f"= {batch['global']} / ({batch['micro']} x {ranks})"
        )
    found |= {
        "tokens a step": f"{sizes[0]:,}" + (f"-{sizes[-1]:,}" if sizes[0] < sizes[-1] else ""),
        "tokens in all": f"{total:,} an arm"
        + (", others than the reference by their tokens" if train.get("budget") == "text" else ""),
        "checkpoints": f"{train['max_steps'] // train['checkpoint_every']}, "
        f"validations {curriculum.validations(p)}, "
        f"log points {train['max_steps'] // train['log_every']}",
        "fp32 logits": f"{logits * 4 / 1e9:.2f} GB a GPU",
    }
    if disk := sum(space.checkpoints(job).values()):
        kept = train.get("keep_checkpoints", recipe.DEFAULT_KEPT) + 1
        found["disk of a training"] = f"{disk / 1e9:.3g} GB while it holds {kept} checkpoints"
    if job.hours[0]:
        low, high = (total / 3600 / h for h in (job.hours[1], job.hours[0]))
        found["speed that the hours ask for"] = f"{low:,.0f}-{high:,.0f} tokens/s over {ranks} GPUs"
    return found


def differing(study: Loaded) -> list[str]:
    """The parameters in which the arms differ, by their keys, before names are filled in."""
    flat = [flatten(study.parameters(arm)) for arm in study.arms]
    keys = dict.fromkeys(key for one in flat for key in one)
    return [key for key in keys if not _same([one.get(key) for one in flat])]


def _same(values: Sequence[Any]) -> bool:
    return all(value == values[0] for value in values)


def span(hours: Span) -> str:
    """`2-3`, or `2` where both ends are the same."""
    low, high = (f"{round(h, 2):g}" for h in hours)
    return low if low == high else f"{low}-{high}"
