"""The loss in pieces, the decay groups, precision, and weights that must be there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from training.contract import BadInput
from training.hf import model as hf
from training.settings import load_settings, parse_arguments


def load(path: Path) -> Any:
    return load_settings(parse_arguments(["--config", str(path)], "test"), 1)


def test_the_seed_decides_the_weights(job: Callable[..., Path]) -> None:
    one, two = (hf.build_model(load(job())) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert one.config.num_hidden_layers == 2 and one.config.sliding_window == 8


def test_loss_in_pieces_is_the_loss(
    job: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = hf.build_model(load(job()))
    tokens = torch.randint(0, 64, (3, 17), generator=torch.Generator().manual_seed(1))
    results = []
    for at_a_time in (1 << 27, 64 * 7):
        monkeypatch.setattr(hf, "LOGITS_AT_A_TIME", at_a_time)
        model.zero_grad()
        loss = hf.token_loss(model, tokens)
        torch.autograd.backward(loss)
        results.append((loss.item(), model.model.embed_tokens.weight.grad.clone()))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-6)
    logits = model(input_ids=tokens[:, :-1]).logits
    whole = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    assert results[0][0] == pytest.approx(whole.item(), rel=1e-5)


def test_only_matrices_decay(job: Callable[..., Path]) -> None:
    settings = load(job())
    optimizer = hf.build_optimizer(hf.build_model(settings), settings.optimizer)
    matrices, rest = optimizer.param_groups
    assert matrices["weight_decay"] == 0.1 and rest["weight_decay"] == 0.0
    assert {p.dim() for p in matrices["params"]} == {2}
    assert {p.dim() for p in rest["params"]} == {1}
    assert matrices["betas"] == (0.9, 0.95)


@pytest.mark.parametrize(
    ("wanted", "capability", "precision"),
    [("auto", 8, "bf16-mixed"), ("auto", 7, "fp32"), ("fp32", 8, "fp32"), ("bf16-mixed", 9, None)],
)
def test_precision_follows_the_gpu(
    monkeypatch: pytest.MonkeyPatch, wanted: str, capability: int, precision: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (capability, 0))
    assert hf.pick_precision(wanted, torch.device("cuda")) == (precision or wanted)


def test_bf16_on_a_cpu_is_refused() -> None:
    assert hf.pick_precision("auto", torch.device("cpu")) == "fp32"
    with pytest.raises(BadInput, match="this cpu has no fast bf16"):
        hf.pick_precision("bf16-mixed", torch.device("cpu"))


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
    (base / "model.safetensors").unlink()
    with pytest.raises(BadInput, match="cannot be loaded"):
        hf.build_model(load(job(model=given)))
