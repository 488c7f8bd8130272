"""What the expressions of claims see of a study, and what `check` says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ledger.expressions import parse
from ledger.units import Quantity
from pipeline import claims, study, yamlio
from pipeline.cli import cli
from pipeline.errors import ConfigError

ROOT = Path(__file__).parents[2]
STUDY = {
    "study": "s",
    "document": "The Plan",
    "parameters": {"seed": 1, "sizes": {"n": 10, "twice": "${sizes.n}", "each": [1, 2]}},
    "arms": {"big-one": {"parameters": {"sizes": {"n": 20}}}, "b": {}},
    "resources": {"gpus": 0, "cpus": 2, "mem": "4GB", "walltime": "01:00:00"},
    "stages": {
        "prepare": {"kind": "command", "run": ["x"], "reads": ["sizes"], "hours": 2},
        "train": {
            "kind": "command", "run": ["x"], "needs": ["prepare"], "arms": "all",
            "hours": {"big-one": [3, 5], "b": 1}, "resources": {"gpus": 2, "mem": "1GiB"},
        },
    },
    "profiles": {
        "t4": {"parameters": {"sizes": {"n": 3}}, "stages": {"train": {"resources": {"gpus": 1}}}},
    },
}  # fmt: skip
VALUES = [
    ("sizes.n", 10),
    ("sizes.twice", 10),
    ("seed", 1),
    ("arms.big-one.sizes.n", 20),
    ("arms[*].sizes.twice", [20, 10]),
    ("profiles.t4.sizes.twice", 3),
    ("profiles.t4.arms.big-one.sizes.n", 3),  # a profile goes before an arm
    ("profiles.t4.stages.train.resources.gpus", 1),
    ("stages.train.resources.gpus", 2),
    ("stages.train.resources.cpus", 2),
    ("stages.train.resources.mem", Quantity(2**30, (("byte", 1),))),
    ("stages.prepare.resources.walltime / 1 min", 60),
    ("stages.prepare.hours", 2),
    ("stages.train.hours.big-one", [3, 5]),
    ("stages.train.jobs", 2),
    ("plan.critical_path", [5, 7]),
    ("plan.serial", [6, 8]),
    ("plan.stage_after_stage", [6, 8]),
    ("plan.makespan[2]", [6, 8]),
    ("plan.makespan[4]", [5, 7]),
    ("plan.longest_first[4]", [5, 7]),
    ("plan.gpu_hours", [4, 4]),  # no more than the walltime of an hour each
    ("plan.jobs + plan.tasks", 6),
]


def load(folder, claim=(), profiles=(), sets=()):
    path = folder / "s.yaml"
    path.write_text(yamlio.dump({**STUDY, "claims": list(claim)}))
    return study.load(path, profiles, sets)


@pytest.mark.parametrize(("text", "value"), VALUES, ids=[case[0] for case in VALUES])
def test_a_name_of_the_study(tmp_path, text, value):
    assert parse(text).value(claims.names(load(tmp_path), ROOT)) == value


FITTED = {
    "study": "s",
    "parameters": {
        "seed": 1, "model": {"base": "google/flan-t5-small"}, "optimizer": {"warmup_ratio": 0.03},
        "lora": {"r": 16, "target_modules": ["q", "k", "v", "o", "wi_0", "wi_1", "wo"]},
        "batch": {"train": 1, "accumulation": 8}, "dataset": {"examples": 17_913},
        "data": {"max_input_length": 400, "max_target_length": 80},
        "train": {"epochs": 3, "validate_every": 100, "checkpoint_every": 500},
    },
    "resources": {"gpus": 1, "cpus": 2, "mem": "4GB", "walltime": "01:00:00"},
    "stages": {
        "tune-it": {
            "kind": "command", "run": ["x"],
            "reads": ["model", "lora", "optimizer", "batch", "dataset", "data", "train"],
        },
    },
    "profiles": {"l4": {"parameters": {"batch": {"train": 3, "accumulation": 3}}}},
}  # fmt: skip
OF_TRAININGS = [
    ('plan.parameters["tune-it"].base', 76_961_152),
    ('plan.parameters["tune-it"].trainable', 2_555_904),
    ('plan.parameters["tune-it"].total', 79_517_056),
    ('plan.trainings["tune-it"].epoch', 2240),
    ('plan.trainings["tune-it"].steps', 6720),
    ('plan.trainings["tune-it"].warmup', 202),
    ('plan.trainings["tune-it"].evaluations', 67),
    ('plan.trainings["tune-it"].checkpoints', 13),
    ('profiles.l4.plan.trainings["tune-it"].batch', 9),
    ('profiles.l4.plan.trainings["tune-it"].steps', 5973),
    ('plan.disk["tune-it"]["checkpoints: optimizer"]', 4 * 8 * 2_555_904),
    ('plan.memory["tune-it"].gradients', [4 * 2_555_904.0] * 2),
]


@pytest.mark.parametrize(("text", "value"), OF_TRAININGS, ids=[case[0] for case in OF_TRAININGS])
def test_a_figure_of_a_training(tmp_path, text, value):
    path = tmp_path / "s.yaml"
    path.write_text(yamlio.dump(FITTED))
    assert parse(text).value(claims.names(study.load(path), ROOT)) == value


def test_claims_are_judged_without_profiles_and_set(tmp_path):
    claim = {"id": "a", "says": "b", "claimed": 10, "computed": "sizes.n"}
    loaded = load(tmp_path, [claim], ["t4"], ["sizes.n=7"])
    assert loaded.parameters("")["sizes"]["n"] == 7
    assert claims.judge(loaded, ROOT)[0].verdict == "holds"


def test_a_name_that_is_not_there_names_the_claim_and_the_file(tmp_path):
    claim = {"id": "a", "says": "b", "claimed": 10, "computed": "stages.trian.hours"}
    with pytest.raises(ConfigError) as caught:
        claims.judge(load(tmp_path, [claim]), ROOT)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/s.yaml: claims a: 'stages.trian.hours', character 7:")
    assert "did you mean 'train'" in said


def test_a_claim_that_does_not_read_is_a_problem_of_the_file(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, [{"id": "a", "says": "b", "claimed": 10, "computed": "1 +"}])
    assert f"{tmp_path}/s.yaml: claims[0].computed: '1 +', character 4" in str(caught.value)


CLAIMS = [
    {"id": "right", "says": "ten", "line": 3, "claimed": 10, "computed": "sizes.n"},
    {"id": "wrong", "says": "eleven", "line": 4, "claimed": 11, "computed": "sizes.n"},
    {"id": "open", "says": "many", "claimed": 9, "why": "nobody counted"},
]


def check(folder, claim, *words):
    load(folder, claim)
    return CliRunner().invoke(cli, ["check", "--study", str(folder / "s.yaml"), *words])


def test_check_exits_1_on_a_contradiction_and_shows_it(tmp_path):
    done = check(tmp_path, CLAIMS)
    assert done.exit_code == 1
    assert "eleven" in done.stdout and "nobody counted" not in done.stdout
    assert "3 claims of The Plan: 1 hold, 1 contradict, 1 cannot be computed." in done.stdout
    assert "Contradictions that nobody acknowledged: 1" in done.stdout


def test_check_exits_0_where_it_is_acknowledged(tmp_path):
    done = check(tmp_path, [CLAIMS[0], {**CLAIMS[1], "acknowledged": "so it is"}])
    assert done.exit_code == 0 and "so it is" in done.stdout


def test_check_claims_shows_all(tmp_path):
    assert "nobody counted" in check(tmp_path, CLAIMS, "--claims").stdout


def test_check_says_when_an_acknowledgement_is_out_of_date(tmp_path):
    done = check(tmp_path, [{**CLAIMS[0], "acknowledged": "it was 9"}])
    assert done.exit_code == 0 and "no longer contradicts" in " ".join(done.stdout.split())


def test_check_as_json(tmp_path):
    found = json.loads(check(tmp_path, CLAIMS, "--json").stdout)["claims"]
    assert [one["verdict"] for one in found] == ["holds", "contradicts", "cannot be computed"]
    assert found[1] == {
        "id": "wrong", "says": "eleven", "line": 4, "claimed": "11", "computed": "10",
        "verdict": "contradicts", "expression": "sizes.n", "acknowledged": None, "note": "",
    }  # fmt: skip
