"""Numbers with units: bytes, time, tokens, counts and their rates.

A quantity holds its number in base units (bytes, seconds, tokens, ...) and each base unit's power;
whatever has no unit left is a plain number. Sizes: GB is 10^9 bytes, GiB 2^30 (IEC 80000-13).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal

from ledger.names import LedgerError, nearest

Number = int | float
Powers = tuple[tuple[str, int], ...]  # base unit -> its power, by name, no zero

MAX_POWER = 8  # of a base unit
MAX_EXPONENT = 300  # of ten in a number that is written out

_BYTES: dict[str, Number] = {
    "B": 1, "byte": 1, "bytes": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("kMGTP", 1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGTP", 1)},
}  # fmt: skip
_TIMES: dict[str, Number] = {
    "ms": 0.001, "s": 1, "sec": 1, "second": 1, "seconds": 1, "min": 60, "minute": 60,
    "minutes": 60, "h": 3600, "hour": 3600, "hours": 3600, "day": 86400, "days": 86400,
    "week": 604800, "weeks": 604800,
}  # fmt: skip
_COUNTS = {
    "token": "token", "tokens": "token", "step": "step", "steps": "step", "example": "example",
    "examples": "example", "doc": "document", "docs": "document", "document": "document",
    "documents": "document", "GPU": "GPU", "GPUs": "GPU",
}  # fmt: skip
UNITS: dict[str, tuple[Number, str]] = {  # name -> what it is in its base unit, and that one
    **{name: (factor, "byte") for name, factor in _BYTES.items()},
    **{name: (factor, "second") for name, factor in _TIMES.items()},
    **{name: (1, base) for name, base in _COUNTS.items()},
}
# Words between a number and its unit that only say how large it is.
SCALES: dict[str, Number] = {
    "k": 1000, "thousand": 1000, "M": 10**6, "million": 10**6, "billion": 10**9,
    "trillion": 10**12,
}  # fmt: skip

NUMBER = r"[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]{1,3})?|\.[0-9]+(?:[eE][-+]?[0-9]{1,3})?"
_GROUPED = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])")
_WRITTEN = re.compile(
    rf"(?P<sign>[-+]?)\s*(?P<number>{NUMBER})\s*(?:(?P<scale>{'|'.join(SCALES)})(?![A-Za-z]))?\s*"
    r"(?P<unit>%|[A-Za-z]+(?:\s*/\s*[A-Za-z]+)?)?"
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with a unit. `number` is in base units."""

    number: Number
    powers: Powers

    def __str__(self) -> str:
        return show(self)


@dataclass(frozen=True, slots=True)
class Written:
    """A figure as a text gives it: `4.05 %`, `20.5 h`, `524,288`.

    `number` is as it stands there, `scale` what a word like "million" multiplies it by, `factor`
    what one of its unit is in base units. `step`: what one in its last digit is worth.
    """

    number: Number
    step: float
    scale: Number
    factor: Number
    powers: Powers
    unit: str  # the words behind the number

    @property
    def value(self) -> Number | Quantity:
        """In base units."""
        return quantity(self.number * self.scale * self.factor, self.powers)

    def __str__(self) -> str:
        return f"{group(self.number)}{self.unit and ' '}{self.unit}"


def quantity(number: Number, powers: Powers) -> Number | Quantity:
    """A quantity, or the plain number where no unit is left."""
    return Quantity(number, powers) if powers else number


def unit(name: str) -> tuple[Number, Powers]:
    """Factor and base units of a unit, `tokens/s` among them. Raises LedgerError."""
    if name == "%":
        return 0.01, ()
    factor: Number = 1
    found: Powers = ()
    for place, part in enumerate(name.split("/")):
        word = part.strip()
        if word not in UNITS:
            raise LedgerError(f"{word!r} is no unit; {nearest(word, UNITS)}")
        size, base = UNITS[word]
        factor = factor / size if place else size
        found = combine(found, ((base, 1),), -1 if place else 1)
    return factor, found


def combine(one: Powers, other: Powers, sign: int) -> Powers:
    """The powers of a product (sign 1) or of a quotient (-1). Raises LedgerError."""
    powers = dict(one)
    for base, power in other:
        powers[base] = powers.get(base, 0) + sign * power
    if any(abs(power) > MAX_POWER for power in powers.values()):
        raise LedgerError(f"a unit to a power above {MAX_POWER} means nothing")
    return tuple(sorted((base, power) for base, power in powers.items() if power))


def named(powers: Powers) -> str:
    """The base units by name, for messages: `tokens/s`."""
    above = [_power(f"{base}s", power) for base, power in powers if power > 0]
    below = [_power(base, -power) for base, power in powers if power < 0]
    return "*".join(above or ["1"]) + "".join(f"/{word}" for word in below) if powers else "no unit"


def _power(word: str, power: int) -> str:
    return word if power == 1 else f"{word}^{power}"


def show(value: Quantity) -> str:
    """A quantity in units that a person reads: `22.4 GB`, `1.5 h`, `8 tokens/s`."""
    if len(value.powers) == 1 and value.powers[0][1] == 1:
        name = _readable(value.powers[0][0], abs(value.number))
        return f"{group(value.number / UNITS[name][0])} {name}"
    return f"{group(value.number)} {named(value.powers)}"


# The units in which a size or a time reads well, the largest first.
_STEPS = {"byte": ("TB", "GB", "MB", "kB", "bytes"), "second": ("days", "h", "min", "s")}


def _readable(base: str, size: Number) -> str:
    """The largest unit of which there are two at least, and the smallest where there is none."""
    steps = _STEPS.get(base, (f"{base}s",))
    return next((name for name in steps if size >= 2 * UNITS[name][0]), steps[-1])


def group(number: Number) -> str:
    """`5,242,880,000`, `10.5`, `0.000123`: whole numbers whole, others to seven digits."""
    if isinstance(number, float) and not number.is_integer():
        return f"{number:,.7g}" if abs(number) < 1e6 else f"{number:,.2f}"
    return f"{number:,.0f}" if abs(number) < 10**15 else f"{number:.7g}"


def written(text: str) -> Written | None:
    """A figure of a text, or None where the text is none. Raises LedgerError for a unit that is
    not known."""
    plain = _GROUPED.sub(lambda match: match[0].replace(",", ""), text.strip())
    match = _WRITTEN.fullmatch(plain)
    if not match:
        return None
    # Exact, and with its digits: 1.60 is given to the hundredth, 1e4 to the ten thousand.
    digits = Decimal(match["sign"] + match["number"].replace("_", ""))
    exponent = digits.as_tuple().exponent
    if not isinstance(exponent, int) or abs(digits.adjusted()) > MAX_EXPONENT:
        raise LedgerError(f"{text!r} is out of proportion. Give a number below 1e{MAX_EXPONENT}")
    factor, powers = unit(match["unit"]) if match["unit"] else (1, ())
    scale = SCALES[match["scale"]] if match["scale"] else 1
    number: Number = int(digits) if exponent >= 0 else float(digits)
    words = " ".join(word for word in (match["scale"], match["unit"]) if word)
    return Written(number, 10.0**exponent, scale, factor, powers, words)


def of(number: Number) -> Written:
    """A plain number as if it were written out: 0.25 is given to the hundredth, 7.0 to the tenth.

    Raises LedgerError for what is no finite number.
    """
    if not math.isfinite(number):
        raise LedgerError(f"{number} is no figure. Give a finite number")
    found = written(repr(number))
    assert found is not None, number
    return found
