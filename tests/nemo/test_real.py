"""NeMo itself, in its own environment (`make test-nemo`): objects, training, resuming, converting.

CUDA and TransformerEngine are stood in for (standins.py), so this says nothing of GPUs. Each step
is a process of its own, as in a job: Megatron's state is the process's.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
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


def start(log: Path, *argv: str, **more: str) -> subprocess.Popen[bytes]:
    """The program as a process; `more` are variables of its environment."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PIPELINE_", "SLURM_"))}
    env |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **more}
    with log.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), *argv], stdout=stream, stderr=subprocess.STDOUT, env=env
        )


def run(log: Path, *argv: str, code: int = 0, **more: str) -> str:
    """Run the program to its end; what it printed."""
    ended = start(log, *argv, **more).wait(timeout=1800)
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
    """What training would use for each arm, for vanilla with its parts merged into one pair of
    files, and the number of parameters."""
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
    merged = folder / "merged" / "seapile"
    merged.parent.mkdir()
    for kind in ("bin", "idx"):
        shutil.copyfile(f"{one}.{kind}", f"{merged}.{kind}")
    values = json.loads(paths[0].read_text())
    values["parameters"]["train"]["data_path"] = str(merged)
    paths.append(folder / "merged.json")
    paths[-1].write_text(json.dumps(values))
    return found(run(folder / "construct.log", "construct", *map(str, paths)))


def of_the_plan(got: dict[str, Any], tables: dict[str, Any]) -> dict[str, Any]:
    """What the objects say, in the shape of plan_tables.yaml for one arm."""
    data, trainer, optimizer = got["data"], got["trainer"], got["optimizer"]
    ranks = trainer["devices"] * trainer["nodes"]
    tokens = data["global"] * data["seq_length"]
    assert data["seq_length"] == got["dataset"]["sequence_length"] == got["model"]["seq_length"]
    return {
        "model": {"base": got["base"], "parameters": tables["model"]["parameters"],
                  "seq_length": data["seq_length"], "vocab_size": got["model"]["vocab_size"]},
        "optimizer": {"name": optimizer["optimizer"] + "w", "lr": optimizer["lr"],
                      "min_lr": optimizer["min_lr"], "warmup_steps": got["rising"],
                      "weight_decay": optimizer["weight_decay"], "clip": optimizer["clip_grad"],
                      "precision": trainer["precision"]},
        "batch": {"global": data["global"], "gpus": ranks, "micro": data["micro"],
                  "accumulation": data["global"] // (ranks * data["micro"])},
        "duration": {"max_steps": trainer["max_steps"],
                     "checkpoint_every": got["checkpoints"]["every"],
                     "validate_every": trainer["validate_every"],
                     "log_every": trainer["log_every"]},
        "parallel": got["strategy"],
        "wandb": {"project": got["wandb"]["project"]},
        "runs": {"directory": got["checkpoints"]["directory"], "name": got["wandb"]["name"]},
        "chunks": len(data["blend"][0]),
        "learning_rate_at": {int(step): rate for step, rate in got["rates"].items()},
        "tokens_per_step": tokens,
        "total_tokens": tokens * trainer["max_steps"],
        "logits_bytes_fp32": data["micro"] * data["seq_length"] * got["model"]["vocab_size"] * 4,
    }  # fmt: skip


def test_every_figure_of_the_plan_is_in_the_objects(constructed: list[dict[str, Any]]) -> None:
    import yaml

    from training.contract import ConfigLoader

    text = (ROOT / "tests" / "training" / "plan_tables.yaml").read_text()
    tables = yaml.load(text, Loader=ConfigLoader)
    assert len(constructed) == 5
    for arm, got in zip(ARMS, constructed, strict=False):
        wanted = tables | {"runs": tables["runs"][arm]}
        found = of_the_plan(got, tables)
        rates = [{int(k): v for k, v in t.pop("learning_rate_at").items()} for t in (found, wanted)]
        assert rates[0] == pytest.approx(rates[1])
        assert found == wanted, arm
    assert constructed[4] == {"parameters": 999_885_952}
    assert round(999_885_952, -9) == tables["model"]["parameters"]


def test_what_the_plan_leaves_open_is_gemmas_and_the_studys(
    constructed: list[dict[str, Any]],
) -> None:
    for arm, got in zip(ARMS, constructed, strict=False):
        assert got["model"] == {
            "num_layers": 26, "hidden_size": 1152, "num_attention_heads": 4, "num_query_groups": 1,
            "kv_channels": 256, "ffn_hidden_size": 6912, "window_size": 512, "bf16": True,
            "vocab_size": 262_144, "seq_length": 2048,
        }  # fmt: skip
        assert got["optimizer"]["bf16"] and got["optimizer"]["use_distributed_optimizer"]
        assert [got["optimizer"][f"adam_{k}"] for k in ("beta1", "beta2", "eps")] == [
            0.9, 0.95, 1e-8,
        ]  # fmt: skip
        assert got["dataset"] == {
            "random_seed": 42, "sequence_length": 2048, "split": "98,1,1", "eod": 1,
            "reset_position_ids": True, "reset_attention_mask": True, "eod_mask_loss": False,
        }  # fmt: skip
        prefixes, weights = got["data"]["blend"]
        assert set(weights) == {36.0}, "weighted by tokens"
        assert prefixes[0].endswith(f"{arm}/seapile_0001")
        directory = got["checkpoints"]["directory"]
        assert (got["trainer"]["validate_batches"], got["checkpoints"]["keep"]) == (50, 3)
        assert got["resume"] == {"directory": directory, "weights": f"{directory}/base"}


def test_merged_data_are_one_prefix(constructed: list[dict[str, Any]]) -> None:
    [prefix], weights = constructed[3]["data"]["blend"]
    assert prefix.endswith("/merged/seapile") and weights is None
    assert constructed[3] | {"data": constructed[0]["data"]} == constructed[0]


def test_the_recipe_is_nemos_but_for_what_is_named(constructed: list[dict[str, Any]]) -> None:
    """First NeMo's value (llm.gemma3_1b.pretrain_recipe), then ours; all others are the same."""
    for got in constructed[:3]:
        assert got["unlike_recipe"] == {
            "ddp.average_in_collective": ["True", "False"],  # gloo cannot; the sum is the same
            "ddp.use_distributed_optimizer": ["False", "True"],  # NeMo's strategy sets it later
            "precision.params_dtype": ["torch.bfloat16", "torch.float32"],  # see build_trainer
        }


def test_the_arms_differ_in_the_variant_only(constructed: list[dict[str, Any]]) -> None:
    """Objects of the three arms are equal once their data and their names are called the same."""
    alike = []
    for arm, got in zip(ARMS, constructed, strict=False):
        text = json.dumps(got).replace(got["wandb"]["name"], "RUN")
        assert f"/processed/{arm}/seapile_0020" in text
        alike.append(text.replace(f"/processed/{arm}/", "/processed/ARM/"))
    assert len(set(alike)) == 1
    assert len({got["wandb"]["name"] for got in constructed[:3]}) == 3


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
    held_out = rows(folder, "val/loss")
    assert set(held_out) == {4, 8}
    assert rows(folder, "val/perplexity")[8] == pytest.approx(math.exp(held_out[8]))
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["step"], status["remaining_s"]) == ("done", 8, 0)
    again = run(world / "again.log", "train", "--config", str(world / "config.json"))
    assert "is trained to step 8; nothing to do" in again


