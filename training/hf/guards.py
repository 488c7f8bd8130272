"""What may end a run from outside: an unfit node, a signal, or memory running out."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from training.config import load_settings
from training.contract import BadInput, Exit, ProgramError
from training.health import check_all
from training.settings import Settings


def refuse_unfit(args: argparse.Namespace) -> None:
    """Look at this node's GPUs and try the network between all of them, before CUDA is touched.

    Only where the study gives the job GPUs; a CPU is not asked. By hand fewer processes may be
    started than the study has GPUs: then as many as processes must be sound. A configuration that
    cannot be read is left to the first process, which tells it once. Raises health.Unfit.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    try:
        settings = load_settings(args, int(os.environ.get("WORLD_SIZE", "1")))
    except BadInput:
        return
    if gpus := min(settings.batch.gpus, here):
        check_all(gpus, settings.train.checkpoint_dir)


@dataclass
class Stop:
    """Set by a signal; the loop looks at it after every step."""

    signal: str = ""


@contextmanager
def catch_signals() -> Iterator[Stop]:
    """Let SIGTERM and SIGUSR1 (a walltime or a preemption coming) ask the loop to stop."""
    stop = Stop()

    def ask(number: int, _frame: object) -> None:
        stop.signal = signal.Signals(number).name

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python ran out of memory, on a GPU or not."""
    host = "can't allocate memory" in str(error)  # torch's CPU allocator has no class for it
    return host or isinstance(error, torch.OutOfMemoryError | MemoryError)


@contextmanager
def tell_out_of_memory(settings: Settings) -> Iterator[None]:
    """Turn torch's ways to run out of memory, on a GPU or not, into exit code 71."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        micro = settings.batch.micro
        remedy = (
            f"Set batch.micro to {micro // 2}; the global batch stays {settings.batch.global_size}"
            if micro > 1
            else "Use a device with more memory; batch.micro is 1 already"
        )
        raise ProgramError(
            Exit.OUT_OF_MEMORY, f"out of memory at micro-batch {micro}", remedy
        ) from (error)
