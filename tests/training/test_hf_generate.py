"""Answers of a model: drawn by seed and question, resumed behind the last whole row."""

from __future__ import annotations

import json
import multiprocessing
import signal
from typing import Any

import pytest
import torch

from tests.training import speakers
from training.contract import Exit, run_program
from training.hf import generate
from training.hf.sampling import pick, uniforms


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return speakers.make_model(tmp_path_factory.mktemp("chat"))


def run(path, *words):
    return run_program(generate.main, ["--config", str(path), *words])


def rows(folder, shard=1):
    text = (folder / "out" / f"responses_{shard:04d}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


# ---- what is drawn -----------------------------------------------------------------------------


def test_tokens_are_drawn_with_their_probabilities():
    scores = torch.tensor([[2.0, 0.0, 1.0, -1.0]]).repeat(20000, 1)
    draws = uniforms(1, [str(n) for n in range(20000)], 1)[:, 0]
    for temperature in (0.5, 1.0, 2.0):
        found = torch.bincount(pick(scores, draws, temperature, 1.0), minlength=4) / 20000
        assert torch.allclose(found, (scores[0] / temperature).softmax(-1), atol=0.015)


def test_top_p_leaves_the_likeliest_only():
    scores = torch.tensor([[3.0, 2.0, 0.0, 0.0]]).repeat(2000, 1)
    draws = torch.linspace(0, 0.999999, 2000)
    assert set(pick(scores, draws, 1.0, 0.8).tolist()) == {0, 1}
    assert set(pick(scores, draws, 1.0, 1.0).tolist()) == {0, 1, 2, 3}
    assert set(pick(scores, draws, 0.0, 1.0).tolist()) == {0}


def test_the_ends_of_the_unit_interval_are_tokens_too():
    scores = torch.tensor([[0.0, -torch.inf]]).repeat(2, 1)
    assert pick(scores, torch.tensor([0.0, 1.0 - 2**-53]), 1.0, 1.0).tolist() == [0, 0]


# ---- a shard -----------------------------------------------------------------------------------


def test_a_row_says_all_that_it_follows_from(tmp_path, model):
    assert run(speakers.write_job(tmp_path, model)) == Exit.OK
    made = rows(tmp_path)
    assert sorted(row["id"] for row in made) == sorted(f"q{n}" for n in range(12))
    row = next(row for row in made if row["id"] == "q3")
    assert {"id", "level", "source", "prompt", "params", "response", "model"} <= set(row)
    assert row["model"] == model
    assert row["prompt"] == (
        "<|system|>You are a teacher.<|end|><|user|>Che cosa è 3?<|end|><|assistant|>"
    )
    assert row["params"]["max_new_tokens"] == 6
    assert row["params"]["temperature"] == 0.9
    assert row["params"]["finished"] == (row["params"]["tokens"] < 6)
    facts = json.loads((tmp_path / "out" / "responses_0001.json").read_text())
    assert facts["rows"] == 12


def test_neither_batch_nor_shards_decide_an_answer(tmp_path, model):
    answers = []
    cases: dict[str, dict[str, Any]] = {"one": {"batch_size": 1}, "two": {}, "four": {"shards": 4}}
    for name, changes in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        path = speakers.write_job(folder, model, **changes)
        shards = changes.get("shards", 1)
        assert [run(path, "--task", str(n + 1)) for n in range(shards)] == [0] * shards
        made = [row for n in range(shards) for row in rows(folder, n + 1)]
        answers.append({row["id"]: row["response"] for row in made})
    assert answers[0] == answers[1] == answers[2]
    assert len(set(answers[0].values())) > 6  # they are drawn, each from its own numbers


def test_another_seed_gives_other_answers(tmp_path, model):
    path = speakers.write_job(tmp_path, model)
    run(path)
    before = rows(tmp_path)
    path.write_text(path.read_text().replace("seed: 5", "seed: 6"))
    assert run(path) == Exit.OK
    assert [r["response"] for r in rows(tmp_path)] != [r["response"] for r in before]


def test_a_run_that_was_killed_while_it_wrote_goes_on_behind_its_last_whole_row(
    tmp_path, model, capsys
):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    paths = []
    for folder in (whole, broken):
        folder.mkdir()
        paths.append(speakers.write_job(folder, model))
    assert run(paths[0]) == Exit.OK
    context = multiprocessing.get_context("forkserver")
    child = context.Process(
        target=speakers.answer_and_die, args=(["--config", str(paths[1])], 2)
    )
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    partial = broken / "out" / ".responses_0001.jsonl.part"
    torn = partial.read_bytes()
    assert not torn.endswith(b"\n")
    assert torn.count(b"\n") == 1 + 4 + 1  # the head, two batches, a row of the third
    assert not (broken / "out" / "responses_0001.jsonl").exists()
    capsys.readouterr()
    assert run(paths[1]) == Exit.OK
    assert "5 of 12 rows are there already" in capsys.readouterr().out
    names = ("responses_0001.jsonl",)
    assert [(whole / "out" / n).read_bytes() for n in names] == [
        (broken / "out" / n).read_bytes() for n in names
    ]  # fmt: skip
    assert not partial.exists()


def test_a_second_run_does_nothing_and_other_settings_begin_anew(tmp_path, model, capsys):
    path = speakers.write_job(tmp_path, model)
    run(path)
    made = (tmp_path / "out" / "responses_0001.jsonl").stat().st_mtime_ns
    assert run(path) == Exit.OK
    assert (tmp_path / "out" / "responses_0001.jsonl").stat().st_mtime_ns == made
    assert "nothing to do" in capsys.readouterr().out
    changed = speakers.write_job(tmp_path, model, system="Sei un {role}.")
    assert run(changed) == Exit.OK
    assert rows(tmp_path)[0]["prompt"].startswith("<|system|>Sei un teacher.")


def test_a_signal_ends_it_after_a_batch(tmp_path, model, monkeypatch, capsys):
    respond = generate.respond

    def signalled(*given):
        signal.raise_signal(signal.SIGTERM)
        return respond(*given)

    monkeypatch.setattr(generate, "respond", signalled)
    path = speakers.write_job(tmp_path, model)
    assert run(path) == Exit.PREEMPTED
    assert "stopped by SIGTERM after 2 rows" in capsys.readouterr().err
    monkeypatch.setattr(generate, "respond", respond)
    assert run(path) == Exit.OK
    assert len(rows(tmp_path)) == 12


def test_a_model_without_a_template_gets_the_plain_prompt(tmp_path):
    plain = speakers.make_model(tmp_path, chat=False, architecture="mistral")
    changes = {"plain": "Studente: {question}\nInsegnante:", "stop": "\nStudente:"}
    assert run(speakers.write_job(tmp_path, plain, **changes)) == Exit.OK
    assert rows(tmp_path)[0]["prompt"].startswith("Studente: Che cosa è")


def test_an_answer_ends_where_the_next_question_begins():
    assert generate.cut(" Si dice.\nStudente: E poi?", "\nStudente:") == ("Si dice.", True)
    assert generate.cut(" Si dice. ", "\nStudente:") == ("Si dice.", False)
    assert generate.until([5, 6, 2, 7], {2, 3}) == [5, 6]


# ---- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("level", speakers.LEVELS)
def test_every_level_must_be_told(tmp_path, level, capsys):
    levels = {
        name: {"role": "r", "max_new_tokens": 4, "temperature": 1}
        for name in speakers.LEVELS
        if name != level
    }
    assert run(speakers.write_job(tmp_path, "none", levels=levels)) == Exit.BAD_INPUT
    assert f"parameters.generate.levels.{level} is missing" in capsys.readouterr().err


WRONG = [
    ({"prompt": "chatty"}, "generate.prompt is 'chatty', not one of auto, chat, plain"),
    ({"system": "You are a {rank}."}, "generate.system has a slot other than {role}"),
    ({"model": "./nowhere"}, "the model ./nowhere cannot be loaded"),
    ({"questions": "nowhere.jsonl"}, "nowhere.jsonl cannot be read"),
    ({"adapter": "nowhere"}, "nowhere holds no adapter"),
    ({"levels": {"A1": {"role": "r", "max_new_tokens": 0, "temperature": -1}, "D1": {}}},
     "levels.A1.max_new_tokens is 0"),
    ({"levels": {"D1": {}}}, "levels.D1 is none of A1"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), WRONG)
def test_what_is_wrong_is_said_in_one_line(tmp_path, changes, said, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run(speakers.write_job(tmp_path, **{"model": "none"} | changes)) == Exit.BAD_INPUT
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_a_question_of_no_level_is_named(tmp_path, capsys):
    path = speakers.write_job(tmp_path, "none")
    (tmp_path / "questions.jsonl").write_text('{"id": "a", "level": "D1", "source": "s", '
                                              '"question": "q"}\n')  # fmt: skip
    assert run(path) == Exit.BAD_INPUT
    assert "questions.jsonl:1 has no good level" in capsys.readouterr().err


def test_a_shard_that_is_none_is_refused(tmp_path, model, capsys):
    assert run(speakers.write_job(tmp_path, model), "--task", "2") == Exit.BAD_INPUT
    assert "there is no shard 2 of 1" in capsys.readouterr().err


def test_the_chat_template_is_asked_for_in_vain(tmp_path, capsys):
    plain = speakers.make_model(tmp_path, chat=False, architecture="mistral")
    assert run(speakers.write_job(tmp_path, plain, prompt="chat")) == Exit.BAD_INPUT
    assert "has no chat template" in capsys.readouterr().err
