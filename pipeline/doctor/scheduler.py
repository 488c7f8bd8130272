"""The scheduler: whether it answers, the queues, and nodes that hold what each job asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from pipeline import limits
from pipeline.doctor import nodes
from pipeline.doctor.check import Check, Facts, Question, Scope, limited, number, said, shell
from pipeline.doctor.nodes import Node, Queue
from pipeline.job import Job
from pipeline.schedulers.pbs_json import decode
from pipeline.validate import format_walltime

SECTION = "scheduler"
GIB = 2**30
_MACHINE = "nproc; grep MemTotal: /proc/meminfo"
_CONFIG = "scontrol show config | grep -E '^(MaxArraySize|SLURM_VERSION) '"
_LOGITS = 3  # cross-entropy in one piece takes about three times its logits in fp32


def questions(scope: Scope) -> Iterator[Question]:
    """What the site's scheduler can be asked."""
    kind = scope.plan.site.scheduler
    if scope.reference:
        return
    if kind == "slurm":
        yield Question("nodes", limited(*nodes.SINFO))
        yield Question("server", shell(_CONFIG))
    elif kind == "pbs":
        yield Question("server", limited("qstat", "-B", "-f", "-F", "json"))
        yield Question("queues", limited("qstat", "-Q", "-f", "-F", "json"))
        yield Question("nodes", limited(*nodes.PBSNODES))
    elif kind == "torque":
        yield Question("server", limited("qstat", "-B"))
    else:
        yield Question("machine", shell(_MACHINE))
        yield Question("nodes", limited(*nodes.NVIDIA))


def checks(scope: Scope, facts: Facts) -> Iterator[Check]:
    """The server first: without it nothing else of it is known."""
    kind = scope.plan.site.scheduler
    if scope.reference:
        yield Check(
            SECTION, "site", "warn", "none is chosen, so no scheduler was asked",
            "Choose one with --site, or write one: bash job_templates/setup_jobs.sh",
        )  # fmt: skip
        return
    if kind == "local":
        yield from _machine(scope, facts)
        return
    answer = facts.get("nodes" if kind == "slurm" else "server")
    if answer.returncode:
        yield Check(
            SECTION, "answer", "fail" if answer.returncode == 127 else "silent",
            f"{kind} does not answer: {said(answer)}" if answer.returncode != 127
            else f"the commands of {kind} are not here",
            "Try again; if it lasts, ask the site's operators" if answer.returncode != 127 else
            "Run this on the cluster's login node, or name that node as the site's host",
        )  # fmt: skip
        return
    yield from {"slurm": _slurm, "pbs": _pbs, "torque": _torque}[kind](scope, facts)


def _slurm(scope: Scope, facts: Facts) -> Iterator[Check]:
    found, queues = nodes.slurm(facts.text("nodes"))
    pairs = (line.partition("=") for line in facts.text("server").splitlines())
    config = {key.strip(): value.strip() for key, _, value in pairs}
    version = config.get("SLURM_VERSION", "of unknown version")
    yield Check(SECTION, "answer", "ok", f"Slurm {version}")
    yield from _queues(scope, queues)
    largest = config.get("MaxArraySize", "")
    # MaxArraySize is one more than the largest index.
    yield from _arrays(scope, max(0, number(largest) - 1), "MaxArraySize")
    yield from _fits(scope, found)


