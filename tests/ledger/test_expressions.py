"""The language of claims: Python's arithmetic, units, a study's names, and no way out of it."""

from __future__ import annotations

import math
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.expressions import parse
from ledger.names import LedgerError
from ledger.operations import MAX_BITS
from ledger.syntax import MAX_DEPTH, MAX_LENGTH, ExpressionError
from ledger.units import Quantity
from tests.draws import draws

NAMES = {
    "batch": {"global": 256, "micro": 2}, "model": {"seq_length": 2048, "base": "gpt2"},
    "optimizer": {"lr": 1e-4, "betas": [0.9, 0.95]}, "nothing": None, "on": True,
    "arms": {"t5-base": {"lora": {"r": 16}}, "C1": {"lora": {"r": 8}}},
    "stages": {"train": {"hours": [24, 48]}, "pre": {"hours": {"a": 4, "b": [7, 8]}}},
    "rows": [{"step": 0, "n": [1, 2]}, {"step": 10, "n": [3]}, {"step": 30, "n": []}],
    "levels": {"top-k": 50, "4": "four"},
}  # fmt: skip


def value(text):
    return parse(text).value(NAMES)


VALUES = [
    ("batch.global * model.seq_length", 524288),
    ("1_000 + 1e3 + 1 k", 3000),
    (".5 + 2.", 2.5),
    ("-2 ** 2", -4),
    ("2 ** -1", 0.5),
    ("2 ** 3 ** 2", 512),
    ("- -3 + +2", 5),
    ("7 // 2 * 2 + 7 % 2", 7),
    ("1 < 2 < 3", True),
    ("1 < 3 < 2", False),
    ("not 1 < 2 or 2 == 2 and on", True),
    ("not not on", True),
    ("1 if batch.micro == 2 else 1 / 0", 1),
    ("false and 1 / 0 == 1", False),
    ("model.base == 'gpt2'", True),
    ('model.base != "gpt2"', False),
    ("arms.t5-base.lora.r - arms.C1.lora.r", 8),
    ("arms.C1.lora.r-1", 7),
    ("arms[*].lora.r", [16, 8]),
    ("levels['top-k'] / 10", 5.0),
    ("levels[4]", "four"),
    ("optimizer.betas[-1]", 0.95),
    ("rows[1].step", 10),
    ("rows[1:].step", [10, 30]),
    ("rows[:-1].step", [0, 10]),
    ("rows[*].n[*]", [1, 2, 3]),
    ("(rows[*].step)[2]", 30),
    ("diff(concat(rows[*].step, 100))", [10, 20, 70]),
    ("sum(diff(rows[*].step) * [2, 3])", 80),
    ("3 * stages.train.hours + 2", [74, 146]),
    ("stages.pre.hours.b", [7, 8]),
    ("all(rows[*].step >= 0) and any(rows[*].step == 10)", True),
    ("[1, 2] < [2, 3] < 5", [True, True]),
    ("len(arms) + len(rows) + len('abc')", 8),
    ("sum([]) + prod([])", 1),
    ("max(1, 2.5) + min([3, 4]) + prod(2, 3)", 11.5),
    ("round(2.675, 1) + round(7.5)", 10.7),
    ("floor([1.5, -1.5])", [1, -2]),
    ("ceil(1.2) + abs(-3)", 5),
    ("round(log2(10_006) * 1000)", 13289),
    ("round(log(100, 10)) + log10(1000) + exp(0) + sqrt(9)", 9.0),
    ("5 % + 1", 1.05),
    ("(50 %) * 4", 2.0),
    ("17 % 5", 2),
    ("50 % if on else 0", 0.5),
    ("[5 %, 10 %]", [0.05, 0.1]),
    ("1.8 billion / 1 M", 1800),
    ("22.4 GiB / 1 GB", 22.4 * 2**30 / 1e9),
    ("100 tokens/s * 2 h / 1 k tokens", 720),
    ("7 GB + 2 * 3 GB < 15 GB", True),
    ("90 min == 1.5 h", True),
    ("sum([1 h, 30 min]) / 1 min", 90),
    ("max(1 GB, 1 GiB) / 1 GiB", 1),
    ("500 tokens / batch.micro == 250 tokens", True),
    ("(4 GB) ** 2 / (1 GB * 2 GB)", 8),
    ("5 GB % 2 GB / 1 GB", 1),
    ("5 GB // 2 GB", 2),
    ("nothing == 'x'", False),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), VALUES, ids=[case[0] for case in VALUES])
