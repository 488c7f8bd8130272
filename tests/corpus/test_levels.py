from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from corpus.config import Config
from corpus.errors import CorpusError
from corpus.learners import Writing
from corpus.levels import (
    CEFR,
    GENERAL,
    INDEX,
    SEPARATOR,
    SPLITS,
    Features,
    Request,
    extract,
    level_of,
    main,
    normalise,
    request_of,
)

LEVELS = ("C1", "B1", "A1")


def corpus(path: Path, count: int = 300) -> Path:
    rows: list[dict[str, Any]] = [
        {"text": f"{level} text {n % (count // 2)}\n\n\n\nEnd of {n % 3}.", "level": level,
         "l1": ("br", "cn", "de")[n % 3]} for level in LEVELS for n in range(count)]
    rows += [{"text": f"at all levels {n}", "level": level, "l1": "br"}
             for n in range(40) for level in LEVELS]
    rows += [{"text": "no level of ours", "level": 16}, {"text": " \n ", "level": 1}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def request(tmp_path: Path, **changes: Any) -> Request:
    section = {"source": str(tmp_path / "in.jsonl"), "output_dir": str(tmp_path / "out"),
               "levels": list(LEVELS), "split": [80, 10, 10], **changes}
    return request_of(Config({"parameters": {"seed": 5, "corpus": section}}, tmp_path / "c.yaml"))


def read(directory: Path, level: str, split: str) -> list[str]:
    return (directory / level / f"{split}.txt").read_text(encoding="utf-8").split(SEPARATOR)


def key(text: str) -> str:
    return " ".join(text.split())


def test_no_text_is_in_two_splits_of_any_levels(tmp_path: Path) -> None:
    corpus(tmp_path / "in.jsonl")
    extract(request(tmp_path))
    held = {split: {key(text) for level in (*LEVELS, GENERAL)
                    for text in read(tmp_path / "out", level, split)} for split in SPLITS}
    assert not (held["train"] & held["valid"] or held["train"] & held["test"]
                or held["valid"] & held["test"])
    assert len(set.union(*held.values())) == 3 * 150 + 40


def test_general_is_the_union_of_the_levels_own_splits(tmp_path: Path) -> None:
    corpus(tmp_path / "in.jsonl")
    index = extract(request(tmp_path))
    for split in SPLITS:
        own = [text for level in LEVELS for text in read(tmp_path / "out", level, split)]
        assert sorted(own) == sorted(read(tmp_path / "out", GENERAL, split))
        assert len(own) == index["levels"][GENERAL]["splits"][split]["documents"]
    assert index["documents"] == 3 * 340


def test_each_level_is_divided_80_10_10_by_document(tmp_path: Path) -> None:
    corpus(tmp_path / "in.jsonl")
    index = extract(request(tmp_path))
    for level in LEVELS:
        told = index["levels"][level]["splits"]
        assert {split: len(read(tmp_path / "out", level, split)) for split in SPLITS} == {
            split: told[split]["documents"] for split in SPLITS}
        # of 340 texts; most come in pairs, and earlier levels decided on 40
        assert abs(told["train"]["documents"] - 272) <= 1
        assert told["test"]["documents"] in (33, 34, 35)
    assert index["counts"] == {"texts": 1022, "empty": 1, "other_levels": 1,
                               "newlines_normalised": 900}


@given(st.text(st.sampled_from("a \n\r\t"), max_size=30))
def test_no_document_holds_the_separator(text: str) -> None:
    found = normalise(text)
    assert SEPARATOR not in found and "\r" not in found and found == found.strip()
    assert found.split() == text.split() and normalise(found) == found


@given(st.lists(st.text(st.sampled_from("ab \n"), min_size=1, max_size=12), min_size=1))
def test_documents_come_back_from_a_file_as_they_went_in(texts: list[str]) -> None:
    documents = [found for text in texts if (found := normalise(text))]
    if documents:
        assert SEPARATOR.join(documents).split(SEPARATOR) == documents


def test_native_languages_are_picked_after_the_division(tmp_path: Path) -> None:
    corpus(tmp_path / "in.jsonl")
    extract(request(tmp_path))
    extract(request(tmp_path, output_dir=str(tmp_path / "br"), l1=["br"]))
    for level in LEVELS:
        for split in SPLITS:
            some = read(tmp_path / "br", level, split)
            assert set(some) <= set(read(tmp_path / "out", level, split))
    total = json.loads((tmp_path / "br" / INDEX).read_text())["documents"]
    assert total == 3 * 100 + 3 * 40
    with pytest.raises(CorpusError, match="no train text in fr. Correct corpus.l1"):
        extract(request(tmp_path, output_dir=str(tmp_path / "fr"), l1=["fr"]))
    assert not list((tmp_path / "fr").rglob("*.txt"))


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    corpus(tmp_path / "in.jsonl")
    for name in ("a", "b"):
        extract(request(tmp_path, output_dir=str(tmp_path / name)))
    other = request(tmp_path, output_dir=str(tmp_path / "c"))._replace(seed=6)
    extract(other)
    a, b, c = ((tmp_path / name / "C1" / "test.txt").read_bytes() for name in "abc")
    assert a == b != c


def test_a_second_run_does_nothing_until_something_changes(tmp_path: Path) -> None:
    source = corpus(tmp_path / "in.jsonl")
    extract(request(tmp_path))
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.txt")}
    extract(request(tmp_path))
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.txt")}
    source.write_text(source.read_text() + json.dumps({"text": "new", "level": "A1"}) + "\n")
    assert extract(request(tmp_path))["documents"] == 3 * 340 + 1


@pytest.mark.parametrize(("given", "level"), [
    *[(str(n), name) for name, numbers in CEFR.items() for n in numbers],
    *[(name, name) for name in CEFR]])
def test_sixteen_levels_are_six_of_the_cefr(given: str, level: str) -> None:
    names = list(CEFR)
    assert names[level_of(Writing("", given, "", "x:1"), names)] == level


@pytest.mark.parametrize("level", ["0", "17", "a1", ""])
def test_what_is_no_level_is_named(level: str) -> None:
    with pytest.raises(CorpusError, match="x:1 has the level"):
        level_of(Writing("", level, "", "x:1"), LEVELS)


def test_a_level_without_texts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "a", "level": "A1"}) + "\n")
    with pytest.raises(CorpusError, match="has no text of level C1"):
        extract(request(tmp_path))
    assert not list((tmp_path / "out").rglob("*.txt"))


