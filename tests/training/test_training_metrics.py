"""Rows, status, and a Weights & Biases that may fail in every way but one."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from training.metrics import JsonlSink, Status, open_wandb, wandb_mode
from training.settings import Wandb


def settings(tmp_path: Path, mode: str) -> Wandb:
    return Wandb("project", "name", mode, tmp_path / "logs" / "wandb")


def test_a_resumed_run_writes_its_rows_once(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "metrics.jsonl")
    assert sink.trim(3) == []
    for step in (1, 2, 3, 4):
        sink.log(step, {"train/loss": step / 2})
    with sink.path.open("a") as stream:
        stream.write('{"step": 5, "ti')
    assert [row["step"] for row in sink.trim(3)] == [1, 2, 3]
    rows = [json.loads(line) for line in sink.path.read_text().splitlines()]
    assert [row["train/loss"] for row in rows] == [0.5, 1.0, 1.5]


@pytest.mark.parametrize(
    ("configured", "variables", "mode"),
    [
        ("online", {}, "offline"),
        ("online", {"WANDB_API_KEY": "k"}, "online"),
        ("online", {"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}, "offline"),
        ("disabled", {"WANDB_MODE": "offline"}, "offline"),
        ("offline", {"WANDB_MODE": "disabled"}, "disabled"),
    ],
)
def test_the_mode(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    configured: str,
    variables: dict[str, str],
    mode: str,
) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert wandb_mode(settings(tmp_path, configured)) == mode


class FakeRun:
    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log(self, values: dict[str, float], step: int) -> None:
        if step == 2:
            raise OSError("no network")
        self.rows.append((step, values))

    def finish(self) -> None:
        raise OSError("still no network")


def test_attempts_share_a_run_and_failures_are_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[dict[str, Any]] = []
    run = FakeRun()

    def init(**given: Any) -> FakeRun:
        calls.append(given)
        if given["mode"] == "online":
            raise RuntimeError("unreachable")
        return run

    fake = types.SimpleNamespace(init=init, Settings=lambda **_: None)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv("WANDB_API_KEY", "k")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    for _ in range(2):
        sink = open_wandb(settings(tmp_path, "online"), tmp_path, {"a": 1})
        assert sink is not None
    assert [call["mode"] for call in calls] == ["online", "offline"] * 2
    assert calls[1]["id"] == calls[3]["id"]
    assert calls[0]["dir"] == str(tmp_path / "logs")
    assert sink is not None
    sink.log(1, {"train/loss": 1.0})
    sink.log(2, {"train/loss": 2.0})
    sink.close()
    assert run.rows == [(1, {"train/loss": 1.0})]
    told = capsys.readouterr().err
    assert "does not start online: unreachable" in told and "lost a row of step 2" in told


def test_no_wandb_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert open_wandb(settings(tmp_path, "offline"), tmp_path, {}) is None
    assert "pip install wandb" in capsys.readouterr().err
    assert open_wandb(settings(tmp_path, "disabled"), tmp_path, {}) is None


def test_status_keeps_its_facts(tmp_path: Path) -> None:
    status = Status(tmp_path / "status.json", {"max_steps": 5})
    status.write("running", step=1)
    status.write("done", val_loss=2.0)
    row = json.loads((tmp_path / "status.json").read_text())
    assert row.pop("time") > 0
    assert row == {"state": "done", "max_steps": 5, "step": 1, "val_loss": 2.0}
