"""How far a program is: a small file for whoever looks on, a line where a person watches."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

_INTERVAL = 1.0  # seconds between two reports
_BAR = 20  # characters


class Progress:
    """Reports to the file named by PIPELINE_PROGRESS and to a terminal, at most once a second.

    `total` may be None where it is not known. `unit` is one of bytes, documents, tokens, steps,
    items. `start` of them were done before, so they count for the share and not for the rate. A
    report that cannot be written is dropped: progress must never stop the work.
    """

    def __init__(self, total: int | None, unit: str, label: str = "", start: int = 0) -> None:
        self.total, self.unit, self.label = total, unit, label
        self._file = os.environ.get("PIPELINE_PROGRESS")
        self._tty = sys.stderr.isatty()
        self._begun = start
        self._start = self._last = time.monotonic()

    def update(self, done: int, **extra: Any) -> None:
        """Say that `done` units are done; `extra` goes into the report as it is."""
        now = time.monotonic()
        if now - self._last >= _INTERVAL:
            self._last = now
            self._report(done, extra)

    def finish(self, done: int, **extra: Any) -> None:
        """The last report, whatever the time."""
        self._report(done, extra)
        if self._tty:
            sys.stderr.write("\n")

    def _report(self, done: int, extra: dict[str, Any]) -> None:
        # Work that starts anew counts from below where it began.
        self._begun = min(self._begun, done)
        rate = (done - self._begun) / max(time.monotonic() - self._start, 1e-9)
        remaining = None
        if self.total is not None and (rate or done >= self.total):
            remaining = max(self.total - done, 0) / rate if rate else 0.0
        if self._tty:
            sys.stderr.write("\r" + self._line(done, rate, remaining) + "\x1b[K")
            sys.stderr.flush()
        if self._file:
            report = {"done": done, "total": self.total, "unit": self.unit, "rate": round(rate, 1),
                      "rate_unit": f"{self.unit}/s", "message": self.label, "time": time.time(),
                      "remaining": None if remaining is None else round(remaining, 1)}
            _replace(Path(self._file), json.dumps(report | extra))

    def _line(self, done: int, rate: float, remaining: float | None) -> str:
        line = self.label
        if self.total:
            share = min(done / self.total, 1.0)
            full = round(_BAR * share)
            line += f" [{'#' * full}{'.' * (_BAR - full)}] {100 * share:.0f} %"
        line += f" {_amount(done, self.unit)}, {_amount(rate, self.unit)}/s"
        return line if remaining is None else f"{line}, {_clock(remaining)} left"


def _amount(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.1f} MB"
    return f"{value:,.0f} {unit}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as fault:
        print(f"warning: progress not written: {fault}", file=sys.stderr)
