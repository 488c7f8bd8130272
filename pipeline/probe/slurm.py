"""What a Slurm cluster tells of its limits: text of its commands -> facts.

Names are those of `man scontrol`, `slurm.conf`, `sinfo` and `sacctmgr`; recorded from 22.05.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pipeline.probe.cards import model
from pipeline.probe.facts import (
    MIB,
    Cluster,
    Known,
    Node,
    QueueFacts,
    keep,
    least,
    node_limits,
    shapes,
)
from pipeline.schedulers.words import seconds

# Node and partition names come last where a line could be split at something within them.
NODE_FORMAT = "%c|%m|%G|%N|%R"
ASSOC_COLUMNS = ("Account", "Partition", "QOS", "DefaultQOS", "MaxSubmit", "GrpSubmit", "MaxWall")
QOS_COLUMNS = ("Name", "MaxWall", "MaxSubmitPU", "MaxJobsPU", "GrpSubmit")

QUESTIONS: dict[str, list[str]] = {
    "config": ["scontrol", "show", "config"],
    "partitions": ["scontrol", "-o", "show", "partition"],
    "nodes": ["sinfo", "-h", "-N", "-o", NODE_FORMAT],
    "features": ["sinfo", "-h", "-N", "-o", "%N|%f"],
    # `$(id -un)`: who one is there, which over SSH may be somebody else than here.
    "assoc": ["bash", "-c", 'sacctmgr -nP show assoc where user="$(id -un)" format='
              + ",".join(ASSOC_COLUMNS)],
    "default_account": ["bash", "-c", 'sacctmgr -nP show user "$(id -un)" format=DefaultAccount'],
    "qos": ["sacctmgr", "-nP", "show", "qos", "format=" + ",".join(QOS_COLUMNS)],
}  # fmt: skip
NEEDED = ("config", "partitions")  # without these there is nothing to write down

_UNSET = frozenset({"", "UNLIMITED", "INFINITE", "NONE", "(NULL)", "N/A", "NO"})
_GPU = re.compile(r"(?:^|,)gpu(?::([^:,()]+))?:(\d+)(?:\([^)]*\))?", re.ASCII)
_SHOWN = {  # what else is worth knowing of slurm.conf -> in our words
    "MaxJobCount": "jobs that the whole cluster holds at once",
    "MinJobAge": "how long squeue remembers a job that has ended",
    "KillWait": "from TERM to KILL when a job's time is up",
    "MessageTimeout": "after which a command gives up on the controller",
    "JobRequeue": "whether a job whose node fails is started again (1) or not (0)",
}


def cluster(texts: Mapping[str, str], groups: Sequence[str]) -> Cluster:
    """The cluster, from the answers to QUESTIONS and the groups that the user is in."""
    config = parse_config(texts["config"])
    nodes = parse_nodes(texts.get("nodes", ""), parse_features(texts.get("features", "")))
    mine = parse_rows(texts.get("assoc", ""), ASSOC_COLUMNS)
    qos = {row["Name"]: row for row in parse_rows(texts.get("qos", ""), QOS_COLUMNS)}
    found = Cluster("slurm", config.get("SLURM_VERSION", ""))
    found.notes += [f"{key} = {config[key]}: {why}" for key, why in _SHOWN.items() if key in config]
    enforced = config.get("AccountingStorageEnforce", "none")
    if not {"limits", "safe", "qos", "all"} & set(enforced.lower().split(",")):
        found.notes.append(f"AccountingStorageEnforce = {enforced}: accounts and QOS limit nothing")
        qos, limited = {}, []
    else:
        limited = mine
    found.facts |= _site_facts(config)
    account = texts.get("default_account", "").strip().splitlines()
    _accounts(found, mine, account[0].strip() if account else "")
    default_qos = _default_qos(mine)
    keep(found.facts, max_jobs=_number(qos.get(default_qos, {}), "MaxSubmitPU",
                                       f"sacctmgr show qos {default_qos}"))  # fmt: skip
    for row in _of_account(limited, account[0].strip() if account else ""):
        for column in ("MaxSubmit", "GrpSubmit"):
            keep(found.facts, max_jobs=_number(row, column, "sacctmgr show assoc"))
    wall = least(_kindest_wall(limited), _kindest_wall([qos.get(default_qos, {})]))
    for partition in parse_partitions(texts["partitions"]):
        queue = _queue(partition, nodes.get(partition["PartitionName"], []), qos, wall)
        queue.closed = _closed(partition, mine, groups)
        found.queues.append(queue)
        if partition.get("Default") == "YES":
            found.default_queue = queue.name
    return found


def parse_config(text: str) -> dict[str, str]:
    """`scontrol show config`: `Key = value`, a line each."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def parse_partitions(text: str) -> list[dict[str, str]]:
    """`scontrol -o show partition`: `Key=value` words, a partition a line."""
    found = []
    for line in text.splitlines():
        words = re.split(r" (?=[A-Z][A-Za-z]*=)", line.strip())
        pairs = dict(word.partition("=")[::2] for word in words)
        if pairs.get("PartitionName"):
            found.append(pairs)
    return found


