"""The smallest task for training/hf/fitting.py: next-id prediction from one table of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from training.hf.task import IGNORED, Batch, Loss, Place, in_groups, pad, shuffled, token_loss

VOCABULARY = 11


class Net(torch.nn.Module):
    """Embedding, dropout, head."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(VOCABULARY, 6)
        self.drop = torch.nn.Dropout(0.2)
        self.head = torch.nn.Linear(6, VOCABULARY)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.table(ids)))  # type: ignore[no-any-return]


class Toy:
    """Rows of ids where each id is followed by itself plus 1; `untargeted` rows have no label."""

    metrics: tuple[str, ...] = ("val/loss", "val/perplexity", "val/odd")
    vocab_size = VOCABULARY
    blame = "Look at the head"

    def __init__(self, examples: int = 10, seed: int = 7, untargeted: bool = False) -> None:
        drawn = torch.Generator().manual_seed(1)
        lengths = torch.randint(3, 9, (examples,), generator=drawn).tolist()
        self.rows = [
            [(first + i) % VOCABULARY for i in range(n)] for first, n in enumerate(lengths)
        ]
        self.examples, self.seed, self.untargeted = examples, seed, untargeted
        self.model: Any = None
        self.seen: list[list[int]] = []
        self.values: list[float] = []  # of val/odd, one for each evaluation; else the loss

    def identity(self) -> dict[str, Any]:
        return {"data": self.examples}

    def build(self, place: Place) -> dict[str, Any]:
        torch.manual_seed(self.seed)
        self.model = Net().to(place.device)
        return {"toy": True}

    def order(self, epoch: int) -> Sequence[int]:
        return shuffled(self.examples, self.seed, epoch)

    def collate(self, numbers: Sequence[int], epoch: int) -> Batch:
        self.seen.append(list(numbers))
        return self.batch(numbers)

    def batch(self, numbers: Sequence[int]) -> Batch:
        labels = pad([self.rows[n][1:] for n in numbers], IGNORED)
        if self.untargeted:
            labels = torch.full_like(labels, IGNORED)
        return {"ids": pad([self.rows[n][:-1] for n in numbers], 0), "labels": labels}

    def count(self, batch: Batch) -> float:
        return int((batch["labels"] != IGNORED).sum())

    def loss(self, batch: Batch) -> Loss:
        loss = token_loss(self.model(batch["ids"]), batch["labels"])
        return Loss(loss, {"half": (float(loss.detach()) / 2, self.count(batch))})

    def evaluate(self, place: Place) -> dict[str, float]:
        total, count = 0.0, 0.0
        for batch in in_groups(self.examples, 4, self.batch):
            total += float(self.loss(place.put(batch)).total)
            count += self.count(batch)
            place.pulse()
        loss = total / max(count, 1)
        odd = self.values.pop(0) if self.values else loss
        return {"val/loss": loss, "val/perplexity": math.exp(loss), "val/odd": odd}

    def save(self, directory: Path) -> None:
        save_file(dict(self.model.state_dict()), directory / "toy.safetensors")

    def load(self, directory: Path) -> None:
        self.model.load_state_dict(load_file(directory / "toy.safetensors"))
