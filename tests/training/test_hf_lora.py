"""LoRA end to end on tiny models: it learns, resumes, evaluates by what it writes, refuses."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.training import small
from training.contract import BadInput, load_config, run_program
from training.hf import adapters, examples, fitting, lora, predict
from training.hf.adapters import CAUSAL, SEQ2SEQ
from training.hf.examples import Examples, causal, seq2seq
from training.hf.generate_text import decode, left_padded
from training.hf.task import IGNORED

Rows = Callable[[Path, str], dict[int, float]]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a job's configuration; `task` picks the base, keywords change sections."""
    for name in ("WANDB_MODE", "PIPELINE_PROGRESS"):
        monkeypatch.delenv(name, raising=False)
    small.write_pairs(tmp_path / "train.jsonl", 22)
    small.write_pairs(tmp_path / "validation.jsonl", 6, seed=1)
    made: dict[str, str] = {}

    def make(task: str = SEQ2SEQ, run: str = "run", **changes: dict[str, Any]) -> Path:
        if task not in made:
            folder = tmp_path / task
            made[task] = small.t5(folder) if task == SEQ2SEQ else small.causal(folder)
        targets = small.GATED if task == SEQ2SEQ else ["q_proj", "v_proj", "up_proj", "down_proj"]
        limits = (
            {"max_input_length": 12, "max_target_length": 8} if task == SEQ2SEQ else
            {"max_length": 12}
        )  # fmt: skip
        parameters: dict[str, Any] = {
            "seed": 5,
            "model": {"base": made[task]},
            "data": {"train": str(tmp_path / "train.jsonl"),
                     "validation": str(tmp_path / "validation.jsonl"), **limits},
            "lora": {"task_type": task, "r": 4, "alpha": 8, "dropout": 0.1,
                     "target_modules": targets, "max_trainable_share": 0.9, "tokens": ["[Q]"]},
            "optimizer": {"lr": 0.02},
            "batch": {"train": 4, "eval": 4},
            "decoding": {"max_new_tokens": 4},
            "train": {"checkpoint_dir": str(tmp_path / run), "epochs": 2, "validate_every": 4,
                      "checkpoint_every": 3, "log_every": 1},
        }  # fmt: skip
        for section, values in changes.items():
            parameters[section] = parameters.get(section, {}) | values
        path = tmp_path / f"{run}.yaml"
        path.write_text(yaml.safe_dump({"parameters": parameters, "resources": {"gpus": 0}}))
        return path

    return make


def train(config: Path) -> int:
    return run_program(lora.main, ["--config", str(config)])


def status(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "status.json").read_text()))


@pytest.mark.parametrize("task", [SEQ2SEQ, CAUSAL])
def test_it_learns_and_the_adapter_loads(
    job: Callable[..., Path], tmp_path: Path, rows: Rows, task: str
) -> None:
    rule = {"metric": "val/rougeL", "mode": "max", "patience": 99}
    config = job(task, train={"epochs": 6, "early_stopping": rule, "validate_first": True})
    assert train(config) == 0
    losses = rows(tmp_path / "run", "train/loss")
    assert min(losses.values()) < 0.9 * losses[1]
    assert list(rows(tmp_path / "run", "val/rougeL")) == [*range(0, 36, 4), 36]
    told = status(tmp_path / "run")
    assert told["head"] == "separate" and told["resized"] is False and told["tokenizer"] == 63
    assert told["matched"] and 0 < told["trainable_share"] < 0.9
    model, tokenizer = adapters.load_adapter(tmp_path / "run" / "final")
    assert tokenizer.convert_tokens_to_ids("[Q]") == 62
    ids = tokenizer("w1 w2 w3", return_tensors="pt")["input_ids"]
    assert model(input_ids=ids, labels=ids).logits.isfinite().all()


@pytest.mark.parametrize(
    ("task", "recompute"), [(SEQ2SEQ, False), (SEQ2SEQ, True), (CAUSAL, False)]
)
def test_a_stopped_run_goes_on_to_the_bit(
    job: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str,
    recompute: bool,
) -> None:  # fmt: skip
    options = {"activation_checkpointing": recompute, "validate_every": 6}
    tokens = {"trainable_tokens": ["[Q]"]}
    assert train(job(task, "whole", train=options, lora=tokens)) == 0
    learn = fitting.learn

    def disturbed(run: Any) -> Any:
        if run.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(run)

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "learn", disturbed)
        assert train(job(task, "parts", train=options, lora=tokens)) == 75
    assert train(job(task, "parts", train=options, lora=tokens)) == 0
    for name in ("final/adapter_model", "step_00000012/optimizer"):
        one, other = (load_file(tmp_path / r / f"{name}.safetensors") for r in ("whole", "parts"))
        assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("task", [SEQ2SEQ, CAUSAL])
