"""Whether a node is fit for training, asked before hours are spent on it.

    python -m training.health --gpus 8 --directory /logs/checkpoints   (under torchrun: all nodes)

`check_node` looks at one node: GPUs that are there, their memory errors, their free memory, room
on the disk. `check_network` sends a first small all-reduce through all processes and tells how fast
it went. Both raise ProgramError that names the node. Standard library, and torch for the network.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from training.contract import Exit, ProgramError, run_program

QUERY = "index,uuid,name,memory.total,memory.free,ecc.errors.uncorrected.volatile.total"
FREE_SHARE = 0.9  # of a GPU's memory; the driver and a context of ours take a few per cent
MIB = 2**20


@dataclass(frozen=True)
class Gpu:
    """One line of nvidia-smi; memory in MiB, `errors` None where the card does not count them."""

    index: int
    uuid: str
    name: str
    total: int
    free: int
    errors: int | None


class Unfit(ProgramError):
    """A node or a network that training should not start on."""

    def __init__(self, fact: str, remedy: str) -> None:
        super().__init__(Exit.BAD_INPUT, fact, remedy)


def parse_gpus(text: str) -> list[Gpu]:
    """What `nvidia-smi --query-gpu=QUERY --format=csv,noheader,nounits` printed.

    A GPU whose numbers cannot be read (`[GPU requires reset]`) counts as one with no free memory.
    """
    gpus = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) != 6 or not row[0].isdigit():
            continue
        total, free, errors = (int(word) if word.isdigit() else None for word in row[3:])
        gpus.append(Gpu(int(row[0]), row[1], row[2], total or 0, free or 0, errors))
    return gpus


def visible(gpus: list[Gpu], wanted: str | None) -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES names, by number or by the start of a UUID; all if unset."""
    if wanted is None:
        return gpus
    words = [word.strip() for word in wanted.split(",") if word.strip()]
    return [
        gpu
        for gpu in gpus
        if any(w == str(gpu.index) or (not w.isdigit() and gpu.uuid.startswith(w)) for w in words)
    ]


def gpu_problems(gpus: list[Gpu], count: int) -> list[str]:
    """What is wrong with a node's GPUs when training wants `count` of them."""
    problems = []
    if len(gpus) < count:
        problems.append(f"shows {len(gpus)} GPUs of {count}")
    for gpu in gpus:
        if gpu.errors:
            problems.append(f"GPU {gpu.index} ({gpu.uuid}) has {gpu.errors} uncorrected ECC errors")
        if gpu.free < FREE_SHARE * gpu.total or not gpu.total:
            problems.append(
                f"GPU {gpu.index} ({gpu.uuid}) has {gpu.free} MiB free of {gpu.total}: another "
                "program holds it, or it needs a reset"
            )
    return problems


def disk_problem(directory: Path, needed: int) -> str:
    """Empty, or that fewer than `needed` bytes are free where `directory` is or will be."""
    there = directory.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free >= needed:
        return ""
    return f"has {free / 1e9:.1f} GB free at {there}, and a checkpoint takes {needed / 1e9:.1f} GB"


def check_node(gpus: int, directory: Path, needed: int = 0) -> None:
    """Raise Unfit unless this node has `gpus` sound and free GPUs and `needed` bytes of disk.

    With no GPUs wanted, nvidia-smi is not asked. Call it once a node, before CUDA is touched: a
    context of ours would count as memory that is taken.
    """
    problems = []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpus and "MIG-" not in (named or ""):  # a slice of a GPU is on no list of this query
        try:
            text = subprocess.run(
                ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"],
                capture_output=True, text=True, check=True, timeout=120,
            ).stdout  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stdout", None) or str(error)).strip().splitlines()
            problems.append(f"cannot ask nvidia-smi: {said[0] if said else 'it said nothing'}")
        else:
            # Where more are to be seen than are wanted, torch takes the first ones.
            problems += gpu_problems(visible(parse_gpus(text), named)[:gpus], gpus)
    problems += filter(None, [disk_problem(directory, needed)])
    if problems:
        raise Unfit(
            f"node {socket.gethostname()} {'; '.join(problems)}",
            "Report the node and leave it out, or free what is taken, then submit again",
        )


def check_torch(gpus: int) -> None:
    """Raise Unfit unless torch can use as many GPUs: one built for CPUs would train without them.

    Counting them makes no context on any.
    """
    import torch

    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if seen < gpus:
        raise Unfit(
            f"node {socket.gethostname()}: torch {torch.__version__} can use {seen} GPUs of {gpus}",
            "Install a torch built for this node's CUDA driver, or set resources.gpus to 0 to "
            "train without",
        )


