"""Base models small enough for a test, of both kinds, with a tokenizer of whole words."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from training.hf.adapters import CAUSAL, SEQ2SEQ, quiet
from training.hf.fresh_base import BaseModel, write_base

WORDS = [f"w{i}" for i in range(1, 60)]
T5: dict[str, Any] = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
LLAMA: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 64,
}  # fmt: skip
GPT2: dict[str, Any] = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}
GATED = ["q", "k", "v", "o", "wi_0", "wi_1", "wo"]
PLAIN = ["q", "k", "v", "o", "wi", "wo"]


def write_tokenizer(directory: Path, closes: bool = True) -> Path:
    """Ids 0 pad, 1 end, 2 unknown, then WORDS; with `closes` each text gets the end."""
    import tokenizers
    import transformers
    from tokenizers import models, pre_tokenizers, processors

    special = ["<pad>", "</s>", "<unk>"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    made = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if closes:
        made.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", 1)]
        )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    with quiet():
        fast.save_pretrained(directory)
    return directory


def t5(directory: Path, gated: bool = True, tied: bool = False) -> str:
    """A T5's directory: gated with a separate head as FLAN-T5 is, or not."""
    tokenizer = write_tokenizer(directory / "tokenizer")
    kind = "gated-gelu" if gated else "relu"
    made = BaseModel("none", True, "t5", T5 | {"feed_forward_proj": kind}, str(tokenizer), tied)
    write_base(made, SEQ2SEQ, 3, directory / "base")
    return str(directory / "base")


def causal(directory: Path, kind: str = "llama", tied: bool = False) -> str:
    """A causal model's directory."""
    tokenizer = write_tokenizer(directory / "tokenizer", closes=False)
    shape = GPT2 if kind == "gpt2" else LLAMA
    made = BaseModel("none", True, kind, shape, str(tokenizer), tied)
    write_base(made, CAUSAL, 3, directory / "base")
    return str(directory / "base")


def write_pairs(path: Path, count: int, seed: int = 0) -> Path:
    """Prompts of three words whose response repeats the first two in the other order."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        words = chance.sample(WORDS, 3)
        rows.append({"prompt": " ".join(words), "response": f"{words[1]} {words[0]}"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
