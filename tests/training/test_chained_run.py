"""A training cut into links gives, to the bit, the numbers of one that nobody interrupted."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from tests.pipeline.clusters import Project, site_yaml
from training.contract import run_program
from training.hf import run_cpt

Rows = Callable[[Path, str], dict[int, float]]

# At step 7 the script above it gets the signal that comes before a walltime's end; at step 13,
# behind the checkpoint of step 10, a node dies.
PROGRAM = """
import os, signal, sys
from pathlib import Path
import torch
from training.contract import run_program
from training.hf import run_cpt
torch.set_num_threads(1)
learn = run_cpt.learn
def disturbed(run):
    result = learn(run)
    if run.step == 7:
        os.kill(os.getppid(), signal.SIGUSR1)
        while not run.stop.signal:
            pass
    if run.step == 13 and not Path("out/died").exists():
        Path("out/died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return result
run_cpt.learn = disturbed
sys.exit(run_program(run_cpt.main, sys.argv[1:]))
"""


def test_a_chain_trains_as_one_job_would(
    job: Callable[..., Path], tmp_path: Path, rows: Rows
) -> None:
    torch.set_num_threads(1)
    whole = job("whole.yaml", train={"checkpoint_dir": str(tmp_path / "whole")})
    assert run_program(run_cpt.main, ["--config", str(whole)]) == 0
    folder = tmp_path / "project"
    study = {
        "study": "small",
        "state_dir": "jobs/small",
        "stages": {
            "train": {
                "kind": "command",
                "run": [sys.executable, "train.py", "--config", str(job())],
                "chain": {"links": 5},
            }
        },
        "resources": {"gpus": 0, "cpus": 1, "mem": "500MB", "walltime": "00:30:00"},
    }
    project = Project(folder, site_yaml("local", folder), {}, json.dumps(study))
    (folder / "train.py").write_text(PROGRAM)
    project.run("run", "--interval", "1")
    found = project.status()["jobs"][0]
    assert (found["state"], found["link"]) == ("completed", 3)
    receipts = (folder / "jobs/small/receipts/train").iterdir()
    assert {json.loads(path.read_text())["checkpoint"] for path in receipts} == {7, 10, 20}
    for key in ("train/loss", "train/grad_norm", "train/learning_rate", "val/loss"):
        assert rows(tmp_path / "run", key) == rows(tmp_path / "whole", key)
    weights = [tmp_path / name / "final" / "model.safetensors" for name in ("run", "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
