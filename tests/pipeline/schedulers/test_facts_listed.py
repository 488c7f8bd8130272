"""docs/schedulers.md names only recordings and tests that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from tests.pipeline.schedulers.recorded import FOLDER

ROOT = Path(__file__).parents[3]
RECORDINGS = [path.stem for path in FOLDER.glob("*/*.txt")]
TESTS = re.findall(
    r"^def (test_\w+)", "\n".join(p.read_text() for p in (ROOT / "tests").rglob("test_*.py")), re.M
)


def facts() -> Iterator[tuple[str, str]]:
    """(recordings, tests) of each row."""
    for line in (ROOT / "docs/schedulers.md").read_text().splitlines():
        cells = re.split(r"(?<!\\)\|", line)
        if len(cells) == 6 and not cells[1].startswith((" what it does", "---")):
            yield cells[3], cells[4]


def test_every_fact_has_its_test() -> None:
    rows = list(facts())
    assert len(rows) > 50
    for _, tests in rows:
        named = re.findall(r"\btest_\w+(?!\w*\.py)", tests)
        assert named, tests
        for name in named:
            whole = f"{name}…" not in tests
            found = [t for t in TESTS if t == name or (not whole and t.startswith(name))]
            assert found or f"{name}.py" in tests, name


def test_every_recording_that_is_named_is_there() -> None:
    for recordings, _ in facts():
        for word in re.findall(r"`([^`]+)`", recordings):
            pattern = word.replace("…", "*")
            pattern = f"*{pattern}" if word.startswith("-") else pattern
            pattern = f"{pattern}*" if word.endswith("-") else pattern
            assert any(fnmatch(name, pattern) for name in RECORDINGS), word
