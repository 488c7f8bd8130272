"""Read the arms' results: metrics.json as named figures, with the records beside it."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.config import InputError
from evaluation.report.records import Answers, read_answers
from evaluation.report.statistics import wilson
from ledger.evidence import numbers
from ledger.results import accuracies

BITS = ("bits_per_byte", "bits_per_byte_own_tokens_upper_bound", "unigram_bits_per_byte")
STEP = re.compile(r"step_0*(\d+)")


@dataclass(frozen=True, slots=True)
class Cell:
    """Right answers out of n; `chance` is the share that guessing gets."""

    n: int
    correct: int
    chance: float

    @property
    def percent(self) -> float:
        return 100 * self.correct / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson 95 % interval, in per cent."""
        low, high = wilson(self.correct, self.n)
        return 100 * low, 100 * high


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm's figures: `cells` by metric name; `heldout` and all of `made` as metrics.json has
    them; `values`, every other number of a study's own files; `checkpoints`, cells by step."""

    id: str
    title: str
    cells: dict[str, Cell]
    heldout: dict[str, Any]
    source: str
    aliases: tuple[str, ...] = field(default=())
    answers: dict[str, Answers] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    checkpoints: dict[int, dict[str, Cell]] = field(default_factory=dict)


def metric_names(arms: list[Arm]) -> list[str]:
    """The benchmark metrics that any arm has, as their files order them: of a group all, then its
    parts; those of one language stand apart."""
    names = dict.fromkeys(name for arm in arms for name in arm.cells)
    return [name for name in names if "@" not in name]


def language_names(arms: list[Arm]) -> list[str]:
    """The metrics of one language each."""
    return [n for n in dict.fromkeys(n for arm in arms for n in arm.cells) if "@" in n]


def read_arm(path: Path, name: str | None = None, aliases: tuple[str, ...] = ()) -> Arm:
    """An arm from its metrics.json and the records beside it; `name` wins over the file's.

    Raises InputError where the file is missing, is not what evaluate writes, or its counts are not
    those of the records.
    """
    values = read_json(path, name)
    try:
        arm = name or values["arm"]
        cells = _cells(values)
        title, heldout = values.get("title") or arm, dict(values.get("heldout") or {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is not a metrics file of this program ({type(error).__name__}: {error})",
            "Evaluate again",
        ) from error
    # Records of a benchmark that metrics.json does not name are of an earlier evaluation.
    answers = {m: a for m, a in read_answers(path.parent).items() if m.partition("@")[0] in cells}
    _check(path, cells, answers)
    for metric, own in answers.items():
        cells.setdefault(metric, Cell(len(own.ids), int(own.correct.sum()), own.chance))
    steps = _checkpoints(path.parent)
    return Arm(arm, title, cells, heldout, str(path), aliases, answers, values, {}, steps)


def read_json(path: Path, name: str | None = None) -> dict[str, Any]:
    """A JSON object; raises InputError for a file that is missing or holds something else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{f'arm {name} has no results: ' if name else ''}{path} cannot be read "
            f"({error.strerror})",
            "Run the evaluate stage for it",
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error})", "Evaluate again") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no JSON object", "Evaluate again")
    return values


def _cells(values: dict[str, Any]) -> dict[str, Cell]:
    """The counts by metric. Raises ValueError for those that cannot be."""
    flat = accuracies(values)
    cells = {
        key: Cell(int(cell["n"]), int(cell["correct"]), float(cell["chance"]))
        for key, cell in flat.items()
    }
    if any(not 0 <= cell.correct <= cell.n or cell.n < 1 for cell in cells.values()):
        raise ValueError("counts that cannot be")
    return cells


def _check(path: Path, cells: dict[str, Cell], answers: dict[str, Answers]) -> None:
    for metric, own in answers.items():
        cell = cells.get(metric)
        if cell and (cell.n, cell.correct) != (len(own.ids), int(own.correct.sum())):
            raise InputError(
                f"{path} counts {cell.correct} of {cell.n} right for {metric}, the records beside "
                f"it {int(own.correct.sum())} of {len(own.ids)}",
                "Evaluate again",
            )


def _checkpoints(folder: Path) -> dict[int, dict[str, Cell]]:
    """The figures of step_*/metrics.json in an arm's folder, by step: its evaluated checkpoints."""
    found = {}
    for path in folder.glob("step_*/metrics.json"):
        if match := STEP.fullmatch(path.parent.name):
            found[int(match[1])] = read_arm(path).cells
    return dict(sorted(found.items()))


def read_values(name: str, title: str, paths: list[Path], aliases: tuple[str, ...]) -> Arm:
    """An arm of a study with programs of its own: all the numbers in its JSON files."""
    values: dict[str, float] = {}
    for path in paths:
        values |= numbers(read_json(path, name))
    source = ", ".join(str(path) for path in paths)
    return Arm(name, title or name, {}, {}, source, aliases, values=values)
