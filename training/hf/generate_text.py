"""What a model writes after a prompt, as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from training.contract import Section
from training.hf.examples import Encoded
from training.hf.task import IGNORED, Place


@dataclass(frozen=True)
class Decoding:
    """The most tokens that are written, and how many beams look for them (1: the likeliest id)."""

    max_new_tokens: int
    beams: int


def read_decoding(config: Section) -> Decoding | None:
    """The section `decoding`, None without one; problems stay in `config`."""
    p = "parameters.decoding."
    if not config.has("parameters.decoding"):
        return None
    return Decoding(config.positive(p + "max_new_tokens"), config.positive(p + "beams", 1))


def generate(
    model: Any, tokenizer: Any, rows: Sequence[Encoded], how: Decoding, place: Place, batch: int
) -> list[str]:
    """The text that the model writes for each prompt; nothing is drawn by chance."""
    told: list[str] = []
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    start = 0 if inner.config.is_encoder_decoder else None
    for first in range(0, len(rows), batch):
        prompts = [row.prompt for row in rows[first : first + batch]]
        ids, mask = left_padded(prompts, tokenizer.pad_token_id)
        with torch.no_grad(), place.autocast():
            written = model.generate(
                input_ids=ids.to(place.device),
                attention_mask=mask.to(place.device),
                max_new_tokens=how.max_new_tokens,
                num_beams=how.beams,
                do_sample=False,
                use_cache=True,
                pad_token_id=tokenizer.pad_token_id,
            )
        told += decode(tokenizer, written[:, (ids.shape[1] if start is None else start) :])
        place.pulse()
    return told


def left_padded(rows: Sequence[Sequence[int]], padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, filled up on the left: what a causal model writes follows its prompt."""
    longest = max(map(len, rows))
    ids = [[*[padding] * (longest - len(row)), *row] for row in rows]
    mask = [[*[0] * (longest - len(row)), *[1] * len(row)] for row in rows]
    return torch.tensor(ids), torch.tensor(mask)


def decode(tokenizer: Any, ids: Any) -> list[str]:
    """Text of predictions or labels. What is no id of the vocabulary, the label of no target
    (-100) and the rows that pad the table, becomes padding, which is left out."""
    table = torch.as_tensor(ids)
    known = (table >= 0) & (table < len(tokenizer)) & (table != IGNORED)
    padded = torch.where(known, table, torch.full_like(table, tokenizer.pad_token_id))
    texts: list[str] = tokenizer.batch_decode(padded.tolist(), skip_special_tokens=True)
    return [text.strip() for text in texts]
