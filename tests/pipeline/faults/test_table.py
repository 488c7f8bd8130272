"""docs/reliability.md names tests that are there, for every fault."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = TESTS.parents[1] / "docs/reliability.md"


def test_every_row_names_a_test_that_is_there() -> None:
    rows = [
        line for line in TABLE.read_text().splitlines()
        if line.startswith("|") and not line.startswith(("|---", "| fault "))
    ]  # fmt: skip
    assert len(rows) > 30
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", cells[-1])
        assert len(cells) == 4 and named, row
        for path, test in named:
            text = (TESTS / path).read_text()
            assert f"def {test}(" in text, f"{path} has no {test}: {row}"
