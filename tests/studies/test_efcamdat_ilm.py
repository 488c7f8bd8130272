"""The EFCAMDAT study: the plan's values, its profiles, its jobs and what they are told."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest

from corpus.config import Config
from corpus.levels import CEFR, request_of
from corpus.masks import expected_rate, settings_of
from pipeline import plan, site, study, timeline, yamlio
from training.contract import load_config
from training.fit_settings import read_fit

ROOT = Path(__file__).parents[2]
FILE = ROOT / "studies/efcamdat-ilm.yaml"
SITE = site.load(ROOT, "example-slurm")
LEVELS = [
    ("C1", 10006, 10000, (2, 3)),
    ("B2", 40238, 20000, (4, 5)),
    ("B1", 116539, 30000, (6, 8)),
    ("A2", 215344, 40000, (8, 10)),
    ("A1", 341155, 50000, (10, 12)),
    ("GENERAL", 723282, 60000, (12, 14.4)),
]
NAMES = [level for level, *_ in LEVELS]


@functools.cache
def made(*profiles, sets=()):
    return plan.make(study.load(FILE, profiles, sets), SITE)


@functools.cache
def parameters(*profiles, arm="C1"):
    return yamlio.flatten(study.load(FILE, profiles).parameters(arm))


PLAN = {
    "optimizer.lr": 5e-5, "optimizer.decay": "constant", "optimizer.weight_decay": 0.0,
    "optimizer.eps": 1e-8, "optimizer.clip": 1.0, "optimizer.warmup_steps": 0, "batch.train": 8,
    "batch.accumulation": 1, "batch.seq_length": 256, "model.base": "gpt2",
    "validate.examples": 500, "train.validate_every": 360, "train.log_every": 360,
    "train.early_stopping.patience": 10, "train.early_stopping.metric": "val/perplexity",
    "train.early_stopping.mode": "min", "train.tensorboard": True, "accept.perplexity": 50,
    "mask.examples_per_document": 16, "mask.retries": 16, "mask.seed": 0,
    "mask.probability.document": 0.03, "mask.probability.paragraph": 0.03,
    "mask.probability.sentence": 0.03, "mask.probability.word": 0.03, "mask.ngram.coin": 0.5,
}  # fmt: skip


@pytest.mark.parametrize(("key", "value"), PLAN.items(), ids=PLAN)
def test_the_plan_s_values(key, value):
    assert parameters()[key] == value


def test_an_ngram_has_no_probability_of_its_own():
    assert "mask.probability.ngram" not in parameters()


@pytest.mark.parametrize(("level", "documents", "steps", "hours"), LEVELS, ids=NAMES)
def test_a_level(level, documents, steps, hours):
    job = made().job(f"train{NAMES.index(level) + 1}_{level}")
    found = job.config["parameters"]
    assert (found["level"]["name"], found["level"]["documents"]) == (level, documents)
    assert (found["train"]["max_steps"], job.hours) == (steps, hours)
    assert found["train"]["checkpoint_dir"].endswith(f"/experiments/efcamdat_{level}_ilm")


def test_each_training_waits_for_the_gate_of_the_one_before():
    for rank, level in enumerate(NAMES, 1):
        job = made().job(f"train{rank}_{level}")
        before = {f"train{rank - 1}_{NAMES[rank - 2]}"} if rank > 1 else set()
        assert {up.job for up in job.upstream} == {f"examples_{level}", *before}
        checks = [check for check in job.config["gate"] if not check.get("optional")]
        assert [check["id"] for check in checks] == [
            "no-cuda-errors", "loss-falls", "perplexity-falls", "checkpoint", "logs", "perplexity",
        ]  # fmt: skip
        assert (checks[-1]["key"], checks[-1]["below"]) == ("val/perplexity", 50)


def test_masks_and_examples_wait_for_no_training():
    for level in NAMES:
        assert [up.job for up in made().job(f"mask_{level}").upstream] == ["extract"]
        needs = {up.job for up in made().job(f"examples_{level}").upstream}
        assert needs == {f"mask_{level}", "tokenizer"}


def test_every_model_is_evaluated_on_every_level():
    assert sum(job.tasks for job in made().select(["evaluate"])) == 30


def test_several_gpus_help_where_no_gate_stands_between():
    def trainings(*profiles):
        jobs = made(*profiles).jobs
        return timeline.makespans([job for job in jobs if job.stage.startswith("train")])

    assert trainings()[1] == trainings()[4]
    assert trainings("parallel")[4] == (16, 19.4)  # in the plan's order, GENERAL behind B2


PROFILES = {
    "oom": {"batch.train": 4, "batch.accumulation": 2},
    "short-sequences": {"batch.seq_length": 128},
    "divergence": {"optimizer.lr": 2.5e-5, "optimizer.clip": 0.5},
    "underfit": {"optimizer.lr": 1e-4, "train.max_steps": 15000},
    "phase2": {"corpus.l1": ["br"], "model.init_from":
               "jobs/efcamdat-ilm/logs/experiments/efcamdat_${arm}_ilm/final"},
    "parallel": {},
}  # fmt: skip


@pytest.mark.parametrize(("profile", "changes"), PROFILES.items(), ids=PROFILES)
def test_a_profile_changes_exactly_its_keys(profile, changes):
    before, after = parameters(), parameters(profile)
    assert {key: after[key] for key in after if after[key] != before.get(key)} == changes


@pytest.mark.parametrize("level", NAMES)
def test_underfitting_gets_half_as_many_steps_again(level):
    steps = {name: count for name, _, count, _ in LEVELS}[level]
    assert parameters("underfit", arm=level)["train.max_steps"] == steps * 3 // 2


def test_phase_2_starts_from_each_level_s_own_model():
    job = made("phase2").job("train5_A1")
    assert job.config["parameters"]["model"]["init_from"].endswith("efcamdat_A1_ilm/final")
    assert any("efcamdat_A1_ilm/final" in str(given) for given in job.inputs)


def config_of(name, *profiles):
    return made(*profiles).job(name).config


def test_the_programs_read_what_the_jobs_are_told(tmp_path):
    request = request_of(Config(config_of("extract"), Path("c.yaml")))
    assert request.levels == ("A1", "A2", "B1", "B2", "C1") and set(request.levels) < set(CEFR)
    settings = settings_of(Config(config_of("mask_C1"), Path("c.yaml")))
    assert expected_rate(settings) == pytest.approx(0.159, abs=5e-4)
    path = tmp_path / "c.yaml"
    path.write_text(yamlio.dump(config_of("train1_C1")))
    config = load_config(path)
    fit = read_fit(config)
    assert not config.problems
    assert fit.train.early_stopping
    assert (fit.batch.effective, fit.train.max_steps, fit.train.early_stopping.patience) == (
        8, 10000, 10,
    )  # fmt: skip


def test_the_expected_ranges_and_orders():
    expected = study.load(FILE).document.expectations
    bands = {e["arm"]: e["range"] for e in expected if "range" in e}
    assert bands == {"C1": [20, 40], "B2": [15, 35], "B1": [12, 30], "A2": [10, 25], "A1": [8, 20]}
    orders = {e["id"]: e["order"] for e in expected if "order" in e}
    assert orders == {
        "specialised": "diagonal-lowest-in-column", "own-texts-easiest": "diagonal-lowest-in-row",
        "specialising-helps": "diagonal-below-row",
    }  # fmt: skip


def test_the_demo_s_texts_are_what_their_program_writes(tmp_path):
    source = ROOT / "data/samples/efcamdat-ilm"
    program = tmp_path / "generate.py"
    program.write_bytes((source / "generate.py").read_bytes())
    subprocess.run([sys.executable, str(program)], check=True, capture_output=True)
    assert (tmp_path / "texts.jsonl").read_bytes() == (source / "texts.jsonl").read_bytes()
