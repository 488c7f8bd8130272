"""Long work over documents in parts: by several processes, resumed where it was killed, joined.

A part is a .npz file that a worker writes whole. Joined, the parts are .npy files, to be mapped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from corpus.files import atomic
from corpus.progress import Progress

PART = 4096  # documents that a killed run loses at most, a worker


class Job(Protocol):
    """What a worker is given. It can be pickled."""

    @property
    def target(self) -> Path:
        """The part's file."""
        ...

    @property
    def size(self) -> int:
        """How many documents it is about."""
        ...


J = TypeVar("J", bound=Job)


def ranges(documents: int) -> Iterator[tuple[int, int]]:
    """First and last + 1 of the documents of each part."""
    for first in range(0, documents, PART):
        yield first, min(first + PART, documents)


def work(jobs: Sequence[J], do: Callable[[J], None], workers: int, label: str) -> None:
    """Do the jobs whose part is not there yet. `do` is a function of a module, so that processes
    may be started in any way; what it raises is raised here."""
    waiting = [job for job in jobs if not job.target.exists()]
    total, left = sum(job.size for job in jobs), sum(job.size for job in waiting)
    done = total - left
    progress = Progress(total, "documents", label, done)
    if workers < 2 or len(waiting) < 2:
        for job in waiting:
            do(job)
            progress.update(done := done + job.size)
    else:
        # Not forked: that is no longer the default everywhere, and threads may be running here.
        with ProcessPoolExecutor(min(workers, len(waiting)), get_context("spawn")) as pool:
            for job, _ in zip(waiting, pool.map(do, waiting), strict=True):
                progress.update(done := done + job.size)
    progress.finish(total)


def write_part(target: Path, counts: Counter[str], **arrays: NDArray[Any]) -> None:
    """A part with its arrays and counts."""
    told = np.frombuffer(json.dumps(counts).encode(), np.uint8)
    with atomic(target) as stream:
        np.savez(stream, _counts=told, **arrays)  # type: ignore[arg-type]


def counted(jobs: Sequence[Job]) -> Counter[str]:
    """The counts of all parts, added up."""
    counts: Counter[str] = Counter()
    for job in jobs:
        with np.load(job.target) as part:
            counts.update(json.loads(part["_counts"].tobytes()))
    return counts


def join(jobs: Sequence[Job], name: str, path: Path) -> int:
    """Write the array `name` of all parts, one behind the other, as `path`; its length."""
    shape, dtype = _shape(jobs, name)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with atomic(path) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for job in jobs:
            with np.load(job.target) as part:
                stream.write(part[name].tobytes())
    return shape[0]


def join_sizes(jobs: Sequence[Job], name: str, path: Path) -> int:
    """Write where each thing begins whose size the array `name` of the parts holds, and the end of
    the last one; how many there are."""
    sizes = []
    for job in jobs:
        with np.load(job.target) as part:
            sizes.append(part[name])
    ends = np.cumsum(np.concatenate([np.zeros(1, np.int64), *sizes]))
    with atomic(path) as stream:
        np.save(stream, ends)
    return len(ends) - 1


def clear(jobs: Sequence[Job]) -> None:
    """Remove the parts and their folder."""
    for job in jobs:
        job.target.unlink()
    jobs[0].target.parent.rmdir()


def _shape(jobs: Sequence[Job], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    total, rest, dtype = 0, (), np.dtype("u1")
    for job in jobs:
        with np.load(job.target) as part:
            total += len(part[name])
            rest, dtype = part[name].shape[1:], part[name].dtype
    return (total, *rest), dtype
