"""Reads the checks of `gate` and of `expectations`, and says everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ledger import matrix
from ledger.checks import BOUNDED, Check
from ledger.expressions import parse
from ledger.names import LedgerError, nearest
from ledger.operations import said

# What a check looks at, and the keys that go with it.
SOURCES = {
    "file": ("key", "at"),
    "value": (),
    "metric": ("arm", "at"),
    "matrix": ("key", "row", "rows", "columns"),
}
TESTS = (
    "exists", "is", "is_not", "above", "below", "at_least", "at_most", "between", "range", "near",
    "trend", "order",
)  # fmt: skip
COMMON = ("id", "says", "optional", "tolerance")
PLACES = ("first", "last", "min", "max")
MAX_CHECKS = 1000


def read(raw: Any, where: str) -> tuple[list[Check], list[str]]:
    """The checks, and each problem of them under its path: `gate[1].below`. A value with a `${`
    is not looked at before it is resolved."""
    problems: list[str] = []
    if not isinstance(raw, Sequence) or isinstance(raw, str) or len(raw) > MAX_CHECKS:
        return [], [f"{where}: expected a list of at most {MAX_CHECKS} checks"]
    found: list[Check] = []
    for place, item in enumerate(raw):
        path = f"{where}[{place}]"
        if not isinstance(item, Mapping):
            problems.append(f"{path}: expected a mapping like {{id: a, file: b, exists: true}}")
        elif check := _check(item, path, problems):
            if any(check.id == other.id for other in found):
                problems.append(f"{path}.id: {check.id!r} names two checks. Rename one")
            found.append(check)
    return found, problems


def _check(item: Mapping[str, Any], path: str, problems: list[str]) -> Check | None:
    before = len(problems)
    source = _one_of(item, SOURCES, path, problems, "what it looks at")
    test = _one_of(item, TESTS, path, problems, "what is wanted")
    if not source or not test:
        return None
    known = (*COMMON, source, test, *SOURCES[source])
    for key in item:
        if key not in known:
            problems.append(f"{path}.{key}: unknown key; {nearest(str(key), known)}")
    name = item.get("id") or _told(item)
    if not isinstance(name, str) or not name:
        problems.append(f"{path}.id: missing, or no text. Give the check a name")
    for key in ("file", "key", "metric", "matrix", "arm", "row", "says"):
        if not isinstance(item.get(key, ""), str):
            problems.append(f"{path}.{key}: {said(item[key])} is no text")
    if not isinstance(item.get("optional", False), bool):
        problems.append(f"{path}.optional: {item['optional']!r} is neither true nor false")
    _check_test(item, source, test, path, problems)
    if len(problems) > before:
        return None
    return Check(str(name), source, test, item, item.get("optional", False))


def _told(item: Mapping[str, Any]) -> str:
    """The name of a check of an arm's metric that has none: `C1.perplexity`, `C1.loss@360` at a
    step, `C1.loss@all` of a trend."""
    at = f"@{item['at']}" if "at" in item else "@all" if "trend" in item else ""
    return f"{item.get('arm', '')}.{item['metric']}{at}" if "metric" in item else ""


def _one_of(
    item: Mapping[str, Any], names: Sequence[str] | Mapping[str, Any], path: str,
    problems: list[str], what: str,
) -> str:  # fmt: skip
    own = [name for name in names if name in item]
    if len(own) != 1:
        given = " and ".join(own) or "nothing"
        problems.append(f"{path}: says {given} for {what}. Give one of {', '.join(names)}")
        return ""
    return own[0]


def _check_test(
    item: Mapping[str, Any], source: str, test: str, path: str, problems: list[str]
) -> None:
    """Whether the test fits what it looks at, and the values that it has by now."""
    wanted = item[test]
    if (source == "matrix") != (test == "order"):
        problems.append(f"{path}.{test}: a matrix has an `order`, and nothing else has one")
    elif test == "order":
        _check_order(item, path, problems)
    elif test == "trend" and (wanted not in ("up", "down") or source == "value" or "at" in item):
        problems.append(f"{path}.trend: is `up` or `down`, of the rows of a file, without `at`")
    elif test == "exists" and not isinstance(wanted, bool):
        problems.append(f"{path}.exists: {wanted!r} is neither true nor false")
    elif test == "exists" and source != "file":
        problems.append(f"{path}.exists: is asked of a file")
    elif test in ("between", "range") and not _open(wanted):
        if not isinstance(wanted, Sequence) or isinstance(wanted, str) or len(wanted) != 2:
            problems.append(f"{path}.{test}: {said(wanted)} is not [low, high]")
        else:
            for end in wanted:
                _check_number(end, f"{path}.{test}", problems)
    elif test in BOUNDED:
        _check_number(wanted, f"{path}.{test}", problems)
    if source == "file" and test != "exists" and "key" not in item:
        problems.append(f"{path}.key: missing. Name the value in the file, e.g. train/loss")
    if "tolerance" in item and test != "near":
        problems.append(f"{path}.tolerance: goes with `near`")
    at = item.get("at", "last")
    if at not in PLACES and not _open(at) and (isinstance(at, bool) or not isinstance(at, int)):
        problems.append(f"{path}.at: {at!r} is no step, nor one of {', '.join(PLACES)}")


def _open(value: Any) -> bool:
    """Whether a value is still to be resolved."""
    return isinstance(value, str) and "${" in value


def _check_number(value: Any, path: str, problems: list[str]) -> None:
    if _open(value):
        return
    try:
        if isinstance(value, str):
            parse(value)
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise LedgerError(f"{said(value)} is no number")
    except LedgerError as error:
        problems.append(f"{path}: {error}")


def _check_order(item: Mapping[str, Any], path: str, problems: list[str]) -> None:
    order = item["order"]
    if not isinstance(order, str) or order not in matrix.ORDERS:
        problems.append(f"{path}.order: {order!r} is none; {nearest(str(order), matrix.ORDERS)}")
        return
    for key in ("rows", "columns"):
        if not isinstance(item.get(key, []), list):
            problems.append(f"{path}.{key}: {said(item[key])} is no list of names")
    if order == "row-below-row" and len(item.get("rows", [])) != 2:
        problems.append(f"{path}.rows: name two, the first to be below the second")
    if ("{row}" in matrix.ORDERS[order]) != ("row" in item):
        problems.append(f"{path}.row: goes with an order against one row, and only there")
