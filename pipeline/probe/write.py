"""Facts -> the text of a site file: every key with where its value comes from."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from pipeline import validate
from pipeline.probe.cards import card, smallest
from pipeline.probe.facts import Cluster, Known, Node, QueueFacts
from pipeline.probe.machine import Machine, share
from pipeline.probe.pbs import mib
from pipeline.yamlio import MAX_INT, dump, quoted

WIDTH = 100  # columns
LONGEST_DEFAULT_S = 48 * 3600  # a job that says nothing should not ask for a week
OLDEST_PYTHON = (3, 11)

TITLES = {"pbs": "PBS", "torque": "Torque", "slurm": "Slurm", "local": "a host of its own"}
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_QUEUE_KEYS = (
    "max_walltime", "max_nodes", "min_nodes", "max_gpus", "min_gpus", "max_cpus", "max_mem",
    "max_array", "max_queued",
)  # fmt: skip
_SITE_KEYS = {  # written in this order; where nothing is known, as a comment that says so
    "max_array": "tasks that one array may have; not told, so not checked",
    "max_jobs": "your jobs, each task of an array counted, in all queues; not told, so not checked",
    "history": "whether the scheduler tells how ended jobs ended; not told",
    "name_length": "characters of a job's name; not told, 230 it is",
}


def site_file(
    name: str, host: str, project: str, cluster: Cluster, machine: Machine, day: str
) -> str:  # fmt: skip
    """The file's text. It loads as it is; what nobody tells stands there as a comment."""
    lines = [*_head(name, host, cluster, machine, day), ""]
    lines += [*_paths(project or machine.project, machine), ""]
    lines += [*_jobs(cluster, machine), ""]
    if cluster.scheduler == "local":
        lines += [*_local(machine), ""]
    else:
        lines += [*_limits(cluster), "", *_defaults(cluster), "", *_queues(cluster), ""]
    lines += _environments(cluster.scheduler, machine, project or machine.project)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _head(
    name: str, host: str, cluster: Cluster, machine: Machine, day: str
) -> Iterator[str]:  # fmt: skip
    title = " ".join(filter(None, [TITLES[cluster.scheduler], cluster.version]))
    where = machine.host or host
    yield from comment(
        f"{title} on {where}, asked on {day} by `pipeline sites add`; with --force it asks again. "
        "Behind each value stands where it comes from. docs/sites.md explains the keys."
    )
    for note in cluster.notes:
        yield from comment(note)
    if machine.missing:
        yield from comment(f"Not on PATH there: {', '.join(machine.missing)}")
    yield from line("site", name, "")
    untested = "; written from Torque's manual and never tried on one"
    said = "found by its commands on PATH" + (untested if cluster.scheduler == "torque" else "")
    yield from line("scheduler", cluster.scheduler, said)
    if host:
        yield from line("host", host, "--host, for ssh")


def _paths(project: str, machine: Machine) -> Iterator[str]:
    if not project:
        yield from comment("project_dir: /path/there  # not found: say where with --project-dir")
    else:
        found = "found there" if project == machine.project else "--project-dir, not there yet"
        yield from line("project_dir", project, found)
    room = "; ".join(disk.words() for disk in machine.disks)
    said = "empty: <state_dir>/logs" + (f". Room: {room}" if room else "")
    yield from line("log_dir", "", said)
    yield from line("env_file", ".env", "tokens, mode 0600; the default")


def _jobs(cluster: Cluster, machine: Machine) -> Iterator[str]:
    facts = cluster.facts
    if cluster.scheduler != "local":
        account = facts.get("account", Known("", "not told; set it where jobs are charged"))
        yield from line("account", account.value, account.source)
        queue = _cpu_queue(cluster)
        said = "has no GPUs, so jobs without any go there" if queue else "no queue without GPUs"
        yield from line("cpu_queue", queue, said)
    net = machine.interface
    said = "/sys/class/net of the login node" if net else "none like ib0 or hsn0 on the login node"
    yield from line("network_interface", net, said)
    yield from line("throttle", 0, "no limit on an array's tasks at a time; the default")
    yield from _gpu(cluster, machine)
    yield from comment("charge: not told; with {gpu_hour: 1.0}, say, `plan` tells what it costs")
    kind = machine.disks[0].kind if machine.disks else "unknown"
    said = f"seconds for a receipt to show; the default. The project's file system: {kind}"
    yield from line("receipt_grace", 120, said)
    yield from line("directives", [], "none")


def _gpu(cluster: Cluster, machine: Machine) -> Iterator[str]:
    """One GPU of the nodes that train, for what `plan` predicts."""
    main = _main_queue(cluster)
    if cluster.scheduler == "local":
        names = [line.partition(": ")[2].partition(" (")[0] for line in machine.gpus]
        known = [found for name in names if (found := card(name))]
        found, asked = min(known, key=lambda one: one.memory, default=None), "nvidia-smi -L"
        there = bool(names)
    else:
        nodes = [node for node in (main.nodes if main else []) if node.gpus]
        found, there = smallest(nodes), bool(nodes)
        asked = "sinfo" if cluster.scheduler == "slurm" else "pbsnodes"
    if found:
        value = {"name": found.name, "memory": f"{found.memory}GiB"}
        yield from line("gpu", value, f"{asked}; memory: {found.how}")
    elif there:
        yield from comment(
            "gpu: not told; with {name: a100-40, memory: 40GiB}, say, `plan` tells what fits"
        )


