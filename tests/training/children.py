"""Trainings in processes of their own, which may be killed: from a server that has torch loaded.

A new interpreter needs seconds for torch and transformers; the server needs them once, and each
child is a fork of it. What torchrun tells its processes by their environment, it tells them too.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch._C._distributed_c10d import TCPStore

from training.contract import run_program

LIMIT_S = 300.0
# What a run loads sooner or later; transformers puts off as much as it can.
LOADED = ["torch", "torch.distributed.fsdp", "torch.distributed.checkpoint", "transformers",
          "transformers.masking_utils", "transformers.models.auto.modeling_auto",
          "transformers.models.gemma3.modeling_gemma3", "training.hf.run_cpt",
          "tests.training.children"]  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a child ended (minus the signal's number if by one), and what it wrote."""

    code: int
    out: str
    err: str


def train(
    *words: str, processes: int = 1, prepare: Callable[[], None] | None = None
) -> list[Ended]:
    """Run the trainer in so many processes, each first calling `prepare`, and wait for all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    names = {**os.environ, "OMP_NUM_THREADS": "1"}
    store = None
    if processes > 1:  # as torchrun's agent does, which outlives its processes, this one holds it
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        names |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
        names |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
        names |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(processes))
    with TemporaryDirectory() as folder:
        children = []
        for rank in range(processes):
            if store:
                names |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            log = Path(folder, str(rank))
            child = context.Process(target=_body, args=(list(words), dict(names), prepare, log))
            child.start()
            children.append((child, log))
        return [_end(child, log) for child, log in children]


def _end(child: Any, log: Path) -> Ended:
    child.join(LIMIT_S)
    if child.is_alive():
        child.kill()
        child.join()
    out, err = (log.with_suffix(kind).read_text() for kind in (".out", ".err"))
    return Ended(child.exitcode, out, err)


def _body(
    words: list[str], names: dict[str, str], prepare: Callable[[], None] | None, log: Path
) -> None:
    os.environ.clear()  # the server's, from when the first test began
    os.environ.update(names)
    for number, kind in ((1, ".out"), (2, ".err")):
        handle = os.open(log.with_suffix(kind), os.O_CREAT | os.O_WRONLY)
        os.dup2(handle, number)
    faulthandler.dump_traceback_later(LIMIT_S - 10)  # where it hangs, for whoever reads the test
    import torch

    from training.hf import run_cpt

    torch.set_num_threads(1)
    if prepare:
        prepare()
    sys.exit(run_program(run_cpt.main, words))


def signal_after(step: int, name: str, rank: int = 0) -> None:
    """Let the process of that rank send itself a signal when it has learned a step."""
    from training.hf import run_cpt

    learn = run_cpt.learn

    def disturbed(run: Any) -> tuple[float, float]:
        result = learn(run)
        if run.step == step and run.world.rank == rank:
            os.kill(os.getpid(), signal.Signals[name])
        return result

    vars(run_cpt)["learn"] = disturbed


def killed_after(step: int) -> Callable[[], None]:
    """Die without a word when a step is learned."""
    return partial(signal_after, step, "SIGKILL")


def compile_quickly() -> None:
    """Let torch.compile trace and make the backward graph, and leave out the C++ compiler."""
    import torch

    vars(torch)["compile"] = partial(torch.compile, backend="aot_eager")


def run_out_of_memory() -> None:
    """Once two steps are learned, the third wants 4 GiB more than the limit lets it have."""
    import resource

    from training.hf import run_cpt

    learn = run_cpt.learn

    def starved(run: Any) -> tuple[float, float]:
        if run.step == 2:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + (64 << 20)
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            run.trainee.loss = lambda h, w, t: (h @ w.T).repeat(4_000_000, 1).sum()
        return learn(run)

    vars(run_cpt)["learn"] = starved
