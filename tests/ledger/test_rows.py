"""The one reader of JSON lines, and how each package says what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import CorpusError
from corpus.rows import read_rows as of_corpus
from evaluation.config import InputError
from evaluation.rows import read_rows as of_evaluation
from ledger import rows
from training.contract import BadInput
from training.rows import placed_rows

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
ROWS = st.lists(st.dictionaries(st.text(), SCALARS | st.lists(SCALARS, max_size=3)))


def written(folder: Path, content: bytes) -> Path:
    path = folder / "rows.jsonl"
    path.write_bytes(content)
    return path


@given(ROWS, st.booleans(), st.sampled_from(["\n", "\r\n", "\n\n", "\n \t\n"]))
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, given_rows: list[rows.Row], ascii: bool, end: str
) -> None:
    """With U+2028, U+0085 and other ends of lines inside its strings too."""
    text = "".join(json.dumps(row, ensure_ascii=ascii) + end for row in given_rows)
    path = written(tmp_path_factory.getbasetemp(), text.encode())
    assert [row for _, row in rows.read(path)] == given_rows


def test_places_count_blank_lines_and_a_mark_at_the_beginning_is_none(tmp_path: Path) -> None:
    path = written(tmp_path, b'\xef\xbb\xbf{"a": "1"}\n\n{"a": "2"}')
    assert list(rows.read(path, ["a"])) == [(f"{path}:1", {"a": "1"}), (f"{path}:3", {"a": "2"})]


WRONG = {
    b"{": "is not JSON (Expecting property name",
    b"[1]": "is not a JSON object",
    b"null": "is not a JSON object",
    b"[" * 200_000: "is not JSON (maximum recursion depth",
    b'{"a": ' + b"1" * 5000 + b"}": "is not JSON (Exceeds the limit",
    b'{"a": "caf\xe9"}': "is not UTF-8 (invalid continuation byte)",
    b'{"a": "\\ud83d"}': "holds half a surrogate pair, which is no character",
    b'{"\\udc00": 1}': "holds half a surrogate pair, which is no character",
    b'{"b": "x"}': "has no text under 'a'",
    b'{"a": 1}': "has no text under 'a'",
}


@pytest.mark.parametrize(("line", "words"), WRONG.items(), ids=[str(k)[:20] for k in WRONG])
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: bytes, words: str) -> None:
    path = written(tmp_path, b'{"a": "x"}\n' + line + b"\n")
    with pytest.raises(rows.RowError) as told:
        list(rows.read(path, ["a"]))
    assert str(told.value).startswith(f"{path}:2 {words}")
    for error, read in (
        (CorpusError, lambda: of_corpus(path, ["a"])),
        (BadInput, lambda: list(placed_rows(path, "Make it again", ["a"]))),
        (InputError, lambda: of_evaluation(path, ["a"])),
    ):
        with pytest.raises(error) as said:
            read()
        assert str(said.value).startswith(f"{path}:2 {words}")


def test_a_pair_of_surrogates_is_a_character(tmp_path: Path) -> None:
    path = written(tmp_path, b'{"a": "\\ud83d\\ude00"}')
    assert [row for _, row in rows.read(path)] == [{"a": "\U0001f600"}]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    with pytest.raises(CorpusError, match=r"none.jsonl: no such file. Bring it."):
        of_corpus(path, remedy="Bring it.")
    with pytest.raises(BadInput, match="cannot be read .No such file"):
        list(placed_rows(path, "Bring it"))
    with pytest.raises(InputError, match="cannot be read .No such file"):
        of_evaluation(path)