def parse_features(text: str) -> dict[str, tuple[str, ...]]:
    """Node -> its features, of `sinfo -h -N -o %N|%f`."""
    pairs = (line.partition("|")[::2] for line in text.splitlines())
    return {name: tuple(words.split(",")) for name, words in pairs}


def parse_nodes(text: str, features: Mapping[str, tuple[str, ...]]) -> dict[str, list[Node]]:
    """Partition -> its nodes, of `sinfo -h -N -o NODE_FORMAT`; a line that is cut is left out."""
    found: dict[str, dict[str, Node]] = {}
    for line in text.splitlines():
        fields = line.split("|", 4)
        if len(fields) == 5 and fields[0].strip().isdecimal() and fields[1].strip().isdecimal():
            cpus, mem, gres, name, partition = fields
            gpus, kind = parse_gres(gres)
            tags = features.get(name, ())
            kind = kind or "+".join(filter(model, tags)) if gpus else ""
            node = Node(int(cpus), int(mem) * MIB, gpus, kind, tags)
            found.setdefault(partition, {})[name] = node
    return {partition: list(nodes.values()) for partition, nodes in found.items()}


def parse_gres(text: str) -> tuple[int, str]:
    """GPUs and their types in `gpu:a100:8(S:0-1),gpu:v100:2` -> (10, "a100+v100")."""
    cards = _GPU.findall(text)
    kinds = dict.fromkeys(kind for kind, _ in cards if kind)
    return sum(int(count) for _, count in cards), "+".join(kinds)


