from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from corpus.errors import CorpusError
from corpus.learners import Writing, columns_of, files_of, writings

EXPORT = """<?xml version="1.0" encoding="UTF-8"?>
<selection id="1"><meta><level>1</level></meta><writings>
<writing id="7" level="1" unit="2"><learner id="3" nationality="br"/><topic id="4">Me</topic>
<text>
  Hi! I <change><selection>has</selection><tag><symbol>AG</symbol><correct>have</correct></tag>
</change> 20 years.<br/>Bye &amp; &lt;br&gt;thanks</text></writing>
<writing id="8" level="13"><text>Second</text></writing>
</writings></selection>
"""
COLUMNS = columns_of({})


def read(path: Path, **columns: str) -> list[Writing]:
    return list(writings(files_of(path), columns_of(columns)))


def test_the_export_keeps_what_the_learner_wrote(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(EXPORT, encoding="utf-8")
    first, second = read(path)
    assert first.text.split("\n") == ["", "  Hi! I has", " 20 years.", "Bye & ", "thanks"]
    assert (first.level, first.l1, first.where) == ("1", "br", f"{path}: writing 7")
    assert (second.text, second.level, second.l1) == ("Second", "13", "")


def test_tables_and_lines_give_the_same_texts(tmp_path: Path) -> None:
    rows = [{"body": 'Hi,\n"you"', "cefr": "A1", "l1": "Brazil"},
            {"body": "é", "cefr": "2", "l1": ""}]
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as stream:
            table = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
            table.writeheader()
            table.writerows(rows)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    found = [[one[:3] for one in read(tmp_path / name, text="body", level="cefr")]
             for name in ("a.csv", "a.tsv", "a.jsonl.gz")]
    assert found[0] == found[1] == found[2] == [('Hi,\n"you"', "A1", "Brazil"), ("é", "2", "")]


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", ".hidden.jsonl", "notes.md"):
        (tmp_path / name).write_text(json.dumps({"text": name, "level": 1}) + "\n")
    assert [one.text for one in read(tmp_path)] == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize(("name", "content", "message"), [
    ("a.jsonl", "{oops", "a.jsonl:1 is not JSON"),
    ("a.jsonl", "[1]", "a.jsonl:1 is not a JSON object"),
    ("a.jsonl", '{"texts": 1}', "has no text under 'text'; it has texts"),
    ("a.jsonl", '{"text": "a"}', "has no level under 'level'"),
    ("a.csv", 'text,level\n"a', "a.csv:1 is no row of a table"),
    ("a.csv", "body,level\na,1\n", "it has body, level"),
    ("a.xml", "<selection><writing>", "a.xml is not XML"),
    ("a.xml", '<s><writing id="5" level="2"/></s>', "writing 5 has no text"),
    ("a.xml", '<s><writing><text>a</text></writing></s>', "writing 1 has no level"),
    ("a.jsonl.gz", "no gzip", "is cut off or not compressed"),
], ids=range(10))
def test_what_is_wrong_is_named_with_its_place(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError, match=message):
        read(tmp_path / name)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,level\n\xff,1\n")
    with pytest.raises(CorpusError, match="is not UTF-8"):
        read(tmp_path / "a.csv")


def test_a_missing_corpus_says_whence_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="It is licensed"):
        files_of(tmp_path / "efcamdat")
    with pytest.raises(CorpusError, match="corpus.columns.txt is not known"):
        columns_of({"txt": "a"})
