"""The loss over held-out text, cut into samples of one length."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from training.hf.device import autocast
from training.hf.layers import as_written
from training.hf.packing import count_targets
from training.hf.run import Run
from training.settings import Settings


@dataclass(frozen=True)
class Seen:
    """What was seen: nats a token over all tokens together, the share of them that had the highest
    logit (None where nobody asked), and how many samples of which length."""

    loss: float
    accuracy: float | None
    samples: int
    length: int

    def row(self, group: str) -> dict[str, float]:
        """For metrics.jsonl. The perplexity is that of the mean over tokens: a mean of batches'
        perplexities would be another number, and depend on how text falls into batches."""
        found = {"loss": self.loss, "perplexity": math.exp(min(self.loss, 700.0))}
        if self.accuracy is not None:
            found["accuracy"] = self.accuracy
        found["length"] = self.length
        return {f"{group}/{name}": value for name, value in found.items()}


def samples_of(settings: Settings, total: int, length: int) -> int:
    """How many samples of a length a validation reads of `total` held-out tokens.

    As many as hold validate_batches x batch x model.seq_length tokens, so that it is the same text
    at every length; all that there are with validate_batches 0.
    """
    train = settings.train
    there = (total - 1) // length
    if not train.validate_batches:
        return there
    batch = train.validation.batch or settings.batch.global_size
    most = train.validate_batches * batch * settings.model.seq_length // length
    return min(there, max(most, 1))


def measure(run: Run, length: int) -> Seen | None:
    """Held-out text in samples of `length`; None when a signal came in between."""
    settings, world, device = run.settings, run.world, run.world.device
    stream, score = run.corpus.validation, settings.train.validation.accuracy
    size = settings.train.validation.batch or settings.validated(run.step).micro
    samples = samples_of(settings, stream.total, length)
    totals, count = [0.0, 0.0], 0
    run.trainee.eval()
    as_is = as_written(run.compiled)
    with torch.no_grad(), autocast(run.precision, device), run.pace.pause(), as_is:
        for first in range(0, samples, size * world.size):
            run.agree()
            if run.halt:
                break
            mine = first + world.rank * size
            rows = min(size, samples - mine)
            # A process with none left computes one for nothing: shares of weights need them all.
            start = min(mine, samples - 1) * length
            tokens = torch.from_numpy(stream.batch(start, max(rows, 1), length + 1))
            found = run.trainee(tokens.to(device), score).reshape(-1).tolist()
            if rows > 0:
                totals = [total + one for total, one in zip(totals, (*found, 0.0), strict=False)]
                count += count_targets(tokens, settings.data, settings.eod)
    run.trainee.train()
    if run.halt:
        return None
    loss, right, seen = world.sum(*totals, count)
    seen = max(seen, 1)
    return Seen(loss / seen, right / seen if score else None, samples, length)
