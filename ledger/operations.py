"""What the operators of expressions do: to numbers, quantities, lists, truth values.

Lists are taken one by one, and with a single value each with that one. Every result is bounded:
finite, whole numbers of at most MAX_BITS bits, lists of at most MAX_ITEMS values.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ledger.names import LedgerError, nearest
from ledger.units import Number, Powers, Quantity, combine, named, quantity

MAX_BITS = 4096  # of a whole number
MAX_ITEMS = 10_000  # of a list

# Mappings are parts of the study, to be asked for a name.
Value = Number | bool | str | None | Quantity | list[Any] | Mapping[str, Any]


def size(value: Value) -> int:
    """What a value costs. Raises LedgerError for a list that is too long."""
    if not isinstance(value, list):
        return 1
    if len(value) > MAX_ITEMS:
        raise LedgerError(f"a list of {len(value):,} values; {MAX_ITEMS:,} are the most")
    return 1 + len(value)


def said(value: Value) -> str:
    """A value in a message."""
    if isinstance(value, Mapping):
        return "a group of values"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    return "nothing" if value is None else str(value)


def number(value: Value) -> tuple[Number, Powers]:
    """Of a number or quantity; raises LedgerError for all else."""
    if isinstance(value, Quantity):
        return value.number, value.powers
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LedgerError(f"{said(value)} is no number")
    return value, ()


def truth(value: Value) -> bool:
    """Of a truth value; raises LedgerError for all else."""
    if isinstance(value, bool):
        return value
    hint = "Use all(...) or any(...)" if isinstance(value, list) else "Compare it with something"
    raise LedgerError(f"{said(value)} is neither true nor false. {hint}")


def part(holder: Value, key: Value, path: str) -> Value:
    """A part of a group by its name, or of a list by its number. Raises LedgerError that lists
    the names there are."""
    if isinstance(holder, Mapping):
        name = str(key)
        full = f"{path}.{name}" if path else name
        if name in holder:
            found: Value = holder[name]
            return list(found) if isinstance(found, tuple) else found
        where = f" in {path}" if path else ""
        raise LedgerError(f"nothing is called {full!r}; {nearest(name, map(str, holder))}{where}")
    if not isinstance(holder, list):
        raise LedgerError(f"{path} is {said(holder)}, which has no part {key!r}")
    if isinstance(key, str):
        raise LedgerError(f"{path} is {said(holder)}: write {path}[*].{key} for {key!r} of each")
    if isinstance(key, bool) or not isinstance(key, int) or not -len(holder) <= key < len(holder):
        raise LedgerError(f"{path} is {said(holder)}, which has no {said(key)}; the first is 0")
    found = holder[key]
    return found


def items(holder: Value) -> list[Any]:
    """What a list or a group holds. Raises LedgerError for what holds nothing."""
    if isinstance(holder, Mapping):
        return [holder[key] for key in holder]
    if isinstance(holder, list):
        return holder
    raise LedgerError(f"{said(holder)} holds no values")


def several(holder: Value, many: bool, ends: Sequence[Value], path: str) -> list[Any]:
    """All values of a list or group, or those from one number up to another; of many, those of
    all together."""
    for end in ends:
        if end is not None and (isinstance(end, bool) or not isinstance(end, int)):
            raise LedgerError(f"{path}[...]: {said(end)} is no place in a list. Give a number")
    start, stop = (end if isinstance(end, int) else None for end in ends)
    parts = [items(each) for each in items(holder)] if many else [items(holder)]
    found = [one for each in parts for one in each[start:stop]]
    size(found)
    return found


def apply(mark: str, one: Value, other: Value, unary: bool = False) -> Value:
    """`one mark other`, one by one where either is a list. Raises LedgerError."""
    if isinstance(one, list) or isinstance(other, list):
        if isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                raise LedgerError(
                    f"{mark!r} between lists of {len(one)} and {len(other)} values. Make them equal"
                )
            pairs = list(zip(one, other, strict=True))
        elif isinstance(one, list):
            pairs = [(value, other) for value in one]
        else:
            assert isinstance(other, list)
            pairs = [(one, value) for value in other]
        if any(isinstance(side, list) for pair in pairs for side in pair):
            raise LedgerError(f"{mark!r} between lists of lists. Choose one of the inner lists")
        return [apply(mark, a, b, unary) for a, b in pairs]
    if mark in ("==", "!="):
        return _equal(one, other) == (mark == "==")
    (a, of_a), (b, of_b) = number(one), number(other)
    if unary:
        return quantity(bounded(-b if mark == "-" else b), of_b)
    if mark in _ORDERS:
        _alike(mark, of_a, of_b)
        return bool(_ORDERS[mark](a, b))
    return _arithmetic(mark, a, of_a, b, of_b)


_ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def _equal(one: Value, other: Value) -> bool:
    plain = (bool, str, type(None))
    if isinstance(one, plain) or isinstance(other, plain):
        return type(one) is type(other) and one == other
    (a, of_a), (b, of_b) = number(one), number(other)
    _alike("==", of_a, of_b)
    return same(a, b)


def same(a: Number, b: Number) -> bool:
    """Whether two numbers are equal but for what floating point loses."""
    return a == b or (
        (isinstance(a, float) or isinstance(b, float)) and math.isclose(a, b, rel_tol=1e-9)
    )


def _alike(mark: str, one: Powers, other: Powers) -> None:
    if one != other:
        raise LedgerError(
            f"{mark!r} between unlike units: {named(one)} and {named(other)}. "
            "Multiply or divide by 1 of a unit to change one, e.g. x * 1 GB"
        )


def _arithmetic(mark: str, a: Number, of_a: Powers, b: Number, of_b: Powers) -> Value:
    if mark in ("+", "-"):
        _alike(mark, of_a, of_b)
        return quantity(bounded(a + b if mark == "+" else a - b), of_a)
    if mark == "**":
        return _power(a, of_a, b, of_b)
    if mark == "*":
        return quantity(bounded(attempt(operator.mul, a, b)), combine(of_a, of_b, 1))
    if b == 0:
        raise LedgerError("divides by zero")
    if mark == "/":
        return quantity(bounded(attempt(operator.truediv, a, b)), combine(of_a, of_b, -1))
    _alike(mark, of_a, of_b)
    if mark == "//":
        return bounded(attempt(operator.floordiv, a, b))
    return quantity(bounded(attempt(operator.mod, a, b)), of_a)


def _power(a: Number, of_a: Powers, b: Number, of_b: Powers) -> Value:
    if of_b:
        raise LedgerError(f"an exponent with a unit ({named(of_b)}). Divide it by 1 of that unit")
    if of_a and not (isinstance(b, int) and 0 <= b <= 8):
        raise LedgerError("a quantity is raised to whole powers from 0 to 8 only")
    whole = isinstance(a, int) and isinstance(b, int) and b >= 0
    if whole and abs(a) > 1 and int(a).bit_length() * b > MAX_BITS:
        raise LedgerError(f"{a} ** {b} is beyond {MAX_BITS} bits")
    if a == 0 and b < 0:
        raise LedgerError("divides by zero")
    powers: Powers = ()
    for _ in range(int(b) if of_a else 0):
        powers = combine(powers, of_a, 1)
    return quantity(bounded(attempt(operator.pow, a, b)), powers)


def attempt(function: Callable[..., Any], *values: Any) -> Any:
    try:
        return function(*values)
    except (ArithmeticError, ValueError, TypeError) as error:
        raise LedgerError(f"cannot be computed: {error}") from None


def bounded(value: Any) -> Number:
    """A result, if it is a finite number of decent size. Raises LedgerError."""
    if isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise LedgerError(f"a whole number beyond {MAX_BITS} bits")
        return value
    if not isinstance(value, float) or not math.isfinite(value):
        raise LedgerError("the result is no finite number")
    return value


def together(found: list[Value]) -> Value:
    """The comparisons of a chain: all of them, one by one where they are lists."""
    if not any(isinstance(one, list) for one in found):
        return all(truth(one) for one in found)
    length = max(len(one) for one in found if isinstance(one, list))
    rows = [one if isinstance(one, list) else [one] * length for one in found]
    return [all(truth(one) for one in row) for row in zip(*rows, strict=True)]
