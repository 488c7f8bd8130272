"""Tiny token files, tokenizers and configurations, all made on the spot."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

Documents = list[list[int]]

TINY: dict[str, Any] = {
    "seed": 7,
    "corpus": {"chunks": 2},
    "tokenizer": {"eod": 1},
    "model": {
        "base": "none",
        "init": "random",
        "architecture": "gemma3",
        "seq_length": 16,
        "vocab_size": 64,
        "config": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "layers": 2,
            "heads": 2,
            "kv_heads": 1,
            "head_dim": 8,
            "sliding_window": 8,
        },
    },
    "optimizer": {"name": "adamw", "lr": 0.05, "min_lr": 0.005, "warmup_steps": 2}
    | {"decay": "cosine", "weight_decay": 0.1, "clip": 1.0, "betas": [0.9, 0.95], "eps": 1e-8},
    "batch": {"global": 4, "micro": 2},
    "train": {"backend": "hf", "max_steps": 20, "checkpoint_every": 5, "validate_every": 10}
    | {"validate_batches": 2, "log_every": 1, "keep_checkpoints": 2, "precision": "auto"}
    | {"split": [90, 10, 0]},
    "wandb": {"project": "p", "name": "n", "mode": "disabled"},
}


@pytest.fixture
def write_shard() -> Callable[[Path, Documents], None]:
    """Write `prefix`.bin and .idx as Megatron does."""

    def write(prefix: Path, documents: Documents, code: int = 4) -> None:
        dtype: np.dtype[Any] = np.dtype({4: "<i4", 8: "<u2"}[code])
        lengths = np.array([len(d) for d in documents], "<i4")
        ends = np.cumsum(lengths.astype("<i8") * dtype.itemsize)
        head = struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 1, code, len(documents), len(documents) + 1)
        offsets = np.concatenate([[0], ends[:-1]]).astype("<i8")
        index = np.arange(len(documents) + 1, dtype="<i8")
        prefix.parent.mkdir(parents=True, exist_ok=True)
        Path(f"{prefix}.bin").write_bytes(np.concatenate(documents).astype(dtype).tobytes())
        Path(f"{prefix}.idx").write_bytes(
            head + lengths.tobytes() + offsets.tobytes() + index.tobytes()
        )

    return write


@pytest.fixture
def documents() -> Documents:
    """Sixty documents of a language where each id is followed by one of two."""
    rng = np.random.default_rng(0)
    made = []
    for length in rng.integers(5, 40, 60):
        ids = [int(rng.integers(2, 64))]
        for step in rng.integers(1, 3, length):
            ids.append(2 + (3 * ids[-1] + int(step)) % 62)
        made.append([*ids, 1])
    return made


@pytest.fixture
def job(
    tmp_path: Path, write_shard: Callable[..., None], documents: Documents, monkeypatch: Any
) -> Callable[..., Path]:
    """Write a job's data, tokenizer and configuration; returns the configuration's path.

    Keyword arguments change parameters: `job(train={"max_steps": 5})`.
    """
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WORLD_SIZE", "PIPELINE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIPELINE_PROGRESS", str(tmp_path / "progress.json"))
    for number, part in enumerate((documents[:30], documents[30:]), 1):
        write_shard(tmp_path / "data" / f"seapile_{number:04d}", part)
    (tmp_path / "tok").mkdir()
    (tmp_path / "tok" / "tokenizer.json").write_text("{}")

    def make(name: str = "config.yaml", gpus: int = 0, **changes: dict[str, Any]) -> Path:
        parameters = copy.deepcopy(TINY)
        parameters["tokenizer"]["path"] = str(tmp_path / "tok")
        parameters["train"]["data_path"] = str(tmp_path / "data" / "seapile")
        parameters["train"]["checkpoint_dir"] = str(tmp_path / "run")
        parameters["wandb"]["dir"] = str(tmp_path / "logs" / "wandb")
        for section, values in changes.items():
            parameters[section] |= values
        path = tmp_path / name
        resources = {"nodes": 1, "gpus": gpus}
        path.write_text(
            yaml.safe_dump(
                {"job": {"kind": "train"}, "resources": resources, "parameters": parameters}
            )
        )
        return path

    return make


@pytest.fixture
def rows() -> Callable[[Path, str], dict[int, float]]:
    """Read one metric of a run's metrics.jsonl by step."""

    def read(run: Path, key: str) -> dict[int, float]:
        lines = (run / "metrics.jsonl").read_text().splitlines()
        return {row["step"]: row[key] for row in map(json.loads, lines) if key in row}

    return read
