"""The test cluster is a Slurm: it runs an array, shows it, and remembers how it ended."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from tests.cluster.fixture import SCRIPT, Slurm


def test_array_in_squeue_and_sacct(slurm: Slurm, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/bash\nsleep 1\nexit $((SLURM_ARRAY_TASK_ID - 1))\n")
    job_id = slurm.run(
        "sbatch", "--parsable", "--array=1-3", "--output", str(tmp_path / "%a.out"), str(script)
    ).strip()
    waiting = slurm.run("squeue", "-h", "-r", "-j", job_id, "-o", "%i %T").split()
    assert waiting[::2] == [f"{job_id}_{n}" for n in (1, 2, 3)]
    end = time.monotonic() + 60
    while True:
        lines = slurm.run("sacct", "-X", "-n", "-P", "-j", job_id, "-o", "jobid,state,exitcode")
        if lines.count("COMPLETED") + lines.count("FAILED") == 3:
            break
        assert time.monotonic() < end, lines
        time.sleep(0.5)
    assert sorted(lines.split()) == [
        f"{job_id}_1|COMPLETED|0:0",
        f"{job_id}_2|FAILED|1:0",
        f"{job_id}_3|FAILED|2:0",
    ]


def test_gpus_are_scheduled(slurm: Slurm) -> None:
    shown = slurm.run("srun", "--gres=gpu:a100:2", "bash", "-c", "echo $CUDA_VISIBLE_DEVICES")
    assert len(shown.strip().split(",")) == 2


def test_the_same_over_ssh(slurm: Slurm) -> None:
    nodes = slurm.run(
        "ssh", "-F", str(slurm.ssh_config), "pipeline-slurm", "sinfo -h -p main -o %D"
    )
    assert nodes.strip() == "4"


def test_up_again_does_no_harm(slurm: Slurm) -> None:
    before = slurm.run("sinfo", "-h", "-o", "%P %D")
    subprocess.run([SCRIPT, "up"], check=True, capture_output=True, timeout=120)
    assert slurm.run("sinfo", "-h", "-o", "%P %D") == before
