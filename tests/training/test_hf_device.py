"""Precision by hardware, fp16's loss scale, peaks."""

from __future__ import annotations

import pytest
import torch

from pipeline import forecast
from training.contract import BadInput
from training.hf import device as hf

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("wanted", "capability", "precision"),
    [
        ("auto", 8, "bf16-mixed"),
        ("auto", 7, "fp16-mixed"),
        ("auto", 6, "fp32"),
        ("fp32", 8, "fp32"),
        ("fp16-mixed", 8, "fp16-mixed"),
        ("bf16-mixed", 9, "bf16-mixed"),
    ],
)
def test_precision_follows_the_gpu(
    monkeypatch: pytest.MonkeyPatch, wanted: str, capability: int, precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (capability, 0))
    assert hf.pick_precision(wanted, torch.device("cuda")) == precision


@pytest.mark.parametrize("wanted", ["bf16-mixed", "fp16-mixed"])
def test_16_bits_on_a_cpu_are_refused(wanted: str) -> None:
    assert hf.pick_precision("auto", CPU) == "fp32"
    with pytest.raises(BadInput, match=f"this cpu has no fast {wanted[:4]}"):
        hf.pick_precision(wanted, CPU)


def test_the_loss_scale_falls_at_once_and_rises_slowly() -> None:
    scale = hf.LossScale("fp16-mixed")
    assert not scale.accept(False) and scale.factor == 32768
    assert all(scale.accept(True) for _ in range(1999)) and scale.factor == 32768
    assert scale.accept(True) and (scale.factor, scale.good) == (65536, 0)
    other = hf.LossScale("bf16-mixed")
    assert other.accept(True) and not other.accept(False) and other.factor == 1


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [
        ("NVIDIA A100-SXM4-40GB", "bf16-mixed", 312e12),
        ("NVIDIA A100-SXM4-40GB", "fp32", 19.5e12),
        ("NVIDIA H100 80GB HBM3", "bf16-mixed", 989e12),
        ("NVIDIA H100 PCIe", "bf16-mixed", 756e12),
        ("NVIDIA L40S", "bf16-mixed", 362e12),
        ("Tesla V100-SXM2-16GB", "fp16-mixed", 125e12),
    ],
)
def test_known_peaks(
    monkeypatch: pytest.MonkeyPatch, name: str, precision: str, peak: float
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    assert hf.peak_flops(torch.device("cuda"), precision)[0] == peak


@pytest.mark.parametrize("name", ["NVIDIA L40", "NVIDIA A2", "NVIDIA GH200 480GB", "Radeon"])
def test_a_gpu_that_nobody_listed_is_measured(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    monkeypatch.setattr(hf, "measure_flops", lambda *_: 7.0)
    assert hf.peak_flops(torch.device("cuda"), "fp32") == (7.0, "measured matrix product")


def test_plan_and_trainer_know_the_same_peaks() -> None:
    assert hf.PEAKS == forecast.PEAKS


def test_a_cpu_is_measured() -> None:
    rate, source = hf.peak_flops(CPU, "fp32")
    assert rate > 1e6 and source == "measured matrix product"
    assert hf.memory_bytes(CPU) > 1 << 20
