"""Pairs of prompt and response: forms of files, what is dropped, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from corpus.errors import CorpusError, run
from corpus.pairs import main, prepare, read_pairs, read_table

COLUMNS = ("input", "target")


def csv_file(path: Path, *rows: tuple[str, str], head: str = ",input,target") -> Path:
    lines = [f'{i},"{a}","{b}"' for i, (a, b) in enumerate(rows)]
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


def rows(path: Path) -> list[tuple[str, str]]:
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(row["prompt"], row["response"]) for row in found]


def test_parts_are_cleaned_and_keep_their_order(tmp_path: Path) -> None:
    given = [("b  c", " why? "), ("b c", "why?"), ("", "x"), ("d", "é\nf"), ("t", "u")]
    train = csv_file(tmp_path / "a.csv", *given)
    more = tmp_path / "b.jsonl"
    more.write_text('{"input": "g", "target": "h"}\n{"input": "i", "target": null}\n')
    test = csv_file(tmp_path / "t.csv", ("t", "u"))
    facts = prepare({"train": [train, more], "test": [test]}, COLUMNS, tmp_path / "out")
    assert rows(tmp_path / "out" / "train.jsonl") == [("b c", "why?"), ("d", "é f"), ("g", "h")]
    assert rows(tmp_path / "out" / "test.jsonl") == [("t", "u")]
    assert facts["parts"] == {
        "train": {"pairs": 3, "dropped": 3, "elsewhere": 1},
        "test": {"pairs": 1, "dropped": 0, "elsewhere": 0},
    }


def test_a_second_run_does_nothing_and_a_changed_file_does(tmp_path: Path) -> None:
    train, test = csv_file(tmp_path / "a.csv", ("a", "b")), csv_file(tmp_path / "t.csv", ("c", "d"))
    sources = {"train": [train], "test": [test]}
    prepare(sources, COLUMNS, tmp_path)
    before = (tmp_path / "train.jsonl").stat().st_mtime_ns
    prepare(sources, COLUMNS, tmp_path)
    assert (tmp_path / "train.jsonl").stat().st_mtime_ns == before
    csv_file(train, ("a", "b"), ("e", "f"))
    assert prepare(sources, COLUMNS, tmp_path)["parts"]["train"]["pairs"] == 2


def test_tables_with_tabs_and_marks(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("\ufeffinput\ttarget\na, b\tc\n", encoding="utf-8")
    ((where, row),) = read_table(path)
    assert row == {"input": "a, b", "target": "c"} and where.endswith(":2")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "input,answer\n1,2\n", "a.csv:2 has no column target, only input, answer"),
        ("a.jsonl", '{"input": "a", "target": "b"}\nnothing\n', "a.jsonl:2 is not JSON"),
        ("a.jsonl", '{"input": "\\ud83d", "target": "b"}\n', "a.jsonl:1 holds half a surrogate"),
        ("a.csv", b"input,target\ncaf\xe9,b\n", "a.csv is not UTF-8"),
        ("a.csv", b"input,target\n" + b"x" * (1 << 24) + b"y,b\n", "a.csv:1 is no row of a table"),
    ],
)
def test_what_is_refused(tmp_path: Path, name: str, text: str | bytes, told: str) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CorpusError, match=told):
        read_pairs([tmp_path / name], *COLUMNS)


def test_a_part_must_hold_something(tmp_path: Path) -> None:
    one = csv_file(tmp_path / "a.csv", ("a", "b"))
    with pytest.raises(CorpusError, match="the part train has no pair left"):
        prepare({"train": [one], "test": [one]}, COLUMNS, tmp_path / "out")
    assert not (tmp_path / "out" / "pairs.json").exists()


@pytest.mark.parametrize(
    ("sources", "code"), [({"train": ["a.csv"]}, 0), ({"train": "a.csv"}, 65), ({"x": ["no"]}, 65)]
)
def test_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: dict[str, Any], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    csv_file(tmp_path / "a.csv", ("a", "b"))
    data = {"sources": sources, "output_dir": "out", "prompt_column": "input",
            "response_column": "target"}  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"parameters": {"data": data}}))
    assert run(main, ["--config", "c.yaml"]) == code
