"""The user's own OpenSSH: one program run, one answer back, whole or not at all.

`~/.ssh/config`, ProxyJump, agents and MFA work as in a terminal, since it is the same `ssh`.
PIPELINE_SSH may name another command, with options: `PIPELINE_SSH="ssh -F other_config"`.

Nothing here ever asks the user, but for `connect`: its one connection stays (a control master), and
all other commands go through it. Host keys are strict: a changed or unknown one is an error.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import secrets
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pipeline.errors import ConfigError, NotStarted, StateError, Unreachable

ANSWER_S = 120  # a whole exchange; commands on the host have a shorter limit of their own
CONNECT_S = 20
KEPT_S = 600  # how long a connection that needed nobody stays for the next command
_LONGEST_FOLDER = 45  # of the control socket: 108 bytes hold it, a hash and ssh's own suffix

# What ssh itself says before there is a session -> what it means and what to do.
_MEANINGS = (
    (
        re.compile(r"Host key verification failed|.*host key is known", re.IGNORECASE),
        "its host key is unknown or is not the one that you accepted before. Ask its operators. "
        "If the new key is right: `ssh-keygen -R {address}`, then `pipeline connect {host}`",
    ),
    (
        re.compile(r"\S+: Permission denied \(|.*Too many authentication failures"),
        "it wants you to log in. Run `pipeline connect {host}`, then this again",
    ),
    (
        re.compile(r"ssh: Could not resolve hostname"),
        "no such host. Name it in the site file (host) as in ~/.ssh/config",
    ),
    (
        re.compile(r"ssh: connect to host .* port"),
        "it cannot be reached. Is the network (VPN) up? Try `ssh {host}`",
    ),
)


def command() -> list[str]:
    """The `ssh` to run."""
    return shlex.split(os.environ.get("PIPELINE_SSH", "")) or ["ssh"]


class Host:
    """A host by its name for ssh."""

    def __init__(self, name: str) -> None:
        if not name or name.startswith("-") or any(c.isspace() for c in name):
            raise ConfigError([f"host: {name!r} is no host name. Give it as for `ssh`"])
        self.name = name

    def argv(self, *remote: str) -> list[str]:
        """An ssh command that never asks anything."""
        return [
            *command(), "-T", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
            "-o", f"ConnectTimeout={CONNECT_S}", "-o", "ServerAliveInterval=15",
            "-o", "ServerAliveCountMax=3", "-o", "ForwardX11=no", "-o", "ClearAllForwardings=yes",
            *self._sharing("auto", f"{KEPT_S}"), "--", self.name, *remote,
        ]  # fmt: skip

    def exchange(self, script: str, data: bytes = b"", timeout: float = ANSWER_S) -> bytes:
        """Runs a bash script in a login shell there; returns what it left in the file $T/answer.
        `data` is there in the file $T/data.

        Raises NotStarted where no connection came about, so that nothing was done there, and
        Unreachable where the answer is missing or is not whole.
        """
        nonce = secrets.token_hex(16)
        with tempfile.TemporaryFile() as errors:
            process = self._start(errors)
            try:
                out, _ = process.communicate(framed(script, nonce, data), timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise Unreachable(
                    f"{self.name}: no answer within {timeout:.0f} s. Try again"
                ) from None
            answer = unframed(out, nonce)
            if answer is None:
                began = f"\n{nonce}+\n".encode() in out
                raise self._failure(process.returncode, _said(errors), began)
            return answer

    def stream(self, script: str) -> Iterator[bytes]:
        """What a script prints there, as it comes; what the login itself prints is left out."""
        nonce = secrets.token_hex(16)
        body = f"printf '\\n{nonce}\\n'\n{script}"
        with tempfile.TemporaryFile() as errors:
            process = self._start(errors)
            if process.stdin is None or process.stdout is None:
                raise AssertionError("both were asked for")
            try:
                process.stdin.write(_whole(body))
                process.stdin.close()
                started = any(line == f"{nonce}\n".encode() for line in process.stdout)
                while piece := process.stdout.read1(65536) if started else b"":  # type: ignore[attr-defined]
                    yield piece
                if process.wait() == 255 or not started:
                    raise self._failure(process.returncode, _said(errors), began=started)
            finally:
                process.kill()
                process.wait()
                process.stdout.close()

    def _start(self, errors: IO[bytes]) -> subprocess.Popen[bytes]:
        argv = self.argv("exec bash -l -s")
        try:
            # Errors go to a file: an old ssh that stays as control master would hold a pipe open.
            return subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
        except OSError as error:
            raise NotStarted(
                f"{argv[0]}: cannot be run: {error.strerror}. Install OpenSSH's client"
            ) from None

    def _failure(self, code: int, said: str, began: bool) -> Unreachable:
        """What went wrong. NotStarted only on ssh's own word that there was no session: an answer
        that was lost may belong to a script that ran."""
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        for pattern, meaning in _MEANINGS if code == 255 and not began else ():
            if found := next((line for line in lines if pattern.match(line)), ""):
                address = self.settings().get("hostname", self.name)
                text = meaning.format(host=self.name, address=address)
                return NotStarted(f"{self.name}: {text} (ssh: {found})")
        last = lines[-1] if lines else f"ssh ended with {code}"
        return Unreachable(
            f"{self.name}: the connection ended before its answer was whole ({last}). Try again"
        )

    # --- the connection that stays

    def connected(self) -> bool:
        """Whether a control master is there."""
        return self._told("check")

    def connect(self) -> None:
        """Opens a connection that stays; ssh asks for what it needs, on the terminal."""
        done = subprocess.run(
            [
                *command(), "-o", f"ConnectTimeout={CONNECT_S}", "-o", "ServerAliveInterval=30",
                *self._sharing("yes", "yes", force=True), "-o", "ForwardX11=no",
                "-o", "ClearAllForwardings=yes", "-f", "-N", "--", self.name,
            ],
            check=False,
        )  # fmt: skip
        if done.returncode or not self.connected():
            raise Unreachable(f"{self.name}: not connected; ssh says why above")
        self.exchange(': >"$T/answer"')  # a login may be let in and thrown out again

    def disconnect(self) -> bool:
        """Ends the connection that stays; False where there was none."""
        return self._told("exit")

    def _told(self, word: str) -> bool:
        """Tells a control master something; False where there is none."""
        done = subprocess.run(
            [*command(), *self._sharing("no"), "-O", word, "--", self.name],
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode == 0

    def settings(self) -> dict[str, str]:
        """What the user's configuration says of this host, by `ssh -G`."""
        return dict(_settings(tuple(command()), self.name))

    def _sharing(self, master: str, persist: str = "", force: bool = False) -> list[str]:
        """Options of connection sharing. A user who shares connections already keeps their own
        socket."""
        options: list[str] = []
        if self.settings().get("controlpath", "none") == "none":
            options += ["-o", f"ControlPath={_sockets()}/%C"]
            options += ["-o", f"ControlMaster={master}"]
        elif force:
            options += ["-o", f"ControlMaster={master}"]
        return options + (["-o", f"ControlPersist={persist}"] if options and persist else [])


