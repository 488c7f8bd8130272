"""Room: free bytes and inodes and quotas, against what the jobs will write."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from pipeline import space
from pipeline.doctor.check import Check, Facts, Question, Scope, Status, jobs_text, number, shell
from pipeline.job import Job, host_path

SECTION = "disk"
LEAST_TMP = 10**9  # bytes; compilers and sort files of one job
LEAST_FREE = 10**9  # of any file system that is written to
LEAST_INODES = 10_000
# What a job writes that nobody computed: logs, receipts, tables.
_INODES_A_TASK = 12

# A line a path: file system, bytes and inodes free, type, mount point, of the nearest folder that
# exists; then the quotas of that place where it is a Lustre.
_FREE = """
for p; do
  while [ ! -e "$p" ] && [ "$p" != / ]; do p=${p%/*}; p=${p:-/}; done
  bytes=$(df -Pk -- "$p" 2>/dev/null | tail -n 1)
  inodes=$(df -Pi -- "$p" 2>/dev/null | tail -n 1 | awk '{print $(NF-2)}')
  type=$(stat -f -c %T -- "$p" 2>/dev/null)
  printf 'free|%s|%s|%s\\n' "$type" "$inodes" "$bytes"
  if [ "$type" = lustre ]; then
    lfs quota -q -u "$(id -un)" "$p" 2>/dev/null | tr '\\n' ' ' | sed 's/^/lustre|/'; echo
  fi
done
exit 0
"""
_QUOTA = "quota -w -p 2>/dev/null || quota -w 2>/dev/null; exit 0"
# A line a path: its size in bytes, or - where it is not there.
_SIZES = """for p; do stat -L -c %s -- "$p" 2>/dev/null || echo -; done"""


# File system, KiB in all, used, free, share, mount point; the first and the last may hold spaces.
_ROW = re.compile(r"(.*?)\s+\d{1,18}\s+\d{1,18}\s+(-?\d{1,18})\s+(?:\d{1,3}%|-)\s+(/.*)$", re.ASCII)


class Free(msgspec.Struct, frozen=True):
    """What `df` says of a place."""

    device: str
    mount: str
    kind: str
    bytes: int
    inodes: int  # -1: the file system counts none


class Quota(msgspec.Struct, frozen=True):
    """What is left of a quota, in bytes and in files; -1: unlimited."""

    device: str
    bytes: int
    files: int


def questions(scope: Scope) -> Iterator[Question]:
    """Free space of the folders, quotas, and the sizes of what is there already."""
    yield Question("free", shell(_FREE, *_folders(scope).values()))
    yield Question("quota", shell(_QUOTA))
    yield Question("sizes", shell(_SIZES, *_outputs(scope)))


def checks(scope: Scope, facts: Facts) -> Iterator[Check]:
    """A check a file system, its quota, then /tmp."""
    free, lustre = parse_free(facts.text("free"))
    places = dict(zip(_folders(scope), free, strict=False))
    quotas = [*parse_quota(facts.text("quota")), *lustre]
    tmp = places.pop("tmp", None)
    needs, unknown = _needs(scope, facts)
    mounts: dict[str, list[str]] = {}
    for folder, place in places.items():
        mounts.setdefault(place.mount, []).append(folder)
    for mount, folders in mounts.items():
        place = places[folders[0]]
        need = sum(needs.get(folder, 0) for folder in folders)
        yield _room(scope, place, mount, need, unknown if "project" in folders else ())
        yield _inodes(scope, place, mount)
        own = [
            q for q in quotas
            if q.device in (place.device, mount) or (mount != "/" and q.device.startswith(mount))
        ]  # fmt: skip
        yield from _quotas(own, mount, need)
    if tmp is not None:
        short = tmp.bytes < LEAST_TMP
        yield Check(
            SECTION, "room for temporary files", "warn" if short else "ok",
            f"{_size(tmp.bytes)} free on the host asked",
            "Free some, or set TMPDIR; compute nodes have their own" if short else "",
        )  # fmt: skip


def parse_free(text: str) -> tuple[list[Free], list[Quota]]:
    """Answer to _FREE. A mount point may hold spaces: `df -P` puts it last."""
    found, quotas = [], []
    for line in text.splitlines():
        if line.startswith("lustre|"):
            quotas += parse_quota(line.removeprefix("lustre|").strip())
            continue
        word, _, rest = line.partition("|")
        kind, _, rest = rest.partition("|")
        inodes, _, row = rest.partition("|")
        match = _ROW.match(row)
        if word == "free" and match:
            left = number(inodes) or -1  # some count none and say 0
            found.append(Free(match[1], match[3], kind, max(0, int(match[2])) * 1024, left))
    return found, quotas


def parse_quota(text: str) -> list[Quota]:
    """`quota -w [-p]` or `lfs quota -q`: file system, KiB, soft, hard, [grace], files, soft, hard.

    Over a limit a number carries `*` and a grace follows; otherwise the grace may be left out,
    `0` or `-`. A soft limit counts like a hard one: it becomes one while jobs wait.
    """
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 7 or not re.fullmatch(r"\d{1,18}\*?", words[1], re.ASCII):
            continue
        rest = words[4:]
        if len(rest) >= 4 and (len(rest) > 4 or not _number(rest[0]) or "*" in words[1]):
            rest = rest[1:]  # the grace
        found.append(Quota(words[0], _left(words[1:4], 1024), _left(rest[:3], 1)))
    return found


def _left(words: list[str], unit: int) -> int:
    """What is left under the smaller limit; -1 where there is none."""
    used, *limits = (int(word.strip("*[]")) if _number(word) else 0 for word in words)
    set_limits = [limit for limit in limits if limit]
    return max(0, min(set_limits) - used) * unit if set_limits else -1


def _number(word: str) -> bool:
    return bool(re.fullmatch(r"\[?\d{1,18}\]?\*?", word, re.ASCII))


def _folders(scope: Scope) -> dict[str, str]:
    job = scope.jobs[0]
    return {
        "project": job.project_dir,
        "logs": scope.path(job.site_log_dir),
        "tmp": "/tmp",  # noqa: S108  # asked for its room
    }


def _outputs(scope: Scope) -> list[str]:
    """Outputs of the jobs, the last task's for an array, and the corpora that sizes follow from."""
    found = []
    for job in scope.jobs:
        found += [_path(scope, job, out) for out in job.outputs]
    for job in scope.plan.jobs:
        found += [_path(scope, job, path) for path in space.corpora(job)]
    return list(dict.fromkeys(found))


def _path(scope: Scope, job: Job, path: str) -> str:
    path = path.replace("{task4}", f"{job.tasks:04d}").replace("{task}", str(job.tasks))
    return scope.path(host_path(job, path))


def _needs(scope: Scope, facts: Facts) -> tuple[dict[str, int], tuple[str, ...]]:
    """Bytes that the jobs will write, by folder, and the jobs of which nobody can tell."""
    lines = facts.text("sizes").splitlines()
    told = zip(_outputs(scope), map(number, lines), strict=False)
    sizes = {path: size for path, size in told if size >= 0}
    needs: dict[str, int] = {}
    unknown = []
    for job in scope.jobs:
        outputs = [_path(scope, job, path) for path in job.outputs]
        if outputs and all(path in sizes for path in outputs):
            continue  # it is done
        corpus = [sizes.get(_path(scope, job, path)) for path in space.corpora(job)]
        size = space.written(job, next((s for s in corpus if s), None))
        if size is None:
            unknown.append(job.name)
        else:
            folder = "logs" if job.trains or job.kind == "export" else "project"
            needs[folder] = needs.get(folder, 0) + size
    return needs, tuple(unknown)


def _room(scope: Scope, place: Free, mount: str, need: int, unknown: tuple[str, ...]) -> Check:
    wanted = f"{_size(need)} to be written"
    if unknown:
        wanted += (
            f", and that of {jobs_text(unknown)}, which is not known before its input is there"
        )
    status: Status = (
        "fail" if place.bytes < need else "warn" if place.bytes < need + LEAST_FREE else "ok"
    )
    return Check(
        SECTION, f"room on {mount}", status, f"{_size(place.bytes)} free; {wanted}",
        "" if status == "ok" else "Free some, or put project_dir or log_dir on another file system",
        _writers(scope),
    )  # fmt: skip


def _writers(scope: Scope) -> tuple[str, ...]:
    kinds = ("download", "split", "preprocess", "merge", "export")
    return tuple(job.name for job in scope.jobs if job.kind in kinds or job.trains or job.disk)


def _inodes(scope: Scope, place: Free, mount: str) -> Check:
    need = LEAST_INODES + _INODES_A_TASK * sum(job.tasks for job in scope.jobs)
    short = 0 <= place.inodes < need
    told = f"{place.inodes:,} files can be made" if place.inodes >= 0 else "no limit of files"
    return Check(
        SECTION, f"inodes on {mount}", "fail" if short else "ok", told,
        "Delete files: there are too many small ones" if short else "",
    )  # fmt: skip


def _quotas(quotas: list[Quota], mount: str, need: int) -> Iterator[Check]:
    for quota in quotas:
        short = 0 <= quota.bytes < need + LEAST_FREE
        few = 0 <= quota.files < LEAST_INODES
        left = "no limit of bytes" if quota.bytes < 0 else f"{_size(quota.bytes)} left"
        files = "no limit of files" if quota.files < 0 else f"{quota.files:,} files left"
        yield Check(
            SECTION, f"quota on {mount}", "fail" if short or few else "ok", f"{left}, {files}",
            "Delete something, ask for more, or use another file system" if short or few else "",
        )  # fmt: skip


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 10**9 else f"{size / 1e6:.0f} MB"
