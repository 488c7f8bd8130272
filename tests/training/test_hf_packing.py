"""A packed sample gives each document the logits that it has alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.draws import draws
from training.config import load_settings, parse_arguments
from training.hf.loss import IGNORE
from training.hf.model import build_model
from training.hf.packing import Boundaries, count_targets, document_positions
from training.settings import Data

EOD = 1
DATA = Data(Path("x"), None, (1.0, 0.0, 0.0))


@draws(30)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.data())
def test_positions_count_from_each_document(lengths: list[int], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, lengths[0] - 1))  # a sample begins inside a document
    ids = [t for n in lengths for t in [5] * (n - 1) + [EOD]]
    wanted = [t for n in [lengths[0] - first, *lengths[1:]] for t in range(n)]
    found = document_positions(torch.tensor([ids[first:]]), EOD)
    assert found.tolist() == [wanted]


@pytest.mark.parametrize("architecture", ["gemma3", "gpt2", "llama", "qwen"])
def test_a_packed_sample_is_its_documents_alone(
    job: Callable[..., Path], architecture: str
) -> None:
    path = job(model={"architecture": architecture})
    model = build_model(load_settings(parse_arguments(["--config", str(path)], "test"), 1)).eval()
    source = torch.Generator().manual_seed(1)
    for lengths in ([16], [1, 15], [5, 4, 7], [9, 1, 1, 5], [3] * 5 + [1]):
        packed = torch.randint(2, 64, (1, 16), generator=source)
        ends = torch.tensor(lengths).cumsum(0)
        packed[0, ends - 1] = EOD
        with torch.no_grad():
            where = Boundaries(DATA, EOD).arguments(model, packed)
            together = model(packed, **where).logits[0]
            alone = torch.cat([model(part).logits[0] for part in packed.split(lengths, dim=1)])
        assert torch.allclose(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("positions", "attention"), [(True, False), (False, True), (False, False)], ids=str
)
def test_each_reset_is_an_option(
    job: Callable[..., Path], positions: bool, attention: bool
) -> None:
    # Gemma's first layers have a window, of 8 tokens here
    path = job(train={"reset_position_ids": positions, "reset_attention_mask": attention})
    read = load_settings(parse_arguments(["--config", str(path)], "test"), 1)
    model = build_model(read)
    packed = torch.tensor([[5, 6, EOD, 7, 8, 9]])
    where = Boundaries(read.data, EOD).arguments(model, packed)
    assert where["position_ids"].tolist() == [[0, 1, 2, 0, 1, 2] if positions else [*range(6)]]
    mask = where["attention_mask"]["sliding_attention"]
    assert (mask is None) is not attention
    if attention:
        assert mask[0, 0, 5].tolist() == [False] * 3 + [True] * 3
        assert mask[0, 0, 2].tolist() == [True] * 3 + [False] * 3


def test_what_follows_a_document_may_be_left_out() -> None:
    tokens = torch.tensor([[5, EOD, 7, EOD, 9], [5, 6, 7, 8, EOD]])
    masked = Data(Path("x"), None, (1.0, 0.0, 0.0), eod_mask_loss=True)
    wanted = [[EOD, IGNORE, EOD, IGNORE], [6, 7, 8, EOD]]
    assert Boundaries(masked, EOD).targets(tokens).tolist() == wanted
    assert (count_targets(tokens, masked, EOD), count_targets(tokens, DATA, EOD)) == (6, 8)
