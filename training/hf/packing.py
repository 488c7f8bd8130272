"""A sample is many documents end to end: where each begins, and what it may look at.

As in Megatron, a document ends with its end-of-document id, and the token after that begins the
next one. `reset_position_ids` counts positions from 0 again there, `reset_attention_mask` hides
what stands before it, and `eod_mask_loss` leaves out the loss of what is predicted from the
end-of-document id, which no context could tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from training.hf.loss import IGNORE, Loss, count_right
from training.settings import Data


def document_positions(tokens: torch.Tensor, eod: int) -> torch.Tensor:
    """Positions counted within each document, of the shape of `tokens`: (samples, length)."""
    places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    begins = torch.zeros_like(tokens, dtype=torch.bool)
    begins[:, 1:] = tokens[:, :-1] == eod
    first = torch.cummax(torch.where(begins, places, 0), dim=1).values
    return places - first


def count_targets(tokens: torch.Tensor, data: Data, eod: int) -> int:
    """Positions of `tokens`, of shape (samples, length + 1), whose loss counts."""
    inputs = tokens[:, :-1]
    left_out = int((inputs == eod).sum()) if data.eod_mask_loss else 0
    return inputs.numel() - left_out


@dataclass(frozen=True)
class Boundaries:
    """What the study says about documents in a sample."""

    data: Data
    eod: int

    def arguments(self, model: Any, inputs: torch.Tensor) -> dict[str, Any]:
        """Positions and attention masks for the model's forward pass.

        The masks are transformers' own, sliding windows included; where no document ends inside a
        sample there is none, and attention takes its fast causal path.
        """
        from transformers.masking_utils import create_masks_for_generate

        within = document_positions(inputs, self.eod)
        plain = torch.arange(inputs.shape[1], device=inputs.device).expand_as(inputs)
        like: Any = torch.empty((*inputs.shape, 0), dtype=model.dtype, device=inputs.device)
        masks = create_masks_for_generate(
            config=model.config,
            inputs_embeds=like,
            attention_mask=None,
            past_key_values=None,
            position_ids=within if self.data.reset_attention_mask else plain,
        )
        return {
            "position_ids": within if self.data.reset_position_ids else plain,
            "attention_mask": masks,
        }

    def targets(self, tokens: torch.Tensor) -> torch.Tensor:
        """The ids to predict, with IGNORE where the loss does not count."""
        wanted = tokens[:, 1:]
        if self.data.eod_mask_loss:
            wanted = wanted.masked_fill(tokens[:, :-1] == self.eod, IGNORE)
        return wanted


class Trainee(nn.Module):
    """The model together with its loss, so that what shards or averages it sees one call."""

    def __init__(self, model: Any, loss: Loss, boundaries: Boundaries) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.boundaries = boundaries

    def forward(self, tokens: torch.Tensor, score: bool = False) -> torch.Tensor:
        """Sum of the losses, in nats, of predicting tokens[:, 1:] from what precedes them; to
        `score` is to give [that sum, how many of them have the highest logit]."""
        inputs = tokens[:, :-1]
        where = self.boundaries.arguments(self.model, inputs)
        found = self.model.base_model(input_ids=inputs, use_cache=False, **where)
        hidden = found.last_hidden_state.flatten(0, 1)
        head = self.model.get_output_embeddings().weight
        targets = self.boundaries.targets(tokens).flatten()
        loss = self.loss(hidden, head, targets)
        return torch.stack([loss, count_right(hidden, head, targets)]) if score else loss
