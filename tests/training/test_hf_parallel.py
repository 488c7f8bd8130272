"""Two processes (gloo) train what one does, and either goes on from the other's checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from training.contract import run_program
from training.hf import run_cpt

ROOT = Path(__file__).resolve().parents[2]
Rows = Callable[[Path, str], dict[int, float]]
# One process of the run gets a signal in the middle of step 7; the other one hears of it.
SIGNALLED = """
import os, signal, sys
from training.contract import run_program
from training.hf import run_cpt
learn = run_cpt.learn
def disturbed(run):
    result = learn(run)
    if run.step == 7 and run.world.rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return result
run_cpt.learn = disturbed
code = run_program(run_cpt.main, sys.argv[1:])
print("ended with", code, flush=True)
sys.exit(code)
"""
# fp32 sums in another order; Adam turns a difference in a tiny gradient into one of a small step.
CLOSE = 2e-4


def start(*words: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*launch, f"--nproc-per-node={processes}", *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def same_curve(one: dict[int, float], two: dict[int, float]) -> None:
    assert list(one) == list(two)
    assert all(two[step] == pytest.approx(value, rel=CLOSE) for step, value in one.items())


def facts(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "status.json").read_text()))


@pytest.fixture
def alone(job: Callable[..., Path], tmp_path: Path) -> Path:
    folder = tmp_path / "alone"
    changes = {"checkpoint_dir": str(folder), "eod_mask_loss": True}
    assert run_program(run_cpt.main, ["--config", str(job("alone.yaml", train=changes))]) == 0
    return folder


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_two_processes_train_as_one(
    job: Callable[..., Path], tmp_path: Path, rows: Rows, alone: Path, kind: str
) -> None:
    run = tmp_path / "run"
    half = {"parallel": kind, "eod_mask_loss": True, "loss": "chunked"}
    config = job("half.yaml", batch={"micro": 1}, train=half)
    ended = start("training/hf/run_cpt.py", "--config", str(config))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("step 20/20") == 1
    told = facts(run)
    assert (told["parallel"], told["loss_kind"], told["processes"]) == (kind, "chunked", 2)
    assert told["accumulation"] == 2 and told["state"] == "done"
    for key in ("train/loss", "val/loss"):
        same_curve(rows(alone, key), rows(run, key))
    norms = [rows(folder, "train/grad_norm") for folder in (alone, run)]
    assert all(norms[1][step] == pytest.approx(norms[0][step], rel=CLOSE) for step in range(1, 6))
    assert rows(run, "train/consumed_samples") == rows(alone, "train/consumed_samples")
    weights = [load_file(folder / "final" / "model.safetensors") for folder in (alone, run)]
    assert weights[0].keys() == weights[1].keys()


def test_a_signal_to_one_stops_both_and_one_process_goes_on(
    job: Callable[..., Path], tmp_path: Path, rows: Rows, alone: Path
) -> None:
    run = tmp_path / "run"
    config = job("two.yaml", batch={"micro": 1}, train={"eod_mask_loss": True})
    program = tmp_path / "program.py"
    program.write_text(SIGNALLED)
    ended = start(str(program), "--config", str(config))
    assert ended.stdout.count("ended with 75") == 2, ended.stderr
    assert ended.stderr.count("stopped by SIGTERM after step 7") == 1
    assert [path.name for path in sorted(run.glob("step_*"))] == ["step_00000005", "step_00000007"]
    assert (facts(run)["state"], facts(run)["parallel"]) == ("stopped", "fsdp2")
    assert run_program(run_cpt.main, ["--config", str(config)]) == 0
    same_curve(rows(alone, "train/loss"), rows(run, "train/loss"))


def test_a_mistake_is_told_once(job: Callable[..., Path], tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(SIGNALLED)
    ended = start(str(program), "--config", str(job(corpus={"chunks": 3})))
    assert ended.stdout.count("ended with 65") == 2
    assert ended.stderr.count("error: ") == 1 and "seapile_0003.bin, " in ended.stderr
