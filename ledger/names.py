"""The error of this package, and what it says of a name that is not there."""

from __future__ import annotations

from collections.abc import Iterable

MAX_NAMES = 60  # in a message that lists the valid ones
MAX_NAME = 100  # characters of a name that are compared or shown


class LedgerError(Exception):
    """A claim or a check that cannot be read or judged: a fact plus what to do about it."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """ "Did you mean X?" and the valid names, nearest first, for an error message."""
    import difflib  # which every command that reads a study would wait for

    names = sorted({n if len(n) <= MAX_NAME else f"{n[:MAX_NAME]}..." for n in valid})
    close = difflib.get_close_matches(name[:MAX_NAME], names, n=3, cutoff=0.5)
    shown = close + [n for n in names if n not in close][:MAX_NAMES]
    hint = f"did you mean {close[0]!r}? " if close else ""
    more = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
    return f"{hint}Valid: {', '.join(shown) or 'none'}{more}"
