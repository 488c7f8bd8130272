"""Holds jobs against a site's limits, before a queue refuses them or lets them wait for ever."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from pipeline import validate
from pipeline.chain import NOTICE_S
from pipeline.job import Job, Resources
from pipeline.kinds import KINDS
from pipeline.site import Queue, Site
from pipeline.study import Stage

_REFERENCE = re.compile(r"\$\{([\w.]+)\}", re.ASCII)
MOST_LINKS = 50  # of a chain that is proposed; more means that the queue is for something else

_KEYS = ("walltime", "nodes", "gpus", "cpus", "mem")


class Request(msgspec.Struct, frozen=True):
    """A job as the plan knows it. `where` is its stage's path in the study."""

    where: str
    stage: Stage
    queue: str
    resources: Resources
    tasks: int

    def wanted(self, key: str) -> int:
        """What is asked for, in the unit of the limit."""
        field = {"walltime": "walltime_s", "mem": "mem_bytes"}.get(key, key)
        value: int = getattr(self.resources, field)
        return value


def problems(site: Site, request: Request) -> list[str]:
    """What of a job is beyond the site, each with what may be done."""
    if site.scheduler == "local":
        return list(_machine(site, request))
    found = list(_array(site, request))
    queue = site.queues.get(request.queue)
    for key in _KEYS if queue else ():
        wanted = request.wanted(key)
        most, fewest = _limit(queue, f"max_{key}"), _limit(queue, f"min_{key}")
        if most is not None and wanted > most:
            found.append(_beyond(site, request, key, most, "over"))
        elif fewest is not None and wanted < fewest:
            found.append(_beyond(site, request, key, fewest, "under"))
    return found


def _machine(site: Site, request: Request) -> Iterator[str]:
    most = {"gpus": site.max_gpus, "cpus": site.max_cpus, "mem": site.max_mem, "nodes": 1}
    for key, limit in most.items():
        if request.wanted(key) > limit:
            yield (
                f"{request.where}.resources.{key}: {request.wanted(key)} is more than this "
                f"machine's {limit}. Use `--profile demo` here, or a cluster with --site"
            )


def _array(site: Site, request: Request) -> Iterator[str]:
    """The smallest of the limits on how many tasks may be queued; what is only too many for one
    array goes in several (`parts`)."""
    queue, array = site.queues.get(request.queue), request.stage.array
    limits = [
        (site.max_jobs, f"the {site.max_jobs} jobs that site {site.site!r} lets a user have"),
    ]
    if queue:
        name = repr(request.queue)
        limits += [
            (queue.max_queued, f"the {queue.max_queued} jobs that queue {name} lets a user have"),
        ]
    known = [(most, words) for most, words in limits if most is not None and request.tasks > most]
    if not known or array is None:
        return
    most, words = min(known)
    named = _REFERENCE.fullmatch(str(array.count))
    key = named[1] if named else f"{request.where}.array.count"
    others = [
        name
        for name, other in site.queues.items()
        if name != request.queue
        and most != site.max_jobs
        and _holds(other, request, (*_KEYS, "queued"))
    ]
    yield (
        f"{request.where}.array.count: {request.tasks} tasks are over {words}. Make fewer and "
        f"larger {array.over} (`--set {key}={most}`)" + _other(others, request.where)
    )


def _beyond(site: Site, request: Request, key: str, limit: int, side: str) -> str:
    where, path = request.where, f"{request.where}.resources.{key}"
    shown = _shown(key, limit)
    remedies: list[str] = []
    if key == "walltime" and side == "over":
        remedies += _chain(request, limit)
        if request.stage.chain:
            path = f"{where}.chain.walltime"
    verb = "lower" if side == "over" else "raise"
    remedies.append(f"{verb} it (`--set {path}={shown}`)")
    fit = {
        name: _limit(queue, f"max_{key}")
        for name, queue in site.queues.items()
        if name != request.queue and _holds(queue, request)
    }
    if fit:
        name = min(fit, key=lambda n: (fit[n] is None, fit[n] or 0))  # the tightest that holds it
        most = fit[name]
        room = "no limit" if most is None else _shown(key, most)
        remedies.append(f"use queue {name!r} ({room}; `--set {where}.resources.queue={name}`)")
    *first, last = remedies
    listed = f"{', '.join(first)}, or {last}" if first else last
    return (
        f"{where}.resources.{key}: {_shown(key, request.wanted(key))} is {side} queue "
        f"{request.queue!r}'s {shown}: {listed}"
    )


