"""The image script, with a stand-in for Apptainer."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.require import require
from training.nemo.run_cpt import IMAGE

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "training" / "nemo" / "setup" / "setup_apptainer.sh"
STUB = """#!/bin/bash
printf '%s\\n' "$*" >>"$STUB/calls"
printf part >"$3"
[ ! -e "$STUB/offline" ] || exit 1
printf image >"$3"
"""


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "apptainer"
    program.write_text(STUB)
    program.chmod(0o755)
    return tmp_path


def run(stub: Path, *flags: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {
        "PATH": path or f"{stub / 'bin'}:{os.environ['PATH']}",
        "STUB": str(stub),
        "APPTAINER_IMAGE": str(stub / "my images" / "nemo.sif"),
    }
    return subprocess.run(
        ["bash", str(SCRIPT), *flags], env=env, capture_output=True, text=True, check=False
    )


def test_it_builds_the_image_once(stub: Path) -> None:
    first = run(stub)
    assert (first.returncode, first.stderr) == (0, "")
    assert os.listdir(stub / "my images") == ["nemo.sif"]
    assert (stub / "my images" / "nemo.sif").read_text() == "image"
    assert "is there already" in run(stub).stdout
    calls = (stub / "calls").read_text().splitlines()
    assert len(calls) == 1 and calls[0].endswith(f"docker://{IMAGE}"), "the pair that is pinned"
    assert run(stub, "--force").returncode == 0
    assert len((stub / "calls").read_text().splitlines()) == 2


def test_a_failed_build_leaves_nothing(stub: Path) -> None:
    (stub / "offline").touch()
    done = run(stub)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the image could not be built from nvidia/nemo:25.09. ")
    assert os.listdir(stub / "my images") == []


def test_without_apptainer_it_says_what_to_do(stub: Path) -> None:
    (stub / "empty").mkdir()
    bash = shutil.which("bash")
    assert bash is not None
    (stub / "empty" / "bash").symlink_to(bash)
    done = run(stub, path=str(stub / "empty"))
    assert done.returncode == 65
    assert done.stderr.startswith("error: apptainer is not on the PATH. Load its module")


def test_an_unknown_argument(stub: Path) -> None:
    done = run(stub, "--fast")
    assert done.returncode == 2 and "unknown argument --fast" in done.stderr


def test_help(stub: Path) -> None:
    assert "APPTAINER_IMAGE  the file to write" in run(stub, "--help").stdout


def test_it_opens_like_the_one_for_enroot() -> None:
    """Each is one file that can be carried to a node, so what they share stands in both."""
    other = SCRIPT.with_name("setup_enroot.sh").read_text().replace("create the container", "WORK")
    own = SCRIPT.read_text().replace("build the image", "WORK")
    image, opening = own[own.index("\nimage=") :].splitlines()[1], own[own.index("\nforce=no") :]
    assert f"\n{image}\n" in other
    assert opening[: opening.index("\nesac\n")] in other


def test_shellcheck() -> None:
    require("shellcheck", shutil.which("shellcheck") is not None, "ShellCheck is not installed")
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
