"""JSON lines that are trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ledger import rows
from training.contract import BadInput


def placed_rows(
    path: Path, remedy: str, texts: Sequence[str] = ()
) -> Iterator[tuple[str, rows.Row]]:
    """Each object of a JSONL file with its place, `file:line`.

    Raises BadInput for a file that cannot be read, with `remedy`, and at a line that is no object
    or lacks text under one of the keys in `texts`.
    """
    try:
        yield from rows.read(path, texts)
    except rows.RowError as error:
        raise BadInput(str(error), f"Repair the line. {remedy}") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror})", remedy) from error
