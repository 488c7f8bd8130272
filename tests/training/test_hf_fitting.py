"""The loop for trainings over padded examples: order, accumulation, resume, stopping, guards."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.toy import Toy
from training.contract import BadInput, Exit, Section, run_program
from training.fit_settings import FitSettings, add_flags, override, read_fit
from training.hf import fit_run, fitting, task
from training.hf.advice import advice
from training.hf.fit_run import Fit
from training.hf.guards import Stop
from training.hf.task import Batch, Loss

Settings = Callable[..., FitSettings]
Rows = Callable[[Path, str], dict[int, float]]
VALUES: dict[str, Any] = {
    "seed": 3,
    "optimizer": {"lr": 0.05, "decay": "linear", "warmup_ratio": 0.1},
    "batch": {"train": 2, "accumulation": 2},
    "train": {"epochs": 4, "validate_every": 4, "checkpoint_every": 3, "log_every": 1},
}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.delenv("WANDB_MODE", raising=False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings as a job's configuration would give them; keywords change sections."""

    def make(name: str = "run", gpus: int = 0, **changes: Any) -> FitSettings:
        config = section(tmp_path / name, gpus, **changes)
        read = read_fit(config)
        config.raise_problems()
        return read

    return make


def section(run: Path, gpus: int = 0, **changes: Any) -> Section:
    parameters = json.loads(json.dumps(VALUES))
    parameters["train"]["checkpoint_dir"] = str(run)
    for name, values in changes.items():
        own = parameters.get(name, {})
        parameters[name] = values if isinstance(values, list) else own | values
    return Section({"parameters": parameters, "resources": {"gpus": gpus}}, run / "config.yaml")


def train(settings: FitSettings, task: Toy) -> int:
    return run_program(lambda _: fitting.train(settings, task), [])


def status(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "status.json").read_text()))


def table(run: Path) -> list[dict[str, Any]]:
    """All rows without what depends on the clock and the machine."""
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    clock = ("time", "train/examples_per_second", "train/memory_bytes")
    return [{key: row[key] for key in row if key not in clock} for row in rows]


def stop_in(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: Callable[..., bool]
) -> None:
    """Send this process SIGTERM when a function is called under a condition."""
    original = getattr(owner, name)

    def disturbed(*given: Any, **named: Any) -> Any:
        if when(*given):
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*given, **named)

    monkeypatch.setattr(owner, name, disturbed)


def test_an_epoch_sees_each_example_once_and_drops_none(settings: Settings, tmp_path: Path) -> None:
    task = Toy(examples=10)
    assert train(settings(), task) == 0
    told = status(tmp_path / "run")
    assert (told["steps_per_epoch"], told["max_steps"], told["step"]) == (3, 12, 12)
    assert told["consumed_samples"] == 40
    sizes = [len(numbers) for numbers in task.seen[:5]]
    assert sizes == [2, 2, 2, 2, 2]  # updates of 4, 4 and 2 examples
    epochs = [sorted(chain.from_iterable(task.seen[5 * e : 5 * e + 5])) for e in range(4)]
    assert epochs == [list(range(10))] * 4
    assert task.seen[:5] != task.seen[5:10]


def test_accumulation_is_one_large_batch(settings: Settings, tmp_path: Path) -> None:
    """Rows have different numbers of targets: a mean of means would differ."""
    for name, batch in (("small", {"train": 1, "accumulation": 4}), ("large", {"train": 4})):
        task = Toy()
        task.build = without_dropout(task)  # type: ignore[method-assign]
        assert train(settings(name, batch={"accumulation": 1} | batch), task) == 0
    for one, other in zip(table(tmp_path / "small"), table(tmp_path / "large"), strict=True):
        assert one == pytest.approx(other, rel=2e-5)


def without_dropout(task: Toy) -> Any:
    build = task.build

    def built(place: Any) -> dict[str, Any]:
        facts = build(place)
        task.model.drop.p = 0.0
        return facts

    return built


