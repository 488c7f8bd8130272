"""Micro-batches for a training over padded examples, made while the update before is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from training.hf.task import Batch

Wanted = tuple[Sequence[int], int]  # numbers of examples, and the epoch


class Batches:
    """Collates with so many threads one update ahead; with none, when it is asked.

    With `pin` the tensors lie in page-locked memory of the host, which a GPU reads faster and
    while it computes; it takes none of the GPU's own.
    """

    def __init__(
        self, collate: Callable[[Sequence[int], int], Batch], workers: int, pin: bool
    ) -> None:
        self.collate, self.pin = collate, pin
        self.pool = ThreadPoolExecutor(workers) if workers else None
        self.ahead: dict[int, list[Future[Batch]]] = {}

    def take(
        self, step: int, wanted: Callable[[int], Sequence[Wanted]], last: int
    ) -> Sequence[Batch]:
        """The micro-batches of an update; those of the next are begun, up to update `last`."""
        if self.pool is None:
            return [self._make(one) for one in wanted(step)]
        mine = self.ahead.pop(step, None) or self._begin(wanted(step))
        self.ahead = {step + 1: self._begin(wanted(step + 1))} if step < last else {}
        return [future.result() for future in mine]

    def _begin(self, wanted: Sequence[Wanted]) -> list[Future[Batch]]:
        assert self.pool is not None
        return [self.pool.submit(self._make, one) for one in wanted]

    def _make(self, wanted: Wanted) -> Batch:
        batch = self.collate(*wanted)
        return {name: tensor.pin_memory() for name, tensor in batch.items()} if self.pin else batch

    def close(self) -> None:
        """Let go of the threads; what they have begun is thrown away."""
        if self.pool:
            self.pool.shutdown(cancel_futures=True)
