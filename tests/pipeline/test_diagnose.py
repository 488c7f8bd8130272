"""The reason, the line that shows it, the remedy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline import diagnose
from pipeline.report import TaskStatus
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
        ("torch.OutOfMemoryError: CUDA out of memory\n", "memory on the GPU", "micro batch"),
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


def test_out_of_memory_without_a_word_of_the_gpu_asks_for_memory(world: World) -> None:
    found = explain(world, "fail-71")
    assert [str(change) for change in found.changes] == [
        "stages.make.resources.mem 1000MB -> 2000MB"
    ]


def test_the_log_of_an_older_attempt_explains_nothing(world: World) -> None:
    explain(world, "fail-1", "error: it broke\n")
    job = world.plan.job("make")
    world.engine.resubmit([job], only_failed=True)
    found = diagnose.why(job, world.engine.status().jobs["make"].tasks[1], world.root)
    assert (found.state, found.log, found.line) == (State.QUEUED, "", "")


@pytest.mark.parametrize(
    ("job_id", "index", "file"),
    [("4", 7, "4_7.out"), ("12[].vm", 7, "12[7].vm.OU"), ("L3", 7, "make.L3_7.out"),
     ("4", 0, "4.out"), ("12.vm", 0, "12.vm.OU"), ("L3", 0, "make.L3.out"),
     ("4_7", 0, "4_7.out"), ("12[7].vm", 0, "12[7].vm.OU")],
)  # fmt: skip
def test_the_schedulers_own_file_of_just_this_task(
    world: World, job_id: str, index: int, file: str
) -> None:
    job = world.plan.job("make")
    folder = world.root / job.log_dir / "scheduler"
    for name in (file, "14_7.out", "4_17.out", "12[17].vm.OU", "make.L13_7.out"):
        (folder / name).write_text(f"error: {name}\n")
    status = TaskStatus(7, State.FAILED, "scheduler", id=job_id, index=index)
    assert diagnose.why(job, status, world.root).line == f"error: {file}"


def test_the_newest_log_of_each_task(world: World) -> None:
    job = world.plan.job("make")
    folder = world.root / job.log_dir
    for at, name in enumerate(("2.F1_2.log", "1.F9.log", "1.F1_1.log", "x.log", "12.F1_12.log")):
        (folder / name).write_text("")
        os.utime(folder / name, (at, at))
    found = {task: path.name for task, path in diagnose.log_files(job, world.root).items()}
    assert found == {1: "1.F1_1.log", 2: "2.F1_2.log", 12: "12.F1_12.log"}


def test_a_failed_task_of_an_array_has_its_own_log(tmp_path: Path) -> None:
    world = World(tmp_path / "p")
    world.engine.submit(world.plan.select(["make", "cut"]))
    job = world.plan.job("cut_a")
    for task in (3, 13):
        (world.root / job.log_dir / f"{task}.F2_{task}.log").write_text(f"error: in {task}\n")
    world.receipt("cut_a", 3, "F2_3", "fail-7")
    status = world.engine.status().jobs["cut_a"].tasks[3]
    assert diagnose.why(job, status, world.root).line == "error: in 3"
