"""`python -m evaluation.replies`: what a trained model answers, by level.

Reads the model's replies to held-out questions (JSONL with id, level, response), the held-out rows
with their references, and the training's metrics.jsonl, whose evaluations tell the loss by level:
the first, before any update, is the base model's, the best is the trained one's. Writes one JSON.
"""

import argparse
import math
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.config import Config, InputError, guarded, load_config
from evaluation.files import write_json
from evaluation.overlap import rouge_l
from evaluation.rows import Row, read_rows
from evaluation.watch import read_metrics

ALL = "all"
_WORD = re.compile(r"\w+")
_LOSS = "val/loss"


def words_of(text: str) -> list[str]:
    """Words in lower case, letters with accents in them."""
    return _WORD.findall(text.lower())


def distinct(texts: Sequence[str], n: int = 2) -> float:
    """Different n-grams of words over all n-grams (distinct-n, Li et al. 2016); 0 without any."""
    grams = [
        tuple(words[at : at + n])
        for words in map(words_of, texts)
        for at in range(len(words) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else 0.0


def of_replies(replies: Sequence[Row], references: dict[str, str]) -> dict[str, dict[str, float]]:
    """Metric -> level -> value: rougeL against the reference, words a reply, distinct bigrams, the
    share that ended by itself and that of empty ones."""
    groups: dict[str, list[Row]] = {ALL: list(replies)}
    for row in sorted(replies, key=lambda row: str(row["level"])):
        groups.setdefault(row["level"], []).append(row)
    found: dict[str, dict[str, float]] = {}
    for level, rows in groups.items():
        texts = [row["response"] for row in rows]
        overlaps = [rouge_l(row["response"], references[row["id"]], words_of) for row in rows]
        ended = [bool((row.get("params") or {}).get("finished")) for row in rows]
        for name, value in {
            "replies": len(rows),
            "rougeL": statistics.fmean(overlaps),
            "words": statistics.fmean(len(words_of(text)) for text in texts),
            "distinct2": distinct(texts),
            "finished": statistics.fmean(ended),
            "empty": statistics.fmean(not text.strip() for text in texts),
        }.items():
            found.setdefault(name, {})[level] = value
    return found


def of_training(rows: Sequence[Row]) -> dict[str, Any]:
    """Loss and perplexity by level: of the best evaluation, and under `base` of that before any
    update."""
    told = [row for row in rows if _LOSS in row]
    if not told:
        raise InputError("the training has no evaluation", "Lower train.validate_every")
    first = next((row for row in told if row["step"] == 0), None)
    best = min((row for row in told if row["step"] > 0), key=lambda row: row[_LOSS], default=None)
    made: dict[str, Any] = by_level(best) | {"step": best["step"]} if best else {}
    return made | ({"base": by_level(first)} if first else {})


def by_level(row: Row) -> dict[str, dict[str, float]]:
    """{"loss": {"all": .., "A1": ..}, "perplexity": ..} of an evaluation."""
    loss = {ALL: float(row[_LOSS])}
    loss |= {key.removeprefix(f"{_LOSS}."): float(value) for key, value in row.items()
             if key.startswith(f"{_LOSS}.")}  # fmt: skip
    return {
        "loss": loss,
        "perplexity": {level: math.exp(min(value, 700.0)) for level, value in loss.items()},
    }


def evaluate(config: Config) -> int:
    """Read what `evaluate` names, write the figures."""
    replies = read_rows(Path(config.get("evaluate.replies", str)), ("id", "level", "response"))
    held_out = read_rows(Path(config.get("data.validation", str)), ("id", "response"))
    references = {row["id"]: row["response"] for row in held_out}
    if strange := [row["id"] for row in replies if row["id"] not in references]:
        raise InputError(
            f"{strange[0]} was answered and is no held-out question", "Generate the replies again"
        )
    if not replies:
        raise InputError("there are no replies", "Generate them first")
    rows = read_metrics(Path(config.get("evaluate.metrics", str)))
    output = Path(config.get("evaluate.output", str))
    write_json(output, of_training(rows) | of_replies(replies, references))
    print(f"{output}: {len(replies)} replies")
    return 0


def main(argv: list[str] | None = None) -> int:
    """The program."""
    parser = argparse.ArgumentParser(description="Figures of a model's replies, by level.")
    parser.add_argument("--config", type=Path, required=True, help="the job's configuration")
    args = parser.parse_args(argv)
    return guarded(lambda: evaluate(load_config(args.config)))


if __name__ == "__main__":
    sys.exit(main())
