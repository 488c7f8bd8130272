"""Shapes of decoder-only language models: their parameters and what a token costs to learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec

T = TypeVar("T")

MOST = 10**12  # of anything that a model or a batch has


class Family(msgspec.Struct, frozen=True):
    """What the models of one architecture have in common."""

    norms: int = 2  # of a layer, each over the hidden size
    layer_norm: bool = False  # LayerNorm with a bias; else RMSNorm
    qk_norm: bool = False  # over each head of queries and keys
    gated: bool = True  # the MLP has a gate: three matrices; else two
    biases: Literal["none", "qkv", "all"] = "none"
    positions: bool = False  # learnt, one vector a position; else rotary


FAMILIES = {
    "gemma3": Family(norms=4, qk_norm=True),
    "gpt2": Family(layer_norm=True, gated=False, biases="all", positions=True),
    "llama": Family(),
    "mistral": Family(),
    "qwen": Family(qk_norm=True),  # of the third generation
    "qwen2": Family(biases="qkv"),
}

_GEMMA_1B = {
    "architecture": "gemma3", "vocab_size": 262_144, "hidden_size": 1152, "layers": 26, "heads": 4,
    "kv_heads": 1, "head_dim": 256, "intermediate_size": 6912,
}  # fmt: skip
KNOWN: dict[str, dict[str, Any]] = {
    "google/gemma-3-1b-pt": _GEMMA_1B,
    "google/gemma-3-1b-it": _GEMMA_1B,
    "gpt2": {
        "architecture": "gpt2", "vocab_size": 50_257, "hidden_size": 768, "layers": 12,
        "heads": 12, "positions": 1024,
    },
    "sapienzanlp/Minerva-3B-base-v1.0": {
        "architecture": "mistral", "vocab_size": 32_768, "hidden_size": 2560, "layers": 32,
        "heads": 32, "kv_heads": 8, "intermediate_size": 8960, "tied": False,
    },
}  # fmt: skip


class Shape(msgspec.Struct, frozen=True):
    """A model's dimensions."""

    family: str
    vocab: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    positions: int
    tied: bool  # the output matrix is the embedding's

    @property
    def of(self) -> Family:
        """What its family has."""
        return FAMILIES[self.family]

    @property
    def queries(self) -> int:
        """Width of all queries of a token."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        """Width of all keys of a token, and of all values."""
        return self.kv_heads * self.head_dim

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, or of the output matrix."""
        return self.vocab * self.hidden

    @property
    def layer(self) -> int:
        """Parameters of one layer."""
        h, of = self.hidden, self.of
        attention = 2 * h * self.queries + 2 * h * self.keys
        attention += (self.queries + 2 * self.keys) * (of.biases != "none")
        mlp = (3 if of.gated else 2) * h * self.intermediate
        if of.biases == "all":
            attention, mlp = attention + h, mlp + self.intermediate + h
        norms = of.norms * h * (2 if of.layer_norm else 1)
        return attention + mlp + norms + 2 * self.head_dim * of.qk_norm

    @property
    def parameters(self) -> int:
        """All of them; a matrix that is tied counts once."""
        h = self.hidden
        last_norm = 2 * h if self.of.layer_norm else h
        tables = self.embedding * (1 if self.tied else 2) + self.positions * h
        return tables + self.layers * self.layer + last_norm

    def flops(self, length: int, trainable: int | None = None) -> float:
        """Floating-point operations to learn a token of a sequence of `length`.

        6 N + 12 L H Q T: N parameters, L layers, H heads of width Q, T tokens (PaLM, Chowdhery et
        al. 2022, appendix B). N leaves out tables that are only looked up. Of the six, two are the
        weights' own gradients, which only the `trainable` ones have (None: all). Recomputation does
        not count, nor does it count that a window or a causal mask halves attention.
        """
        looked_up = self.positions * self.hidden + (0 if self.tied else self.embedding)
        multiplied = self.parameters - looked_up
        learnt = multiplied if trainable is None else trainable
        return 4 * multiplied + 2 * learnt + 12 * self.layers * self.queries * length


def shape_of(parameters: Mapping[str, Any]) -> Shape | None:
    """The shape that a study's resolved `parameters` describe: `model.config`, else what is known
    of `model.base`. None where neither tells, or what they tell is no shape."""
    model = at(parameters, "model", dict) or {}
    base = KNOWN.get(str(model.get("base")), {})
    given = {**base, **model, **(at(model, "config", dict) or {})}
    family = FAMILIES.get(str(given.get("architecture")))
    hidden, layers, heads = (count(given, key) for key in ("hidden_size", "layers", "heads"))
    vocab = count(given, "vocab_size") or count(parameters, "tokenizer.vocab_size")
    if not (family and hidden and layers and heads and vocab):
        return None
    length = count(given, "positions") or count(given, "seq_length") or 0
    return Shape(
        family=str(given["architecture"]),
        vocab=vocab + (count(given, "special_tokens") or 0),
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=count(given, "kv_heads") or heads,
        head_dim=count(given, "head_dim") or max(hidden // heads, 1),
        intermediate=count(given, "intermediate_size") or 4 * hidden,
        positions=length if family.positions else 0,
        tied=given.get("tied") is not False,
    )


def at(parameters: Mapping[str, Any], path: str, kind: type[T]) -> T | None:
    """The value under `a.b`, or None where there is none of that kind."""
    value: Any = parameters
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, kind) else None


def count(parameters: Mapping[str, Any], path: str) -> int | None:
    """The number of things under `a.b`: at least one, and not so many that sizes overflow."""
    value = at(parameters, path, int)
    return value if value is not True and value is not None and 0 < value < MOST else None