def _limits(cluster: Cluster) -> Iterator[str]:
    for key, unknown in _SITE_KEYS.items():
        known = cluster.facts.get(key)
        if known is None:
            yield from comment(f"{key}: {unknown}")
        else:
            yield from line(key, known.value, known.source)


def _local(machine: Machine) -> Iterator[str]:
    gpus, cores = len(machine.gpus), machine.cores
    yield from line("slots", cores, "nproc: cores that tasks use together")
    yield from line("max_cpus", cores, "nproc")
    kinds = f": {', '.join(dict.fromkeys(machine.gpus))}"[:70] if gpus else ""
    yield from line("max_gpus", gpus, f"nvidia-smi -L{kinds}")
    if machine.mem_bytes:
        yield from line("max_mem", machine.mem_bytes, "/proc/meminfo, bytes")
    yield ""
    yield from comment("What a job asks for unless its study says otherwise.")
    yield "defaults:"
    yield from line("nodes", 1, "", 1)
    yield from line("gpus", gpus, "all of them" if gpus else "there are none", 1)
    yield from line("cpus", cores if gpus else 1, "", 1)
    if machine.mem_bytes:
        part = 0.9 if gpus else 0.25
        yield from line("mem", mib(share(machine, part)), f"{part:.0%} of the memory", 1)
    yield from line("walltime", "24:00:00", "", 1)
    yield from line("queue", "", "", 1)


def _defaults(cluster: Cluster) -> Iterator[str]:
    queue = _main_queue(cluster)
    node = queue.node() if queue else None
    yield from comment("What a stage asks for unless its study says otherwise; per node.")
    yield "defaults:"
    yield from line("nodes", 1, "", 1)
    if queue is None or node is None:
        yield from comment("gpus, cpus, mem: not told; give what a node has", 1)
    else:
        yield from _node_defaults(queue, node)
    longest = queue.limits.get("max_walltime") if queue else None
    span = min(longest.value, LONGEST_DEFAULT_S) if longest else LONGEST_DEFAULT_S // 2
    said = "of the queue's limit, 48 hours at most" if longest else "the queue sets no limit"
    yield from line("walltime", validate.format_walltime(span), said, 1)
    if queue:
        default = ", which is the default one" if queue.name == cluster.default_queue else ""
        reason = "the one with the most GPUs" if queue.gpus else "no queue has GPUs"
        yield from line("queue", queue.name, reason + default, 1)


def _node_defaults(queue: QueueFacts, node: Node) -> Iterator[str]:
    for key, has, limit in (
        ("gpus", node.gpus, "max_gpus"), ("cpus", node.cpus, "max_cpus"),
        ("mem", node.mem_bytes, "max_mem"),
    ):  # fmt: skip
        most = min(has, queue.limits[limit].value)
        if most or key == "gpus":
            value = mib(most) if key == "mem" else most
            yield from line(key, value, "all that its node has" if key == "gpus" else "", 1)


def _queues(cluster: Cluster) -> Iterator[str]:
    yield from comment("Limits; a request over one is refused before it is submitted.")
    listed = [queue for queue in cluster.queues if _writable(queue.name)]
    if not any(not queue.closed for queue in listed):
        yield "queues: {}"
    else:
        yield "queues:"
    for queue in sorted(listed, key=lambda q: bool(q.closed)):
        if queue.closed:
            yield from comment(f"{queue.name}: not for you. {queue.closed}", 1)
            continue
        default = ["the default one"] if queue.name == cluster.default_queue else []
        for note in [*default, *queue.notes]:
            yield from comment(note, 1)
        known = [(key, queue.limits[key]) for key in _QUEUE_KEYS if key in queue.limits]
        yield f"  {_key(queue.name)}:" + ("" if known else " {}")
        for key, limit in known:
            yield from line(key, _shown(key, limit.value), limit.source, 2)
    if left := len(cluster.queues) - len(listed):
        yield from comment(f"{left} more have names that cannot be written", 1)


def _environments(scheduler: str, machine: Machine, project: str) -> Iterator[str]:
    said = ["How programs start."]
    if machine.modules:
        said.append(f"Modules there: {', '.join(machine.modules[:12])}.")
        said.append('To load one: activate: ["module load NAME"].')
    yield from comment(" ".join(said))
    light = ".venv" in machine.venvs
    hf = ".venv-hf" in machine.venvs
    if not (machine.python or light):
        yield from comment("No python3 is on PATH there: name each one's python.")
        yield "environments: {}"
        return
    yield "environments:"
    found = f"{machine.python_version}{_age(machine.python_version)}"
    own = ".venv/bin/python" if light else machine.python
    source = f"found in {project}" if light else found
    yield from _environment("light", own, source)
    yield from _environment("hf", ".venv-hf/bin/python" if hf else own, "" if hf else source)
    if scheduler == "local":
        yield from _environment("nemo", own, source)
    else:
        yield from _nemo(machine)


