"""What may end a run from outside: a signal, or memory running out."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from training.contract import Exit, ProgramError
from training.settings import Settings


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


@contextmanager
def tell_out_of_memory(settings: Settings) -> Iterator[None]:
    """Turn torch's ways to run out of memory, on a GPU or not, into exit code 71."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        host = "can't allocate memory" in str(error)  # torch's CPU allocator has no class for it
        if not (host or isinstance(error, torch.OutOfMemoryError | MemoryError)):
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
