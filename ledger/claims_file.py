"""Reads the `claims` of a study file, and says everything that is wrong with them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ledger import units
from ledger.claims import Claim, Claimed, Claims, One, Tolerance
from ledger.expressions import Expression, parse
from ledger.functions import FUNCTIONS
from ledger.names import LedgerError, nearest
from ledger.operations import Value, said
from ledger.syntax import CONSTANTS, KEYWORDS

KEYS = ("id", "says", "line", "claimed", "computed", "tolerance", "acknowledged", "why")
MAX_CLAIMS = 1000
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RELATIVE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")


def read(raw: Any) -> tuple[Claims, list[str]]:
    """The claims of a study file, and each problem of them under its path: `claims[3].line`."""
    problems: list[str] = []
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        return Claims(), [f"claims: expected a list, got {said(raw)}"]
    if len(raw) > MAX_CLAIMS:
        return Claims(), [f"claims: {len(raw)} are too many; a study has at most {MAX_CLAIMS}"]
    found: list[Claim] = []
    let: dict[str, Expression | Value] = {}
    for place, item in enumerate(raw):
        where = f"claims[{place}]"
        if not isinstance(item, Mapping):
            problems.append(f"{where}: expected a mapping of {', '.join(KEYS)}; or of let alone")
        elif "let" in item:
            let |= _let(item, where, problems)
        elif claim := _claim(item, where, problems):
            if any(claim.id == other.id for other in found):
                problems.append(f"{where}.id: {claim.id!r} names two claims. Rename one")
            found.append(claim)
    return Claims(tuple(found), let), problems


def _let(item: Mapping[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    named = item["let"]
    if len(item) > 1 or not isinstance(named, Mapping):
        problems.append(f"{where}.let: stands alone, and holds name: expression")
        return {}
    found: dict[str, Any] = {}
    taken = {*units.UNITS, *units.SCALES, *KEYWORDS, *CONSTANTS, *FUNCTIONS}
    for name, value in named.items():
        path = f"{where}.let.{name}"
        if not _NAME.fullmatch(str(name)) or name in taken:
            problems.append(f"{path}: {name!r} is a unit, a function or no word. Rename it")
        elif isinstance(value, str):
            found[name] = _expression(value, path, problems)
        elif isinstance(value, Mapping) or value is None:
            problems.append(f"{path}: {said(value)} is no number, list or expression. Give one")
        else:
            found[name] = value
    return found


def _claim(item: Mapping[str, Any], where: str, problems: list[str]) -> Claim | None:
    before = len(problems)
    for key in item:
        if key not in KEYS:
            problems.append(f"{where}.{key}: unknown key; {nearest(str(key), KEYS)}")
    for key in ("id", "says"):
        if not isinstance(item.get(key), str) or not item[key]:
            problems.append(f"{where}.{key}: missing, or no text. Add it")
    if not _ID.fullmatch(str(item.get("id", "x"))):
        problems.append(f"{where}.id: {item['id']!r} is no name; use letters, digits and '._-'")
    line = item.get("line", 0)
    if isinstance(line, bool) or not isinstance(line, int) or line < 0:
        problems.append(f"{where}.line: {line!r} is no line of a document. Give its number")
    texts = {key: item.get(key) or "" for key in ("acknowledged", "why")}
    for key, text in texts.items():
        if not isinstance(text, str):
            problems.append(f"{where}.{key}: {text!r} is no text. Say the reason")
    claimed = _claimed(item.get("claimed"), f"{where}.claimed", problems)
    computed = None
    if "computed" in item:
        computed = _expression(str(item["computed"]), f"{where}.computed", problems)
        if item.get("claimed") is None:
            problems.append(f"{where}.claimed: missing. Add the figure that the document gives")
        if texts["why"]:
            problems.append(f"{where}.why: is for a claim that cannot be computed. Remove it")
    elif not texts["why"]:
        problems.append(f"{where}.computed: missing. Add an expression, or `why` there is none")
    elif texts["acknowledged"]:
        problems.append(f"{where}.acknowledged: goes with a contradiction. Say it all under `why`")
    tolerance = _tolerance(item.get("tolerance"), f"{where}.tolerance", problems)
    if len(problems) > before:
        return None
    return Claim(item["id"], item["says"], line, claimed, computed, tolerance, **texts)


def _expression(text: str, path: str, problems: list[str]) -> Expression | None:
    try:
        return parse(text)
    except LedgerError as error:
        problems.append(f"{path}: {error}")
        return None


def _claimed(raw: Any, path: str, problems: list[str]) -> Claimed | None:
    if raw is None:
        return None
    try:
        if isinstance(raw, Sequence) and not isinstance(raw, str):
            if len(raw) < 2:
                raise LedgerError(f"a list of {len(raw)} figures. Give [low, high], several, one "
                                  "after the other, or one without a list")
            return tuple(_figure(one) for one in raw)
        return _figure(raw)
    except LedgerError as error:
        problems.append(f"{path}: {error}")
        return None


def _figure(raw: Any) -> One:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, int | float):
        return units.of(raw)
    if isinstance(raw, str) and raw.strip():
        return units.written(raw) or raw
    raise LedgerError(f"{said(raw)} is no figure. Give a number, `8 GB`, a text, true or false")


def _tolerance(raw: Any, path: str, problems: list[str]) -> Tolerance | None:
    if raw is None:
        return None
    relative = _RELATIVE.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if relative:
        return Tolerance(float(relative[1]) / 100, True)
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not 0 <= raw < math.inf:
        problems.append(f"{path}: {raw!r} is none. Give a number in the claim's unit, or `5 %`")
        return None
    return Tolerance(float(raw), False)
