"""A second user at a run: looks, and is told why more is not allowed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.schedulers.slurm import Slurm
from tests.pipeline.faults import killer
from tests.pipeline.faults.test_kill import Place
from tests.require import require

NOBODY = 65534


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A run of root's in a folder that everybody can enter."""
    require("root", os.geteuid() == 0, "acting as a second user needs root")
    monkeypatch.setattr(Slurm, "adopt_after_s", 0.0)
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield Place(folder)
    shutil.rmtree(folder)


def other(place: Place, *words: str) -> tuple[int, str]:
    """A command of the second user."""
    code, said = killer.run(place.root, words, place.env, uid=NOBODY)
    assert "Traceback" not in said, said
    return code, said


def test_a_second_user_may_look(place: Place) -> None:
    place.good("submit", "make")
    shutil.rmtree(place.slurm.state / "jobs")  # squeue shows one's own jobs only
    for _ in range(2):
        said = " ".join(other(place, "status")[1].split())  # however its lines are folded
        assert "unknown" in said and "whose run this is" in said
        assert "may not change it" in said, "and that nothing was written"
    place.slurm.state.joinpath("jobs").mkdir()


@pytest.mark.parametrize(
    "words", [("submit", "cut"), ("cancel", "--all"), ("resubmit",), ("repair",)]
)
@pytest.mark.parametrize("mode", [0o755, 0o777], ids=["private", "shared"])
def test_a_second_user_may_not_change(place: Place, mode: int, words: tuple[str, ...]) -> None:
    place.good("submit", "make")
    for folder in (place.root, place.root / "jobs", place.state_dir):
        folder.chmod(mode)
    before = (place.state_dir / "manifest.yaml").read_bytes()
    code, said = other(place, *words)
    assert code == 2, said
    assert f"{place.state_dir}/.lock: this run is root's" in said.replace("\n", "")
    assert (place.state_dir / "manifest.yaml").read_bytes() == before
    assert len(place.slurm.submitted()) == 1


def test_a_second_users_first_command_in_a_folder_that_is_not_his(place: Place) -> None:
    code, said = other(place, "submit", "all")
    assert code == 2 and "jobs/small/.lock" in said and "root's" in said


def test_where_the_umask_is_narrow_the_state_can_still_be_read(place: Place) -> None:
    umask = os.umask(0o077)
    try:
        place.good("submit", "make")
    finally:
        os.umask(umask)
    assert (place.state_dir / "manifest.yaml").stat().st_mode & 0o777 == 0o644
    code, said = other(place, "status")
    assert code == 2 and "Permission denied" in said and "Mend it" in said