def test_recomputing_changes_nothing(
    job: Callable[..., Path], tmp_path: Path, rows: Rows, task: str
) -> None:
    for run, recompute in (("kept", False), ("again", True)):
        options = {"activation_checkpointing": recompute, "epochs": 1, "validate_every": 6}
        assert train(job(task, run, train=options)) == 0
    one, other = (rows(tmp_path / run, "train/loss") for run in ("kept", "again"))
    assert one == pytest.approx(other, rel=1e-5)
    assert status(tmp_path / "again")["activation_checkpointing"] is True


def test_gradient_checkpointing_is_switched_on_in_one_place() -> None:
    places = [
        path.name
        for path in Path(lora.__file__).parent.glob("*.py")
        if "checkpointing_enable" in path.read_text()
    ]
    assert places == ["fit_run.py"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"lora": {"target_modules": ["q", "wi"]}}, "lora.target_modules wi (nearest: wi_"),
        ({"lora": {"max_trainable_share": 0.01}}, "would be trained, more than 1 %"),
        ({"data": {"prompt": "{question}"}}, ":1 has no field question, only prompt, response"),
        ({"model": {"base": "/nowhere"}}, "cannot be loaded"),
        ({"data": {"train": "/nowhere.jsonl"}}, "/nowhere.jsonl cannot be read"),
        ({"lora": {"r": 0, "target_modules": "q"}, "data": {"max_input_length": 0}}, "lora.r is 0"),
        ({"train": {"precision": "bf16-mixed"}}, "this cpu has no fast bf16"),
    ],
)
def test_what_is_refused(
    job: Callable[..., Path], capsys: pytest.CaptureFixture[str], changes: dict[str, Any], told: str
) -> None:
    assert train(job(**changes)) == 65
    assert told in capsys.readouterr().err


def test_a_stale_checkpoint_ends_it_before_anything(
    job: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "checkpoint-500").mkdir(parents=True)
    (tmp_path / "run" / "checkpoint-500" / "optimizer.pt").write_bytes(b"")
    assert train(job()) == 65
    assert "checkpoint-500 (optimizer.pt)" in capsys.readouterr().err


