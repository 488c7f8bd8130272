"""How long `pipeline --help` takes, against the least that a click program with YAML can take.

    python benchmarks/cli_start.py

Both are started in turn, so that a machine that slows down slows both; the ratio is of medians.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 21
PEER = [sys.executable, "-c", "import click, yaml"]
COMMANDS = {
    "pipeline --help": [sys.executable, "-m", "pipeline", "--help"],
    "pipeline status --help": [sys.executable, "-m", "pipeline", "status", "--help"],
}


def once(argv: list[str]) -> float:
    """Seconds that one start takes."""
    start = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    """Prints a line for each command: milliseconds, and the ratio to the peer."""
    times: dict[str, list[float]] = {name: [] for name in ("peer", *COMMANDS)}
    for _ in range(ROUNDS):
        times["peer"].append(once(PEER))
        for name, argv in COMMANDS.items():
            times[name].append(once(argv))
    peer = statistics.median(times["peer"])
    print(f"import click, yaml: {peer * 1000:.0f} ms")
    for name in COMMANDS:
        own = statistics.median(times[name])
        print(f"{name}: {own * 1000:.0f} ms, {own / peer:.2f} times")


if __name__ == "__main__":
    main()
