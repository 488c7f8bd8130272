"""Checks of a study on a site before anything is submitted, each with its remedy."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from pipeline.job import Job
from pipeline.plan import Plan

COMMANDS = {
    "pbs": ("qsub", "qstat", "qdel"),
    "torque": ("qsub", "qstat", "qdel"),
    "slurm": ("sbatch", "squeue", "scancel"),
    "local": ("bash",),
}
IMPORTS = {
    "light": ("numpy", "numba", "tokenizers", "sentencepiece", "xxhash"),
    "hf": ("torch", "transformers", "safetensors"),
}
AFFIXES = {"prefix.txt": 97, "infix.txt": 2, "suffix.txt": 21}
LEAST_FREE = 20 * 10**9  # bytes; the main study's corpus, its copies and its tokens take 60 GB


class Check(msgspec.Struct, frozen=True):
    """One thing looked at."""

    name: str
    status: Literal["ok", "warn", "fail"]
    fact: str
    remedy: str = ""


def examine(plan: Plan, root: Path) -> list[Check]:
    """All checks, in the order in which a user would mend them."""
    return [
        *_layout(root),
        *_commands(plan),
        *_environments(plan, root),
        *_variables(plan, root),
        *_affixes(plan, root),
        *_sources(plan, root),
        *_disk(plan, root),
    ]


def _layout(root: Path) -> Iterator[Check]:
    for folder in ("studies", "job_templates", "corpus", "training", "evaluation"):
        there = (root / folder).is_dir()
        yield Check(
            f"folder {folder}/", "ok" if there else "fail",
            "present" if there else f"{root / folder} is missing",
            "" if there else "Clone the project again; it is part of it",
        )  # fmt: skip


def _commands(plan: Plan) -> Iterator[Check]:
    for command in COMMANDS[plan.site.scheduler]:
        path = shutil.which(command)
        yield Check(
            f"command {command}", "ok" if path else "fail", path or "not on PATH",
            "" if path else "Run this on the cluster's login node, or load its scheduler's module",
        )  # fmt: skip


def _environments(plan: Plan, root: Path) -> Iterator[Check]:
    for env in dict.fromkeys(_env_of(plan, job) for job in plan.jobs):
        runtime = plan.site.environments[env]  # type: ignore[index]
        name = f"environment {env}"
        if runtime.container:
            yield _container(name, runtime.container, runtime.image, root)
            continue
        python = runtime.python if "/" not in runtime.python else str(root / runtime.python)
        if runtime.activate:
            yield Check(name, "warn", "activated by shell lines of the site, not tried here")
            continue
        yield _imports(name, python, IMPORTS.get(env, ()), root)


def _env_of(plan: Plan, job: Job) -> str:
    from pipeline.kinds import KINDS

    return plan.study.stages[job.stage].env or KINDS[job.kind].env


def _imports(name: str, python: str, modules: tuple[str, ...], root: Path) -> Check:
    code = f"import importlib.util as u; print(*[m for m in {modules!r} if not u.find_spec(m)])"
    try:
        done = subprocess.run(
            [python, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=root
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name, "fail", f"{python}: {error}", "Name its python in the site file")
    missing = done.stdout.split()
    if done.returncode or missing:
        fact = f"{python} has no {', '.join(missing)}" if missing else done.stderr.strip()[-200:]
        extra = "corpus" if name.endswith("light") else "hf"
        return Check(name, "fail", fact, f"{python} -m pip install -e '.[{extra}]'")
    return Check(name, "ok", f"{python} has {', '.join(modules) or 'what it needs'}")


def _container(name: str, runtime: str, image: str, root: Path) -> Check:
    remedy = "Re-run bash training/nemo/setup/setup_enroot.sh"
    if not shutil.which(runtime):
        return Check(name, "fail", f"{runtime} is not on PATH", f"Install or load {runtime}")
    if runtime == "apptainer":
        there = (root / image).exists()
        return Check(name, "ok" if there else "fail", image, "" if there else remedy)
    listed = subprocess.run(["enroot", "list"], capture_output=True, text=True, check=False)
    there = image in listed.stdout.split()
    fact = f"container {image} {'present' if there else 'missing'}"
    return Check(name, "ok" if there else "fail", fact, "" if there else remedy)


def _variables(plan: Plan, root: Path) -> Iterator[Check]:
    path = root / plan.site.env_file if plan.site.env_file else None
    names: set[str] = set()
    if path is not None and path.exists():
        mode = stat.S_IMODE(path.stat().st_mode)
        private = mode in (0o600, 0o400)  # as the scripts want it
        yield Check(
            ".env", "ok" if private else "fail", f"mode {mode:04o}",
            "" if private else f"chmod 600 {path}",
        )  # fmt: skip
        for line in path.read_text("utf-8", "replace").splitlines():
            key, _, value = line.strip().removeprefix("export ").partition("=")
            if value.strip().strip("'\""):
                names.add(key.strip())
    names |= {key for key, value in os.environ.items() if value}
    yield from _token(plan, names)


def _token(plan: Plan, names: set[str]) -> Iterator[Check]:
    hub = [
        job.name for job in plan.jobs
        if (job.kind == "download"
        and str(job.config["parameters"]["corpus"]["source"]).startswith("hf://"))
        or (job.kind == "train" and job.config["parameters"]["model"]["init"] == "weights")
    ]  # fmt: skip
    if hub and "HF_TOKEN" not in names:
        yield Check("HF_TOKEN", "fail", f"not set; {hub[0]} needs it", "Add HF_TOKEN=... to .env")
    elif hub:
        yield Check("HF_TOKEN", "ok", "set")
    online = [
        job.name for job in plan.jobs
        if job.kind == "train" and job.config["parameters"]["wandb"]["mode"] == "online"
    ]  # fmt: skip
    if online and "WANDB_API_KEY" not in names:
        yield Check(
            "WANDB_API_KEY", "warn", f"not set; {online[0]} will log offline",
            "Add WANDB_API_KEY=... to .env, or --set wandb.mode=offline",
        )  # fmt: skip


def _affixes(plan: Plan, root: Path) -> Iterator[Check]:
    folders = {
        str(variant["affix_dir"])
        for job in plan.jobs
        if (variant := job.config["parameters"].get("variant", {})).get("affix_dir")
    }
    for folder in sorted(folders):
        for name, lines in AFFIXES.items():
            path = root / folder / name
            count = len(path.read_text("utf-8", "replace").splitlines()) if path.exists() else 0
            good = count == lines
            yield Check(
                f"affixes {folder}/{name}", "ok" if good else "warn" if count else "fail",
                f"{count} lines", "" if good else f"The plan has {lines}: git checkout it",
            )  # fmt: skip


def _sources(plan: Plan, root: Path) -> Iterator[Check]:
    for job in plan.jobs:
        if job.kind != "download":
            continue
        source = str(job.config["parameters"]["corpus"]["source"])
        if "://" in source:
            continue
        there = any(root.glob(source)) if not source.startswith("/") else Path(source).exists()
        yield Check(
            "corpus source", "ok" if there else "fail", source,
            "" if there else "No such file. Set corpus.source",
        )  # fmt: skip


def _disk(plan: Plan, root: Path) -> Iterator[Check]:
    free = shutil.disk_usage(root).free
    least = 10**9 if plan.site.scheduler == "local" else LEAST_FREE
    good = free >= least
    yield Check(
        "disk", "ok" if good else "warn", f"{free / 1e9:.0f} GB free under {root}",
        "" if good else f"Free space: less than {least / 1e9:.0f} GB is left",
    )  # fmt: skip
