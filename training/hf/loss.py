"""Cross entropy over a large vocabulary without all of its logits in memory at once.

Every kind computes the same number: the sum over the positions that count of
logsumexp(h W^T) - (h W^T)[target], in fp32. `hidden` has shape (tokens, width), `head` shape
(vocabulary, width), `targets` shape (tokens); a target of IGNORE does not count.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from training.contract import BadInput
from training.metrics import warn

IGNORE = -100
# `chunked` makes logits for so many (token, vocabulary) pairs at a time: 512 MiB in fp32.
LOGITS_AT_A_TIME = 1 << 27
KERNELS = {"liger": ("liger_kernel", "liger-kernel"), "cce": ("cut_cross_entropy",) * 2}

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def plain(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """All logits at once: 4 bytes x tokens x vocabulary in fp32, and about three times that."""
    logits = functional.linear(hidden, head).float()
    return functional.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum")


def products_in(head: torch.Tensor) -> torch.dtype:
    """The dtype in which logits are multiplied out: autocast's where it is on."""
    device = head.device.type
    on = torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if on else head.dtype


def chunked(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """A chunk of tokens at a time: the logits, the loss and, where wanted, the gradient."""
    loss: Any = _Chunked.apply(hidden, head, targets, torch.is_grad_enabled())  # type: ignore[no-untyped-call]
    return loss  # type: ignore[no-any-return]


class _Chunked(torch.autograd.Function):
    """The gradient of a sum needs nothing from later layers but one factor, so it is made in the
    forward pass while a chunk's logits are there, and none are made a second time."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, learn: bool
    ) -> torch.Tensor:
        dtype = products_in(head)
        with torch.autocast(hidden.device.type, enabled=False):
            weight = head.to(dtype)
            total = torch.zeros((), device=hidden.device)
            for_hidden = torch.empty_like(hidden) if learn and ctx.needs_input_grad[0] else None
            for_head = (
                torch.zeros_like(head, dtype=torch.float32)
                if learn and ctx.needs_input_grad[1]
                else None
            )
            rows = max(LOGITS_AT_A_TIME // len(head), 1)
            for start in range(0, len(targets), rows):
                part = slice(start, start + rows)
                h = hidden[part].to(weight.dtype)
                loss, slope = _piece(h, weight, targets[part], learn)
                total += loss
                if for_hidden is not None:
                    for_hidden[part] = slope @ weight
                if for_head is not None:
                    for_head += slope.T @ h
        ctx.slopes = (for_hidden, for_head)
        ctx.head_dtype = head.dtype
        return total

    @staticmethod
    def backward(ctx: Any, factor: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        for_hidden, for_head = ctx.slopes
        ctx.slopes = None  # gigabytes, which a second backward pass would need and nobody makes
        return (
            None if for_hidden is None else for_hidden.mul_(factor),
            None if for_head is None else for_head.mul_(factor).to(ctx.head_dtype),
            None,
            None,
        )


def _piece(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, learn: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of one chunk's losses, and its slope by the logits (empty unless `learn`)."""
    logits = functional.linear(hidden, weight).float()
    counts = (targets != IGNORE).unsqueeze(1)
    index = targets.clamp_min(0).unsqueeze(1)
    level = torch.logsumexp(logits, 1, keepdim=True)
    loss = ((level - logits.gather(1, index)) * counts).sum()
    if not learn:
        return loss, loss
    logits.sub_(level).exp_()  # probabilities
    logits.scatter_add_(1, index, torch.full_like(level, -1.0))
    return loss, logits.mul_(counts).to(weight.dtype)


def count_right(
    hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """How many targets have the highest logit; one to IGNORE never has. Logits are made a chunk at
    a time, in the run's own precision."""
    right = torch.zeros((), device=hidden.device)
    rows = max(LOGITS_AT_A_TIME // len(head), 1)
    parts = zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    for h, wanted in parts:
        right += (functional.linear(h, head).argmax(1) == wanted).sum()
    return right


def liger(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """liger-kernel's fused linear cross entropy (Triton)."""
    from liger_kernel.transformers.fused_linear_cross_entropy import (
        LigerFusedLinearCrossEntropyLoss,
    )

    kernel = LigerFusedLinearCrossEntropyLoss(
        ignore_index=IGNORE, reduction="sum", accum_dtype=torch.float32
    )
    dtype = products_in(head)
    loss: torch.Tensor = kernel(head.to(dtype), hidden.to(dtype), targets)
    return loss.float()


def cce(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Apple's cut cross entropy (Triton)."""
    from cut_cross_entropy import linear_cross_entropy

    dtype = products_in(head)
    loss: torch.Tensor = linear_cross_entropy(
        hidden.to(dtype), head.to(dtype), targets, ignore_index=IGNORE, reduction="sum"
    )
    return loss.float()


LOSSES: dict[str, Loss] = {"plain": plain, "chunked": chunked, "liger": liger, "cce": cce}


def resolve_loss(wanted: str, tokens: int, vocabulary: int, device: torch.device) -> str:
    """The kind to use for so many tokens at a time.

    `auto` is plain where all logits are few; otherwise a fused kernel that gives the right numbers
    on this very device, or else chunked. Raises BadInput when a kernel is named and does not run.
    """
    if wanted in ("plain", "chunked"):
        return wanted
    if wanted in KERNELS:
        if reason := what_ails(wanted, device):
            raise BadInput(
                f"train.loss is {wanted}, and {reason}",
                f"pip install {KERNELS[wanted][1]} on a machine with a GPU, or set it to auto",
            )
        return wanted
    if tokens * vocabulary <= LOGITS_AT_A_TIME:
        return "plain"
    if device.type == "cuda":
        for kernel, (module, _) in KERNELS.items():
            if importlib.util.find_spec(module) is None:
                continue
            reason = what_ails(kernel, device)
            if not reason:
                return kernel
            warn(f"the loss is not {kernel}: {reason}")
    return "chunked"


def what_ails(kernel: str, device: torch.device) -> str:
    """Why a fused kernel is not to be used on this device; empty when loss and gradients of a
    small case in bf16 agree with plain to 2 per cent."""
    if importlib.util.find_spec(KERNELS[kernel][0]) is None:
        return f"{KERNELS[kernel][1]} is not installed"
    if device.type != "cuda":
        return f"it needs a GPU, and this is a {device.type}"
    try:
        values = [_small_case(LOSSES[name], device) for name in ("plain", kernel)]
    except Exception as error:  # whatever Triton and its compiler raise
        return f"it fails on this device ({type(error).__name__}: {error})"
    for true, got in zip(*values, strict=True):
        if not torch.allclose(got, true, rtol=0.02, atol=0.02 * float(true.abs().max())):
            return "its numbers are not those of the plain loss on this device"
    return ""


def _small_case(loss: Loss, device: torch.device) -> list[torch.Tensor]:
    """Loss and gradients of 128 tokens of width 128 over 1,024 ids, one of four not counting."""
    source = torch.Generator().manual_seed(0)
    hidden = torch.randn(128, 128, generator=source).to(device, torch.bfloat16).requires_grad_()
    head = (torch.randn(1024, 128, generator=source) / 8).to(device).requires_grad_()
    targets = torch.randint(0, 1024, (128,), generator=source)
    targets[::4] = IGNORE
    with torch.autocast(device.type, torch.bfloat16):
        value = loss(hidden, head, targets.to(device))
    slopes = torch.autograd.grad(value, [hidden, head])
    return [tensor.detach().float() for tensor in (value, *slopes)]