def _chain(request: Request, most_s: int) -> list[str]:
    """The remedy for a walltime that is too long, where the stage can go on from a checkpoint."""
    kind = KINDS.get(request.stage.kind)
    of_ours = kind is not None and kind.resumes and request.stage.kind != "command"
    if request.stage.chain or request.stage.array or not of_ours:
        return []
    train_s = max(1, most_s - max(1, min(NOTICE_S, most_s // 4)))  # as `chain.cut` counts it
    links = -(-request.resources.walltime_s // train_s)
    if links > MOST_LINKS:
        return []
    return [f"chain it (`--set {request.where}.chain.links={links}`)"]


def _holds(queue: Queue, request: Request, keys: Sequence[str] = _KEYS) -> bool:
    for key in keys:
        wanted = request.tasks if key == "queued" else request.wanted(key)
        most, fewest = _limit(queue, f"max_{key}"), _limit(queue, f"min_{key}")
        if (most is not None and wanted > most) or (fewest is not None and wanted < fewest):
            return False
    return True


def _limit(queue: Queue | None, key: str) -> int | None:
    return queue.limit(key) if queue is not None and hasattr(queue, key) else None


def _other(names: Sequence[str], where: str) -> str:
    if not names:
        return ""
    return f", or use queue {names[0]!r} (`--set {where}.resources.queue={names[0]}`)"


def _shown(key: str, value: int) -> str:
    """A value as one would write it into a study."""
    if key == "walltime":
        return validate.format_walltime(value)
    if key == "mem":
        units = {"GiB": 2**30, "GB": 10**9, "MiB": 2**20, "MB": 10**6}
        exact = [f"{value // size}{unit}" for unit, size in units.items() if value % size == 0]
        return exact[0] if exact else str(value)
    return str(value)


def parts(site: Site, queue: str, tasks: Sequence[int]) -> list[list[int]]:
    """The tasks of a submission in as few arrays as the site's limit on one allows, as equal in
    size as can be."""
    own = site.queues.get(queue)
    most = [most for most in (site.max_array, own.max_array if own else None) if most]
    count = -(-len(tasks) // min(most)) if most and site.scheduler != "local" else 1
    ends = [len(tasks) * part // count for part in range(count + 1)]
    return [list(tasks[first:last]) for first, last in itertools.pairwise(ends)]


def crowded(
    site: Site, work: Sequence[tuple[Job, Sequence[int]]], active: Mapping[str, int]
) -> str:
    """Why a submission as a whole is too much for what a user may have queued; empty where it is
    not. `active`: how many tasks of this run each queue holds already."""
    new: Counter[str] = Counter()
    for job, tasks in work:
        new[job.queue] += _jobs(job, tasks)
    rooms = {name: queue.max_queued for name, queue in site.queues.items()}
    for name, count in new.items():
        most = rooms.get(name)
        if most is not None and count + active.get(name, 0) > most:
            mine = [(job, tasks) for job, tasks in work if job.queue == name]
            held = f"the {most} jobs that queue {name!r} lets a user have"
            return _too_many(count, active.get(name, 0), most, held, mine)
    total, running = sum(new.values()), sum(active.values())
    if site.max_jobs is not None and total + running > site.max_jobs:
        held = f"the {site.max_jobs} jobs that site {site.site!r} lets a user have"
        return _too_many(total, running, site.max_jobs, held, work)
    return ""


def fitting(
    site: Site, work: Sequence[tuple[Job, Sequence[int]]], active: Mapping[str, int]
) -> list[tuple[Job, list[int]]]:
    """As much of a submission, from its start, as the user's limits leave room for now."""
    held = Counter(active)
    chosen: list[tuple[Job, list[int]]] = []
    for job, tasks in work:
        queue = site.queues.get(job.queue)
        rooms = [
            most - taken
            for most, taken in (
                (queue.max_queued if queue else None, held[job.queue]),
                (site.max_jobs, sum(held.values())),
            )
            if most is not None
        ]
        each = job.chain.links if job.chain else 1
        count = min([len(tasks), *(max(0, room) // each for room in rooms)])
        if count:
            chosen.append((job, list(tasks[:count])))
            held[job.queue] += count * each
        if count < len(tasks):
            break  # what comes after may need it
    return chosen


def limited(site: Site) -> bool:
    """Whether the site limits what a user may have queued."""
    queues = site.queues.values()
    return site.max_jobs is not None or any(q.max_queued is not None for q in queues)


def _jobs(job: Job, tasks: Sequence[int]) -> int:
    """How many jobs a submission is to the scheduler: each task, each link of a chain."""
    return len(tasks) * (job.chain.links if job.chain else 1)


def _too_many(
    count: int, active: int, most: int, held: str, work: Sequence[tuple[Job, Sequence[int]]]
) -> str:
    room, fit = most - active, list[str]()
    for job, tasks in work:
        if (room := room - _jobs(job, tasks)) < 0:
            break
        fit.append(job.name)
    room_now = f"There is room for {', '.join(fit)} now" if fit else "Wait until some have ended"
    return (
        f"{count} jobs to submit and {active} of this run in the queue are over {held}, which "
        f"counts each task and each link. {room_now}: submit in parts, by stage and --variant "
        "(a throttle does not help: it limits what runs, not what waits)"
    )
