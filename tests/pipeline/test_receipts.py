"""Receipts by their names and times."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import receipts
from pipeline.states import State


def put(folder: Path, name: str, at: float, text: str = "{}") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    os.utime(folder / name, (at, at))


def test_the_newest_is_last(tmp_path: Path) -> None:
    put(tmp_path, "7.12[7].server.fail-1", 100)
    put(tmp_path, "7.15[2].server.ok", 200)
    put(tmp_path, "7.13[7].server.run", 150)
    found = receipts.scan(tmp_path)[7]
    assert [(r.id, r.kind, r.exit_code) for r in found] == [
        ("12[7].server", "fail", 1), ("13[7].server", "run", None), ("15[2].server", "ok", 0),
    ]  # fmt: skip


def test_at_equal_times_the_final_one_is_newer(tmp_path: Path) -> None:
    put(tmp_path, "1.4_1.ok", 100)
    put(tmp_path, "1.4_1.run", 100)
    assert receipts.scan(tmp_path)[1][-1].kind == "ok"


def test_only_a_task_with_several_receipts_costs_a_look_at_their_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for task in range(1, 1001):
        put(tmp_path, f"{task}.4_{task}.ok", 100)
    put(tmp_path, "7.3_7.fail-1", 50)
    asked: list[str] = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path: asked.append(str(path)) or stat(path))
    names = receipts.listing(tmp_path)
    found = receipts.scan(tmp_path, names)
    assert len(found) == 1000 and found[7][-1].kind == "ok"
    assert sorted(Path(path).name for path in asked) == ["7.3_7.fail-1", "7.4_7.ok"]


def test_a_run_that_its_script_replaced_while_we_looked_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "1.4_1.ok", 100)
    names = ["1.4_1.run", "1.4_1.ok", "2.4_2.run"]
    found = receipts.scan(tmp_path, names)
    assert [receipt.kind for receipt in found[1]] == ["ok"]
    assert found[2][0].written == pytest.approx(time.time(), abs=60), "it ended just now"


def test_no_folder_is_no_receipts(tmp_path: Path) -> None:
    assert receipts.scan(tmp_path / "none") == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1', "\xff"], ids=repr)
def test_content_that_was_cut_off_is_empty(tmp_path: Path, text: str) -> None:
    put(tmp_path, "1.L1.ok", 1, text)
    assert receipts.read(receipts.scan(tmp_path)[1][0].path) == {}


def test_a_cancelled_attempts_signal_is_a_cancellation(tmp_path: Path) -> None:
    put(tmp_path, "1.L1.fail-143", 1)
    receipt = receipts.scan(tmp_path)[1][0]
    assert receipts.state_of(receipt, cancelled=True)[0] == State.CANCELLED
    assert receipts.state_of(receipt, cancelled=False)[0] == State.FAILED


def test_a_terminated_task_that_used_its_walltime_ran_out_of_time(tmp_path: Path) -> None:
    put(tmp_path, "1.L1.fail-143", 1, json.dumps({"start": 0, "end": 60, "walltime": 60}))
    assert receipts.state_of(receipts.scan(tmp_path)[1][0], False)[0] == State.TIMEOUT


@given(
    name=st.text(
        st.characters(blacklist_characters="/\x00", codec="utf-8"), min_size=1, max_size=40
    )
)
def test_any_file_name_is_read_or_passed_over(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    folder = tmp_path_factory.mktemp("r")
    if name in (".", "..") or len(name.encode()) > 200:
        return
    (folder / name).write_text("")
    for own in receipts.scan(folder).values():
        for receipt in own:
            receipts.state_of(receipt, False)
