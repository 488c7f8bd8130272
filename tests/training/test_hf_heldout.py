"""What a validation measures: tokens weigh alike, and what comes next is what is predicted."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from training.config import load_settings, parse_arguments
from training.hf.guards import Stop
from training.hf.heldout import Seen, measure
from training.hf.loss import IGNORE, count_right
from training.hf.parallel import World
from training.hf.run import Run, setup

SHAPE = {"hidden_size": 16, "intermediate_size": 32, "layers": 2, "heads": 2}
GPT2 = {"architecture": "gpt2", "config": SHAPE}
# Documents of very different numbers of ends, so that batches count differently many targets.
PLAIN = {"reset_position_ids": False, "reset_attention_mask": False, "eod_mask_loss": True}
LOOK = {"batch": 2, "accuracy": True}


@pytest.fixture
def run(job: Callable[..., Path], tmp_path: Path) -> Run:
    torch.set_num_threads(1)
    path = job(model=GPT2, train={"validation": LOOK, "validate_batches": 0} | PLAIN)
    settings = load_settings(parse_arguments(["--config", str(path)], "test"), 1)
    made = setup(settings, World(0, 1, torch.device("cpu")), Stop())
    assert made is not None
    return made


def by_hand(run: Run, length: int) -> list[tuple[float, int, int]]:
    """Sum of losses, right predictions and targets of each batch of two, from logits alone."""
    stream, found = run.corpus.validation, []
    samples = (stream.total - 1) // length
    for first in range(0, samples, 2):
        rows = min(2, samples - first)
        tokens = torch.from_numpy(stream.batch(first * length, rows, length + 1))
        with torch.no_grad():
            logits = run.model.eval()(tokens[:, :-1]).logits
        wanted, counts = tokens[:, 1:], tokens[:, :-1] != run.settings.eod
        losses = torch.logsumexp(logits, -1) - logits.gather(-1, wanted[..., None])[..., 0]
        right = (logits.argmax(-1) == wanted) & counts
        found.append((float(losses[counts].sum()), int(right.sum()), int(counts.sum())))
    return found


@pytest.mark.parametrize("length", [3, 5])
def test_tokens_weigh_alike_and_labels_are_shifted(run: Run, length: int) -> None:
    batches = by_hand(run, length)
    sizes = {count for _, _, count in batches}
    assert len(sizes) > 1, "or a mean of means would be the same"
    seen = measure(run, length)
    assert seen is not None
    total = sum(count for _, _, count in batches)
    assert seen.loss == pytest.approx(sum(loss for loss, _, _ in batches) / total, rel=1e-5)
    assert seen.accuracy == pytest.approx(sum(right for _, right, _ in batches) / total)
    assert seen.samples == (run.corpus.validation.total - 1) // length
    row = seen.row("val")
    assert row["val/perplexity"] == math.exp(seen.loss)
    of_batches = [math.exp(loss / count) for loss, _, count in batches]
    assert abs(row["val/perplexity"] - sum(of_batches) / len(of_batches)) > 1e-5
    assert run.trainee.training, "validation leaves the model as it was"


def test_no_accuracy_unless_asked_for() -> None:
    assert Seen(1.0, None, 5, 16).row("val") == {
        "val/loss": 1.0, "val/perplexity": math.e, "val/length": 16,
    }  # fmt: skip


@pytest.mark.parametrize("at_a_time", [1 << 27, 8])
def test_right_predictions_are_counted_in_pieces(
    monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    monkeypatch.setattr("training.hf.loss.LOGITS_AT_A_TIME", at_a_time)
    hidden = torch.eye(6)
    targets: Any = torch.tensor([0, 1, 5, IGNORE, 4, 2])
    assert float(count_right(hidden, torch.eye(6), targets)) == 3
