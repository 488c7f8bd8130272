"""What `status` costs as an array grows: CPU seconds, scheduler calls, bytes of manifest.

    python benchmarks/status.py [10 100 1000 10000 ...]

The scheduler is simulated (it answers at once), so that the figures are of `pipeline` alone. Half
of the tasks have ended with a receipt, the rest are queued.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.pipeline.world import STUDY, World


def measure(tasks: int, folder: Path) -> tuple[float, int, int]:
    """(CPU seconds, scheduler calls, manifest bytes) of one status."""
    world = World(folder, STUDY.replace("count: 6", f"count: {tasks}"))
    world.engine.submit(world.plan.select(["make", "cut"]))
    world.finish("make")
    for task in range(1, tasks + 1, 2):
        world.receipt("cut_a", task, f"F2_{task}", "ok")
        world.scheduler.jobs["F2"].pop(task)
    start = time.process_time()
    report = world.engine.status()
    spent = time.process_time() - start
    return spent, report.scheduler_calls, world.engine.store.path.stat().st_size


def main() -> None:
    """Prints a line for each size."""
    sizes = [int(word) for word in sys.argv[1:]] or [10, 100, 1000, 10000, 50000]
    print(f"{'tasks':>7} {'CPU s':>7} {'calls':>6} {'manifest':>9}")
    for tasks in sizes:
        with tempfile.TemporaryDirectory() as folder:
            spent, calls, size = measure(tasks, Path(folder) / "p")
        print(f"{tasks:>7} {spent:>7.3f} {calls:>6} {size:>7} B")


if __name__ == "__main__":
    main()
