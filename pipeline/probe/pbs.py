"""What a PBS or Torque server tells of its limits: text of its commands -> facts.

Attributes are those of the OpenPBS manual pages pbs_server_attributes(7B), pbs_queue_attributes(7B)
and pbs_node_attributes(7B), and of Torque's manual. The text form is read, not JSON: all versions
and Torque have it, and a limit that is set twice (for users and for projects) is two lines here but
one lost key there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from pipeline.probe.cards import model
from pipeline.probe.facts import (
    GIB,
    MIB,
    Cluster,
    Known,
    Node,
    QueueFacts,
    keep,
    node_limits,
    shapes,
)
from pipeline.schedulers.words import seconds
from pipeline.yamlio import MAX_INT

QUESTIONS: dict[str, list[str]] = {
    "server": ["qstat", "-B", "-f"],
    "queues": ["qstat", "-Q", "-f"],
    # `-v`: the nodes' own parts; Torque knows only `-a`.
    "pbsnodes": ["bash", "-c", "pbsnodes -a -v 2>/dev/null || pbsnodes -a"],
}
NEEDED = ("server", "queues")

LONGEST_NAME = 230  # characters; PBS Professional takes 236

Block = Mapping[str, Sequence[str]]  # attribute -> its values, since a limit may stand there twice

_LINE = re.compile(r" +([A-Za-z][\w.\-]*) = ?(.*)")
_LIMIT = re.compile(r"""\[\s*([ugpo]):\s*("[^"]*"|'[^']*'|[^=\]]*?)\s*=\s*(\d+)\s*\]""", re.ASCII)
_CARD = re.compile(r"(gpu|accel).*(model|type|name|card|sku)|card", re.IGNORECASE)
_CARD_MEMORY = re.compile(r"(gpu|accel).*mem", re.IGNORECASE)
_PRODUCT = re.compile(r"gpu_product_name=([^;,]+)")  # in Torque's gpu_status
_SIZE = re.compile(r"(\d+)\s*([kmgtp]?)[bw]?", re.IGNORECASE | re.ASCII)
# What a chunk has by default is an amount, or (Qlist, a boolean) a word that names its nodes.
_AMOUNTS = frozenset(
    ("ncpus", "mem", "vmem", "pmem", "ngpus", "mpiprocs", "ompthreads", "nodect", "place")
)


def cluster(
    scheduler: str, texts: Mapping[str, str], user: str, groups: Sequence[str]
) -> Cluster:  # fmt: skip
    """The cluster, from the answers to QUESTIONS, and who the user is there."""
    server = next(iter(parse_blocks(texts["server"], "Server").values()), {})
    queues = parse_blocks(texts["queues"], "Queue")
    hosts = parse_hosts(texts.get("pbsnodes", ""))
    found = Cluster(scheduler, first(server, "pbs_version"))
    found.default_queue = first(server, "default_queue")
    asked = "qstat -Bf"
    for name in ("max_array_size", "max_job_array_size"):  # PBS, Torque
        if (size := first(server, name)).isdecimal() and int(size) > 0:
            found.facts["max_array"] = Known(int(size), f"{asked}: {name} = {size}")
    keep(found.facts, max_jobs=_queued(server, user, asked))
    _history(found, server)
    if scheduler == "pbs":
        found.facts["name_length"] = Known(LONGEST_NAME, "PBS_MAXJOBNAME of OpenPBS's pbs_ifl.h")
    for name, attributes in queues.items():
        queue = QueueFacts(name, closed=_closed(attributes, user, groups))
        if first(attributes, "queue_type").lower().startswith("r"):
            queue.notes.append(f"routes to {first(attributes, 'route_destinations')}")
        else:
            queue.nodes = [host.whole() for host in _of_queue(name, attributes, hosts)]
        _limits(queue, attributes, server, user)
        found.queues.append(queue)
    _routes(found.queues, queues)
    return found


def parse_blocks(text: str, word: str) -> dict[str, dict[str, list[str]]]:
    """`Queue: gpu` and its indented `name = value` lines. A value goes on in lines that begin with
    a tab, in the middle of a word if need be; an attribute that stands there twice has two values.
    `word` "" reads `pbsnodes`, whose blocks begin with the bare name."""
    found: dict[str, dict[str, list[str]]] = {}
    block: dict[str, list[str]] | None = None
    values: list[str] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        if not line[0].isspace():
            name = line.strip()
            if word:
                head, _, name = line.partition(":")
                name = name.strip() if head.strip() == word else ""
            block = found.setdefault(name, {}) if name else None
            values = []
        elif block is not None:
            indent = line[: len(line) - len(line.lstrip())]
            match = _LINE.fullmatch(line.rstrip()) if "\t" not in indent else None
            if match:
                values = block.setdefault(match[1], [])
                values.append(match[2])
            elif values:
                values[-1] += line.strip()
    return found


