"""The shipped lexicon against the rules and against rules written anew; the loader's refusals."""

import re
from collections import Counter
from itertools import groupby
from pathlib import Path

import pytest

from evaluation.affixer import EXCEPTIONS, KINDS, objection, parse_affix
from evaluation.config import InputError
from evaluation.lexicon import LEXICON, Word, by_root, load_frequencies, load_lexicon

WORDS = load_lexicon()
HEADER = "form\troot\taffix\tkind\tsegmentation\trules\tgloss\n"
KUMAIN = "kumain\tkain\t-um-\tinfix\tk-um-ain\t-\teat"


def test_the_rules_derive_every_row_as_it_says() -> None:
    wrong = [objection(w.form, w.root, w.affix, w.segments, w.rules) for w in WORDS]
    assert [said for said in wrong if said] == []


def skeleton(text: str) -> str:
    """A spelling without what affixation may change: o and u, e and i, d and r, nasals, hyphens."""
    return text.replace("-", "").translate(str.maketrans("oedn", "uirm")).replace("ng", "m")


def pattern(word: Word) -> str:
    """What a form may look like, written anew from the affix's shape and the root alone."""
    affix, root = parse_affix(word.affix), word.root
    onset = re.match(r"(?:ng|[^aeiou])*", root)
    assert onset
    first, rest = onset.group(), root[onset.end() :]
    copy = f"{first}{rest[0]}" if affix.copy == "CV" else f"{root}-" if affix.copy == "R" else ""
    if affix.infix:
        text = copy + root
        body = text[: len(first)] + affix.infix + text[len(first) :]
    else:
        body = copy + root
    return f"{affix.prefix}{body}{affix.suffix}"


def test_regular_rows_agree_with_a_pattern_written_anew() -> None:
    changing = EXCEPTIONS | {"substitution", "cluster", "final-vowel"}
    plain = [word for word in WORDS if changing.isdisjoint(word.rules)]
    assert len(plain) > 10_000
    for word in plain:
        made, form = skeleton(pattern(word)), skeleton(word.form)
        assert re.sub("mg|m", "m", made) == re.sub("mg|m", "m", form), word


def test_the_lexicon_is_large_varied_and_unambiguous() -> None:
    assert len({word.root for word in WORDS}) >= 600
    assert set(KINDS) == {word.kind for word in WORDS}
    assert min(Counter(word.kind for word in WORDS).values()) >= 500
    assert len({word.form for word in WORDS}) == len(WORDS)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", word.form) for word in WORDS)
    assert all(len({word.gloss for word in words}) == 1 for words in by_root(WORDS).values())
    assert not {word.form for word in WORDS} & {word.root for word in WORDS}


def test_a_root_takes_its_suffixes_with_h_or_without() -> None:
    """Whether h is there tells of a glottal stop at the root's end, so a root has one way."""
    ways: dict[str, set[bool]] = {}
    for word in WORDS:
        suffix = parse_affix(word.affix).suffix
        if word.regular and word.root[-1] in "aeiou" and suffix in {"an", "in", "han", "hin"}:
            ways.setdefault(word.root, set()).add(suffix[0] == "h")
    assert len(ways) > 200
    assert [root for root, found in ways.items() if len(found) > 1] == []


@pytest.mark.parametrize(
    ("form", "root", "affix", "rules"),
    [
        ("kumakain", "kain", "-um- CV-", ()),
        ("nagluluto", "luto", "nag- CV-", ()),
        ("kakain", "kain", "CV-", ()),
        ("dalhin", "dala", "-hin", ("syncope",)),
        ("buksan", "bukas", "-an", ("syncope",)),
        ("tamnan", "tanim", "-an", ("syncope", "metathesis")),
        ("kunin", "kuha", "-in", ("irregular",)),
        ("mamili", "bili", "mang-", ("substitution",)),
        ("pambili", "bili", "pang-", ("assimilation",)),
        ("mangingisda", "isda", "mang- CV-", ("substitution",)),
        ("karagatan", "dagat", "ka- -an", ("d-r",)),
        ("tanungin", "tanong", "-in", ("o-u",)),
        ("kalokohan", "loko", "ka- -han", ("o-kept",)),
        ("grumaduwet", "graduwet", "-um-", ("cluster",)),
    ],
)
def test_rows_known_by_hand(form: str, root: str, affix: str, rules: tuple[str, ...]) -> None:
    (word,) = (word for word in WORDS if word.form == form)
    assert (word.root, word.affix, word.rules) == (root, affix, rules)
    assert word.regular == EXCEPTIONS.isdisjoint(rules)


def test_every_segment_but_the_stem_is_an_affixs_or_a_copy() -> None:
    for word in WORDS:
        assert "".join(word.segments) == word.form.replace("-", "")
        assert len(word.segments) >= 2
        runs = [len(list(run)) for _, run in groupby(word.segments)]
        assert max(runs) <= 3, word


def test_frequencies_belong_to_words_and_rank_common_ones_higher() -> None:
    known = load_frequencies(LEXICON.with_name("frequency.tsv"))
    assert known.keys() <= {word.form for word in WORDS}
    assert len(known) > 5_000
    assert all(1 < value < 8 for value in known.values())
    zipf = {word.form: word.zipf for word in WORDS}
    assert zipf == {form: known.get(form) for form in zipf}
    assert known["maganda"] > known["mapanganib"] > 2
    assert all(value is None for form, value in zipf.items() if "-" in form)


@pytest.mark.parametrize(
    ("row", "fact"),
    [
        (KUMAIN.replace("infix", "prefix"), "is no prefix"),
        (KUMAIN.replace("-um-", "um"), "'um' is no affix"),
        (KUMAIN.removesuffix("\teat"), "6 columns"),
        (KUMAIN.replace("k-um-ain", "k-um-in"), "does not spell kumain"),
        (KUMAIN.replace("\t-\t", "\tmagic\t"), "magic is no rule"),
        (f"{KUMAIN}\n{KUMAIN}", "stands twice"),
    ],
    ids=["kind", "affix", "columns", "segments", "rule", "twice"],
)
def test_a_wrong_row_is_refused_with_its_line(row: str, fact: str, tmp_path: Path) -> None:
    path = tmp_path / "lexicon.tsv"
    path.write_text(f"{HEADER}{row}\n", encoding="utf-8")
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


def test_a_lexicon_without_frequencies_loads_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.tsv"
    path.write_text(f"{HEADER}{KUMAIN}\n", encoding="utf-8")
    (word,) = load_lexicon(path)
    assert word == Word("kumain", "kain", "-um-", "infix", "eat", ("k", "um", "ain"))
    (tmp_path / "frequency.tsv").write_text("form\tzipf\nkumain\tmuch\n", encoding="utf-8")
    with pytest.raises(InputError, match="frequency.tsv:2: 'much' is no number"):
        load_lexicon(path)


def test_the_file_is_sorted_and_documented() -> None:
    rows = [line.split("\t") for line in LEXICON.read_text(encoding="utf-8").splitlines()[1:]]
    keys = [(row[1], KINDS.index(row[3]), row[2], row[0]) for row in rows]  # type: ignore[arg-type]
    assert keys == sorted(keys)
    readme = (LEXICON.parent / "README.md").read_text(encoding="utf-8")
    assert "CC0" in readme
    assert "CC BY-SA 4.0" in readme
