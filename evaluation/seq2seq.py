"""Scores of generated texts against their references, and samples to read.

    python -m evaluation.seq2seq --config CONFIG

reads `parameters.predict.output` (JSON lines of prompt, response, told) and `evaluate`: `metrics`
(rougeL, bleu4, bertscore), `bertscore: {model, layer}`, `samples`, `output_dir`. Writes there
`samples.md` and, last, `metrics.json` with each metric from 0 to 1. A BERTScore whose model cannot
be had is absent, and metrics.json says why; nothing stands in for it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from evaluation.config import Config, InputError, choose, guarded, load_config
from evaluation.files import sha256, write_json, write_text
from evaluation.overlap import corpus_bleu, mean_rouge_l
from evaluation.rows import Row, read_rows

METRICS = ("rougeL", "bleu4", "bertscore")


def read_answers(path: Path) -> list[Row]:
    """The rows of a predictions file; InputError for one without its three texts."""
    rows = read_rows(path, ("prompt", "response", "told"), "Run the stage that predicts again")
    if not rows:
        raise InputError(f"{path} holds no answer", "Predict again")
    return rows


def score(config: Config, told: list[str], references: list[str]) -> dict[str, Any]:
    """Each metric that the study asks for, and why one is absent."""
    wanted = choose("metric", config.get("evaluate.metrics", list, list(METRICS)), METRICS)
    scores: dict[str, Any] = {}
    if "rougeL" in wanted:
        scores["rougeL"] = mean_rouge_l(told, references)
    if "bleu4" in wanted:
        scores["bleu4"] = corpus_bleu(told, references)
    if "bertscore" in wanted:
        try:
            scores["bertscore"] = bert(config, told, references)
        except InputError as error:
            scores["absent"] = {"bertscore": str(error)}
            print(f"warning: no bertscore: {error}", file=sys.stderr)
    return scores


def bert(config: Config, told: list[str], references: list[str]) -> float:
    """BERTScore by the study's model; InputError without one."""
    from evaluation.bertscore import bert_score, load_encoder

    name = config.get("evaluate.bertscore.model", str, "")
    if not name:
        raise InputError("the study names no model for it", "Give evaluate.bertscore.model")
    encoder = load_encoder(name, config.get("evaluate.bertscore.layer", int))
    return bert_score(encoder, told, references)


def samples(rows: list[dict[str, str]], count: int, scores: dict[str, Any]) -> str:
    """Some answers beside their references, evenly spread over the file, as Markdown."""
    figures = ", ".join(f"{k} {v:.4f}" for k, v in scores.items() if isinstance(v, float))
    lines = [f"# Samples\n\n{len(rows)} answers: {figures}.\n"]
    step = max(len(rows) // max(count, 1), 1)
    for number in range(0, len(rows), step)[:count]:
        row = {key: " ".join(rows[number][key].split()) for key in ("prompt", "response", "told")}
        lines.append(f"{number + 1}. {row['prompt']}\n   - reference: {row['response']}\n"
                     f"   - model: {row['told'] or '(nothing)'}\n")  # fmt: skip
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Score, write, print one line."""
    parser = argparse.ArgumentParser(description="Score generated texts against references.")
    parser.add_argument("--config", type=Path, required=True)
    config = load_config(parser.parse_args(argv).config)
    source = Path(config.get("predict.output", str))
    rows = read_answers(source)
    told, references = ([row[key] for row in rows] for key in ("told", "response"))
    scores = score(config, told, references)
    output = Path(config.get("evaluate.output_dir", str))
    count = config.get("evaluate.samples", int, 20)
    write_text(output / "samples.md", samples(rows, count, scores))
    facts = {"answers": len(rows), "predictions": {"path": str(source), "sha256": sha256(source)}}
    write_json(output / "metrics.json", {**scores, **facts})
    print(", ".join(f"{k} {v:.4f}" for k, v in scores.items() if isinstance(v, float)))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