def test_it_learns_and_says_what_it_computed(
    settings: Settings, tmp_path: Path, rows: Rows
) -> None:
    assert train(settings(train={"epochs": 30}), Toy()) == 0
    losses = rows(tmp_path / "run", "train/loss")
    assert losses[90] < 0.6 * losses[1] and losses[1] < 1.5 * math.log(11)
    assert rows(tmp_path / "run", "train/half")[5] == pytest.approx(losses[5] / 2)
    assert rows(tmp_path / "run", "train/epoch")[90] == 30
    # a ratio is one of all updates, not of one epoch's
    rates = rows(tmp_path / "run", "train/learning_rate")
    assert max(rates, key=lambda step: rates[step]) == 9 and rates[90] == 0
    told = status(tmp_path / "run")
    assert (told["state"], told["optimizer"], told["precision"]) == ("done", "adamw_torch", "fp32")
    assert told["trainable"] == told["parameters"] == 11 * 6 + 6 * 11 + 11
    assert told["warmup_steps"] == 9 and told["toy"] is True


@pytest.mark.parametrize("at", [2, 4, 7, 11])
def test_a_stopped_run_goes_on_to_the_bit(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Numbers, best and patience: 4 evaluations in a row without gain end both at the same step."""
    rule = {"early_stopping": {"metric": "val/odd", "mode": "max", "patience": 3}, "epochs": 10}
    values = [0.1, 0.3, 0.2, 0.3, 0.35, 0.1, 0.2, 0.35, 0.0, 0.0]
    whole = Toy()
    whole.values = list(values)
    assert train(settings("whole", train=rule | {"validate_every": 2}), whole) == 0
    told = status(tmp_path / "whole")
    assert (told["step"], told["best_step"], told["best"]) == (16, 10, 0.35)
    assert told["reason"] == "stopped early: 3 evaluations without a better val/odd"

    with monkeypatch.context() as patch:
        stop_in(patch, fitting, "learn", lambda run: run.step == at)
        first = Toy()
        first.values = list(values)
        assert train(settings("parts", train=rule | {"validate_every": 2}), first) == 75
    assert status(tmp_path / "parts")["state"] == "stopped"
    again = Toy()
    again.values = first.values
    assert train(settings("parts", train=rule | {"validate_every": 2}), again) == 0
    assert table(tmp_path / "parts") == table(tmp_path / "whole")
    for name in ("final/toy", "best/toy", "step_00000016/optimizer"):
        one, other = (
            load_file(tmp_path / run / f"{name}.safetensors") for run in ("parts", "whole")
        )
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert (tmp_path / "parts" / "final" / "toy.safetensors").read_bytes() == (
        tmp_path / "parts" / "best" / "toy.safetensors"
    ).read_bytes()


def test_a_killed_run_goes_on_from_its_checkpoint(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(settings("whole"), Toy()) == 0

    def die(run: Fit) -> Any:
        if run.step == 8:
            raise KeyboardInterrupt
        return learn(run)

    learn = fitting.learn
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "learn", die)
        with pytest.raises(KeyboardInterrupt):
            train(settings("parts"), Toy())
    assert train(settings("parts"), Toy()) == 0
    assert table(tmp_path / "parts") == table(tmp_path / "whole")


@pytest.mark.parametrize("at", [1, 3])
def test_an_interrupted_evaluation_is_made_by_the_next_attempt(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """The third one is that of the last update."""
    calls: list[int] = []

    def nth(_: Any) -> bool:
        calls.append(1)
        return len(calls) == at

    with monkeypatch.context() as patch:
        task = Toy()
        stop_in(patch, task, "evaluate", nth)
        assert train(settings("parts"), task) == 75
    assert train(settings("parts"), Toy()) == 0
    assert train(settings("whole"), Toy()) == 0
    assert table(tmp_path / "parts") == table(tmp_path / "whole")


def test_checkpoints_are_kept_and_a_finished_run_does_nothing(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = settings(train={"keep_checkpoints": 2, "tensorboard": False})
    assert train(told, Toy()) == 0
    names = sorted(path.name for path in (tmp_path / "run").iterdir() if path.is_dir())
    assert names == ["best", "final", "step_00000009", "step_00000012"]
    versions = json.loads((tmp_path / "run" / "final" / "versions.json").read_text())
    assert versions["torch"] == torch.__version__
    capsys.readouterr()
    assert train(told, Toy()) == 0 and "nothing to do" in capsys.readouterr().out
    assert train(settings(train={"epochs": 5}), Toy()) == 0  # a longer one goes on
    assert status(tmp_path / "run")["step"] == 15


def test_other_values_are_refused(
    settings: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert train(settings(), Toy()) == 0
    assert train(settings(batch={"train": 1, "accumulation": 4}), Toy()) == 0
    assert train(settings(optimizer={"lr": 0.01}), Toy()) == 65
    assert "optimizer.lr 0.05 -> 0.01" in capsys.readouterr().err
    assert train(settings(train={"epochs": 2}), Toy()) == 65
    assert train(settings(), Toy(examples=11)) == 65


def test_a_batch_without_targets_is_no_nan(settings: Settings, tmp_path: Path, rows: Rows) -> None:
    assert train(settings(), Toy(untargeted=True)) == 0
    losses = rows(tmp_path / "run", "train/loss")
    assert set(losses.values()) == {0.0} and "train/half" not in table(tmp_path / "run")[0]


@pytest.mark.parametrize("value", [math.nan, math.inf, 40.0])
def test_divergence_ends_the_run(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], value: float
) -> None:
    class Broken(Toy):
        def loss(self, batch: Batch) -> Loss:
            loss = super().loss(batch)
            if self.model.training and len(self.seen) > 8:
                loss.total = loss.total * 0 + value * self.count(batch)
            return loss

    assert train(settings(), Broken()) == 70
    err = capsys.readouterr().err
    assert err.startswith("error: step 5: loss is") and "Lower optimizer.lr" in err
    told = status(tmp_path / "run")
    assert told["state"] == "diverged" and not (tmp_path / "run" / "final").exists()


def test_an_evaluation_that_is_no_number_ends_the_run(settings: Settings, tmp_path: Path) -> None:
    task = Toy()
    task.values = [1.0, math.nan]
    assert train(settings(), task) == 70
    assert "val/odd is nan" in status(tmp_path / "run")["reason"]


def test_memory_that_runs_out_names_the_remedy(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    class Large(Toy):
        def loss(self, batch: Batch) -> Loss:
            raise torch.OutOfMemoryError("CUDA out of memory")

    assert train(settings(batch={"train": 32, "eval": 64, "accumulation": 1}), Large()) == 71
    assert (
        "Set batch.train to 16, batch.eval to 32 and batch.accumulation to 2; an update keeps its "
        "32 examples" in capsys.readouterr().err
    )
    assert train(settings(batch={"train": 1, "accumulation": 4}), Large()) == 71
    assert "batch.train is 1 already" in capsys.readouterr().err


class Loud(Toy):
    """Logits on a scale that no sane model starts with."""

    def build(self, place: Any) -> dict[str, Any]:
        facts = super().build(place)
        with torch.no_grad():
            self.model.head.weight *= 40
        return facts


@pytest.mark.parametrize("first", [False, True])
def test_a_first_loss_far_above_guessing_is_refused(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], first: bool
) -> None:
    assert train(settings(train={"validate_first": first}), Loud()) == 65
    err = capsys.readouterr().err
    assert "above 3.597 (guessing among 11 ids costs 2.398). Look at the head" in err
    assert status(tmp_path / "run")["state"] == "failed"
    assert train(settings(train={"max_first_loss": 1e3, "max_loss": 1e3}), Loud()) == 0


def test_an_evaluation_before_training_is_asked_for(
    settings: Settings, tmp_path: Path, rows: Rows
) -> None:
    assert train(settings(train={"validate_first": True}), Toy()) == 0
    assert list(rows(tmp_path / "run", "val/loss")) == [0, 4, 8, 12]
    assert status(tmp_path / "run")["best_step"] > 0


def test_problems_are_told_together_with_their_paths(tmp_path: Path) -> None:
    config = section(
        tmp_path,
        gpus=2,
        optimizer={"lr": "high", "warmup_steps": 5, "name": "sgd"},
        batch={"train": 0},
        train={"max_steps": 5, "early_stopping": {"mode": "up"}},
    )
    read_fit(config)
    with pytest.raises(BadInput) as caught:
        config.raise_problems()
    for problem in (
        "resources ask for 2 GPUs",
        "parameters.optimizer.lr is 'high', not a number",
        "parameters.optimizer.name is 'sgd', not one of adamw",
        "warmup_steps and warmup_ratio are both given",
        "parameters.batch.train is 0",
        "parameters.train.max_steps is 5 and parameters.train.epochs 4",
        "early_stopping.mode is 'up'",
    ):
        assert problem in str(caught.value)


def test_an_unknown_metric_is_refused(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = {"early_stopping": {"metric": "val/rouge", "patience": 2}}
    assert train(settings(train=rule), Toy()) == 65
    assert "measures val/loss, val/perplexity, val/odd" in capsys.readouterr().err


def test_flags_win(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    config = section(tmp_path)
    words = ["--config", "c", "--max-steps", "9", "--batch", "3", "--checkpoint-dir", "d"]
    override(config, parser.parse_args(words))
    read = read_fit(config)
    config.raise_problems()
    assert (read.total_steps(1000), read.batch.train) == (9, 3)
    assert read.train.checkpoint_dir == Path("d")


def test_the_plan_of_steps() -> None:
    """84,544 examples, 32 at a time: 2,642 updates an epoch, 0.06 of five epochs are 793."""
    config = section(
        Path("x"),
        batch={"train": 32, "accumulation": 1},
        optimizer={"warmup_ratio": 0.06},
        train={"epochs": 5},
    )
    read = read_fit(config)
    assert read.steps_per_epoch(84_544) == 2_642 and read.steps_per_epoch(84_545) == 2_643
    total = read.total_steps(84_544)
    assert (total, read.schedule(total).warmup_steps) == (13_210, 793)


def test_exit_codes_are_the_contract(settings: Settings) -> None:
    assert fitting.train(settings(), Toy()) is Exit.OK
    with pytest.raises(BadInput):
        fitting.train(settings("none"), Toy(examples=0))


def test_a_gpu_is_looked_at_first(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(fitting, "check_all", lambda *given: asked.append(given))
    assert train(settings(gpus=1), Toy()) == 0
    assert asked == [(1, tmp_path / "run")]


STAGES = [
    {"step": 0, "lr_scale": 2.0, "weight_decay": 0.0},
    {"step": 5, "lr_scale": 0.5, "clip": 0.001, "betas": [0.5, 0.9]},
]


def test_the_optimizer_s_values_may_change_with_the_step(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, staged = settings("plain"), settings("staged", curriculum_stages=STAGES)
    groups = []
    original = fitting.update

    def watched(run: Any, loss: float) -> float:
        group = run.optimizer.param_groups[0]
        groups.append((group["weight_decay"], group["betas"]))
        return original(run, loss)

    monkeypatch.setattr(fitting, "update", watched)
    assert train(plain, Toy()) == 0 and train(staged, Toy()) == 0
    base, own = ({row["step"]: row["train/learning_rate"] for row in table(tmp_path / name)
                  if "train/loss" in row} for name in ("plain", "staged"))  # fmt: skip
    assert own == {step: rate * (2.0 if step <= 5 else 0.5) for step, rate in base.items()}
    usual = (plain.optimizer.weight_decay, plain.optimizer.betas)
    late = [(usual[0], (0.5, 0.9))] * (len(base) - 5)
    assert groups == [usual] * len(base) + [(0.0, usual[1])] * 5 + late
    assert "curriculum_stages" in staged.identity() and "curriculum_stages" not in plain.identity()


def test_a_row_has_no_length_here(settings: Settings) -> None:
    with pytest.raises(BadInput, match=r"\[0\]\.seq_len is unknown; a row has step, lr_scale"):
        settings("staged", curriculum_stages=[{"step": 0, "seq_len": 8}])


def test_a_run_broken_in_its_stages_is_the_unbroken_one(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(settings("whole", curriculum_stages=STAGES), Toy()) == 0
    for step in (5, 8):  # 5 ends a stage
        with monkeypatch.context() as patch:
            stop_in(patch, fitting, "learn", lambda run, at=step: run.step == at - 1)
            assert train(settings("cut", curriculum_stages=STAGES), Toy()) == 75
    assert train(settings("cut", curriculum_stages=STAGES), Toy()) == 0
    assert table(tmp_path / "cut") == table(tmp_path / "whole")


@pytest.mark.parametrize(
    ("memory", "busy", "told"),
    [
        # the plan's: 3.7 of 22.5 GB at a batch of 16, recomputing what fits anyway
        (
            0.164,
            0.45,
            "16 % of the GPU's memory is in use, and it computes 45 % of the time. Try batch.train "
            "32 and batch.eval 64; train.activation_checkpointing false, which this model does not "
            "need",
        ),
        (0.7, 0.45, ""),
    ],
)
def test_a_gpu_that_idles_is_told(
    settings: Settings, memory: float, busy: float, told: str
) -> None:
    batch = {"train": 16, "eval": 32, "accumulation": 1}
    one = settings(batch=batch, train={"activation_checkpointing": True})
    assert advice(memory, busy, one) == told


def test_it_is_told_once(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(fitting, "use_of", lambda _: (0.1, 1.0))
    assert train(settings(), Toy()) == 0
    assert capsys.readouterr().err.count("10 % of the GPU's memory is in use. Try") == 1
    assert "batch.accumulation 1" in status(tmp_path / "run")["advice"]


@pytest.mark.parametrize(
    ("kind", "level", "wanted", "tf32", "picked"),
    [
        ("mps", 0, "auto", True, ("fp32", False)),
        ("cuda", 8, "auto", True, ("bf16-mixed", True)),
        ("cuda", 7, "auto", True, ("fp16-mixed", False)),
        ("cuda", 8, "fp32", False, ("fp32", False)),
        ("cpu", 0, "auto", True, ("fp32", False)),
        ("mps", 0, "fp16-mixed", False, None),
        ("cpu", 0, "bf16-mixed", False, None),
        ("cuda", 7, "bf16-mixed", False, None),
    ],
)
def test_precision_follows_from_the_device(
    monkeypatch: pytest.MonkeyPatch, kind: str, level: int, wanted: str, tf32: bool,
    picked: tuple[str, bool] | None,
) -> None:  # fmt: skip
    first = torch.device("cuda" if kind == "cuda" else "cpu")
    monkeypatch.setattr(task, "pick_device", lambda: first)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: kind == "mps")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (level, 0))
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        if picked is None:
            with pytest.raises(BadInput, match="Set it to auto or fp32"):
                task.find_place(wanted, tf32, Stop())
        else:
            place = task.find_place(wanted, tf32, Stop())
            assert (place.device.type, place.precision, place.tf32) == (kind, *picked)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_fp16_that_fails_is_told_what_else_there_is(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a device whose fp16 makes every gradient NaN: halved 17 times, then it ends."""

    class Broken(Toy):
        def loss(self, batch: Batch) -> Loss:
            loss = super().loss(batch)
            loss.total = loss.total * torch.where(loss.total > 0, math.nan, 1.0)
            return loss

    find = task.find_place

    def as_fp16(*given: Any) -> Any:
        place = find(*given)
        place.precision = "fp16-mixed"
        return place

    monkeypatch.setattr(fit_run, "find_place", as_fp16)
    assert train(settings(), Broken()) == 70
    assert "train.precision fp32 or bf16-mixed" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["adamw_torch_fused", "adamw_torch"])
def test_fused_adamw_is_for_cuda_alone(settings: Settings, tmp_path: Path, name: str) -> None:
    assert train(settings(optimizer={"name": name}), Toy()) == 0
    assert status(tmp_path / "run")["optimizer"] == "adamw_torch"
