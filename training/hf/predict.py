"""What a trained adapter writes after each prompt of a file, as JSON lines.

    python training/hf/predict.py --config jobs/configs/predict_flan-t5-small.yaml

reads the adapter from `train.checkpoint_dir`/final, prompts from `data.test`, and `decoding`;
writes `predict.output`: prompt, response (the reference) and told, in the order of the prompts.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

if __package__ in (None, ""):  # started by path: its own folder must not shadow other modules
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from dataclasses import replace

from training.contract import BadInput, Exit, Progress, load_config, run_program, write_atomic
from training.hf import adapters
from training.hf.examples import encode, read_examples
from training.hf.generate_text import generate, read_decoding
from training.hf.guards import catch_signals
from training.hf.task import Interrupted, find_place


def main(argv: list[str]) -> Exit:
    """Write all answers, or none."""
    parser = argparse.ArgumentParser(description="Let a trained adapter answer prompts.")
    parser.add_argument("--config", required=True, help="the job's resolved configuration")
    config = load_config(Path(parser.parse_args(argv).config))
    p = "parameters."
    task = config.choice(p + "lora.task_type", (adapters.SEQ2SEQ, adapters.CAUSAL))
    examples, decoding = read_examples(config, task), read_decoding(config)
    directory = Path(config.get(p + "train.checkpoint_dir", str)) / "final"
    prompts, output = (Path(config.get(p + k, str)) for k in ("data.test", "predict.output"))
    batch = config.positive(p + "batch.eval")
    precision = config.get(p + "train.precision", str, "auto")
    config.raise_problems()
    if decoding is None:
        raise BadInput("the study has no section decoding", "Give decoding.max_new_tokens")
    with catch_signals() as stop:
        place = find_place(precision, False, stop)
        model, tokenizer = adapters.load_adapter(directory)
        # the prompt whole and the reference for the scorer; labels are not needed
        rows = encode(prompts, replace(examples, train=prompts), tokenizer, task)
        try:
            told = generate(model.to(place.device), tokenizer, rows, decoding, place, batch)
        except Interrupted:
            print(f"stopped by {stop.signal}; nothing is written", file=sys.stderr)
            return Exit.PREEMPTED
    lines = [
        json.dumps(
            {"prompt": tokenizer.decode(row.prompt, skip_special_tokens=True),
             "response": row.reference, "told": text},
            ensure_ascii=False,
        )
        for row, text in zip(rows, told, strict=True)
    ]  # fmt: skip
    write_atomic(output, "\n".join(lines) + "\n")
    Progress(len(rows), "items").report(len(rows), "done")
    print(f"{output}: {len(rows)} answers")
    return Exit.OK


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
