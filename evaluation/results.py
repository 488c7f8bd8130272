"""Read the arms' metrics.json into one flat table of named figures."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.config import InputError
from evaluation.groups import GROUPS

Z95 = 1.959963984540054  # the 97.5 % point of the normal distribution
BITS = ("bits_per_byte", "bits_per_byte_own_tokens_upper_bound", "unigram_bits_per_byte")


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

    @property
    def at_chance(self) -> bool:
        """Whether the interval holds the chance level."""
        low, high = self.interval
        return low <= 100 * self.chance <= high


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm's figures: `cells` by metric name, `heldout` as metrics.json has it."""

    id: str
    title: str
    cells: dict[str, Cell]
    heldout: dict[str, Any]
    source: str
    aliases: tuple[str, ...] = field(default=())


def wilson(correct: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion, both ends in [0, 1]; n is at least 1.

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), E. B. Wilson, JASA 22 (1927).
    """
    p, scale = correct / n, 1 + z * z / n
    middle = (p + z * z / (2 * n)) / scale
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)


def metric_names(arms: list[Arm]) -> list[str]:
    """The benchmark metrics that any arm has: of a group all, then its parts; mcq before gen."""
    names = []
    for group, parts in GROUPS.items():
        for suffix in ("", ".gen"):
            names += [f"{group}{suffix}", *(f"{group}.{part}{suffix}" for part in parts)]
    return [name for name in names if any(name in arm.cells for arm in arms)]


def read_arm(path: Path, name: str | None = None, aliases: tuple[str, ...] = ()) -> Arm:
    """An arm from its metrics.json; `name` wins over the one in the file.

    Raises InputError where the file is missing, or is not what evaluate writes.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        arm = name or values["arm"]
        cells = {
            key: Cell(int(cell["n"]), int(cell["correct"]), float(cell["chance"]))
            for key, cell in _flat(values["benchmarks"]).items()
        }
        if any(not 0 <= cell.correct <= cell.n or cell.n < 1 for cell in cells.values()):
            raise ValueError("counts that cannot be")
        heldout = dict(values.get("heldout") or {})
        return Arm(arm, values.get("title") or arm, cells, heldout, str(path), aliases)
    except OSError as error:
        raise InputError(
            f"{f'arm {name} has no results: ' if name else ''}{path} cannot be read "
            f"({error.strerror})",
            "Run the evaluate stage for it",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is not a metrics file of this program ({type(error).__name__}: {error})",
            "Evaluate again",
        ) from error


def _flat(benchmarks: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """pacute, pacute.affixation, ... for multiple choice; the same with .gen for free answers."""
    cells = {}
    for group, modes in benchmarks.items():
        for mode, result in modes.items():
            suffix = "" if mode == "mcq" else f".{mode}"
            cells[f"{group}{suffix}"] = result
            for part, cell in result["by"].items():
                cells[f"{group}.{part}{suffix}"] = cell
    return cells
