"""A chat model of a few thousand weights, questions, and a configuration, made on the spot."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import yaml

from training.contract import run_program
from training.hf.tiny import Tiny, make

LEVELS = ("A1", "A2", "B1", "B2", "C1", "C2")


def make_model(folder: Path, chat: bool = True, architecture: str = "qwen2", steps: int = 3) -> str:
    """A tiny model; with a chat template or without."""
    text = folder / f"text-{chat}.jsonl"
    rows = [{"question": f"Che cosa è {n}?", "response": f"È il numero {n}."} if chat
            else {"text": f"Il numero {n} viene prima di {n + 1}."} for n in range(12)]  # fmt: skip
    text.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    tiny = Tiny(
        path=str(folder / f"{architecture}-{chat}"), architecture=architecture, text=str(text),
        chat=chat, system="You are a {role}.", vocab_size=300, hidden_size=16, layers=1, heads=2,
        seq_length=128, steps=steps, batch=4, lr=1e-2, seed=1,
    )  # fmt: skip
    return str(make(tiny))


def write_job(folder: Path, model: str, name: str = "c.yaml", **changes: Any) -> Path:
    """Twelve questions, two a level, and the configuration to answer them."""
    rows = [{"id": f"q{n}", "level": level, "source": "celi", "question": f"Che cosa è {n}?"}
            for n, level in enumerate([*LEVELS, *LEVELS])]  # fmt: skip
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    how = {"role": "teacher", "max_new_tokens": 6, "temperature": 0.9}
    section = {
        "model": model, "questions": str(folder / "questions.jsonl"),
        "output_dir": str(folder / "out"), "shards": 1, "batch_size": 2,
        "levels": {level: dict(how) for level in LEVELS},
    } | changes  # fmt: skip
    path = folder / name
    path.write_text(yaml.safe_dump({"parameters": {"seed": 5, "generate": section}}))
    return path


def answer_and_die(words: list[str], batches: int) -> None:
    """Generate in this process, and be killed in the middle of writing a batch."""
    from training.hf import generate
    from training.responses import Shard

    append, left = Shard._append, [batches + 1]  # the head of the file is written so, too

    def torn(shard: Any, rows: Any) -> None:
        if left[0]:
            left[0] -= 1
            append(shard, rows)
            return
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        shard._stream.write(text[: len(text) * 3 // 4])
        shard._stream.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    vars(generate)["Shard"]._append = torn
    run_program(generate.main, words)
