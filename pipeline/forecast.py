"""What a plan's trainings will take: memory of a GPU, hours, checkpoints. Pure, from the config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from pipeline import estimate, memory
from pipeline.curriculum import largest_micro
from pipeline.job import Job
from pipeline.memory import Bytes, Setup
from pipeline.plan import Plan
from pipeline.shapes import Shape, at, count, shape_of, trained
from pipeline.site import Gpu

# Dense peak in 1e12 operations a second, in 16 bits and in fp32, from the makers' data sheets. A
# GPU is the first one all of whose words are in its name.
PEAKS = {
    "h200": (989.0, 67.0),
    "h100 pcie": (756.0, 51.0),
    "h100 nvl": (835.0, 60.0),
    "h100": (989.0, 67.0),
    "a100": (312.0, 19.5),
    "l40s": (362.0, 91.6),
    "l4": (121.0, 30.3),
    "a10": (125.0, 31.2),
    "v100": (125.0, 15.7),
    "t4": (65.0, 8.1),
}
# Share of that peak which a training of a small model reaches: assumed, by back end. A run's own
# rows tell its share.
UTILISATION = {"nemo": (0.30, 0.50), "hf": (0.15, 0.40)}
RECOMPUTED = 4 / 3  # time with activation checkpointing: the forward pass twice
# Studies call the same thing differently; the first key that is there counts.
MICRO = ("batch.micro", "batch.train")
LENGTH = ("model.seq_length", "batch.seq_length", "dataset.max_length")
ACCUMULATION = ("batch.accumulation", "train.accumulation")
PRECISION = ("train.precision", "memory.precision", "precision.mode")
CHECKPOINTING = (
    "train.activation_checkpointing", "memory.gradient_checkpointing",
    "precision.gradient_checkpointing",
)  # fmt: skip


class Forecast(msgspec.Struct, frozen=True):
    """A training's needs. Sizes are in bytes, each with its low and its high end."""

    job: str
    parameters: int
    gpus: int  # all of them, over its nodes; 0 for a CPU
    sequences: int  # a micro-batch, where it takes the most memory
    length: int  # tokens of each
    accumulation: int
    memory: dict[str, Bytes]  # the parts, and their `total`
    of: int | None  # bytes of a GPU, or what a job without any asked for; None: unknown
    fits: Literal["yes", "tight", "no", "unknown"]
    sharded: bool  # more GPUs hold less each
    remedies: dict[str, Bytes]  # where it may not fit: `key=value` -> the total with it
    flops_a_token: float
    tokens: int | None  # in all
    hours: tuple[float, float] | None  # None: the GPU's speed or the number of steps is unknown
    utilisation: tuple[float, float]  # that those hours assume
    claimed: tuple[float, float]  # the study's own hours
    claim_needs: tuple[float, float] | None  # the share of the peak that the study's hours ask for
    checkpoints: int | None  # bytes on disk

    @property
    def warning(self) -> str:
        """What is wrong with its memory and what helps; empty where it fits or nothing is known."""
        if self.of is None or self.fits in ("yes", "unknown"):
            return ""
        verb = "needs" if self.fits == "no" else "may need"
        text = f"{verb} {span(self.memory['total'])} of {self.of / memory.GIB:.0f} GiB"
        helps = [f"{way} ({span(z)})" for way, z in self.remedies.items() if z.low <= self.of]
        if helps:
            return f"{text}: {', or '.join(helps)}"
        tried = [f". Even {way} leaves {span(size)}" for way, size in self.remedies.items()]
        return f"{text}{''.join(tried)}. Use a larger GPU{', or more' if self.sharded else ''}"


def span(size: Bytes) -> str:
    """`19.6-30.2 GiB`."""
    low, high = (f"{end / memory.GIB:.1f}" for end in size)
    return f"{low} GiB" if low == high else f"{low}-{high} GiB"


