"""What a job tells a training program and what the program answers: docs/payloads.md.

Standard library and pyyaml only: NeMo's environment pins old versions of everything else.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

import yaml

Value = TypeVar("Value", int, float, str, bool)

_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


class Exit(IntEnum):
    """Exit codes with a meaning; any other one is a plain failure."""

    OK = 0
    FAILED = 1
    BAD_INPUT = 65
    DIVERGED = 70
    OUT_OF_MEMORY = 71
    PREEMPTED = 75


class ProgramError(Exception):
    """A failure with its exit code, told to the user as `<fact>. <remedy>`."""

    told = False  # another process of the same run tells it

    def __init__(self, code: Exit, fact: str, remedy: str) -> None:
        super().__init__(f"{fact}. {remedy}")
        self.code = code
        self.parts = (fact, remedy)


class BadInput(ProgramError):
    """A file or a value that is missing, corrupt or of the wrong kind."""

    def __init__(self, fact: str, remedy: str) -> None:
        super().__init__(Exit.BAD_INPUT, fact, remedy)


REMEDIES = {  # for what is no mistake of a program
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Make room"),
    **dict.fromkeys((errno.EACCES, errno.EROFS), "Mend the permissions"),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR), "Correct the path"),
    **dict.fromkeys((errno.EIO, errno.ESTALE), "Look at the file system"),
}


def run_program(main: Callable[[list[str]], Exit], argv: list[str]) -> int:
    """Call `main` and turn what it raises into the exit code and one line on stderr."""
    try:
        return int(main(argv))
    except ProgramError as error:
        if not error.told:
            print(f"error: {error}", file=sys.stderr)
        return int(error.code)
    except MemoryError:
        print("error: memory ran out. Ask for more, or halve batch.micro", file=sys.stderr)
        return int(Exit.OUT_OF_MEMORY)
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        print(f"error: {error}. {REMEDIES[error.errno]}, then run again", file=sys.stderr)
        return int(Exit.FAILED)


# ---- the configuration ------------------------------------------------------------------------


class ConfigLoader(yaml.SafeLoader):
    """The safe loader, except that `1e-4` is a float, which YAML 1.1 reads as text."""


ConfigLoader.yaml_implicit_resolvers = dict(yaml.SafeLoader.yaml_implicit_resolvers)
ConfigLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


class Section:
    """A configuration with typed access; it collects every problem, so that one run tells all.

    A key is dotted from the top: `parameters.batch.global`.
    """

    def __init__(self, values: Mapping[str, Any], source: Path) -> None:
        self.values = values
        self.source = source
        self.problems: list[str] = []

    def has(self, key: str) -> bool:
        """Whether the key is there with a value other than null."""
        return self._find(key) is not None

    def get(self, key: str, kind: type[Value], default: Value | None = None) -> Value:
        """The value at `key`, else the default, else the kind's zero and a problem noted."""
        found = self._find(key)
        if found is None:
            if default is not None:
                return default
            self.problems.append(f"{key} is missing")
        elif kind is float and isinstance(found, int) and not isinstance(found, bool):
            return kind(found)
        elif isinstance(found, kind) and (kind is bool or not isinstance(found, bool)):
            return found
        else:
            self.problems.append(f"{key} is {found!r}, not {_NAMES[kind]}")
        return kind()

    def mapping(self, key: str) -> dict[str, Any]:
        """What stands under `key`; empty where nothing does, or no mapping, which is noted."""
        found = self._find(key)
        if found is None or isinstance(found, dict):
            return found or {}
        self.problems.append(f"{key} is {found!r}, not a mapping")
        return {}

    def positive(self, key: str, default: int | None = None) -> int:
        """A whole number of at least 1."""
        number = self.get(key, int, default)
        if number < 1:
            self._note(f"{key} is {number}, not a whole number of at least 1", key)
            return 1
        return number

    def choice(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """One of a closed set of words."""
        word = self.get(key, str, default)
        if word not in allowed:
            self._note(f"{key} is {word!r}, not one of {', '.join(allowed)}", key)
        return word

    def numbers(self, key: str, count: int, default: tuple[float, ...]) -> tuple[float, ...]:
        """A list of exactly `count` numbers."""
        found = self._find(key)
        if found is None:
            return default
        if (
            isinstance(found, list)
            and len(found) == count
            and all(isinstance(n, int | float) and not isinstance(n, bool) for n in found)
        ):
            return tuple(float(n) for n in found)
        self.problems.append(f"{key} is {found!r}, not a list of {count} numbers")
        return default

    def steps(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers of at least 1; nothing there is an empty one."""
        found = self._find(key) or []
        if isinstance(found, list) and all(
            isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in found
        ):
            return tuple(found)
        self.problems.append(f"{key} is {found!r}, not a list of whole numbers of at least 1")
        return ()

    def subkeys(self, key: str, allowed: Iterable[str]) -> None:
        """Note what is under `key` beside `allowed`, and a value that is no mapping."""
        found = self._find(key)
        if found is not None and not isinstance(found, Mapping):
            self.problems.append(f"{key} is {found!r}, not a mapping")
            return
        known = tuple(allowed)
        for name in found or ():
            self.check(name in known, f"{key}.{name} is unknown; there are {', '.join(known)}")

    def check(self, holds: bool, problem: str) -> None:
        """Note a problem unless something holds."""
        if not holds:
            self.problems.append(problem)

    def raise_problems(self) -> None:
        """Raise what was found wrong, all of it in one line."""
        if self.problems:
            raise BadInput(
                f"{self.source}: {'; '.join(self.problems)}",
                "Correct the study's parameters and render again",
            )

    def _note(self, problem: str, key: str) -> None:
        if not any(known.startswith(f"{key} is ") for known in self.problems):
            self.problems.append(problem)

    def _find(self, key: str) -> Any:
        found: Any = self.values
        for part in key.split("."):
            if not isinstance(found, Mapping):
                return None
            found = found.get(part)
        return found


def load_config(path: Path) -> Section:
    """Read a resolved configuration; BadInput when it is absent, not YAML or not a mapping."""
    remedy = "Render the study again, or name the right file with --config"
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=ConfigLoader)  # noqa: S506
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise BadInput(f"{path} cannot be read: {reason}", remedy) from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        raise BadInput(f"{path} is not YAML{line}", remedy) from error
    if not isinstance(values, dict) or not isinstance(values.get("parameters"), dict):
        raise BadInput(f"{path} has no section parameters", remedy)
    return Section(values, path)


def find_config(given: str | None, checkpoint_dir: str | None) -> Path:
    """The configuration to use: the one given, PIPELINE_CONFIG, or the train job of that directory.

    Without the first two, the plan's bare command line is enough when exactly one file in
    `jobs/configs` is a train job that writes `checkpoint_dir`.
    """
    named = given or os.environ.get("PIPELINE_CONFIG")
    if named:
        return Path(named)
    matches = []
    for path in sorted(Path("jobs/configs").glob("*.yaml")) if checkpoint_dir else []:
        config = load_config(path)
        if config.get("job.kind", str, "train") != "train":
            continue
        there = config.get("parameters.train.checkpoint_dir", str, "")
        if there and os.path.normpath(there) == os.path.normpath(str(checkpoint_dir)):
            matches.append(path)
    if len(matches) == 1:
        return matches[0]
    found = ", ".join(map(str, matches)) or "none"
    raise BadInput(
        f"no configuration was named, and of the train jobs in jobs/configs {found} write "
        f"{checkpoint_dir or 'the checkpoint directory'}",
        "Name one with --config, or render the study first",
    )


# ---- files ------------------------------------------------------------------------------------


def write_atomic(path: Path, text: str, sync: bool = True) -> None:
    """Replace a file whole: temporary name beside it, synced, renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        if sync:
            stream.flush()
            os.fsync(stream.fileno())
    temporary.replace(path)
    if sync:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames and new names in a directory survive a crash."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def publish_directory(target: Path) -> Iterator[Path]:
    """A temporary directory that becomes `target` whole, its files synced, or leaves no trace.

    An older `target` is moved aside first and removed last, so a crash loses at most its name.
    What a crash leaves is cleared by the next attempt at the same target.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                with path.open("rb") as stream:
                    os.fsync(stream.fileno())
            elif path.is_dir():
                sync_directory(path)
        sync_directory(temporary)
        old = target.with_name(f".{target.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        temporary.rename(target)
        sync_directory(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def mark_checkpoint(step: int) -> None:
    """Tell the job's script that the checkpoint of this step is on disk, whole. A chain of jobs
    goes on only as long as this number grows; without a chain, nobody asks."""
    named = os.environ.get("PIPELINE_CHECKPOINT")
    if named:
        write_atomic(Path(named), f"{step}\n")


class Progress:
    """The file that `status` reads while the program runs; does nothing when nobody looks."""

    rate_unit = "tokens/s"

    def __init__(self, total: int, unit: str = "steps", every_s: float = 1.0) -> None:
        named = os.environ.get("PIPELINE_PROGRESS")
        self.path = Path(named) if named else None
        self.total = total
        self.unit = unit
        self.every_s = every_s
        self._last = 0.0

    def report(
        self,
        done: int,
        message: str,
        rate: float = 0.0,
        loss: float | None = None,
        remaining: float | None = None,
    ) -> None:
        """Replace the file, at most once in `every_s` seconds but always at the end. `remaining`
        is in seconds."""
        now = time.time()
        if self.path is None or (done < self.total and now - self._last < self.every_s):
            return
        self._last = now
        row = {
            "done": done,
            "total": self.total,
            "unit": self.unit,
            "rate": round(rate, 1),
            "rate_unit": self.rate_unit,
            "loss": loss,
            "remaining": remaining,
            "message": message,
            "time": now,
        }
        write_atomic(self.path, json.dumps(row), sync=False)
