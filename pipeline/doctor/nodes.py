"""What a scheduler's nodes have: text of its commands -> nodes. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from pipeline.schedulers.pbs_json import decode
from pipeline.schedulers.words import seconds

# One row for nodes that are equal in all of it (-e).
SINFO = ("sinfo", "-h", "-e", "-o", "%R|%a|%l|%D|%c|%m|%t|%G|%f")
PBSNODES = ("pbsnodes", "-av", "-F", "json")
NVIDIA = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")

_SLURM_GPU = re.compile(r"(?:^|,)gpu(?::([^:,()]+))?:(\d+)", re.ASCII)
# `a100-80gb`, `A100-SXM4-40GB`, `gpu80gb`: gigabytes after the name of a GPU. Not `mem512g`.
_GIGABYTES = re.compile(
    r"(?:gpu(?:mem)?|vram|rtx\w*|mi\d{3}\w?|g[hb]200|[abhlvtp]\d{1,3}s?)(?:[-_.:][a-z]+\d*)*"
    r"[-_.:]?(\d{2,3})g(?:i?b)?",
    re.IGNORECASE | re.ASCII,
)
_UNITS = {"b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30, "tb": 2**40}
# Slurm's states, cut to the word before their mark, in which a node takes no job.
_DOWN = ("down", "drain", "drng", "fail", "boot", "maint", "unk", "inval", "futr", "no_respond")
_PBS_DOWN = ("down", "offline", "unknown", "provisioning", "stale", "maintenance")


class Node(msgspec.Struct, frozen=True):
    """Some equal nodes. `queues` empty: any. `gpu_bytes` 0: nobody says."""

    count: int
    cpus: int
    mem_bytes: int
    gpus: int = 0
    gpu: str = ""
    gpu_bytes: int = 0
    queues: tuple[str, ...] = ()
    up: bool = True


class Queue(msgspec.Struct, frozen=True):
    """A queue as its scheduler shows it. `walltime_s` 0: no limit is told."""

    name: str
    open: bool
    why: str = ""
    walltime_s: int = 0


def slurm(text: str) -> tuple[list[Node], dict[str, Queue]]:
    """Answer to SINFO. The features stand last, since they may hold anything but a newline."""
    nodes, queues = [], {}
    for line in text.splitlines():
        fields = line.split("|", 8)
        if len(fields) < 9:
            continue
        partition, available, limit, count, cpus, memory, state, gres, features = fields
        up = not state.lower().startswith(_DOWN) and not state.endswith(("*", "$"))
        gpus = [(kind, int(number)) for kind, number in _SLURM_GPU.findall(gres)]
        kind = next((kind for kind, _ in gpus if kind), "")
        sizes = [_gigabytes(word) for word in (kind, *features.split(","))] if gpus else []
        nodes.append(
            Node(
                count=_int(count), cpus=_int(cpus), mem_bytes=_int(memory) * 2**20,
                gpus=sum(number for _, number in gpus), gpu=kind,
                gpu_bytes=next(filter(None, sizes), 0), queues=(partition,), up=up,
            )
        )  # fmt: skip
        queues[partition] = Queue(
            partition, available == "up", "" if available == "up" else f"is {available}",
            seconds(limit) or 0 if ":" in limit else 0,
        )  # fmt: skip
    return nodes, queues


def pbs(text: str) -> list[Node]:
    """Answer to PBSNODES; vnodes of one host are one node. Raises ValueError."""
    hosts: dict[str, list[Mapping[str, Any]]] = {}
    found = decode(text).get("nodes", {})
    for name, about in found.items() if isinstance(found, Mapping) else ():
        if isinstance(about, Mapping):
            resources = about.get("resources_available")
            host = resources.get("host") if isinstance(resources, Mapping) else None
            hosts.setdefault(str(host or name), []).append(about)
    return [_pbs_node(vnodes) for vnodes in hosts.values()]


def _pbs_node(vnodes: list[Mapping[str, Any]]) -> Node:
    resources = [r for v in vnodes if isinstance(r := v.get("resources_available"), Mapping)]

    def first(*keys: str) -> str:
        words = (str(r[key]) for r in resources for key in keys if r.get(key))
        return next(words, "")

    queues = {str(v["queue"]) for v in vnodes if v.get("queue")}
    queues |= {q for r in resources for q in str(r.get("Qlist") or "").split(",") if q}
    gpus = sum(_int(r.get("ngpus", 0)) for r in resources)
    kind = first("gpu_type", "gpu_model", "gputype", "gpu_name") if gpus else ""
    return Node(
        count=1,
        cpus=sum(_int(r.get("ncpus", 0)) for r in resources),
        mem_bytes=sum(size(str(r.get("mem", ""))) for r in resources),
        gpus=gpus,
        gpu=kind,
        gpu_bytes=(size(first("gpu_mem", "gpumem")) or _gigabytes(kind)) if gpus else 0,
        queues=tuple(sorted(queues)),
        up=any(not str(v.get("state", "")).lower().startswith(_PBS_DOWN) for v in vnodes),
    )


def pbs_queues(text: str) -> dict[str, Queue]:
    """Answer to `qstat -Q -f -F json`. Raises ValueError."""
    queues = {}
    found = decode(text).get("Queue", {})
    for name, about in found.items() if isinstance(found, Mapping) else ():
        if not isinstance(about, Mapping):
            continue
        enabled, started = (str(about.get(key, "True")) == "True" for key in ("enabled", "started"))
        limits = about.get("resources_max")
        limit = str(limits.get("walltime", "")) if isinstance(limits, Mapping) else ""
        why = "" if enabled and started else "runs no jobs now" if enabled else "takes no jobs now"
        queues[name] = Queue(name, enabled and started, why, seconds(limit) or 0)
    return queues


def local(text: str, cpus: str, memory: str) -> Node:
    """This machine: `nvidia-smi`'s rows, `nproc`'s number, MemTotal of /proc/meminfo in KiB."""
    rows = [line.rpartition(",") for line in text.splitlines() if "," in line]
    rows = [row for row in rows if row[2].strip().isdigit()]
    smallest = min((int(row[2]) for row in rows), default=0) * 2**20
    kind = rows[0][0].strip() if rows else ""
    return Node(1, _int(cpus), _int(memory) * 2**10, len(rows), kind, smallest)


def size(text: str) -> int:
    """Bytes of PBS's `64gb`, `8388608kb`, `40`; 0 for anything else."""
    match = re.fullmatch(r"(\d{1,18})\s*([kmgt]?)(?:i?b|w)?", text.strip().lower(), re.ASCII)
    return int(match[1]) * _UNITS[f"{match[2]}b"] if match else 0


def _gigabytes(word: str) -> int:
    match = _GIGABYTES.fullmatch(word.strip())
    return int(match[1]) * 2**30 if match else 0


def _int(text: object) -> int:
    match = re.match(r"\d{1,12}", str(text).strip(), re.ASCII)
    return int(match[0]) if match else 0
