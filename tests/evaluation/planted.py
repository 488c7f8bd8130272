"""Results with planted accuracies: records and metrics.json as evaluation writes them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.lexicon import load_lexicon

PARTS = {
    "pacute": ("affixation", "composition", "manipulation", "syllabification"),
    "hierarchical": tuple(f"level{n}" for n in range(6)),
}
LANGUAGES = ("fil", "en")
CHANCE = {"mcq": 0.25, "gen": 0.0}


def outcomes(
    rng: np.random.Generator, share: float, questions: int, agreement: float
) -> np.ndarray[Any, Any]:
    """Right or wrong, (questions, languages): each language follows its question's own draw with
    probability `agreement`, else a draw of its own; every answer is right with probability
    `share`."""
    common = rng.random((questions, 1)) < share
    own = rng.random((questions, len(LANGUAGES))) < share
    return np.where(rng.random(own.shape) < agreement, common, own)


def write_arm(
    folder: Path, arm: str, shares: dict[str, float], questions: int = 50, seed: int = 0,
    modes: tuple[str, ...] = ("mcq", "gen"), agreement: float = 0.6,
) -> None:  # fmt: skip
    """One arm's folder. `shares`: part -> probability of a right answer, 0.25 where it names none;
    free answers are right half as often."""
    words = list({word.root: word.form for word in load_lexicon()}.values())  # one a root
    benchmarks: dict[str, Any] = {}
    for group, parts in PARTS.items():
        for mode in modes:
            records = []
            for at, part in enumerate(parts):
                rng = np.random.default_rng([seed, at, len(mode), len(group)])
                share = shares.get(part, 0.25) * (1 if mode == "mcq" else 0.5)
                drawn = outcomes(rng, share, questions, agreement)
                for question, row in enumerate(drawn):
                    for language, right in zip(LANGUAGES, row, strict=True):
                        task = f"{group}-{part}-{question:04d}"
                        record: dict[str, Any] = {
                            "id": f"{task}-{mode}-{language}", "task": task, "group": group,
                            "part": part, "language": language,
                            "word": words[question % len(words)],
                            "correct": bool(right), "answer": 1,
                        }  # fmt: skip
                        if mode == "mcq":
                            record |= {"scores": [-1.0] * 4, "chosen": 1 if right else 0}
                        records.append(record)
            folder.mkdir(parents=True, exist_ok=True)
            lines = "".join(json.dumps(record) + "\n" for record in records)
            (folder / f"samples_{group}_{mode}.jsonl").write_text(lines)
            benchmarks.setdefault(group, {})[mode] = summary(records, CHANCE[mode])
    values = {"arm": arm, "title": arm.title(), "benchmarks": benchmarks}
    (folder / "metrics.json").write_text(json.dumps(values))


def summary(records: list[dict[str, Any]], chance: float) -> dict[str, Any]:
    """Counts of a file, by part and by language."""

    def counts(chosen: list[dict[str, Any]]) -> dict[str, Any]:
        correct = sum(record["correct"] for record in chosen)
        n = len(chosen)
        return {"n": n, "correct": correct, "accuracy": correct / n, "chance": chance}

    def by(key: str) -> dict[str, Any]:
        values = dict.fromkeys(record[key] for record in records)
        return {v: counts([r for r in records if r[key] == v]) for v in values}

    return {**counts(records), "by": by("part"), "by_language": by("language")}