def missing_ranks(store: Any, rank: int, world: int, wait_s: float) -> dict[int, str]:
    """Tell the store that this rank is here; the node of each rank that came within `wait_s`."""
    host = socket.gethostname()
    store.set(f"host/{rank}", host)
    end, hosts = time.monotonic() + wait_s, {rank: host}
    for other in range(world):
        left = max(end - time.monotonic(), 0.1)
        try:
            store.wait([f"host/{other}"], timedelta(seconds=left))
        except RuntimeError:  # torch's DistStoreError among them
            continue
        hosts[other] = store.get(f"host/{other}").decode()
    return hosts


def check_network(backend: str, device: str = "cpu", mib: int = 64, wait_s: float = 300.0) -> float:
    """One all-reduce over all processes of torchrun; returns GB/s a process (bus bandwidth).

    The bandwidth is 2 (n - 1) / n x bytes / seconds of the best of three: what each link must
    carry, whatever n is (https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md).
    0.0 with one process. It makes and destroys a process group of its own, under keys of its own.
    Raises Unfit that names the nodes whose processes did not come, or where the sum went wrong.
    """
    import torch
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return 0.0
    store, rank, world = next(rendezvous("env://", timeout=timedelta(seconds=wait_s)))
    hosts = missing_ranks(PrefixStore("health", store), rank, world, wait_s)
    _refuse_absent(hosts, world, wait_s)
    limit = timedelta(seconds=wait_s)
    group = PrefixStore("health-group", store)
    try:
        dist.init_process_group(backend, store=group, rank=rank, world_size=world, timeout=limit)
        seconds = []
        for _ in range(3):
            values = torch.full((mib * MIB // 4,), float(rank + 1), device=device)
            dist.barrier()
            if device != "cpu":
                torch.cuda.synchronize()
            start = time.perf_counter()
            dist.all_reduce(values)
            total = float(values[-1])  # waits for the device
            seconds.append(time.perf_counter() - start)
        dist.destroy_process_group()
    except RuntimeError as error:
        raise Unfit(
            f"node {hosts[rank]}, rank {rank}: the first all-reduce over {told(hosts)} failed: "
            f"{str(error).strip().splitlines()[0]}",
            "Correct network_interface in the site file, or leave the node out; NCCL_DEBUG=INFO "
            "tells more",
        ) from error
    if total != world * (world + 1) / 2:
        raise Unfit(
            f"node {hosts[rank]}, rank {rank}: the first all-reduce summed to {total:g}, not "
            f"{world * (world + 1) / 2:g}",
            "Report the node and leave it out",
        )
    speed: float = 2 * (world - 1) / world * mib * MIB / min(seconds) / 1e9
    if rank == 0:
        print(f"all-reduce of {mib} MiB over {world} processes on {told(hosts)}: {speed:.1f} GB/s")
    return speed


def _refuse_absent(hosts: Mapping[int, str], world: int, wait_s: float) -> None:
    absent = [rank for rank in range(world) if rank not in hosts]
    if absent:
        raise Unfit(
            f"after {wait_s:g} s ranks {', '.join(map(str, absent))} of {world} have not come; "
            f"those that have are on {told(hosts)}",
            "Look at the other nodes' logs, or leave out the node that is missing here",
        )


def told(hosts: Mapping[int, str]) -> str:
    """The nodes, each once, in the order of their ranks."""
    return ", ".join(dict.fromkeys(hosts[rank] for rank in sorted(hosts)))


def check_all(gpus: int, directory: Path, needed: int = 0) -> None:
    """Both checks, as a trainer calls them before anything else touches a GPU.

    The first process of each node looks at the node; under torchrun all of them try the network.
    """
    if os.environ.get("LOCAL_RANK", "0") == "0":
        check_node(gpus, directory, needed)
    if gpus:
        check_torch(gpus)
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    if not gpus:
        check_network("gloo")
        return
    import torch

    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    check_network("nccl", "cuda")


def main(argv: list[str]) -> Exit:
    """Check this node, and under torchrun the network."""
    parser = argparse.ArgumentParser(description="Is this node fit for training?")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs that a node must have")
    parser.add_argument("--directory", type=Path, default=Path(), help="where checkpoints go")
    parser.add_argument("--needed", type=int, default=0, help="bytes that must be free there")
    args = parser.parse_args(argv)
    check_all(args.gpus, args.directory, args.needed)
    print(f"node {socket.gethostname()} is fit")
    return Exit.OK


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
