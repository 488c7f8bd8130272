"""Trends: seen through noise, not seen in it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import trend

FALLING = [5.0, 4.0, 3.0, 3.5, 2.0, 2.1]


def test_a_noisy_fall_is_one():
    seen = trend.of(FALLING)
    assert (seen.before, seen.after) == (4.5, 2.05)
    assert seen.shows("down") and not seen.shows("up")


def test_four_rows_in_order_are_the_fewest_that_show_a_trend():
    assert trend.of([4, 3, 2, 1]).shows("down")
    assert not trend.of([3, 2, 1]).shows("down")
    assert trend.LEAST == 4


def test_a_fall_and_a_rise_above_where_it_began_is_no_fall():
    values = [3.0] * 3 + [2.9 - 0.01 * i for i in range(40)] + [3.5] * 22
    assert not trend.of(values).shows("down")


@pytest.mark.parametrize("values", [[1.0] * 30, [1, 2, 1, 2, 1, 2]], ids=["constant", "to-and-fro"])
def test_no_trend_is_none(values):
    assert not trend.of(values).shows("down") and not trend.of(values).shows("up")


def test_of_noise_few_show_a_trend():
    draw = random.Random(1)
    seen = [trend.of([draw.gauss(0, 1) for _ in range(20)]).shows("down") for _ in range(400)]
    assert 0.01 < sum(seen) / 400 < 0.08, "the level is 5 %, and the medians must agree"


def test_p_is_the_published_one():
    # S = -11 of six values without ties: (11 - 1) / sqrt(6 * 5 * 17 / 18) = 1.879, p = 0.0301
    assert trend.of(FALLING).falling == pytest.approx(0.0301, abs=1e-4)


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=60))
def test_a_series_turned_round_has_the_other_trend(values):
    seen, turned = trend.of(values), trend.of([-value for value in values])
    assert seen.shows("down") == turned.shows("up")
    assert seen.falling == pytest.approx(turned.rising)


def test_a_long_series_is_seen_in_blocks():
    draw = random.Random(2)
    values = [5 - i / 4000 + draw.gauss(0, 2) for i in range(8000)]
    assert trend.of(values).shows("down")
