"""The manifest: one readable YAML file with the state of a study's run.

It is replaced whole, under a lock, so that it is never half written and no command loses what
another one wrote. Each attempt's intent also stands beside its script in `attempts/`, so that
`pipeline repair` can rebuild the manifest.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from pipeline import lock, yamlio
from pipeline.errors import ConfigError, Damaged, StateError
from pipeline.ranges import MOST, from_ranges, to_ranges
from pipeline.states import State

# What is new in the file has a default, so that older files are read as they are. The number goes
# up only where something that was there changes its meaning; `read` then brings older files up.
VERSION = 1
_WORD = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._\[\]@-]*)?")  # an id or a token: never an option
REMEDY = "Mend it by hand, or run `pipeline repair` to rebuild it from receipts and scheduler"


class Attempt(msgspec.Struct):
    """One submission of some of a job's tasks.

    `state`: `submitting` until the scheduler's answer is on disk, then `submitted`; `abandoned`
    where it turned out that nothing was queued; `cancelled` by `pipeline cancel`.
    """

    attempt: int
    token: str
    tasks: str
    script: str
    digest: str
    time: str
    state: Literal["submitting", "submitted", "abandoned", "cancelled"] = "submitting"
    id: str = ""
    note: str = ""
    link: int = 0  # 1, 2, ... of a chain; 0: it is none
    chain: int = 0  # the chain that it belongs to, by the number of its first attempt
    patch: list[str] = msgspec.field(default_factory=list)  # `--set`s of `resubmit --apply`
    gone: dict[str, str] = msgspec.field(default_factory=dict)  # departure -> tasks, see `track`
    before: list[str] = msgspec.field(default_factory=list)  # ids of runs by hand that came earlier

    def indices(self) -> dict[int, int]:
        """Task -> the scheduler's index: 1 ... k, dense; 0 for a plain job's only task."""
        numbers = from_ranges(self.tasks)
        return {task: 0 if len(numbers) == 1 else i for i, task in enumerate(numbers, 1)}


class Entry(msgspec.Struct):
    """A job: its attempts, and its tasks' states as they were last seen."""

    stage: str
    arm: str
    tasks: int
    states: dict[State, str] = msgspec.field(default_factory=dict)
    attempts: list[Attempt] = msgspec.field(default_factory=list)

    def live(self) -> list[Attempt]:
        """The attempts that reached, or may have reached, the scheduler."""
        return [a for a in self.attempts if a.state != "abandoned"]

    def last_attempts(self) -> dict[int, Attempt]:
        """Task -> the newest attempt that holds it."""
        newest: dict[int, Attempt] = {}
        for attempt in self.live():
            newest.update(dict.fromkeys(from_ranges(attempt.tasks), attempt))
        return newest

    def chain(self) -> list[Attempt]:
        """The links of the newest chain, in order; empty where the newest attempt is none."""
        live = self.live()
        number = live[-1].chain if live else 0
        return [a for a in live if number and a.chain == number]

    def patch(self) -> tuple[str, ...]:
        """What the newest attempt changed; it holds for the next one too."""
        live = self.live()
        return tuple(live[-1].patch) if live else ()

    def set_states(self, states: dict[int, State]) -> bool:
        """Takes over tasks' states; whether that changed anything."""
        groups: dict[State, list[int]] = {}
        for task, state in states.items():
            groups.setdefault(state, []).append(task)
        text = {state: to_ranges(groups[state]) for state in State if state in groups}
        changed = text != self.states
        self.states = text
        return changed


class Intent(msgspec.Struct, frozen=True):
    """An attempt as it was about to be submitted, and the job it belongs to."""

    site: str
    job: str
    stage: str
    arm: str
    tasks: int  # the job's, all of them
    attempt: Attempt


class Manifest(msgspec.Struct):
    """The state of one run of a study."""

    study: str
    site: str
    scheduler: str
    profiles: list[str] = msgspec.field(default_factory=list)
    jobs: dict[str, Entry] = msgspec.field(default_factory=dict)
    revision: str = ""  # the name of these profiles in the study's `revisions`
    version: int = VERSION


