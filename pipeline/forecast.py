"""What a plan's trainings will take: memory of a GPU, hours, checkpoints. Pure, from the config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from pipeline import memory, recipe, space
from pipeline.job import Job
from pipeline.memory import Bytes, Setup
from pipeline.plan import Plan
from pipeline.recipe import Phase
from pipeline.shapes import Shape, at, count, shape_of, trained
from pipeline.site import Gpu
from pipeline.synonyms import ACCUMULATION, CHECKPOINTING, MICRO, PRECISION

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
    "a10g": (70.0, 31.5),
    "a10": (125.0, 31.2),
    "v100": (125.0, 15.7),
    "t4": (65.0, 8.1),
}
# Share of that peak which a training of a small model reaches: assumed, by back end. A run's own
# rows tell its share.
UTILISATION = {"nemo": (0.30, 0.50), "hf": (0.15, 0.40)}
RECOMPUTED = 4 / 3  # time with activation checkpointing: the forward pass twice


class Forecast(msgspec.Struct, frozen=True):
    """A training's needs. Sizes are in bytes, each with its low and its high end."""

    job: str
    parameters: int
    trainable: int | None  # of adapters, where the model's own are frozen
    gpus: int  # all of them, over its nodes; 0 for a CPU
    sequences: int  # a micro-batch, where it takes the most memory
    length: int  # tokens of each
    target: int  # tokens that a decoder behind an encoder writes, besides
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
    found = [forecast(job, plan.site.gpu) for job in plan.jobs if job.trains]
    return [one for one in found if one]


def forecast(job: Job, gpu: Gpu | None) -> Forecast | None:
    """A training's needs; None where its model or its batch is unknown."""
    p = job.config["parameters"]
    shape, known = shape_of(p), recipe.recipe(job)
    if shape is None or known is None:
        return None
    phases = [(_setup(p, job, shape, phase), phase.steps) for phase in known.phases]
    predicted = [(memory.predict(setup), setup) for setup, _ in phases]
    parts, largest = max(predicted, key=lambda one: one[0]["total"].high)
    limit = job.resources.mem_bytes if largest.device == "cpu" else gpu.bytes if gpu else None
    fits = _fits(parts["total"], limit)
    share = UTILISATION["nemo" if largest.nemo else "hf"]
    least = _least_hours(phases, gpu) if known.steps else None
    claim = job.hours if least and job.hours[0] > 0 else None
    return Forecast(
        job=job.name,
        parameters=largest.shape.parameters,
        trainable=largest.trainable,
        gpus=known.gpus,
        sequences=largest.micro,
        length=largest.length,
        target=largest.target,
        accumulation=largest.accumulation,
        memory=parts,
        of=limit,
        fits=fits,
        sharded=largest.form in ("fsdp", "distributed"),
        remedies=_remedies(p, largest, limit) if limit and fits in ("no", "tight") else {},
        flops_a_token=largest.shape.flops(largest.length, largest.trainable, largest.target),
        tokens=known.tokens or None,
        hours=(least / share[1], least / share[0]) if least else None,
        utilisation=share,
        claimed=job.hours,
        claim_needs=(least / claim[1], least / claim[0]) if least and claim else None,
        checkpoints=sum(space.checkpoints(job).values()) or None,
    )


def _setup(p: Mapping[str, Any], job: Job, shape: Shape, phase: Phase) -> Setup:
    ranks = max(1, job.resources.gpus * job.resources.nodes)
    device: Literal["gpu", "cpu"] = "gpu" if job.resources.gpus else "cpu"
    nemo = at(p, "train.backend", str) == "nemo"
    precision = next(filter(None, (at(p, key, str) for key in PRECISION)), "auto")
    # Trainings over padded examples make all logits of a micro-batch at once.
    plain = at(p, "train.loss", str) == "plain" or job.kind == "command"
    return Setup(
        shape=shape,
        length=phase.length,
        target=phase.target if shape.of.encoder else 0,
        micro=phase.micro,
        ranks=ranks,
        accumulation=phase.accumulation,
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
        times = setup.accumulation * setup.micro
        same = next((f" with {name}={times}" for name in ACCUMULATION if count(p, name)), "")
        ways[f"{micro}=1{same}"] = {"micro": 1, "accumulation": times}
    if setup.loss == "plain" and at(p, "train.loss", str) is not None:
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
        work = setup.shape.flops(setup.length, setup.trainable, setup.target) * setup.tokens
        again = RECOMPUTED if setup.checkpointing else 1.0
        seconds += again * work * setup.accumulation * steps / speed
    return seconds / 3600


def peak(name: str) -> tuple[float, float] | None:
    """1e12 operations a second of a GPU by its name, in 16 bits and in fp32."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    return next((found for key, found in PEAKS.items() if words >= set(key.split())), None)
