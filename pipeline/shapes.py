"""Shapes of language models: their parameters, adapters, and what a token costs to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    positions: bool = False  # learnt, one vector a position; else rotary or relative
    encoder: bool = False  # an encoder before the decoder, which attends to it, too
    mlp_kept: tuple[int, int] | None = None  # see `kept`
    buckets: int = 0  # of relative positions, a bias each and head, learnt once a stack

    @property
    def kept(self) -> tuple[int, int]:
        """Values of the MLP's width that a token leaves for the backward pass: at least, and
        where each operation is on its own."""
        return self.mlp_kept or ((3, 4) if self.gated else (2, 5))


FAMILIES = {
    "gemma3": Family(norms=4, qk_norm=True),
    "gpt2": Family(layer_norm=True, gated=False, biases="all", positions=True),
    "llama": Family(),
    "mistral": Family(),
    "qwen": Family(qk_norm=True),  # of the third generation
    "qwen2": Family(biases="qkv"),
    "t5": Family(gated=False, encoder=True, buckets=32, mlp_kept=(1, 2)),  # ReLU
    # FLAN-T5, too. Its GELU is written out in seven operations.
    "t5-v1.1": Family(encoder=True, buckets=32, mlp_kept=(3, 7)),
}

_GEMMA_1B = {
    "architecture": "gemma3", "vocab_size": 262_144, "hidden_size": 1152, "layers": 26, "heads": 4,
    "kv_heads": 1, "head_dim": 256, "intermediate_size": 6912,
}  # fmt: skip
_T5_BASE = {
    "architecture": "t5", "vocab_size": 32_128, "hidden_size": 768, "layers": 12, "heads": 12,
    "head_dim": 64, "intermediate_size": 3072,
}  # fmt: skip
_QWEN_3B = {
    "architecture": "qwen2", "vocab_size": 151_936, "hidden_size": 2048, "layers": 36, "heads": 16,
    "kv_heads": 2, "intermediate_size": 11_008,
}  # fmt: skip
_QWEN_7B = {
    "architecture": "qwen2", "vocab_size": 152_064, "hidden_size": 3584, "layers": 28, "heads": 28,
    "kv_heads": 4, "intermediate_size": 18_944, "tied": False,
}  # fmt: skip
_MINERVA_3B = {
    "architecture": "mistral", "vocab_size": 32_768, "hidden_size": 2560, "layers": 32,
    "heads": 32, "kv_heads": 8, "intermediate_size": 8960, "tied": False,
}  # fmt: skip
_T5_SMALL = {
    "architecture": "t5", "vocab_size": 32_128, "hidden_size": 512, "layers": 6, "heads": 8,
    "head_dim": 64, "intermediate_size": 2048,
}  # fmt: skip
_FLAN_T5_SMALL = {
    "architecture": "t5-v1.1", "vocab_size": 32_128, "hidden_size": 512, "layers": 8, "heads": 6,
    "head_dim": 64, "intermediate_size": 1024, "tied": False,
}  # fmt: skip
_FLAN_T5_BASE = {
    "architecture": "t5-v1.1", "vocab_size": 32_128, "hidden_size": 768, "layers": 12, "heads": 12,
    "head_dim": 64, "intermediate_size": 2048, "tied": False,
}  # fmt: skip
_GPT2 = {
    "architecture": "gpt2", "vocab_size": 50_257, "hidden_size": 768, "layers": 12, "heads": 12,
    "positions": 1024,
}  # fmt: skip
KNOWN: dict[str, dict[str, Any]] = {
    "google/gemma-3-1b-pt": _GEMMA_1B,
    "google/gemma-3-1b-it": _GEMMA_1B,
    "gpt2": _GPT2,
    "openai-community/gpt2": _GPT2,
    "sapienzanlp/Minerva-3B-base-v1.0": _MINERVA_3B,
    "Qwen/Qwen2.5-3B": _QWEN_3B,
    "Qwen/Qwen2.5-3B-Instruct": _QWEN_3B,
    "Qwen/Qwen2.5-7B": _QWEN_7B,
    "Qwen/Qwen2.5-7B-Instruct": _QWEN_7B,
    "t5-small": _T5_SMALL,
    "google-t5/t5-small": _T5_SMALL,
    "t5-base": _T5_BASE,
    "google-t5/t5-base": _T5_BASE,
    "google/flan-t5-small": _FLAN_T5_SMALL,
    "google/flan-t5-base": _FLAN_T5_BASE,
}


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
    def attention(self) -> int:
        """Parameters of one attention: queries, keys, values and the output."""
        h, of = self.hidden, self.of
        found = 2 * h * self.queries + 2 * h * self.keys
        found += (self.queries + 2 * self.keys) * (of.biases != "none")
        return found + (h if of.biases == "all" else 0) + 2 * self.head_dim * of.qk_norm

    @property
    def norm(self) -> int:
        """Parameters of one norm over the hidden size."""
        return self.hidden * (2 if self.of.layer_norm else 1)

    @property
    def layer(self) -> int:
        """Parameters of one layer; where there is an encoder, of one of its."""
        h, of = self.hidden, self.of
        mlp = (3 if of.gated else 2) * h * self.intermediate
        if of.biases == "all":
            mlp += self.intermediate + h
        return self.attention + mlp + of.norms * self.norm

    @property
    def decoder_layer(self) -> int:
        """Parameters of one layer of the decoder: behind an encoder it attends twice."""
        return self.layer + (self.attention + self.norm if self.of.encoder else 0)

    @property
    def stacks(self) -> int:
        """Parameters of all layers and the norm behind each stack of them."""
        of = self.of
        decoder = self.layers * self.decoder_layer + self.norm
        encoder = self.layers * self.layer + self.norm if of.encoder else 0
        return encoder + decoder + (2 if of.encoder else 1) * of.buckets * self.heads

    @property
    def parameters(self) -> int:
        """All of them; a matrix that is tied counts once."""
        tables = self.embedding * (1 if self.tied else 2) + self.positions * self.hidden
        return tables + self.stacks

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Name of a kind of matrix, as adapters target it -> inputs + outputs of one, and how
        many there are. GPT-2 calls two kinds `c_proj`: `c_proj` stands for both."""
        h, q, kv, m = self.hidden, self.queries, self.keys, self.intermediate
        layers, of = self.layers, self.of
        if self.family == "gpt2":
            return {
                "c_attn": (h + q + 2 * kv, layers), "c_fc": (h + m, layers),
                "c_proj": (q + h + m + h, layers),
            }  # fmt: skip
        if of.encoder:
            names = {"q": h + q, "k": h + kv, "v": h + kv, "o": q + h}
            found = {name: (sides, 3 * layers) for name, sides in names.items()}
            wide = ("wi_0", "wi_1") if of.gated else ("wi",)
            return found | dict.fromkeys((*wide, "wo"), (h + m, 2 * layers))
        names = {"q_proj": h + q, "k_proj": h + kv, "v_proj": h + kv, "o_proj": q + h}
        names |= dict.fromkeys(("gate_proj", "up_proj", "down_proj"), h + m)
        return {name: (sides, layers) for name, sides in names.items()}

    def adapters(self, rank: int, targets: Sequence[str]) -> int:
        """Parameters of LoRA's matrices: rank x (inputs + outputs) of each matrix that a target
        names; a name that the model has not adds none."""
        known = self.matrices()
        chosen = known if "all-linear" in targets else [name for name in known if name in targets]
        return sum(rank * known[name][0] * known[name][1] for name in chosen)

    def copies(self, modules: Sequence[str]) -> int:
        """Parameters of modules that are trained whole beside adapters (`modules_to_save`)."""
        times = {"embed_tokens": 2 if self.of.encoder else 1, "lm_head": 1, "shared": 1, "wte": 1}
        return sum(times.get(name, 0) * self.embedding for name in dict.fromkeys(modules))

    def flops(self, length: int, trainable: int | None = None, target: int = 0) -> float:
        """Floating-point operations to learn a token of a sequence of `length`.

        6 N + 12 L H Q T: N parameters, L layers, H heads of width Q, T tokens (PaLM, Chowdhery et
        al. 2022, appendix B). N leaves out tables that are only looked up. Of the six, two are the
        weights' own gradients, which only the `trainable` ones have (None: all). Recomputation does
        not count, nor does it count that a window or a causal mask halves attention.

        With an encoder each token passes one of the two stacks: `target` tokens the decoder, and
        the answer is the mean over both.
        """
        per_score = 12 * self.layers * self.queries
        if not self.of.encoder:
            looked_up = self.positions * self.hidden + (0 if self.tied else self.embedding)
            multiplied: float = self.parameters - looked_up
            scores = float(length)
        else:
            whole = length + target
            encoder, decoder = self.layers * self.layer, self.layers * self.decoder_layer
            keys = self.layers * 2 * self.hidden * self.keys  # of what the encoder gives
            work = length * (encoder + keys) + target * (decoder - keys + self.embedding)
            multiplied = work / whole
            scores = (length * length + target * target + target * length) / whole
        learnt = multiplied
        if trainable is not None:
            learnt = trainable if not self.of.encoder else multiplied * trainable / self.parameters
        return 4 * multiplied + 2 * learnt + per_score * scores


