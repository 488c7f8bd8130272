"""A level's infilling examples, made by the programs that make them, and a trainer's configuration
over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from corpus import masks
from corpus.infilling import prepare
from corpus.levels import SEPARATOR, SPLITS
from tests.corpus.test_infilling import OFTEN, byte_level

FEW = OFTEN._replace(examples=5, document=0.05, paragraph=0.05, word=0.1)  # some masks are empty
WORDS = ("my dog eats pasta for lunch", "I don't like tea", "she is a doctor in a town",
         "we play football at school", "they live near the sea", "it's hot 🙂 today")


def make_examples(root: Path, count: int = 24, length: int = 48, level: str = "A1") -> Path:
    """`root`/examples/<level>, of texts of a few sentences; returns `root`/examples."""
    texts = root / "texts" / level
    texts.mkdir(parents=True, exist_ok=True)
    for at, split in enumerate(SPLITS):
        drawn = []
        for n in range(count // (1 if at == 0 else 3)):
            picked = [WORDS[(n * k + at + k) % len(WORDS)] for k in range(1, 2 + n % 4)]
            drawn.append(f"{split} {n}. " + ". ".join(picked) + ".")
        (texts / f"{split}.txt").write_text(SEPARATOR.join(drawn), encoding="utf-8")
    masks.mask(texts, root / "masks" / level, FEW, 1)
    tokenizer = byte_level(root / "tokenizer")
    prepare(texts, root / "masks" / level, tokenizer, root / "examples" / level, length, 1)
    return root / "examples"


def parameters(root: Path, **changes: Any) -> dict[str, Any]:
    """A small run; `changes` are laid over its sections."""
    values: dict[str, Any] = {
        "seed": 3,
        "level": {"name": "A1"},
        "examples": {"output_dir": str(root / "examples")},
        "model": {"base": "none", "init": "random", "architecture": "gpt2",
                  "config": {"hidden_size": 16, "intermediate_size": 32, "layers": 1, "heads": 2}},
        "optimizer": {"lr": 1e-2, "decay": "constant"},
        "batch": {"train": 8, "accumulation": 1, "seq_length": 48},
        "train": {"checkpoint_dir": str(root / "run"), "max_steps": 12, "validate_every": 4,
                  "checkpoint_every": 4, "log_every": 2, "precision": "fp32"},
        "validate": {"examples": 20, "target": "infill"},
    }
    for section, change in changes.items():
        values[section] = values.get(section, {}) | change
    return values


def write_config(root: Path, **changes: Any) -> Path:
    """The configuration as a file."""
    path = root / "c.yaml"
    path.write_text(yaml.safe_dump(
        {"resources": {"gpus": 0}, "parameters": parameters(root, **changes)}))
    return path
