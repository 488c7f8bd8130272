"""The functions of expressions. Those of one number are taken of each value of a list."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ledger.names import LedgerError
from ledger.operations import Value, apply, attempt, bounded, items, number, said, size, truth
from ledger.units import Number, named, quantity


def call(name: str, values: list[Value]) -> Value:
    """A function's value. Raises LedgerError for arguments that do not fit."""
    least, most, function = FUNCTIONS[name]
    if not least <= len(values) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise LedgerError(f"{name}() takes {wanted} values, and here are {len(values)}")
    found: Value = function(*values)
    return found


def _each(function: Callable[..., Value]) -> Callable[..., Value]:
    """Of one value, or of each of a list."""

    def over(value: Value, *more: Value) -> Value:
        if isinstance(value, list):
            return [function(one, *more) for one in value]
        return function(value, *more)

    return over


def _keeping(name: str, function: Callable[[Any], Any]) -> Callable[..., Value]:
    """A function whose result has its argument's unit; of a quantity it would round base units."""

    def of(value: Value) -> Value:
        plain, powers = number(value)
        if powers and name != "abs":
            raise LedgerError(
                f"{name}() of {named(powers)}: divide by the unit to round to, e.g. x / 1 GB"
            )
        return quantity(bounded(attempt(function, plain)), powers)

    return of


def _plain(name: str, function: Callable[..., Any]) -> Callable[..., Value]:
    """A function of plain numbers."""

    def of(*values: Value) -> Value:
        pairs = [number(value) for value in values]
        for _, powers in pairs:
            if powers:
                raise LedgerError(f"{name}() of {named(powers)}. Divide it by 1 of its unit")
        return bounded(attempt(function, *(plain for plain, _ in pairs)))

    return of


def _round(value: Value, digits: Value = 0) -> Value:
    if isinstance(digits, bool) or not isinstance(digits, int) or abs(digits) > 30:
        raise LedgerError(f"round() to {said(digits)} digits. Give a whole number up to 30")
    return _keeping("round", lambda one: round(one, digits) if digits else round(one))(value)


def _spread(values: Sequence[Value], name: str) -> list[Any]:
    """`max(a, b)` and `max([a, b])` alike."""
    one = values[0] if len(values) == 1 else list(values)
    if not isinstance(one, list | Mapping):
        raise LedgerError(f"{name}() of {said(one)}. Give a list, or several values")
    found = items(one)
    if not found and name not in ("sum", "prod"):
        raise LedgerError(f"{name}() of an empty list")
    return found


def _fold(name: str, empty: Number, mark: str) -> Callable[..., Value]:
    def over(*values: Value) -> Value:
        found = _spread(values, name)
        total: Value = found[0] if found else empty
        number(total)
        for one in found[1:]:
            total = apply(mark, total, one)
            number(total)
        return total

    return over


def _extreme(name: str, mark: str) -> Callable[..., Value]:
    def over(*values: Value) -> Value:
        found = _spread(values, name)
        best: Value = found[0]
        number(best)
        for one in found[1:]:
            number(one)
            best = one if apply(mark, one, best) else best
        return best

    return over


def _quantified(name: str, function: Callable[..., bool]) -> Callable[..., Value]:
    def over(*values: Value) -> Value:
        return function([truth(one) for one in _spread(values, name)])

    return over


def _length(value: Value) -> Value:
    return len(value) if isinstance(value, str) else len(items(value))


def _concat(*values: Value) -> Value:
    found = [one for value in values for one in (value if isinstance(value, list) else [value])]
    size(found)
    return found


def _diff(value: Value) -> Value:
    """What each value has over the one before it."""
    found = _spread([value], "diff")
    return [apply("-", after, before) for before, after in itertools.pairwise(found)]


FUNCTIONS: dict[str, tuple[int, int, Callable[..., Value]]] = {  # least and most arguments
    "abs": (1, 1, _each(_keeping("abs", abs))),
    "all": (1, 99, _quantified("all", all)),
    "any": (1, 99, _quantified("any", any)),
    "ceil": (1, 1, _each(_keeping("ceil", math.ceil))),
    "concat": (1, 99, _concat),
    "diff": (1, 1, _diff),
    "exp": (1, 1, _each(_plain("exp", math.exp))),
    "floor": (1, 1, _each(_keeping("floor", math.floor))),
    "len": (1, 1, _length),
    "log": (1, 2, _each(_plain("log", math.log))),
    "log10": (1, 1, _each(_plain("log10", math.log10))),
    "log2": (1, 1, _each(_plain("log2", math.log2))),
    "max": (1, 99, _extreme("max", ">")),
    "min": (1, 99, _extreme("min", "<")),
    "prod": (1, 99, _fold("prod", 1, "*")),
    "round": (1, 2, _each(_round)),
    "sqrt": (1, 1, _each(_plain("sqrt", math.sqrt))),
    "sum": (1, 99, _fold("sum", 0, "+")),
}
