"""The bundle as one file: the same content gives the same bytes, whoever packs it and when."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping

import msgspec

SUMS = "SHA256SUMS"


class File(msgspec.Struct, frozen=True):
    """A file of the bundle."""

    content: bytes
    executable: bool = False


def sums(files: Mapping[str, File]) -> File:
    """What `sha256sum -c` reads; a name with a line break or a backslash as it writes one."""
    lines = []
    for path, file in sorted(files.items()):
        shown = path.replace("\\", "\\\\").replace("\n", "\\n")
        mark = "\\" if shown != path else ""
        lines.append(f"{mark}{hashlib.sha256(file.content).hexdigest()}  {shown}\n")
    return File("".join(lines).encode("utf-8", "surrogateescape"))


def pack(top: str, files: Mapping[str, File], folders: Iterable[str]) -> bytes:
    """A .tar.gz of one folder `top`: sorted, without times and owners."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", 9, packed, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for folder in ("", *sorted(set(folders))):
            entry = _entry(f"{top}/{folder}".rstrip("/"), 0o755)
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        for path, file in sorted(files.items()):
            entry = _entry(f"{top}/{path}", 0o755 if file.executable else 0o644)
            entry.size = len(file.content)
            tar.addfile(entry, io.BytesIO(file.content))
    return packed.getvalue()


def _entry(name: str, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.mtime = mode, 0
    return entry
