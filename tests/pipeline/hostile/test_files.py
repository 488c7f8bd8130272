"""Files of any bytes where a manifest, receipt, intent, progress file or table of causes should be:
what is read is whole, empty, or refused by the file's name."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import causes, diagnose, manifest, patches, receipts, site, study, yamlio
from pipeline.errors import ConfigError, StateError
from pipeline.manifest import Attempt, Entry, Intent, Manifest, Store
from pipeline.states import State
from pipeline.view import common
from pipeline.view import status as status_view
from pipeline.view import tasks as tasks_view
from tests.pipeline.hostile.values import (
    ROOT,
    SHELL,
    fuzz,
    mutated,
    printed,
    strict_json,
    text_of,
)
from tests.pipeline.world import World

ATTEMPT = Attempt(
    1, "t0123456", "1-3", "attempts/cut_a.1.sbatch", "d", manifest.now(), "submitted", "12[].s",
    "note", 0, 0, ["batch.micro=1"], {f"{manifest.now()} host": "2"},
)  # fmt: skip
MANIFEST: dict[str, Any] = manifest._encode(
    Manifest(
        "small",
        "here",
        "slurm",
        ["p"],
        {
            "cut_a": Entry("cut", "a", 3, {State.RUNNING: "1-2", State.QUEUED: "3"}, [ATTEMPT]),
            "old": Entry("old", "", 2, {State.RUNNING: "1-2"}, []),
        },
    )
)
INTENT = msgspec.to_builtins(Intent("here", "cut_a", "cut", "a", 3, ATTEMPT))
CAUSES = yamlio.load(ROOT / "pipeline/causes.yaml")
RECEIPT = {
    "job": "make", "task": 1, "id": "F1", "token": "t0", "attempt": 1, "digest": "d", "host": "n1",
    "pid": 4, "start": 1_700_000_000, "walltime": 60, "end": 1_700_000_009, "exit": 1, "signal": 15,
    "gate": "make (task 1 of 1)",
}  # fmt: skip
PROGRESS = {
    "done": 5, "total": 10, "rate": 2.5, "unit": "steps", "rate_unit": "tokens/s", "loss": 5.31,
    "message": "m", "time": 1_700_000_000,
}  # fmt: skip
# JSON that is JSON for Python, or for nobody.
WORDS = [
    "null", "true", "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 400, "1" * 5000, "-0",
    "1e308", '"\\ud800"', '"\\u0000"', '"\\u001b[2J"', '"\\u202e"', '"' + "x" * 5000 + '"', "[]",
    "{}", "[" * 5000 + "]" * 5000, "[" * 100_000, '{"a": ' * 900 + "1" + "}" * 900, "[1]",
    '{"a": 1}', '""', '"x"', "15", "9", "1.5", "",
]  # fmt: skip
JSON = st.one_of(
    st.sampled_from(WORDS), st.text(max_size=20).map(json.dumps), st.integers().map(str),
    st.floats().map(json.dumps), st.sampled_from([json.dumps(text) for text in SHELL]),
)  # fmt: skip


def json_of(fields: dict[str, str]) -> bytes:
    pairs = ", ".join(f"{json.dumps(key)}: {value}" for key, value in fields.items())
    return f"{{{pairs}}}".encode("utf-8", "surrogatepass")


def odd(content: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """A JSON object with some of its values replaced; or any bytes."""
    whole = {key: json.dumps(value) for key, value in content.items()}
    some = st.dictionaries(st.sampled_from([*whole]), JSON, max_size=4)
    return st.one_of(
        some.map(lambda changes: json_of(whole | changes)), st.binary(max_size=60),
        JSON.map(lambda text: text.encode("utf-8", "surrogatepass")),
    )  # fmt: skip


@fuzz(150)
@given(st.one_of(st.binary(max_size=80), st.text(max_size=80).map(lambda t: t.encode("utf-16"))))
def test_any_bytes_as_any_of_the_files(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(data)
    with contextlib.suppress(ConfigError):  # `?` is a mapping
        yamlio.load(path)
    for load in (study.load, lambda p: site.load(tmp_path, str(p))):
        with pytest.raises(ConfigError, match="f.yaml"):
            load(path)
    (tmp_path / "causes.yaml").write_bytes(data)
    with pytest.raises(ConfigError, match="causes.yaml"):
        causes.load(tmp_path)
    (tmp_path / "manifest.yaml").write_bytes(data)
    with pytest.raises(StateError, match="manifest.yaml"):
        Store(tmp_path).read()
    assert receipts.read(str(path)) == {}


@fuzz(150)
@given(mutated(MANIFEST))
def test_a_manifest_with_hostile_values(tmp_path: Path, tree: dict[str, Any]) -> None:
    (tmp_path / "manifest.yaml").write_bytes(text_of(tree).encode("utf-8", "surrogatepass"))
    store = Store(tmp_path)
    try:
        found = store.read()
    except StateError as error:
        assert str(tmp_path / "manifest.yaml") in str(error)
        return
    assert found is not None
    for name, entry in found.jobs.items():
        assert (tmp_path / "receipts" / name).resolve().parent == (tmp_path / "receipts").resolve()
        for attempt in entry.attempts:
            for word in (attempt.id, attempt.token):
                assert not word.startswith("-") and word.isascii() and " " not in word
            assert (tmp_path / attempt.script).is_relative_to(tmp_path)
            assert attempt.indices()
        entry.last_attempts()
        patches.extended(entry.patch(), [])
    with store.locked():
        store.write(found)
    assert store.read() == found


@fuzz(100)
@given(odd(INTENT), odd(INTENT["attempt"]))
def test_an_intent_with_hostile_values(tmp_path: Path, whole: bytes, attempt: bytes) -> None:
    folder = tmp_path / "attempts"
    folder.mkdir(exist_ok=True)
    before = {key: json.dumps(value) for key, value in INTENT.items()}
    before["attempt"] = attempt.decode("utf-8", "replace")
    (folder / "a.json").write_bytes(whole)
    (folder / "b.json").write_bytes(json_of(before))
    (folder / "c.json").write_bytes(msgspec.json.encode(INTENT))
    found = Store(tmp_path).intents()
    assert 1 <= len(found) <= 3
    assert all(not intent.attempt.id.startswith("-") for intent in found)


@fuzz(150)
@given(mutated(CAUSES))
def test_a_table_of_causes_with_hostile_values(
    world: World, tmp_path: Path, tree: dict[str, Any]
) -> None:
    (tmp_path / "causes.yaml").write_bytes(text_of(tree).encode("utf-8", "surrogatepass"))
    try:
        rows = causes.load(tmp_path)
    except ConfigError as error:
        assert all(str(tmp_path / "causes.yaml") in problem for problem in error.problems)
        return
    for row in rows:
        causes.find([row], State.FAILED, 1, "CUDA out of memory\n")
        causes.changes(row, world.plan.job("make"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One run with a failed job, for all examples."""
    made = World(tmp_path_factory.mktemp("world") / "p")
    made.engine.submit([made.plan.job("make")])
    return made


