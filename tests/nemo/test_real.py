"""NeMo itself, in its own environment (`make test-nemo`): objects, training, resuming, converting.

CUDA and TransformerEngine are stood in for (standins.py), so this says nothing of GPUs. Each step
is a process of its own, as in a job: Megatron's state is the process's.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).parent / "program.py"
ARMS = ("vanilla", "stochastok", "patok")

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("nemo") is None,
    reason="NeMo is not in this environment; `make test-nemo` makes one for it (2.3 GB, minutes)",
)


def start(log: Path, *argv: str) -> subprocess.Popen[bytes]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PIPELINE_", "SLURM_"))}
    env |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    with log.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), *argv], stdout=stream, stderr=subprocess.STDOUT, env=env
        )


def run(log: Path, *argv: str, code: int = 0) -> str:
    """Run the program to its end; what it printed."""
    ended = start(log, *argv).wait(timeout=1800)
    text = log.read_text(errors="replace")
    assert ended == code, f"exit {ended}, not {code}:\n{text[-6000:]}"
    return text


def found(text: str) -> list[dict[str, Any]]:
    lines = (line for line in text.splitlines() if line.startswith("FOUND "))
    return [json.loads(line.removeprefix("FOUND ")) for line in lines]


def rows(folder: Path, key: str) -> dict[int, float]:
    made = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {row["step"]: row[key] for row in made if key in row}


# --- the three rendered configurations, as objects


@pytest.fixture(scope="module")
def constructed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What training would use for each arm, and the number of parameters."""
    import numpy as np
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    from pipeline import plan, site, study

    folder = tmp_path_factory.mktemp("construct")
    run(folder / "make.log", "make", str(folder))
    one = folder / "one"
    builder = IndexedDatasetBuilder(f"{one}.bin", dtype=np.int32)
    import torch

    builder.add_document(torch.arange(4, 40, dtype=torch.int32), [36])
    builder.finalize(f"{one}.idx")
    loaded = study.load(ROOT / "studies" / "filipino-cpt.yaml", (), ())
    made = plan.make(loaded, site.load(ROOT, "example-pbs"))
    paths = []
    for job in (job for arm in ARMS for job in made.jobs if (job.kind, job.arm) == ("train", arm)):
        values = json.loads(json.dumps(job.config, default=str))
        # Only where things lie is another place; every number is the study's.
        data = folder / "processed" / job.arm
        data.mkdir(parents=True)
        for number in range(1, values["parameters"]["corpus"]["chunks"] + 1):
            for kind in ("bin", "idx"):
                shutil.copyfile(f"{one}.{kind}", data / f"seapile_{number:04d}.{kind}")
        values["parameters"]["train"]["data_path"] = str(data / "seapile")
        values["parameters"]["tokenizer"]["path"] = str(folder / "tok")
        paths.append(folder / f"{job.arm}.json")
        paths[-1].write_text(json.dumps(values))
    return found(run(folder / "construct.log", "construct", *map(str, paths)))


def test_every_figure_of_the_plan_is_in_the_objects(constructed: list[dict[str, Any]]) -> None:
    import yaml

    text = (ROOT / "tests" / "training" / "plan_tables.yaml").read_text()
    tables = yaml.safe_load(text)
    assert len(constructed) == 4
    for arm, got in zip(ARMS, constructed, strict=False):
        model, optimizer, duration = tables["model"], tables["optimizer"], tables["duration"]
        assert got["model"] == {
            "num_layers": 26, "hidden_size": 1152, "num_attention_heads": 4, "num_query_groups": 1,
            "kv_channels": 256, "ffn_hidden_size": 6912, "window_size": 512, "bf16": True,
            "vocab_size": model["vocab_size"], "seq_length": model["seq_length"],
        }  # fmt: skip
        assert got["optimizer"] == {
            "optimizer": "adam", "lr": float(optimizer["lr"]), "min_lr": float(optimizer["min_lr"]),
            "weight_decay": optimizer["weight_decay"], "clip_grad": optimizer["clip"],
            "adam_beta1": 0.9, "adam_beta2": 0.95, "adam_eps": 1e-8, "bf16": True,
            "use_distributed_optimizer": True,
        }  # fmt: skip
        wanted = {str(k): float(v) for k, v in tables["learning_rate_at"].items() if k}
        assert got["rates"] == pytest.approx(wanted)
        batch = tables["batch"]
        data = got["data"]
        assert (data["micro"], data["global"]) == (batch["micro"], batch["global"])
        assert (data["seq_length"], data["split"], data["seed"]) == (2048, "98,1,1", 42)
        prefixes, weights = data["blend"]
        assert len(prefixes) == tables["chunks"]
        assert set(weights) == {36.0}, "weighted by tokens"
        assert prefixes[0].endswith(f"{arm}/seapile_0001")
        assert got["trainer"] == {
            "max_steps": duration["max_steps"], "validate_every": duration["validate_every"],
            "log_every": duration["log_every"], "validate_batches": 50,
            "devices": batch["gpus"], "nodes": 1, "precision": optimizer["precision"],
        }  # fmt: skip
        assert batch["global"] // (got["trainer"]["devices"] * data["micro"]) == 16
        assert data["global"] * data["seq_length"] == tables["tokens_per_step"]
        assert got["strategy"] == tables["parallel"] | {"distributed": True, "reduce_fp32": True}
        directory = tables["runs"][arm]["directory"]
        assert got["checkpoints"] == {
            "every": duration["checkpoint_every"], "keep": 3, "directory": directory,
        }  # fmt: skip
        assert got["resume"] == {"directory": directory, "weights": f"{directory}/base"}
    assert constructed[3] == {"parameters": 999_885_952}


