"""Figures that follow from a plan: times, batches, tokens. Computed, never typed twice."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import curriculum, validate
from pipeline.job import Job, seen
from pipeline.plan import Plan
from pipeline.shapes import count, shape_of
from pipeline.study import Loaded
from pipeline.yamlio import flatten


def figures(plan: Plan) -> dict[str, str]:
    """Name -> text, in the order a reader wants them."""
    found: dict[str, str] = {}
    found["one after the other"] = f"{_span(total(plan.jobs))} h"
    found["stage after stage, GPU jobs one at a time"] = f"{_span(stage_after_stage(plan.jobs))} h"
    found["all side by side (critical path)"] = f"{_span(critical_path(plan.jobs))} h"
    if (on := makespans(plan.jobs)) and any(job.hours[1] for job in plan.jobs):
        times = ", ".join(f"{_span(hours)} h on {gpus}" for gpus, hours in on.items())
        found["as many at once as GPUs allow"] = times
    trainings = [job for job in plan.jobs if job.kind == "train"]
    if trainings:
        before = _ancestors(plan.jobs, trainings)
        found["before training"] = (
            f"{_span(total(before))} h one after the other, "
            f"{_span(critical_path(before))} h side by side"
        )
        found["training"] = f"{_span(total(trainings))} h one after the other"
        found.update(training(trainings[0]))
    found.update(chains(plan.jobs))
    return found


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


def stage_after_stage(jobs: Sequence[Job]) -> tuple[float, float]:
    """Hours (least, most) when a stage starts after the one before it: jobs with GPUs share one
    set of them and follow each other, others run side by side."""
    low = high = 0.0
    for stage in dict.fromkeys(job.stage for job in jobs):
        own = [job for job in jobs if job.stage == stage]
        gather = sum if own[0].resources.gpus else max
        low += gather(job.hours[0] for job in own)
        high += gather(job.hours[1] for job in own)
    return low, high


def critical_path(jobs: Sequence[Job]) -> tuple[float, float]:
    """Hours (least, most) of the longest chain of dependent jobs."""
    ends: dict[str, tuple[float, float]] = {}
    for job in jobs:
        before = [ends.get(u.job, (0.0, 0.0)) for u in job.upstream]
        low = max((b[0] for b in before), default=0.0) + job.hours[0]
        high = max((b[1] for b in before), default=0.0) + job.hours[1]
        ends[job.name] = (low, high)
    return (
        max((end[0] for end in ends.values()), default=0.0),
        max((end[1] for end in ends.values()), default=0.0),
    )


def makespans(jobs: Sequence[Job]) -> dict[int, tuple[float, float]]:
    """GPUs -> hours (least, most) with so many: those of the largest job, twice and four times as
    many. Empty where no job has a GPU."""
    most = max((_gpus(job) for job in jobs), default=0)
    return {
        most * times: (_makespan(jobs, most * times, 0), _makespan(jobs, most * times, 1))
        for times in (1, 2, 4)
        if most
    }


def _makespan(jobs: Sequence[Job], gpus: int, end: int) -> float:
    """Hours until the last job ends, where each starts as soon as those it needs have ended and
    GPUs are free, in the plan's order; jobs without GPUs wait for no one else. An array counts as
    one job."""
    known = {job.name for job in jobs}
    missing = {job.name: {u.job for u in job.upstream} & known for job in jobs}
    after: dict[str, list[Job]] = {name: [] for name in known}
    for job in jobs:
        for name in missing[job.name]:
            after[name].append(job)
    place = {job.name: number for number, job in enumerate(jobs)}
    ready = [job for job in jobs if not missing[job.name]]
    running: list[tuple[float, int]] = []  # when a job ends, and which
    now = 0.0
    while ready or running:
        for job in sorted(ready, key=lambda job: place[job.name]):
            if _gpus(job) <= gpus:
                gpus -= _gpus(job)
                heapq.heappush(running, (now + job.hours[end], place[job.name]))
                ready.remove(job)
        now, number = heapq.heappop(running)
        gpus += _gpus(jobs[number])
        for job in after[jobs[number].name]:
            missing[job.name].discard(jobs[number].name)
            if not missing[job.name]:
                ready.append(job)
    return round(now, 2)


def _gpus(job: Job) -> int:
    return job.resources.gpus * job.resources.nodes


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
    if disk := written(job, None):
        kept = train.get("keep_checkpoints", 3) + 1
        found["disk of a training"] = f"{disk / 1e9:.3g} GB while it holds {kept} checkpoints"
    if job.hours[0]:
        low, high = (total / 3600 / h for h in (job.hours[1], job.hours[0]))
        found["speed that the hours ask for"] = f"{low:,.0f}-{high:,.0f} tokens/s over {ranks} GPUs"
    return found


# Bytes of text a token, the fewest that a vocabulary of some thousand entries gives.
TEXT_BYTES_A_TOKEN = 3.5
GROWTH = {"vanilla": 1.0, "stochastok": 1.1, "patok": 1.5}  # tokens, against vanilla
# A parameter in a checkpoint: fp32 weights and Adam's two moments; NeMo keeps bf16 weights besides.
CHECKPOINT_BYTES = {"hf": 12, "nemo": 14}
EXPORT_BYTES = 4


def corpora(job: Job) -> list[str]:
    """The files whose size tells a job's: the corpus, or where it is taken from on this host."""
    corpus = job.config["parameters"].get("corpus")
    if not isinstance(corpus, dict) or job.kind not in ("download", "split", "preprocess", "merge"):
        return []
    source = str(corpus["source"])
    return [str(corpus["file"]), *([] if "://" in source or "*" in source else [source])]


