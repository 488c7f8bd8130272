"""Tables as plain lines: what a log, a program and a terminal get to see."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from pipeline.view import common
from pipeline.view.common import paint, say, table_lines

COLUMNS = ("job", "state", "tasks", "")
ROWS = [["download", "running", "1/1", ""], ["x", "failed", "12/20", "word " * 30]]
STYLES = ["cyan", "red"]


def shown(width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(common, "_width", lambda: width)
    lines = table_lines(COLUMNS, ROWS, STYLES)
    return [re.sub(r"\x1b\[[\d;]*m", "", line) for line in lines]


def test_columns_are_aligned_and_numbers_stand_to_the_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert shown(400, monkeypatch) == [
        "job       state    tasks",
        "download  running    1/1",
        f"x         failed   12/20  {'word ' * 30}".rstrip(),
    ]


@pytest.mark.parametrize("width", [46, 60, 120])
def test_the_last_column_is_folded_at_the_terminals_width(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(width, monkeypatch)
    assert all(len(line) <= width for line in lines) and len(lines) > 3
    assert " ".join(line[26:] for line in lines[2:]).split() == ["word"] * 30
    assert all(line[:26].isspace() for line in lines[3:])


def test_a_column_with_too_little_room_is_left_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert len(shown(40, monkeypatch)) == 3


def test_what_a_file_holds_does_not_steer_the_terminal() -> None:
    *_, line = table_lines(COLUMNS, [["\x1b[2Jx", "failed", "1/1", "a\x07b"]], [""])
    assert "\x1b" not in line and "\x07" not in line and r"\x1b[2Jx" in line


def test_an_empty_table_is_its_heading() -> None:
    assert len(list(table_lines(COLUMNS, [], []))) == 1


def test_colours_are_for_terminals_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert paint("a", "red") == "\x1b[31ma\x1b[0m" and paint("a", "") == "a"
    say("a", "red")
    assert capsys.readouterr().out == "a\n"
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda stream, color: color is False)
    say("a", "red")
    assert capsys.readouterr().out == "\x1b[31ma\x1b[0m\n"
    monkeypatch.setenv("NO_COLOR", "1")
    say("a", "red")
    assert capsys.readouterr().out == "a\n"


def test_status_is_shown_without_rich() -> None:
    code = "import sys, pipeline.view.status; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
