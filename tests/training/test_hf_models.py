"""Models that are at hand before jobs use them: made small, found, or fetched."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from training.contract import Exit, run_program
from training.hf import models


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    import huggingface_hub

    def fetch(name, allow_patterns):
        if name != "someone/there":
            raise OSError("the hub is not reached")
        return str(tmp_path / "snapshots" / "abc123")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))


def job(tmp_path, make=None, **names):
    text = tmp_path / "text.jsonl"
    rows = [{"text": f"Il numero {n}.", "question": f"Che è {n}?", "response": f"{n}."}
            for n in range(9)]  # fmt: skip
    text.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shape = {"text": str(text), "vocab_size": 280, "hidden_size": 16, "layers": 1, "heads": 2,
             "seq_length": 64, "steps": 2, "batch": 2}  # fmt: skip
    section: dict[str, Any] = {"names": list(names), "output": str(tmp_path / "models.json")}
    if make:
        section["make"] = {name: shape | values for name, values in make.items()}
    values: dict[str, Any] = {"seed": 1, "models": section}
    for key, value in names.items():
        values[key] = value
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"parameters": values}))
    return path


def run(path):
    return run_program(models.main, ["--config", str(path)])


def test_small_models_are_made_once_and_know_their_kind(tmp_path):
    base = str(tmp_path / "m" / "base")
    talker = str(tmp_path / "m" / "talker")
    make = {"base": {"path": base, "architecture": "mistral"},
            "talker": {"path": talker, "architecture": "qwen2", "chat": True}}  # fmt: skip
    path = job(tmp_path, make, base=base, talker=talker)
    assert run(path) == Exit.OK
    found = json.loads((tmp_path / "models.json").read_text())
    assert (found["base"]["family"], found["talker"]["family"]) == ("mistral", "qwen")
    made = (tmp_path / "m" / "base" / "model.safetensors").stat().st_mtime_ns
    assert run(path) == Exit.OK
    assert (tmp_path / "m" / "base" / "model.safetensors").stat().st_mtime_ns == made
    from training.hf.adapters import load_tokenizer

    assert load_tokenizer(talker).chat_template
    assert not getattr(load_tokenizer(base), "chat_template", None)
    assert load_tokenizer(base).decode(load_tokenizer(base)("Perché no?")["input_ids"]) == (
        "Perché no?"
    )


def test_a_name_of_the_hub_is_fetched_and_its_revision_kept(tmp_path):
    assert run(job(tmp_path, base="someone/there")) == Exit.OK
    assert json.loads((tmp_path / "models.json").read_text())["base"]["revision"] == "abc123"


WRONG = [
    ({"base": "someone/else"}, None, "cannot be fetched: the hub is not reached"),
    ({"base": "./nowhere"}, None, "is no folder and no name on the hub"),
    ({"base": "b"}, {"base": {"path": "b", "architecture": "novel"}}, "not one of gpt2, llama"),
    ({"base": "b"}, {"base": {"path": "b", "architecture": "gpt2", "heads": 3}},
     "is no multiple of heads 3"),
    ({"base": "b"}, {"base": {"path": "b", "architecture": "gpt2", "text": "no.jsonl"}},
     "no.jsonl: no such file"),
]  # fmt: skip


@pytest.mark.parametrize(("names", "make", "said"), WRONG)
def test_what_cannot_be_had_is_said_in_one_line(tmp_path, names, make, said, capsys):
    assert run(job(tmp_path, make, **names)) == Exit.BAD_INPUT
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not (tmp_path / "models.json").exists()
