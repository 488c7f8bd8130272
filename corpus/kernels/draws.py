"""Random numbers that belong to a document, not to a process.

Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) is keyed
with the study's seed and counts with the document's number in the corpus: the stream of a document
is the same in any chunk, thread or order, and no two documents share one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from corpus.kernels.tables import inline, kernel

Draws = NDArray[np.uint64]  # seed, document, block, numbers left, then four numbers of the block
_LOW = 0xFFFFFFFF


def new_draws(seed: int, document: int = 0) -> Draws:
    """The stream of `document`; both numbers are from 0 to 2**64 - 1."""
    return np.array([seed, document, 0, 0, 0, 0, 0, 0], np.uint64)


@inline
def restart(draws: Draws, document: int) -> None:
    """Turn to the stream of another document."""
    draws[1], draws[2], draws[3] = document, 0, 0


@kernel
def _next_block(draws: Draws) -> None:
    low, half = np.uint64(_LOW), np.uint64(32)
    key0, key1 = draws[0] & low, draws[0] >> half
    a, b = draws[2] & low, draws[2] >> half
    c, d = draws[1] & low, draws[1] >> half
    for _ in range(10):
        left, right = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b, c, d = (right >> half) ^ b ^ key0, right & low, (left >> half) ^ d ^ key1, left & low
        key0 = (key0 + np.uint64(0x9E3779B9)) & low
        key1 = (key1 + np.uint64(0xBB67AE85)) & low
    draws[4], draws[5], draws[6], draws[7] = d, c, b, a
    draws[2] += np.uint64(1)
    draws[3] = 4


@inline
def next32(draws: Draws) -> np.uint64:
    """The next number, uniform in [0, 2**32)."""
    if draws[3] == 0:
        _next_block(draws)
    draws[3] -= np.uint64(1)
    return draws[np.uint64(4) + draws[3]]


@inline
def below(draws: Draws, n: int) -> int:
    """A whole number in [0, n), exactly uniform, for n from 1 to 2**32.

    Lemire, "Fast random integer generation in an interval" (ACM TOMACS 29, 2019).
    """
    size = np.uint64(n)
    product = next32(draws) * size
    rest = product & np.uint64(_LOW)
    if rest < size:
        least = (np.uint64(1 << 32) - size) % size
        while rest < least:
            product = next32(draws) * size
            rest = product & np.uint64(_LOW)
    return np.int64(product >> np.uint64(32))


@inline
def happens(draws: Draws, probability: float) -> bool:
    """True with `probability`, to within 2**-32; never for 0, always for 1."""
    return np.float64(next32(draws)) < probability * 4294967296.0
