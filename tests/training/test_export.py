"""From a finished run to a Hugging Face directory."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from training import export
from training.artifacts import check_model
from training.contract import BadInput, run_program
from training.hf import run_cpt


@pytest.fixture
def trained(job: Callable[..., Path]) -> Path:
    torch.set_num_threads(1)
    config = job(train={"max_steps": 2, "checkpoint_every": 2, "validate_every": 2})
    assert run_program(run_cpt.main, ["--config", str(config)]) == 0
    return config


def test_export_once(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import Gemma3ForCausalLM

    argv = ["--config", str(trained)]
    assert run_program(export.main, argv) == 0
    out = tmp_path / "run" / "hf"
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {p.name for p in out.iterdir()}
    assert Gemma3ForCausalLM.from_pretrained(out).config.vocab_size == 64
    before = out.stat().st_ino
    assert run_program(export.main, argv) == 0
    assert "exported already" in capsys.readouterr().out
    assert out.stat().st_ino == before
    (out / "model.safetensors").write_bytes(b"")
    assert run_program(export.main, argv) == 0
    assert check_model(out)["hidden_size"] == 16


def test_an_unfinished_run_is_refused(
    job: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "step_00000005").mkdir(parents=True)
    assert run_program(export.main, ["--config", str(job())]) == 65
    assert "last checkpoint: step_00000005" in capsys.readouterr().err


def test_a_broken_model_is_noticed(trained: Path, tmp_path: Path) -> None:
    final = tmp_path / "run" / "final"
    config = json.loads((final / "config.json").read_text())
    (final / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(BadInput, match=r"lacks model\.layers\.2\.self_attn\.q_proj\.weight"):
        check_model(final)
    (final / "config.json").write_text(json.dumps(config | {"vocab_size": 65}))
    with pytest.raises(BadInput, match=r"embeds \[64, 16\], not \[65, 16\]"):
        check_model(final)
    weights = final / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(BadInput, match="not as long as its header says"):
        check_model(final)


def nemo_job(job: Callable[..., Path], root: Path) -> Path:
    """A run directory with two NeMo checkpoints, the newer of them unfinished."""
    for step in (1000, 2000):
        weights = root / f"step_{step:08d}-last" / "weights"
        weights.mkdir(parents=True)
        (weights / "metadata.json").write_text("{}")
    (root / "step_00002000-last-unfinished").touch()
    return job(train={"backend": "nemo"})


def test_nemo_needs_nemo(
    job: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "nemo", None)
    assert run_program(export.main, ["--config", str(nemo_job(job, tmp_path / "run"))]) == 65
    assert "needs NeMo, which this environment lacks" in capsys.readouterr().err
    assert not (tmp_path / "run" / "hf").exists()


def test_nemo_export_gets_its_window(
    trained: Path, job: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def export_ckpt(path: Path, target: str, output_path: Path, overwrite: bool) -> None:
        assert target == "hf" and overwrite
        calls.append(path)
        export.copy_final(tmp_path / "run" / "final", output_path)
        config = json.loads((output_path / "config.json").read_text())
        del config["sliding_window"]
        (output_path / "config.json").write_text(json.dumps(config))

    llm = types.SimpleNamespace(export_ckpt=export_ckpt)
    fake: Any = types.SimpleNamespace(llm=llm)
    monkeypatch.setitem(sys.modules, "nemo", types.ModuleType("nemo"))
    monkeypatch.setitem(sys.modules, "nemo.collections", fake)
    root = tmp_path / "nemo"
    config = nemo_job(job, root)
    argv = ["--config", str(config), "--checkpoint-dir", str(root)]
    for _ in range(2):
        assert run_program(export.main, argv) == 0
    assert calls == [root / "step_00001000-last"]
    assert check_model(root / "hf")["sliding_window"] == 512
