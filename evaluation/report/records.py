"""The arms' per-sample records, by metric: what intervals and paired tests are computed from."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.config import InputError
from evaluation.rows import read_rows

FILE = re.compile(r"samples_(?P<group>.+)_(?P<mode>mcq|gen)(?:\.(?P<scoring>[\w-]+))?\.jsonl")


@dataclass(frozen=True, slots=True)
class Answers:
    """One arm's answers to one set of items, a value an item in each field.

    `tasks` says which items are one question: its id, where records name none.
    """

    ids: tuple[str, ...]
    tasks: tuple[str, ...]
    parts: tuple[str, ...]
    languages: tuple[str, ...]
    words: tuple[str, ...]
    correct: NDArray[np.bool_]
    chance: float

    def where(self, chosen: list[int]) -> "Answers":
        """Those at some places."""
        def at(field: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(field[i] for i in chosen)

        return Answers(
            at(self.ids), at(self.tasks), at(self.parts), at(self.languages), at(self.words),
            self.correct[chosen], self.chance,
        )  # fmt: skip


def suffix(mode: str, scoring: str | None) -> str:
    """What a metric's name ends with: nothing for multiple choice, `.gen`, then the scoring."""
    return ("" if mode == "mcq" else f".{mode}") + (f".{scoring}" if scoring else "")


def read_answers(folder: Path) -> dict[str, Answers]:
    """Metric -> answers, of every samples_*.jsonl: a group, its parts, each of its languages.

    Raises InputError for a file that is not of records.
    """
    found: dict[str, Answers] = {}
    for path in sorted(folder.glob("samples_*.jsonl")):
        match = FILE.fullmatch(path.name)
        if match:
            ending = suffix(match["mode"], match["scoring"])
            found |= dict(_metrics(match["group"], ending, _read(path)))
    return found


def _read(path: Path) -> Answers:
    rows = read_rows(path, remedy="Evaluate again")
    try:
        ids = tuple(str(row["id"]) for row in rows)
        if len(set(ids)) < len(ids) or not ids:
            raise ValueError("no record, or an id twice")
        return Answers(
            ids,
            tuple(str(row.get("task") or row["id"]) for row in rows),
            _texts(rows, "part"),
            _texts(rows, "language"),
            _texts(rows, "word"),
            np.array([_truth(row["correct"]) for row in rows], dtype=bool),
            float(np.mean([1 / len(row["scores"]) if row.get("scores") else 0 for row in rows])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} does not hold records ({type(error).__name__}: {error})", "Evaluate again"
        ) from error


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"correct is {value!r}")
    return value


def _texts(rows: list[dict[str, Any]], key: str) -> tuple[str, ...]:
    return tuple(str(row.get(key) or "") for row in rows)


def _metrics(group: str, ending: str, answers: Answers) -> Iterator[tuple[str, Answers]]:
    """A file's metrics: `pacute.gen`, `pacute.affixation.gen`, and with several languages
    `pacute.gen@fil`, `pacute.affixation.gen@fil`."""
    parts = [part for part in dict.fromkeys(answers.parts) if part not in ("", group)]
    languages = [language for language in dict.fromkeys(answers.languages) if language]
    for part in ("", *parts):
        name = f"{group}.{part}{ending}" if part else f"{group}{ending}"
        inside = [i for i, p in enumerate(answers.parts) if part in ("", p)]
        yield name, answers.where(inside)
        for language in languages if len(languages) > 1 else ():
            chosen = [i for i in inside if answers.languages[i] == language]
            if chosen:
                yield f"{name}@{language}", answers.where(chosen)


@dataclass(frozen=True, slots=True)
class Joint:
    """The items that all of some arms answered: `correct` (items, arms)."""

    arms: tuple[str, ...]
    answers: Answers  # of the first arm, for what does not depend on the arm
    correct: NDArray[np.bool_]
    left_out: int  # items that only some arms answered


def joined(answers: dict[str, Answers]) -> Joint | None:
    """Arm -> answers on common items, by their ids; None where there are none."""
    if not answers:
        return None
    arms = tuple(answers)
    first = answers[arms[0]]
    places = [{item: i for i, item in enumerate(own.ids)} for own in answers.values()]
    common = [i for i, item in enumerate(first.ids) if all(item in place for place in places)]
    everything = {item for place in places for item in place}
    if not common:
        return None
    columns = [
        own.correct[[place[first.ids[i]] for i in common]]
        for own, place in zip(answers.values(), places, strict=True)
    ]
    return Joint(
        arms, first.where(common), np.stack(columns, axis=1), len(everything) - len(common)
    )
