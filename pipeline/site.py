"""The site file: a cluster's scheduler, queues, paths and environments. Nothing of a study."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from pipeline import validate, yamlio
from pipeline.errors import ConfigError
from pipeline.job import HERE
from pipeline.study import ResourceSpec

EnvName = Literal["light", "hf", "nemo"]


class Environment(msgspec.Struct, frozen=True):
    """How programs of one kind start here: an interpreter, shell lines before it, a container."""

    python: str = "python3"
    activate: tuple[str, ...] = ()
    container: Literal["", "enroot", "apptainer"] = ""
    image: str = ""

    def __post_init__(self) -> None:
        if self.container and not self.image:
            raise ValueError(f"container is {self.container!r} without an image. Name its image")


class Charge(msgspec.Struct, frozen=True):
    """What an hour of each costs."""

    node_hour: float = 0.0
    gpu_hour: float = 0.0
    core_hour: float = 0.0
    unit: str = "credits"

    def __post_init__(self) -> None:
        for key in ("node_hour", "gpu_hour", "core_hour"):
            if not 0 <= getattr(self, key) < math.inf:
                raise ValueError(f"{key} is {getattr(self, key):g}. It must be 0 or more")

    @property
    def text(self) -> str:
        """`1 a GPU-hour, 0.02 a core-hour`."""
        kinds = {"node": self.node_hour, "GPU": self.gpu_hour, "core": self.core_hour}
        return ", ".join(f"{price:g} a {kind}-hour" for kind, price in kinds.items() if price)

    def of(self, nodes: float, gpus: float, cores: float) -> float:
        """What so many hours of each cost."""
        return self.node_hour * nodes + self.gpu_hour * gpus + self.core_hour * cores


_QUEUE_COUNTS = ("max_nodes", "min_nodes", "max_gpus", "min_gpus", "max_cpus", "max_queued")


class Queue(msgspec.Struct, frozen=True):
    """A queue's limits; what is not given is not checked. GPUs, cores and memory are per node."""

    max_walltime: str | int | None = None
    max_nodes: int | None = None
    min_nodes: int | None = None
    max_gpus: int | None = None
    min_gpus: int | None = None
    max_cpus: int | None = None
    max_mem: str | int | None = None
    max_array: int | None = None
    max_queued: int | None = None  # a user's jobs here, queued or running; each task counts
    charge: Charge | None = None  # where it differs from the site's

    def __post_init__(self) -> None:
        validate.at_least(self, 0, *_QUEUE_COUNTS)
        validate.at_least(self, 1, "max_array")
        if self.max_walltime is not None:
            validate.parse_walltime(self.max_walltime)
        if self.max_mem is not None:
            validate.parse_size(self.max_mem)

    def limit(self, key: str) -> int | None:
        """A limit as a number: seconds, bytes, a count."""
        value = getattr(self, key)
        if value is None or isinstance(value, int):
            return value
        return (
            validate.parse_walltime(value)
            if key == "max_walltime"
            else (validate.parse_size(value))
        )


class Gpu(msgspec.Struct, frozen=True):
    """One GPU of the nodes that train: its name (a100-40, NVIDIA H100 80GB) and its memory."""

    name: str
    memory: str | int

    def __post_init__(self) -> None:
        validate.parse_size(self.memory)

    @property
    def bytes(self) -> int:
        """Its memory as a number."""
        return validate.parse_size(self.memory)


class Site(msgspec.Struct, frozen=True):
    """Where jobs run."""

    site: str
    scheduler: Literal["pbs", "torque", "slurm", "local"]
    host: str = ""  # for `ssh`, by its name in ~/.ssh/config; empty: the scheduler is here
    project_dir: str = ""
    log_dir: str = ""
    network_interface: str = ""
    account: str = ""
    cpu_queue: str = ""  # for jobs without GPUs, where it is another than `defaults.queue`
    throttle: int = 0
    slots: int = 0  # `local`: cores that tasks may use together, 0 for all of them
    charge: Charge = Charge()
    gpu: Gpu | None = None  # for what `plan` predicts; nothing is refused for it
    env_file: str = ".env"
    receipt_grace: int = 120  # seconds that a file system may take to show a node's receipt
    defaults: ResourceSpec = ResourceSpec()
    queues: dict[str, Queue] = {}
    environments: dict[EnvName, Environment] = {}
    directives: tuple[str, ...] = ()
    max_array: int | None = None  # tasks of one array, in any queue
    max_jobs: int | None = None  # a user's jobs in all queues together; each task counts
    history: bool = True  # whether the scheduler tells how ended jobs ended
    name_length: int = 230  # characters of a job's name; longer ones are cut
    max_cpus: int = 0  # `local`: what the machine has; requests beyond it are refused
    max_gpus: int = -1  # all that the machine has
    max_mem: int = 0

    def __post_init__(self) -> None:
        validate.at_least(self, 0, "throttle", "slots", "receipt_grace", "max_cpus", "max_mem")
        validate.at_least(self, 1, "max_array", "max_jobs", "name_length")


