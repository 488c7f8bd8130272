import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from evaluation.config import InputError
from evaluation.tokenizer import (
    end_of_document,
    first_token,
    load_tokenizer,
    main,
    write_tokenizer,
)


@pytest.fixture
def copy(model_dir: Path, tmp_path: Path) -> Path:
    """A model directory that a test may break."""
    return Path(shutil.copytree(model_dir / "hf", tmp_path / "hf"))


def test_no_bos_is_added_and_text_survives(model_dir: Path, texts: list[str]) -> None:
    tokenizer = load_tokenizer(model_dir / "hf")
    for text in texts:
        ids = tokenizer.encode(text)
        assert 2 not in ids and tokenizer.decode(ids) == text


def train_pieces(folder: Path, **options: Any) -> None:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["kumain ang bata ng mangga", "bumili si ana ng bigas"] * 20),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        minloglevel=2,
        hard_vocab_limit=False,
        **options,
    )


def test_a_sentencepiece_model_like_gemmas_is_converted(tmp_path: Path) -> None:
    from sentencepiece import SentencePieceProcessor

    train_pieces(
        tmp_path,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
    )
    pieces = SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    tokenizer = load_tokenizer(tmp_path)
    for text in ("kumain si ana", " aso at  pusa", "Tanong: Ñandu?\nSagot:"):
        assert tokenizer.encode(text) == pieces.encode(text)
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_sentencepiece_model_that_changes_text_is_refused(tmp_path: Path) -> None:
    train_pieces(tmp_path)
    with pytest.raises(InputError, match=r"cannot be turned into a tokenizer\.json that cuts"):
        load_tokenizer(tmp_path)


def test_no_tokenizer_is_refused(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"neither tokenizer\.json nor tokenizer\.model"):
        load_tokenizer(copy)


def test_the_eod_comes_from_source_json_first(copy: Path) -> None:
    (copy / "source.json").write_text(json.dumps({"eod": 3}))
    assert end_of_document(copy) == 3
    (copy / "source.json").unlink()
    (copy / "config.json").write_text(json.dumps({"eos_token_id": [7, 8]}))
    assert end_of_document(copy) == 7
    (copy / "config.json").write_text("{}")
    with pytest.raises(InputError, match="names no end-of-document id"):
        end_of_document(copy)


def test_texts_begin_with_eod_or_with_a_foreign_models_bos(copy: Path) -> None:
    assert first_token(copy, 1) == 1
    (copy / "source.json").unlink()
    assert first_token(copy, 1) == 2  # config.json's bos_token_id
    (copy / "config.json").write_text(json.dumps({"bos_token_id": None}))
    assert first_token(copy, 1) == 1


def test_transformers_reads_the_written_tokenizer(copy: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    assert main([str(tmp_path), str(tmp_path / "written")]) == 0
    written = AutoTokenizer.from_pretrained(tmp_path / "written")
    own = load_tokenizer(copy)
    for text in ("Sagot: aso", "Answer:", " Ñandu"):
        assert written.encode(text) == [1, *own.encode(text)]
        assert written.encode(text, add_special_tokens=False) == own.encode(text)


def test_an_eod_without_a_token_is_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no token with the id 999"):
        write_tokenizer(copy, tmp_path / "written", 999)