def first(block: Block, name: str) -> str:
    """An attribute's value, "" where it is not set."""
    values = block.get(name) or [""]
    return values[0].strip()


def parse_size(text: str) -> int:
    """Bytes of `64gb` (PBS counts in 1024s), 0 for anything else; a word counts as 8 bytes."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        return 0
    power: int = "kmgtp".find(match[2].lower()) + 1 if match[2] else 0
    word = 8 if text.strip().lower().endswith("w") else 1
    return int(match[1]) * word << 10 * power


class Host:
    """A host and what its nodes (vnodes) together have; `tags` are what queues choose it by."""

    def __init__(self) -> None:
        self.node = Node(0, 0)
        self.queues: set[str] = set()
        self.tags: dict[str, set[str]] = {}

    def add(self, block: Block) -> None:
        """One more of its vnodes."""
        status = dict(part.partition("=")[::2] for part in first(block, "status").split(","))
        cpus = _count(first(block, "resources_available.ncpus") or first(block, "np"))
        mem = parse_size(first(block, "resources_available.mem") or status.get("physmem", ""))
        gpus = _count(first(block, "resources_available.ngpus") or first(block, "gpus"))
        old = self.node
        self.node = Node(old.cpus + cpus, old.mem_bytes + mem, old.gpus + gpus)
        self.queues |= set(filter(None, [first(block, "queue")]))
        for key, values in block.items():
            kind, _, name = key.partition(".")
            if kind == "resources_available" or key == "properties":
                words = {word.strip() for word in ",".join(values).split(",")}
                self.tags.setdefault(name or key, set()).update(words)
        if products := _PRODUCT.findall(first(block, "gpu_status")):
            self.tags.setdefault("gpu_product_name", set()).update(products)

    def whole(self) -> Node:
        """All of it, with what its GPUs are by resources that a site has made for that (`gpu_model
        = a100`, `a100 = True`), by OpenPBS's accelerator_model and by Torque's properties."""
        if not self.node.gpus:
            return self.node
        kinds: set[str] = set()
        hints: set[str] = set()
        for name, values in self.tags.items():
            if _CARD.search(name):
                kinds |= values
            elif _CARD_MEMORY.search(name):
                hints |= {f"{parse_size(value) // GIB}gb" for value in values}
            else:
                hints |= {name} if values == {"True"} else values if name == "properties" else set()
        kinds = kinds or set(filter(model, hints))
        return msgspec.structs.replace(
            self.node, gpu="+".join(sorted(kinds)), tags=tuple(sorted(hints))
        )


def parse_hosts(text: str) -> list[Host]:
    """`pbsnodes -av`: the vnodes of a host add up, since a chunk may lie over all of them."""
    hosts: dict[str, Host] = {}
    for name, block in parse_blocks(text, "").items():
        host = first(block, "resources_available.host") or name
        hosts.setdefault(host, Host()).add(block)
    return [host for host in hosts.values() if host.node.cpus]


def _of_queue(name: str, queue: Block, hosts: Sequence[Host]) -> list[Host]:
    """The hosts on which a queue's jobs may run: its own, or those that its default chunk names."""
    own = [host for host in hosts if name in host.queues]
    if own:
        return own
    chosen = [host for host in hosts if not host.queues]
    for key, values in queue.items():
        kind, _, resource = key.partition(".")
        wanted = values[0].strip()
        if kind == "default_chunk" and resource not in _AMOUNTS:
            chosen = [host for host in chosen if wanted in host.tags.get(resource, ())]
        elif key == "resources_default.neednodes" and not wanted[:1].isdecimal():  # Torque
            chosen = [host for host in chosen if wanted in host.tags.get("properties", ())]
    return chosen


def _limits(queue: QueueFacts, attributes: Block, server: Block, user: str) -> None:
    asked, limits = "qstat -Qf", queue.limits
    limits |= node_limits(queue.nodes, "pbsnodes -av")
    for key, resources in (
        ("max_nodes", ("nodect", "nodes")), ("max_cpus", ("ncpus",)), ("max_gpus", ("ngpus",)),
        ("max_mem", ("mem",)), ("max_walltime", ("walltime",)),
    ):  # fmt: skip
        for resource in resources:
            keep(limits, **{key: _resource(attributes, server, resource)})
    for key, resource in (("min_nodes", "nodect"), ("min_gpus", "ngpus")):
        fewest = first(attributes, f"resources_min.{resource}")
        if fewest.isdecimal() and int(fewest) > (key == "min_nodes"):
            limits[key] = Known(int(fewest), f"{asked}: resources_min.{resource} = {fewest}")
    if (size := first(attributes, "max_array_size")).isdecimal() and int(size) > 0:
        limits["max_array"] = Known(int(size), f"{asked}: max_array_size = {size}")
    keep(limits, max_queued=_queued(attributes, user, asked))
    if queue.nodes:
        queue.notes.append(shapes(queue.nodes))
    for name in ("max_run", "max_user_run", "max_run_res.ngpus", "max_run_res.ncpus",
                 "queued_jobs_threshold", "resources_min.walltime"):  # fmt: skip
        if name in attributes:
            queue.notes.append(f"{name} = {', '.join(attributes[name])}")
    projects = [v for v in attributes.get("max_queued", ()) if "[p:" in v or "[g:" in v]
    if projects:
        queue.notes.append(f"max_queued = {', '.join(projects)}: shared with others, not checked")
    if first(attributes, "started").lower() == "false":
        queue.notes.append("started = False: it takes jobs and does not start them now")


