"""How far a program is: a small file for whoever looks on, a line where a person watches."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

_INTERVAL = 1.0  # seconds between two reports


class Progress:
    """Reports to the file named by PIPELINE_PROGRESS and to a terminal, at most once a second.

    `total` may be None where it is not known. `unit` is one of bytes, documents, tokens, steps,
    items. A report that cannot be written is dropped: progress must never stop the work.
    """

    def __init__(self, total: int | None, unit: str, label: str = "") -> None:
        self.total, self.unit, self.label = total, unit, label
        self._file = os.environ.get("PIPELINE_PROGRESS")
        self._tty = sys.stderr.isatty()
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
        rate = done / max(time.monotonic() - self._start, 1e-9)
        if self._tty:
            share = f" {100 * done / self.total:.0f} %" if self.total else ""
            sys.stderr.write(f"\r{self.label}{share} {done:,} {self.unit}, {rate:,.0f}/s ")
            sys.stderr.flush()
        if self._file:
            report = {"done": done, "total": self.total, "unit": self.unit, "rate": round(rate, 1),
                      "rate_unit": f"{self.unit}/s", "message": self.label, "time": time.time()}
            _replace(Path(self._file), json.dumps(report | extra))


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as fault:
        print(f"warning: progress not written: {fault}", file=sys.stderr)
