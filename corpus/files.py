"""Files that are either whole or not there, and their digests."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from corpus.errors import CorpusError, require

BLOCK = 1 << 20  # bytes read at once
_STALE_AFTER = 2 * 86400  # seconds; another host's temporary file is given up after that


class PendingFile:
    """A file under a temporary name in its own directory, until `publish` renames it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
        self.stream: BinaryIO

    def open(self) -> BinaryIO:
        """Create the directory and the temporary file, and clear what killed runs left behind."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        sweep(self.path)
        self.stream = self.temporary.open("wb")
        return self.stream

    def publish(self) -> None:
        """Sync and rename; after a crash the final name holds all of it or does not exist."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()
        os.replace(self.temporary, self.path)
        sync_directory(self.path.parent)

    def discard(self) -> None:
        """Remove the temporary file."""
        self.stream.close()
        self.temporary.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Remove temporary files of `path` whose writer is gone: killed jobs leave gigabytes."""
    host = socket.gethostname()
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        owner, _, pid = leftover.name[len(path.name) + 2 : -len(".tmp")].rpartition(".")
        if owner == host and pid.isdigit():
            gone = not _alive(int(pid))
        else:
            gone = time.time() - leftover.stat().st_mtime > _STALE_AFTER
        if gone:
            leftover.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it exists and belongs to somebody else
        return True
    return True


def sync_directory(directory: Path) -> None:
    """Make the directory's own entries durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def require_space(directory: Path, needed: int) -> None:
    """Raise CorpusError unless the file system of `directory` has `needed` bytes free.

    The directory may not exist yet. Quotas are not seen.
    """
    place = directory.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise CorpusError(f"{directory} needs {needed / 2**30:.2f} GiB and has {free / 2**30:.2f} "
                          "GiB free. Free some space, or choose another disk.")


@contextmanager
def only_run(directory: Path) -> Iterator[None]:
    """Hold `directory`, which is created, against a second run at the same time.

    Raises CorpusError if another run holds it. A file system without locks lets everybody in.
    """
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            # NFS and Lustre may be mounted without locks; that error is another one.
            if isinstance(fault, BlockingIOError):
                raise CorpusError(f"{directory}: another run is at work here. Wait for it, or stop "
                                  "it.") from fault
        yield
    finally:
        os.close(handle)


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Write `path` in binary; it appears when the block ends well, and not at all otherwise."""
    pending = PendingFile(path)
    stream = pending.open()
    try:
        yield stream
    except BaseException:
        pending.discard()
        raise
    pending.publish()


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, atomically."""
    with atomic(path) as stream:
        stream.write((json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`, or None where there is no such file.

    Raises CorpusError if the file is there and is not a JSON object.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as fault:
        raise CorpusError(f"{path} is not JSON ({fault}). Delete it and run again.") from fault
    if not isinstance(value, dict):
        raise CorpusError(f"{path} does not hold a JSON object. Delete it and run again.")
    return value


def sha256_file(path: Path) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def new_checksum() -> Any:
    """XXH3-128, for what guards against accidents: 25 times as fast as SHA-256 where the processor
    has no instructions for that, and faster than any disk. Raises MissingPackage."""
    return require("xxhash", "xxhash").xxh3_128()


def sha256_value(value: Any) -> str:
    """SHA-256 of a JSON value in its canonical form: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def size_of(path: Path) -> int | None:
    """The file's size in bytes, or None where it does not exist."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
