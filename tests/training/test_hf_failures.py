"""Each way to fail, provoked for real: its exit code, its one line, and what is left on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training import children
from training.contract import run_program
from training.hf import run_cpt


def failed(config: Path, code: int, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run_program(run_cpt.main, ["--config", str(config)]) == code
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def test_a_planted_nan(
    job: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Token ids cannot be NaN; the weights that a run begins with can."""
    assert run_program(run_cpt.main, ["--config", str(job())]) == 0
    base = tmp_path / "run" / "final"
    weights = load_file(base / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][3, 3] = float("nan")
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    model = {"base": str(base), "init": "weights"}
    config = job(model=model, train={"checkpoint_dir": str(tmp_path / "next")})
    assert "step 1: loss is nan" in failed(config, 70, capsys)
    assert json.loads((tmp_path / "next" / "status.json").read_text())["state"] == "diverged"
    assert not list((tmp_path / "next").glob("step_*"))


def test_a_model_that_no_memory_holds(
    job: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    vast = {"hidden_size": 1 << 20, "intermediate_size": 1 << 30}  # 4 PiB a matrix
    config = job(model={"config": {"layers": 1, "heads": 1, "kv_heads": 1, "head_dim": 8}
                        | {"sliding_window": 8} | vast})  # fmt: skip
    assert "out of memory at micro-batch 2. Set batch.micro to 1" in failed(config, 71, capsys)


def test_a_step_beyond_the_limit_of_memory(job: Callable[..., Path], tmp_path: Path) -> None:
    [ended] = children.train("--config", str(job()), prepare=children.run_out_of_memory)
    assert ended.code == 71, ended.err
    assert "error: out of memory at micro-batch 2. Set batch.micro to 1" in ended.err
    told = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (told["state"], told["step"]) == ("failed", 2)


def test_a_node_without_its_gpus(
    job: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The study gives the job a GPU: nvidia-smi that is absent, that shows a bad one, and a torch
    that was built without CUDA."""
    config = job(gpus=1)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "cannot ask nvidia-smi: " in failed(config, 65, capsys)
    program = tmp_path / "nvidia-smi"
    for errors, fact in ((3, "GPU 0 (GPU-1a) has 3 uncorrected ECC errors"), (0, "can use 0 GPUs")):
        row = f"0, GPU-1a, NVIDIA A100-SXM4-40GB, 40960, 40326, {errors}"
        program.write_text(f"#!/bin/sh\necho '{row}'\n")
        program.chmod(0o755)
        assert fact in failed(config, 65, capsys)
    assert not (tmp_path / "run").exists()


def test_a_disk_that_no_checkpoint_fits_on(
    job: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=20_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert f"free at {tmp_path / 'run'}, and a checkpoint takes " in failed(job(), 65, capsys)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_missing_shard(
    job: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = job()
    (tmp_path / "data" / "seapile_0002.bin").unlink()
    assert "seapile_0002.bin" in failed(config, 65, capsys)


@pytest.mark.parametrize(
    ("code", "says"),
    [(8, "ids of another width"), (5, "bytes of the"), (6, "dtype code 6")],
    ids=["uint16 of int32", "int64 of int32", "float32"],
)
def test_a_wrong_dtype(
    job: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    code: int,
    says: str,
) -> None:
    """The index says another width than the ids have, with offsets that fit what it says."""
    config = job()
    index = tmp_path / "data" / "seapile_0001.idx"
    raw = bytearray(index.read_bytes())
    count = int.from_bytes(raw[18:26], "little")
    offsets = np.frombuffer(raw, "<i8", count, 34 + 4 * count)
    width = {8: 2, 5: 8, 6: 4}[code]
    raw[34 + 4 * count : 34 + 12 * count] = (offsets // 4 * width).astype("<i8").tobytes()
    raw[17] = code
    index.write_bytes(raw)
    assert says in failed(config, 65, capsys)


def test_a_wrong_vocabulary_and_other_weights(
    job: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "the model's vocabulary has 50" in failed(job(model={"vocab_size": 50}), 65, capsys)
    assert run_program(run_cpt.main, ["--config", str(job())]) == 0
    base = {"base": str(tmp_path / "run" / "final"), "init": "weights"}
    new = {"checkpoint_dir": str(tmp_path / "new")}
    config = job(model=base | {"vocab_size": 128}, train=new)
    assert "has a vocabulary of 64, not 128" in failed(config, 65, capsys)


def test_all_checkpoints_corrupt(
    job: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = job(), tmp_path / "run"
    assert run_program(run_cpt.main, ["--config", str(config)]) == 0
    (run / "final" / "model.safetensors").unlink()
    for path in run.glob("step_*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    assert "none of the 2 checkpoints in" in failed(config, 65, capsys)
    assert torch.is_tensor(load_file(run / "best" / "model.safetensors")["model.norm.weight"])
