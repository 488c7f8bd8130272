"""Two processes (gloo) train what one does, and either goes on from the other's checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.training import children
from training.contract import run_program
from training.hf import run_cpt
from training.hf.parallel import resolve_sync

ROOT = Path(__file__).resolve().parents[2]
Rows = Callable[[Path, str], dict[int, float]]
# fp32 sums in another order; Adam turns a difference in a tiny gradient into one of a small step.
CLOSE = 2e-4


def torchrun(*words: str) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*launch, *words],
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
    return one_process(job, tmp_path, {})


def one_process(job: Callable[..., Path], tmp_path: Path, changes: dict[str, Any]) -> Path:
    folder = tmp_path / "alone"
    train = {"checkpoint_dir": str(folder), "eod_mask_loss": True} | changes
    config = job("alone.yaml", train=train)
    assert run_program(run_cpt.main, ["--config", str(config)]) == 0
    return folder


def same_run(alone: Path, run: Path, rows: Rows) -> None:
    """Two processes did in `run` what one did in `alone`."""
    assert (facts(run)["processes"], facts(run)["state"]) == (2, "done")
    assert facts(run)["accumulation"] == 2
    for key in ("train/loss", "val/loss"):
        same_curve(rows(alone, key), rows(run, key))
    norms = [rows(folder, "train/grad_norm") for folder in (alone, run)]
    assert all(norms[1][step] == pytest.approx(norms[0][step], rel=CLOSE) for step in range(1, 6))
    assert rows(run, "train/consumed_samples") == rows(alone, "train/consumed_samples")
    weights = [load_file(folder / "final" / "model.safetensors") for folder in (alone, run)]
    assert weights[0].keys() == weights[1].keys()


OPTIONS: dict[str, dict[str, Any]] = {
    "ddp": {"parallel": "ddp", "loss": "chunked"},
    "ddp-each-compiled-recomputed": {"parallel": "ddp", "gradient_sync": "each", "compile": True}
    | {"activation_checkpointing": True},
    "fsdp2-last-compiled-recomputed": {"gradient_sync": "last", "compile": True}
    | {"activation_checkpointing": True},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_two_processes_change_no_number(
    job: Callable[..., Path], tmp_path: Path, rows: Rows, name: str
) -> None:
    options = OPTIONS[name]
    # Without masks there is one graph to compile.
    short = {"max_steps": 6, "validate_every": 3, "reset_attention_mask": "compile" not in options}
    alone = one_process(job, tmp_path, short)
    train = short | options | {"eod_mask_loss": True}
    config = job("half.yaml", batch={"micro": 1}, train=train)
    prepare = children.compile_quickly if "compile" in options else None
    ended, other = children.train("--config", str(config), processes=2, prepare=prepare)
    assert (ended.code, other.code) == (0, 0), ended.err + other.err
    told = facts(tmp_path / "run")
    assert told["parallel"] == options.get("parallel", "fsdp2")
    assert told["gradient_sync"] == options.get("gradient_sync", "last")
    assert told["compile"] is options.get("compile", False)
    same_run(alone, tmp_path / "run", rows)


def test_torchrun_trains_as_one_process_does(
    job: Callable[..., Path], tmp_path: Path, rows: Rows, alone: Path
) -> None:
    options = {"loss": "chunked", "activation_checkpointing": True, "eod_mask_loss": True}
    config = job("half.yaml", batch={"micro": 1}, train=options)
    ended = torchrun("training/hf/run_cpt.py", "--config", str(config))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("step 20/20") == 1 and "GB/s" not in ended.stdout
    told = facts(tmp_path / "run")
    assert (told["parallel"], told["gradient_sync"]) == ("fsdp2", "each")
    assert told["loss_kind"] == "chunked"
    same_run(alone, tmp_path / "run", rows)


def test_a_signal_to_one_stops_both_and_one_process_goes_on(
    job: Callable[..., Path], tmp_path: Path, rows: Rows, alone: Path
) -> None:
    run = tmp_path / "run"
    config = job("two.yaml", batch={"micro": 1}, train={"eod_mask_loss": True})
    signalled = partial(children.signal_after, 7, "SIGTERM", rank=1)
    ended = children.train("--config", str(config), processes=2, prepare=signalled)
    assert [child.code for child in ended] == [75, 75], ended[0].err
    told = "".join(child.err for child in ended)
    assert told.count("stopped by SIGTERM after step 7") == 1
    assert [path.name for path in sorted(run.glob("step_*"))] == ["step_00000005", "step_00000007"]
    assert (facts(run)["state"], facts(run)["parallel"]) == ("stopped", "fsdp2")
    assert run_program(run_cpt.main, ["--config", str(config)]) == 0
    same_curve(rows(alone, "train/loss"), rows(run, "train/loss"))


def test_a_mistake_is_told_once(job: Callable[..., Path], tmp_path: Path) -> None:
    config = job(corpus={"chunks": 3})
    ended = children.train("--config", str(config), processes=2)
    assert [child.code for child in ended] == [65, 65]
    told = "".join(child.err for child in ended)
    assert told.count("error: ") == 1 and "seapile_0003.bin, " in told


@pytest.mark.parametrize(
    ("wanted", "parallel", "found"),
    [
        ("auto", "fsdp2", "each"),
        ("auto", "ddp", "last"),
        ("last", "fsdp2", "last"),
        ("each", "ddp", "each"),
        ("each", "none", "none"),
    ],
)
def test_when_gradients_are_added_up(wanted: str, parallel: str, found: str) -> None:
    assert resolve_sync(wanted, parallel) == found