def forecasts(plan: Plan) -> list[Forecast]:
    """Of every training whose model is known."""
    found = []
    for job in plan.jobs:
        reads = plan.study.stages[job.stage].reads
        if job.kind == "train" or (job.kind == "command" and "optimizer" in reads):
            one = forecast(job, plan.site.gpu)
            found += [one] if one else []
    return found


def forecast(job: Job, gpu: Gpu | None) -> Forecast | None:
    """A training's needs; None where its model or its batch is unknown."""
    p = job.config["parameters"]
    phases = _phases(job)
    if not phases:
        return None
    predicted = [(memory.predict(setup), setup) for setup, _ in phases]
    parts, largest = max(predicted, key=lambda one: one[0]["total"].high)
    limit = job.resources.mem_bytes if largest.device == "cpu" else gpu.bytes if gpu else None
    fits = _fits(parts["total"], limit)
    tokens = sum(setup.tokens * setup.ranks * setup.accumulation * n for setup, n in phases)
    share = UTILISATION["nemo" if largest.nemo else "hf"]
    least = _least_hours(phases, gpu) if tokens else None
    claim = job.hours if least and job.hours[0] > 0 else None
    return Forecast(
        job=job.name,
        parameters=largest.shape.parameters,
        gpus=job.resources.gpus * job.resources.nodes,
        sequences=largest.micro,
        length=largest.length,
        accumulation=largest.accumulation,
        memory=parts,
        of=limit,
        fits=fits,
        sharded=largest.form in ("fsdp", "distributed"),
        remedies=_remedies(p, largest, limit) if limit and fits in ("no", "tight") else {},
        flops_a_token=largest.shape.flops(largest.length, largest.trainable),
        tokens=tokens or None,
        hours=(least / share[1], least / share[0]) if least else None,
        utilisation=share,
        claimed=job.hours,
        claim_needs=(least / claim[1], least / claim[0]) if least and claim else None,
        checkpoints=estimate.written(job, None) if job.kind == "train" else None,
    )


def _phases(job: Job) -> list[tuple[Setup, int]]:
    """A training's batches, each with its number of steps (0 where nobody says)."""
    p = job.config["parameters"]
    shape, micro, length = shape_of(p), _first(p, MICRO), _first(p, LENGTH)
    steps = count(p, "train.max_steps") or 0
    if shape is None:
        return []
    if curriculum := at(p, "curriculum_stages", list):
        return _curriculum(p, job, shape, curriculum, steps)
    if not (micro and length):
        return []
    return [(_setup(p, job, shape, (micro, length)), steps)]


