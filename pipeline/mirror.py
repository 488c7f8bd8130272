"""The copy, here, of what a run's tasks write on another host."""

from __future__ import annotations

import io
import os
import re
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from pipeline import yamlio
from pipeline.errors import StateError, Unreachable
from pipeline.job import mirrored

_KINDS = ("receipts", "progress", "gates")
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")
MOST_BYTES = 2**29  # of an answer, unpacked; 10,000 receipts are 20 MB


class Member(msgspec.Struct, frozen=True):
    """A file of an answer."""

    content: bytes
    time: float  # when it was written, by the clock of its file system

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")


class Cursor(msgspec.Struct):
    """How far the copy has come: the newest change of a receipt, by the clock of its host."""

    host: str
    project: str
    changed: float = 0.0


class Mirror:
    """Receipts, progress files and what gates found under the run's state folder, logs where
    `mirrored` says."""

    def __init__(self, root: Path, state_dir: str, host: str, project: str, logs: str) -> None:
        self.folder = root / state_dir
        self.logs = mirrored(root, state_dir, project, logs)
        self._origin = (host, project)

    def since(self) -> float:
        """Until when all changes are here; 0 where nothing is, or what is is of another host."""
        return self._cursor().changed

    def mark(self) -> str:
        """What tells this copy of a run from others; made once."""
        path = self.folder / ".driver"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            yamlio.write_atomic(path, secrets.token_hex(8).encode())
        return re.sub("[^0-9a-f]", "", path.read_text())

    def take(self, answer: Mapping[str, Member]) -> bool:
        """Takes over what changed; whether this copy now holds as many receipts as the host."""
        self.take_logs(answer)
        for name, member in answer.items():
            parts = name.split("/")
            if parts[0] in _KINDS and len(parts) == 3:
                self._write(self.folder.joinpath(*parts), member)
                stem, _, kind = parts[2].rpartition(".")
                if parts[0] == "receipts" and kind != "run":
                    (self.folder / parts[0] / parts[1] / f"{stem}.run").unlink(missing_ok=True)
        whole = self._counts(answer) == self._own_counts()
        newest = _NUMBER.fullmatch(answer["newest"].text.strip()) if "newest" in answer else None
        if newest and whole:
            cursor = Cursor(*self._origin, max(float(newest[0]), self.since()))
            yamlio.write_atomic(self.folder / ".host.json", msgspec.json.encode(cursor))
        return whole

    def replace(self, answer: Mapping[str, Member]) -> None:
        """Takes over everything, and removes receipts that are no longer there."""
        names = {name for name in answer if name.startswith("receipts/")}
        for path in self.folder.glob("receipts/*/[!.]*"):
            if str(path.relative_to(self.folder)) not in names:
                path.unlink(missing_ok=True)
        self.take(answer)

    def take_logs(self, answer: Mapping[str, Member]) -> None:
        """Puts the ends of logs where `why` looks for them."""
        for name, member in answer.items():
            if name.startswith("logs/"):
                self._write(self.logs.joinpath(*name.split("/")[1:]), member)

    def _cursor(self) -> Cursor:
        try:
            raw = (self.folder / ".host.json").read_bytes()
            found = msgspec.json.decode(raw, type=Cursor)
        except (OSError, ValueError):  # the first look, or one that was cut off: all is asked for
            return Cursor(*self._origin)
        return found if (found.host, found.project) == self._origin else Cursor(*self._origin)

    def _counts(self, answer: Mapping[str, Member]) -> dict[str, int]:
        lines = answer["counts"].text.splitlines() if "counts" in answer else []
        pairs = (line.strip().partition(" ") for line in lines)
        return {
            folder.removeprefix("receipts/"): int(count)
            for count, _, folder in pairs
            if _NUMBER.fullmatch(count) and "." not in count
        }

    def _own_counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        try:
            folders = [entry for entry in os.scandir(self.folder / "receipts") if entry.is_dir()]
        except FileNotFoundError:
            return found
        for folder in folders:
            count = sum(not name.startswith(".") for name in os.listdir(folder.path))
            if count:
                found[folder.name] = count
        return found

    def _write(self, path: Path, member: Member) -> None:
        """Not synced: what a power failure takes is asked for again, and a name tells the state."""
        try:
            there = path.stat()
            if (there.st_size, there.st_mtime) == (len(member.content), member.time):
                return
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(f"{path}: cannot be read: {error.strerror}") from None
        new = path.with_name(f".{path.name}.tmp")
        try:
            new.write_bytes(member.content)
            os.utime(new, (member.time, member.time))
            new.replace(path)
        except OSError as error:
            raise StateError(
                f"{path}: cannot be written: {error.strerror}. Free some space"
            ) from None


def packed(parts: Mapping[str, bytes], runnable: Collection[str] = ()) -> bytes:
    """Contents in a tar archive by their names, some with the right to run them."""
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in parts.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if name in runnable else 0o644
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def unpacked(answer: bytes) -> dict[str, Member]:
    """The plain files of a tar.gz archive, by safe relative names; others are passed over."""
    import tarfile
    import zlib

    found: dict[str, Member] = {}
    room = MOST_BYTES
    try:
        with tarfile.open(fileobj=io.BytesIO(answer), mode="r:gz") as archive:
            for entry in archive:
                name = entry.name.removeprefix("./")
                parts = name.split("/")
                if not entry.isreg() or {"", ".", ".."} & set(parts):
                    continue
                room -= entry.size
                if room < 0:
                    raise Unreachable(f"the host's answer is over {MOST_BYTES >> 20} MiB")
                file = archive.extractfile(entry)
                found[name] = Member(file.read() if file else b"", float(entry.mtime))
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise Unreachable(f"the host's answer cannot be unpacked: {error}. Try again") from None
    return found
