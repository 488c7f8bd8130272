from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from corpus.compare import Side, compare, document_cut
from corpus.dataset import Dataset
from corpus.indexed import Writer
from corpus.morphology import Lexicon, Word, load_morphemes
from corpus.tokenizers import Tokenizer
from tests.corpus.sets import EOD, encoded, halves, write_set

Written = Callable[..., Path]
LEXICON = load_morphemes()


@pytest.fixture
def written(tmp_path: Path, tokenizer: Tokenizer) -> Written:
    """`write_set` into a folder of this test's own."""
    return partial(write_set, tmp_path, tokenizer)


def ids_of(tokenizer: Tokenizer, *pieces: str) -> list[int]:
    return [*map(tokenizer.pieces.index, pieces), EOD]


def side(prefix: Path) -> Side:
    dataset = Dataset(prefix)
    return Side(dataset, dataset.spelling())


def split_again(tokenizer: Tokenizer, ids: list[int], draws: random.Random) -> list[int]:
    """The same text, some tokens split in two."""
    found: list[int] = []
    for token in ids:
        pairs = halves(tokenizer, token)
        found += draws.choice(pairs) if pairs and draws.random() < 0.3 else [token]
    return found


def ends(tokenizer: Tokenizer, ids: list[int]) -> set[int]:
    """Offsets in characters of the boundaries inside a document, spelled by its pieces."""
    sizes = [len(tokenizer.pieces[token]) for token in ids if token != EOD]
    return set(np.cumsum(sizes)[:-1].tolist())


@pytest.mark.parametrize("block", [50, 1 << 20])
def test_boundaries_are_counted(
    written: Written, tokenizer: Tokenizer, sample: list[str], block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("corpus.dataset._BLOCK", block)
    draws, texts = random.Random(5), [text for text in sample[:25] if text.isascii()]
    whole = encoded(tokenizer, *texts, "")
    a, b = ([split_again(tokenizer, ids, draws) for ids in whole] for _ in range(2))
    found = compare(side(written(a, "a")), side(written(b, "b")), LEXICON)
    pairs = [(ends(tokenizer, one), ends(tokenizer, two)) for one, two in zip(a, b, strict=True)]
    assert found.same_text and found.difference is None and found.boundaries
    assert found.boundaries.both == sum(len(one & two) for one, two in pairs)
    assert found.boundaries.only_a == sum(len(one - two) for one, two in pairs) > 0
    assert found.boundaries.only_b == sum(len(two - one) for one, two in pairs) > 0
    assert found.alignment_a and found.alignment_b
    assert found.alignment_a.occurrences == found.alignment_b.occurrences > 3


def test_the_morphemes_of_each_side(written: Written, tokenizer: Tokenizer) -> None:
    a = ids_of(tokenizer, "▁", "k", "um", "a", "in")
    b = ids_of(tokenizer, "▁", "k", "u", "m", "a", "i", "n")
    lexicon = Lexicon([Word("kumain", ("k", "um", "ain"), "kain", "kain", "eat")])
    found = compare(side(written([a], "a")), side(written([b], "b")), lexicon)
    assert found.boundaries and found.alignment_a and found.alignment_b
    assert (found.boundaries.both, found.boundaries.only_a, found.boundaries.only_b) == (4, 0, 2)
    assert (found.alignment_a.cuts, found.alignment_a.cuts_on_morphemes) == (3, 2)
    assert (found.alignment_b.cuts, found.alignment_b.cuts_on_morphemes) == (5, 2)


def test_the_first_difference_is_named(written: Written, tokenizer: Tokenizer) -> None:
    same = ("Umulan kahapon.", "")
    a = side(written(encoded(tokenizer, *same, "Kumain ng 漢 si Ana.", "Isa."), "a"))
    b = side(written(encoded(tokenizer, *same, "Kumain ng 潢 si Ana.", "Dalawa."), "b"))
    found = compare(a, b, LEXICON)
    assert not found.same_text and found.boundaries is None and found.alignment_a is None
    assert found.difference
    assert (found.difference.document, found.difference.byte) == (2, len("Kumain ng "))
    assert (found.difference.a, found.difference.b) == ("漢 si Ana.", "潢 si Ana.")


def test_a_document_that_only_goes_on_differs(written: Written, tokenizer: Tokenizer) -> None:
    a, b = (side(written(encoded(tokenizer, text), name))
            for name, text in (("a", "Isa lang"), ("b", "Isa lang po")))
    found = compare(a, b, LEXICON).difference
    assert found and (found.document, found.byte, found.a, found.b) == (0, 8, "", " po")


def test_one_document_more_is_a_difference(written: Written, tokenizer: Tokenizer) -> None:
    one, two = encoded(tokenizer, "Isa.", "Dalawa.")
    a, b = side(written([one], "a")), side(written([one, two], "b"))
    for found, shown in ((compare(a, b, LEXICON), ("", "Dalawa.")),
                         (compare(b, a, LEXICON), ("Dalawa.", ""))):
        assert found.difference and not found.same_text
        assert (found.difference.document, found.difference.a, found.difference.b) == (1, *shown)


def test_sets_of_other_parts_and_types_compare(
    written: Written, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    whole = encoded(tokenizer, "Isa.", "Dalawa.", "Tatlo.")
    a = side(written(whole, "a"))
    for number, ids in enumerate(whole, start=1):
        prefix = written([ids], f"b_{number:04d}", tasks=3)
        with Writer(prefix, np.int32) as writer:
            writer.add(np.array(ids, np.int32), np.array([len(ids)], np.int32))
            writer.publish()
    found = compare(a, side(tmp_path / "b"), LEXICON)
    assert found.same_text and found.documents_b == 3
    assert found.boundaries and found.boundaries.only_a == found.boundaries.only_b == 0


def test_a_documents_cut(written: Written, tokenizer: Tokenizer) -> None:
    ids = ids_of(tokenizer, "▁", "k", "um", "a", "in")
    one = side(written([[EOD], ids]))
    assert document_cut(one, 0) == ([], frozenset())
    tokens = [b" ", b"k", b"um", b"a", b"in"]
    assert document_cut(one, 1) == (tokens, frozenset({1, 2, 4, 5}))
