"""The numbers that the arms of a run left, found by what a job's configuration says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ledger import evidence
from ledger.checks import World
from ledger.evidence import Missing, numbers

ROWS = "metrics.jsonl"


def world(config: Mapping[str, Any], root: Path, task: int = 1) -> World:
    """What checks may look at, by a job's configuration; of no arm that is all arms."""
    arms = config.get("arms") or {}
    where = str((config.get("paths") or {}).get("results", "results"))
    values = _Lazy(arms, root, where)
    rows = {arm: row_files(told, root) for arm, told in arms.items()}
    aliases = {str(told.get("run")): arm for arm, told in arms.items() if told.get("run")}
    return World(root, config.get("parameters") or {}, task, values, rows, aliases)


class _Lazy(Mapping[str, Mapping[str, float]]):
    """Arm -> its numbers, read when a check asks for them."""

    def __init__(self, arms: Mapping[str, Any], root: Path, results: str) -> None:
        self._arms, self._root, self._results = arms, root, results
        self._read: dict[str, dict[str, float]] = {}

    def __getitem__(self, arm: str) -> dict[str, float]:
        if arm not in self._read:
            self._read[arm] = _values(self._arms[arm], self._root, self._results)
        return self._read[arm]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arms)

    def __len__(self) -> int:
        return len(self._arms)


def result_files(told: Mapping[str, Any], results: str) -> list[str]:
    """Of what an arm's jobs write, the JSON files under the results, and every metrics.json."""
    named = [str(path) for path in told.get("outputs") or []]
    inside = results.rstrip("/") + "/"
    files = [
        path
        for path in named
        if path.endswith(".json") and (path.startswith(inside) or path.endswith("/metrics.json"))
    ]
    own = (told.get("parameters") or {}).get("evaluate") or {}
    return files or ([f"{own['output_dir']}/metrics.json"] if "output_dir" in own else [])


def _values(told: Mapping[str, Any], root: Path, results: str) -> dict[str, float]:
    """Every number of an arm's files under its dotted name. Raises Missing for a broken file."""
    found: dict[str, float] = {}
    for pattern in result_files(told, results):
        for path in sorted(root.glob(pattern)):
            held = evidence.document(path)
            if isinstance(held, dict) and "benchmarks" in held:
                found |= _percents(held, path)
                found |= numbers(held.get("heldout") or {})
            else:
                found |= numbers(held)
    return found


def _percents(held: dict[str, Any], path: Path) -> dict[str, float]:
    try:
        return {
            name: 100 * int(cell["correct"]) / int(cell["n"])
            for name, cell in accuracies(held).items()
        }
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise Missing(f"{path} holds no counts of answers ({error})") from None


def accuracies(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The counts of an evaluation's metrics.json by metric: pacute, pacute.affixation, ... for
    multiple choice; the same with .gen for free answers, with .marginal for answers that are
    marginalised over tokenisations, with @fil for one language."""
    flat: dict[str, dict[str, Any]] = {}
    for scoring, groups in (("", values["benchmarks"]), (".marginal", values.get("marginal"))):
        for group, modes in (groups or {}).items():
            for mode, result in modes.items():
                ending = ("" if mode == "mcq" else f".{mode}") + scoring
                flat[f"{group}{ending}"] = result
                for part, cell in result["by"].items():
                    if part != group:
                        flat[f"{group}.{part}{ending}"] = cell
                for language, cell in (result.get("by_language") or {}).items():
                    flat[f"{group}{ending}@{language}"] = cell
                for both, cell in (result.get("by_part_language") or {}).items():
                    part, _, language = both.partition("@")
                    if part != group:
                        flat[f"{group}.{part}{ending}@{language}"] = cell
    return flat


def row_files(told: Mapping[str, Any], root: Path) -> list[Path]:
    """The metrics.jsonl of an arm: an output of its jobs, in one, or beside one; else in its
    checkpoints' folder."""
    named = [str(path) for path in told.get("outputs") or []]
    train = (told.get("parameters") or {}).get("train")
    if isinstance(train, Mapping) and train.get("checkpoint_dir"):
        named.append(str(train["checkpoint_dir"]))
    found: dict[Path, None] = {}
    for name in named:
        path = root / name
        for folder in (path, path.parent):
            if (folder / ROWS).is_file():
                found[folder / ROWS] = None
    return list(found)