def names(root: Path) -> list[str]:
    """The sites that can be named: the files of `sites/`, and the built-in `local`."""
    return sorted({p.stem for p in (root / "sites").glob("*.yaml")} | {"local"})


def default_name(root: Path) -> str:
    """PIPELINE_SITE, else `default` where setup_jobs.sh wrote it, else `local`."""
    given = os.environ.get("PIPELINE_SITE")
    return given or ("default" if (root / "sites/default.yaml").exists() else "local")


def load(root: Path, name: str) -> Site:
    """A site by name, or by the path of its file. Raises ConfigError with every problem."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else root / "sites" / f"{name}.yaml"
    if not path.exists() and name == "local":
        return _complete(local(), name, root)
    if not path.exists():
        known = names(root)
        raise ConfigError([f"{path}: there is no such site; {yamlio.nearest(name, known)}"])
    return read(yamlio.load(path), str(path), root)


def read(raw: dict[str, Any], where: str, root: Path) -> Site:
    """A site from the keys of its file. Raises ConfigError that names `where`."""
    problems: list[str] = []
    found: dict[str, dict[str, Any]] = {}
    children: dict[str, tuple[type[Any], Any]] = {
        "queues": (Queue, raw.get("queues")),
        "environments": (Environment, raw.get("environments")),
    }
    rest = dict(raw)
    for key, (kind, value) in children.items():
        built: dict[str, Any] = {}
        for child, keys in value.items() if isinstance(value, dict) else ():
            if key == "environments" and child not in get_args(EnvName):
                valid = yamlio.nearest(child, get_args(EnvName))
                problems.append(f"{key}.{child}: no environment is called so; {valid}")
            built[child] = validate.build(kind, keys, f"{key}.{child}", problems)
        if isinstance(value, dict):
            rest[key] = {}
            found[key] = built
    site = validate.build(Site, rest, "$", problems)
    if site and site.project_dir == HERE:
        problems.append(f"project_dir: {HERE!r} is no absolute path. Give one, or leave it away")
    validate.finish([p.removeprefix("$.").removeprefix("$: ") for p in problems], where)
    if site is None:
        raise AssertionError("validate.finish raises when there are problems")
    return _complete(msgspec.structs.replace(site, **found), where, root)


def _complete(site: Site, where: str, root: Path) -> Site:
    changes: dict[str, object] = {}
    if not site.project_dir:
        changes["project_dir"] = str(root)
    if site.scheduler == "local" and site.host:
        lacking = [key for key in ("max_cpus", "max_mem") if not getattr(site, key)]
        validate.finish(
            [f"{key}: missing. {site.host} is not asked; give it" for key in lacking], where
        )
        changes["max_gpus"] = max(0, site.max_gpus)
    elif site.scheduler == "local":
        machine = local()
        for key in ("slots", "max_cpus", "max_mem"):
            changes[key] = getattr(site, key) or getattr(machine, key)
        changes["max_gpus"] = machine.max_gpus if site.max_gpus < 0 else site.max_gpus
        changes["environments"] = site.environments or machine.environments
    return msgspec.structs.replace(site, **changes) if changes else site


def local() -> Site:
    """This machine as a site: all its cores and memory, this interpreter for every environment."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    here = Environment(python=sys.executable)
    return Site(
        site="local",
        scheduler="local",
        slots=cores,
        defaults=ResourceSpec(
            nodes=1, gpus=0, cpus=1, mem=memory // 4, walltime="24:00:00", queue=""
        ),
        environments={"light": here, "hf": here, "nemo": here},
        max_cpus=cores,
        max_gpus=_local_gpus(),
        max_mem=memory,
    )


def reference(root: Path) -> Site:
    """A node that holds any study, to show a plan on where no site is chosen."""
    here = Environment()
    return Site(
        site="reference",
        scheduler="pbs",
        project_dir=str(root),
        defaults=ResourceSpec(gpus=8, cpus=64, mem="480GB", walltime="48:00:00", queue=""),
        environments={"light": here, "hf": here, "nemo": here},
    )


def _local_gpus() -> int:
    import shutil

    if not shutil.which("nvidia-smi"):
        return 0
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