def _pbs(scope: Scope, facts: Facts) -> Iterator[Check]:
    try:
        server = decode(facts.text("server"))
    except ValueError as error:
        yield Check(SECTION, "answer", "silent", f"qstat -B: {error}", "Try again")
        return
    servers = server.get("Server")
    about: dict[str, Any] = next(iter(servers.values()), {}) if isinstance(servers, dict) else {}
    state, version = about.get("server_state", "of unknown state"), server.get("pbs_version", "")
    active = state in ("Active", "Scheduling", "Idle", "Hot_Start")
    yield Check(
        SECTION, "answer", "ok" if active else "warn", f"PBS {version}, {state}",
        "" if active else "It starts no jobs now: ask the site's operators",
    )  # fmt: skip
    if str(about.get("job_history_enable", "False")) != "True":
        yield Check(
            SECTION,
            "history",
            "ok",
            "PBS forgets a job when it ends; receipts tell how tasks ended all the same",
        )
    yield from _read(lambda: _queues(scope, nodes.pbs_queues(facts.text("queues"))), "queues")
    most = about.get("max_array_size", 0)
    yield from _arrays(scope, most if isinstance(most, int) else 0, "max_array_size")
    if facts.get("nodes").returncode:
        yield Check(
            SECTION, "nodes", "warn", f"not told: {said(facts.get('nodes'))}",
            "Compare `pbsnodes -av` with the site file by hand",
        )  # fmt: skip
        return
    yield from _read(lambda: _fits(scope, nodes.pbs(facts.text("nodes"))), "nodes")


def _torque(scope: Scope, facts: Facts) -> Iterator[Check]:
    words = facts.text("server").split()
    yield Check(SECTION, "answer", "ok", f"Torque answers ({len(words)} words)")
    yield Check(
        SECTION, "nodes", "warn", "Torque's queues and nodes are not read",
        "Compare `qstat -Qf` and `pbsnodes -a` with the site file by hand",
    )  # fmt: skip


def _read(look: Callable[[], Iterator[Check]], what: str) -> list[Check]:
    """A look at an answer that may be none."""
    try:
        return list(look())
    except ValueError as error:
        return [Check(SECTION, what, "warn", f"the answer cannot be read: {error}", "Try again")]


def _machine(scope: Scope, facts: Facts) -> Iterator[Check]:
    lines = facts.text("machine").splitlines()
    memory = re.search(r"(\d+) kB", facts.text("machine"))
    node = nodes.local(facts.text("nodes"), lines[0] if lines else "", memory[1] if memory else "")
    yield Check(SECTION, "answer", "ok", f"this machine: {_words(node)}")
    yield from _fits(scope, [node])


def _queues(scope: Scope, queues: dict[str, Queue]) -> Iterator[Check]:
    for name in dict.fromkeys(job.queue for job in scope.jobs):
        jobs = tuple(job.name for job in scope.jobs if job.queue == name)
        longest = max(job.resources.walltime_s for job in scope.jobs if job.queue == name)
        queue = queues.get(name)
        if not name:
            yield Check(SECTION, "queue", "ok", "none is named: the scheduler's default", "", jobs)
        elif queue is None:
            yield Check(
                SECTION, f"queue {name}", "fail",
                f"the scheduler has {', '.join(sorted(queues)) or 'no queue'}",
                "Correct defaults.queue or cpu_queue in the site file", jobs,
            )  # fmt: skip
        elif not queue.open:
            yield Check(
                SECTION, f"queue {name}", "warn", queue.why,
                "Wait, or choose another in the site file", jobs,
            )  # fmt: skip
        elif queue.walltime_s and longest > queue.walltime_s:
            yield Check(
                SECTION, f"queue {name}", "fail",
                f"gives {format_walltime(queue.walltime_s)}, asked is {format_walltime(longest)}: "
                "it would wait for ever",
                "Lower resources.walltime, or choose a queue that gives more", jobs,
            )  # fmt: skip
        else:
            limit = f", up to {format_walltime(queue.walltime_s)}" if queue.walltime_s else ""
            yield Check(SECTION, f"queue {name}", "ok", f"open{limit}", "", jobs)


def _arrays(scope: Scope, most: int, setting: str) -> Iterator[Check]:
    sizes = {job.name: largest_array(scope, job) for job in scope.jobs if job.array}
    over = tuple(name for name, size in sizes.items() if most and size > most)
    if over:
        yield Check(
            SECTION, "array size", "fail",
            f"an array of {sizes[over[0]]} tasks; {setting} allows {most}",
            f"Say max_array: {most} in the site file: tasks then go in several arrays", over,
        )  # fmt: skip


