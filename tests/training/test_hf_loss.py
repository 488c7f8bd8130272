"""The losses agree: values and gradients, in pieces, under autocast, with positions left out."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from training.contract import BadInput
from training.hf import loss as losses
from training.hf.loss import IGNORE, resolve_loss

CPU = torch.device("cpu")


def case(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(3)
    hidden = torch.randn(50, 16, generator=source).to(dtype).requires_grad_()
    head = torch.randn(97, 16, generator=source).to(dtype).requires_grad_()
    targets = torch.randint(0, 97, (50,), generator=source)
    targets[::7] = IGNORE
    return hidden, head, targets


def measure(name: str, lower: torch.dtype | None = None) -> list[torch.Tensor]:
    hidden, head, targets = case()
    with torch.autocast("cpu", lower, enabled=lower is not None):
        value = losses.LOSSES[name](hidden, head, targets)
    return [value.detach(), *torch.autograd.grad(value / 43, [hidden, head])]


@pytest.mark.parametrize("rows", [1, 8, 50, 1000], ids="rows={}".format)
def test_chunked_is_plain(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(losses, "LOGITS_AT_A_TIME", 97 * rows)
    for true, got in zip(measure("plain"), measure("chunked"), strict=True):
        assert torch.allclose(got, true, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("lower", [torch.bfloat16, torch.float16], ids=str)
def test_chunked_is_plain_in_16_bits(lower: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "LOGITS_AT_A_TIME", 97 * 8)
    exact = measure("plain")
    for true, plain, got in zip(
        exact, measure("plain", lower), measure("chunked", lower), strict=True
    ):
        assert got.dtype == torch.float32
        bound = 0.02 * float(true.abs().max())
        assert torch.allclose(got, true, rtol=0.02, atol=bound)
        assert torch.allclose(got, plain, rtol=0.02, atol=bound)


def test_a_tied_head_gets_both_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "LOGITS_AT_A_TIME", 97 * 8)
    _, head, targets = case()
    found = []
    for name in ("plain", "chunked"):
        embedded = torch.nn.functional.embedding(targets.clamp_min(0), head)
        value = losses.LOSSES[name](embedded, head, targets)
        found.append(torch.autograd.grad(value, head)[0])
    assert torch.allclose(found[0], found[1], rtol=1e-5, atol=1e-5)


def test_without_gradients_none_are_made() -> None:
    hidden, head, targets = case()
    with torch.no_grad():
        value = losses.chunked(hidden, head, targets)
    assert not value.requires_grad
    assert value.item() == pytest.approx(losses.plain(hidden, head, targets).item(), rel=1e-6)


def test_nothing_that_counts_is_a_loss_of_zero() -> None:
    hidden, head, _ = case()
    value = losses.chunked(hidden, head, torch.full((50,), IGNORE))
    slopes = torch.autograd.grad(value, [hidden, head])
    assert value.item() == 0 and not any(slope.any() for slope in slopes)


def test_auto_is_plain_while_logits_are_few() -> None:
    assert resolve_loss("auto", 2048, 65536, CPU) == "plain"
    assert resolve_loss("auto", 2048, 262_144, CPU) == "chunked"
    assert resolve_loss("chunked", 1, 2, CPU) == "chunked"


@pytest.mark.parametrize("kernel", ["liger", "cce"])
def test_a_kernel_that_does_not_run_is_refused(
    kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BadInput, match=f"train.loss is {kernel}, and .* is not installed"):
        resolve_loss(kernel, 1, 2, CPU)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: "here")
    with pytest.raises(BadInput, match="it needs a GPU, and this is a cpu"):
        resolve_loss(kernel, 1, 2, CPU)


def test_a_kernel_with_wrong_numbers_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(h: torch.Tensor, w: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return losses.plain(h, w, t) * 1.1

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: "here")
    for kernel, says in ((wrong, "not those of the plain loss"), (None, "it fails on this device")):
        monkeypatch.setitem(losses.LOSSES, "cce", kernel)
        assert says in what(monkeypatch)
    monkeypatch.setitem(losses.LOSSES, "cce", losses.chunked)
    assert what(monkeypatch) == ""


def what(monkeypatch: pytest.MonkeyPatch) -> str:
    """what_ails, told that this CPU is a GPU."""

    class Fake:
        type = "cuda"

    small = losses._small_case
    with monkeypatch.context() as patch:
        patch.setattr(losses, "_small_case", lambda loss, _: small(loss, CPU))
        return losses.what_ails("cce", Fake())  # type: ignore[arg-type]
