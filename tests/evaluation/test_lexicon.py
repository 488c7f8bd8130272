"""The shipped lexicon against rules written anew, and the loader's refusals."""

import re
from collections import Counter
from pathlib import Path

import pytest

from evaluation.config import InputError
from evaluation.lexicon import LEXICON, Word, attach, by_root, first_vowel, load_lexicon

WORDS = load_lexicon()


def suffixed(root: str, suffix: str) -> str:
    """A pattern for root + suffix: o of the last syllable is u, a final d may be r."""
    stem = re.sub(r"o([^aeiou]*)$", r"u\1", root)
    return re.sub(r"d$", "[dr]", stem) + suffix


def prefixed(stem: str, prefix: str) -> str:
    """A pattern for prefix + stem: mag-aral, and d may be r after a vowel."""
    if prefix[-1] in "aeiou":
        return prefix + re.sub(r"^d", "[dr]", stem)
    return f"{prefix}{'-' if stem[0] in 'aeiou' else ''}{stem}"


def pattern(word: Word) -> str:
    """What the spelling rules allow for a word, as a regular expression of its own making."""
    parts = [part.strip("-") for part in word.affix.split(" ")]
    if word.kind == "circumfix":
        return prefixed(suffixed(word.root, parts[1]), parts[0])
    if word.kind == "suffix":
        return suffixed(word.root, parts[0])
    if word.kind == "prefix":
        return prefixed(word.root, parts[0])
    onset = re.match(r"[^aeiou]*", word.root)
    assert onset
    return onset.group() + parts[0] + word.root[onset.end() :]


def test_every_word_follows_the_spelling_rules() -> None:
    assert not [word for word in WORDS if not re.fullmatch(pattern(word), word.form)]


def test_the_lexicon_is_large_varied_and_unambiguous() -> None:
    assert len({word.root for word in WORDS}) >= 120
    assert min(Counter(word.kind for word in WORDS).values()) >= 50
    assert len({word.form for word in WORDS}) == len(WORDS)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)?", word.form) for word in WORDS)
    assert {word.root: word.gloss for word in WORDS}.keys() == by_root(WORDS).keys()
    assert all(len({word.gloss for word in words}) == 1 for words in by_root(WORDS).values())


@pytest.mark.parametrize(
    ("root", "affix", "forms"),
    [
        ("kain", "-um-", ("kumain",)),
        ("ngiti", "-um-", ("ngumiti",)),
        ("alis", "-in-", ("inalis",)),
        ("aral", "mag-", ("mag-aral",)),
        ("basa", "mag-", ("magbasa",)),
        ("ayos", "ma-", ("maayos",)),
        ("dami", "ma-", ("madami", "marami")),
        ("tanong", "-in", ("tanungin",)),
        ("bayad", "-an", ("bayadan", "bayaran")),
        ("dunong", "ka- -an", ("kadunungan", "karunungan")),
        ("usap", "pag- -an", ("pag-usapan",)),
        ("totoo", "-han", ("totouhan",)),
    ],
)
def test_attach_gives_each_allowed_spelling(root: str, affix: str, forms: tuple[str, ...]) -> None:
    assert attach(root, affix) == forms


def test_first_vowel_of_a_word_without_one_is_its_end() -> None:
    assert first_vowel("brr") == 3


@pytest.mark.parametrize(
    ("row", "fact"),
    [
        ("umkain\tkain\t-um-\tinfix\teat", "gives kumain, not umkain"),
        ("kumain\tkain\t-um-\tprefix\teat", "is no prefix"),
        ("kumain\tkain\t-um-\tinfix", "4 columns"),
        ("kumain\tkain\t-um-\tinfix\teat\nkumain\tkain\t-um-\tinfix\teat", "stands twice"),
    ],
    ids=["misspelt", "kind", "columns", "twice"],
)
def test_a_wrong_row_is_refused_with_its_line(row: str, fact: str, tmp_path: Path) -> None:
    path = tmp_path / "lexicon.tsv"
    path.write_text(f"form\troot\taffix\tkind\tgloss\n{row}\n", encoding="utf-8")
    with pytest.raises(InputError, match=fact) as caught:
        load_lexicon(path)
    assert f"{path}:" in str(caught.value)


@pytest.mark.parametrize("content", [None, "", "root\tform\n"], ids=["missing", "empty", "heading"])
def test_a_file_that_is_no_lexicon_is_refused(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "lexicon.tsv"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError):
        load_lexicon(path)


def test_the_file_is_sorted_and_documented() -> None:
    rows = [line.split("\t") for line in LEXICON.read_text(encoding="utf-8").splitlines()[1:]]
    assert rows == sorted(rows, key=lambda row: (row[1], row[3], row[0]))
    assert "CC0" in (LEXICON.parent / "README.md").read_text(encoding="utf-8")
