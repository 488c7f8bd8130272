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


def test_remaining_time_counts_what_this_run_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, clock = tmp_path / "progress.json", [0.0]
    monkeypatch.setenv("PIPELINE_PROGRESS", str(target))
    monkeypatch.setattr("corpus.progress.time.monotonic", lambda: clock[0])

    def report(progress: Progress, done: int) -> dict[str, object]:
        clock[0] += 10
        progress.update(done)
        told: dict[str, object] = json.loads(target.read_text())
        return told

    resumed = Progress(1000, "bytes", "downloading", start=600)
    first = report(resumed, 700)
    assert (first["rate"], first["remaining"]) == (10.0, 30.0)
    anew = report(resumed, 0)  # the server's file had changed
    assert (anew["rate"], anew["remaining"]) == (0.0, None)
    assert report(resumed, 500)["remaining"] == 30.0
    assert report(resumed, 1200)["remaining"] == 0.0
    assert report(Progress(None, "bytes"), 5)["remaining"] is None
    assert report(Progress(7, "items", start=7), 7)["remaining"] == 0.0


@pytest.mark.parametrize(
    ("total", "unit", "done", "shows"),
    [(4 * 10**9, "bytes", 10**9,
      "load [#####...............] 25 % 1.00 GB, 2.0 MB/s, 25:00 left"),
     (None, "bytes", 3_500_000, "load 3.5 MB, 0.0 MB/s"),
     (90_000, "documents", 900,
      "load [....................] 1 % 900 documents, 2 documents/s, 13:45:00 left"),
     (10, "items", 20, "load [####################] 100 % 20 items, 0 items/s, 0:00 left")])
def test_line_for_whoever_watches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], total: int | None,
    unit: str, done: int, shows: str,
) -> None:
    monkeypatch.delenv("PIPELINE_PROGRESS", raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    clock = [0.0]
    monkeypatch.setattr("corpus.progress.time.monotonic", lambda: clock[0])
    progress = Progress(total, unit, "load")
    clock[0] = 500.0
    progress.finish(done)
    assert shows in capsys.readouterr().err
