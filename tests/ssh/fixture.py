"""Real sshd on loopback: a login node, one behind a jump host, one that asks for a code, a slow
line, one that is cut."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.require import require

RELAY = Path(__file__).with_name("relay.py")
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin:/bin") or ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Sshd:
    """One server with keys of its own, and a client configuration that leads to it by names."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir(mode=0o700, exist_ok=True)
        self.config = folder / "client"
        self.cut = folder / "cut"
        for name in ("host", "id"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)],
                check=True,
            )
        self.trust(folder / "host.pub")
        self.server: subprocess.Popen[bytes] | None = None

    def start(self, *options: str, program: str = SSHD) -> None:
        """With more lines for its configuration."""
        lines = [
            "ListenAddress 127.0.0.1", f"Port {self.port}", f"HostKey {self.folder}/host",
            f"AuthorizedKeysFile {self.folder}/id.pub", "PidFile none", "StrictModes no",
            "UseDNS no", "PermitRootLogin yes", "PasswordAuthentication no", "MaxStartups 100",
            *options,
        ]  # fmt: skip
        (self.folder / "server").write_text("\n".join(lines) + "\n")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self.server = subprocess.Popen(
            [program, "-D", "-f", str(self.folder / "server"), "-E", str(self.folder / "log")],
            stdin=subprocess.DEVNULL,
        )
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < until, (self.folder / "log").read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        if self.server:
            self.server.terminate()
            self.server.wait()

    def trust(self, key: Path) -> None:
        """Makes this the host key that the client knows."""
        kind, words = key.read_text().split()[:2]
        (self.folder / "known").write_text(f"[127.0.0.1]:{self.port} {kind} {words}\n")

    def write_config(self, extra: str = "") -> None:
        """Names: `cluster`, `behind` (a jump host before it), `slow` (300 ms), `cutting`."""
        common = (
            f"  HostName 127.0.0.1\n  Port {self.port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {self.folder}/id\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.folder}/known\n  GlobalKnownHostsFile /dev/null\n"
        )
        relay = f"{shlex.quote(sys.executable)} {RELAY} %h %p"
        lines = {
            "cluster": "", "behind": "  ProxyJump cluster\n",
            "slow": f"  ProxyCommand {relay} --delay 0.15\n",
            "cutting": f"  ProxyCommand {relay} --cut {self.cut}\n",
        }  # fmt: skip
        self.config.write_text(
            "".join(f"Host {name}\n{common}{more}" for name, more in lines.items()) + extra
        )

    @property
    def env(self) -> dict[str, str]:
        """What leads `pipeline` to these hosts; connections are not shared with anybody's own."""
        return {
            "PIPELINE_SSH": f"ssh -F {shlex.quote(str(self.config))}",
            "XDG_RUNTIME_DIR": str(self.folder),
        }


def close_masters(server: Sshd) -> None:
    """Ends the connections that stayed."""
    for socket_path in (server.folder / "pipeline").glob("*"):
        subprocess.run(
            ["ssh", "-o", f"ControlPath={socket_path}", "-O", "exit", "any"],
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip


@pytest.fixture
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A login node that takes a key."""
    require("ssh", bool(SSHD and shutil.which("ssh")), "sshd and ssh are not installed")
    # A control socket's path is short.
    folder = Path(f"/tmp/pl-{os.getpid()}-{free_port()}")
    server = Sshd(folder)
    server.write_config()
    server.start("KbdInteractiveAuthentication no", "UsePAM no")
    yield server
    close_masters(server)
    server.stop()
    shutil.rmtree(folder)
