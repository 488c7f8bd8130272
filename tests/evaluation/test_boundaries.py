from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers

from evaluation.boundaries import (
    MORPHEMES,
    load_morphemes,
    text_boundaries,
    tokenizer_boundaries,
)
from evaluation.config import InputError
from evaluation.tokenizer import Tokenizer as Own

WORDS = {"bumili": frozenset({1, 3}), "mag-aral": frozenset({3}), "bahayan": frozenset({5})}


@pytest.fixture
def tokenizer() -> Own:
    """Cuts b-um-ili, mag--aral and ▁bahayan whole."""
    pieces = ["▁", *"bumilagrhyn-", "um", "il", "ili", "ma", "mag", "ar", "ara", "aral",
              "▁b", "▁ba", "▁bah", "▁baha", "▁bahay", "▁bahaya", "▁bahayan", "▁mag", "▁m",
              "▁ma"]  # fmt: skip
    merges = [("u", "m"), ("i", "l"), ("il", "i"), ("a", "r"), ("ar", "a"), ("ara", "l"),
              ("▁", "m"), ("▁m", "a"), ("▁ma", "g"), ("▁", "b"), ("▁b", "a"), ("▁ba", "h"),
              ("▁bah", "a"), ("▁baha", "y"), ("▁bahay", "a"), ("▁bahaya", "n")]  # fmt: skip
    fast = Tokenizer(models.BPE({p: i for i, p in enumerate(dict.fromkeys(pieces))}, merges))
    fast.normalizer = normalizers.Replace(" ", "▁")
    fast.decoder = decoders.Replace("▁", " ")
    return Own(fast)


def test_a_tokenizers_cuts_are_counted_by_hand(tokenizer: Own) -> None:
    assert tokenizer.fast.encode(" bumili").tokens == ["▁b", "um", "ili"]
    found = tokenizer_boundaries(tokenizer, WORDS)
    # bumili: both of two; mag-aral: cut on both sides of the hyphen, one boundary; bahayan: none
    assert found == {
        "words": 3, "occurrences": 3, "precision": 1.0, "recall": 0.75, "f1": 0.857143,
        "kept": 0.666667, "fertility": round((3 + 3 + 1) / 3, 6),
    }  # fmt: skip


def test_words_are_found_whole_in_any_case_with_the_documents_own_cuts(tokenizer: Own) -> None:
    def ids(*pieces: str) -> list[int]:
        return [tokenizer.fast.token_to_id(piece) for piece in pieces]

    documents = [
        ids("▁b", "u", "m", "ili", "▁", "n", "▁b", "um", "ili"),
        ids("▁b", "um", "ili", "n"),  # another word
    ]
    found = text_boundaries(tokenizer, documents, WORDS)
    assert (found["words"], found["occurrences"]) == (1, 2)
    assert found["precision"] == pytest.approx(4 / 5) and found["recall"] == 1.0
    assert found["fertility"] == 3.5
    assert text_boundaries(tokenizer, [], WORDS)["f1"] is None


def test_the_lists_own_rows_are_read() -> None:
    words = load_morphemes()
    assert words["inaabot"] == frozenset({2, 3}) and len(words) > 500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("form\troot\n", "no columns form and segmentation"),
        ("form\tsegmentation\nbumili\tb-um-ilis\n", "tsv:2: the segments do not spell bumili"),
    ],
    ids=["missing", "heading", "spelling"],
)
def test_a_broken_list_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.tsv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_morphemes(path)
    assert MORPHEMES.is_file()