def test_a_value(text, wanted):
    found = value(text)
    assert found == pytest.approx(wanted) if isinstance(wanted, float) else found == wanted
    assert isinstance(found, bool) == isinstance(wanted, bool)


WRONG = [
    ("batch.globl", 6, "did you mean 'global'"),
    ("batc.global", 1, "nothing is called 'batc'; did you mean 'batch'"),
    ("1 + batch.micro.x", 16, "batch.micro is 2, which has no part 'x'"),
    ("rows.step", 5, "write rows[*].step"),
    ("rows[3]", 5, "has no 3; the first is 0"),
    ("rows['x':]", 5, "no place in a list"),
    ("smu(rows)", 1, "no function is called 'smu'; did you mean 'sum'"),
    ("round(1, 2, 3)", 1, "takes 1 to 2 values"),
    ("40 GBs", 4, "'GBs' is no unit; did you mean 'GB'"),
    ("2 GB + 3 h", 6, "unlike units: bytes and seconds"),
    ("2 GB < 3", 6, "unlike units: bytes and no unit"),
    ("max(1 GB, 2)", 1, "unlike units"),
    ("2 GB ** 0.5", 6, "whole powers"),
    ("round(2.6 GB)", 1, "divide by the unit"),
    ("log(2 h)", 1, "Divide it by 1 of its unit"),
    ("1 / 0", 3, "divides by zero"),
    ("0 ** -1", 3, "divides by zero"),
    ("5 % (2 - 2)", 3, "divides by zero"),
    ("(-8) ** 0.5", 6, "no finite number"),
    ("sqrt(-1)", 1, "cannot be computed"),
    ("log(0)", 1, "cannot be computed"),
    ("exp(1e3)", 1, "cannot be computed"),
    ("10.0 ** 300 * 10.0 ** 300", 13, "no finite number"),
    ("2 ** 99999", 3, "beyond 4096 bits"),
    ("9 ** 9 ** 9 ** 9", 8, "beyond 4096 bits"),
    ("1e999", 1, "out of proportion"),
    ("on + 1", 4, "True is no number"),
    ("model.base * 2", 12, "the text 'gpt2' is no number"),
    ("nothing + 1", 9, "nothing is no number"),
    ("batch + 1", 7, "a group of values is no number"),
    ("1 and on", 1, "neither true nor false"),
    ("not [on]", 1, "Use all(...) or any(...)"),
    ("[1, 2] + [1, 2, 3]", 8, "lists of 2 and 3 values"),
    ("rows[*].n + 1", 11, "lists of lists"),
    ("max([])", 1, "of an empty list"),
    ("len(3)", 1, "holds no values"),
    ("1 +", 4, "'the end' stands where a number or a name must"),
    ("(1", 3, "'the end' stands where ')' must"),
    ("1 2", 3, "'2' cannot stand here"),
    ("1 if on", 8, "stands where 'else' must"),
    ("if", 1, "stands where a number or a name must"),
    ("batch.'x'", 7, 'Write others in quotes: levels["top-k"]'),
    ("1 = 1", 3, "'=' means nothing here"),
    ("__import__('os')", 1, "no function is called '__import__'"),
    ("batch.__class__", 6, "nothing is called 'batch.__class__'"),
    ("lambda: 1", 7, "':' cannot stand here"),
    ("x" * (MAX_LENGTH + 1), MAX_LENGTH + 1, "longer than 2000"),
    ("(" * 60 + "1" + ")" * 60, MAX_DEPTH + 1, "nested deeper than 50"),
    ("2**" * 60 + "1", 3 * MAX_DEPTH + 1, "nested deeper than 50"),
    ("", 1, "'the end'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "at", "said"), WRONG, ids=[case[0][:30] for case in WRONG])
def test_what_is_wrong_is_told_with_its_place(text, at, said):
    with pytest.raises(ExpressionError) as caught:
        value(text)
    assert said in str(caught.value)
    assert caught.value.at + 1 == at, str(caught.value)


def test_a_unit_is_kept():
    assert value("8 * 40 GB") == Quantity(320 * 10**9, (("byte", 1),))
    assert str(value("8 * 40 GB")) == "320 GB"
    assert str(value("10 examples/step * 2 steps/s")) == "20 examples/second"


def test_lists_and_steps_are_bounded():
    long = {"x": list(range(9000))}
    with pytest.raises(LedgerError, match="10,000 are the most"):
        parse("concat(x, x)").value(long)
    with pytest.raises(LedgerError, match="more than 200000 steps"):
        parse("+".join(["x"] * 30)).value(long)


# A random tree is a text and what Python makes of the same text.

NUMBERS = st.integers(0, 50) | st.floats(0.5, 50).map(lambda x: round(x, 3))
BINARY = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "//": operator.floordiv, "%": operator.mod,
}  # fmt: skip


def branches(below):
    pair = st.tuples(below, st.sampled_from(list(BINARY)), below)
    return (
        pair.map(lambda t: f"({t[0]} {t[1]} {t[2]})")
        | st.tuples(below, st.sampled_from(list(BINARY)), below).map(" ".join)
        | below.map(lambda t: f"-{t}")
        | st.tuples(below, st.integers(0, 4)).map(lambda t: f"({t[0]}) ** {t[1]}")
        | st.tuples(below, below, below).map(lambda t: f"({t[0]} if {t[1]} < {t[2]} else 7)")
        | st.tuples(below, below).map(lambda t: f"max({t[0]}, {t[1]})")
    )


@draws(400)
@given(st.recursive(NUMBERS.map(str), branches, max_leaves=12))
def test_arithmetic_is_python_s(text):
    try:
        wanted = eval(text, {"max": max})
    except ZeroDivisionError:
        with pytest.raises(ExpressionError, match="zero"):
            parse(text).value({})
        return
    except OverflowError:
        with pytest.raises(ExpressionError):
            parse(text).value({})
        return
    try:
        found = parse(text).value({})
    except ExpressionError as error:
        assert "% -" in text or not bounded(wanted), (text, error)
        return
    if "% -" not in text:  # `1 % -2` is a percentage and a minus here
        assert found == pytest.approx(wanted, rel=1e-9), text


def bounded(wanted):
    return (isinstance(wanted, float) and math.isfinite(wanted)) or wanted.bit_length() <= MAX_BITS


PIECES = st.sampled_from([
    "1", "2.5", "1e9", "9" * 30, "batch", ".global", "rows", "[*]", ".step", "[", "]", "(", ")",
    "**", "*", "/", "%", "-", "not ", " and ", " or ", " if ", " else ", "sum(", "max(", "concat(",
    "diff(", "round(", "==", "<", ",", ":", " GB", " h", " tokens/s", " %", "'", '"', ".",
    " million", "exp(", "arms.t5-base", "é", "\n", "\0", "\u2028",
])  # fmt: skip


@draws(600)
@given(st.lists(PIECES, max_size=60).map("".join) | st.text(max_size=200))
def test_no_text_makes_a_traceback(text):
    try:
        found = value(text)
    except LedgerError as error:
        assert str(error)
    else:
        assert isinstance(found, int | float | bool | str | list | dict | Quantity | None)
