"""What the commands cost as a study grows: CPU seconds, memory and scheduler calls.

    python benchmarks/scale.py [--quick] [--check] [--json FILE] [--plot docs/scale.svg]

Each command runs as a process of its own, and what it costs is all of it, Python's start included.
The scheduler is simulated (scale_cluster.py), but for the first rows: there a real Slurm, where one
runs, holds an array in its queue. The raw commands (`sbatch`, `squeue`, `qstat`) run beside ours.
What the figures mean, and those of one machine: docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.scale_cluster import FIRST, ROOT, Cost, Project, Simulated, environment, measure

MOST_S = 0.3  # over the raw command: submit for any array, status for 10,000 tasks
BOUND_TASKS = 10_000
SIZES = (10, 100, 1_000, 10_000, 100_000)
PBS_SIZES = SIZES[:-1]  # PBS takes no larger array unless it is told to
CHANGED, FAILED = 10, 50
QUERY = {"slurm": "squeue", "pbs": "qstat"}
SUBMIT = {"slurm": "sbatch", "pbs": "qsub"}


class Row(NamedTuple):
    """One operation on one study."""

    where: str  # slurm, pbs: simulated; real Slurm
    jobs: int
    tasks: int  # of each job
    operation: str
    cpu: float  # seconds, without the scheduler's own commands
    wall: float  # seconds, the shortest of the rounds
    peak: float  # MB
    calls: int
    raw: float  # seconds of wall of the scheduler's commands alone; 0: none ran
    bound: int  # calls that it may make at most

    @property
    def over(self) -> float:
        """Seconds of wall that it takes beyond the scheduler's own commands."""
        return self.wall - self.raw


def typical(costs: Sequence[Cost]) -> Cost:
    """The median of CPU and memory, the shortest wall (the others waited for other programs)."""
    cpu = statistics.median(cost.cpu for cost in costs)
    peak = statistics.median(cost.peak for cost in costs)
    return Cost(cpu, min(cost.wall for cost in costs), peak, costs[0].calls, costs[0].code)


