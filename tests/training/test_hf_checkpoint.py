"""Checkpoints: whole or skipped, and never of another run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedConfig

from training.contract import BadInput
from training.hf import checkpoint
from training.hf.parallel import World
from training.resume import Position, refuse_other_run

WORLD = World(0, 1, torch.device("cpu"))


class Small(torch.nn.Linear):
    """Two weights and what a model of transformers has beside them."""

    config = generation_config = PreTrainedConfig()


def saved(root: Path, *steps: int) -> Small:
    torch.manual_seed(0)
    model = Small(3, 2)
    tokenizer = root / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "tokenizer.json").write_text("{}")
    optimizer = torch.optim.AdamW(model.parameters())
    for step in steps:
        model(torch.ones(3)).sum().backward()
        optimizer.step()
        position = Position(step, 4 * step, 20, {"seed": 1})
        checkpoint.save_checkpoint(root, position, model, optimizer, tokenizer, WORLD)
    return model


def test_the_newest_comes_back(tmp_path: Path) -> None:
    model = saved(tmp_path, 5, 10)
    found = checkpoint.find_checkpoint(tmp_path)
    assert found is not None
    assert found[0].name == "step_00000010"
    assert found[1] == Position(10, 40, 20, {"seed": 1})
    other = Small(3, 2)
    optimizer = torch.optim.AdamW(other.parameters())
    checkpoint.load_checkpoint(found[0], other, optimizer)
    assert torch.equal(model.weight, other.weight)
    assert optimizer.state_dict()["state"][0]["step"] == 2
    assert optimizer.state[other.bias]["exp_avg"].any()
    names = {path.name for path in found[0].iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} < names


@pytest.mark.parametrize("damage", ["truncate", "flip", "manifest", "file"])
def test_a_damaged_one_is_skipped_aloud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    saved(tmp_path, 5, 10)
    newest = tmp_path / "step_00000010"
    state = newest / "optimizer.safetensors"
    raw = state.read_bytes()
    if damage == "truncate":
        state.write_bytes(raw[:-7])
    elif damage == "flip":
        state.write_bytes(raw[:300] + bytes([raw[300] ^ 1]) + raw[301:])
    else:
        (newest / {"manifest": "manifest.json", "file": "model.safetensors"}[damage]).unlink()
    found = checkpoint.find_checkpoint(tmp_path)
    assert found is not None and found[1].step == 5
    assert "warning: checkpoint step_00000010 is skipped" in capsys.readouterr().err
    (tmp_path / "step_00000005" / "manifest.json").unlink()
    with pytest.raises(BadInput, match="none of the 2 checkpoints"):
        checkpoint.find_checkpoint(tmp_path)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3)
    checkpoint.prune_checkpoints(tmp_path, 2)
    names = [path.name for path in checkpoint.list_checkpoints(tmp_path)]
    assert names == ["step_00000003", "step_00000002"]


def test_other_values_are_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    before = Position(5, 20, 20, {"seed": 1, "optimizer.lr": 0.1})
    refuse_other_run(before, before.identity, 20)
    refuse_other_run(before, before.identity, 30)
    assert "max_steps grew from 20 to 30" in capsys.readouterr().err
    with pytest.raises(BadInput) as caught:
        refuse_other_run(before, {"seed": 2, "optimizer.lr": 0.1}, 10)
    assert "(seed 1 -> 2, train.max_steps 20 -> 10)" in str(caught.value)
