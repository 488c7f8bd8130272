"""Compiled layers and layers computed again give the numbers of plain ones, in few graphs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from training.config import load_settings, parse_arguments
from training.contract import run_program
from training.hf import layers as hf
from training.hf import run_cpt
from training.hf.loss import plain
from training.hf.model import build_model
from training.hf.packing import Boundaries, Trainee
from training.hf.parallel import World

Rows = Callable[[Path, str], dict[int, float]]
CPU = torch.device("cpu")
# What dynamo asks of every tensor, and says to nobody but those who make warnings errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
HERE = World(0, 1, CPU)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    from torch._inductor import config as inductor

    torch.set_num_threads(1)
    torch._dynamo.reset()
    with inductor.patch("compile_threads", 1):  # else a pool of processes stays behind
        yield


class Graphs:
    """In place of the C++ compiler: runs a graph as it is, and counts the graphs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=self))

    def __call__(self, graph: Any, _examples: Any) -> Any:
        self.count += 1
        return graph.forward


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
def test_layers_share_their_graphs_whatever_the_documents(
    job: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, recompute: bool
) -> None:
    shape = {"hidden_size": 8, "intermediate_size": 8, "layers": 6, "heads": 1, "kv_heads": 1}
    path = job(model={"config": shape | {"head_dim": 8, "sliding_window": 4}})
    settings = load_settings(parse_arguments(["--config", str(path)], "test"), 1)
    graphs = Graphs(monkeypatch)
    models = [build_model(settings) for _ in range(2)]
    hf.compile_layers(models[1])
    if recompute:
        hf.recompute_layers(models[1])
    eager, compiled = (Trainee(m, plain, Boundaries(settings.data, 1)).train() for m in models)
    source = torch.Generator().manual_seed(1)
    for ends in ([], [3], [0, 1, 9], [], [15]):
        tokens = torch.randint(2, 64, (2, 17), generator=source)
        tokens[:, ends] = 1
        losses = [trainee(tokens) for trainee in (eager, compiled)]
        assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-6)
        slopes = [
            torch.autograd.grad(loss, list(model.parameters()))
            for loss, model in zip(losses, models, strict=True)
        ]
        assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(*slopes, strict=True))
    assert 1 <= graphs.count <= 4

    # a validation batch of another size is computed as it is
    before = graphs.count
    with torch.no_grad(), hf.as_written(True):
        assert compiled(tokens[:1]).item() == pytest.approx(eager(tokens[:1]).item(), rel=1e-6)
    assert graphs.count == before


def test_a_compiled_run_has_the_losses_of_a_plain_one(
    job: Callable[..., Path], tmp_path: Path, rows: Rows
) -> None:
    """With the C++ compiler that is here, accumulation, clipping and validation included."""
    found = []
    short = {"max_steps": 4, "validate_every": 2, "reset_attention_mask": False}
    for name, compiled in (("plain", False), ("compiled", True)):
        folder = {"checkpoint_dir": str(tmp_path / name), "compile": compiled}
        config = job(f"{name}.yaml", model={"architecture": "llama"}, train=short | folder)
        assert run_program(run_cpt.main, ["--config", str(config)]) == 0
        told = json.loads((tmp_path / name / "status.json").read_text())
        assert (told["compile"], told["accumulation"]) == (compiled, 2)
        found.append(rows(tmp_path / name, "train/loss") | rows(tmp_path / name, "val/loss"))
    assert len(found[0]) == 4
    assert found[1] == pytest.approx(found[0], rel=2e-5)


def test_without_a_compiler_it_says_so_and_goes_on(
    job: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from torch._inductor import config as inductor

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    config = job(train={"compile": True})
    with inductor.patch("cpp.cxx", (None, "no-such-compiler")):
        assert run_program(run_cpt.main, ["--config", str(config)]) == 0
    err = capsys.readouterr().err
    assert "warning: process 0 cannot compile, so nothing is compiled: InvalidCxxCompiler" in err
    told = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (told["compile"], told["state"]) == (False, "done")


def test_a_compiler_with_wrong_numbers_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    Graphs(monkeypatch)
    assert hf.what_ails_compiler(CPU) == ""
    assert hf.resolve_compile(True, HERE) and not hf.resolve_compile(False, HERE)
    monkeypatch.setattr(hf, "_trial", lambda value: value * 3)
    assert hf.what_ails_compiler(CPU) == "its numbers are wrong on this device"
