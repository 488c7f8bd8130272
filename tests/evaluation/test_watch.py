"""Warning signs of a training, planted one by one."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import yaml

from evaluation.config import Config, InputError
from evaluation.watch import REMEDIES, expected_rate, figures, main, read_optimizer

OPTIMIZER = {"lr": 2e-4, "decay": "cosine"}
STATUS = {"max_steps": 100, "warmup_steps": 3, "device_memory": 24e9}


def rows(loss=lambda step: 3 * math.exp(-step / 40), gap=1.05, pace=lambda step: 10.0,
         memory=20e9, rate=None):  # fmt: skip
    made = []
    for step in range(1, 101):
        made.append({
            "step": step, "train/loss": loss(step),
            "train/learning_rate": (rate or expected_rate)(step, 100, 3, OPTIMIZER),
            "train/examples_per_second": pace(step), "train/memory_bytes": memory,
        })  # fmt: skip
        if step % 20 == 0:
            made.append({"step": step, "val/loss": gap * loss(step)})
    return made


def signs(**changes):
    found = figures(rows(**changes), STATUS, OPTIMIZER)["signs"]
    return {name for name, shown in found.items() if shown}


def test_a_sound_run_shows_none():
    assert signs() == set()
    found = figures(rows(), STATUS, OPTIMIZER)
    assert found["lr_deviation"] == 0
    assert found["memory_share"] == pytest.approx(20 / 24)
    assert found["train_fell"] > 1


PLANTED: dict[str, dict[str, Any]] = {
    "flat": {"loss": lambda step: 3.0 - 0.0001 * step},
    "overfitting": {"gap": 1.8},
    "exploding": {"loss": lambda step: 9.0 if step == 50 else 3 * math.exp(-step / 40)},
    "memory": {"memory": 23.9e9},
    "idle": {"memory": 8e9},
    "unsteady": {"pace": lambda step: 2.0 if step == 60 else 10.0},
}


@pytest.mark.parametrize("sign", PLANTED)
def test_each_sign_shows_alone_and_has_a_remedy(sign):
    assert signs(**PLANTED[sign]) == {sign}
    assert REMEDIES[sign]


def test_another_schedule_than_the_study_s_shows():
    found = figures(rows(rate=lambda *_: 2e-4), STATUS, OPTIMIZER)
    assert found["lr_deviation"] == pytest.approx(1)


def test_the_schedule_is_the_trainer_s():
    from training.schedule import Schedule

    for decay in ("cosine", "linear", "constant"):
        told = {"lr": 2e-4, "min_lr": 1e-5, "decay": decay}
        theirs = Schedule(2e-4, 1e-5, 202, 6720, decay)
        for step in (1, 100, 202, 203, 3000, 6720):
            assert expected_rate(step, 6720, 202, told) == pytest.approx(theirs(step), rel=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "told"),
    [
        ({"lr": []}, "optimizer.lr in t is [], not float"),
        ({"lr": 0}, "optimizer.lr is 0.0, not above 0"),
        ({"lr": 1, "decay": "steps"}, "optimizer.decay is steps, not one of cosine, linear"),
        ({"lr": 1, "min_lr": "x"}, "optimizer.min_lr in t is 'x', not float"),
    ],
)
def test_what_is_no_schedule_is_refused(optimizer, told):
    with pytest.raises(InputError) as caught:
        read_optimizer(Config({"parameters": {"optimizer": optimizer}}, "t"))
    assert told in str(caught.value)


def test_a_cpu_s_memory_is_not_judged():
    found = figures(rows(), STATUS | {"device_memory": None}, OPTIMIZER)
    assert found["memory_share"] is None
    assert not found["signs"]["memory"]


@pytest.fixture
def job(tmp_path):
    (tmp_path / "status.json").write_text(json.dumps(STATUS))
    watch = {"metrics": str(tmp_path / "m.jsonl"), "status": str(tmp_path / "status.json"),
             "output": str(tmp_path / "watch.json")}  # fmt: skip
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"parameters": {"watch": watch, "optimizer": OPTIMIZER}}))
    return path


def test_the_program_says_the_sign_and_what_to_do(job, tmp_path, capsys):
    told = "".join(json.dumps(row) + "\n" for row in rows(gap=2.0))
    (tmp_path / "m.jsonl").write_text(told)
    assert main(["--config", str(job)]) == 0
    out = capsys.readouterr().out
    assert "sign: overfitting: " in out
    assert "fewer train.epochs" in out
    assert json.loads((tmp_path / "watch.json").read_text())["warnings"] == 1


@pytest.mark.parametrize("text", [None, "", '{"step": 1}\n', "{\n"])
def test_no_rows_are_said_in_one_line(job, tmp_path, text, capsys):
    if text is not None:
        (tmp_path / "m.jsonl").write_text(text)
    assert main(["--config", str(job)]) == 65
    assert "Run the training first" in capsys.readouterr().err
    assert not (tmp_path / "watch.json").exists()
