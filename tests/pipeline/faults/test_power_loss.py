"""Power loss: what a later step relies on is on the disk before that step.

Checked by the order of what reaches the kernel: a file is synced before it gets its name, and its
folder is synced before whatever comes next (the scheduler's command, the next file, the end).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline import localq, yamlio
from pipeline.schedulers.slurm import Slurm
from tests.pipeline.faults import killer
from tests.pipeline.faults.test_kill import Place, failed, fresh, lost, queued, under_way
from tests.pipeline.world import World


def recorded(folder: Path, action: Callable[[], object]) -> list[killer.Event]:
    """The events of an action, which happens in a process of its own."""
    log = folder / "power.events"
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            killer.install(killer.Recorder(log, None))
            action()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0, "the action itself failed"
    return killer.events(log)


def broken(events: Sequence[killer.Event], below: Path) -> list[str]:
    """What breaks the law among the renames below a folder, and the new folders that they need."""
    said = []
    for number, event in enumerate(events):
        if event["event"] == "os.rename" and event["paths"][1].startswith(str(below)):
            source, target = event["paths"][:2]
            if not any(synced(e, source) for e in events[:number]):
                said.append(f"{target} has a name before its content is on the disk")
            if not any(synced(e, os.path.dirname(target)) for e in before_next(events, number)):
                said.append(f"{target}: its name is not on the disk before what comes next")
            said += unsynced_folders(events[:number], os.path.dirname(target))
    return said


def synced(event: killer.Event, path: str) -> bool:
    return bool(event["event"] == "fsync" and event["paths"] == [path])


def before_next(events: Sequence[killer.Event], number: int) -> list[killer.Event]:
    """The events after one and before the next file or program is begun."""
    rest = list(events[number + 1 :])
    for index, event in enumerate(rest):
        if event["event"] in ("open", "os.rename", "subprocess.Popen"):
            return rest[:index]
    return rest


def unsynced_folders(events: Sequence[killer.Event], folder: str) -> list[str]:
    """Of a folder and those above it, the ones made here whose own names are not on the disk."""
    said = []
    for number, event in enumerate(events):
        path = event["paths"][0] if event["paths"] else ""
        needed = event["event"] == "os.mkdir" and f"{folder}/".startswith(f"{path}/")
        if needed and not any(synced(e, os.path.dirname(path)) for e in events[number:]):
            said.append(f"{path} is a new folder, and its name is not on the disk")
    return said


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (fresh, ("submit", "all")), (under_way, ("status",)), (failed, ("resubmit", "--failed")),
        (queued, ("cancel", "--all")), (lost, ("repair",)),
    ],
    ids=["submit", "status", "resubmit", "cancel", "repair"],
)  # fmt: skip
def test_every_write_of_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[Place], None],
    words: tuple[str, ...],
) -> None:  # fmt: skip
    monkeypatch.setattr(Slurm, "adopt_after_s", 0.0)
    place = Place(tmp_path)
    prepare(place)
    place.run(*words, log=True)
    events = killer.events(place.log)
    assert any(e["event"] == "os.rename" for e in events), "it wrote nothing"
    assert broken(events, place.root) == []


def test_the_intent_is_on_the_disk_when_the_scheduler_is_called(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.run("submit", "all", log=True)
    events = killer.events(place.log)
    calls = [
        n for n, e in enumerate(events)
        if e["event"] == "subprocess.Popen" and "sbatch" in str(e["paths"])
    ]  # fmt: skip
    assert len(calls) == 2
    begin = 0
    for number, job in zip(calls, ("make", "cut"), strict=True):
        named = [
            Path(e["paths"][1]).name for e in events[begin:number] if e["event"] == "os.rename"
        ]
        assert named[-3:] == [f"{job}.1.sbatch", f"{job}.1.json", "manifest.yaml"]
        begin = number
    assert "manifest.yaml" in str(events[calls[-1] :]), "and the id after it"


def write_pipeline(folder: Path) -> None:
    yamlio.write_atomic(folder / "new/deep/x.yaml", "a: 1\n")


def write_corpus(folder: Path) -> None:
    from corpus import files

    files.write_json(folder / "x.json", {"a": 1})


def write_training(folder: Path) -> None:
    from training import contract

    contract.write_atomic(folder / "x.json", "{}\n")
    with contract.publish_directory(folder / "checkpoint") as new:
        (new / "shards").mkdir()
        (new / "shards/0.bin").write_bytes(b"x")


def write_evaluation(folder: Path) -> None:
    from evaluation import files

    files.write_json(folder / "x.json", {"a": 1})


@pytest.mark.parametrize(
    "write", [write_pipeline, write_corpus, write_training, write_evaluation],
    ids=lambda function: function.__name__,
)  # fmt: skip
def test_files_of_every_package(tmp_path: Path, write: Callable[[Path], None]) -> None:
    pytest.importorskip("numpy") if write is not write_pipeline else None
    events = recorded(tmp_path, lambda: write(tmp_path))
    published = str(tmp_path / "checkpoint")
    files = [e for e in events if e["event"] != "os.rename" or e["paths"][1] != published]
    assert any(e["event"] == "os.rename" for e in files)
    assert broken(files, tmp_path) == []


def test_a_published_folder_is_whole(tmp_path: Path) -> None:
    events = recorded(tmp_path, lambda: write_training(tmp_path))
    target, source = str(tmp_path / "checkpoint"), str(tmp_path / ".checkpoint.tmp")
    number = next(
        n for n, e in enumerate(events) if e["event"] == "os.rename" and e["paths"][1] == target
    )
    for path in (f"{source}/shards/0.bin", f"{source}/shards", source):
        assert any(synced(e, path) for e in events[:number]), path
    assert any(synced(e, str(tmp_path)) for e in events[number:])


def test_a_local_job_is_on_the_disk_before_its_id_is_told(tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text("#!/bin/bash\n")
    spool = localq.Spool(str(tmp_path / "spool"))
    options = ["submit", "--spool", str(spool.path), "--output", str(tmp_path), str(script)]
    arguments: argparse.Namespace = localq.parser().parse_args(options)
    events = recorded(tmp_path, lambda: localq.enqueue(spool, arguments))
    renamed = [n for n, e in enumerate(events) if e["event"] == "os.rename"]
    assert [Path(events[n]["paths"][1]).name for n in renamed] == ["script", "job.json"]
    for number in renamed:
        assert any(synced(e, events[number]["paths"][0]) for e in events[:number])
    for folder in ("spool/jobs/L1", "spool/jobs"):
        assert any(synced(e, str(tmp_path / folder)) for e in events[renamed[-1] :]), folder


def test_a_receipt_is_on_the_disk_before_the_one_of_its_start_goes(tmp_path: Path) -> None:
    world = World(tmp_path / "p")
    world.engine.submit(world.plan.select(["make"]))
    tools, log = tmp_path / "tools", tmp_path / "calls"
    tools.mkdir()
    for name in ("sync", "mv", "rm"):
        (tools / name).write_text(
            f'#!/bin/bash\nprintf "%s\\n" "{name} ${{*##*/}}" >>"{log}"\nexec /bin/{name} "$@"\n'
        )
        (tools / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = world.state_dir / "attempts/make.1.sbatch"
    done = subprocess.run(
        ["bash", str(script)], env={**env, "SLURM_JOB_ID": "7"}, cwd=world.root, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    receipt = world.state_dir / "receipts/make/1.7.ok"
    assert json.loads(receipt.read_text())["exit"] == 0
    calls = log.read_text().splitlines()
    wanted = [
        "sync -- .1.7.ok.tmp", "mv -f -- .1.7.ok.tmp 1.7.ok", "sync -- make", "rm -f -- 1.7.run"
    ]  # fmt: skip
    assert calls[-4:] == wanted, calls
