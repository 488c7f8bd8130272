"""Which checkpoint is gone on from, on checkpoints that torch itself wrote."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.state_dict_saver import save

from training.nemo.checkpoints import fault, newest_whole, set_aside


def write(root: Path, name: str) -> Path:
    """A checkpoint as NeMo lays it out: two tensors in weights/, and the files beside them."""
    path = root / name
    weights = path / "weights"
    state = {"a": torch.ones(1000), "b": torch.zeros(10)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it saves in one process
        save(state, checkpoint_id=weights, no_dist=True)
    (weights / "metadata.json").write_text("{}")
    (weights / "common.pt").touch()
    (path / "context").mkdir()
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    for name in ("step_00000002", "step_00000005", "step_00000006-last"):
        write(folder, name)
    (folder / "base").mkdir()
    return folder


def data_file(path: Path) -> Path:
    return max((path / "weights").glob("*.distcp"))


def test_the_newest_is_taken(root: Path, tmp_path: Path) -> None:
    assert newest_whole(root) == root / "step_00000006-last"
    assert newest_whole(tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda p: Path(f"{p}-unfinished").touch(), "it was being written"),
        (lambda p: os.truncate(data_file(p), 100), " has 100 bytes of "),
        (lambda p: data_file(p).unlink(), " has 0 bytes of "),
        (lambda p: (p / "weights" / ".metadata").unlink(), "weights/.metadata is missing"),
        (lambda p: (p / "weights" / "common.pt").unlink(), "weights/common.pt is missing"),
        (lambda p: (p / "context").rmdir(), "context is missing"),
    ],
    ids=["unfinished", "truncated", "gone", "no index", "no common part", "no context"],
)
def test_a_broken_one_gives_way(
    root: Path, capsys: pytest.CaptureFixture[str], spoil: object, reason: str
) -> None:
    newest = root / "step_00000006-last"
    assert callable(spoil)
    spoil(newest)
    assert reason in fault(newest)
    assert newest_whole(root) == root / "step_00000005"
    set_aside(root)
    told = capsys.readouterr().err
    assert f"{newest} is not whole" in told and reason in told
    assert (root.with_name("run.broken") / newest.name).is_dir() and not newest.exists()
    assert not Path(f"{newest}-unfinished").exists(), "NeMo would refuse to start over it"


def test_a_second_one_of_that_name_has_room(root: Path) -> None:
    for _ in range(2):
        (root / "step_00000005" / "context").rmdir()
        set_aside(root)
        write(root, "step_00000005")
    broken = sorted(path.name for path in root.with_name("run.broken").iterdir())
    assert broken == ["step_00000005", "step_00000005.2"]