def written(job: Job, corpus_bytes: int | None) -> int | None:
    """Bytes that a job leaves on disk, within a fifth or so and rather too many; None where its
    input's size is not known yet."""
    p = job.config["parameters"]
    if job.kind in ("download", "split"):
        return corpus_bytes
    if job.kind in ("preprocess", "merge"):
        if corpus_bytes is None:
            return None
        width = 2 if p["tokenizer"]["vocab_size"] < 65500 else 4
        growth = GROWTH[p["variant"]["name"]]
        return round(corpus_bytes / TEXT_BYTES_A_TOKEN * growth * width)
    if job.kind not in ("train", "export"):
        return 0
    count = parameters(p["model"])
    if count is None:
        return None
    if job.kind == "export":
        return count * EXPORT_BYTES
    # One more than are kept: the oldest goes when the newest is whole.
    kept = p["train"].get("keep_checkpoints", 3) + 1
    base = count * EXPORT_BYTES if p["train"]["backend"] == "nemo" else 0
    return int(count * CHECKPOINT_BYTES[p["train"]["backend"]] * kept + base)


def parameters(model: Mapping[str, Any]) -> int | None:
    """How many a model has, by its section of the study; None where its shape is unknown."""
    shape = shape_of({"model": model})
    return shape.parameters if shape else None


def corpus_tokens(job: Job, root: Path) -> int | None:
    """Tokens that a training finds on disk, ends of documents with them; None before they are all
    there. Of a host, what is known of it here."""
    p = job.config["parameters"]
    if job.kind != "train":
        return count(p, "corpus.tokens")
    prefix = seen(job, root, str(p["train"]["data_path"]))
    merged = _tokens(prefix.with_name(prefix.name + ".json"))
    if merged is not None:
        return merged
    parts = [
        _tokens(prefix.with_name(f"{prefix.name}_{number:04d}.json"))
        for number in range(1, p["corpus"]["chunks"] + 1)
    ]
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _tokens(sidecar: Path) -> int | None:
    """Tokens by the record that preprocess and merge write last."""
    try:
        record = json.loads(sidecar.read_bytes())
    except (OSError, ValueError):
        return None  # not there yet, or not whole: training says so when it comes to it
    return count(record, "tokens_with_eod")


def differing(study: Loaded) -> list[str]:
    """The parameters in which the arms differ, by their keys, before names are filled in."""
    flat = [flatten(study.parameters(arm)) for arm in study.arms]
    keys = dict.fromkeys(key for one in flat for key in one)
    return [key for key in keys if not _same([one.get(key) for one in flat])]


def _same(values: Sequence[Any]) -> bool:
    return all(value == values[0] for value in values)


def total(jobs: Sequence[Job]) -> tuple[float, float]:
    """Hours (least, most) of jobs one after the other."""
    return (
        round(sum(job.hours[0] for job in jobs), 2), round(sum(job.hours[1] for job in jobs), 2)
    )  # fmt: skip


def _span(hours: tuple[float, float]) -> str:
    low, high = (f"{round(h, 2):g}" for h in hours)
    return low if low == high else f"{low}-{high}"
