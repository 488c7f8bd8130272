"""Nodes that are fit and nodes that are not: texts of nvidia-smi, disks, and a real all-reduce."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training import health
from training.contract import run_program

ROOT = Path(__file__).resolve().parents[2]
FIT = "\n".join(
    f"{i}, GPU-{i}a0c, NVIDIA A100-SXM4-40GB, 40960, 40326, 0" for i in range(8)
)  # index, uuid, name, MiB, MiB free, ECC


def problems(text: str, count: int = 8) -> str:
    return "; ".join(health.gpu_problems(health.parse_gpus(text), count))


def test_a_fit_node() -> None:
    assert problems(FIT) == ""
    [first, *_] = health.parse_gpus(FIT)
    assert first == health.Gpu(0, "GPU-0a0c", "NVIDIA A100-SXM4-40GB", 40960, 40326, 0)


@pytest.mark.parametrize(
    ("old", "new", "fact"),
    [
        (FIT.splitlines()[7], "", "shows 7 GPUs of 8"),
        (FIT, "No devices were found", "shows 0 GPUs of 8"),
        ("3, GPU-3a0c, NVIDIA A100-SXM4-40GB, 40960, 40326, 0",
         "3, GPU-3a0c, NVIDIA A100-SXM4-40GB, 40960, 40326, 2",
         "GPU 3 (GPU-3a0c) has 2 uncorrected ECC errors"),
        ("5, GPU-5a0c, NVIDIA A100-SXM4-40GB, 40960, 40326",
         "5, GPU-5a0c, NVIDIA A100-SXM4-40GB, 40960, 12000",
         "GPU 5 (GPU-5a0c) has 12000 MiB free of 40960"),
        ("6, GPU-6a0c, NVIDIA A100-SXM4-40GB, 40960, 40326, 0",
         "6, GPU-6a0c, [GPU requires reset], [GPU requires reset], [Unknown Error], [N/A]",
         "GPU 6 (GPU-6a0c) has 0 MiB free of 0"),
    ],
    ids=["one less", "none", "ecc", "taken", "reset"],
)  # fmt: skip
def test_an_unfit_gpu_is_named(old: str, new: str, fact: str) -> None:
    assert old in FIT and fact in problems(FIT.replace(old, new))


def test_cards_without_ecc_are_fit() -> None:
    assert problems("0, GPU-a, RTX, 24576, 24000, [N/A]", 1) == ""


@pytest.mark.parametrize(
    ("wanted", "indices"), [(None, 8), ("0,3", 2), ("GPU-2a", 1), ("", 0), ("7,GPU-7a0c", 1)]
)
def test_only_the_jobs_own_gpus_count(wanted: str | None, indices: int) -> None:
    assert len(health.visible(health.parse_gpus(FIT), wanted)) == indices


def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    for name in ("CUDA_VISIBLE_DEVICES", "LOCAL_RANK", "TORCHELASTIC_RUN_ID", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def test_all_that_is_wrong_with_a_node_is_told_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node(tmp_path, monkeypatch, f"cat <<'END'\n{FIT}\nEND")
    there = str(tmp_path / "not" / "yet")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 9)
    assert run_program(health.main, ["--gpus", "8", "--directory", there]) == 0
    assert run_program(health.main, ["--gpus", "9", "--needed", str(10**18)]) == 65
    told = capsys.readouterr().err
    assert f"error: node {socket.gethostname()} shows 8 GPUs of 9; has " in told
    assert "and a checkpoint takes 1000000000.0 GB" in told


def test_gpus_beyond_those_wanted_and_slices_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = FIT.replace("40326, 0", "9, 0").replace("9, 0", "40326, 0", 2)
    node(tmp_path, monkeypatch, f"cat <<'END'\n{taken}\nEND")
    health.check_node(2, tmp_path)
    with pytest.raises(health.Unfit, match="GPU 2 .* has 9 MiB free of 40960"):
        health.check_node(3, tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-8f6a5a3c")
    health.check_node(1, tmp_path)


def test_what_nvidia_smi_says_when_it_fails_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node(tmp_path, monkeypatch, "echo 'Failed to initialize NVML: Driver mismatch'; exit 18")
    assert run_program(health.main, ["--gpus", "1"]) == 65
    assert "cannot ask nvidia-smi: Failed to initialize NVML" in capsys.readouterr().err


def test_a_torch_that_sees_no_gpu_is_told_before_it_trains_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node(tmp_path, monkeypatch, f"cat <<'END'\n{FIT}\nEND")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    health.check_all(8, tmp_path)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 7)
    with pytest.raises(health.Unfit, match=r"torch .* can use 7 GPUs of 8"):
        health.check_all(8, tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(health.Unfit, match=r"torch .* can use 0 GPUs of 8"):
        health.check_all(8, tmp_path)
    health.check_all(0, tmp_path)


def torchrun(*argv: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "MASTER_PORT")}
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         *argv],
        env=env | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip


def test_two_processes_sum_and_tell_how_fast() -> None:
    program = (
        "from training import health\n"
        "import torch.distributed as dist\n"
        "assert health.check_network('gloo', mib=4) > 0\n"
        "dist.init_process_group('gloo')\n"  # the trainer's own group comes up afterwards
        "dist.barrier()\n"
        "dist.destroy_process_group()\n"
    )
    done = torchrun("--no-python", sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    host = socket.gethostname()
    assert f"all-reduce of 4 MiB over 2 processes on {host}: " in done.stdout
    assert done.stdout.count("GB/s") == 1


def test_a_process_that_does_not_come_is_told() -> None:
    program = (
        "import os, sys, time\n"
        "from training import health\n"
        "from training.contract import run_program\n"
        "if os.environ['RANK'] == '1': time.sleep(60)\n"
        "sys.exit(run_program(lambda _: health.check_network('gloo', wait_s=3), []))\n"
    )
    done = torchrun("--no-python", sys.executable, "-c", program)
    assert done.returncode != 0
    assert "after 3 s ranks 1 of 2 have not come; those that have are on " in done.stderr