class Measured:
    """One simulated study on its way from a plan to its end, a row for each step."""

    def __init__(self, where: str, jobs: int, tasks: int, rounds: int, folder: Path) -> None:
        self.where, self.jobs, self.tasks, self.rounds = where, jobs, tasks, rounds
        self.world = Simulated(folder, where, jobs, tasks)
        self.world.pipeline("plan")  # compiles Python's modules, as the first command ever does

    def row(self, operation: str, bound: int, *words: str, repeat: bool = True) -> Row:
        """`repeat`: the operation changes nothing, so that it can be measured in rounds."""
        times = self.rounds if repeat else 1
        costs = []
        for _ in range(times):
            if operation == "submit":
                self.world.forget()
            costs.append(self.world.pipeline(*words))
        cost = typical(costs)
        raw_cpu = raw_wall = 0.0
        for program, count in cost.calls.items():
            alone = self.raw(program)
            raw_cpu, raw_wall = raw_cpu + count * alone.cpu, raw_wall + count * alone.wall
        return Row(
            self.where, self.jobs, self.tasks, operation, max(0.0, cost.cpu - raw_cpu), cost.wall,
            cost.peak, sum(cost.calls.values()), raw_wall, bound,
        )  # fmt: skip

    def raw(self, program: str) -> Cost:
        """One call of a scheduler's program alone; the count of jobs stays as it was."""
        counter = self.world.sim / "next"
        before = counter.read_text()
        argument = [f"{FIRST}[].vm"] if program == "qstat" else []
        cost = typical([self.world.raw(program, *argument) for _ in range(5)])
        counter.write_text(before)
        return cost

    def rows(self) -> Iterator[Row]:
        jobs, tasks, world = self.jobs, self.tasks, self.world
        queries = jobs if self.where == "pbs" else 1
        yield self.row("plan", 0, "plan")
        yield self.row("render", 0, "render")
        yield self.row("submit", jobs, "submit", "all")
        self.advance_all(tasks // 2)
        yield self.row("status, nothing changed", queries, "status")
        changed = min(CHANGED, jobs * tasks // 5)
        for job in range(min(jobs, changed)):
            world.advance(job, max(1, changed // jobs))
        world.show()
        yield self.row("status, 10 changed", queries, "status", repeat=False)
        failed = self.fail_some()
        yield self.row("resubmit of 50", len(failed), "resubmit", "--failed", repeat=False)
        world.finish_again(failed)
        world.pipeline("status")
        yield self.row("status, all done", 0, "status")

    def advance_all(self, tasks: int) -> None:
        for job in range(self.jobs):
            self.world.advance(job, tasks)
        self.world.show()
        self.world.pipeline("status")

    def fail_some(self) -> list[tuple[int, Sequence[int]]]:
        """All tasks end, 50 of them without success, scattered; two at least of a job."""
        each = max(2, min(FAILED, self.tasks // 5) // self.jobs)
        found: list[tuple[int, Sequence[int]]] = []
        for job in range(self.jobs):
            left = range(self.world.done[job] + 1, self.tasks + 1)
            failed = left[:: len(left) // each][:each] if each * job < FAILED else ()
            self.world.advance(job, len(left), set(failed))
            found += [(job, failed)] if failed else []
        self.world.pipeline("status")
        return found


def simulated(sizes: Sequence[tuple[str, int, int]], rounds: int) -> Iterator[Row]:
    for where, jobs, tasks in sizes:
        with tempfile.TemporaryDirectory() as folder:
            for row in Measured(where, jobs, tasks, rounds, Path(folder)).rows():
                show(row)
                yield row


# ---- a real Slurm


def slurm_conf() -> str:
    """The configuration of a Slurm that answers; empty where there is none."""
    conf = os.environ.get("SLURM_CONF", "")
    if not conf:
        script = str(ROOT / "tests/cluster/slurm.sh")
        said = subprocess.run([script, "env"], capture_output=True, text=True).stdout.strip()
        found = re.search(r"SLURM_CONF=(.*)", Path(said).read_text()) if said else None
        conf = found[1] if found else ""
    try:
        subprocess.run(
            ["sinfo"], env={**os.environ, "SLURM_CONF": conf}, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return conf


def real(conf: str, tasks: int, rounds: int) -> Iterator[Row]:
    """Arrays that are held in the queue: they cost the controller a record, and nothing runs."""
    submits: list[Cost] = []
    raw_submits: list[Cost] = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            world = Project(Path(folder), "slurm", 1, tasks, '"--hold"')
            world.env["SLURM_CONF"] = conf
            world.pipeline("render")
            try:
                submits.append(world.pipeline("submit", "all"))
                raw_submits.append(raw_submit(world))
                if number == rounds - 1:
                    yield from queries(world, tasks, rounds)
            finally:
                world.pipeline("cancel", "--all")
    yield real_row("submit", tasks, typical(submits), typical(raw_submits))


def raw_submit(world: Project) -> Cost:
    """`sbatch` of the script that was just submitted; what it queued is cancelled."""
    script = next((world.root / "jobs/scale/attempts").glob("*.sbatch"))
    name = f"raw-{os.getpid()}"
    cost = world.raw("sbatch", "--hold", f"--job-name={name}", str(script))
    world.raw("scancel", f"--name={name}")
    return cost


def queries(world: Project, tasks: int, rounds: int) -> Iterator[Row]:
    world.pipeline("status")
    status = [world.pipeline("status") for _ in range(rounds)]
    alone = [world.raw("squeue", "--me", "-t", "all") for _ in range(rounds)]
    yield real_row("status, nothing changed", tasks, typical(status), typical(alone))


def real_row(operation: str, tasks: int, ours: Cost, raw: Cost) -> Row:
    row = Row("real Slurm", 1, tasks, operation, ours.cpu - raw.cpu, ours.wall, ours.peak, 1,
              raw.wall, 1)  # fmt: skip
    show(row)
    return row


# ---- what is shown

PEER = "import click, yaml"


def peer() -> float:
    """CPU seconds of the least that a program with options and YAML does: the machine's speed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        argv = [sys.executable, "-c", PEER]
        return typical([measure(argv, path, environment(path), None) for _ in range(6)][1:]).cpu


HEADING = ("", "jobs x tasks", "operation", "CPU s", "peak MB", "calls", "wall s", "over raw s")
WIDTHS = (10, 12, 23, 7, 7, 5, 7, 10)


def show(row: Row | None) -> None:
    cells: tuple[str, ...] = HEADING
    if row:
        cells = (
            row.where, f"{row.jobs} x {row.tasks:,}", row.operation, f"{row.cpu:.2f}",
            f"{row.peak:.0f}", str(row.calls), f"{row.wall:.2f}",
            f"{row.over:.2f}" if row.raw else "",
        )  # fmt: skip
    numbers = (cell.rjust(width) for cell, width in zip(cells[3:], WIDTHS[3:], strict=True))
    words = (cell.ljust(width) for cell, width in zip(cells[:3], WIDTHS, strict=False))
    print("  ".join((*words, *numbers)).rstrip(), flush=True)


def bounds(rows: Sequence[Row], busy: bool) -> list[tuple[str, bool]]:
    """Each bound in words, and whether it holds. `busy`: others use the machine, so that wall says
    little and CPU seconds decide."""
    found: list[tuple[str, bool]] = []
    for row in rows:
        submit = row.operation == "submit" and row.jobs == 1
        status = row.operation.startswith("status") and row.jobs * row.tasks == BOUND_TASKS
        status = status and row.where != "pbs"  # its qstat alone prints a JSON of 12 MB
        if row.raw and (submit or status):
            raw = SUBMIT.get(row.where, "sbatch") if submit else "squeue"
            text = f"{row.where}, {row.tasks:,} tasks: {row.operation}: over {raw} "
            text += f"{row.cpu:.2f} s of CPU, {row.over:.2f} s of wall; bound {MOST_S} s"
            found.append((text, (row.cpu if busy else row.over) <= MOST_S))
    worst = [row for row in rows if row.calls > row.bound]
    said = "; ".join(f"{r.where} {r.jobs} x {r.tasks} {r.operation}: {r.calls}" for r in worst)
    found.append((f"scheduler calls as design says{': ' * bool(said)}{said}", not worst))
    return found


def plot(rows: Sequence[Row], path: Path) -> None:
    """CPU seconds against tasks, and wall over the raw command beside its bound."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    array = [row for row in rows if row.jobs == 1 and row.where in QUERY]
    figure, (cpu, over) = pyplot.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    for name in dict.fromkeys(row.operation for row in array):
        line = [row for row in array if row.operation == name and row.where == "slurm"]
        cpu.plot([row.tasks for row in line], [row.cpu for row in line], "o-", label=name)
    cpu.set(ylabel="CPU seconds, Slurm simulated", yscale="log")
    compared = [
        ("slurm", "submit", "submit over sbatch"),
        ("slurm", "status, nothing changed", "status over squeue"),
        ("pbs", "status, nothing changed", "status over qstat -t, PBS"),
    ]
    for where, name, label in compared:
        line = [row for row in array if row.operation == name and row.where == where]
        over.plot([row.tasks for row in line], [row.over for row in line], "o-", label=label)
    over.axhline(MOST_S, color="grey", linestyle="--", label=f"{MOST_S} s")
    over.set(ylabel="seconds beyond the raw command", yscale="log")
    for axes in (cpu, over):
        axes.set(xscale="log", xlabel="tasks of one array")
        axes.grid(True, which="both", alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(path)
    pyplot.close(figure)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="up to 1,000 tasks, one round")
    parser.add_argument("--check", action="store_true", help="exit 1 where a bound is broken")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures, for a machine")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="PNG or SVG")
    return parser.parse_args()


def main() -> None:
    """Prints a row for each operation and study, then the bounds."""
    options = arguments()
    load = os.getloadavg()[0]
    busy = load > (os.cpu_count() or 1) / 2
    decides = "CPU seconds decide, the machine is busy" if busy else "wall decides"
    rounds = 1 if options.quick else 5
    most = 1_000 if options.quick else max(SIZES)
    sizes = [("slurm", 1, size) for size in SIZES] + [("pbs", 1, size) for size in PBS_SIZES]
    sizes = [size for size in sizes if size[2] <= most]
    sizes += [("slurm", 4, 100), ("pbs", 4, 100)] if options.quick else [
        ("slurm", 40, 1_000), ("pbs", 40, 1_000)]  # fmt: skip
    print(f"load average {load:.1f}; {PEER}: {peer():.2f} s of CPU")
    show(None)
    rows: list[Row] = []
    if conf := slurm_conf():
        rows += real(conf, min(most, BOUND_TASKS), rounds)
    else:
        print("real Slurm: none answers here (tests/cluster/slurm.sh up starts one)")
    # The largest last: a process starts with the memory of the one that starts it as its peak.
    rows += simulated(sorted(sizes, key=lambda size: size[2] == max(SIZES)), rounds)
    print(f"\n{PEER}: {peer():.2f} s of CPU; {decides}")
    checked = bounds(rows, busy)
    for text, holds in checked:
        print(f"{'holds ' if holds else 'BROKEN'}  {text}")
    if options.json:
        found: list[dict[str, Any]] = [{**row._asdict(), "over": row.over} for row in rows]
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.plot:
        plot(rows, options.plot)
    if options.check and not all(holds for _, holds in checked):
        sys.exit(1)


if __name__ == "__main__":
    main()
