"""One process or many, by torchrun: who does what, what all agree on, how a model is spread."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from training.contract import BadInput, Exit, ProgramError
from training.hf.device import LOWER, pick_device

Answer = TypeVar("Answer")
# Longer than the first process needs to check a corpus or write a checkpoint while others wait.
PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class World:
    """The processes of this run, and this one's place among them."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes the files and talks to the user."""
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Each value summed over the processes, in fp64."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return [float(value) for value in total]

    def together(self, act: Callable[[], Answer]) -> Answer:
        """What `act` gives in the first process, in all of them; so too the ProgramError it raises,
        which only the first one tells."""
        if self.size == 1:
            return act()
        told: list[Any] = [None]
        if self.first:
            try:
                answer = act()
            except ProgramError as error:
                dist.broadcast_object_list([(error.code, *error.parts)])
                raise
            except Exception as error:  # the others must not wait for an answer that never comes
                why = f"the first process failed: {error}"
                dist.broadcast_object_list([(Exit.FAILED, why, "It says more")])
                raise
            dist.broadcast_object_list([(None, answer)])
            return answer
        dist.broadcast_object_list(told)
        code, *rest = told[0]
        if code is None:
            return rest[0]  # type: ignore[no-any-return]
        problem = ProgramError(code, *rest)
        problem.told = True
        raise problem


@contextlib.contextmanager
def join() -> Iterator[World]:
    """Meet the other processes that torchrun has started, if any, and part from them at the end."""
    size, rank = (int(os.environ.get(name, one)) for name, one in (("WORLD_SIZE", 1), ("RANK", 0)))
    device = pick_device(int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        yield World(0, 1, device)
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    yield World(rank, size, device)
    # Not after a failure, which the others may never come to meet. DDP must be gone by then: were
    # it the last to let go of the group, it would wait, with Python's lock held, for gloo's thread,
    # which may want that lock. On a busy machine some runs hung there, all their work done.
    gc.collect()
    dist.destroy_process_group()


def resolve_parallel(wanted: str, world: World) -> str:
    """`auto` is none for one process and fsdp2 for several, which needs the least memory.

    Raises BadInput for several processes that would not share a model.
    """
    if world.size == 1:
        return "none"
    if wanted == "none":
        raise BadInput(
            f"train.parallel is none, and {world.size} processes were started",
            "Set it to auto, or start one process",
        )
    return "fsdp2" if wanted == "auto" else wanted


def resolve_sync(wanted: str, parallel: str) -> str:
    """When processes add up their gradients: with `each` micro-batch, or the `last` of an update.

    `auto` is each for fsdp2, which else holds all of the model's gradients until the last one, and
    last for ddp, which holds them anyway. One process has nobody to add up with: none.
    """
    if parallel == "none":
        return "none"
    if wanted == "auto":
        return "each" if parallel == "fsdp2" else "last"
    return wanted


def spread(trainee: Any, layers: nn.ModuleList, kind: str, precision: str, world: World) -> Any:
    """The trainee as all processes train it; its parameters are in place on the device.

    ddp keeps a whole model in each process and averages gradients. fsdp2 keeps a share of weights,
    gradients and optimizer state, and fetches a layer's weights when it comes to it, in 16 bits
    where products are; gradients are summed in fp32.
    """
    if kind == "ddp":
        ids = [world.device.index] if world.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(
            trainee, device_ids=ids, gradient_as_bucket_view=True
        )
    if kind == "fsdp2":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        mesh = init_device_mesh(world.device.type, (world.size,))
        policy = MixedPrecisionPolicy(
            param_dtype=LOWER.get(precision), reduce_dtype=torch.float32, cast_forward_inputs=False
        )
        for layer in layers:
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        fully_shard(trainee, mesh=mesh, mp_policy=policy)
    return trainee


@contextlib.contextmanager
def adding_up(trainee: Any, together: bool) -> Iterator[None]:
    """Around a micro-batch: its gradients, and all kept so far, are added up over the processes if
    `together`, else kept."""
    if isinstance(trainee, nn.parallel.DistributedDataParallel) and not together:
        with trainee.no_sync():
            yield
        return
    if hasattr(trainee, "set_requires_gradient_sync"):
        trainee.set_requires_gradient_sync(together)
    yield


def clip_gradients(parameters: list[torch.Tensor], most: float) -> float:
    """Scale gradients to a global norm of `most` at most; the norm before that, over all
    processes."""
    norm: Any = torch.nn.utils.clip_grad_norm_(parameters, most)
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def whole(tensor: Any) -> torch.Tensor:
    """A tensor with all its shares, on the host. All processes call this together."""
    full: torch.Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full.detach().cpu().contiguous()


def put(target: Any, full: torch.Tensor) -> Any:
    """This process's share of a whole tensor, laid out as `target` is."""
    if not hasattr(target, "device_mesh"):
        return full.to(target.device)
    from torch.distributed.tensor import distribute_tensor

    full = full.to(target.device)
    return distribute_tensor(full, target.device_mesh, target.placements, src_data_rank=None)
