"""Runs commands where the scheduler is, and sees the files there: on this machine, or over SSH."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipeline.errors import NotStarted, Unreachable
from pipeline.schedulers.base import Completed

if TYPE_CHECKING:
    from pipeline.plan import Plan

TIMEOUT_S = 60
NOT_FOUND = 127  # what a shell says of a command that is not there

Patterns = Mapping[str, int]  # path with `{task4}` -> number of tasks


class Transport(Protocol):
    """Runs argv and gives back what it printed. Raises Unreachable when it could not."""

    host: str  # for ssh; empty: this machine
    calls: int  # commands; over SSH round trips

    def there(self, path: str) -> str:
        """A path of the project, absolute, as the scheduler's host sees it."""

    def run(self, argv: Sequence[str], keep_fd: int | None = None) -> Completed:
        """`keep_fd` stays open in the command, so that a lock outlives this process."""

    def run_all(self, argvs: Sequence[Sequence[str]]) -> list[Completed]:
        """Several commands in one go, in their order; one that is not there ends with 127."""

    def look(self, argvs: Sequence[Sequence[str]]) -> list[Completed]:
        """The same; then what the run's tasks have written by now can be read here, too."""

    def ask_after(self, argvs: Sequence[Sequence[str]], tokens: Sequence[str]) -> list[Completed]:
        """The same; afterwards no submission under one of these tokens comes through any more."""

    def launch(
        self, argv: Sequence[str], files: Mapping[str, Path], folders: Sequence[str], token: str,
        keep_fd: int | None = None,
    ) -> Completed:  # fmt: skip
        """Runs a submission, with `files` (path there -> file here) and folders in place."""

    def present(self, patterns: Patterns) -> dict[str, set[int]]:
        """Pattern -> the tasks whose file is there."""

    def bring_logs(self, job: str, tasks: Sequence[int]) -> None:
        """Makes the ends of some tasks' logs readable here."""


class Here:
    """This machine."""

    host = ""

    def __init__(self, cwd: str | None = None) -> None:
        self.cwd = cwd
        self.calls = 0

    def there(self, path: str) -> str:
        return str((Path(self.cwd or ".") / path).resolve())

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

    def look(self, argvs: Sequence[Sequence[str]]) -> list[Completed]:
        return [self.run(argv) for argv in argvs]

    def ask_after(self, argvs: Sequence[Sequence[str]], tokens: Sequence[str]) -> list[Completed]:
        # A submission holds the run's lock until it ends, and so did whoever asks.
        return self.look(argvs)

    def launch(
        self, argv: Sequence[str], files: Mapping[str, Path], folders: Sequence[str], token: str,
        keep_fd: int | None = None,
    ) -> Completed:  # fmt: skip
        return self.run(argv, keep_fd)  # files and folders are where they were made

    def present(self, patterns: Patterns) -> dict[str, set[int]]:
        listings: dict[str, set[str]] = {}
        found: dict[str, set[int]] = {}
        for pattern, tasks in patterns.items():
            found[pattern] = set()
            parts = pattern.split("{task4}")
            for task in range(1, tasks + 1):
                folder, _, name = f"{task:04d}".join(parts).rpartition("/")
                if folder not in listings:
                    listings[folder] = _names(os.path.join(self.cwd or ".", folder or "."))
                if name in listings[folder]:
                    found[pattern].add(task)
        return found

    def bring_logs(self, job: str, tasks: Sequence[int]) -> None:
        """They are here."""


def _names(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def connect(host: str, project: str, root: Path) -> Transport:
    """To a host, or to this machine where it is empty; without a run, for commands only."""
    if not host:
        return Here(str(root))
    from pipeline.remote import Remote

    return Remote(host, project or ".", root)


def for_run(plan: Plan, root: Path) -> Transport:
    """To where a plan's jobs run."""
    if not plan.site.host:
        return Here(str(root))
    from pipeline.job import host_path
    from pipeline.remote import Remote

    logs = {job.log_dir.removesuffix(f"/{job.name}") for job in plan.jobs}
    outputs = {host_path(job, path): job.tasks for job in plan.jobs for path in job.outputs}
    return Remote(plan.site.host, plan.site.project_dir, root, plan.state_dir, logs.pop(), outputs)
