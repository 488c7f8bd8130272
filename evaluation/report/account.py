"""The tables of what was run: fairness, cost, provenance, sample sizes."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from evaluation.config import Config
from evaluation.report.content import title
from evaluation.report.runs import Run
from evaluation.report.spent import by_stage, rate
from evaluation.report.tables import Table
from evaluation.results import Arm

PACKAGES = ("numpy", "matplotlib", "torch", "transformers", "tokenizers", "lm-eval", "nemo-toolkit")


def consequences(found: dict[str, Any]) -> Table | None:
    """What follows from each arm's tokenisation; None where nothing is known of the training."""
    arms = found["consequences"]
    formats = {"tokens a byte of text": "{:.3f}", "epochs": "{:.3f}"}
    rows = []
    for name in next(iter(arms.values()), {}):
        values = [arms[arm][name] for arm in arms]
        shape = formats.get(name, "{:,.0f}")
        if any(value is not None for value in values):
            rows.append([name, *("-" if v is None else shape.format(v) for v in values)])
    return Table(
        "budget", "What each arm read: it follows from how its text is cut", ["", *arms], rows
    ) if rows else None  # fmt: skip


def properties(found: dict[str, Any]) -> Table | None:
    """What must be the same of all arms, with each arm's value where it is not."""
    arms = found["properties"]
    rows = []
    for name in next(iter(arms.values()), {}):
        values = {arm: arms[arm][name] for arm in arms}
        known = [value for value in values.values() if value is not None]
        if not known:
            continue
        same = len(known) == len(values) and all(value == known[0] for value in known)
        shown = str(known[0]) if same else ", ".join(
            f"{arm}: {'unknown' if v is None else v}" for arm, v in values.items()
        )
        apart = len(set(map(str, known))) > 1
        state = "same" if same else "differs" if apart else "not known of all"
        rows.append([name, shown, state])
    head = ["property", "value", "across arms"]
    caption = "What must not differ between the arms"
    return Table("fairness", caption, head, rows, 3) if rows else None


def cost(rows: list[dict[str, Any]], runs: list[Run], stages: list[str]) -> Table | None:
    """Hours by stage and arm, from receipts; None where there are none."""
    tokens = {run.arm: run for run in runs}
    shown = []
    for row in by_stage(rows, stages):
        run = tokens.get(row["arm"]) if row["stage"] == "train" else None
        speed = rate(run) if run else None
        shown.append([
            row["stage"], row["arm"] or "all", f"{row['ended']}", f"{row['failed']}",
            *(_hours(row[key]) for key in ("hours", "gpu_hours", "core_hours")),
            f"{run.tokens:,}" if run and run.tokens else "",
            f"{speed:,.0f}" if speed else "",
        ])  # fmt: skip
    if not shown:
        return None
    sums = [sum(row[key] for row in rows) for key in ("hours", "gpu_hours", "core_hours")]
    ended, failed = (str(sum(row[key] for row in rows)) for key in ("ended", "failed"))
    learned = sum(run.tokens or 0 for run in runs)
    shown.append(
        ["sum", "", ended, failed, *map(_hours, sums), f"{learned:,}" if learned else "", ""]
    )
    head = ["stage", "arm", "tasks", "failed", "hours", "GPU-hours", "core-hours",
            "tokens learned from", "tokens/s"]  # fmt: skip
    return Table(
        "cost", "What it cost: from the receipts of all attempts, failed ones too", head, shown, 2
    )


def _hours(value: float) -> str:
    """To the hundredth, or to two figures below a tenth."""
    return f"{value:.2f}" if value >= 0.1 or not value else f"{value:.2g}"


def sizes(comparison: dict[str, Any]) -> Table | None:
    """Questions, items, chance, and the difference that could have been found."""
    details = comparison["details"]
    largest: dict[str, float] = {}
    for test in details["tests"]:
        largest[test["metric"]] = max(largest.get(test["metric"], 0.0), test["detectable"])
    rows = []
    for name in comparison["columns"]:
        found = [a["metrics"][name] for a in details["arms"].values() if name in a["metrics"]]
        if found:
            one = found[0]
            least = f"{largest[name]:.1f} pp" if largest.get(name) else "-"
            rows.append(
                [title(name), str(one.get("tasks", one["n"])), str(one["n"]),
                 f"{one['chance']:.0f} %", least]
            )  # fmt: skip
    head = ["metric", "questions", "items", "chance", "detectable difference"]
    return Table(
        "sizes", "Sample sizes", head, rows,
        note="Detectable: the true difference to the baseline that eight of ten studies of this "
        "size would find at the 5 % level before any correction.",
    ) if rows else None  # fmt: skip


def provenance(runs: list[Run], arms: list[Arm], root: Path, jobs: list[Config]) -> Table:
    """Where the numbers come from: code, configurations, data, weights, packages, seeds."""
    rows = [["code at the analysis (git)", _git(root)]]
    rows.append(["Python, machine", f"{platform.python_version()}, {platform.machine()}"])
    rows.append(["packages at the analysis", ", ".join(_installed())])
    for run in runs:
        versions = ", ".join(f"{k} {v}" for k, v in (run.data.get("versions") or {}).items())
        rows += [[f"{run.arm}: {name}", str(value)] for name, value in (
            ("seed", run.parameters.get("seed")),
            ("text (SHA-256 of the chunks' digests)", run.data.get("text")),
            ("tokens (digest at training)", run.identity.get("data.digest")),
            ("tokenizer (SHA-256)", run.data.get("tokenizer")),
            ("packages of the preprocessing", versions),
            ("torch of the training", run.status.get("torch")),
            ("weights (SHA-256)", run.weights),
        ) if value not in (None, "")]  # fmt: skip
    for arm in arms:
        for name, key in (("evaluated model", "model"), ("made from", "made_from")):
            if arm.made.get(key):
                rows.append([f"{arm.id}: {name}", str(arm.made[key])])
    rows += _configurations(jobs)
    return Table("provenance", "Where the numbers come from", ["what", "value"], rows, 2)


def _configurations(jobs: list[Config]) -> list[list[str]]:
    from evaluation.files import sha256

    return [
        [f"configuration of {job.top('job.name', str, '')}", sha256(Path(job.origin))]
        for job in jobs
        if job.top("job.kind", str, "") in ("train", "evaluate")
    ]


def _git(root: Path) -> str:
    """The commit, and whether tracked files were changed since; `unknown` outside a repository."""
    def ask(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=30
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = ask("rev-parse", "HEAD")
        changed = ask("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return f"{commit}{' with changes' if changed else ''}" if commit else "unknown"


def _installed() -> list[str]:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue  # what is not installed was not used
    return found
