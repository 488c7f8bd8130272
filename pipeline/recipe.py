"""What a training does, update by update: batches, examples, tokens, epochs. From the resolved
configuration, under whatever names its study has for them (pipeline/synonyms.py)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import msgspec

from pipeline import curriculum, synonyms
from pipeline.job import Job, seen
from pipeline.plan import Plan
from pipeline.shapes import at, count
from pipeline.synonyms import first_share, number, whole

MOST_SHARED = 10**6  # examples of a GPU whose divisors are looked for
DEFAULT_KEPT = 3  # checkpoints, where the study does not say; the trainers' own default


class Phase(msgspec.Struct, frozen=True):
    """Updates that are alike."""

    first: int  # updates before it
    steps: int  # 0: nobody says
    length: int  # tokens of an example
    target: int  # tokens that a decoder behind an encoder writes, besides
    micro: int
    accumulation: int
    batch: int  # examples of an update, over all GPUs
    scale: float  # of the learning rate

    @property
    def examples(self) -> int:
        """Of all its updates."""
        return self.steps * self.batch

    @property
    def step_tokens(self) -> int:
        """Tokens of an update, padding with them."""
        return self.batch * (self.length + self.target)

    @property
    def tokens(self) -> int:
        """Of all its updates."""
        return self.steps * self.step_tokens


class Data(msgspec.Struct, frozen=True):
    """What there is to train on. `source`: token files were counted, or the study says so."""

    unit: Literal["tokens", "examples"]
    amount: float
    source: Literal["counted", "stated"]

    def steps(self, phase: Phase) -> int:
        """Updates of a phase in which all of it is seen once; the last may have fewer examples."""
        if self.unit == "tokens":
            return max(round(self.amount / phase.step_tokens), 1)
        return math.ceil(self.amount / phase.batch)

    def epochs(self, phases: tuple[Phase, ...]) -> float:
        """How often all of it is seen."""
        shown = [p.tokens if self.unit == "tokens" else p.examples for p in phases]
        return sum(shown) / self.amount


class Recipe(msgspec.Struct, frozen=True):
    """A training."""

    job: str
    gpus: int  # all of them, over its nodes; 0 for a CPU
    phases: tuple[Phase, ...]
    staged: bool  # the study gives stages of its own
    data: Data | None
    rate: float | None  # the learning rate, before a stage scales it
    warmup: int
    evaluations: int
    checkpoints: int  # written in all
    kept: int
    log_rows: int

    @property
    def steps(self) -> int:
        """Updates in all; 0: nobody says."""
        return sum(phase.steps for phase in self.phases)

    @property
    def examples(self) -> int:
        """Of all updates."""
        return sum(phase.examples for phase in self.phases)

    @property
    def tokens(self) -> int:
        """Of all updates."""
        return sum(phase.tokens for phase in self.phases)

    @property
    def epochs(self) -> float | None:
        """How often it sees what there is to train on."""
        return self.data.epochs(self.phases) if self.data and self.steps else None


def recipes(plan: Plan, root: Path | None = None) -> list[Recipe]:
    """Of every training whose batch is known. With `root`, token files there are counted."""
    found = [recipe(job, root) for job in plan.jobs if job.trains]
    return [one for one in found if one]


def recipe(job: Job, root: Path | None = None) -> Recipe | None:
    """A training's; None where its batch is unknown."""
    p = job.config["parameters"]
    gpus = job.resources.gpus * job.resources.nodes
    data = _counted(job, root) if root else None
    data = data or _stated(p)
    phases = _phases(p, max(1, gpus), data)
    if not phases:
        return None
    steps = sum(phase.steps for phase in phases)

    def often(keys: tuple[str, ...]) -> int:
        every = whole(p, keys)
        return steps // every if every else 0

    return Recipe(
        job=job.name,
        gpus=gpus,
        phases=phases,
        staged=bool(at(p, curriculum.KEY, list)),
        data=data,
        rate=number(p, synonyms.RATE),
        warmup=_warmup(p, steps),
        evaluations=curriculum.validations(p)
        if job.kind == "train"
        else often(synonyms.EVALUATE_EVERY),
        checkpoints=often(synonyms.SAVE_EVERY),
        kept=whole(p, synonyms.KEPT) or DEFAULT_KEPT,
        log_rows=often(synonyms.LOG_EVERY),
    )


