"""The jobs whose scripts are kept whole in this folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pipeline.job import Chain, Job, Resources, Runtime, Upstream
from pipeline.render import render

HERE = Path(__file__).parent
NAMES = {"pbs": "pbs", "torque": "torque", "slurm": "sbatch", "local": "sh"}


class Case(msgspec.Struct, frozen=True):
    """One golden file."""

    name: str
    job: Job
    tasks: Sequence[int] | None = None
    before: tuple[str, ...] = ()  # of a chain's link, the ids of those before it

    @property
    def path(self) -> Path:
        return HERE / f"{self.name}.{NAMES[self.job.scheduler]}"

    def render(self) -> str:
        """The script as it is now."""
        return render(
            self.job, attempt_tasks=self.tasks, link=len(self.before) + 1, before=self.before
        )


def make_job(**changes: Any) -> Job:
    """A plain job without anything special."""
    values: dict[str, Any] = {
        "name": "split", "stage": "split", "kind": "split", "arm": "", "tasks": 1, "array": False,
        "upstream": (), "script": "jobs/scripts/split", "config_path": "jobs/configs/split.yaml",
        "config": {"job": {"name": "split"}},
        "argv": (".venv/bin/python", "-m", "corpus.split", "--config", "jobs/configs/split.yaml"),
        "resources": Resources(nodes=1, gpus=0, cpus=8, mem_bytes=16 * 10**9, walltime_s=5400),
        "runtime": Runtime(python=".venv/bin/python"), "outputs": (), "hours": (0.5, 0.5),
        "state_dir": "jobs", "log_dir": "/scratch/logs/jobs/split", "scheduler": "pbs",
        "queue": "cpu", "account": "", "throttle": 0, "project_dir": "/scratch/me/pipeline",
        "site_log_dir": "/scratch/logs", "network_interface": "", "env_file": ".env",
        "directives": (), "launcher": "",
    }  # fmt: skip
    return Job(**(values | changes))


def array_job(**changes: Any) -> Job:
    """The main study's preprocessing of one arm."""
    values: dict[str, Any] = {
        "name": "preprocess_patok", "stage": "preprocess", "kind": "preprocess", "arm": "patok",
        "tasks": 20, "array": True, "throttle": 4, "account": "my-project",
        "upstream": (Upstream("split", 1, ("data/chunks/chunks.json",)), Upstream("tokenizer", 1)),
        "script": "jobs/preprocess_data_patok", "log_dir": "/scratch/logs/jobs/preprocess_patok",
        "config_path": "jobs/configs/preprocess_patok.yaml",
        "argv": (".venv/bin/python", "-m", "corpus.preprocess", "--config",
                 "jobs/configs/preprocess_patok.yaml", "--task", "{task}", "--workers", "8",
                 "--note", "it's {task4}, done"),
        "runtime": Runtime(python=".venv/bin/python", activate=("module load python/3.11",)),
    }  # fmt: skip
    return make_job(**(values | changes))


def train_job(**changes: Any) -> Job:
    """The main study's training of one arm."""
    values: dict[str, Any] = {
        "name": "train_vanilla", "stage": "train", "kind": "train", "arm": "vanilla",
        "upstream": (Upstream("preprocess_vanilla", 20),), "script": "jobs/run_cpt_baseline",
        "log_dir": "/scratch/logs/jobs/train_vanilla", "queue": "gpu", "account": "my-project",
        "config_path": "jobs/configs/train_vanilla.yaml",
        "argv": ("python3", "training/nemo/run_cpt.py", "--config",
                 "jobs/configs/train_vanilla.yaml", "--data-path", "data/processed/vanilla/seapile",
                 "--checkpoint-dir", "/logs/checkpoints/gemma3-1b-baseline",
                 "--wandb-name", "gemma3-1b-baseline", "--max-steps", "10000"),
        "resources": Resources(
            nodes=1, gpus=8, cpus=64, mem_bytes=480 * 10**9, walltime_s=48 * 3600
        ),
        "runtime": Runtime(container="enroot", image="nemo_framework"),
        "network_interface": "ib0", "launcher": "torchrun", "directives": ("-l place=excl",),
    }  # fmt: skip
    return make_job(**(values | changes))


GATE = {"gate": [{"id": "there", "file": "out", "exists": True}]}
CHAIN = Chain(links=4, notice_s=600, total_s=168 * 3600)


def _cases() -> list[Case]:
    cases = []
    image = Runtime(container="apptainer", image="/scratch/me/nemo.sif")
    one = Resources(nodes=1, gpus=1, cpus=8, mem_bytes=64 * 10**9, walltime_s=4 * 3600)
    for scheduler in NAMES:
        extra = {"slurm": ("--exclusive",), "pbs": ("-l place=excl",)}.get(scheduler, ())
        array = array_job(scheduler=scheduler)
        cases += [
            Case("plain", make_job(scheduler=scheduler)),
            Case("gate", make_job(
                scheduler=scheduler, name="accept", kind="gate", config=GATE,
                argv=("python3", "-m", "ledger.gate", "--config", "jobs/configs/accept.yaml",
                      "--task", "{task}"),
            )),
            Case("train_gate", train_job(scheduler=scheduler, directives=extra, config=GATE)),
            Case("array", array),
            Case("array_some", array, (3, 7, 19)),
            Case("array_one", array, (7,)),
            Case("train_enroot", train_job(scheduler=scheduler, directives=extra)),
            Case("train_apptainer", train_job(scheduler=scheduler, directives=(), runtime=image)),
            Case("train_chain", train_job(scheduler=scheduler, directives=extra, chain=CHAIN)),
            Case("train_chain_3", train_job(scheduler=scheduler, directives=extra, chain=CHAIN),
                 before=("13.server", "12.server")),
            Case("one_gpu", make_job(
                scheduler=scheduler, kind="evaluate", resources=one, env_file="",
                upstream=(Upstream("train_vanilla", 1, ("/scratch/logs/checkpoints/v",)),),
            )),
        ]  # fmt: skip
    two = Resources(nodes=2, gpus=8, cpus=64, mem_bytes=480 * 10**9, walltime_s=48 * 3600)
    cases += [
        Case("train_apptainer_nodes",
             train_job(scheduler=scheduler, resources=two, runtime=image, directives=()))
        for scheduler in ("pbs", "slurm")
    ]  # fmt: skip
    return cases


CASES = _cases()
