"""The figures of a plan beside what its study computes: claimed, computed, verdict.

`claims_file.read` gives the claims of a study, `judge` their verdicts, with names for the
expressions to see. docs/ledger.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from ledger import units
from ledger.expressions import Expression
from ledger.names import LedgerError
from ledger.operations import Value, number, said, same
from ledger.units import Quantity, Written

One = Written | bool | str
Claimed = One | tuple[One, ...]


class Verdict(StrEnum):
    """What became of a claim."""

    HOLDS = "holds"
    ROUNDS = "rounds"  # equal to the digits that the document gives, or within the tolerance
    CONTRADICTS = "contradicts"
    OPEN = "cannot be computed"


_WORST = (Verdict.CONTRADICTS, Verdict.ROUNDS, Verdict.HOLDS)


class Tolerance(NamedTuple):
    """How far the computed value may be from the claimed one: in the claim's unit, or as a share
    of the claimed value."""

    number: float
    relative: bool

    def allows(self, claimed: float, computed: float) -> bool:
        """Both in the claim's unit."""
        most = self.number * abs(claimed) if self.relative else self.number
        return abs(computed - claimed) <= most * (1 + 1e-9)


class Claim(NamedTuple):
    """A figure of the document. `line` is where it says it, 0 where nobody noted that."""

    id: str
    says: str
    line: int
    claimed: Claimed | None
    computed: Expression | None
    tolerance: Tolerance | None = None
    acknowledged: str = ""
    why: str = ""


class Claims(NamedTuple):
    """The claims of a study in its order, and the figures that `let` names."""

    claims: tuple[Claim, ...] = ()
    let: Mapping[str, Expression | Value] = {}


class Judged(NamedTuple):
    """A claim with what it comes to, in words too, and its verdict."""

    claim: Claim
    verdict: Verdict
    claimed: str
    computed: str

    @property
    def stands(self) -> bool:
        """Whether this is a contradiction that nobody acknowledged."""
        return self.verdict is Verdict.CONTRADICTS and not self.claim.acknowledged

    @property
    def note(self) -> str:
        """The reason behind it, or what is to be done."""
        if self.claim.acknowledged and self.verdict is not Verdict.CONTRADICTS:
            return "it no longer contradicts: remove `acknowledged`"
        return self.claim.why or self.claim.acknowledged


def judge(claims: Claims, names: Mapping[str, Any]) -> tuple[list[Judged], list[str]]:
    """The verdicts, and the problems of expressions that these names cannot answer."""
    problems: list[str] = []
    seen: dict[str, Any] = {}
    known = _Names(seen, names)
    for name, given in claims.let.items():
        try:
            seen[name] = given.value(known) if isinstance(given, Expression) else given
        except LedgerError as error:
            problems.append(f"claims let.{name}: {error}")
    judged = []
    for claim in claims.claims:
        try:
            judged.append(_judged(claim, known))
        except LedgerError as error:
            problems.append(f"claims {claim.id}: {error}")
    return judged, problems


class _Names(Mapping[str, Any]):
    """What `let` named so far, before what the study has."""

    def __init__(self, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
        self._first, self._second = first, second

    def __getitem__(self, key: str) -> Any:
        return self._first[key] if key in self._first else self._second[key]

    def __contains__(self, key: object) -> bool:
        return key in self._first or key in self._second

    def __iter__(self) -> Any:
        return iter([*self._first, *(key for key in self._second if key not in self._first)])

    def __len__(self) -> int:
        return len(list(iter(self)))


def _judged(claim: Claim, names: Mapping[str, Any]) -> Judged:
    claimed = "" if claim.claimed is None else _text_of(claim.claimed)
    if claim.computed is None:
        return Judged(claim, Verdict.OPEN, claimed, "")
    assert claim.claimed is not None, claim.id
    value = claim.computed.value(names)
    verdict = _verdict(claim.claimed, value, claim.tolerance)
    return Judged(claim, verdict, claimed, _shown(value, claim.claimed))


def _verdict(claimed: Claimed, value: Value, tolerance: Tolerance | None) -> Verdict:
    """Of one figure; of several one by one, the worst; of a range and one value, inside or not.

    Raises LedgerError where the two cannot be compared.
    """
    figures = len(claimed) if isinstance(claimed, tuple) else 1
    fits = len(value) == figures > 1 if isinstance(value, list) else figures <= 2
    if isinstance(value, Mapping) or not fits:
        raise LedgerError(f"computes {said(value)} where the document gives {figures} figures")
    if not isinstance(claimed, tuple):
        return _compare(claimed, value, tolerance)
    if not isinstance(value, list):
        return _inside(claimed, value, tolerance)
    found = {_compare(one, own, tolerance) for one, own in zip(claimed, value, strict=True)}
    return next(verdict for verdict in _WORST if verdict in found)


def _inside(ends: tuple[One, ...], value: Value, tolerance: Tolerance | None) -> Verdict:
    low, high = (_figures(end, value) for end in ends)
    if low[0] <= low[1] and high[1] <= high[0]:
        return Verdict.HOLDS
    return _compare(ends[0] if low[1] < low[0] else ends[1], value, tolerance)


def _figures(claimed: One, value: Value) -> tuple[float, float]:
    """The claimed number and the computed one in the claim's unit. A plain number is read in the
    claim's unit, for the values of a study have none. Raises LedgerError."""
    if not isinstance(claimed, Written):
        raise LedgerError(f"computes {said(value)} where the document says {claimed}")
    plain, powers = number(value)
    if powers != claimed.powers:
        if powers:
            own, given = units.named(powers), units.named(claimed.powers)
            raise LedgerError(f"computes {own} where the document gives {given}")
        return float(claimed.number), float(plain / claimed.scale)
    return float(claimed.number), float(plain / claimed.factor / claimed.scale)


def _compare(claimed: One, value: Value, tolerance: Tolerance | None) -> Verdict:
    if not isinstance(claimed, Written):
        if type(value) is not type(claimed):
            raise LedgerError(f"computes {said(value)} where the document says {claimed}")
        return Verdict.HOLDS if value == claimed else Verdict.CONTRADICTS
    figure, own = _figures(claimed, value)
    if same(figure, own):
        return Verdict.HOLDS
    # Halves round either way: documents do both.
    if abs(own - figure) <= claimed.step / 2 * (1 + 1e-9):
        return Verdict.ROUNDS
    if tolerance and tolerance.allows(figure, own):
        return Verdict.ROUNDS
    return Verdict.CONTRADICTS


def _text_of(claimed: Claimed) -> str:
    if isinstance(claimed, tuple):
        return ", ".join(_text_of(one) for one in claimed)
    return str(claimed).lower() if isinstance(claimed, bool) else str(claimed)


def _shown(value: Value, claimed: Claimed) -> str:
    """A computed value in the claim's unit."""
    if isinstance(value, list):
        several = claimed if isinstance(claimed, tuple) else (claimed,) * len(value)
        return ", ".join(_shown(one, own) for one, own in zip(value, several, strict=True))
    one = claimed[0] if isinstance(claimed, tuple) else claimed
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, int | float | Quantity) or not isinstance(one, Written):
        return str(value)
    return f"{units.group(_figures(one, value)[1])}{one.unit and ' '}{one.unit}"
