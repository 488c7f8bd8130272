from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import CorpusError
from corpus.tokenizers import Tokenizer, load_tokenizer

HARD = ["", " ", "  dalawa  ", "a\n\n\tb\r\n", "<eos> at </s> <0x0A>", "漢字 😀 é", "\x01\x7f"]


@pytest.fixture(params=["json", "sentencepiece"])
def either(request: pytest.FixtureRequest, tokenizer: Tokenizer,
           sentencepiece_model: Path) -> Tokenizer:
    return tokenizer if request.param == "json" else load_tokenizer(sentencepiece_model)


def test_decoding_gives_back_the_text(either: Tokenizer, sample: list[str]) -> None:
    for text in sample + HARD:
        ids = either.encode(text)
        assert either.decode(ids) == text
        assert either.special.isdisjoint(ids.tolist())


def test_both_files_give_the_same_ids(
    tokenizer: Tokenizer, sentencepiece_model: Path, sample: list[str]
) -> None:
    model = load_tokenizer(sentencepiece_model)
    for text in sample + HARD:
        assert tokenizer.encode(text).tolist() == model.encode(text).tolist()
    assert tokenizer.pieces == model.pieces
    assert tokenizer.atoms == model.atoms
    assert {token: sorted(pairs) for token, pairs in tokenizer.expansions.items()} == {
        token: sorted(pairs) for token, pairs in model.expansions.items()}


def test_expansions_spell_their_token_and_spare_atoms(either: Tokenizer) -> None:
    assert len(either.expansions) > 500
    for token, pairs in either.expansions.items():
        for left, right in pairs:
            assert either.pieces[left] + either.pieces[right] == either.pieces[token]
            assert either.atoms.isdisjoint({token, left, right})
    assert {0, 1, 2, 3} < either.atoms and len(either.atoms) == 4 + 256


def test_segment_is_encode_without_the_mark(either: Tokenizer, sample: list[str]) -> None:
    assert either.space == "▁"
    for word in sample[0].split():
        ids = either.encode(" " + word).tolist()
        if either.atoms.isdisjoint(ids):
            assert either.segment("▁" + word) == ids
    assert either.segment("漢") is None


@given(text=st.text(st.characters(exclude_characters="\0▁", exclude_categories=["Cs"])))
def test_any_text_survives(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_transformers_loads_the_directory(study: Path, sample: list[str]) -> None:
    transformers = pytest.importorskip("transformers")
    theirs, ours = transformers.AutoTokenizer.from_pretrained(study / "tokenizer"), load_tokenizer(
        study / "tokenizer")
    for text in sample[:10]:
        assert theirs.encode(text) == ours.encode(text).tolist()
    assert theirs.eos_token_id == 1


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model"])
def test_what_is_no_tokenizer_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CorpusError, match="Run the tokenizer stage"):
        load_tokenizer(tmp_path)
    (tmp_path / name).write_text("{}")
    with pytest.raises(CorpusError, match=name):
        load_tokenizer(tmp_path)
