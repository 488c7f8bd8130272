"""Whole runs of a tiny model in stages: what each update learns, and that nothing can tell where a
run was broken off."""

from __future__ import annotations

import json
import math
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.training import children
from training.config import load_settings, parse_arguments
from training.contract import run_program
from training.data import TokenStream, open_corpus
from training.hf import run_cpt
from training.hf.run import Run
from training.settings import EarlyStopping
from training.stopping import Best

Rows = Callable[[Path, str], dict[int, float]]
STAGES = [
    {"step": 0, "seq_len": 4, "batch_size": 8, "lr_scale": 2.0},
    {"step": 4, "seq_len": 8, "batch_size": 6, "lr_scale": 1.0, "weight_decay": 0.0},
    {"step": 9, "seq_len": 16, "batch_size": 3, "lr_scale": 0.5, "clip": 0.01},
]
LAST = 14
OF_UPDATE = [0] * 4 + [1] * 5 + [2] * 5
TRAIN = {"max_steps": LAST, "checkpoint_every": 1, "validate_every": 2, "keep_checkpoints": 20}
LOOK = {"validation": {"stage_ends": True, "accuracy": True, "probe": 8}}
RATE = {"decay": "constant", "min_lr": 0.0, "warmup_steps": 0, "lr": 0.01}
WRITTEN = ("train/loss", "train/grad_norm", "train/learning_rate", "train/consumed_tokens",
           "val/loss", "val/accuracy", "val/gap", "val/length", "probe/loss")  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def staged(job: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """The configuration of a run in `name`; keyword arguments change parameters of `train`."""

    def make(name: str = "run", stages: list[Any] = STAGES, **train: Any) -> Path:
        folder = {"checkpoint_dir": str(tmp_path / name)}
        path = job(f"{name}.yaml", train=TRAIN | LOOK | folder | train, optimizer=RATE)
        config = yaml.safe_load(path.read_text())
        config["parameters"]["curriculum_stages"] = stages
        path.write_text(yaml.safe_dump(config))
        return path

    return make


def train(config: Path, *flags: str) -> int:
    return run_program(run_cpt.main, ["--config", str(config), *flags])


def broken_after(patch: pytest.MonkeyPatch, step: int) -> None:
    """Let the next run die once it has learned a step, before anything of it is written."""
    learn = run_cpt.learn

    def dying(run: Run) -> tuple[float, float]:
        result = learn(run)
        if run.step == step:
            raise KeyboardInterrupt
        return result

    patch.setattr(run_cpt, "learn", dying)


def same_runs(one: Path, other: Path, rows: Rows) -> None:
    for key in WRITTEN:
        assert rows(one, key) == rows(other, key), key
    for name in ("final/model.safetensors", "best/model.safetensors",
                 f"step_{LAST:08d}/optimizer.safetensors"):  # fmt: skip
        assert (one / name).read_bytes() == (other / name).read_bytes()
    ends = [json.loads((d / "final" / "manifest.json").read_text()) for d in (one, other)]
    assert ends[0] == ends[1]


def test_each_update_learns_what_its_stage_says(
    staged: Callable[..., Path],
    tmp_path: Path,
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    learned, groups = [], []
    batch, learn = TokenStream.batch, run_cpt.learn

    def watched(self: TokenStream, position: int, count: int, length: int) -> Any:
        if self.seed is not None:  # the validation's has none
            learned.append((position, count, length))
        return batch(self, position, count, length)

    def looked_at(run: Run) -> tuple[float, float]:
        result = learn(run)
        decayed, plain = run.optimizer.param_groups
        groups.append((decayed["lr"], decayed["weight_decay"], plain["weight_decay"]))
        states = [int(state["step"]) for state in run.optimizer.state.values()]
        assert set(states) == {run.step}, "the moments of a stage go on in the next"
        return result

    monkeypatch.setattr(TokenStream, "batch", watched)
    monkeypatch.setattr(run_cpt, "learn", looked_at)
    assert train(staged()) == 0
    position, wanted = 0, []
    for index in OF_UPDATE:
        row: Any = STAGES[index]
        wanted.append((position, row["batch_size"], row["seq_len"] + 1))
        position += row["batch_size"] * row["seq_len"]
    assert learned == wanted
    assert groups == [
        (0.01 * STAGES[i]["lr_scale"], STAGES[i].get("weight_decay", 0.1), 0.0) for i in OF_UPDATE
    ]
    run = tmp_path / "run"
    assert list(rows(run, "train/consumed_tokens").values()) == [
        start for start, _, _ in [*wanted, (position, 0, 0)][1:]
    ]
    assert list(rows(run, "train/consumed_samples").values())[-1] == 4 * 8 + 5 * 6 + 5 * 3
    assert list(rows(run, "train/stage").values()) == [i + 1 for i in OF_UPDATE]
    told = json.loads((run / "status.json").read_text())
    assert (told["stage"], told["tokens_per_step"]) == (3, 48)
    assert (told["consumed_tokens"], told["remaining_s"]) == (position, 0)
    assert "stage 2 of 3 from update 4: 6 samples of 8 tokens, lr x 1" in capsys.readouterr().out
    manifest = json.loads((run / "step_00000004" / "manifest.json").read_text())
    assert (manifest["stage"], manifest["consumed_tokens"]) == (1, 4 * 8 * 4)


def test_validation_has_the_lengths_of_the_completed_stages(
    staged: Callable[..., Path], tmp_path: Path, rows: Rows
) -> None:
    assert train(staged()) == 0
    lengths = {2: 4, 4: 4, 6: 8, 8: 8, 9: 8, 10: 16, 12: 16, 14: 16}
    assert rows(tmp_path / "run", "val/length") == lengths
    assert set(rows(tmp_path / "run", "probe/length").values()) == {8}
    found, probe = (rows(tmp_path / "run", f"{name}/loss") for name in ("val", "probe"))
    assert [step for step in lengths if found[step] == probe[step]] == [6, 8, 9]
    losses, gaps = rows(tmp_path / "run", "train/loss"), rows(tmp_path / "run", "val/gap")
    assert gaps[9] == math.exp(found[9] - losses[9])
    assert gaps[12] == pytest.approx(math.exp(found[12] - (losses[11] + losses[12]) / 2))
    following = staged("next", validation={"boundary": "next"})
    assert train(following) == 0
    assert rows(tmp_path / "next", "val/length") == {
        2: 4, 4: 8, 6: 8, 8: 8, 10: 16, 12: 16, 14: 16,
    }  # fmt: skip


def test_a_run_broken_anywhere_is_the_unbroken_one_to_the_bit(
    staged: Callable[..., Path], tmp_path: Path, rows: Rows
) -> None:
    assert train(staged("whole")) == 0
    inside = random.Random(20).sample([n for n in range(1, LAST) if n not in (4, 5, 9, 10)], 2)
    # at 5 and 10 the last checkpoint is the one exactly at a boundary
    breaks = sorted([5, 10, *inside])
    for step in breaks:
        with pytest.MonkeyPatch.context() as patch:
            broken_after(patch, step)
            with pytest.raises(KeyboardInterrupt):
                train(staged())
        kept = sorted((tmp_path / "run").glob("step_*"))
        assert kept[-1].name == f"step_{step - 1:08d}"
    assert train(staged()) == 0
    same_runs(tmp_path / "run", tmp_path / "whole", rows)


def test_kill_9_at_a_boundary_too(staged: Callable[..., Path], tmp_path: Path, rows: Rows) -> None:
    assert train(staged("whole", checkpoint_every=3)) == 0
    config = staged(checkpoint_every=3)
    for step in (9, 11):  # 9 ends a stage; the checkpoint before it is inside one
        [killed] = children.train("--config", str(config), prepare=children.killed_after(step))
        assert killed.code == -signal.SIGKILL
    assert train(config) == 0
    same_runs(tmp_path / "run", tmp_path / "whole", rows)


def test_other_stages_are_another_run(
    staged: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(staged(), "--max-steps", "5") == 0
    assert train(staged(stages=[*STAGES[:2], STAGES[2] | {"step": 10}])) == 65
    assert "made under other values (curriculum_stages" in capsys.readouterr().err


def test_processes_share_each_stage_s_batch(
    staged: Callable[..., Path], tmp_path: Path, rows: Rows
) -> None:
    even = [*STAGES[:2], STAGES[2] | {"batch_size": 4}]
    assert train(staged("one", even)) == 0
    ended = children.train("--config", str(staged("two", even, parallel="ddp")), processes=2)
    assert [one.code for one in ended] == [0, 0], ended[0].err
    for key in ("train/loss", "val/loss", "val/accuracy"):
        assert rows(tmp_path / "two", key) == pytest.approx(rows(tmp_path / "one", key), rel=1e-3)


def test_batches_that_do_not_fit_are_cut_to_the_same_sum(
    staged: Callable[..., Path], tmp_path: Path, rows: Rows
) -> None:
    """The same batch in micro-batches: the numbers are those of the whole, but for rounding."""
    assert train(staged("whole"), "--micro-batch-size", "8") == 0
    assert train(staged("cut"), "--micro-batch-size", "1") == 0
    told = [json.loads((tmp_path / d / "status.json").read_text()) for d in ("whole", "cut")]
    assert [one["accumulation"] for one in told] == [1, 3]
    losses = [list(rows(tmp_path / d, "train/loss").values())[:6] for d in ("whole", "cut")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_held_out_text_may_have_files_of_its_own(
    staged: Callable[..., Path],
    tmp_path: Path,
    write_shard: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_shard(tmp_path / "held" / "text_0001", [[5, 6, 7, 1]] * 20)
    look = LOOK["validation"] | {"data_path": str(tmp_path / "held" / "text")}
    config = staged(split=[1, 0, 0], validation=look, validate_batches=0)
    assert train(config, "--max-steps", "5") == 0
    told = capsys.readouterr().out
    assert "(19 samples of 4)" in told and "(9 samples of 8)" in told  # of 80 tokens
    settings = load_settings(parse_arguments(["--config", str(config)], "test"), 1)
    found = open_corpus(settings.data, settings.model, settings.seed)
    assert len(found.train.lengths) == 60, "all documents of data_path are trained on"
    assert found.validation.read(0, 4).tolist() == [5, 6, 7, 1]
    Path(tmp_path / "held" / "text_0001.bin").unlink()
    assert train(staged("gone", split=[1, 0, 0], validation=look)) == 65
    assert "text_0001.bin" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("scope", "end"), [("global", 6), ("length", 8), ("stage", 8)], ids=lambda one: str(one)
)
def test_patience_within_its_scope(
    staged: Callable[..., Path], tmp_path: Path, scope: str, end: int
) -> None:
    """With gains too small to count, patience 2 ends a run at the third validation of its scope."""
    stages = [{"step": 0, "seq_len": 4, "batch_size": 8}, {"step": 4, "seq_len": 8}]
    rule = {"patience": 2, "min_delta": 50.0, "scope": scope}
    assert train(staged(stages=stages, early_stopping=rule)) == 0
    told = json.loads((tmp_path / "run" / "status.json").read_text())
    # validations at 2 and 4 (of the first stage), 6, 8, ... (of the second)
    assert told["step"] == end + (2 if scope != "global" else 0)
    assert told["best_step"] == (2 if scope == "global" else 6)


def test_what_the_plan_s_own_loop_gets_wrong() -> None:
    """It counts all bad validations together, ends at the eleventh and calls an equal one good."""
    ten = EarlyStopping("val/perplexity", "min", 0.0, 10)
    best = Best(ten)
    for step, value in enumerate([50.0, *[60.0] * 9, 40.0, *[41.0] * 9], 1):
        best.update(step, value)
        assert not best.exhausted, "nine bad ones, a gain, nine bad ones"
    assert (best.bad, best.step) == (9, 11)
    best.update(21, 40.0)  # equal is no gain
    assert best.exhausted and best.bad == 10


@pytest.mark.parametrize("scope", ["stage", "length"])
def test_a_worse_value_of_another_length_is_no_loss(scope: str) -> None:
    best = Best(EarlyStopping("val/perplexity", "min", 0.0, 2, scope))
    assert best.update(2000, 30.0, 1024)
    assert not best.update(4000, 31.0, 1024)
    assert best.update(6000, 45.0, 1536), "its perplexity may spike: that is the first of its kind"
    assert (best.value, best.bad, best.exhausted) == (45.0, 0, False)


def test_moments_of_adam_are_carried_over(staged: Callable[..., Path], tmp_path: Path) -> None:
    """exp_avg after the first update of a stage is 0.9 of that before it, plus a tenth of the
    gradient, whose norm that stage clips to 0.01."""
    assert train(staged()) == 0
    before, after = (
        load_file(tmp_path / "run" / f"step_{step:08d}" / "optimizer.safetensors")
        for step in (9, 10)
    )
    added = [
        (after[name] - 0.9 * before[name]) / 0.1 for name in before if name.startswith("exp_avg/")
    ]
    norm = float(np.sqrt(sum(float((one**2).sum()) for one in added)))
    assert norm == pytest.approx(0.01, rel=1e-3)
    assert max(float(one.abs().max()) for one in before.values()) > 1e-3


def test_each_stage_is_compiled_anew(
    staged: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch compiles a function for eight shapes at most; a curriculum may have more."""
    forgotten = []
    monkeypatch.setattr("training.hf.run.resolve_compile", lambda *_: True)
    monkeypatch.setattr("training.hf.run.compile_layers", lambda _: None)
    monkeypatch.setattr("training.hf.run.forget_shapes", lambda: forgotten.append(1))
    assert train(staged(), "--max-steps", "6") == 0
    assert len(forgotten) == 2
