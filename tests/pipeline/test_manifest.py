"""The manifest: readable, whole, under a lock, rebuilt from what stands beside it."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import lock
from pipeline.errors import StateError
from pipeline.manifest import Attempt, Entry, Intent, Manifest, Store, now
from pipeline.states import State


def small(tasks: str = "1-4") -> Manifest:
    entry = Entry("cut", "a", 4)
    entry.attempts.append(
        Attempt(1, "t0000001", tasks, "attempts/cut_a.1.sh", "d" * 64, now(), "submitted", "L1")
    )
    entry.set_states({1: State.COMPLETED, 2: State.COMPLETED, 3: State.FAILED, 4: State.QUEUED})
    return Manifest("s", "local", "local", [], {"cut_a": entry})


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    store, written = Store(tmp_path), small()
    with store.locked():
        store.write(written)
    assert store.read() == written
    text = store.path.read_text()
    assert "completed: 1-2" in text and "token: t0000001" in text


def test_what_every_attempt_has_is_written_even_if_empty(tmp_path: Path) -> None:
    store, written = Store(tmp_path), small()
    written.jobs["cut_a"].attempts[0].digest = ""
    with store.locked():
        store.write(written)
    assert store.read() == written


def test_writing_without_the_lock_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        Store(tmp_path).write(small())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<<<<<<< HEAD\nversion: 1\n", "merge-conflict marker"),
        ("version: 99\nstudy: s\n", "newer pipeline"),
        ("version: 1\n", "study"),
        ("[]", "list"),
        ("version: 1\nstudy: s\nsite: l\nscheduler: local\njobs: {a: 3}\n", "jobs"),
        ("\x00", "not valid YAML"),
        ("version: 1\nstudy: s\nsite: l\nscheduler: l\njobs: {a: {stage: s, arm: '', tasks: 2, "
         "states: {completed: 2-1}}}", "ends before"),
    ],
    ids=["conflict", "newer", "keys missing", "a list", "wrong type", "binary", "bad range"],
)  # fmt: skip
def test_a_damaged_manifest_is_an_error_with_a_remedy(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "manifest.yaml").write_text(text)
    with pytest.raises(StateError, match=message) as error:
        Store(tmp_path).read()
    assert "manifest.yaml" in str(error.value)
    assert "repair" in str(error.value) or "Upgrade" in str(error.value)


def _add(folder: str, name: str, rounds: int) -> None:
    store = Store(Path(folder))
    for number in range(rounds):
        with store.locked():
            found = store.read() or Manifest("s", "local", "local")
            found.jobs[f"{name}-{number}"] = Entry("s", "", 1)
            store.write(found)


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add, args=(str(tmp_path), n, 25)) for n in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    found = Store(tmp_path).read()
    assert found is not None and len(found.jobs) == 50


def test_a_lock_that_nobody_gives_back_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "TIMEOUT_S", 0.1)
    second = pytest.raises(StateError, match="held by `pipeline.*pid")
    with Store(tmp_path).locked(), second, Store(tmp_path).locked():
        raise AssertionError("two commands hold the lock")


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot be written"), Store(tmp_path / "file/x").locked():
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_leaves_the_old_manifest(tmp_path: Path) -> None:
    import subprocess

    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        store = Store(tmp_path)
        with store.locked():
            store.write(small())
            before = store.path.read_bytes()
            (tmp_path / "ballast").write_bytes(b"x" * 40_000)
            big = small()
            big.jobs["cut_a"].attempts[0].note = "y" * 40_000
            with pytest.raises(StateError, match="No space left.*untouched"):
                store.write(big)
        assert store.path.read_bytes() == before
        assert not list(tmp_path.glob(".*.tmp"))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_intents_stand_beside_the_scripts(tmp_path: Path) -> None:
    store, found = Store(tmp_path), small()
    entry = found.jobs["cut_a"]
    store.write_intent(Intent("here", "cut_a", "cut", "a", 4, entry.attempts[0]), "#!/bin/bash\n")
    (tmp_path / "attempts/broken.json").write_text('{"job": "cut')
    assert [i.attempt.token for i in store.intents()] == ["t0000001"]
    assert os.access(tmp_path / "attempts/cut_a.1.sh", os.X_OK)


@given(tasks=st.sets(st.integers(1, 60), min_size=1))
def test_each_task_has_its_index(tasks: set[int]) -> None:
    from pipeline.ranges import to_ranges

    indices = Attempt(1, "t", to_ranges(tasks), "s", "d", now()).indices()
    if len(tasks) == 1:
        assert indices == {next(iter(tasks)): 0}
    else:
        assert indices == {task: index for index, task in enumerate(sorted(tasks), 1)}