@functools.cache
def _settings(ssh: tuple[str, ...], name: str) -> tuple[tuple[str, str], ...]:
    try:
        done = subprocess.run(
            [*ssh, "-G", "--", name],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
    except OSError as error:
        raise NotStarted(
            f"{ssh[0]}: cannot be run: {error.strerror}. Install OpenSSH's client"
        ) from None
    if done.returncode:
        raise ConfigError([f"{name}: ssh refuses its configuration: {done.stderr.strip()}"])
    lines = (line.partition(" ") for line in done.stdout.splitlines())
    return tuple((key.lower(), value) for key, _, value in lines)


def _sockets() -> Path:
    """A private folder with a name short enough for a socket in it."""
    candidates = [Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent"), Path.home() / ".ssh"]
    for base in candidates:
        folder = base / "pipeline"
        if base.is_dir() and len(str(folder)) <= _LONGEST_FOLDER:
            folder.mkdir(mode=0o700, exist_ok=True)
            return folder
    folder = Path(tempfile.gettempdir()) / f"pipeline-ssh-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StateError(f"{folder}: is not yours alone. Remove it, or set XDG_RUNTIME_DIR")
    return folder


# --- an answer in one frame, whatever else the login prints


def framed(script: str, nonce: str, data: bytes = b"") -> bytes:
    """What `bash -s` reads: a script that runs `script` and prints the file that it leaves, with
    its length and digest, between two lines that nothing else prints."""
    taking = ""
    if data:
        # Bash reads a pipe byte by byte, so that what follows its script is left for `head`.
        taking = f"""head -c {len(data)} >"$T/data"
sum=$(sha256sum <"$T/data")
[[ ${{sum%% *}} == {hashlib.sha256(data).hexdigest()} ]] || {{
  echo "what was sent did not arrive whole, or $T has no room for it" >&2
  exit 1
}}"""
    return (
        _whole(f"""
printf '\n{nonce}+\n'
T=$(mktemp -d "${{TMPDIR:-/tmp}}/pipeline.XXXXXXXX") || exit 1
trap 'rm -rf -- "$T"' EXIT
{taking}
{script}
sum=$(sha256sum <"$T/answer") && size=$(wc -c <"$T/answer") || exit 1
printf '\n{nonce} %d %s\n' "$size" "${{sum%% *}}"
cat -- "$T/answer"
printf '\n{nonce} end\n'
""")
        + data
    )


def _whole(script: str) -> bytes:
    """Bash runs what it reads at once; a function it runs only when it has all of it."""
    return f"pipeline_main() {{\n{script}\n}}\npipeline_main; exit\n".encode(
        "utf-8", "surrogateescape"
    )


def unframed(out: bytes, nonce: str) -> bytes | None:
    """The answer in what a login printed; None where it is not there whole."""
    mark = f"\n{nonce} ".encode()
    start = out.find(mark)
    line_end = out.find(b"\n", start + len(mark))
    if start < 0 or line_end < 0:
        return None
    words = out[start + len(mark) : line_end].split()
    if len(words) != 2 or not words[0].isdigit():
        return None
    answer = out[line_end + 1 : line_end + 1 + int(words[0])]
    whole = len(answer) == int(words[0])
    return answer if whole and hashlib.sha256(answer).hexdigest().encode() == words[1] else None


def _said(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read()[-4000:].decode("utf-8", "replace")
