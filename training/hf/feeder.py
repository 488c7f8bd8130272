"""The next step's samples are read while the device computes this one."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from training.data import TokenStream
from training.hf.parallel import World
from training.settings import Settings


class Feeder:
    """Samples by step. Update s goes on in the stream where the tokens of all updates before it
    end, whatever their lengths were; each process has an equal share of its samples, in order.
    Which ones depends on nothing that has happened.
    """

    def __init__(self, stream: TokenStream, settings: Settings, world: World) -> None:
        self.stream = stream
        self.settings = settings
        self.world = world
        self.last = settings.train.max_steps
        self.waited = 0.0  # seconds that the device had nothing to do
        self._reader = ThreadPoolExecutor(max_workers=1)
        self._ahead: tuple[int, Future[npt.NDArray[np.int64]]] | None = None

    def take(self, step: int) -> torch.Tensor:
        """This process's samples of an update, of shape (batch / processes, length + 1)."""
        start = time.perf_counter()
        ready = self._ahead[1] if self._ahead and self._ahead[0] == step else self._read(step)
        rows = ready.result()
        self.waited += time.perf_counter() - start
        self._ahead = (step + 1, self._read(step + 1)) if step < self.last else None
        return torch.from_numpy(rows)

    def _read(self, step: int) -> Future[npt.NDArray[np.int64]]:
        stage = self.settings.stage(step)
        share = stage.batch_size // self.world.size
        position = self.settings.consumed(step - 1)[1] + self.world.rank * share * stage.seq_len
        return self._reader.submit(self.stream.batch, position, share, stage.seq_len + 1)

    def close(self, *_: Any) -> None:
        """End the reading thread."""
        self._reader.shutdown(wait=True, cancel_futures=True)
