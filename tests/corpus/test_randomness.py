from __future__ import annotations

from corpus.randomness import Draws


def numbers(seed: int, document: int, count: int = 600) -> list[float]:
    draws = Draws(seed, document)
    return [draws.uniform() for _ in range(count)]


def test_a_stream_is_its_key() -> None:
    assert numbers(1, 2) == numbers(1, 2)
    assert len({tuple(numbers(*key)) for key in ((1, 2), (2, 1), (1, 3), (0, 0))}) == 4
    assert numbers((1 << 64) - 1, 1 << 40) != numbers(0, 0)


def test_numbers_are_uniform() -> None:
    drawn = [number for document in range(50) for number in numbers(42, document)]
    assert all(0 <= number < 1 for number in drawn)
    assert abs(sum(drawn) / len(drawn) - 0.5) < 0.01
    draws = Draws(42, 0)
    counts = [0] * 7
    for _ in range(7000):
        counts[draws.below(7)] += 1
    assert min(counts) > 850
