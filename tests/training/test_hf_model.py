"""The loss in pieces, the decay groups, precision, and weights that must be there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from training.config import load_settings, parse_arguments
from training.contract import BadInput
from training.hf import model as hf


def load(path: Path) -> Any:
    return load_settings(parse_arguments(["--config", str(path)], "test"), 1)


def test_the_seed_decides_the_weights(job: Callable[..., Path]) -> None:
    one, two = (hf.build_model(load(job())) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert one.config.num_hidden_layers == 2 and one.config.sliding_window == 8


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen"])
def test_other_architectures(job: Callable[..., Path], architecture: str, tmp_path: Path) -> None:
    model = hf.build_model(load(job(model={"architecture": architecture})))
    assert model.config.model_type in hf.MODEL_TYPES[architecture]
    embedding = model.get_input_embeddings().weight
    assert embedding.shape == (64, 16) and model.get_output_embeddings().weight is embedding
    assert model.config.num_hidden_layers == 2
    model.save_pretrained(tmp_path / "base")
    weights = {"base": str(tmp_path / "base"), "init": "weights"}
    again = hf.build_model(load(job(model=weights | {"architecture": architecture})))
    assert torch.equal(again.get_input_embeddings().weight, embedding)
    with pytest.raises(BadInput, match=r"is a .*, and model\.architecture gemma3"):
        hf.build_model(load(job(model=weights)))


def test_operations_per_token(job: Callable[..., Path]) -> None:
    model = hf.build_model(load(job()))
    count = sum(p.numel() for p in model.parameters())
    # two layers of two heads of width 8, each looking at its window of 8 tokens
    assert hf.flops_per_token(model, 16) == 6 * count + 12 * 2 * 2 * 8 * 8
    model = hf.build_model(load(job(model={"architecture": "gpt2"})))
    count = sum(p.numel() for p in model.parameters())
    assert hf.flops_per_token(model, 16) == 6 * count + 12 * 2 * 2 * 8 * 16


def test_only_matrices_decay(job: Callable[..., Path]) -> None:
    settings = load(job())
    optimizer = hf.build_optimizer(hf.build_model(settings), settings.optimizer)
    matrices, rest = optimizer.param_groups
    assert matrices["weight_decay"] == 0.1 and rest["weight_decay"] == 0.0
    assert {p.dim() for p in matrices["params"]} == {2}
    assert {p.dim() for p in rest["params"]} == {1}
    assert matrices["betas"] == (0.9, 0.95)


def test_weights_are_loaded_or_refused(job: Callable[..., Path], tmp_path: Path) -> None:
    base = tmp_path / "base"
    fresh = hf.build_model(load(job()))
    fresh.save_pretrained(base)
    given = {"base": str(base), "init": "weights"}
    model = hf.build_model(load(job(model=given)))
    assert torch.equal(fresh.model.norm.weight, model.model.norm.weight)
    with pytest.raises(BadInput, match="has a vocabulary of 64, not 128"):
        hf.build_model(load(job(model=given | {"vocab_size": 128})))
    weights = load_file(base / "model.safetensors")
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match=r"lacks 1 weights, model\.layers\.1\.mlp"):
        hf.build_model(load(job(model=given)))
    (base / "model.safetensors").write_bytes(b"\x08")
    with pytest.raises(BadInput, match="cannot be loaded"):
        hf.build_model(load(job(model=given)))
    (base / "model.safetensors").unlink()
    with pytest.raises(BadInput, match="cannot be loaded"):
        hf.build_model(load(job(model=given)))
