"""What jobs leave on disk: the same figures for `plan`, `doctor` and the budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import plan, site, space, study
from pipeline.errors import ConfigError
from pipeline.plan import Plan

ROOT = Path(__file__).parents[2]
GEMMA = 999_885_952
LORA = """
study: tuned
stages:
  tune:
    {kind: command, run: [echo], reads: [model, lora, optimizer, batch, train, data, sizes],
     disk: {dataset: "${sizes.dataset}", logs: 3MB}}
  train_whole: {kind: command, run: [echo], reads: [optimizer, batch],
                disk: {checkpoints: 7GB}}
  unknown: {kind: command, run: [echo], reads: [optimizer, batch]}
  watch: {kind: command, run: [echo], reads: [optimizer]}
arms: {}
parameters:
  seed: 1
  model: {base: google/flan-t5-small}
  lora: {r: 16, target_modules: [q, k, v, o, wi_0, wi_1, wo]}
  optimizer: {lr: 1e-4}
  batch: {train: 4, accumulation: 2}
  train: {max_steps: 100, keep_checkpoints: 2}
  data: {max_input_length: 512, max_target_length: 128}
  sizes: {dataset: 1.5GB}
resources: {gpus: 1, cpus: 1, mem: 1GB, walltime: "01:00:00"}
"""


def main_study() -> Plan:
    return plan.make(study.load(ROOT / "studies/filipino-cpt.yaml"), site.reference(ROOT))


def tuned(folder: Path, text: str = LORA) -> Plan:
    path = folder / "tuned.yaml"
    path.write_text(text)
    return plan.make(study.load(path), site.reference(ROOT))


CASES = [
    ("download", 10**9, {"corpus": 10**9}),
    ("split", None, {"chunks": None}),
    ("preprocess_vanilla", 35 * 10**8, {"token files": 4 * 10**9}),
    ("preprocess_patok", 35 * 10**8, {"token files": 6 * 10**9}),
    ("preprocess_patok", None, {"token files": None}),
    # Four checkpoints of 14 bytes a parameter, and the weights to begin with.
    ("train_vanilla", None,
     {"checkpoints: weights": 4 * 6 * GEMMA, "checkpoints: optimizer": 4 * 8 * GEMMA,
      "imported weights": 4 * GEMMA}),
    ("export_vanilla", None, {"exported weights": 4 * GEMMA}),
    ("analyze", None, {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("job", "corpus", "parts"), CASES, ids=[f"{c[0]}-{'known' if c[1] else ''}" for c in CASES]
)
def test_what_a_job_writes(job: str, corpus: int | None, parts: dict[str, int | None]) -> None:
    one = main_study().job(job)
    found = space.parts(one, corpus)
    logs = found.pop("logs")
    assert found == parts
    # 1,000 rows of training and 20 of validation.
    assert logs == 20_000 * one.tasks + 300 * (1020 if one.trains else 0)
    whole = None if None in parts.values() else sum(filter(None, parts.values())) + logs
    assert space.written(one, corpus) == whole


def test_adapters_alone_are_kept_and_the_study_may_say_more(tmp_path: Path) -> None:
    found = space.parts(tuned(tmp_path).job("tune"), None)
    assert found == {
        "checkpoints: weights": 3 * 4 * 2_555_904, "checkpoints: optimizer": 3 * 8 * 2_555_904,
        "dataset": 1_500_000_000, "logs": 3_000_000,
    }  # fmt: skip


def test_what_the_study_says_of_checkpoints_goes_before_what_is_computed(tmp_path: Path) -> None:
    made = tuned(tmp_path)
    assert space.parts(made.job("train_whole"), None)["checkpoints"] == 7_000_000_000
    assert "checkpoints: weights" not in space.parts(made.job("train_whole"), None)


def test_a_training_of_an_unknown_model_is_unknown(tmp_path: Path) -> None:
    made = tuned(tmp_path, LORA.replace("google/flan-t5-small", "somebody/else"))
    assert space.parts(made.job("unknown"), None)["checkpoints"] is None
    assert space.written(made.job("unknown"), None) is None


def test_what_only_looks_at_the_optimizer_is_no_training(tmp_path: Path) -> None:
    made = tuned(tmp_path)
    assert [job.name for job in made.jobs if job.trains] == ["tune", "train_whole", "unknown"]
    assert space.parts(made.job("watch"), None) == {"logs": 20_000}


def test_a_size_that_is_none_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"stages\.tune\.disk\.dataset: 'much' is no size"):
        tuned(tmp_path, LORA.replace("1.5GB", "much"))


def test_sums_leave_out_what_is_unknown() -> None:
    assert space.together([{"a": 1, "b": None}, {"a": 2, "c": 0}]) == {"a": 3}


def test_the_corpus_is_measured_where_it_can_be_seen(tmp_path: Path) -> None:
    job = main_study().job("split")
    assert space.corpus_bytes(job, tmp_path) is None
    path = tmp_path / "data/corpora/seapile-v2-filipino.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("x" * 70)
    assert space.corpus_bytes(job, tmp_path) == 70


def test_a_corpus_whose_name_no_file_can_have_has_no_size(tmp_path: Path) -> None:
    loaded = study.load(ROOT / "studies/filipino-cpt.yaml", sets=["corpus.file=" + "x" * 300])
    job = plan.make(loaded, site.reference(ROOT)).job("split")
    assert space.corpus_bytes(job, tmp_path) is None