# What transformers' own configurations call the same things.
NAMES = {
    "hidden_size": ("d_model", "n_embd"), "layers": ("num_hidden_layers", "num_layers", "n_layer"),
    "heads": ("num_attention_heads", "num_heads", "n_head"), "kv_heads": ("num_key_value_heads",),
    "head_dim": ("d_kv",), "intermediate_size": ("d_ff", "n_inner"), "positions": ("n_positions",),
}  # fmt: skip


def shape_of(parameters: Mapping[str, Any]) -> Shape | None:
    """The shape that a study's resolved `parameters` describe. Weights that are known by the name
    of `model.base` have their own; otherwise `model` and `model.config` tell it, in our words or
    in those of transformers. None where neither tells, or what they tell is no shape."""
    model = at(parameters, "model", dict) or {}
    base = KNOWN.get(str(model.get("base")), {})
    given = {**model, **(at(model, "config", dict) or {})}
    given = {**_renamed(given), **given}
    given = {**base, **given} if given.get("init") == "random" else {**given, **base}
    kind = str(given.get("architecture"))
    if kind == "t5" and "gated" in str(given.get("feed_forward_proj")):
        kind = "t5-v1.1"
    family = FAMILIES.get(kind)
    hidden, layers, heads = (count(given, key) for key in ("hidden_size", "layers", "heads"))
    vocab = count(given, "vocab_size") or count(parameters, "tokenizer.vocab_size")
    if not (family and hidden and layers and heads and vocab):
        return None
    length = count(given, "positions") or count(given, "seq_length") or 0
    return Shape(
        family=kind,
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


def _renamed(given: Mapping[str, Any]) -> dict[str, Any]:
    """What stands there in transformers' words, in ours."""
    return {name: given[word] for name, others in NAMES.items() for word in others if word in given}


def trained(parameters: Mapping[str, Any], shape: Shape) -> int | None:
    """How many parameters a study's `lora` section trains; None where there is none, so all."""
    rank = count(parameters, "lora.r") or count(parameters, "lora.rank")
    if not rank:
        return None
    targets = at(parameters, "lora.target_modules", list) or []
    if word := at(parameters, "lora.target_modules", str):
        targets = [word]
    saved = at(parameters, "lora.modules_to_save", list) or []
    return shape.adapters(rank, [str(t) for t in targets]) + shape.copies([str(m) for m in saved])


def counts(parameters: Mapping[str, Any]) -> dict[str, int]:
    """What a study's resolved `parameters` say of its model, for those who compute with it:
    `total` parameters, `trainable` ones, of one `embedding`, one `layer`, with `adapters` beside
    the model. Empty where the shape is unknown."""
    shape = shape_of(parameters)
    if shape is None:
        return {}
    learnt = trained(parameters, shape)
    adapters = learnt or 0
    return {
        "total": shape.parameters + adapters,
        "base": shape.parameters,
        "trainable": shape.parameters if learnt is None else learnt,
        "adapters": adapters,
        "embedding": shape.embedding,
        "layer": shape.layer,
    }


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
