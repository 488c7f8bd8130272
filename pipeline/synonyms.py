"""The names that studies have for the same thing: of each row the first key that is there counts.

Sections of a built-in training are checked (pipeline/sections.py); a `command` reads sections of
any form, and `plan` looks for its figures under these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.shapes import at, count

MICRO = ("batch.micro", "batch.train", "batch.per_device")  # examples on one GPU at a time
GLOBAL = ("batch.global", "batch.effective")  # examples of an update
ACCUMULATION = ("batch.accumulation", "train.accumulation")
LENGTH = (
    "model.seq_length", "batch.seq_length", "data.max_input_length", "dataset.max_length",
    "data.max_length", "model.max_length",
)  # fmt: skip
TARGET = ("data.max_target_length", "dataset.max_target_length")  # of a decoder behind an encoder
STEPS = ("train.max_steps", "schedule.max_steps")
EPOCHS = ("train.epochs", "schedule.epochs")
EVALUATE_EVERY = (
    "train.validate_every", "validate.every", "train.eval_every", "schedule.eval_every",
)  # fmt: skip
SAVE_EVERY = ("train.checkpoint_every", "schedule.save_every", *EVALUATE_EVERY)
LOG_EVERY = ("train.log_every", "schedule.log_every", "train.summary_every")
KEPT = ("train.keep_checkpoints", "schedule.keep")
RATE = ("optimizer.lr",)
WARMUP_STEPS = ("optimizer.warmup_steps",)
WARMUP_RATIO = ("optimizer.warmup_ratio",)
PRECISION = ("train.precision", "memory.precision", "precision.mode")
CHECKPOINTING = (
    "train.activation_checkpointing", "memory.gradient_checkpointing",
    "precision.gradient_checkpointing",
)  # fmt: skip
# What there is to learn from: what is trained on, else all of it, of which a share is.
TRAIN_EXAMPLES = ("data.train_examples", "dataset.train_examples", "level.train_examples")
EXAMPLES = (
    "data.examples", "dataset.examples", "level.examples", "dataset.conversations",
    "corpus.examples",
)  # fmt: skip
TRAIN_TOKENS = ("data.train_tokens", "dataset.train_tokens", "corpus.train_tokens")
TOKENS = ("data.tokens", "dataset.tokens", "corpus.tokens")
TRAIN_DOCUMENTS = (
    "data.train_documents", "dataset.train_documents", "dataset.train", "corpus.train_articles",
)  # fmt: skip
DOCUMENTS = (
    "data.documents", "dataset.documents", "level.documents", "dataset.articles",
    "corpus.documents", "corpus.articles",
)  # fmt: skip
EACH = ("data.examples_per_document", "mask.examples_per_document")
SPLIT = ("data.split", "dataset.split", "corpus.split")  # shares, the one to train on first
HELD_OUT = ("data.validation_share", "dataset.validation_share", "corpus.validation_share")


def whole(parameters: Mapping[str, Any], keys: Sequence[str]) -> int | None:
    """The first of these that is a number of things."""
    return next(filter(None, (count(parameters, key) for key in keys)), None)


def number(parameters: Mapping[str, Any], keys: Sequence[str]) -> float | None:
    """The first of these that is a number above 0."""
    for key in keys:
        value = at(parameters, key, float) or at(parameters, key, int)
        if value and value is not True and 0 < value < 1e12:
            return float(value)
    return None


def train_share(parameters: Mapping[str, Any]) -> float:
    """The part of the documents that is trained on; 1 where the study does not divide them."""
    learnt, documents = whole(parameters, TRAIN_DOCUMENTS), whole(parameters, DOCUMENTS)
    if learnt and documents and learnt <= documents:
        return learnt / documents
    parts = at(parameters, "partition.parts", dict) or {}
    shares = [parts.get("train"), *(v for k, v in parts.items() if k != "train")]
    for split in (shares, *(at(parameters, key, list) or [] for key in SPLIT)):
        if share := first_share(split):
            return share
    held_out = number(parameters, HELD_OUT)
    return 1 - held_out if held_out and held_out < 1 else 1.0


def first_share(split: Sequence[Any]) -> float:
    """The first of some shares, of their sum; 0 where they are none."""
    numbers = [s for s in split if isinstance(s, int | float) and not isinstance(s, bool)]
    if len(numbers) < 2 or len(numbers) < len(split) or min(numbers) < 0 or not sum(numbers):
        return 0.0
    return float(numbers[0] / sum(numbers))
