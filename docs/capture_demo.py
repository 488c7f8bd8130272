"""Runs the demo and writes what a terminal shows of it to docs/demo.svg, for the README.

    python docs/capture_demo.py

Two moments: the live view while the arms train, and the comparison at the end.
"""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

from rich.console import Console, RenderableType

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipeline import cli  # noqa: E402
from pipeline.states import ACTIVE, State  # noqa: E402
from pipeline.view import run  # noqa: E402


def main() -> None:
    """Submits what is not done, waits for its end, writes the picture."""
    engine = cli.Context("filipino-cpt", "local", ("demo",), ()).engine()
    engine.submit(engine.plan.jobs, whole=True)
    started, telling = time.monotonic(), None
    while True:
        report = engine.status()
        frame = run.live_view(engine.plan, report, time.monotonic() - started)
        if _is_telling(report.jobs["train_stochastok"].progress):
            telling = telling or frame
        if not any(state in ACTIVE or state == State.UNKNOWN for state in report.counts()):
            break
        time.sleep(1)
    _write(telling or frame, engine.root / "results/filipino-cpt@demo")


def _is_telling(progress: dict[str, object]) -> bool:
    done = progress.get("done")
    return isinstance(done, int | float) and done >= 60


def _write(frame: RenderableType, results: Path) -> None:
    console = Console(
        record=True, width=110, file=io.StringIO(), force_terminal=True, highlight=False
    )
    console.print("$ make demo", style="bold")
    console.print(frame)
    console.print("\n...", style="dim")
    run.comparison(results, console)
    console.save_svg(str(ROOT / "docs/demo.svg"), title="pipeline run --profile demo")


if __name__ == "__main__":
    main()