def _nemo(machine: Machine) -> Iterator[str]:
    runtimes = [f"{tool} {version}".strip() for tool, version in machine.tools.items()]
    said = f"Container runtimes on PATH: {', '.join(runtimes) or 'none'}."
    image = next((i for i in machine.images if "nemo" in i.lower()), "")
    if "enroot" in machine.tools and image:
        yield from comment(said, 1)
        yield from _environment("nemo", "python", "the container's")
        yield from line("container", "enroot", "", 2)
        yield from line("image", image, "enroot list", 2)
        return
    # The image is made by the user: until then, the environment is not there.
    container = "enroot" if "enroot" in machine.tools or "apptainer" not in machine.tools else ""
    yield from comment(f"{said} Once training/nemo/setup has made the image:", 1)
    shape = "enroot, image: nemo_framework" if container else "apptainer, image: /path/nemo.sif"
    yield from comment(f"nemo: {{python: python, container: {shape}}}", 1)


def _environment(name: str, python: str, source: str) -> Iterator[str]:
    yield f"  {name}:"
    yield from line("python", python, source, 2)


def _age(version: str) -> str:
    """A warning where the interpreter is too old for what the jobs run."""
    found = re.search(r"(\d+)\.(\d+)", version)
    old = found and (int(found[1]), int(found[2])) < OLDEST_PYTHON
    return ": too old, 3.11 is needed; load a module or make .venv" if old else ""


def _main_queue(cluster: Cluster) -> QueueFacts | None:
    """The open queue with the most GPUs; of several the one that lets a job run longest, then the
    default one, then the one with most nodes."""

    def size(queue: QueueFacts) -> tuple[int, int, bool, int]:
        longest = queue.limits.get("max_walltime")
        return (
            sum(min(node.gpus, queue.gpus or 0) for node in queue.nodes),
            min(longest.value, LONGEST_DEFAULT_S) if longest else LONGEST_DEFAULT_S,
            queue.name == cluster.default_queue,
            len(queue.nodes),
        )

    usable = (q for q in cluster.queues if not q.closed and _writable(q.name))
    return max(usable, key=size, default=None)


def _cpu_queue(cluster: Cluster) -> str:
    """The open queue without GPUs, where others have some."""
    main = _main_queue(cluster)
    fit = [
        q for q in cluster.queues
        if not q.closed and q.gpus == 0 and q.nodes and _writable(q.name)
    ]  # fmt: skip
    if not fit or not main or not main.gpus:
        return ""
    return max(fit, key=lambda q: (q.name == cluster.default_queue, len(q.nodes))).name


def _shown(key: str, value: Any) -> Any:
    """A limit as a person writes it."""
    if key == "max_walltime":
        return validate.format_walltime(value)
    return mib(value) if key == "max_mem" else value


def line(key: str, value: Any, source: str, depth: int = 0) -> Iterable[str]:
    """`key: value  # source`, the source on lines of its own above where it is too long."""
    text = f"{'  ' * depth}{key}: {_value(value)}"
    clean = _clean(source)
    if not clean:
        return [text]
    whole = f"{text}  # {clean}"
    return [whole] if len(whole) <= WIDTH else [*comment(clean, depth), text]


def comment(text: str, depth: int = 0) -> list[str]:
    indent = f"{'  ' * depth}# "
    return textwrap.wrap(
        _clean(text), WIDTH, initial_indent=indent, subsequent_indent=indent,
        break_long_words=True, break_on_hyphens=False,
    )  # fmt: skip


def _clean(text: str) -> str:
    """What another program said, as a comment can hold it: one line, printable, not endless."""
    line = " ".join(text.split())
    shown = "".join(c if c.isprintable() else "?" for c in line)
    return shown if len(shown) <= 400 else shown[:397] + "..."


def _writable(name: str) -> bool:
    return bool(name) and name.isprintable() and len(name) <= 200


def _key(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else quoted(name)


def _value(value: Any) -> str:
    """A value in YAML; text in quotes but for plain words, so that no loader takes it for more."""
    if isinstance(value, str):
        plain = re.fullmatch(r"[./A-Za-z][\w./\-]*|\d+[GM]iB", value, re.ASCII)
        word = value.lower() in ("yes", "no", "on", "off", "true", "false", "null", "y", "n")
        return value if plain and not word else quoted(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(min(value, MAX_INT))  # beyond it no file is read, and nothing is a limit
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_value(one)}" for key, one in value.items()) + "}"
    return dump(value).removesuffix("\n").removesuffix("\n...").strip()
