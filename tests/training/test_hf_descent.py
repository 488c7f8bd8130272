"""One update: the clipped step, the one that is passed over, the one that is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from training.contract import Exit, ProgramError  # noqa: E402
from training.hf.descent import descend  # noqa: E402
from training.hf.device import LossScale  # noqa: E402


def one(gradient: float) -> tuple[Any, Any]:
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    weight.grad = torch.tensor([gradient])
    return weight, torch.optim.SGD([weight], lr=1.0)


@pytest.mark.parametrize(("clip", "after"), [(0.0, -3.0), (0.5, 0.5)])
def test_the_norm_is_told_before_clipping(clip: float, after: float) -> None:
    weight, optimizer = one(4.0)
    assert descend(optimizer, [weight], LossScale("fp32"), 1, 2.0, clip, 9.0) == 4.0
    assert weight.item() == pytest.approx(after) and weight.grad is None


def test_the_loss_scale_is_taken_off() -> None:
    scale = LossScale("fp16-mixed")
    weight, optimizer = one(4.0 * scale.factor)
    assert descend(optimizer, [weight], scale, 1, 2.0, 0.0, 9.0) == 4.0
    assert weight.item() == -3.0


@pytest.mark.parametrize(
    ("precision", "gradient", "loss", "words"),
    [
        ("fp32", math.nan, 2.0, "step 7: loss is 2, gradient norm nan"),
        ("fp32", 1.0, math.inf, "step 7: loss is inf, gradient norm 1"),
        ("fp32", 1.0, 9.5, "loss is 9.5, gradient norm 1, and the loss is bounded by 9"),
        ("fp16-mixed", 65536.0, math.nan, "step 7: loss is nan, gradient norm 1"),
    ],
)
def test_what_is_refused_changes_no_weight(
    precision: str, gradient: float, loss: float, words: str
) -> None:
    weight, optimizer = one(gradient)
    with pytest.raises(ProgramError, match=words) as told:
        descend(optimizer, [weight], LossScale(precision), 7, loss, 1.0, 9.0)
    assert told.value.code is Exit.DIVERGED and weight.item() == 1.0
    assert ("bf16-mixed" in str(told.value)) == (precision != "fp32")


def test_a_gradient_beyond_fp16_is_passed_over_until_no_scale_is_left() -> None:
    scale = LossScale("fp16-mixed")
    weight, optimizer = one(math.inf)
    for _ in range(16):
        weight.grad = torch.tensor([math.inf])
        assert descend(optimizer, [weight], scale, 3, 2.0, 1.0, 9.0) == math.inf
        assert weight.item() == 1.0 and weight.grad is None
    weight.grad = torch.tensor([math.inf])
    with pytest.raises(ProgramError, match="step 3: loss is 2, gradient norm inf"):
        descend(optimizer, [weight], scale, 3, 2.0, 1.0, 9.0)