# --- training, resuming, converting


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a base model, data, and one run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("nemo")
    run(folder / "make.log", "make", str(folder))
    run(folder / "whole.log", "train", "--config", str(folder / "config.json"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)  # checkpoints of a 262,144-word model


def another(world: Path, name: str) -> tuple[Path, list[str]]:
    """The same run in a folder of its own, with the base that was imported already."""
    folder = world / name
    folder.mkdir()
    shutil.copytree(world / "run" / "base", folder / "base")
    config = str(world / "config.json")
    return folder, ["train", "--config", config, "--checkpoint-dir", str(folder)]


def test_a_whole_run(world: Path) -> None:
    folder = world / "run"
    losses = rows(folder, "train/loss")
    assert list(losses) == list(range(1, 9))
    assert abs(losses[1] - math.log(262_144)) < 0.5 and losses[8] < losses[1] - 0.5
    assert rows(folder, "train/consumed_samples")[8] == 32
    rates = rows(folder, "train/learning_rate")
    assert (rates[1], rates[2], rates[8]) == pytest.approx((0.005, 0.01, 0.001))
    assert set(rows(folder, "val/loss")) == {4, 8}
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["step"]) == ("done", 8)
    again = run(world / "again.log", "train", "--config", str(world / "config.json"))
    assert "is trained to step 8; nothing to do" in again


def until(process: subprocess.Popen[bytes], folder: Path, step: int) -> None:
    """Wait until the row of a step is written."""
    end = time.monotonic() + 900
    while process.poll() is None and time.monotonic() < end:
        if (folder / "metrics.jsonl").exists() and step in rows(folder, "train/loss"):
            return
        time.sleep(0.1)
    raise AssertionError(f"step {step} never came")


def same_curve(world: Path, folder: Path) -> None:
    for key in ("train/loss", "train/learning_rate", "train/consumed_samples", "val/loss"):
        assert rows(folder, key) == pytest.approx(rows(world / "run", key), rel=1e-3), key


def test_killed_at_a_step_it_goes_on_as_if_nothing_had_happened(world: Path) -> None:
    folder, argv = another(world, "killed")
    process = start(world / "killed.log", *argv)
    until(process, folder, 5)
    process.kill()
    process.wait()
    text = run(world / "resumed.log", *argv)
    assert "going on from" in text
    same_curve(world, folder)


def test_a_truncated_checkpoint_gives_way_to_the_one_before(world: Path) -> None:
    folder, argv = another(world, "truncated")
    process = start(world / "stopped.log", *argv)
    until(process, folder, 6)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=900) == 75, "stopped after a checkpoint"
    assert json.loads((folder / "status.json").read_text())["state"] == "stopped"
    newest = max(folder.glob("step_*-last"))
    data = max(newest.glob("weights/*.distcp"), key=lambda path: path.stat().st_size)
    os.truncate(data, data.stat().st_size // 2)
    text = run(world / "fallback.log", *argv)
    assert f"checkpoint {newest} is not whole ({data.name} has " in text
    assert (folder.with_name("truncated.broken") / newest.name).is_dir()
    same_curve(world, folder)


def test_to_nemo_and_back(world: Path) -> None:
    [got] = found(run(world / "compare.log", "compare", str(world)))
    assert got["same_weights"] and got["back"] == 0.0
    assert got["nemo"] < 0.02 * got["spread"], "Megatron computes what transformers does"
    assert got["window"] == 512, "NeMo leaves it out, and readers then assume 4,096"


def test_the_export_of_what_was_trained(world: Path) -> None:
    text = run(world / "export.log", "export", "--config", str(world / "config.json"))
    target = world / "run" / "hf"
    assert f"to {target}" in text
    config = json.loads((target / "config.json").read_text())
    assert (config["sliding_window"], config["num_hidden_layers"]) == (512, 26)
    assert (target / "tokenizer.json").is_file()
    again = run(world / "export2.log", "export", "--config", str(world / "config.json"))
    assert "is exported already; nothing to do" in again