def parse_rows(text: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """`sacctmgr -nP ... format=COLUMNS`; a line with fewer fields is none of its rows."""
    rows = (line.split("|") for line in text.splitlines())
    return [dict(zip(columns, row, strict=True)) for row in rows if len(row) == len(columns)]


def _site_facts(config: Mapping[str, str]) -> dict[str, Known]:
    facts: dict[str, Known] = {}
    asked = "scontrol show config"
    if (size := config.get("MaxArraySize", "")).isdecimal():
        tasks = max(1, int(size) - 1)
        source = f"{asked}: MaxArraySize={size}, the first number too high; tasks count from 1"
        facts["max_array"] = Known(tasks, source)
    option = re.search(r"\bmax_array_tasks=(\d+)", config.get("SchedulerParameters", ""), re.ASCII)
    if option:
        keep(facts, max_array=Known(max(1, int(option[1])), f"{asked}: {option[0]}"))
    if kind := config.get("AccountingStorageType", ""):
        facts["history"] = Known("slurmdbd" in kind, f"{asked}: AccountingStorageType={kind}")
    return facts


def _accounts(found: Cluster, mine: Sequence[Mapping[str, str]], default: str) -> None:
    accounts = sorted({row["Account"] for row in mine if row["Account"]})
    if accounts:
        words = f"sacctmgr show assoc: you have {', '.join(accounts)}"
        said = f"{words}; empty is your default, {default}" if default else words
        found.facts["account"] = Known("", said)


def _of_account(rows: Sequence[Mapping[str, str]], account: str) -> list[Mapping[str, str]]:
    """The rows that hold for jobs that name no account: of several accounts, the default one's."""
    own = [row for row in rows if row["Account"] == account]
    return own or (list(rows) if len(rows) == 1 else [])


def _default_qos(rows: Sequence[Mapping[str, str]]) -> str:
    named = {row["DefaultQOS"] or row["QOS"] for row in rows}
    only = named.pop() if len(named) == 1 else ""
    return "" if "," in only else only


def _kindest_wall(rows: Sequence[Mapping[str, str]]) -> Known | None:
    """The longest that a job may run by some rows, one of which holds: none where one sets none."""
    times = [seconds(row.get("MaxWall", "")) or 0 for row in rows]
    if not times or 0 in times:
        return None
    return Known(max(times), "sacctmgr show assoc, show qos: your MaxWall")


def _queue(
    partition: Mapping[str, str], nodes: list[Node], qos: Mapping[str, Mapping[str, str]],
    wall: Known | None,
) -> QueueFacts:  # fmt: skip
    asked = "scontrol show partition"
    queue = QueueFacts(partition["PartitionName"], node_limits(nodes, "sinfo -N"), nodes)
    for key, name, factor in (
        ("max_nodes", "MaxNodes", 1),
        ("max_nodes", "TotalNodes", 1),
        ("max_cpus", "MaxCPUsPerNode", 1),
        ("max_mem", "MaxMemPerNode", MIB),
    ):
        keep(queue.limits, **{key: _number(partition, name, asked, factor)})
    if (fewest := _number(partition, "MinNodes", asked)) and fewest.value > 1:
        queue.limits["min_nodes"] = fewest
    longest = seconds(partition.get("MaxTime", ""))
    if longest:
        time = partition["MaxTime"]
        keep(queue.limits, max_walltime=Known(longest, f"{asked}: MaxTime={time}"))
    keep(queue.limits, max_walltime=wall)
    own = qos.get(partition.get("QoS", ""))
    if own:
        name = f"sacctmgr show qos {own['Name']}, which is the partition's"
        keep(queue.limits, max_queued=_number(own, "MaxSubmitPU", name))
        keep(queue.limits, max_queued=_number(own, "GrpSubmit", name))
        if span := seconds(own["MaxWall"]):
            keep(queue.limits, max_walltime=Known(span, f"{name}: MaxWall={own['MaxWall']}"))
        if (running := _number(own, "MaxJobsPU", name)) is not None:
            queue.notes.append(f"{running.value} of your jobs run at once ({running.source})")
    queue.notes += _notes(partition, nodes)
    return queue


def _notes(partition: Mapping[str, str], nodes: Sequence[Node]) -> list[str]:
    notes = [shapes(nodes)] if nodes else []
    defaults = [
        f"{key}={partition[key]}"
        for key in ("DefaultTime", "DefMemPerNode", "DefMemPerCPU", "DefMemPerGPU")
        if partition.get(key, "").upper() not in _UNSET
    ]
    if defaults:
        notes.append(f"for jobs that ask for none: {', '.join(defaults)}")
    if partition.get("AllowQos", "ALL") != "ALL":
        notes.append(f"takes only these QOS: {partition['AllowQos']}; put --qos=... in directives")
    if partition.get("State", "UP") == "DOWN":
        notes.append("State=DOWN: it takes jobs and does not start them now")
    return notes


def _closed(
    partition: Mapping[str, str], mine: Sequence[Mapping[str, str]], groups: Sequence[str]
) -> str:
    if (state := partition.get("State", "UP")) in ("DRAIN", "INACTIVE"):
        return f"State={state}: it takes no jobs"
    for key in ("RootOnly", "ReqResv"):
        if partition.get(key) == "YES":
            return f"{key}=YES"
    accounts = {row["Account"] for row in mine}
    qos = {name for row in mine for name in row["QOS"].split(",")}
    for key, own in (("AllowAccounts", accounts), ("AllowGroups", set(groups)), ("AllowQos", qos)):
        allowed = partition.get(key, "ALL")
        if allowed != "ALL" and own and not own & set(allowed.split(",")):
            return f"{key}={allowed}: none of yours"
    denied = partition.get("DenyAccounts", "")
    if denied and accounts and accounts <= set(denied.split(",")):
        return f"DenyAccounts={denied}"
    return ""


def _number(row: Mapping[str, str], key: str, asked: str, factor: int = 1) -> Known | None:
    """A limit that is a number; None where it is not set."""
    text = row.get(key, "").strip()
    if text.upper() in _UNSET or not text.isdecimal() or int(text) < 1:
        return None
    return Known(int(text) * factor, f"{asked}: {key}={text}")
