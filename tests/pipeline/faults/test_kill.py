"""A command that is killed at a write: no job is lost, none is doubled, and the next goes on.

By default at the first event, or two, that each way through the package leads to; with
PIPELINE_TEST_EVERY_WRITE=1 at every event.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.schedulers.slurm import Slurm
from tests.pipeline.clusters import ROOT, site_yaml
from tests.pipeline.faults import killer
from tests.pipeline.faults.fakeslurm import FakeSlurm

STUDY = """
study: small
state_dir: jobs/small
stages:
  make: {kind: command, run: [echo, make]}
  cut: {kind: command, needs: [make], run: [echo, "{task}"], array: {over: chunks, count: 3}}
resources: {gpus: 0, cpus: 1, mem: 1GB, walltime: "01:00:00"}
"""
ALL_ONCE = ["cut 1 ok", "cut 2 ok", "cut 3 ok", "make 1 ok"]
EVERY = os.environ.get("PIPELINE_TEST_EVERY_WRITE") == "1"


class Place:
    """A project with a fake Slurm, whose state can be put back to what it was."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "now/project"
        for name in ("studies", "sites"):
            (self.root / name).mkdir(parents=True)
        (self.root / "job_templates").symlink_to(ROOT / "job_templates")
        (self.root / "studies/small.yaml").write_text(STUDY)
        (self.root / "sites/default.yaml").write_text(site_yaml("slurm", self.root))
        self.slurm = FakeSlurm(folder / "now")
        self.env = {
            "FAKE": str(self.slurm.state), "PIPELINE_STUDY": "small", "COLUMNS": "200",
            "PATH": f"{self.slurm.bin}:{os.environ['PATH']}",
        }  # fmt: skip
        self.log = folder / "events"

    @property
    def state_dir(self) -> Path:
        return self.root / "jobs/small"

    def save(self) -> None:
        shutil.copytree(self.folder / "now", self.folder / "saved", symlinks=True)

    def restore(self) -> None:
        shutil.rmtree(self.folder / "now")
        shutil.copytree(self.folder / "saved", self.folder / "now", symlinks=True)

    def run(self, *words: str, kill_at: int | None = None, log: bool = False) -> tuple[int, str]:
        found = killer.run(self.root, words, self.env, self.log if log else None, kill_at)
        assert "Traceback" not in found[1], found[1]
        return found

    def good(self, *words: str) -> str:
        code, said = self.run(*words)
        assert code == 0, f"{words}: exit {code}\n{said}"
        return said

    def finish(self) -> None:
        """What a user does after a crash: looks, repairs if told to, and goes on."""
        code, said = self.run("status")
        if "pipeline repair" in said:
            self.good("repair")
            code, said = self.run("status")
        assert code in (0, 1), said
        self.good("submit", "all")
        assert_queued_once(self)
        self.slurm.drain(self.state_dir)
        assert "all is complete" in self.good("submit", "all")
        assert self.slurm.queued() == []


def assert_queued_once(place: Place) -> None:
    queued = [job for _, job, _ in place.slurm.queued()]
    assert len(queued) == len(set(queued)), f"queued twice: {queued}"
    assert len(place.slurm.submitted()) == len(set(place.slurm.submitted()))


def fresh(place: Place) -> None:
    """Nothing was submitted yet."""


def under_way(place: Place) -> None:
    """All is queued, the first job has run, and of another the answer got lost."""
    place.good("submit", "make")
    place.slurm.drain(place.state_dir)
    (place.slurm.state / "mute").touch()
    assert place.run("submit", "cut")[0] == 3
    (place.slurm.state / "mute").unlink()


def failed(place: Place) -> None:
    """One task failed."""
    place.good("submit", "all")
    place.slurm.drain(place.state_dir, failing={("cut", 2)})
    place.run("status")


def queued(place: Place) -> None:
    """All is queued."""
    place.good("submit", "all")


def lost(place: Place) -> None:
    """The manifest is damaged while a job is queued and of another the answer got lost."""
    under_way(place)
    manifest = place.state_dir / "manifest.yaml"
    manifest.write_text("<<<<<<< HEAD\n" + manifest.read_text())


CASES: dict[str, tuple[Callable[[Place], None], tuple[str, ...], list[str]]] = {
    "submit": (fresh, ("submit", "all"), ALL_ONCE),
    "status": (under_way, ("status",), ALL_ONCE),
    "resubmit": (failed, ("resubmit", "--failed"), sorted([*ALL_ONCE, "cut 2 fail-1"])),
    "cancel": (queued, ("cancel", "--all"), ALL_ONCE),
    "repair": (lost, ("repair",), ALL_ONCE),
}


def chosen(events: list[killer.Event]) -> list[int]:
    """The numbers of the events to die at: the first of each line's, the last of its renames and
    programs."""
    if EVERY:
        return list(range(len(events) + 1))
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for number, event in enumerate(events):
        key = f"{event['event']} {event['site']}"
        first.setdefault(key, number)
        if event["event"] in ("os.rename", "started"):
            last[key] = number
    return sorted({*first.values(), *last.values()})


@pytest.mark.parametrize("command", CASES)
def test_killed_at_every_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(Slurm, "adopt_after_s", 0.0)  # the fake answers at once or never
    prepare, words, wanted = CASES[command]
    place = Place(tmp_path)
    prepare(place)
    place.save()
    place.run(*words, log=True)
    events = killer.events(place.log)
    assert len({str(event["site"]) for event in events}) > 5, "it wrote nothing"
    for number in chosen(events):
        place.restore()
        code, _ = place.run(*words, kill_at=number, log=True)
        what = f"killed before event {number}: {events[number : number + 1]}"
        assert code == -9 or number == len(events), what
        left = len(list(place.state_dir.rglob(".*.tmp")))
        assert left <= 1, f"{what}: {left} temporary files"
        place.finish()
        assert place.slurm.ran() == wanted, what
        assert len(list(place.state_dir.rglob(".*.tmp"))) == left, "the next commands leave none"
