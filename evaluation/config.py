"""What a job is told (one resolved YAML file) and how it answers (one line, a code, progress)."""

import errno
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from evaluation.files import write_text

FAILED, BAD_INPUT, OUT_OF_MEMORY = 1, 65, 71
PROGRESS_EVERY_S = 1.0
_OUTSIDE = {  # what is no mistake of a program
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR,
    errno.EISDIR, errno.EIO, errno.ESTALE,
}  # fmt: skip

T = TypeVar("T")


class InputError(Exception):
    """A mistake in what the program was given: a fact, and what to do about it."""

    def __init__(self, fact: str, remedy: str) -> None:
        super().__init__(f"{fact.rstrip('.')}. {remedy.rstrip('.')}.")


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-4 as a float: YAML 1.1, which PyYAML follows, wants 1.0e-4."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


@dataclass(frozen=True, slots=True)
class Config:
    """One job's resolved configuration; `origin` is the file, for messages."""

    values: dict[str, Any]
    origin: str

    def get(self, path: str, kind: type[T], default: T | None = None) -> T:
        """The value at a dotted path under `parameters`.

        Raises InputError where it is missing without a default, or is of another type.
        """
        return self._typed(f"parameters.{path}", kind, default)

    def top(self, path: str, kind: type[T], default: T | None = None) -> T:
        """The value at a dotted path from the top of the file; raises as `get` does."""
        return self._typed(path, kind, default)

    def arm(self, arm: str) -> "Config":
        """Another arm's parameters in the shape of a configuration of its own."""
        values = self._typed(f"arms.{arm}", dict)
        return Config(values, f"{self.origin} (arms.{arm})")

    def _typed(self, path: str, kind: type[T], default: T | None = None) -> T:
        value: Any = self.values
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            if default is None:
                raise InputError(f"{self.origin} has no {path}", "Render the job again")
            return default
        if kind is float and type(value) is int:
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InputError(
                f"{path} in {self.origin} is {value!r}, not {kind.__name__}", "Correct the study"
            )
        return value


def load_config(path: Path) -> Config:
    """Read a job's configuration; raises InputError for a missing or unreadable file."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise InputError(
            f"the configuration {path} cannot be read ({error.strerror})",
            "Give --config the file that rendering wrote",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        fact = " ".join(str(error).split())
        raise InputError(f"the configuration {path} is not YAML ({fact})", "Render it again") from (
            error
        )
    if not isinstance(values, dict) or not isinstance(values.get("parameters"), dict):
        raise InputError(f"{path} holds no `parameters`", "Give --config a job's configuration")
    return Config(values, str(path))


def choose(name: str, values: Iterable[str], valid: Iterable[str]) -> list[str]:
    """`values` as a list; raises InputError that lists the valid ones where one is unknown."""
    known, chosen = list(valid), list(values)
    for value in chosen:
        if value not in known:
            raise InputError(f"{name} {value!r} is not known", f"Choose from {', '.join(known)}")
    return chosen


@dataclass(slots=True)
class Progress:
    """Tells PIPELINE_PROGRESS and a terminal how far the job is, at most once a second."""

    total: int
    unit: str
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    written: float = float("-inf")

    def advance(self, count: int, message: str) -> None:
        """Add `count` units and tell it; the last unit is always told."""
        self.done += count
        target, now = os.environ.get("PIPELINE_PROGRESS"), time.monotonic()
        terminal = sys.stderr.isatty()
        if not target and not terminal:
            return
        if now - self.written < PROGRESS_EVERY_S and self.done < self.total:
            return
        self.written = now
        elapsed = max(now - self.started, 1e-9)
        if terminal:
            end = "\n" if self.done >= self.total else ""
            share = 100 * self.done / max(self.total, 1)
            amount = f"{self.done:,} of {self.total:,} {self.unit}, {elapsed:.0f} s"
            sys.stderr.write(f"\r{share:.0f} %, {amount}: {message}\x1b[K{end}")
            sys.stderr.flush()
        if not target:
            return
        told = {
            "done": self.done,
            "total": self.total,
            "unit": self.unit,
            "rate": round(self.done / elapsed, 3),
            "rate_unit": f"{self.unit}/s",
            "message": message,
            "time": time.time(),
        }
        write_text(Path(target), json.dumps(told) + "\n")


def complain(error: Exception | str) -> None:
    """One line for the user on stderr."""
    print(f"error: {error}", file=sys.stderr)


def guarded(program: Callable[[], int]) -> int:
    """Run a program; what its user or the machine got wrong becomes one line on stderr and an exit
    code: 65 for bad input, 71 out of memory, 1 where a disk or a path is at fault."""
    try:
        return program()
    except InputError as error:
        complain(error)
        return BAD_INPUT
    except MemoryError:
        complain("memory ran out. Ask for more, or make the batches smaller")
        return OUT_OF_MEMORY
    except OSError as error:
        if error.errno not in _OUTSIDE:
            raise
        complain(f"{error}. Make room, or correct the path or its rights, then run again")
        return FAILED
