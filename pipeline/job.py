"""A job, resolved: what `plan` makes, `render` turns into a script and `submit` queues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

HERE = "."  # a project_dir: the folder that a script is submitted from, wherever that is


class Resources(msgspec.Struct, frozen=True):
    """What a job asks for: per node, but for `nodes` and the walltime in seconds."""

    nodes: int
    gpus: int
    cpus: int
    mem_bytes: int
    walltime_s: int


class Runtime(msgspec.Struct, frozen=True):
    """How the payload is started: an interpreter, shell lines before it, a container."""

    python: str = "python3"
    activate: tuple[str, ...] = ()
    container: str = ""
    image: str = ""


class Chain(msgspec.Struct, frozen=True):
    """A job in links, one behind the other, each going on from the last checkpoint. What a link
    asks for is in the job's `resources`, its walltime too."""

    links: int  # the most
    notice_s: int  # before a link's walltime is over, so many seconds, it is signalled
    total_s: int  # expected of all links together


class Upstream(msgspec.Struct, frozen=True):
    """A job whose every task must have a receipt of success before this one starts.

    One that left no receipt at all was done by hand if its outputs are there: the plan's own
    commands download and split without a job.
    """

    job: str
    tasks: int
    outputs: tuple[str, ...] = ()  # as the host sees them; `{task4}` stands for the task


class Input(msgspec.Struct, frozen=True):
    """What the user brings: a path as the job sees it, or a name that the node fetches."""

    path: str  # `{task4}` stands for the task
    where: str  # of the study file
    key: str = ""  # of the parameter that it comes from


class Job(msgspec.Struct, frozen=True):
    """One rendered script. Paths are relative to the project unless they say otherwise."""

    name: str
    stage: str
    kind: str
    arm: str
    tasks: int
    array: bool
    upstream: tuple[Upstream, ...]
    script: str  # without extension
    config_path: str
    config: dict[str, Any]
    argv: tuple[str, ...]  # `{task}` and `{task4}` stand for the task's number
    resources: Resources
    runtime: Runtime
    outputs: tuple[str, ...]
    hours: tuple[float, float]
    state_dir: str
    log_dir: str
    scheduler: str
    queue: str
    account: str
    throttle: int
    project_dir: str
    site_log_dir: str
    network_interface: str
    env_file: str
    directives: tuple[str, ...]
    launcher: str
    name_length: int = 230  # of what the scheduler shows
    gate_wait: int = 60  # seconds in which an upstream receipt may still show
    host: str = ""  # of the scheduler, for ssh; empty: this one
    chain: Chain | None = None
    trains: bool = False  # of the kind `train`, or a command that reads `optimizer` and `batch`
    inputs: tuple[Input, ...] = ()
    disk: dict[str, int] = {}  # bytes that its study says it leaves, by what they are


def seen(job: Job, root: Path, path: str) -> Path:
    """Where a file that a job reads or writes is seen from here: the file itself, or the copy of
    one on another host."""
    there = host_path(job, path)
    return mirrored(root, job.state_dir, job.project_dir, there) if job.host else root / there


def mirrored(root: Path, state_dir: str, project: str, path: str) -> Path:
    """The copy of a host's file: what is in the project there has its place in the project here,
    the rest a place under the run's state."""
    inside = path.removeprefix(project.rstrip("/") + "/")
    return (
        root / state_dir / "host" / inside.lstrip("/") if inside.startswith("/") else root / inside
    )


def host_path(job: Job, path: str) -> str:
    """A path as the host sees it: inside a container the project and the logs are mounted."""
    if job.runtime.container:
        for inside, outside in (("/logs", job.site_log_dir), ("/workspace", job.project_dir)):
            if path == inside or path.startswith(inside + "/"):
                return outside + path[len(inside) :]
    return path
