"""The next step's samples are read while this one is computed, and each process gets its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from training.config import load_settings, parse_arguments
from training.data import TokenStream, open_corpus
from training.hf.feeder import Feeder
from training.hf.parallel import World


class Watched:
    """A stream that tells when a batch has been read."""

    def __init__(self, stream: TokenStream) -> None:
        self.stream = stream
        self.read: list[int] = []
        self.done = threading.Condition()

    def batch(self, position: int, count: int, length: int) -> npt.NDArray[np.int64]:
        rows = self.stream.batch(position, count, length)
        with self.done:
            self.read.append(position)
            self.done.notify_all()
        return rows

    def has_read(self, position: int) -> bool:
        """Wait until a batch has been read by itself; False if it does not come."""
        with self.done:
            return self.done.wait_for(lambda: position in self.read, timeout=60)


@pytest.fixture
def fed(job: Callable[..., Path]) -> Callable[..., Any]:
    settings = load_settings(parse_arguments(["--config", str(job())], "test"), 1)
    stream = open_corpus(settings.data, settings.model, settings.seed).train

    @contextmanager
    def make(stream: Any = stream, rank: int = 0, size: int = 1) -> Iterator[Feeder]:
        feeder = Feeder(stream, settings, World(rank, size, torch.device("cpu")))
        yield feeder
        feeder.close()

    make.stream = stream  # type: ignore[attr-defined]
    return make


def test_the_next_step_is_read_before_it_is_asked_for(fed: Any) -> None:
    watched = Watched(fed.stream)
    with fed(watched) as feeder:
        for step in range(1, 20):
            feeder.take(step)
            assert watched.has_read(64 * step)  # the first of the next one's 4 samples of 16
            assert watched.read == [64 * done for done in range(step + 1)]
        feeder.take(20)
    assert len(watched.read) == 20  # the last step of the run has none after it


def test_processes_share_a_step_in_order(fed: Any) -> None:
    with fed() as whole, fed(rank=0, size=2) as first, fed(rank=1, size=2) as second:
        for step in (1, 2, 7):  # 7: as a resumed run does
            halves = torch.cat([first.take(step), second.take(step)])
            assert torch.equal(whole.take(step), halves)


def test_what_fails_while_reading_ahead_is_told_where_it_is_needed(fed: Any) -> None:
    class Broken(Watched):
        def batch(self, position: int, count: int, length: int) -> npt.NDArray[np.int64]:
            if position == 128:
                raise OSError("the disk is gone")
            return super().batch(position, count, length)

    with fed(Broken(fed.stream)) as feeder:
        feeder.take(1)
        feeder.take(2)
        with pytest.raises(OSError, match="the disk is gone"):
            feeder.take(3)
