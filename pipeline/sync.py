"""Puts a project's code and small data on a site's host, and only what changed.

A file there lists what was put, with digests. What was never put is never deleted, and what was
changed there since is not overwritten unless somebody says so.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from pipeline import yamlio
from pipeline.errors import StateError
from pipeline.mirror import Member, packed
from pipeline.remote import Remote, quoted

if TYPE_CHECKING:
    import tarfile

    from pipeline.plan import Plan
    from pipeline.transport import Transport

LARGEST = 16 * 2**20  # bytes; larger files are data: `pipeline submit download` fetches them there
FOLDER = ".pipeline-sync"  # there: the list of what was put, and what is on its way
NEVER = (".env", ".env.*", "*.pem", "*.key", "id_rsa*", "id_ed25519*", ".netrc")  # by their names
_RESULTS = ("jobs", "results", FOLDER)  # what runs write; a submission brings what it needs
_SKIPPED = (".git", "__pycache__", "node_modules", ".venv*", "*.egg-info", ".*_cache", "*.pyc")

Action = Literal["put", "update", "delete", "same", "changed there"]


class Change(msgspec.Struct, frozen=True):
    """What is to be done with one file; `changed there` is left alone."""

    path: str
    action: Action


class Comparison(msgspec.Struct):
    """Every file that is here or was put, and files that are not sent at all, with the reason."""

    changes: list[Change]
    left_out: dict[str, str]
    digests: dict[str, str]  # of the files here
    rsync: bool  # whether both sides have it

    def of(self, *actions: Action) -> list[str]:
        """The paths with any of these actions."""
        return [change.path for change in self.changes if change.action in actions]


def of(plan: Plan, transport: Transport, root: Path) -> Sync | None:
    """The project's copy on the site's host; None where the scheduler is here."""
    from pipeline import secret

    if not isinstance(transport, Remote):
        return None
    here = msgspec.structs.replace(plan.jobs[0], project_dir=str(root))
    return Sync(transport, root, plan.site.env_file, list(secret.known(here)))


class Sync:
    """One project here and its copy on a host."""

    def __init__(
        self, remote: Remote, root: Path, env_file: str = "",
        secrets: Sequence[tuple[str, str]] = (),
    ) -> None:  # fmt: skip
        """`secrets`: names and values that no file that is sent may hold."""
        self.remote, self.root, self.env_file, self.secrets = remote, root, env_file, secrets
        where = hashlib.sha256(f"{remote.host}\0{remote.project}".encode()).hexdigest()[:12]
        self._cache = root / "jobs" / ".sync" / f"{where}.json"

    def unchanged(self) -> bool:
        """Whether everything here is as it was when it was last put; asks nobody."""
        return _decoded(self._cache) == self._local[0]

    def compare(self) -> Comparison:
        """Looks at both sides, in one round trip. Raises StateError for a file with a secret."""
        digests, left_out = self._local
        there, put, rsync = self._there(digests)
        changes = [Change(path, _action(path, digests, there, put)) for path in sorted(digests)]
        changes += [
            Change(path, "delete" if there[path] == put[path] else "changed there")
            for path in sorted(put)
            if path not in digests and path in there
        ]
        return Comparison(changes, left_out, digests, rsync and bool(shutil.which("rsync")))

    def bring_up_to_date(self) -> int:
        """Compares and applies, unless all is as it was; how many files that changed there."""
        if self.unchanged():
            return 0
        found = self.compare()
        self.refuse(found)
        self.apply(found)
        return len(found.of("put", "update", "delete"))

    def refuse(self, found: Comparison) -> None:
        """Raises StateError where something would be lost there."""
        if paths := found.of("changed there"):
            more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
            raise StateError(
                f"{', '.join(paths[:3])}{more}: changed on {self.remote.host} by somebody else, so "
                "nothing was sent. Bring the change here, or give it up with "
                "`pipeline sync --overwrite`"
            )

    def apply(self, found: Comparison, overwrite: bool = False) -> None:
        """Makes the copy there as it is here: staged, checked by digest, renamed into place."""
        send = found.of("put", "update")
        if overwrite:
            send += [path for path in found.of("changed there") if path in found.digests]
        gone = found.of("delete")
        for path in send:
            self._check_secret(path)
        # A login that prints something is too much for rsync, and not for us.
        by_rsync = bool(send) and found.rsync and self._rsync(send)
        self._finish(send, gone, found, by_rsync)
        if not found.of("changed there") or overwrite:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            yamlio.write_atomic(self._cache, msgspec.json.encode(found.digests))

    # --- here

    @functools.cached_property
    def _local(self) -> tuple[dict[str, str], dict[str, str]]:
        """Path -> sha256 of what is sent; path -> why of what is not."""
        digests: dict[str, str] = {}
        left_out: dict[str, str] = {}
        for path in files(self.root):
            file = self.root / path
            if may_hold_secrets(path, self.env_file):
                left_out[path] = "may hold secrets"
            elif not file.is_file():
                continue
            elif file.stat().st_size > LARGEST:
                left_out[path] = f"larger than {LARGEST >> 20} MiB"
            else:
                digests[path] = hashlib.sha256(file.read_bytes()).hexdigest()
        return digests, left_out

    def _check_secret(self, path: str) -> None:
        content = (self.root / path).read_bytes()
        if name := next((n for n, value in self.secrets if value.encode() in content), ""):
            raise StateError(
                f"{path}: holds the value of {name}, so it is not sent. Take it out of the file"
            )

    # --- there

    def _there(self, digests: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str], bool]:
        """Digests there of our files and of all that was put; those when they were put."""
        answer = self.remote.ask(
            [
                self.remote.enter(make=True),
                f'[[ -e {FOLDER}/list ]] && cp -- {FOLDER}/list "$T/r/list"',
                f"{{ cat -- \"$T/data\"; sed -z 's/^[^ ]* //' {FOLDER}/list 2>/dev/null; }} | "
                'while IFS= read -r -d "" f; do [[ -f $f ]] && printf "%s\\0" "./$f"; done | '
                'xargs -0 -r sha256sum -b -- >"$T/r/sums"',
                'command -v rsync >"$T/r/rsync"',
            ],
            "".join(f"{path}\0" for path in digests).encode("utf-8", "surrogateescape"),
        )
        put = dict(_pairs(answer["list"])) if "list" in answer else {}
        return dict(_sums(answer["sums"])), put, bool(answer["rsync"].content.strip())

    def _rsync(self, paths: Sequence[str]) -> bool:
        """Sends files to where they are staged; whether that worked."""
        ssh = self.remote.ssh.argv()
        end = ssh.index("--")
        place = f"{self.remote.project}/{FOLDER}/in"
        argv = [
            "rsync", "-tpzs", "--from0", "--files-from=-", "--copy-dest=../..",
            f"--rsh={quoted(*ssh[:end])}", f"--rsync-path=mkdir -p {quoted(place)} && rsync",
            "--", f"{self.root}/", f"{self.remote.host}:{place}/",
        ]  # fmt: skip
        listed = "".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape")
        self.remote.calls += 1
        done = subprocess.run(argv, input=listed, capture_output=True, check=False)
        return done.returncode == 0

    def _finish(
        self, send: Sequence[str], gone: Sequence[str], found: Comparison, by_rsync: bool
    ) -> None:
        """Checks what arrived, renames it into place, deletes, and then replaces the list."""
        kept = {path: found.digests[path] for path in (*found.of("same"), *send)}
        script = [
            self.remote.enter(make=True),
            f'mkdir -p {FOLDER}/in && tar -xf "$T/data" -C "$T" || exit 3',
            "" if by_rsync else f'tar -xf "$T/files.tar" -C {FOLDER}/in || exit 3',
            "while IFS=' ' read -r -d '' sum f; do",
            f'  [[ $(sha256sum <{FOLDER}/in/"$f") == "$sum "* ]] ||',
            '    { echo "$f did not arrive whole. Is the disk full there?" >&2; exit 3; }',
            'done <"$T/send"',
            "while IFS=' ' read -r -d '' sum f; do",
            f'  [[ $f != */* ]] || mkdir -p -- "${{f%/*}}"; mv -f -- {FOLDER}/in/"$f" "./$f" ||',
            '    { echo "$f cannot be put there" >&2; exit 3; }',
            'done <"$T/send"',
            'while IFS= read -r -d "" f; do rm -f -- "./$f"',
            '  [[ $f != */* ]] || rmdir -p --ignore-fail-on-non-empty -- "${f%/*}" 2>/dev/null',
            'done <"$T/gone"',
            f'rm -rf {FOLDER}/in; cp -- "$T/kept" {FOLDER}/.list && sync -- {FOLDER}/.list &&',
            f"  mv -f {FOLDER}/.list {FOLDER}/list || exit 3",
        ]
        parts = {
            "send": _listed({path: found.digests[path] for path in send}),
            "gone": "".join(f"{path}\0" for path in gone).encode("utf-8", "surrogateescape"),
            "kept": _listed(kept),
        }
        if not by_rsync:
            parts["files.tar"] = self._archive(send)
        self.remote.ask([line for line in script if line], packed(parts))

    def _archive(self, paths: Sequence[str]) -> bytes:
        import tarfile

        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path in paths:
                archive.add(self.root / path, arcname=path, recursive=False, filter=_plain)
        return out.getvalue()


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Of a file, its content, mode and time; not whose it is here."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _action(
    path: str, digests: Mapping[str, str], there: Mapping[str, str], put: Mapping[str, str]
) -> Action:
    if path not in there:
        return "put"
    if there[path] == digests[path]:
        return "same"
    return "update" if there[path] == put.get(path) else "changed there"


def may_hold_secrets(path: str, env_file: str) -> bool:
    """Whether a file stays here for its name."""
    name = path.rsplit("/", 1)[-1]
    return path == env_file or any(fnmatch(name, pattern) for pattern in NEVER)


def files(root: Path) -> Iterator[str]:
    """What git tracks or would track; without git, all but what is made anew."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, stdin=subprocess.DEVNULL, capture_output=True, check=False,
    ) if shutil.which("git") and (root / ".git").exists() else None  # fmt: skip
    if listed and listed.returncode == 0:
        names = (os.fsdecode(name) for name in listed.stdout.split(b"\0") if name)
        yield from (name for name in names if name.split("/")[0] not in _RESULTS)
        return
    for folder, folders, names_here in os.walk(root):
        inside = os.path.relpath(folder, root)
        at_top = inside == "."
        folders[:] = [
            name for name in folders
            if not any(fnmatch(name, p) for p in _SKIPPED) and not (at_top and name in _RESULTS)
        ]  # fmt: skip
        for name in names_here:
            if not any(fnmatch(name, pattern) for pattern in _SKIPPED):
                yield name if at_top else f"{inside}/{name}"


def _listed(digests: Mapping[str, str]) -> bytes:
    text = "".join(f"{digest} {path}\0" for path, digest in digests.items())
    return text.encode("utf-8", "surrogateescape")


def _pairs(member: Member) -> Iterator[tuple[str, str]]:
    for entry in member.content.decode("utf-8", "surrogateescape").split("\0"):
        digest, _, path = entry.partition(" ")
        if path:
            yield path, digest


def _sums(member: Member) -> Iterator[tuple[str, str]]:
    r"""Of `sha256sum`: a line that starts with \ has \\ and \n in its name."""
    for line in member.content.decode("utf-8", "surrogateescape").splitlines():
        digest, _, name = line.removeprefix("\\").partition(" *./")
        if line.startswith("\\"):
            name = name.replace("\\n", "\n").replace("\\\\", "\\")
        yield name, digest


def _decoded(path: Path) -> dict[str, str] | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (OSError, ValueError):  # never put from here, or a file that was cut off
        return None
