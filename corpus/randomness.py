"""Random numbers that belong to a document, not to a process."""

from __future__ import annotations

import numpy as np

_BUFFER = 256  # numbers drawn at once: a scalar call of numpy costs as much as fifty of these


class Draws:
    """A stream of uniform numbers in [0, 1) keyed by (seed, global document index).

    The generator is Philox 4x64, counter-based (Salmon et al., "Parallel random numbers: as easy
    as 1, 2, 3", SC 2011): its key is the pair itself, so that the stream of a document is the same
    in any chunk, worker or order, and no two documents share one.
    """

    def __init__(self, seed: int, document: int) -> None:
        key = np.array([seed, document], dtype=np.uint64)
        self._generator = np.random.Generator(np.random.Philox(key=key))
        self._buffer: list[float] = []

    def uniform(self) -> float:
        """The next number, in [0, 1)."""
        if not self._buffer:
            self._buffer = self._generator.random(_BUFFER).tolist()
            self._buffer.reverse()
        return self._buffer.pop()

    def below(self, n: int) -> int:
        """A whole number in [0, n), uniform to within n / 2**53."""
        return int(self.uniform() * n)
