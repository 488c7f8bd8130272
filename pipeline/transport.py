"""Runs commands where the scheduler is. Here, for now on this machine only."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Protocol

from pipeline.errors import NotStarted, Unreachable
from pipeline.schedulers.base import Completed

TIMEOUT_S = 60
NOT_FOUND = 127  # what a shell says of a command that is not there


class Transport(Protocol):
    """Runs argv and gives back what it printed. Raises Unreachable when it could not."""

    calls: int

    def run(self, argv: Sequence[str], keep_fd: int | None = None) -> Completed:
        """`keep_fd` stays open in the command, so that a lock outlives this process."""

    def run_all(self, argvs: Sequence[Sequence[str]]) -> list[Completed]:
        """Several commands in one go, in their order; one that is not there ends with 127."""


class Here:
    """This machine."""

    def __init__(self, cwd: str | None = None) -> None:
        self.cwd = cwd
        self.calls = 0

    def run(self, argv: Sequence[str], keep_fd: int | None = None) -> Completed:
        self.calls += 1
        try:
            done = subprocess.run(
                list(argv),
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
                pass_fds=() if keep_fd is None else (keep_fd,),
                check=False,
            )
        except FileNotFoundError:
            raise NotStarted(
                f"{argv[0]}: no such command here. Log in to the cluster, load its module, or "
                "choose another site with --site"
            ) from None
        except subprocess.TimeoutExpired:
            raise Unreachable(
                f"{argv[0]}: no answer within {TIMEOUT_S} s. It is busy or down. Try again"
            ) from None
        except OSError as error:
            raise NotStarted(f"{argv[0]}: cannot be run: {error.strerror}") from None
        return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)

    def run_all(self, argvs: Sequence[Sequence[str]]) -> list[Completed]:
        results = []
        for argv in argvs:
            try:
                results.append(self.run(argv))
            except NotStarted as error:
                results.append(Completed(tuple(argv), NOT_FOUND, "", str(error)))
        return results
