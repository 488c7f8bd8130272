"""The table of causes: which row fits, what its patch changes, what a project's own may hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import causes
from pipeline.causes import Cause
from pipeline.errors import ConfigError
from pipeline.states import State
from tests.pipeline.world import World

BUILT_IN = causes.load(Path("/nowhere"))


def row(name: str) -> Cause:
    return next(row for row in BUILT_IN if row.name == name)


@pytest.mark.parametrize(
    ("state", "code", "text", "name"),
    [
        (State.FAILED, 1, "x\ntorch.OutOfMemoryError: CUDA out of memory.\nend\n", "gpu-memory"),
        (State.OOM, 71, "torch.OutOfMemoryError\n", "gpu-memory"),
        (State.OOM, 71, "error: out of memory at 32 examples at a time. Set\n",
         "gpu-memory-of-examples"),
        (State.OOM, 71, "Killed\n", "memory"),
        (State.OOM, 71, "error: out of memory with 32 answers at a time\n", "answers-memory"),
        (State.FAILED, 65, "error: the quotas are not met: A1 needs 3\n", "quotas"),
        (State.BLOCKED, 78, "error: gate closed by not-circular: true\n", "gate"),
        (State.TIMEOUT, 271, "", "walltime"),
        (State.FAILED, 75, "SIGTERM\n", "preempted"),
        (State.FAILED, 70, "error: training diverged: loss is nan\n", "diverged"),
        (State.FAILED, 1, "error: *** STEP 3.0 CANCELLED DUE TO NODE FAILURE ***\n", "node"),
        (State.LOST, None, "", "lost"),
        (State.BLOCKED, 78, "", "upstream"),
        (State.FAILED, 1, "OSError: [Errno 122] Disk quota exceeded\n", "disk"),
        (State.FAILED, 65, "error: seapile.jsonl: no such file\n", "input"),
        (State.FAILED, 1, "FileNotFoundError: No such file or directory: 'a.pkl'\n", "data"),
        (State.FAILED, 1, "_pickle.UnpicklingError: pickle data was truncated\n", "data"),
        (State.FAILED, 127, "bash: nvidia-smi: command not found\n", "program"),
        (State.FAILED, 1, "Watchdog caught collective operation timeout\n", "network"),
        (State.FAILED, 1, "wandb: Network error (ConnectionError), entering loop.\n", "wandb"),
        (State.FAILED, 3, "something else\n", None),
    ],
)  # fmt: skip
def test_the_first_row_that_fits(
    state: State, code: int | None, text: str, name: str | None
) -> None:
    found, line = causes.find(BUILT_IN, state, code, text)
    assert (found.name if found else None) == name
    if found and found.log:
        assert line in text


def test_the_last_line_that_shows_it_is_told() -> None:
    text = "CUDA out of memory at step 1\nfine\n  CUDA out of memory at step 9  \nbye\n"
    assert causes.find(BUILT_IN, State.FAILED, 1, text)[1] == "CUDA out of memory at step 9"


def test_every_built_in_row_can_be_reached_and_its_patch_be_read(world: World) -> None:
    assert len({row.name for row in BUILT_IN}) == len(BUILT_IN) > 15
    assert {row.name for row in BUILT_IN if row.transient} == {
        "gpu-hardware", "network", "download", "node", "preempted"
    }  # fmt: skip
    batch = {"micro": 8, "train": 8, "accumulation": 1}
    job = patched_job(world, {"batch": batch, "wandb": {"mode": "online"},
                              "optimizer": {"lr": 1e-4, "min_lr": 1e-5},
                              "generate": {"batch_size": 32}})  # fmt: skip
    for row in BUILT_IN:
        assert bool(causes.changes(row, job)) == bool(row.patch), row.name


def patched_job(world: World, parameters: dict[str, Any]) -> Any:
    job = world.plan.job("make")
    return msgspec.structs.replace(job, config={**job.config, "parameters": parameters})


@pytest.mark.parametrize(
    ("word", "before", "after"),
    [("half", 2, "1"), ("half", 7, "3"), ("half", 1, None), ("double", 3, "6"), ("x1.5", 4, "6"),
     ("half", 1e-4, "5e-05"), ("half", "big", None), ("half", None, None),
     ("offline", "on", "offline"), ("offline", "offline", None), (3, 9, "3"), ("half", True, None)],
)  # fmt: skip
def test_what_a_patch_makes_of_a_value(
    world: World, word: Any, before: Any, after: str | None
) -> None:
    cause = Cause("n", "c", "a", log="x", patch={"part.key": word})
    found = causes.changes(cause, patched_job(world, {"part": {"key": before}}))
    assert [change.after for change in found] == ([after] if after else [])


@pytest.mark.parametrize(("train", "after"), [(32, ["16", "2"]), (2, ["1", "2"]), (3, []), (1, [])])
def test_a_batch_is_halved_only_where_the_update_keeps_its_examples(
    world: World, train: int, after: list[str]
) -> None:
    job = patched_job(world, {"batch": {"train": train, "accumulation": 1}})
    found = causes.changes(row("gpu-memory-of-examples"), job)
    assert [change.after for change in found] == after


def test_half_of_nothing_leaves_the_rest_of_a_patch(world: World) -> None:
    job = patched_job(world, {"optimizer": {"lr": 2e-4, "min_lr": 0.0}})
    assert [str(change) for change in causes.changes(row("diverged"), job)] == [
        "optimizer.lr 0.0002 -> 0.0001"
    ]


def test_walltime_and_memory_are_written_as_a_study_writes_them(world: World) -> None:
    job = world.plan.job("make")
    assert [f"{c.key}={c.after}" for c in causes.changes(row("walltime"), job)] == [
        "stages.make.resources.walltime=02:00:00"
    ]
    assert [f"{c.key}={c.after}" for c in causes.changes(row("memory"), job)] == [
        "stages.make.resources.mem=2000MB"
    ]


def test_a_patch_may_give_walltime_and_memory_themselves(world: World) -> None:
    given = {
        "stages.<stage>.resources.walltime": "03:00:00",
        "stages.<stage>.resources.mem": "2GiB",
    }
    cause = Cause("n", "c", "a", log="x", patch={**given})
    found = causes.changes(cause, world.plan.job("make"))
    assert [change.after for change in found] == ["03:00:00", "2048MiB"]


def test_a_project_adds_and_replaces_rows(tmp_path: Path) -> None:
    (tmp_path / "causes.yaml").write_text(
        "causes:\n"
        "- {name: mine, cause: mine, advice: do, log: 'my error'}\n"
        "- {name: gpu-memory, cause: other, advice: do, log: CUDA out}\n"
    )
    rows = causes.load(tmp_path)
    assert len(rows) == len(BUILT_IN) + 1
    assert causes.find(rows, State.FAILED, 1, "my error\n")[0] == rows[0]
    found = causes.find(rows, State.FAILED, 1, "CUDA out of memory\n")[0]
    assert found is not None and found.cause == "other"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "mapping"),
        ("rows: []", "expected one key, `causes`"),
        ("causes: {a: 1}", "list of rows"),
        ("causes: [{name: a, cause: b, advice: c}]", "fits everything"),
        ("causes: [{name: a, cause: b, advice: c, log: '('}]", "no regular expression"),
        ("causes: [{name: a, cause: b, advice: c, log: x, patches: {}}]", "patches"),
        ("causes: [{name: a, cause: b, advice: c, states: [sad]}]", "states"),
        ("causes: [{name: a, cause: b, log: x}]", "advice"),
        ("causes: [{name: a, cause: b, advice: c, log: x}, {name: a, cause: b, advice: c, log: y}]",
         "two rows are called 'a'"),
        ("causes: [{name: a, cause: b, advice: c, log: x, patch: {s.resources.mem: much}}]",
         "'much' is no size"),
        ("causes: [{name: a, cause: b, advice: c, log: x, patch: {s.resources.walltime: long}}]",
         "'long' is no walltime"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "causes.yaml").write_text(text)
    with pytest.raises(ConfigError, match="causes.yaml") as found:
        causes.load(tmp_path)
    assert says in str(found.value)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "p")
