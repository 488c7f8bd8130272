"""Figures as documents write them, and their units."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import units
from ledger.names import LedgerError
from ledger.units import Quantity, Written

WRITTEN = [
    ("524,288", 524288, 1, (), ""),
    ("4.05 %", 0.0405, 0.01, (), "%"),
    ("20.5 h", 73800, 0.1, (("second", 1),), "h"),
    ("22.4GiB", 22.4 * 2**30, 0.1, (("byte", 1),), "GiB"),
    ("1.80", 1.8, 0.01, (), ""),
    ("16e6", 16_000_000, 1e6, (), ""),
    ("1e-4", 1e-4, 1e-4, (), ""),
    ("1.8 billion tokens", 1.8e9, 0.1, (("token", 1),), "billion tokens"),
    ("3 M", 3_000_000, 1, (), "M"),
    ("3 MB", 3_000_000, 1, (("byte", 1),), "MB"),
    ("100 tokens/s", 100, 1, (("second", -1), ("token", 1)), "tokens/s"),
    ("-0.5", -0.5, 0.1, (), ""),
]


@pytest.mark.parametrize(("text", "value", "step", "powers", "unit"), WRITTEN,
                         ids=[case[0] for case in WRITTEN])  # fmt: skip
def test_a_figure(text, value, step, powers, unit):
    found = units.written(text)
    assert isinstance(found, Written)
    number = found.value.number if isinstance(found.value, Quantity) else found.value
    assert number == pytest.approx(value, rel=1e-12)
    assert found.step == pytest.approx(step)
    assert (found.powers, found.unit) == (tuple(sorted(powers)), unit)


@pytest.mark.parametrize("text", ["bf16-mixed", "", "gpt2", "1,23", "8xA100", "1 2", "--3"])
def test_no_figure(text):
    assert units.written(text) is None


@pytest.mark.parametrize(("text", "said"), [
    ("3 GBs", "'GBs' is no unit; did you mean 'GB'"), ("3 tokens/x", "'x' is no unit"),
    ("1e400", "out of proportion"),
])  # fmt: skip
def test_a_figure_that_is_wrong(text, said):
    with pytest.raises(LedgerError, match=said):
        units.written(text)


def test_a_number_has_the_digits_it_is_written_with():
    assert units.of(0.25).step == pytest.approx(0.01)
    assert units.of(10000).step == 1
    with pytest.raises(LedgerError, match="finite"):
        units.of(float("nan"))


SIZES = [
    (320 * 10**9, "byte", "320 GB"), (1500, "byte", "1,500 bytes"), (2000, "byte", "2 kB"),
    (5400, "second", "90 min"), (86400 * 3, "second", "3 days"), (30, "second", "30 s"),
    (0, "second", "0 s"), (5_242_880_000, "token", "5,242,880,000 tokens"),
]  # fmt: skip


@pytest.mark.parametrize(("number", "base", "text"), SIZES, ids=[case[2] for case in SIZES])
def test_a_quantity_reads_well(number, base, text):
    assert str(Quantity(number, ((base, 1),))) == text


SCALES = [(1234567.0, "1,234,567"), (0.000123, "0.000123"), (1234567.891, "1,234,567.89"),
          (10**20, "1e+20"), (2.5, "2.5"), (-3, "-3")]  # fmt: skip


@pytest.mark.parametrize(("number", "text"), SCALES, ids=[case[1] for case in SCALES])
def test_a_number_reads_well(number, text):
    assert units.group(number) == text


@given(st.integers(1, 10**6), st.sampled_from(sorted(units.UNITS)))
def test_a_conversion_inverts(number, name):
    factor, powers = units.unit(name)
    assert number * factor / factor == pytest.approx(number)
    assert units.combine(powers, powers, -1) == ()
    assert units.unit(f"{name}/{name}") == (1, ())


@given(st.sampled_from(sorted(units.UNITS)), st.sampled_from(sorted(units.UNITS)))
def test_a_rate_times_its_unit_is_what_it_was(one, other):
    rate, of_rate = units.unit(f"{one}/{other}")
    factor, powers = units.unit(other)
    whole, of_whole = units.unit(one)
    assert rate * factor == pytest.approx(whole)
    assert units.combine(of_rate, powers, 1) == of_whole


@given(st.decimals(min_value=-10**9, max_value=10**9, places=4))
def test_what_is_written_is_read(number):
    found = units.written(str(number))
    assert found is not None and found.number == pytest.approx(float(number))
    assert found.step == pytest.approx(1e-4)


def test_powers_are_bounded():
    powers = (("byte", units.MAX_POWER),)
    with pytest.raises(LedgerError, match="means nothing"):
        units.combine(powers, (("byte", 1),), 1)
