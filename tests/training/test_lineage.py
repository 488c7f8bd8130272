"""Whether generator and base are relatives."""

from __future__ import annotations

import json

import pytest
import yaml

from training.contract import Exit, run_program
from training.lineage import compare, describe, family, main


def model(folder, name, model_type, made_from=""):
    path = folder / name
    path.mkdir()
    values = {"model_type": model_type, "architectures": [f"{model_type}ForCausalLM"]}
    (path / "config.json").write_text(json.dumps(values | {"_name_or_path": made_from}))
    return str(path)


FAMILIES = [
    ("Qwen/Qwen2.5-3B-Instruct", "qwen"), ("Qwen/QwQ-32B", "qwen"),
    ("sapienzanlp/Minerva-3B-base-v1.0", "minerva"),
    ("mistralai/Mistral-7B-Instruct-v0.3", "mistral"), ("mistralai/Mixtral-8x7B-v0.1", "mistral"),
    ("meta-llama/Llama-3.2-3B", "llama"), ("google/gemma-3-1b-pt", "gemma"),
    ("openai-community/gpt2", "gpt2"), ("google/flan-t5-small", "t5"),
    ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "qwen"), ("someone/nothing-known", ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "wanted"), FAMILIES, ids=[row[0] for row in FAMILIES])
def test_a_family_by_name(name, wanted):
    assert family(name, "", "") == wanted


def test_a_family_by_configuration():
    assert family("models/mine", "", "qwen2") == "qwen"
    assert family("models/mine", "Qwen/Qwen2.5-0.5B", "llama") == "qwen"  # what it was made from
    assert family("models/mine", "", "novelty") == "novelty"


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))


PLAN = ("Qwen/Qwen2.5-3B-Instruct", "sapienzanlp/Minerva-3B-base-v1.0")
PAIRS = [
    (PLAN, False),
    ((PLAN[0], PLAN[0]), True),  # the plan's first version
    (("Qwen/Qwen2.5-3B-Instruct", "qwen/qwen2.5-3b-instruct/"), True),
    (("Qwen/Qwen2.5-3B-Instruct", "Qwen/Qwen2.5-7B"), True),  # of one family
    (("someone/one", "someone/one"), True),
    (("mistralai/Mistral-7B-Instruct-v0.3", PLAN[1]), False),  # of one architecture only
]


@pytest.mark.parametrize(("pair", "circular"), PAIRS, ids=["-".join(p) for p, _ in PAIRS])
def test_two_models_by_their_names(pair, circular):
    assert compare(*map(describe, pair))["circular"] is circular


def test_two_folders_by_their_configurations(tmp_path):
    teacher, student = model(tmp_path, "t", "qwen2"), model(tmp_path, "s", "mistral")
    tuned = model(tmp_path, "tuned", "mistral", made_from=student)
    found = compare(describe(teacher), describe(student))
    assert (found["circular"], found["known"], found["same_family"]) == (False, True, False)
    found = compare(describe(tuned), describe(student))
    assert (found["derived"], found["circular"]) == (True, True)
    assert compare(describe(teacher), describe(f"{teacher}/"))["same_name"]


def test_a_configuration_in_the_hub_s_cache_is_read(tmp_path):
    there = tmp_path / "cache" / "models--someone--novel"
    (there / "refs").mkdir(parents=True)
    (there / "refs" / "main").write_text("abc")
    (there / "snapshots" / "abc").mkdir(parents=True)
    (there / "snapshots" / "abc" / "config.json").write_text('{"model_type": "olmo2"}')
    assert describe("someone/novel").family == "olmo"


def test_what_nobody_knows_is_not_known():
    found = compare(describe("someone/one"), describe(PLAN[1]))
    assert (found["known"], found["circular"]) == (False, False)


def program(tmp_path, generate, base):
    values = {"generate": generate, "model": base, "lineage": {"output": str(tmp_path / "l.json")}}
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"parameters": values}))
    return run_program(main, ["--config", str(path)])


def test_the_program_writes_the_verdict_for_a_gate(tmp_path, capsys):
    assert program(tmp_path, {"model": PLAN[0]}, {"base": PLAN[1]}) == Exit.OK
    assert json.loads((tmp_path / "l.json").read_text())["circular"] is False
    assert program(tmp_path, {"model": PLAN[0]}, {"base": PLAN[0]}) == Exit.OK
    assert json.loads((tmp_path / "l.json").read_text())["circular"] is True
    assert "are related: families qwen and qwen" in capsys.readouterr().out


def test_a_family_that_the_study_states_wrongly_is_refused(tmp_path, capsys):
    given = {"model": PLAN[0], "family": "llama"}
    assert program(tmp_path, given, {"base": PLAN[1]}) == Exit.BAD_INPUT
    assert "generate.family is llama" in capsys.readouterr().err


def test_a_folder_that_is_no_model_is_refused(tmp_path, capsys):
    assert program(tmp_path, {"model": str(tmp_path)}, {"base": PLAN[1]}) == Exit.BAD_INPUT
    assert "holds no config.json" in capsys.readouterr().err
