"""When a plan's jobs run: one after the other, side by side, on so many GPUs. Hours in pairs, by
the least and by the most that the study gives each job."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Literal, get_args

import msgspec

from pipeline.errors import ConfigError
from pipeline.job import Job

Span = tuple[float, float]
Order = Literal["plan", "longest"]
ORDERS: tuple[str, ...] = get_args(Order)


class Slot(msgspec.Struct, frozen=True):
    """A job's place in a schedule, in hours from its start; GPUs count from 1."""

    job: str
    gpus: tuple[int, ...]
    start: float
    end: float


def total(jobs: Sequence[Job]) -> Span:
    """Hours of all jobs one after the other."""
    return round(sum(job.hours[0] for job in jobs), 2), round(sum(job.hours[1] for job in jobs), 2)


def stage_after_stage(jobs: Sequence[Job]) -> Span:
    """Hours when a stage starts after the one before it: jobs with GPUs share one set of them and
    follow each other, others run side by side."""
    low = high = 0.0
    for stage in dict.fromkeys(job.stage for job in jobs):
        own = [job for job in jobs if job.stage == stage]
        gather = sum if own[0].resources.gpus else max
        low += gather(job.hours[0] for job in own)
        high += gather(job.hours[1] for job in own)
    return low, high


def critical_path(jobs: Sequence[Job]) -> Span:
    """Hours of the longest chain of dependent jobs."""
    ends: dict[str, Span] = {}
    for job in jobs:
        before = [ends.get(u.job, (0.0, 0.0)) for u in job.upstream]
        low = max((b[0] for b in before), default=0.0) + job.hours[0]
        high = max((b[1] for b in before), default=0.0) + job.hours[1]
        ends[job.name] = (low, high)
    return (
        max((end[0] for end in ends.values()), default=0.0),
        max((end[1] for end in ends.values()), default=0.0),
    )


def makespans(
    jobs: Sequence[Job], gpus: Sequence[int] = (), order: Order = "plan"
) -> dict[int, Span]:
    """GPUs -> hours with so many; unless others are named, those of the largest job, twice and
    four times as many. Empty where no job has a GPU."""
    most = max((gpus_of(job) for job in jobs), default=0)
    wanted = gpus or [most * times for times in (1, 2, 4)]
    if not most:
        return {}
    return {n: (_last(jobs, n, 0, order), _last(jobs, n, 1, order)) for n in wanted}


def _last(jobs: Sequence[Job], gpus: int, end: int, order: Order) -> float:
    slots = schedule(jobs, gpus, end, order)
    return round(max((slot.end for slot in slots), default=0.0), 2)


def schedule(jobs: Sequence[Job], gpus: int, end: int, order: Order = "plan") -> list[Slot]:
    """Each job's slot, in the order of their starts, where each starts as soon as those it needs
    have ended and GPUs are free; jobs without GPUs wait for no one else. An array counts as one
    job, on the GPUs of one of its tasks. `end`: 0 for the least hours, 1 for the most.

    Among jobs that might start the first of the plan goes first, or with `longest` the one with the
    longest way before it, its own hours and those of the jobs that wait for it (list scheduling,
    Graham 1969). Raises ConfigError where a job needs more GPUs than there are.
    """
    if large := next((job for job in jobs if gpus_of(job) > gpus), None):
        raise ConfigError(
            [f"{large.name} needs {gpus_of(large)} GPUs, more than {gpus}. Give --gpus "
             f"{max(map(gpus_of, jobs))} or more"]
        )  # fmt: skip
    known = {job.name: number for number, job in enumerate(jobs)}
    waits = [{known[u.job] for u in job.upstream if u.job in known} for job in jobs]
    after: list[list[int]] = [[] for _ in jobs]
    for number, before in enumerate(waits):
        for one in before:
            after[one].append(number)
    rank = _ranks(jobs, after, end, order)
    ready = _Ready(rank, [gpus_of(job) for job in jobs])
    for number, before in enumerate(waits):
        if not before:
            ready.add(number)
    free = list(range(1, gpus + 1))
    running: list[tuple[float, int, tuple[int, ...]]] = []  # when a job ends, which, on what
    slots, now = [], 0.0
    while True:
        while (first := ready.take(len(free))) is not None:
            number = first
            own = tuple(heapq.heappop(free) for _ in range(gpus_of(jobs[number])))
            until = now + jobs[number].hours[end]
            slots.append(Slot(jobs[number].name, own, now, until))
            heapq.heappush(running, (until, number, own))
        if not running:
            return slots
        now, number, own = heapq.heappop(running)
        for gpu in own:
            heapq.heappush(free, gpu)
        for other in after[number]:
            waits[other].discard(number)
            if not waits[other]:
                ready.add(other)


class _Ready:
    """Jobs that may start, by the GPUs that they need and in order of rank."""

    def __init__(self, rank: Sequence[tuple[float, int]], demand: Sequence[int]) -> None:
        self.rank, self.demand = rank, demand
        self.heaps: dict[int, list[tuple[float, int]]] = {}

    def add(self, number: int) -> None:
        heapq.heappush(self.heaps.setdefault(self.demand[number], []), self.rank[number])

    def take(self, free: int) -> int | None:
        """The first that so many GPUs hold."""
        fitting = [heap for demand, heap in self.heaps.items() if heap and demand <= free]
        return heapq.heappop(min(fitting))[1] if fitting else None


def _ranks(
    jobs: Sequence[Job], after: Sequence[Sequence[int]], end: int, order: Order
) -> list[tuple[float, int]]:
    """What goes first, smallest first; ties by the plan's order."""
    way = [0.0] * len(jobs)
    for number in reversed(range(len(jobs))):  # a plan has every job behind those it needs
        rest = max((way[other] for other in after[number]), default=0.0)
        way[number] = jobs[number].hours[end] + rest
    return [(-way[n] if order == "longest" else 0.0, n) for n in range(len(jobs))]


def gpus_of(job: Job) -> int:
    """All that a task holds, over its nodes."""
    return job.resources.gpus * job.resources.nodes
