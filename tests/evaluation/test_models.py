import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from evaluation.config import InputError
from evaluation.models import (
    end_of_document,
    fingerprint,
    load_model,
    load_tokenizer,
    model_directory,
)


@pytest.fixture
def copy(model_dir: Path, tmp_path: Path) -> Path:
    """A model directory that a test may break."""
    return Path(shutil.copytree(model_dir / "hf", tmp_path / "hf"))


def test_either_directory_is_accepted(model_dir: Path, tmp_path: Path) -> None:
    assert model_directory(model_dir) == model_dir / "hf"
    assert model_directory(model_dir / "hf") == model_dir / "hf"
    with pytest.raises(InputError, match="holds no model"):
        model_directory(tmp_path)


def test_a_model_is_float32_and_knows_its_sizes(model_dir: Path) -> None:
    model = load_model(model_dir / "hf")
    assert (model.vocab_size, model.context, model.eod) == (400, 256, 1)
    assert {str(p.dtype) for p in model.network.parameters()} == {"torch.float32"}


def test_no_bos_is_added_and_text_survives(model_dir: Path, texts: list[str]) -> None:
    tokenizer = load_tokenizer(model_dir / "hf")
    for text in texts:
        ids = tokenizer.encode(text)
        assert 2 not in ids and tokenizer.decode(ids) == text


def test_a_sentencepiece_tokenizer_is_read(tmp_path: Path) -> None:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["kumain ang bata ng mangga", "bumili si ana ng bigas"] * 20),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    tokenizer = load_tokenizer(tmp_path)
    ids = tokenizer.encode("kumain si ana")
    assert tokenizer.decode(ids) == "kumain si ana" and 1 not in ids


def test_missing_weights_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    gone = next(name for name in weights if "down_proj" in name)
    del weights[gone]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks weights.*down_proj"):
        load_model(copy)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_broken_file_is_refused_in_one_line(name: str, copy: Path) -> None:
    (copy / name).write_bytes(b"{broken")
    with pytest.raises(InputError) as caught:
        load_model(copy, eod=1)
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)


def test_no_tokenizer_is_refused(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"neither tokenizer\.json nor tokenizer\.model"):
        load_model(copy)


def test_the_eod_comes_from_source_json_first(copy: Path) -> None:
    (copy / "source.json").write_text(json.dumps({"eod": 3}))
    assert end_of_document(copy) == 3
    (copy / "source.json").unlink()
    (copy / "config.json").write_text(json.dumps({"eos_token_id": [7, 8]}))
    assert end_of_document(copy) == 7
    (copy / "config.json").write_text("{}")
    with pytest.raises(InputError, match="names no end-of-document id"):
        end_of_document(copy)


def test_an_eod_outside_the_vocabulary_is_refused(model_dir: Path) -> None:
    with pytest.raises(InputError, match="id 400 is outside the vocabulary of 400"):
        load_model(model_dir / "hf", eod=400)


def test_a_fingerprint_changes_with_any_file(copy: Path) -> None:
    before = fingerprint(copy)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= before.keys()
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    after = fingerprint(copy)
    assert [name for name in before if before[name] != after[name]] == ["config.json"]
