"""Causal fine-tuning on prompts and responses: what is learned, how batches come, what is kept."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import yaml

from tests.training import speakers
from training.contract import BadInput, load_config, run_program
from training.fit_settings import read_fit
from training.hf import adapters, lora
from training.hf.adapters import CAUSAL, Lora, load_tokenizer
from training.hf.batches import Batches
from training.hf.examples import Examples, causal, encode
from training.hf.task import IGNORED

PROMPT, RESPONSE = "Studente: {question}\nInsegnante:", " {response}"


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.delenv("WANDB_MODE", raising=False)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return speakers.make_model(tmp_path_factory.mktemp("base"), chat=False, architecture="mistral")


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    return speakers.make_model(tmp_path_factory.mktemp("chat"))


def limits(**changes):
    given = Examples(Path(), Path(), PROMPT, RESPONSE, 64, 0, 0, 0)
    return dataclasses.replace(given, **changes)


# ---- examples ----------------------------------------------------------------------------------


def test_the_response_has_the_ids_that_it_has_behind_its_prompt(base):
    tokenizer = load_tokenizer(base)
    made = causal("Insegnante:", " Il numero 3.", limits(), tokenizer)
    whole = tokenizer("Insegnante: Il numero 3.")["input_ids"]
    assert made.ids == [*whole, tokenizer.eos_token_id]
    assert made.prompt == tokenizer("Insegnante:")["input_ids"]
    assert made.labels == [IGNORED] * len(made.prompt) + made.ids[len(made.prompt):]
    assert tokenizer.decode(made.ids[len(made.prompt):-1]) == " Il numero 3."


def test_a_response_that_was_cut_short_has_no_end(base):
    tokenizer = load_tokenizer(base)
    ended, cut = (causal("a:", " Il numero", limits(), tokenizer, e) for e in (True, False))
    assert ended.ids == [*cut.ids, tokenizer.eos_token_id]


def test_a_chat_model_gets_its_turns(chat, base):
    tokenizer = load_tokenizer(chat)
    made = causal("Che cosa è 3?", "È il numero 3.", limits(chat=True), tokenizer)
    assert tokenizer.decode(made.prompt) == "<|user|>Che cosa è 3?<|end|><|assistant|>"
    assert tokenizer.decode(made.ids[len(made.prompt):]) == "È il numero 3.<|end|>"
    with pytest.raises(BadInput, match="the tokenizer has no chat template"):
        causal("a", "b", limits(chat=True), load_tokenizer(base))


def test_a_line_may_hold_what_only_python_takes_for_its_end(tmp_path, base):
    path = tmp_path / "rows.jsonl"
    row = {"question": "Uno\u2028due?", "response": "sì", "level": "A1", "finished": False}
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    (made,) = encode(path, limits(group="level"), load_tokenizer(base), CAUSAL)
    assert made.group == "A1"
    assert made.ids[-1] != load_tokenizer(base).eos_token_id


# ---- batches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_threads_change_nothing_about_batches(workers):
    made = []

    def collate(numbers, epoch):
        made.append((tuple(numbers), epoch))
        return {"ids": torch.tensor(list(numbers)) + 100 * epoch}

    batches = Batches(collate, workers, pin=False)
    plan = {step: [([step, step + 1], step // 3), ([step + 2], step // 3)] for step in range(1, 7)}
    seen = [batches.take(step, plan.__getitem__, 6) for step in (1, 2, 3, 5, 6)]  # one is skipped
    batches.close()
    assert [[b["ids"].tolist() for b in one] for one in seen] == [
        [[n + 100 * e for n in numbers] for numbers, e in plan[step]] for step in (1, 2, 3, 5, 6)
    ]
    assert all(epoch == numbers[0] // 3 or len(numbers) == 1 for numbers, epoch in made)


def test_a_fault_in_a_thread_is_the_training_s(base):
    def collate(numbers, epoch):
        raise BadInput("a row is broken", "Repair it")

    batches = Batches(collate, 2, pin=False)
    with pytest.raises(BadInput, match="a row is broken"):
        batches.take(1, lambda step: [([1], 0)], 5)
    batches.close()


# ---- a training --------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path, base):
    """Twelve conversations of two levels to learn, six to validate."""
    for name, count in (("train", 12), ("validation", 6)):
        rows = [{"question": f"Che cosa è {n}?", "response": f"Il numero {n}.",
                 "level": "A1" if n % 2 else "B1"} for n in range(count)]  # fmt: skip
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))

    def make(run="run", **changes):
        parameters = {
            "seed": 42,
            "model": {"base": base},
            "data": {"train": str(tmp_path / "train.jsonl"), "prompt": PROMPT,
                     "validation": str(tmp_path / "validation.jsonl"), "response": RESPONSE,
                     "max_length": 64, "group": "level"},
            "lora": {"task_type": CAUSAL, "r": 4, "alpha": 8, "dropout": 0.05, "frozen": "auto",
                     "target_modules": ["q_proj", "v_proj"], "max_trainable_share": 0.5},
            "optimizer": {"lr": 0.02, "warmup_ratio": 0.03, "decay": "cosine"},
            "batch": {"train": 2, "eval": 3, "accumulation": 1},
            "train": {"checkpoint_dir": str(tmp_path / run), "epochs": 2, "validate_every": 2,
                      "checkpoint_every": 4, "keep_checkpoints": 2, "log_every": 1, "workers": 2,
                      "validate_first": True, "pin_memory": True, "max_first_loss": 100.0,
                      "activation_checkpointing": True, "early_stopping": {"patience": 0}},
            "wandb": {"name": "marco-lora-{gpu}", "mode": "disabled"},
        }  # fmt: skip
        for section, values in changes.items():
            parameters[section] |= values
        path = tmp_path / f"{run}.yaml"
        path.write_text(yaml.safe_dump({"parameters": parameters, "resources": {"gpus": 0}}))
        return path

    return make


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_it_tells_losses_by_level_and_what_can_be_had_again(job, tmp_path):
    assert run_program(lora.main, ["--config", str(job())]) == 0
    told = rows(tmp_path / "run")
    first = told[0]
    assert first["step"] == 0  # the base model, before any update
    for row in (row for row in told if "val/loss" in row):
        assert min(row["val/loss.A1"], row["val/loss.B1"]) <= row["val/loss"]
        assert row["val/loss"] <= max(row["val/loss.A1"], row["val/loss.B1"])
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["run_name"] == "marco-lora-cpu"
    assert status["seed"] == 42
    best = min((row for row in told if row.get("val/loss") and row["step"]),
               key=lambda row: row["val/loss"])  # fmt: skip
    assert status["restorable"] == {"checkpoints": [8, 12], "best": best["step"]}
    kept = json.loads((tmp_path / "run" / "best" / "manifest.json").read_text())
    assert kept["step"] == best["step"]


def test_the_same_seed_gives_the_same_losses_whatever_the_threads(job, tmp_path):
    for run, changes in {"one": {}, "two": {"workers": 0, "pin_memory": False}}.items():
        assert run_program(lora.main, ["--config", str(job(run, train=changes))]) == 0
    losses = [[row.get("train/loss") for row in rows(tmp_path / run)] for run in ("one", "two")]
    assert losses[0] == losses[1]
    other = job("three")
    other.write_text(other.read_text().replace("seed: 42", "seed: 43"))
    assert run_program(lora.main, ["--config", str(other)]) == 0
    assert [row.get("train/loss") for row in rows(tmp_path / "three")] != losses[0]


def test_the_frozen_model_may_be_held_in_16_bits(base):
    how = Lora(CAUSAL, 4, 8, 0.0, "none", ("q_proj", "v_proj"), (), (), (), 0.9, "auto")
    model = adapters.add_adapter(
        adapters.load_base(base, CAUSAL, torch.bfloat16), how, load_tokenizer(base)
    )
    kinds = {(p.requires_grad, p.dtype) for p in model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_a_checkpoint_without_an_evaluation_is_told(job, capsys):
    config = job(train={"checkpoint_every": 5, "validate_every": 2})
    assert run_program(lora.main, ["--config", str(config)]) == 0
    said = capsys.readouterr().out
    assert "note: train.checkpoint_every 5 is no multiple of validate_every 2" in said


WARMUPS = [(1000, 0.03, 30), (6720, 0.03, 202), (5973, 0.03, 180), (3360, 0.03, 101),
           (100, 0.07, 7)]  # fmt: skip


@pytest.mark.parametrize(("total", "ratio", "steps"), WARMUPS)
def test_a_warm_up_ratio_is_rounded_up(job, total, ratio, steps):
    config = load_config(job(optimizer={"lr": 0.1, "warmup_ratio": ratio}))
    assert read_fit(config).schedule(total).warmup_steps == steps
