"""The manifest: one readable YAML file with the state of a study's run.

It is replaced whole, under a lock, so that it is never half written and no command loses what
another one wrote. Each attempt's intent also stands beside its script in `attempts/`, so that
`pipeline repair` can rebuild the manifest.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from pipeline import yamlio
from pipeline.errors import ConfigError, Damaged, StateError
from pipeline.ranges import from_ranges, to_ranges
from pipeline.states import State

VERSION = 1
LOCK_TIMEOUT_S = 120
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
    patch: list[str] = msgspec.field(default_factory=list)  # `--set`s of `resubmit --apply`
    gone: dict[str, str] = msgspec.field(default_factory=dict)  # time -> tasks that left the queue

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
    version: int = VERSION


def now() -> str:
    """The time as the manifest writes it, UTC to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def seconds(time_text: str) -> float:
    """Seconds since the epoch of a time that `now` wrote."""
    return datetime.fromisoformat(time_text).timestamp()


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
        if isinstance(version, int) and version > VERSION:
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
        with _refusing(self.state_dir):
            self.state_dir.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.state_dir / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._wait_for(handle)
            self.lock_fd = handle
            yield
        finally:
            self.lock_fd = None
            os.close(handle)

    def _wait_for(self, handle: int) -> None:
        give_up = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise StateError(
                        f"{self.state_dir}/.lock: another pipeline command has held it for "
                        f"{LOCK_TIMEOUT_S} s. Wait for it, or end it, and run this again"
                    ) from None
                time.sleep(0.05)
            except OSError as error:
                raise StateError(
                    f"{self.state_dir}/.lock: cannot be locked: {error.strerror}. "
                    "Keep the run's state on a file system that knows flock"
                ) from None

    def write_intent(self, intent: Intent, script: str) -> None:
        """Freezes an attempt's script and intent, before anything is submitted."""
        path = self.state_dir / intent.attempt.script
        yamlio.write_atomic(path, script, mode=0o755)
        yamlio.write_atomic(path.with_suffix(".json"), msgspec.json.encode(intent) + b"\n")

    def intents(self) -> list[Intent]:
        """Every attempt's intent, oldest first; files that were cut off are passed over."""
        found = []
        for path in sorted((self.state_dir / "attempts").glob("*.json")):
            try:
                intent = msgspec.json.decode(path.read_bytes(), type=Intent)
                _check(intent.attempt)
            except (ValueError, msgspec.MsgspecError):
                continue
            found.append(intent)
        return sorted(found, key=lambda intent: seconds(intent.attempt.time))


HEADER = "# Written by pipeline; `pipeline status` reads it, `pipeline repair` rebuilds it.\n"


def _encode(manifest: Manifest) -> dict[str, Any]:
    """Plain values, without what is empty: most attempts have no note and nothing gone."""
    raw: dict[str, Any] = msgspec.to_builtins(manifest)
    for entry in raw["jobs"].values():
        entry["attempts"] = [{k: v for k, v in a.items() if v} for a in entry["attempts"]]
    return {"version": raw.pop("version"), **raw}


def _decode(raw: dict[str, Any]) -> Manifest:
    manifest = msgspec.convert(raw, Manifest)
    for name, entry in manifest.jobs.items():
        try:
            for text in entry.states.values():
                from_ranges(text)
            for attempt in entry.attempts:
                _check(attempt)
        except ValueError as error:
            raise ValueError(f"jobs.{name}: {error}") from None
    return manifest


def _check(attempt: Attempt) -> None:
    """Raises ValueError where what stands in an attempt as text cannot be read."""
    for text in (attempt.tasks, *attempt.gone.values()):
        from_ranges(text)
    for time_text in (attempt.time, *attempt.gone):
        seconds(time_text)


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(
            f"{path}: cannot be written: {error.strerror}. Free space or fix its permissions"
        ) from None


__all__ = ["Attempt", "Entry", "Intent", "Manifest", "Store", "now", "seconds"]