def test_the_profile_tells_what_a_levels_texts_are_like() -> None:
    features = Features()
    features.add("I don't know. Do you?\n\nYes, I do!")
    assert features.told() == {"words_per_sentence": 8 / 3, "words_per_text": 8,
                               "vocabulary": len({"i", "don't", "know", "do", "you", "yes"})}


def test_the_command_prints_what_it_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus(tmp_path / "in.jsonl")
    config = tmp_path / "c.yaml"
    section = {"source": str(tmp_path / "in.jsonl"), "output_dir": str(tmp_path / "out"),
               "levels": list(LEVELS), "split": [80, 10, 10], "profile": True}
    config.write_text(yaml.safe_dump({"parameters": {"seed": 5, "corpus": section}}))
    assert main(["--config", str(config)]) == 0
    told = capsys.readouterr().out
    assert "GENERAL: 1020 texts" in told and "1 empty" in told and "1 other levels" in told
    index = json.loads((tmp_path / "out" / INDEX).read_text())
    assert index["levels"]["A1"]["profile"]["words_per_text"] > 3
    section["split"] = [80, 20]
    config.write_text(yaml.safe_dump({"parameters": {"seed": 5, "corpus": section}}))
    assert main(["--config", str(config)]) == 65
    assert "not the shares of train, valid and test" in capsys.readouterr().err


def test_a_digest_that_ends_with_zero_is_still_that_digest(tmp_path: Path) -> None:
    from corpus.partition import assign, text_digest
    text = next(str(n) for n in range(10_000) if text_digest(str(n), 5).endswith(b"\0"))
    digests = np.array([text_digest(text, 5), *(text_digest(f"x{n}", 5) for n in range(19))], "S16")
    assert assign(digests, [10, 5, 5], {text_digest(text, 5): 2})[0] == 2
    rows = [{"text": text if n == 3 else f"x{n}", "level": level} for n in range(20)
            for level in LEVELS]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert extract(request(tmp_path))["documents"] == 60
