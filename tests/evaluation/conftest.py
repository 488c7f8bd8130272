"""A tiny random Gemma 3 model, a tiny tokenizer and tokenised data, made once a session."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from evaluation.evaluate import quiet
from evaluation.lexicon import load_lexicon
from evaluation.models import LanguageModel, load_model

EOD = 1
VOCAB = 400
TEXTS = [
    "Kumain ng mangga ang bata sa ilalim ng puno.",
    "Bumili si Ana ng bigas, asin at suka sa palengke. Umuwi siya nang gabi na.",
    "Magtanim ay di biro; maghapong nakayuko, di man lang makatayo, di man lang makaupo. " * 3,
    "Ñandu: “isa”, dalawa — tatlo.",
]


def make_tokenizer() -> Tokenizer:
    """A BPE of Gemma's shape: spaces become ▁, unknown characters fall back to bytes."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = [f"Tanong: Ano ang {word.form}?\nSagot: {word.root}" for word in load_lexicon()]
    tokenizer.train_from_iterator(
        words, trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=specials, show_progress=False)
    )
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = state["added_tokens"][:4]  # the bytes are ordinary tokens
    return Tokenizer.from_str(json.dumps(state))


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model: <dir>/hf with weights and tokenizer.json."""
    directory = tmp_path_factory.mktemp("models") / "gemma3-1b-baseline"
    torch.manual_seed(0)
    settings = Gemma3TextConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
        max_position_embeddings=256,
        initializer_range=0.5,
        query_pre_attn_scalar=16,
        eos_token_id=EOD,
        pad_token_id=0,
        bos_token_id=2,
        tie_word_embeddings=False,
    )
    network: Any = Gemma3ForCausalLM(settings)
    with torch.no_grad():  # or each token would predict itself, whatever stands before it
        network.get_input_embeddings().weight.mul_(0.02)
    network.save_pretrained(directory / "hf")
    make_tokenizer().save(str(directory / "hf" / "tokenizer.json"))
    (directory / "hf" / "source.json").write_text(json.dumps({"eod": EOD}))
    return directory


@pytest.fixture(scope="session")
def model(model_dir: Path) -> LanguageModel:
    quiet()
    return load_model(model_dir / "hf")


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Documents with other alphabets than the tokenizer's merges know, and longer than a window."""
    return TEXTS


@pytest.fixture
def write_prefix() -> Callable[[Path, list[list[int]]], None]:
    """Writes a prefix's .bin and .idx as preprocessing does: int32, one sequence a document."""

    def write(prefix: Path, documents: list[list[int]]) -> None:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        lengths = np.array([len(ids) for ids in documents], dtype="<i4")
        offsets = np.concatenate([[0], np.cumsum(lengths[:-1], dtype="<i8") * 4]).astype("<i8")
        flat = [token for ids in documents for token in ids]
        Path(f"{prefix}.bin").write_bytes(np.array(flat, dtype="<i4").tobytes())
        head = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 4, len(documents), len(documents) + 1)
        bounds = np.arange(len(documents) + 1, dtype="<i8")
        Path(f"{prefix}.idx").write_bytes(
            head + lengths.tobytes() + offsets.tobytes() + bounds.tobytes()
        )

    return write
