"""The reason, the line that shows it, the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import diagnose
from pipeline.states import State
from tests.pipeline.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "p")
    world.engine.submit(world.plan.select(["make"]))
    return world


def explain(world: World, kind: str, log: str = "", **content: Any) -> diagnose.Diagnosis:
    world.receipt("make", 1, "F1", kind, host="n7", **content)
    job = world.plan.job("make")
    folder = world.root / job.log_dir
    folder.mkdir(parents=True, exist_ok=True)
    if log:
        (folder / "1.F1.log").write_text(log)
    return diagnose.why(job, world.engine.status().jobs["make"].tasks[1], world.root)


@pytest.mark.parametrize(
    ("log", "cause", "advice"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory\n", "memory on the GPU", "batch.micro=1"),
        ("error: none. Re-run training/nemo/setup/setup_enroot.sh\n", "container", "setup_enroot"),
        ("wandb: Network error (ConnectionError)\n", "Weights & Biases", "offline"),
        ("OSError: [Errno 28] No space left on device\n", "disk", "free space"),
        ("ModuleNotFoundError: No module named 'nemo'\n", "package", "environment"),
        ("[rank0]: Watchdog caught collective operation timeout\n", "network", "network_interface"),
        ("error: training diverged: loss is nan at step 5\n", "diverged", "learning rate"),
    ],
    ids=["oom", "container", "wandb", "disk", "package", "nccl", "diverged"],
)  # fmt: skip
def test_a_known_line_has_its_remedy(world: World, log: str, cause: str, advice: str) -> None:
    found = explain(world, "fail-1", log)
    assert found.state == State.FAILED and cause in found.cause and advice in found.advice
    assert found.line in log and found.receipt["host"] == "n7"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("fail-65", "bad input"), ("fail-70", "diverged"), ("fail-75", "checkpoint"),
     ("fail-127", "command not found")],
)  # fmt: skip
def test_a_known_exit_code_is_explained(world: World, kind: str, reason: str) -> None:
    assert reason in explain(world, kind).reason


def test_a_closed_gate_names_what_it_waits_for(world: World) -> None:
    found = explain(world, "fail-78", gate="cut_a (task 3,5 of 6)")
    assert found.state == State.BLOCKED and found.reason == "cut_a (task 3,5 of 6)"
    assert "resubmit --failed" in found.advice


def test_an_unknown_failure_shows_the_last_line_that_looks_like_one(world: World) -> None:
    found = explain(world, "fail-3", "fine\nsomething: error: it broke\nbye\n")
    assert found.line == "something: error: it broke" and found.cause == ""


def test_a_huge_log_of_any_bytes_is_read_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\xff" * 1_000_000 + b"\nCUDA out of memory\n")
    assert diagnose.tail(path).endswith("CUDA out of memory\n")


def test_success_needs_no_remedy(world: World) -> None:
    found = explain(world, "ok", "error: a word in a log of a task that ended well\n")
    assert found.state == State.COMPLETED and not found.advice and not found.line
