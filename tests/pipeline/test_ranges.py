"""Sets of task numbers as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ranges import MOST, from_ranges, to_ranges


@given(st.sets(st.integers(0, 500)))
def test_round_trip(numbers):
    assert from_ranges(to_ranges(numbers)) == sorted(numbers)


@given(st.sets(st.integers(1, 60), min_size=1))
def test_the_text_is_the_shortest(numbers):
    parts = to_ranges(numbers).split(",")
    runs = sum(n - 1 not in numbers for n in numbers)
    assert len(parts) == runs


@given(st.lists(st.integers(1, 50)))
def test_order_and_repetition_do_not_matter(numbers):
    assert to_ranges(numbers) == to_ranges(reversed(numbers)) == to_ranges(set(numbers))


CASES = [
    ("none", "", []),
    ("one", "7", [7]),
    ("range", "1-3", [1, 2, 3]),
    ("both", "1-3,7", [1, 2, 3, 7]),
    ("spaces", " 1 - 3 , 7 ", [1, 2, 3, 7]),
    ("unsorted", "7,1-3", [1, 2, 3, 7]),
    ("overlap", "1-3,2-4", [1, 2, 3, 4]),
    ("trailing-comma", "1,", [1]),
    ("single-range", "5-5", [5]),
]


@pytest.mark.parametrize(("text", "numbers"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_reads(text, numbers):
    assert from_ranges(text) == numbers


REFUSED = [
    "a", "1-", "-1", "3-1", "1--3", "1-2-3", "1.5", "1;2", "1 2", "0x3", "+1", "1-x", "one",
    "1-9999999999", f"1-{MOST + 1}", "9" * 5000, "\u0661",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED, ids=[t[:12] for t in REFUSED])
def test_refuses(text):
    with pytest.raises(ValueError, match=r"neither|before|more than"):
        from_ranges(text)


def test_ten_thousand_tasks_are_one_line():
    assert to_ranges(range(1, 10_001)) == "1-10000"
    assert len(from_ranges(f"1-{MOST}")) == MOST