def now() -> str:
    """The time as the manifest writes it, UTC to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def seconds(time_text: str) -> float:
    """Seconds since the epoch of a time that `now` wrote."""
    try:
        return datetime.fromisoformat(time_text).timestamp()
    except OverflowError as error:
        raise ValueError(f"{time_text!r} is no time: {error}") from None


class Store:
    """A run's state directory: the manifest, its lock, the attempts' frozen scripts."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.path = state_dir / "manifest.yaml"
        self.lock_fd: int | None = None

    def read(self) -> Manifest | None:
        """The manifest, None where there is none. Raises StateError that names the remedy."""
        if not self.path.exists():
            if next((self.state_dir / "attempts").glob("*.json"), None):
                raise Damaged(
                    f"{self.path}: is gone, but jobs were submitted: attempts/ beside it says so. "
                    "Run `pipeline repair` to rebuild it"
                )
            return None
        try:
            raw = yamlio.load(self.path)
        except ConfigError as error:
            raise Damaged(f"{error}. {REMEDY}") from None
        version = raw.get("version")
        if not isinstance(version, int) or version < 1:
            raise Damaged(f"{self.path}: its version is {version!r}, which none ever had. {REMEDY}")
        if version > VERSION:
            raise StateError(
                f"{self.path}: written by a newer pipeline (version {version}, this one writes "
                f"{VERSION}). Upgrade pipeline"
            )
        try:
            return _decode(raw)
        except (ValueError, msgspec.ValidationError) as error:
            raise Damaged(f"{self.path}: {error}. {REMEDY}") from None

    def write(self, manifest: Manifest) -> None:
        """Replaces the manifest. Only inside `locked`."""
        if self.lock_fd is None:
            raise RuntimeError("the manifest is written under its lock only")
        yamlio.write_atomic(self.path, HEADER + yamlio.dump(_encode(manifest)))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run's lock; waits for another command, says which when that takes too long.

        A scheduler command that runs under the lock inherits its descriptor (`lock_fd`): when this
        process is killed, the lock stays held until that command has ended too, so that nobody
        looks for a job that is just being queued.
        """
        with lock.held(self.state_dir / ".lock") as handle:
            self.lock_fd = handle
            try:
                yield
            finally:
                self.lock_fd = None

    def writable(self) -> bool:
        """Whether this user may change the run; another user's commands may only look at it."""
        path = self.state_dir / ".lock"
        return not path.exists() or os.access(path, os.W_OK)

    def write_intent(self, intent: Intent, script: str) -> None:
        """Freezes an attempt's script and intent, before anything is submitted."""
        path = self.state_dir / intent.attempt.script
        yamlio.write_atomic(path, script, mode=0o755)
        yamlio.write_atomic(path.with_suffix(".json"), msgspec.json.encode(intent) + b"\n")

    def intents(self, lacking: Manifest | None = None) -> list[Intent]:
        """Every attempt's intent, or those that a manifest lacks, oldest first; files that were
        cut off are passed over."""
        entries = lacking.jobs.values() if lacking else ()
        listed = {Path(a.script).stem for entry in entries for a in entry.attempts}
        found = []
        for path in sorted((self.state_dir / "attempts").glob("*.json")):
            if path.stem in listed:
                continue
            try:
                intent = msgspec.json.decode(path.read_bytes(), type=Intent)
                _check_job(intent.job, intent.tasks)
                _check(intent.attempt)
            except (ValueError, RecursionError, msgspec.MsgspecError):
                continue
            found.append(intent)
        return sorted(found, key=lambda intent: seconds(intent.attempt.time))


HEADER = "# Written by pipeline; `pipeline status` reads it, `pipeline repair` rebuilds it.\n"


_REQUIRED = {field.name for field in msgspec.structs.fields(Attempt) if field.required}


def _encode(manifest: Manifest) -> dict[str, Any]:
    """Plain values, without what is empty: most attempts have no note and nothing gone."""
    raw: dict[str, Any] = msgspec.to_builtins(manifest)
    for entry in raw["jobs"].values():
        entry["attempts"] = [
            {k: v for k, v in a.items() if v or k in _REQUIRED} for a in entry["attempts"]
        ]
    version, jobs = raw.pop("version"), raw.pop("jobs")
    top = {key: value for key, value in raw.items() if value or key != "revision"}
    return {"version": version, **top, "jobs": jobs}


def _decode(raw: dict[str, Any]) -> Manifest:
    manifest = msgspec.convert(raw, Manifest)
    for name, entry in manifest.jobs.items():
        try:
            _check_job(name, entry.tasks)
            for text in entry.states.values():
                from_ranges(text)
            for attempt in entry.attempts:
                _check(attempt)
        except ValueError as error:
            raise ValueError(f"jobs.{name}: {error}") from None
    return manifest


def _check_job(name: str, tasks: int) -> None:
    if "/" in name or name in ("", ".", "..") or not 0 <= tasks <= MOST:
        raise ValueError(f"no job is called {name!r} and has {tasks} tasks")


def _check(attempt: Attempt) -> None:
    """Raises ValueError where what stands in an attempt as text cannot be read."""
    for text in (attempt.tasks, *attempt.gone.values()):
        from_ranges(text)
    for field in ("id", "token"):  # they become words of the scheduler's commands
        if not _WORD.fullmatch(getattr(attempt, field)):
            raise ValueError(f"{field} {getattr(attempt, field)!r} is none that a scheduler gives")
    if attempt.script.startswith("/") or ".." in attempt.script.split("/"):
        raise ValueError(f"script {attempt.script!r} leaves the run's folder")
    for item in attempt.patch:
        if "=" not in item:
            raise ValueError(f"patch {item!r} is no key=value")
    for time_text in (attempt.time, *attempt.gone):
        seconds(time_text.partition(" ")[0])


__all__ = ["Attempt", "Entry", "Intent", "Manifest", "Store", "now", "seconds"]
