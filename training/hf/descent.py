"""One update of the weights: gradients clipped, what has diverged refused."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from training.contract import Exit, ProgramError
from training.hf.device import LossScale
from training.hf.parallel import clip_gradients


def descend(
    optimizer: torch.optim.Optimizer, parameters: Iterable[torch.Tensor], scale: LossScale,
    step: int, loss: float, clip: float, most: float,
) -> float:  # fmt: skip
    """Makes update `step` and forgets the gradients; returns their norm before clipping.

    `clip` bounds the norm, 0 for no bound. An update whose gradients are no numbers is passed over
    where a smaller scale may mend them. Raises ProgramError (diverged) and changes no weight where
    the loss is no number or above `most`, or the gradients stay none.
    """
    found = [parameter for parameter in parameters if parameter.grad is not None]
    if scale.factor != 1:
        for parameter in found:
            assert parameter.grad is not None
            parameter.grad /= scale.factor
    norm = clip_gradients(found, clip if clip > 0 else math.inf)
    accepted = scale.accept(math.isfinite(norm))
    numbers = math.isfinite(loss) and (math.isfinite(norm) or scale.active)
    if not numbers or loss > most or scale.factor < 1:
        lower = " or train.precision fp32 or bf16-mixed" if scale.active else ""
        raise ProgramError(
            Exit.DIVERGED,
            f"step {step}: loss is {loss:.4g}, gradient norm {norm:.4g}"
            + (f", and the loss is bounded by {most:.4g}" if numbers else ""),
            f"Lower optimizer.lr, lengthen the warm-up{lower}; the last checkpoint is from before",
        )
    if accepted:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