def _resource(attributes: Block, server: Block, name: str) -> Known | None:
    """`resources_max.NAME` of a queue, else of the server; seconds, bytes or a count."""
    for block, asked in ((attributes, "qstat -Qf"), (server, "qstat -Bf")):
        text = first(block, f"resources_max.{name}")
        if name == "walltime":
            value = seconds(text) or None
        elif name == "mem":
            value = parse_size(text) or None
        else:
            value = int(text) if text.isdecimal() else None  # 0 GPUs is a limit
        if value is not None:
            return Known(value, f"{asked}: resources_max.{name} = {text}")
    return None


def _queued(block: Block, user: str, asked: str) -> Known | None:
    """How many jobs, each task of an array counted, a user may have queued or running."""
    found: dict[tuple[str, str], int] = {}
    for text in block.get("max_queued", ()):
        for kind, name, count in _LIMIT.findall(text):
            found[kind, name.strip("\"' ")] = int(count)
    limits: dict[str, Known] = {}
    generic = ("u", "PBS_GENERIC")
    for key in (("u", user) if ("u", user) in found else generic, ("o", "PBS_ALL")):
        if key in found:
            words = f"{asked}: max_queued = [{key[0]}:{key[1]}={found[key]}]"
            keep(limits, max_queued=Known(found[key], words))
    for name in ("max_user_queuable", "max_queuable"):  # Torque
        if (text := first(block, name)).isdecimal():
            keep(limits, max_queued=Known(int(text), f"{asked}: {name} = {text}"))
    return limits.get("max_queued")


def _history(found: Cluster, server: Block) -> None:
    if found.scheduler == "pbs":
        on = first(server, "job_history_enable")
        said = f"job_history_enable = {on}" if on else "job_history_enable is not set, so it is off"
        found.facts["history"] = Known(on.lower() == "true", f"qstat -Bf: {said}")
        if span := first(server, "job_history_duration"):
            found.notes.append(f"job_history_duration {span}: how long ended jobs are remembered")
    elif kept := first(server, "keep_completed"):
        source = f"qstat -Bf: keep_completed = {kept} seconds"
        found.facts["history"] = Known(_count(kept) > 0, source)


def _closed(queue: Block, user: str, groups: Sequence[str]) -> str:
    if first(queue, "enabled").lower() == "false":
        return "enabled = False: it takes no jobs"
    if first(queue, "from_route_only").lower() == "true":
        return "from_route_only: name the queue that routes to it"
    for kind, own in (("user", {user}), ("group", set(groups))):
        entries = ",".join(queue.get(f"acl_{kind}s", ())).split(",")
        allowed = {e.strip().lstrip("+").partition("@")[0] for e in entries if e.strip()}
        if first(queue, f"acl_{kind}_enable").lower() == "true" and not allowed & (own | {"*"}):
            return f"acl_{kind}s = {','.join(sorted(allowed))[:60]}: not you"
    return ""


def _routes(queues: Sequence[QueueFacts], blocks: Mapping[str, Block]) -> None:
    """A routing queue holds what one of the queues behind it holds."""
    named = {queue.name: queue for queue in queues}
    for queue in queues:
        words = ",".join(blocks[queue.name].get("route_destinations", ()))
        names = [word.partition("@")[0].strip() for word in words.split(",")]
        behind = [named[name] for name in names if name in named and name != queue.name]
        queue.nodes = queue.nodes or [node for other in behind for node in other.nodes]
        for key in ("max_walltime", "max_nodes", "max_gpus", "max_cpus", "max_mem", "max_array"):
            if behind and all(key in other.limits for other in behind):
                most = max((other.limits[key] for other in behind), key=lambda known: known.value)
                keep(queue.limits, **{key: most})


def _count(text: str) -> int:
    return int(text) if text.strip().isdecimal() else 0


def mib(size: int) -> str:
    """A size as a site file shows it, rounded down: `64GiB`, `1000MiB`."""
    size = min(size, MAX_INT)
    return f"{size // GIB}GiB" if size % GIB == 0 and size else f"{max(size, MIB) // MIB}MiB"
