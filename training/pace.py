"""How fast a run goes, on both back ends: tokens a second, utilisation, memory, time left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.hf.device import memory_bytes, peak_flops
from training.settings import Settings

if TYPE_CHECKING:
    import torch


def flops_per_token(parameters: int, heads: int, width: int, seen: int) -> float:
    """Floating point operations that one token costs in training, forward and backward.

    6 N + 12 L H Q T of the PaLM paper (arXiv:2204.02311, appendix B): N `parameters` that multiply
    (an input embedding that is not the head's only looks up), H `heads` of `width` Q; `seen` is
    L T, the tokens looked at summed over the layers. Activations that are computed a second time
    do not count, and neither does causality, as there.
    """
    return float(6 * parameters + 12 * heads * width * seen)


@dataclass
class Measured:
    """What was measured since the last row."""

    row: dict[str, float]
    tokens_per_second: float
    remaining_s: float


class Pace:
    """Tokens a second, model FLOP utilisation, memory and time left.

    The utilisation is tokens a second x operations a token (`flops`), over the peak of all devices;
    training alone counts, without validation and checkpoints. The time left is what the tokens of
    this attempt took, those pauses included, times the tokens left.
    """

    def __init__(
        self, settings: Settings, flops: float, device: torch.device, devices: int, precision: str
    ) -> None:
        self.settings = settings
        self.device = device
        self.flops = flops
        peak, self.source = peak_flops(device, precision)
        self.peak = peak * devices
        self.paused = 0.0  # seconds since the last row that were no training
        self._begun: tuple[int, float] | None = None  # tokens, seconds
        self._since = (0, 0.0, 0.0)

    def start(self, step: int) -> None:
        """Before the first step of this attempt."""
        self._begun = (self.settings.consumed(step)[1], time.perf_counter())
        self._since = (*self._begun, 0.0)
        self.paused = 0.0

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Around what is not training."""
        start = time.perf_counter()
        yield
        self.paused += time.perf_counter() - start

    def measure(self, step: int, waited: float | None = None) -> Measured:
        """The pace since the last call; `waited` is how many seconds steps have waited for data
        in all, where that is known."""
        assert self._begun is not None
        now = time.perf_counter()
        before, then, waited_before = self._since
        seconds = max(now - then - self.paused, 1e-9)
        tokens = self.settings.consumed(step)[1]
        self._since, self.paused = (tokens, now, waited or 0.0), 0.0
        rate = (tokens - before) / seconds
        each = (now - self._begun[1]) / (tokens - self._begun[0])
        left = self.settings.consumed(self.settings.train.max_steps)[1] - tokens
        row = {
            "train/tokens_per_second": rate,
            "train/memory_bytes": float(memory_bytes(self.device)),
            "train/mfu": rate * self.flops / self.peak,
        }
        if waited is not None:
            row["train/data_wait"] = (waited - waited_before) / seconds
        return Measured(row, rate, each * left)
