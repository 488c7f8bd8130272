"""Trainings in processes of their own, which may be killed: from a server that has torch loaded.

A new interpreter needs seconds for torch and transformers; the server needs them once, and each
child is a fork of it. What torchrun tells its processes by their environment, it tells them too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from training.contract import run_program

LIMIT_S = 300.0
LOADED = ["torch", "transformers", "transformers.masking_utils", "torch.distributed.fsdp",
          "training.hf.run_cpt", "tests.training.children"]  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a child ended (minus the signal's number if by one), and what it wrote."""

    code: int
    out: str
    err: str


def train(
    *words: str, processes: int = 1, prepare: Callable[[], None] | None = None, **more: str
) -> list[Ended]:
    """Run the trainer in so many processes, each first calling `prepare`, and wait for all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    with TemporaryDirectory() as folder:
        children = []
        for rank in range(processes):
            names = {**os.environ, "OMP_NUM_THREADS": "1", **more}
            if processes > 1:
                names |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                names |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(processes))
                port = children[0][1] if children else free_port()
                names |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            else:
                port = 0
            log = Path(folder, str(rank))
            child = context.Process(target=_body, args=(list(words), names, prepare, log))
            child.start()
            children.append((child, port, log))
        return [_end(child, log) for child, _, log in children]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
    import torch

    from training.hf import run_cpt

    torch.set_num_threads(1)
    if prepare:
        prepare()
    code = run_program(run_cpt.main, words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


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
