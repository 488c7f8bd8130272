"""The random numbers of corpus.kernels.draws against a Philox of our own and published answers."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

ONES = 0xFFFFFFFF
KEYS = st.integers(0, (1 << 64) - 1)


@pytest.fixture(scope="module", autouse=True)
def kernels(vocabulary) -> None:
    """Loading a vocabulary says where compiled kernels are kept, before the first is imported."""


def stream(seed: int, document: int, count: int, block: int = 0) -> list[int]:
    from corpus.kernels.draws import new_draws, next32

    draws = new_draws(seed, document)
    draws[2] = block
    return [int(next32(draws)) for _ in range(count)]


def philox(counter: tuple[int, ...], key: tuple[int, ...]) -> list[int]:
    """Philox 4x32-10 as its paper has it: ten rounds of two multiplications and two xors."""
    a, b, c, d = counter
    k, l = key  # noqa: E741 - the two words of the key
    for number in range(10):
        if number:
            k, l = (k + 0x9E3779B9) & ONES, (l + 0xBB67AE85) & ONES  # noqa: E741
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = second >> 32 ^ b ^ k, second & ONES, first >> 32 ^ d ^ l, first & ONES
    return [a, b, c, d]


ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]


@pytest.mark.parametrize(("counter", "key", "answer"), ANSWERS, ids=["zeros", "ones", "pi"])
def test_known_answers_of_random123(
    counter: tuple[int, ...], key: tuple[int, ...], answer: tuple[int, ...]
) -> None:
    """A counter is the block, then the document, and a key the seed: each low word first."""
    assert tuple(philox(counter, key)) == answer
    low0, high0, low1, high1 = counter
    assert stream(key[1] << 32 | key[0], high1 << 32 | low1, 4, high0 << 32 | low0) == list(answer)


@given(seed=KEYS, document=KEYS)
def test_a_stream_is_blocks_in_order(seed: int, document: int) -> None:
    key = (seed & ONES, seed >> 32)
    counter = (document & ONES, document >> 32)
    wanted = [number for block in range(4) for number in philox((block, 0, *counter), key)]
    assert stream(seed, document, 16) == wanted


def test_the_count_of_blocks_carries_into_its_high_word() -> None:
    assert stream(7, 9, 8, ONES) == philox((ONES, 0, 9, 0), (7, 0)) + philox((0, 1, 9, 0), (7, 0))


@given(one=st.tuples(KEYS, KEYS), other=st.tuples(KEYS, KEYS))
def test_streams_differ_by_seed_and_by_document(one, other) -> None:
    assert (stream(one[0], one[1], 8) == stream(other[0], other[1], 8)) == (one == other)
    assert stream(one[0], one[1], 8) != stream(one[0] ^ 1 << 63, one[1], 8)
    assert stream(one[0], one[1], 8) != stream(one[0], one[1] ^ 1 << 32, 8)


def test_restart_forgets_what_was_drawn() -> None:
    from corpus.kernels.draws import new_draws, next32, restart

    draws = new_draws(3, 4)
    for _ in range(7):
        next32(draws)
    for document in (5, 1 << 40):
        restart(draws, document)
        assert [int(next32(draws)) for _ in range(6)] == stream(3, document, 6)


def test_below_at_its_bounds() -> None:
    from corpus.kernels.draws import below, new_draws

    draws = new_draws(1, 2)
    assert {below(draws, 1) for _ in range(9)} == {0}
    draws = new_draws(1, 2)
    assert [below(draws, 1 << 32) for _ in range(9)] == stream(1, 2, 9)
    assert {below(draws, 2) for _ in range(99)} == {0, 1}


def lemire(numbers: list[int], n: int) -> list[int]:
    """What `below` makes of `numbers`: each in turn, or none where it falls into the rest."""
    least = (1 << 32) % n
    return [number * n >> 32 for number in numbers if number * n & ONES >= least]


@pytest.mark.parametrize("n", [3, 7, 1000, (1 << 31) + 1, 3 << 30, (1 << 32) - 1])
def test_below_rejects_just_what_would_be_too_much(n: int) -> None:
    from corpus.kernels.draws import below, new_draws

    draws = new_draws(11, 12)
    wanted = lemire(stream(11, 12, 400), n)
    assert [below(draws, n) for _ in range(len(wanted))] == wanted


def test_lemires_rule_is_exactly_uniform() -> None:
    """With 8 bits in place of 32, where all numbers can be tried: each value comes as often."""
    for n in range(1, 257):
        least = 256 % n
        counts = Counter(number * n >> 8 for number in range(256) if number * n & 255 >= least)
        assert set(counts.values()) == {256 // n} and sorted(counts) == list(range(n))


def test_happens_never_and_always_and_in_between() -> None:
    from corpus.kernels.draws import happens, new_draws

    draws = new_draws(5, 6)
    assert not any(happens(draws, 0.0) for _ in range(999))
    assert all(happens(draws, 1.0) for _ in range(999))
    draws = new_draws(5, 6)
    wanted = [number < 0.3 * 2**32 for number in stream(5, 6, 999)]
    assert [happens(draws, 0.3) for _ in range(999)] == wanted