def test_its_speed_memory_and_utilisation(world: Path) -> None:
    folder = world / "run"
    status = json.loads((folder / "status.json").read_text())
    # a head that is the embedding, and 26 layers with norms before, behind and inside
    assert status["parameters"] == 262_144 * 32 + 26 * (
        32 * (32 + 2 * 16) + 32 * 32 + 3 * 32 * 64 + 4 * 32 + 2 * 16
    ) + 32  # fmt: skip
    # all 26 layers see all of a sample of 64 tokens: it is shorter than the window
    a_token = 6 * status["parameters"] + 12 * 2 * 16 * 26 * 64
    used, speed = (rows(folder, f"train/{key}") for key in ("mfu", "tokens_per_second"))
    peak = status["peak_flops"]
    assert peak["from"] == "measured matrix product"
    assert used == pytest.approx({k: v * a_token / peak["per_second"] for k, v in speed.items()})
    memory = rows(folder, "train/memory_bytes")
    assert list(memory) == list(range(1, 9)) and min(memory.values()) > 2**28
    assert list(rows(folder, "train/grad_norm")) == list(range(1, 9))


def test_its_tensorboard_has_the_same_rows(world: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(world / "run" / "tensorboard"))
    events.Reload()
    for key in ("train/loss", "train/mfu", "val/loss"):
        got = {event.step: event.value for event in events.Scalars(key)}
        assert got == pytest.approx(rows(world / "run", key), rel=1e-6)


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
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for one in (process.pid, *map(int, children)):  # as a scheduler does, with megatron's manager
        os.kill(one, signal.SIGKILL)
    process.wait()
    seen = max(rows(folder, "train/loss"))
    text = run(world / "resumed.log", *argv)
    at = re.search(r"going on from \S*/step_(\d{8})", text)
    assert at and int(at[1]) < seen < 8, "it was killed in the middle of the run"
    same_curve(world, folder)


def test_a_signal_leaves_a_checkpoint_that_is_gone_on_from(world: Path) -> None:
    told = world / "told"
    folder, argv = another(world, "signalled")
    process = start(world / "signalled.log", *argv, PIPELINE_CHECKPOINT=str(told))
    until(process, folder, 4)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=900) == 75, (world / "signalled.log").read_text()[-6000:]
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["reason"]) == ("stopped", "SIGTERM")
    step = status["step"]
    assert 4 <= step < 8 and list(rows(folder, "train/loss")) == list(range(1, step + 1))
    assert told.read_text() == f"{step}\n"
    assert set(rows(folder, "val/loss")) == {4}, "it does not validate first"
    newest = max(folder.glob("step_*"))
    assert newest.name.startswith(f"step_{step - 1:08d}"), "batches are counted from 0"
    text = run(world / "went_on.log", *argv, PIPELINE_CHECKPOINT=str(told))
    assert f"going on from {newest}" in text
    assert told.read_text() == "8\n"
    assert json.loads((folder / "status.json").read_text())["state"] == "done"
    same_curve(world, folder)


def test_a_truncated_checkpoint_gives_way_to_the_one_before(world: Path) -> None:
    folder, argv = another(world, "truncated")
    process = start(world / "stopped.log", *argv)
    until(process, folder, 6)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=900) == 75, "stopped after a checkpoint"
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
