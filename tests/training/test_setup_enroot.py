"""The container script, with a stand-in for enroot that keeps its containers in a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "training" / "nemo" / "setup" / "setup_enroot.sh"
STUB = """#!/bin/bash
printf '%s\\n' "$*" >>"$STUB/calls"
case $1 in
    list) ls "$STUB/containers" ;;
    import) [ -e "$STUB/offline" ] && exit 1; printf image >"$3" ;;
    create) mkdir "$STUB/containers/$3" ;;
    remove) rmdir "$STUB/containers/$3" ;;
esac
"""


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    (tmp_path / "containers").mkdir()
    (tmp_path / "bin").mkdir()
    enroot = tmp_path / "bin" / "enroot"
    enroot.write_text(STUB)
    enroot.chmod(0o755)
    return tmp_path


def run(stub: Path, *flags: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {
        "PATH": path or f"{stub / 'bin'}:{os.environ['PATH']}",
        "STUB": str(stub),
        "HOME": str(stub),
        "ENROOT_IMAGES": str(stub / "images dir"),
    }
    return subprocess.run(
        ["bash", str(SCRIPT), *flags], env=env, capture_output=True, text=True, check=False
    )


def calls(stub: Path) -> list[str]:
    return [line.split()[0] for line in (stub / "calls").read_text().splitlines()]


def test_it_creates_the_container_once(stub: Path) -> None:
    first = run(stub)
    assert (first.returncode, first.stderr) == (0, "")
    assert os.listdir(stub / "containers") == ["nemo_framework"]
    assert os.listdir(stub / "images dir") == ["nvidia+nemo+25.09.sqsh"]
    assert "docker://nvcr.io#nvidia/nemo:25.09" in (stub / "calls").read_text()
    again = run(stub)
    assert again.returncode == 0 and "is there already" in again.stdout
    assert calls(stub) == ["list", "import", "create", "list", "list"]
    assert run(stub, "--force").returncode == 0
    assert calls(stub).count("import") == 1


def test_a_failed_import_leaves_nothing(stub: Path) -> None:
    (stub / "offline").touch()
    done = run(stub)
    assert done.returncode == 1
    assert done.stderr.startswith("error: nvcr.io did not deliver nvidia/nemo:25.09. Check")
    assert os.listdir(stub / "images dir") == []


def test_without_enroot_it_says_what_to_do(stub: Path) -> None:
    (stub / "empty").mkdir()
    bash = shutil.which("bash")
    assert bash is not None
    (stub / "empty" / "bash").symlink_to(bash)
    done = run(stub, path=str(stub / "empty"))
    assert done.returncode == 65
    assert done.stderr.startswith("error: enroot is not on the PATH. Load its module")


def test_an_unknown_argument(stub: Path) -> None:
    done = run(stub, "--fast")
    assert done.returncode == 2 and "unknown argument --fast" in done.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="ShellCheck is not installed")
def test_shellcheck() -> None:
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
