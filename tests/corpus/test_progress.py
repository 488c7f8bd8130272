from __future__ import annotations

import json
from pathlib import Path

import pytest

from corpus.progress import Progress


def test_reports_at_most_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, clock = tmp_path / "progress.json", [100.0]
    monkeypatch.setenv("PIPELINE_PROGRESS", str(target))
    monkeypatch.setattr("corpus.progress.time.monotonic", lambda: clock[0])
    progress = Progress(10, "documents", "task 3")
    progress.update(1)
    assert not target.exists()
    clock[0] += 2
    progress.update(4, tokens=99)
    report = json.loads(target.read_text())
    assert (report["done"], report["total"], report["unit"]) == (4, 10, "documents")
    assert (report["rate"], report["tokens"], report["message"]) == (2.0, 99, "task 3")
    progress.update(5)
    assert json.loads(target.read_text())["done"] == 4
    progress.finish(10)
    assert json.loads(target.read_text())["done"] == 10


def test_a_place_that_cannot_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIPELINE_PROGRESS", str(tmp_path / "absent" / "progress.json"))
    Progress(None, "bytes").finish(1)
    assert "warning: progress not written" in capsys.readouterr().err