def test_a_head_on_a_wrong_scale_is_refused_before_an_update(
    job: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import save_file

    config = job()
    base = Path(load_config(config).get("parameters.model.base", str))
    tensors = load_file(base / "model.safetensors")
    tensors["lm_head.weight"] = tensors["shared.weight"] * 10
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    assert train(config) == 65
    err = capsys.readouterr().err
    assert "loss before the first update" in err and "tied to the input table" in err
    assert not (tmp_path / "run" / "final").exists()


def limits(**changes: int) -> Examples:
    given: dict[str, Any] = {
        "train": Path(), "validation": Path(), "prompt": "{prompt}", "response": "{response}",
        "max_length": 8, "max_input": 4, "max_target": 3, "most_validation": 0,
    }  # fmt: skip
    return Examples(**given | changes)


def test_causal_examples_learn_the_response_only(tmp_path: Path) -> None:
    tokenizer = adapters.load_tokenizer(small.write_tokenizer(tmp_path, closes=False))
    made = causal("w1 w2 w3", "w4 w5", limits(), tokenizer)
    assert made.ids == [3, 4, 5, 6, 7, 1] and made.prompt == [3, 4, 5]
    assert made.labels == [IGNORED] * 3 + [6, 7, 1]
    # the prompt is cut on the left, the response on the right
    made = causal("w1 w2 w3", "w4 w5", limits(max_length=4), tokenizer)
    assert (made.ids, made.labels) == ([5, 6, 7, 1], [IGNORED, 6, 7, 1])
    made = causal("w1 w2 w3", "w4 w5", limits(max_length=2), tokenizer)
    assert (made.ids, made.prompt) == ([6, 7], [])


def test_seq2seq_examples_keep_their_end(tmp_path: Path) -> None:
    tokenizer = adapters.load_tokenizer(small.write_tokenizer(tmp_path))
    made = seq2seq("w1 w2 w3 w4 w5", "w4 w5 w6", limits(), tokenizer)
    assert (made.ids, made.labels) == ([3, 4, 5, 1], [6, 7, 1])


def test_templates_fill_a_rows_fields() -> None:
    row = {"question": "why {answer}?", "answer": "so"}
    assert examples.fill("Q: {question}\nA: {answer}", row, "x") == "Q: why {answer}?\nA: so"
    with pytest.raises(BadInput):
        examples.fill("{other}", row, "x")


def test_labels_and_ids_beyond_the_vocabulary_decode(tmp_path: Path) -> None:
    """-100 in predictions or labels overflowed the tokenizer; the table's padding is no word."""
    tokenizer = adapters.load_tokenizer(small.write_tokenizer(tmp_path))
    ids = [[3, IGNORED, 4, 63, 1], [IGNORED, IGNORED, 9_999_999, 5, 0]]
    assert decode(tokenizer, ids) == ["w1 w2", "w3"]
    assert decode(tokenizer, torch.tensor(ids)) == ["w1 w2", "w3"]


def test_prompts_are_padded_on_the_left() -> None:
    ids, mask = left_padded([[5, 6], [7]], 0)
    assert ids.tolist() == [[5, 6], [0, 7]] and mask.tolist() == [[1, 1], [0, 1]]


@pytest.mark.parametrize("task", [SEQ2SEQ, CAUSAL])
def test_predictions_are_what_the_trained_model_writes(
    job: Callable[..., Path], tmp_path: Path, task: str
) -> None:
    config = job(task, train={"epochs": 1})
    assert train(config) == 0
    values = yaml.safe_load(config.read_text())
    values["parameters"]["data"]["test"] = str(tmp_path / "validation.jsonl")
    values["parameters"]["predict"] = {"output": str(tmp_path / "out" / "told.jsonl")}
    config.write_text(yaml.safe_dump(values))
    assert run_program(predict.main, ["--config", str(config)]) == 0
    told = [json.loads(line) for line in (tmp_path / "out" / "told.jsonl").read_text().splitlines()]
    lines = (tmp_path / "validation.jsonl").read_text().splitlines()
    given = [json.loads(line) for line in lines]
    assert [row["prompt"] for row in told] == [row["prompt"] for row in given]
    assert [row["response"] for row in told] == [row["response"] for row in given]
    assert any(row["told"] for row in told)
    # one prompt at a time gives the same text: padding changes nothing
    model, tokenizer = adapters.load_adapter(tmp_path / "run" / "final")
    ids = tokenizer(given[0]["prompt"], return_tensors="pt")
    written = model.generate(**ids, max_new_tokens=4, do_sample=False)
    start = 0 if task == SEQ2SEQ else ids["input_ids"].shape[1]
    assert decode(tokenizer, written[:, start:]) == [told[0]["told"]]


def test_predictions_need_an_adapter(
    job: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = job(data={"test": "x"}, predict={"output": "y"})
    assert run_program(predict.main, ["--config", str(config)]) == 65
    assert "holds no adapter" in capsys.readouterr().err


def test_a_random_base_is_written_once_and_is_the_adapters_own(
    job: Callable[..., Path], tmp_path: Path
) -> None:
    tokenizer = small.write_tokenizer(tmp_path / "words")
    model = {"base": "none", "init": "random", "architecture": "t5", "tokenizer": str(tokenizer),
             "tied": False, "config": small.T5 | {"feed_forward_proj": "gated-gelu"}}  # fmt: skip
    config = job(model=model, train={"epochs": 1})
    assert train(config) == 0 and status(tmp_path / "run")["head"] == "separate"
    written = (tmp_path / "run" / "base" / "model.safetensors").stat().st_mtime_ns
    assert train(config) == 0
    assert (tmp_path / "run" / "base" / "model.safetensors").stat().st_mtime_ns == written
    adapters.load_adapter(tmp_path / "run" / "final")
    for wrong in ({"config": {"nothing": 1}}, {"architecture": "t99"}, {"config": None}):
        assert train(job(run="other", model=model | wrong)) == 65
