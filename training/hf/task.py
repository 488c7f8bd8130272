"""What a training over padded examples is about: the protocol between training/hf/fitting.py,
which holds the loop, and the trainers, which hold data, model and loss."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from training.contract import BadInput
from training.hf.device import autocast, pick_device, pick_precision
from training.hf.guards import Stop

Batch = Mapping[str, torch.Tensor]
IGNORED = -100  # the label of what is no target


class Interrupted(Exception):
    """A signal came during an evaluation, which therefore has no result."""


@dataclass
class Place:
    """Where and in which precision a model computes."""

    device: torch.device
    precision: str
    tf32: bool
    stop: Stop = field(default_factory=Stop)

    def put(self, batch: Batch) -> dict[str, torch.Tensor]:
        """A batch on the device."""
        # pinned memory is read while the device computes; other memory waits as ever
        return {name: t.to(self.device, non_blocking=True) for name, t in batch.items()}

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Arithmetic in 16 bits over fp32 weights, where the precision says so."""
        return autocast(self.precision, self.device)

    def pulse(self) -> None:
        """For an evaluation to call after each batch: raises Interrupted once a signal came."""
        if self.stop.signal:
            raise Interrupted


def find_place(precision: str, tf32: bool, stop: Stop) -> Place:
    """A CUDA device, else Apple's, else the CPU; `auto` becomes what it computes fast and safely.

    fp16 on Apple's MPS makes losses NaN, so there it is fp32, and asking for less is refused, as
    on a CPU. TF32 needs compute capability 8 and is left off elsewhere.
    """
    device = pick_device()
    if device.type == "cpu" and torch.backends.mps.is_available():
        device = torch.device("mps")
    picked = pick_precision(precision, device)
    able = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = tf32 and able
        torch.backends.cudnn.allow_tf32 = tf32 and able
    return Place(device, picked, tf32 and able, stop)


@dataclass
class Loss:
    """The loss of a micro-batch: summed over its targets, in nats, with its gradient; and sums
    and counts of what it is made of, which go to the rows by name."""

    total: torch.Tensor
    parts: dict[str, tuple[float, float]] = field(default_factory=dict)


class Task(Protocol):
    """Examples, model, loss and evaluation of one training.

    `model` is there after `build`. `metrics` are the names that `evaluate` returns, of which early
    stopping watches one. `examples` is how many an epoch has.
    """

    model: Any
    examples: int
    vocab_size: int
    metrics: tuple[str, ...]
    blame: str  # what a first loss far above ln(vocab_size) most likely comes from, and the remedy

    def identity(self) -> dict[str, Any]:
        """What a resumed run must share: digests of the data, what shapes the model. Called before
        `build`; numbers and text only."""
        ...

    def build(self, place: Place) -> dict[str, Any]:
        """Make the model, in fp32, on the place's device; returns facts for status.json."""
        ...

    def order(self, epoch: int) -> Sequence[int]:
        """The numbers of the examples in the order of that epoch, from 0; see shuffled()."""
        ...

    def collate(self, numbers: Sequence[int], epoch: int) -> Batch:
        """A padded batch on the host."""
        ...

    def count(self, batch: Batch) -> float:
        """The targets over which `loss` sums."""
        ...

    def loss(self, batch: Batch) -> Loss:
        """The loss of a batch on the device; called under autocast, the model in training mode."""
        ...

    def evaluate(self, place: Place) -> dict[str, float]:
        """The metrics, all of them finite; called without gradients, the model in evaluation mode.
        It calls `place.pulse()` after each batch."""
        ...

    def save(self, directory: Path) -> None:
        """Write what others load: a whole model or an adapter, with its tokenizer. Files lie in
        the directory itself and in no folder of it."""
        ...

    def load(self, directory: Path) -> None:
        """Put the weights that `save` wrote into `model`."""
        ...


def shuffled(examples: int, seed: int, epoch: int) -> Sequence[int]:
    """The order of an epoch: every example once, another order in each epoch, known by the seed."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    order: list[int] = torch.randperm(examples, generator=generator).tolist()
    return order


def token_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy in nats, summed over the labels that are not IGNORED; 0 without any.

    logits (batch, length, vocabulary), labels (batch, length).
    """
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, -2).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def pad(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """Rows of different length as one (rows, longest) tensor, filled up on the right."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])


def refuse_unknown_metric(metric: str, metrics: Sequence[str]) -> None:
    """BadInput unless an evaluation gives the metric that early stopping is to watch."""
    if metric not in metrics:
        raise BadInput(
            f"train.early_stopping.metric is {metric}, and this training measures "
            f"{', '.join(metrics)}",
            "Name one of them",
        )


def in_groups(
    total: int, size: int, collate: Callable[[Sequence[int]], Batch]
) -> Iterator[Batch]:
    """Batches of the examples 0 ... `total`-1, in order, `size` at a time."""
    for first in range(0, total, size):
        yield collate(range(first, min(first + size, total)))