def _curriculum(
    p: Mapping[str, Any], job: Job, shape: Shape, stages: list[Any], steps: int
) -> list[tuple[Setup, int]]:
    rows = [row for row in stages if isinstance(row, Mapping)]
    starts = [min(at(row, "step", int) or 0, steps) for row in rows] + [steps]
    base, longest = _first(p, MICRO), _first(p, LENGTH)
    ranks = max(1, job.resources.gpus * job.resources.nodes)
    found = []
    for row, start, end in zip(rows, starts, starts[1:], strict=False):
        batch = count(row, "batch_size") or count(p, "batch.global")
        length = count(row, "seq_len") or longest
        if batch and length and end > start:
            share = max(batch // ranks, 1)
            micro = largest_micro(share, length, base, longest) if base and longest else share
            setup = _setup(p, job, shape, (micro, length))
            setup = msgspec.structs.replace(setup, accumulation=share // micro)
            found.append((setup, end - start))
    return found


def _setup(p: Mapping[str, Any], job: Job, shape: Shape, batch: tuple[int, int]) -> Setup:
    micro, length = batch
    ranks = max(1, job.resources.gpus * job.resources.nodes)
    device: Literal["gpu", "cpu"] = "gpu" if job.resources.gpus else "cpu"
    nemo = at(p, "train.backend", str) == "nemo"
    whole = count(p, "batch.global")
    precision = next(filter(None, (at(p, key, str) for key in PRECISION)), "auto")
    plain = at(p, "train.loss", str) == "plain"
    return Setup(
        shape=shape,
        length=length,
        micro=micro,
        ranks=ranks,
        accumulation=_first(p, ACCUMULATION) or max((whole or 1) // (micro * ranks), 1),
        form="distributed" if nemo else _form(p, ranks),
        sync="last" if at(p, "train.gradient_sync", str) == "last" else "each",
        # `auto` is 16 bits on every GPU that is listed, and fp32 on a CPU.
        precision="fp32" if precision == "fp32" or device == "cpu" else "mixed",
        loss="megatron" if nemo else "plain" if plain else "chunked",
        checkpointing=any(at(p, key, bool) for key in CHECKPOINTING),
        compiled=bool(at(p, "train.compile", bool)),
        trainable=trained(p, shape),
        device=device,
    )


def _form(p: Mapping[str, Any], ranks: int) -> Literal["one", "ddp", "fsdp"]:
    """How training/hf spreads a model: `auto` is FSDP2 over several processes."""
    if ranks == 1:
        return "one"
    return "ddp" if at(p, "train.parallel", str) == "ddp" else "fsdp"


def _first(p: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    return next(filter(None, (count(p, key) for key in keys)), None)


def _fits(total: Bytes, limit: int | None) -> Literal["yes", "tight", "no", "unknown"]:
    if limit is None:
        return "unknown"
    return "no" if total.low > limit else "tight" if total.high > limit else "yes"


def _remedies(p: Mapping[str, Any], setup: Setup, limit: int) -> dict[str, Bytes]:
    """Changes after which it fits, each alone; if none does, all of them that save anything."""
    change = msgspec.structs.replace
    micro = next((key for key in MICRO if count(p, key)), "")
    point = next((key for key in CHECKPOINTING if at(p, key, bool) is not None), CHECKPOINTING[0])
    ways: dict[str, dict[str, Any]] = {}
    if setup.micro > 1 and micro:
        ways[f"{micro}=1"] = {"micro": 1, "accumulation": setup.accumulation * setup.micro}
    if setup.loss == "plain":
        ways["train.loss=chunked"] = {"loss": "chunked"}
    if setup.form == "ddp":
        ways["train.parallel=fsdp2"] = {"form": "fsdp"}
    if setup.form == "fsdp" and setup.sync == "last" and setup.accumulation > 1:
        ways["train.gradient_sync=each"] = {"sync": "each"}
    # Recomputation is not offered with NeMo, whose 2.5.3 fails with it.
    if not setup.checkpointing and not setup.nemo:
        ways[f"{point}=true"] = {"checkpointing": True}
    totals = {way: memory.predict(change(setup, **to))["total"] for way, to in ways.items()}
    least = memory.predict(setup)["total"].low
    if fitting := {way: size for way, size in totals.items() if size.high <= limit}:
        return fitting
    useful = [way for way, size in totals.items() if size.low < least]
    together: dict[str, Any] = {k: v for way in useful for k, v in ways[way].items()}
    if not useful:
        return {}
    return {" with ".join(useful): memory.predict(change(setup, **together))["total"]}


def _least_hours(phases: list[tuple[Setup, int]], gpu: Gpu | None) -> float | None:
    """Hours at the GPU's peak; None where it is not known."""
    speeds = peak(gpu.name) if gpu else None
    if speeds is None or phases[0][0].device == "cpu":
        return None
    seconds = 0.0
    for setup, steps in phases:
        speed = speeds[0 if setup.precision == "mixed" else 1] * 1e12
        work = setup.shape.flops(setup.length, setup.trainable) * setup.tokens
        again = RECOMPUTED if setup.checkpointing else 1.0
        seconds += again * work * setup.accumulation * steps / speed
    return seconds / 3600


def peak(name: str) -> tuple[float, float] | None:
    """1e12 operations a second of a GPU by its name, in 16 bits and in fp32."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    return next((found for key, found in PEAKS.items() if words >= set(key.split())), None)
