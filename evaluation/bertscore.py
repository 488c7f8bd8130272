"""BERTScore: how near the words of a generated text are to those of its reference, in the space of
a language model (Zhang et al. 2020, https://arxiv.org/abs/1904.09675), without rescaling.

For text x and reference y with contextual vectors of one layer, scaled to length 1: precision is
the mean over x's words of the largest product with a word of y, recall the same the other way, and
the score their harmonic mean. As in the authors' package, the marks at both ends may be matched but
do not count in the means, and words are not weighted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.config import InputError


@dataclass(frozen=True)
class Encoder:
    """A model that gives words vectors, and the layer that they are taken from."""

    model: Any
    tokenizer: Any
    layer: int
    device: str


def load_encoder(name: str, layer: int) -> Encoder:
    """The encoder by path or hub name. InputError when it cannot be had or has no such layer."""
    import torch
    import transformers

    automatic: Any = transformers.AutoModel
    try:
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(name)
        model = automatic.from_pretrained(name, dtype=torch.float32).eval()
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"BERTScore's model {name} cannot be loaded: {reason}",
            "Put it into the Hugging Face cache, or name a local directory",
        ) from error
    layers = int(model.config.num_hidden_layers)
    if not 0 <= layer <= layers:
        raise InputError(f"{name} has {layers} layers and no layer {layer}", "Name one of them")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Encoder(model.to(device), tokenizer, layer, device)


def vectors(encoder: Encoder, texts: Sequence[str]) -> list[tuple[Any, Any]]:
    """For each text its words' vectors (words, width), of length 1, and which of them count
    (words,): all but the marks at both ends."""
    import torch

    given = encoder.tokenizer(
        list(texts), padding=True, truncation=True, return_tensors="pt",
        return_special_tokens_mask=True,
    )  # fmt: skip
    special = given.pop("special_tokens_mask").bool()
    with torch.no_grad():
        states = encoder.model(**given.to(encoder.device), output_hidden_states=True)
    layer = torch.nn.functional.normalize(states.hidden_states[encoder.layer].cpu(), dim=-1)
    mask = given["attention_mask"].cpu().bool()
    return [
        (layer[i][mask[i]], ~special[i][mask[i]])
        for i in range(len(texts))
    ]  # fmt: skip


def f1(told: tuple[Any, Any], reference: tuple[Any, Any]) -> float:
    """The score of one pair; 0 where one side has no word."""
    (one, counts), (other, its) = told, reference
    if not (counts.any() and its.any()):
        return 0.0
    near = one @ other.T
    precision = float(near.max(1).values[counts].mean())
    recall = float(near.max(0).values[its].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def bert_score(
    encoder: Encoder, told: Sequence[str], references: Sequence[str], batch: int = 32
) -> float:
    """The mean F1 over pairs; 0 without any."""
    total = 0.0
    for first in range(0, len(told), batch):
        place = slice(first, first + batch)
        pairs = zip(vectors(encoder, told[place]), vectors(encoder, references[place]), strict=True)
        total += sum(f1(one, other) for one, other in pairs)
    return total / len(told) if told else 0.0