def largest_array(scope: Scope, job: Job) -> int:
    """Tasks of the largest array that a job is submitted in."""
    tasks = range(1, job.tasks + 1)
    return max(map(len, limits.parts(scope.plan.site, job.queue, tasks)))


def _fits(scope: Scope, found: list[Node]) -> Iterator[Check]:
    """One check a queue and kind of request: whether enough nodes hold it."""
    groups: dict[tuple[str, int, int, int, int], list[Job]] = {}
    for job in scope.jobs:
        r = job.resources
        groups.setdefault((job.queue, r.nodes, r.gpus, r.cpus, r.mem_bytes), []).append(job)
    for (queue, count, gpus, cpus, memory), jobs in groups.items():
        name, own = f"nodes for {_ask(gpus, cpus, memory)}", [
            n for n in found if not n.queues or not queue or queue in n.queues
        ]  # fmt: skip
        jobs_names = tuple(job.name for job in jobs)
        holding = [n for n in own if n.gpus >= gpus and n.cpus >= cpus and n.mem_bytes >= memory]
        total, up = sum(n.count for n in holding), sum(n.count for n in holding if n.up)
        if total < count:
            best = max(own, key=lambda n: (n.gpus, n.cpus, n.mem_bytes), default=None)
            yield Check(
                SECTION, name, "fail",
                f"{total} of {count} nodes hold it; the largest has {_words(best)}",
                "Ask for less (the stage's resources, the site's defaults), or name another queue",
                jobs_names,
            )  # fmt: skip
            continue
        enough = up >= count
        yield Check(
            SECTION, name, "ok" if enough else "warn",
            f"held by {total}, of which {up} up" + (f"; {_words(holding[0])}" if gpus else ""),
            "" if enough else "They are down or drained: wait, or ask the site's operators",
            jobs_names,
        )  # fmt: skip
        if gpus:
            yield from _gpu_memory(jobs, holding)


def _gpu_memory(jobs: list[Job], holding: list[Node]) -> Iterator[Check]:
    """Whether a GPU holds at least a training's loss; all that it needs is not known beforehand."""
    told = [n.gpu_bytes for n in holding if n.gpu_bytes]
    names = tuple(job.name for job in jobs)
    need = max((_loss_bytes(job) for job in jobs), default=0)
    if not told:
        fact = "the nodes do not say; look at one with nvidia-smi"
        yield Check(SECTION, "GPU memory", "ok", f"unknown: {fact}", "", names)
    elif need > min(told):
        yield Check(
            SECTION, "GPU memory", "fail",
            f"{min(told) / GIB:.0f} GiB; the loss alone takes about {need / GIB:.1f} GiB",
            "Lower it with --set batch.micro=1, or choose nodes with larger GPUs", names,
        )  # fmt: skip
    else:
        yield Check(SECTION, "GPU memory", "ok", f"{min(told) / GIB:.0f} GiB a GPU", "", names)


def _loss_bytes(job: Job) -> int:
    """micro batch x length x vocabulary in fp32, three times; 0 where the trainer takes it in
    pieces, as `hf` does."""
    p = job.config["parameters"]
    if job.kind != "train" or p["train"]["backend"] == "hf":
        return 0
    shape = p["batch"]["micro"] * p["model"]["seq_length"] * p["model"]["vocab_size"]
    return int(shape) * 4 * _LOGITS


def _ask(gpus: int, cpus: int, memory: int) -> str:
    rest = f"{cpus} cores, {memory / GIB:.0f} GiB"
    return f"{gpus} GPUs, {rest}" if gpus else rest


def _words(node: Node | None) -> str:
    if node is None:
        return "nothing: no node is in this queue"
    gpus = f"{node.gpus} {node.gpu or 'GPUs'}, " if node.gpus else "no GPU, "
    return f"{gpus}{node.cpus} cores, {node.mem_bytes / GIB:.0f} GiB"