def _warmup(p: Mapping[str, Any], steps: int) -> int:
    ratio = number(p, synonyms.WARMUP_RATIO) or 0
    # Rounded up, as transformers and the trainers do.
    return whole(p, synonyms.WARMUP_STEPS) or math.ceil(Fraction(str(ratio)) * steps)


def _phases(p: Mapping[str, Any], ranks: int, data: Data | None) -> tuple[Phase, ...]:
    micro, length = whole(p, synonyms.MICRO), whole(p, synonyms.LENGTH)
    times, batch = whole(p, synonyms.ACCUMULATION), whole(p, synonyms.GLOBAL)
    steps = whole(p, synonyms.STEPS) or 0
    if rows := at(p, curriculum.KEY, list):
        return _staged(p, rows, ranks, steps)
    if not length or not (micro or batch):
        return ()
    micro = micro or max((batch or 1) // (ranks * (times or 1)), 1)
    times = times or max((batch or 1) // (micro * ranks), 1)
    target = whole(p, synonyms.TARGET) or 0
    one = Phase(0, steps, length, target, micro, times, batch or micro * times * ranks, 1.0)
    epochs = number(p, synonyms.EPOCHS)
    if not steps and epochs and data:
        one = msgspec.structs.replace(one, steps=math.ceil(epochs * data.steps(one)))
    return (one,)


def _staged(p: Mapping[str, Any], stages: list[Any], ranks: int, steps: int) -> tuple[Phase, ...]:
    """The phases of `curriculum_stages`; what a row does not name has the study's own value."""
    rows = [row for row in stages if isinstance(row, Mapping)]
    starts = [min(at(row, "step", int) or 0, steps) for row in rows] + [steps]
    base, longest = whole(p, synonyms.MICRO), whole(p, synonyms.LENGTH)
    found = []
    for row, start, end in zip(rows, starts, starts[1:], strict=False):
        batch = count(row, "batch_size") or whole(p, synonyms.GLOBAL)
        length = count(row, "seq_len") or longest
        if not (batch and length) or end <= start:
            continue
        share = max(batch // ranks, 1)
        micro = share
        if base and longest and share < MOST_SHARED:
            micro = curriculum.largest_micro(share, length, base, longest)
        scale = number(row, ("lr_scale",)) or 1.0
        found.append(Phase(start, end - start, length, 0, micro, share // micro, batch, scale))
    return tuple(found)


def _stated(p: Mapping[str, Any]) -> Data | None:
    """What the study says that there is to train on."""
    share = synonyms.train_share(p)
    for unit, learnt, everything in (
        ("examples", synonyms.TRAIN_EXAMPLES, synonyms.EXAMPLES),
        ("tokens", synonyms.TRAIN_TOKENS, synonyms.TOKENS),
    ):
        amount = whole(p, learnt) or share * (whole(p, everything) or 0)
        if amount:
            return Data(unit, amount, "stated")  # type: ignore[arg-type]
        documents, each = whole(p, synonyms.DOCUMENTS), whole(p, synonyms.EACH)
        if unit == "examples" and documents and each:  # documents are divided, not examples
            return Data("examples", math.floor(share * documents + 1e-6) * each, "stated")
    return None


def _counted(job: Job, root: Path) -> Data | None:
    """The tokens of a training's own files, ends of documents with them; None before they are all
    there. Of a host, what is known of it here."""
    p = job.config["parameters"]
    path = at(p, "train.data_path", str)
    if not path:
        return None
    prefix = seen(job, root, path)
    tokens = _tokens(prefix.with_name(prefix.name + ".json"))
    chunks = count(p, "corpus.chunks") or 0
    if tokens is None and chunks:
        parts = [
            _tokens(prefix.with_name(f"{prefix.name}_{number:04d}.json"))
            for number in range(1, chunks + 1)
        ]
        known = [part for part in parts if part is not None]
        tokens = sum(known) if len(known) == len(parts) else None
    if tokens is None:
        return None
    return Data("tokens", tokens * (first_share(at(p, "train.split", list) or []) or 1), "counted")


def _tokens(sidecar: Path) -> int | None:
    """Tokens by the record that preprocess and merge write last."""
    try:
        record = json.loads(sidecar.read_bytes())
    except (OSError, ValueError):
        return None  # not there yet, or not whole: training says so when it comes to it
    return count(record, "tokens_with_eod")
