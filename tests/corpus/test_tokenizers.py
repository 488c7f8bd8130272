"""The two kinds of tokenizer files behave alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import CorpusError
from corpus.files import sha256_file
from corpus.tokenizers import SentencePieceTokenizer, Tokenizer, load_tokenizer

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
    assert (tokenizer.vocab_size, tokenizer.full_size) == (model.vocab_size, model.full_size)


def test_atoms_are_special_tokens_and_bytes(either: Tokenizer) -> None:
    assert {0, 1, 2} <= either.special <= {0, 1, 2, 3}  # 3 is the unknown token
    assert {0, 1, 2, 3} < either.atoms and len(either.atoms) == 4 + 256
    assert either.space == "▁"


def test_pieces_and_ids(either: Tokenizer) -> None:
    for token, piece in enumerate(either.pieces):
        assert either.piece_to_id(piece) == token
        assert either.id_to_piece(token) == piece
    assert either.piece_to_id("absent, surely") is None
    assert either.id_to_piece(either.full_size + 5) == ""
    assert either.digest() == sha256_file(either.path)


def test_scores_order_what_merges_make(sentencepiece_model: Path) -> None:
    model = load_tokenizer(sentencepiece_model)
    assert isinstance(model, SentencePieceTokenizer)
    assert (model.is_bpe, model.prefix_space, model.unfit()) == (True, False, "")
    assert set(model.by_score) == set(range(model.full_size)) - model.atoms
    lengths = [len(model.pieces[token]) for token in model.by_score]
    assert min(lengths[:20]) > 1 and set(lengths[-20:]) == {1}  # characters come last


def test_gemma(gemma: Path) -> None:
    found = load_tokenizer(gemma)
    assert (found.vocab_size, found.full_size, found.space) == (262144, 262145, "▁")
    assert found.id_to_piece(1) == "<eos>" and 1 in found.special
    for text in ("", " Nagkakatipon  ang\n\nmagkakapatid <b>sa</b> 漢字 😀", "<eos><bos><image>"):
        ids = found.encode(text)
        assert found.decode(ids) == text
        assert found.special.isdisjoint(ids.tolist())


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
