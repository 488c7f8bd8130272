"""How a model's layers are computed: again in the backward pass, or compiled, one by one."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from training.hf.parallel import World
from training.metrics import warn


def layers(model: Any) -> nn.ModuleList:
    """The layers of a transformer, first to last."""
    base = model.base_model
    found: nn.ModuleList = base.h if hasattr(base, "h") else base.layers
    return found


def recompute_layers(model: Any) -> None:
    """Each layer keeps its input only, and computes its activations again in the backward pass."""
    for layer in layers(model):
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def compile_layers(model: Any) -> None:
    """Compile each layer by itself, for the one shape that all micro-batches of a stage have.

    Layers share what is compiled, once for each form of mask: two or three graphs, however many
    layers. It goes before recompute_layers, around whose result dynamo would compile nothing and
    say nothing. The hooks of FSDP2 and DDP stay outside; so does the loss in pieces.
    """
    dynamo: Any = torch._dynamo.config
    dynamo.optimize_ddp = False  # cuts graphs at DDP's buckets, which a layer is smaller than
    for layer in layers(model):
        layer.forward = torch.compile(layer.forward, dynamic=False)


def forget_shapes() -> None:
    """Let go of what is compiled, which is for shapes that do not come again: torch compiles a
    function for eight of them at most."""
    torch._dynamo.reset()


def as_written(compiled: bool) -> AbstractContextManager[Any]:
    """Around validation, whose last batch may be smaller: nothing is compiled for its shapes."""
    if not compiled:
        return nullcontext()
    eager: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return eager


def resolve_compile(wanted: bool, world: World) -> bool:
    """Whether layers are compiled: where that is wanted and a small trial runs in all processes.

    All processes call this together; the first one that cannot says why.
    """
    if not wanted:
        return False
    reason = what_ails_compiler(world.device)
    if reason:
        warn(f"process {world.rank} cannot compile, so nothing is compiled: {reason}")
    (failures,) = world.sum(float(bool(reason)))
    return not failures


def what_ails_compiler(device: torch.device) -> str:
    """Why torch.compile does not run on this device; empty when a small function ran, and back.

    On a CPU it takes a C++ compiler and Python's headers, on a GPU Triton and a C compiler.
    """
    compiled: Any = torch.compile(_trial, dynamic=False)
    try:
        value = torch.full((64,), 2.0, device=device, requires_grad=True)
        (slope,) = torch.autograd.grad(compiled(value).sum(), value)
    except Exception as error:  # dynamo, inductor, Triton and the compiler raise what they like
        inner = getattr(error, "inner_exception", None) or error.__cause__ or error
        lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
        return f"{type(inner).__name__}: {lines[0] if lines else 'it says no more'}"
    good = bool(torch.allclose(slope, torch.full_like(slope, 4.0)))
    return "" if good else "its numbers are wrong on this device"


def _trial(value: torch.Tensor) -> torch.Tensor:
    return value * value
