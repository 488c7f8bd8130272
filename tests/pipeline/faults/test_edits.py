"""A manifest that somebody edited, or another version wrote; scripts that somebody edited."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import yamlio
from pipeline.errors import Damaged, StateError
from tests.pipeline.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "p")
    world.engine.submit(world.plan.select(["make", "cut"]))
    return world


def edit(world: World, change: Callable[[str], str]) -> None:
    path = world.engine.store.path
    text = change(path.read_text())
    assert text != path.read_text(), "the test edited nothing"
    path.write_text(text)


def without(job: str) -> Callable[[str], str]:
    """Takes a job's entry out."""

    def change(text: str) -> str:
        raw = yamlio.parse(text, "manifest")
        del raw["jobs"][job]
        return yamlio.dump(raw)

    return change


def test_an_entry_that_was_taken_out_comes_back(world: World) -> None:
    edit(world, without("make"))
    with pytest.raises(StateError, match="make is active"):
        world.new_engine().submit([world.plan.job("make")])
    assert world.states("make") == {"queued": "1"}
    manifest = world.engine.store.read()
    assert manifest and manifest.jobs["make"].attempts[0].id == "F1"
    assert len(world.scheduler.submitted) == 3


def test_an_entry_that_was_taken_out_comes_back_with_a_look_too(world: World) -> None:
    edit(world, without("cut_a"))
    report = world.new_engine().status()
    assert report.adopted == ["cut_a"] and report.jobs["cut_a"].id == "F2"


def test_states_that_were_edited_are_found_out_again(world: World) -> None:
    edit(world, lambda text: text.replace("queued: 1-6", "completed: 1-6"))
    assert world.states("cut_a") == {"queued": "1-6"}


def test_an_attempt_that_was_edited_to_cancelled_is_what_the_scheduler_says(world: World) -> None:
    edit(world, lambda text: text.replace("state: submitted", "state: cancelled"))
    assert world.states("make") == {"queued": "1"}
    world.receipt("make", 1, "F1", "ok")
    assert world.states("make") == {"completed": "1"}


def test_an_edited_id_completes_nothing(world: World) -> None:
    world.receipt("make", 1, "F77", "ok", at=1.0)  # what another run left, years ago
    edit(world, lambda text: re.sub(r"\bid: F1\b", "id: F5", text))
    assert world.states("make") == {"unknown": "1"}


def test_an_edited_script_is_shown_and_not_submitted(world: World) -> None:
    world.finish("make", "fail-1")
    job = world.plan.job("make")
    script = world.root / f"{job.script}.sbatch"
    script.write_text("#!/bin/bash\necho edited\n")
    frozen = world.state_dir / "attempts/make.1.sbatch"
    frozen.write_text(frozen.read_text() + "# edited\n")
    _, before, after = world.engine.diffs([job])[0]
    assert "# edited" in before and "# edited" not in after
    world.engine.submit([job])
    for text in (script.read_text(), (world.state_dir / "attempts/make.2.sbatch").read_text()):
        assert "echo edited" not in text and "# edited" not in text


@pytest.mark.parametrize("version", ["0", "null", "-1", "'1'", "1.5", ""])
def test_a_version_that_never_was(world: World, version: str) -> None:
    line = f"version: {version}\n" if version else ""
    edit(world, lambda text: text.replace("version: 1\n", line))
    with pytest.raises(Damaged, match=r"version is .*, which none ever had.*pipeline repair"):
        world.new_engine().status()
    manifest, aside = world.engine.repair()
    assert aside is not None and manifest.version == 1
    assert world.states("cut_a") == {"queued": "1-6"}
    assert len(world.scheduler.submitted) == 3


def test_a_newer_version_is_left_alone(world: World) -> None:
    edit(world, lambda text: text.replace("version: 1\n", "version: 2\n"))
    before = world.engine.store.path.read_bytes()
    for command in (world.new_engine().status, world.engine.repair):
        with pytest.raises(StateError, match="written by a newer pipeline.*Upgrade"):
            command()
    assert world.engine.store.path.read_bytes() == before


def test_the_first_manifests_are_read_as_they_are(world: World) -> None:
    """Of version 1 from before attempts had `before`, and departures a host."""

    def change(text: str) -> str:
        raw = yamlio.parse(text, "manifest")
        attempt = raw["jobs"]["make"]["attempts"][0]
        attempt.pop("before", None)
        attempt["gone"] = {"2026-11-20T10:00:00.000+00:00": "1"}
        return yamlio.dump(raw)

    world.scheduler.jobs.pop("F1")
    edit(world, change)
    assert world.states("make") == {"lost": "1"}


def test_keys_of_a_later_minor_change_are_passed_over(world: World) -> None:
    edit(world, lambda text: text.replace("version: 1\n", "version: 1\ncolour: blue\n"))
    assert world.states("make") == {"queued": "1"}
