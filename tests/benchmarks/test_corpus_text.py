"""The benchmarks' text: the same from the same seed, never repeating, with words enough."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from benchmarks.corpus_text import (
    LONGEST,
    SHORTEST,
    Language,
    Pattern,
    documents,
    write_text,
)

ROOT = Path(__file__).resolve().parents[2]
SIZE = 3_000_000  # bytes


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small text."""
    path = tmp_path_factory.mktemp("text") / "text.jsonl"
    write_text(path, SIZE, 1)
    return path


@pytest.fixture(scope="module")
def language() -> Language:
    """What all texts have in common."""
    return Language()


@pytest.fixture(scope="module")
def contents(text: Path) -> list[str]:
    """Its documents."""
    return [json.loads(line)["text"] for line in text.read_bytes().splitlines()]


def test_what_is_said_of_the_file_is_true(tmp_path: Path) -> None:
    said = write_text(tmp_path / "text.jsonl", 200_000, 7)
    data = (tmp_path / "text.jsonl").read_bytes()
    assert said["bytes"] == len(data) and said["documents"] == data.count(b"\n")
    last = len(data.splitlines(keepends=True)[-1])
    assert len(data) - last < 200_000 <= len(data), "it ends where the size is reached"
    assert [path.name for path in tmp_path.iterdir()] == ["text.jsonl"]


def test_same_seed_same_bytes_in_another_process(text: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.jsonl"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.corpus_text", again, "--size", str(SIZE / 1e6)],
        cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "7"}, check=True, capture_output=True)
    assert again.read_bytes() == text.read_bytes()


@pytest.mark.parametrize(("seed", "part"), [(2, 0), (1, 1)], ids=["other seed", "other part"])
def test_other_seeds_and_parts_share_no_passage(language: Language, seed: int, part: int) -> None:
    known = _passages(documents(language, 1, 0))
    other = _passages(documents(language, seed, part))
    assert len(known) > 50_000 and len(other) > 50_000
    assert not known & other


def test_no_passage_occurs_twice(contents: list[str]) -> None:
    total = sum(len(document.split()) // 8 for document in contents)
    assert len(_passages(contents)) == total


def _passages(texts: Iterable[str]) -> set[str]:
    """Runs of eight words that follow one another without overlap."""
    found = set()
    for text in texts:
        words = text.split()
        found.update(" ".join(words[at : at + 8]) for at in range(0, len(words) - 7, 8))
    return found


def test_distinct_words_grow_as_they_must(contents: list[str]) -> None:
    """To more than 400,000 in 48 MB, punctuation and capitals apart, where they grow like the size
    to the power 0.62, as was measured from 3 to 48 MB."""
    words = {word.strip('.,?!;:"()-').lower() for text in contents for word in text.split()}
    assert len(words) > 400_000 * (SIZE / 48e6) ** 0.62


def test_frequencies_fall_like_zipf(contents: list[str]) -> None:
    counts: dict[str, int] = {}
    for document in contents:
        for word in document.lower().split():
            counts[word] = counts.get(word, 0) + 1
    ranked = sorted(counts.values(), reverse=True)
    slope = math.log(ranked[0] / ranked[9_999]) / math.log(10_000)
    assert 0.6 < slope < 1.4
    assert sum(count == 1 for count in ranked) > len(ranked) / 3


def test_lengths_are_log_uniform(language: Language) -> None:
    lengths = [len(text.split()) for part in range(4) for text in documents(language, 5, part)]
    assert min(lengths) >= SHORTEST * 0.8 and max(lengths) <= LONGEST * 1.1
    span = math.log(LONGEST / SHORTEST)
    places = [math.log(length / SHORTEST) / span for length in lengths]
    quarters = [sum(edge <= place < edge + 0.25 for place in places) / len(places)
                for edge in (0.0, 0.25, 0.5, 0.75)]
    assert all(0.19 < share < 0.31 for share in quarters), quarters


@pytest.mark.parametrize("part", [
    " ang ", " mga ", " the ", "\n", "\n\n", "₱", "😀", "▁", "\u200b", "日本語", "<b>", "1"])
def test_it_holds(contents: list[str], part: str) -> None:
    assert any(part in document for document in contents)


def test_sentences_begin_with_capitals(contents: list[str]) -> None:
    after = [document[at + 2] for document in contents[:50]
             for at in range(len(document) - 2) if document[at : at + 2] == ". "]
    letters = [letter for letter in after if letter.isalpha() and letter.lower() != letter.upper()]
    assert len(letters) > 500 and all(letter.isupper() for letter in letters)


@pytest.mark.parametrize(("pattern", "root", "word"), [
    (Pattern(), "takbo", "takbo"),
    (Pattern(prefix="mag"), "takbo", "magtakbo"),
    (Pattern(prefix="mag"), "aral", "mag-aral"),
    (Pattern(prefix="ka"), "aral", "kaaral"),
    (Pattern(prefix="di-"), "aral", "di-aral"),
    (Pattern(infix="um"), "takbo", "tumakbo"),
    (Pattern(infix="in"), "aral", "inaral"),
    (Pattern(doubling="syllable"), "takbo", "tatakbo"),
    (Pattern(doubling="syllable"), "aral", "aaral"),
    (Pattern(doubling="root"), "araw", "araw-araw"),
    (Pattern(infix="um", doubling="syllable"), "takbo", "tumatakbo"),
    (Pattern(suffix="in"), "sulat", "sulatin"),
    (Pattern(suffix="an"), "punta", "puntahan"),
    (Pattern(suffix="han"), "punta", "puntahan"),
    (Pattern(prefix="pag", doubling="syllable", suffix="an"), "ngiti", "pagngingitihan"),
], ids=lambda value: value if isinstance(value, str) else "+".join(filter(None, value)) or "bare")
def test_words_are_made(pattern: Pattern, root: str, word: str) -> None:
    assert pattern.apply(root) == word


def test_every_affix_is_used(language: Language) -> None:
    affixes = {kind: (ROOT / "data" / "affixes" / f"{kind}.txt").read_text().split()
               for kind in ("prefix", "infix", "suffix")}
    patterns = language.patterns
    for kind, listed in affixes.items():
        assert {getattr(pattern, kind) for pattern in patterns} == {"", *listed}
    assert patterns[0] == Pattern() and len(set(patterns)) == len(patterns)


def test_roots_are_distinct(language: Language) -> None:
    roots = language.roots
    assert len(set(roots)) == len(roots) == 60_000
    assert all(root.isascii() and root.isalpha() and root.islower() for root in roots)
