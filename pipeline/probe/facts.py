"""What a probe finds out, before it becomes a site file: values, each with its source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

MIB = 2**20
GIB = 2**30


class Known(msgspec.Struct, frozen=True):
    """A value, and in a few words where it comes from."""

    value: Any
    source: str


class Node(msgspec.Struct, frozen=True):
    """What one node has; `gpu` is the type's name where the scheduler tells it (`a100+v100` where
    they are several), `tags` is what else it says of the node in words."""

    cpus: int
    mem_bytes: int
    gpus: int = 0
    gpu: str = ""
    tags: tuple[str, ...] = ()

    def words(self) -> str:
        """`64 cores, 250 GiB, 8 a100`."""
        parts = [f"{self.cpus} cores", f"{self.mem_bytes / GIB:.0f} GiB"]
        if self.gpus:
            parts.append(f"{self.gpus} {self.gpu or 'GPUs'}")
        return ", ".join(parts)


class QueueFacts(msgspec.Struct):
    """A queue or partition. `limits` has the keys of `pipeline.site.Queue`."""

    name: str
    limits: dict[str, Known] = {}
    nodes: list[Node] = []
    notes: list[str] = []
    closed: str = ""  # why this user cannot submit to it; empty where they can

    @property
    def gpus(self) -> int | None:
        """GPUs a node that a job may have here; None where nobody says."""
        known = self.limits.get("max_gpus")
        return known.value if known else None

    def node(self) -> Node | None:
        """The node with the most of everything, GPUs before cores before memory."""
        return max(self.nodes, key=lambda n: (n.gpus, n.cpus, n.mem_bytes), default=None)


class Cluster(msgspec.Struct):
    """What a scheduler says of itself. `facts` has keys of `pipeline.site.Site`."""

    scheduler: str
    version: str = ""
    facts: dict[str, Known] = {}
    queues: list[QueueFacts] = []
    default_queue: str = ""
    notes: list[str] = []


def least(*found: Known | None) -> Known | None:
    """The smallest of some limits, those that are not set left out."""
    return min((k for k in found if k is not None), key=lambda k: k.value, default=None)


def keep(limits: dict[str, Known], **found: Known | None) -> None:
    """Adds the limits that are set, each where it is smaller than what is there."""
    for key, known in found.items():
        smallest = least(limits.get(key), known)
        if smallest is not None:
            limits[key] = smallest


def node_limits(nodes: Sequence[Node], asked: str) -> dict[str, Known]:
    """The limits that follow from the nodes themselves: a job that asks for more never starts."""
    if not nodes:
        return {}
    return {
        "max_nodes": Known(len(nodes), f"{asked}: {len(nodes)} nodes"),
        "max_gpus": Known(max(n.gpus for n in nodes), f"{asked}: the most that a node has"),
        "max_cpus": Known(max(n.cpus for n in nodes), f"{asked}: the most that a node has"),
        "max_mem": Known(max(n.mem_bytes for n in nodes), f"{asked}: the most that a node has"),
    }


def shapes(nodes: Iterable[Node]) -> str:
    """`4 x (64 cores, 250 GiB, 8 a100); 2 x (...)`, the commonest first."""
    counts = Counter(node.words() for node in nodes)
    shown = [f"{count} x ({words})" for words, count in counts.most_common(4)]
    rest = len(counts) - len(shown)
    return "; ".join(shown) + (f"; {rest} other kinds" if rest > 0 else "")