@fuzz(120)
@given(
    receipt=odd(RECEIPT),
    progress=odd(PROGRESS),
    kind=st.sampled_from(["run", "ok", "fail-1", "fail-78", "fail-137", "fail-999999999999"]),
    log=st.binary(max_size=80),
)
def test_what_a_node_may_write(
    world: World, receipt: bytes, progress: bytes, kind: str, log: bytes
) -> None:
    """Status, its details, `why`, as text and as JSON that others can read."""
    job = world.plan.job("make")
    folder = world.state_dir / "receipts" / "make"
    for old in folder.iterdir() if folder.exists() else ():
        old.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"1.F1.{kind}").write_bytes(receipt)
    for place, data in (("progress/make/1.json", progress), ("logs/jobs/make/1.F1.log", log)):
        path = world.state_dir / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    report = world.new_engine().status()
    found = [diagnose.why(job, report.jobs["make"].tasks[1], world.root)]
    for as_json in (True, False):
        for only in (None, job):
            with printed() as raw:
                status_view.status(world.engine, copy.deepcopy(report), only, as_json)
            _readable(raw.getvalue(), as_json)
        with printed() as raw:
            tasks_view.why(found, as_json)
        _readable(raw.getvalue(), as_json)


def _readable(raw: bytes, as_json: bool) -> None:
    if as_json:
        strict_json(raw)
    else:
        assert b"\x1b" not in raw and "\u202e".encode() not in raw


@fuzz(100)
@given(st.binary(min_size=1, max_size=60).filter(lambda b: b"/" not in b and b"\0" not in b))
def test_any_name_among_the_receipts(tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / "receipts"
    folder.mkdir(exist_ok=True)
    if name not in (b".", b".."):
        (folder.joinpath(name.decode("utf-8", "surrogateescape"))).touch()
    for task, own in receipts.scan(folder).items():
        assert task == own[0].task


def test_json_of_what_no_terminal_shows() -> None:
    with printed() as raw:
        common.print_json({"a": ["\udcff", float("nan"), float("-inf")], "é": "火"})
    assert strict_json(raw.getvalue()) == {"a": ["\udcff", None, None], "é": "火"}
