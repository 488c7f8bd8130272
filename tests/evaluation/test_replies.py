"""Figures of a model's replies, by level."""

from __future__ import annotations

import json
import math

import pytest
import yaml

from evaluation.config import InputError
from evaluation.replies import distinct, main, of_replies, of_training


def reply(number, level, text, finished=True):
    return {"id": f"q{number}", "level": level, "response": text, "params": {"finished": finished}}


REPLIES = [
    reply(1, "A1", "Si dice grazie"), reply(2, "A1", "", finished=False),
    reply(3, "C2", "il gatto dorme sulla sedia rossa"),
]  # fmt: skip
REFERENCES = {"q1": "Si dice grazie", "q2": "Va bene", "q3": "il cane corre sul prato verde"}


def test_replies_by_level():
    found = of_replies(REPLIES, REFERENCES)
    assert found["replies"] == {"all": 3, "A1": 2, "C2": 1}
    assert found["rougeL"]["A1"] == 0.5
    assert found["words"] == {"all": 3.0, "A1": 1.5, "C2": 6.0}
    assert found["finished"]["A1"] == 0.5
    assert found["empty"] == {"all": pytest.approx(1 / 3), "A1": 0.5, "C2": 0}


def test_words_keep_their_accents():
    rows = [{"id": "1", "level": "A1", "response": "però è così"}]
    assert of_replies(rows, {"1": "pero e cosi"})["rougeL"]["A1"] == 0.0
    assert of_replies(rows, {"1": "Però, è COSÌ!"})["rougeL"]["A1"] == 1.0


def test_distinct_bigrams():
    assert distinct(["a b c", "a b d"]) == 0.75
    assert distinct(["a"]) == 0


ROWS = [
    {"step": 0, "val/loss": 6.0, "val/loss.A1": 5.0, "val/loss.C2": 7.0},
    {"step": 5, "train/loss": 5.0},
    {"step": 10, "val/loss": 3.0, "val/loss.A1": 2.0, "val/loss.C2": 4.0},
    {"step": 20, "val/loss": 3.5, "val/loss.A1": 1.0, "val/loss.C2": 6.0},
]


def test_the_base_model_s_losses_stand_beside_the_best_evaluation_s():
    found = of_training(ROWS)
    assert found["step"] == 10
    assert found["loss"] == {"all": 3.0, "A1": 2.0, "C2": 4.0}
    assert found["perplexity"]["A1"] == math.exp(2)
    assert found["base"]["perplexity"]["C2"] == math.exp(7)
    assert "base" not in of_training(ROWS[1:])
    with pytest.raises(InputError, match="has no evaluation"):
        of_training(ROWS[1:2])


@pytest.fixture
def job(tmp_path):
    def lines(name, rows):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    lines("replies.jsonl", REPLIES)
    lines("held.jsonl", [{"id": k, "response": v} for k, v in REFERENCES.items()])
    lines("metrics.jsonl", ROWS)
    evaluate = {"replies": str(tmp_path / "replies.jsonl"), "output": str(tmp_path / "m.json"),
                "metrics": str(tmp_path / "metrics.jsonl")}  # fmt: skip
    values = {"evaluate": evaluate, "data": {"validation": str(tmp_path / "held.jsonl")}}
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"parameters": values}))
    return path


def test_the_program_writes_all_of_it(job, tmp_path):
    assert main(["--config", str(job)]) == 0
    found = json.loads((tmp_path / "m.json").read_text())
    assert found["loss"]["all"] == 3.0
    assert found["rougeL"]["A1"] == 0.5


def test_a_reply_to_another_question_is_refused(job, tmp_path, capsys):
    (tmp_path / "held.jsonl").write_text('{"id": "q1", "response": "a"}\n')
    assert main(["--config", str(job)]) == 65
    assert "q2 was answered and is no held-out question" in capsys.readouterr().err
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize("text", ["[]\n", '{"id": 1}\n', "{\n"])
def test_a_broken_row_is_named(job, tmp_path, text, capsys):
    (tmp_path / "replies.jsonl").write_text(text)
    assert main(["--config", str(job)]) == 65
    assert "replies.jsonl" in capsys.readouterr().err
