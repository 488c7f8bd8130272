"""Values of a training that change at given steps: a study's `curriculum_stages`.

A row holds from its `step` (updates made before it) up to the next row's, the last one to the end.
What a row does not name has the study's own value, never that of the row before. A training without
rows has one stage. Standard library only, so that any trainer may read its values here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from training.contract import Section

KEY = "parameters.curriculum_stages"


@dataclass(frozen=True)
class Stage:
    """Values that hold from update `first` on, updates counted from 0. `samples` and `tokens` are
    what all updates before it learned from; `micro` is the samples on one device at a time."""

    number: int  # from 1; 0 is the only one of a study that gives none
    first: int
    seq_len: int
    batch_size: int
    micro: int
    lr_scale: float
    weight_decay: float
    clip: float
    betas: tuple[float, float]
    eps: float
    samples: int = 0
    tokens: int = 0

    def identity(self) -> dict[str, Any]:
        """What a resumed run must share; how a batch is cut into micro-batches is not in it."""
        row = {**asdict(self), "step": self.first, "betas": list(self.betas)}
        for name in ("number", "first", "micro", "samples", "tokens"):
            del row[name]
        return row


COUNTS = ("seq_len", "batch_size")
NUMBERS = ("lr_scale", "weight_decay", "clip", "eps")
ABOVE_ZERO = ("lr_scale", "eps")
MOST = 1e6  # refuses .inf
KEYS = ("step", *COUNTS, *NUMBERS, "betas")
OF_OPTIMIZER = ("step", *NUMBERS, "betas")  # for a trainer whose batches do not change


def read_stages(
    config: Section, base: Stage, world: int, keys: tuple[str, ...] = KEYS
) -> tuple[Stage, ...]:
    """The stages of a configuration, whose rows have some of `keys`; `base` has the study's own
    values, and is the only stage where there are no rows. Problems stay in `config`.

    `base.micro` is meant for samples of `base.seq_len`: a stage takes as many at a time as have no
    more tokens and divide its share of the batch, so that what fits in memory fits in all stages.
    """
    parameters = config.values.get("parameters") or {}
    if parameters.get("curriculum_stages") is None:
        return (base,)
    rows = parameters["curriculum_stages"]
    if not isinstance(rows, list) or not rows or not all(isinstance(r, Mapping) for r in rows):
        config.problems.append(f"{KEY} is {rows!r}, not a list of rows such as "
                               "{step: 0, seq_len: 64, batch_size: 256, lr_scale: 11.3}")
        return (base,)
    before = len(config.problems)
    for number, row in enumerate(rows):
        where = f"{KEY}[{number}]"
        unknown = [key for key in row if key not in keys]
        config.problems += [f"{where}.{key} is unknown; a row has {', '.join(keys)}"
                            for key in unknown]
        config.problems += _problems(row, where, base, world)
    _check_order(config, [row.get("step") for row in rows])
    if len(config.problems) > before:
        return (base,)
    return _chain([_stage(row, base, world, number) for number, row in enumerate(rows, 1)])


def _problems(row: Mapping[str, Any], where: str, base: Stage, world: int) -> list[str]:
    """What is wrong with one row by itself."""
    found = []
    for key in COUNTS:
        if key in row and not (_whole(row[key]) and row[key] >= 1):
            found.append(f"{where}.{key} is {row[key]!r}, not a whole number of at least 1")
    for key in NUMBERS:
        above = key in ABOVE_ZERO
        if key in row and not (_number(row[key]) and (row[key] > 0 or not above)):
            least = "above 0" if above else "of at least 0"
            found.append(f"{where}.{key} is {row[key]!r}, not a number {least}")
    betas = row.get("betas", [0.0, 0.0])
    if not (isinstance(betas, list) and len(betas) == 2
            and all(_number(beta) and beta < 1 for beta in betas)):
        found.append(f"{where}.betas is {betas!r}, not two numbers from 0 to below 1")
    if found:
        return found
    if row.get("seq_len", 1) > base.seq_len:
        found.append(f"{where}.seq_len {row['seq_len']} is above model.seq_length {base.seq_len}, "
                     "the positions that the model has")
    if (batch := row.get("batch_size", base.batch_size)) % world:
        found.append(f"{where}.batch_size {batch} is no multiple of the {world} devices, so they "
                     "would not share it equally")
    return found


def _check_order(config: Section, steps: list[Any]) -> None:
    if not all(_whole(step) for step in steps):
        config.problems.append(f"{KEY}: each row needs step, a whole number; they are {steps}")
    elif steps[0] != 0:
        config.problems.append(f"{KEY}[0].step is {steps[0]}, and nothing says what holds before: "
                               "the first row begins at 0")
    elif steps != sorted(set(steps)):
        config.problems.append(f"{KEY}: steps must grow from row to row; they are {steps}")


def _stage(row: Mapping[str, Any], base: Stage, world: int, number: int) -> Stage:
    given: dict[str, Any] = {key: float(row[key]) for key in NUMBERS if key in row}
    given |= {key: row[key] for key in COUNTS if key in row}
    if "betas" in row:
        given["betas"] = (float(row["betas"][0]), float(row["betas"][1]))
    made = replace(base, number=number, first=row["step"], **given)
    most = max(base.micro * base.seq_len // made.seq_len, 1)
    return replace(made, micro=largest_divisor(made.batch_size // world, most))


def _chain(stages: list[Stage]) -> tuple[Stage, ...]:
    """Each with what all before it have consumed."""
    done = [stages[0]]
    for stage in stages[1:]:
        last = done[-1]
        samples = (stage.first - last.first) * last.batch_size
        done.append(replace(stage, samples=last.samples + samples,
                            tokens=last.tokens + samples * last.seq_len))
    return tuple(done)


def stage_at(stages: tuple[Stage, ...], step: int) -> Stage:
    """The stage of update number `step`, counted from 1; that of update 0 is the first."""
    return stages[max(bisect_right(stages, step - 1, key=lambda stage: stage.first), 1) - 1]


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor of a number that is at most `most`."""
    return next(size for size in range(min(number, most), 0, -1) if number % size == 0)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST
