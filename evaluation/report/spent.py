"""What a study cost, from the receipts of its tasks and the resources that its jobs asked for."""

import json
import re
from pathlib import Path
from typing import Any

from evaluation.config import Config
from evaluation.report.runs import Run

RECEIPT = re.compile(r"(\d+)\.(.+)\.(ok|fail-\d+)")
REPORTS = ("analyze", "report")  # a report does not count itself: it would differ each time


def spent(config: Config, root: Path, jobs: list[Config]) -> list[dict[str, Any]]:
    """A row a job: stage, arm, tasks that ended, failed among them, hours, GPU- and core-hours.

    An attempt costs what its node was held for, whether it succeeded or not: (end - start) of its
    receipt times the resources of the job. Empty where the receipts are not here.
    """
    state = root / config.top("paths.state", str, "jobs")
    rows = []
    for job in jobs:
        name, kind = job.top("job.name", str, ""), job.top("job.kind", str, "")
        if kind in REPORTS:
            continue
        ended = [_ended(path) for path in sorted((state / "receipts" / name).glob("*"))]
        times = [one for one in ended if one]
        hours = sum(seconds for _, seconds in times) / 3600
        nodes = job.top("resources.nodes", int, 1)
        if times:
            rows.append({
                "job": name,
                "stage": job.top("job.stage", str, kind),
                "arm": job.top("job.arm", str, ""),
                "ended": len(times),
                "failed": sum(not ok for ok, _ in times),
                "hours": hours,
                "gpu_hours": hours * nodes * job.top("resources.gpus", int, 0),
                "core_hours": hours * nodes * job.top("resources.cpus", int, 0),
            })  # fmt: skip
    return rows


def _ended(path: Path) -> tuple[bool, float] | None:
    """Whether a task succeeded and how many seconds it took; None for what is no final receipt."""
    match = RECEIPT.fullmatch(path.name)
    if not match:
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return match[3] == "ok", max(0.0, float(values["end"]) - float(values["start"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # cut off in the middle; a cost is no reason to refuse a report


def by_stage(rows: list[dict[str, Any]], stages: list[str]) -> list[dict[str, Any]]:
    """The rows summed over each stage and arm, stages in the study's order."""
    order = {stage: i for i, stage in enumerate(stages)}
    sums: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["stage"], row["arm"])
        total = sums.setdefault(key, {"stage": key[0], "arm": key[1]})
        for field in ("ended", "failed", "hours", "gpu_hours", "core_hours"):
            total[field] = total.get(field, 0) + row[field]
    return sorted(sums.values(), key=lambda row: order.get(row["stage"], len(order)))


def rate(run: Run) -> float | None:
    """The median of an arm's tokens/s over the rows that training logged."""
    values = sorted(value for _, value in run.curves.get("train/tokens_per_second", []))
    return values[len(values) // 2] if values else None
