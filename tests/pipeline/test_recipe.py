"""What a training does, read from studies that name their keys differently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import plan, recipe, site, study, synonyms
from pipeline.job import Job
from pipeline.recipe import Phase, Recipe

ROOT = Path(__file__).parents[2]
MAIN = plan.make(study.load(ROOT / "studies/filipino-cpt.yaml"), site.reference(ROOT))


def with_(parameters: dict[str, Any], gpus: int = 1, kind: str = "command") -> Job:
    """A training with these parameters."""
    job = MAIN.job("train_vanilla")
    resources = msgspec.structs.replace(job.resources, gpus=gpus)
    config = {**job.config, "parameters": parameters}
    return msgspec.structs.replace(job, kind=kind, config=config, resources=resources)


def made(parameters: dict[str, Any], gpus: int = 1) -> Recipe:
    found = recipe.recipe(with_(parameters, gpus))
    assert found
    return found


def test_the_main_study() -> None:
    one = recipe.recipe(MAIN.job("train_vanilla"))
    assert one
    assert one.phases == (Phase(0, 10_000, 2048, 0, 2, 16, 256, 1.0),)
    assert (one.gpus, one.tokens, one.examples) == (8, 5_242_880_000, 2_560_000)
    assert (one.evaluations, one.checkpoints, one.kept, one.log_rows) == (20, 10, 3, 1000)
    assert (one.warmup, one.rate, one.data, one.epochs) == (500, 1e-4, None, None)


# A curriculum on 225,870 of 237,758 articles with 920 M tokens in all.
STAGES = [
    # step, length, batch, scale -> examples, tokens, examples so far, tokens a step, steps an epoch
    (0, 64, 256, 11.3, 512_000, 32_768_000, 512_000, 16_384, 53_345),
    (2_000, 128, 128, 7.0, 256_000, 32_768_000, 768_000, 16_384, 53_345),
    (4_000, 256, 64, 3.5, 256_000, 65_536_000, 1_024_000, 16_384, 53_345),
    (8_000, 512, 32, 1.5, 128_000, 65_536_000, 1_152_000, 16_384, 53_345),
    (12_000, 768, 21, 1.0, 126_000, 96_768_000, 1_278_000, 16_128, 54_191),
    (18_000, 1024, 16, 0.7, 112_000, 114_688_000, 1_390_000, 16_384, 53_345),
    (25_000, 1536, 10, 0.5, 100_000, 153_600_000, 1_490_000, 15_360, 56_901),
    (35_000, 2048, 8, 0.4, 120_000, 245_760_000, 1_610_000, 16_384, 53_345),
    (50_000, 2048, 8, 0.3, 400_000, 819_200_000, 2_010_000, 16_384, 53_345),
]
CURRICULUM = {
    "model": {"seq_length": 2048},
    "optimizer": {"lr": 1e-4},
    "batch": {"global": 8, "micro": 8},
    "train": {"max_steps": 100_000, "validate_every": 2000},
    "dataset": {"articles": 237_758, "train": 225_870, "tokens": 920_000_000},
    "curriculum_stages": [
        {"step": step, "seq_len": length, "batch_size": batch, "lr_scale": scale}
        for step, length, batch, scale, *_ in STAGES
    ],
}


def test_a_curriculum() -> None:
    one = made(CURRICULUM)
    assert one.staged and one.data
    done = 0
    for phase, row in zip(one.phases, STAGES, strict=True):
        done += phase.examples
        assert (phase.first, phase.length, phase.batch, phase.scale) == row[:4]
        assert (phase.examples, phase.tokens, done, phase.step_tokens) == row[4:8]
        assert one.data.steps(phase) == row[8]
        assert phase.micro * phase.accumulation == phase.batch
        assert phase.micro * phase.length <= 8 * 2048
    assert (one.examples, one.tokens) == (2_010_000, 1_626_624_000)
    assert one.epochs == pytest.approx(1.861, abs=0.001)
    assert one.evaluations == 50


def test_steps_an_epoch_of_all_documents() -> None:
    whole = {**CURRICULUM, "dataset": {"tokens": 920_000_000}}
    one = made(whole)
    assert one.data
    found = [one.data.steps(phase) for phase in one.phases]
    assert found == [56_152, 56_152, 56_152, 56_152, 57_044, 56_152, 59_896, 56_152, 56_152]


INFILLING = [  # examples in all, steps -> epochs of the 80 % that are trained on
    (160_096, 10_000, 0.625), (643_808, 20_000, 0.311), (1_864_624, 30_000, 0.161),
    (3_445_504, 40_000, 0.116), (5_458_480, 50_000, 0.092), (11_572_512, 60_000, 0.052),
]  # fmt: skip


@pytest.mark.parametrize(("examples", "steps", "epochs"), INFILLING)
def test_examples_of_a_level(examples: int, steps: int, epochs: float) -> None:
    one = made({
        "corpus": {"split": [80, 10, 10]}, "level": {"examples": examples},
        "batch": {"train": 8, "accumulation": 1, "seq_length": 256},
        "train": {"max_steps": steps}, "validate": {"every": 360},
    })  # fmt: skip
    assert one.epochs == pytest.approx(epochs, abs=0.0005)
    assert one.evaluations == steps // 360


def test_examples_of_documents_that_are_divided_whole() -> None:
    one = made({
        "corpus": {"split": [80, 10, 10]}, "level": {"documents": 10_006},
        "mask": {"examples_per_document": 16}, "train": {"max_steps": 10_000},
        "batch": {"train": 8, "seq_length": 256},
    })  # fmt: skip
    assert one.data and one.data.amount == 128_064  # not 0.8 x 160,096
    assert one.epochs == pytest.approx(0.6247, abs=1e-4)


# micro, accumulation -> effective, steps an epoch, in all, warm-up, evaluations, saves
DIALOGUE = [
    (1, 8, 8, 2240, 6720, 202, 67, 13), (3, 3, 9, 1991, 5973, 180, 59, 11),
    (2, 4, 8, 2240, 6720, 202, 67, 13), (1, 16, 16, 1120, 3360, 101, 33, 6),
]  # fmt: skip


@pytest.mark.parametrize("row", DIALOGUE, ids=[f"{r[0]}x{r[1]}" for r in DIALOGUE])
def test_epochs_make_steps(row: tuple[int, ...]) -> None:
    micro, times, effective, epoch, steps, warmup, evaluations, saves = row
    one = made({
        "dataset": {"conversations": 17_913, "max_length": 512},
        "batch": {"train": micro, "accumulation": times}, "optimizer": {"warmup_ratio": 0.03},
        "schedule": {"epochs": 3, "eval_every": 100, "save_every": 500, "keep": 3},
    })  # fmt: skip
    assert one.data
    assert (one.phases[0].batch, one.data.steps(one.phases[0])) == (effective, epoch)
    assert (one.steps, one.warmup, one.evaluations, one.checkpoints) == (
        steps, warmup, evaluations, saves,
    )  # fmt: skip


def test_an_encoder_s_targets_count_as_tokens() -> None:
    one = made({
        "data": {"max_input_length": 512, "max_target_length": 128, "train_examples": 84_544},
        "batch": {"train": 32}, "train": {"epochs": 2},
    })  # fmt: skip
    assert one.data and one.data.steps(one.phases[0]) == 2642
    assert one.tokens == 2 * 2642 * 32 * 640


def test_several_gpus_share_a_global_batch() -> None:
    shared = {"model": {"seq_length": 10}, "train": {"max_steps": 1}}
    assert made({**shared, "batch": {"global": 64, "micro": 2}}, 8).phases[0].accumulation == 4
    assert made({**shared, "batch": {"train": 2, "accumulation": 3}}, 8).phases[0].batch == 48


@pytest.mark.parametrize(
    ("parameters", "share"),
    [
        ({}, 1.0), ({"partition": {"parts": {"validation": 1, "train": 3}}}, 0.75),
        ({"corpus": {"split": [80, 10, 10]}}, 0.8), ({"dataset": {"validation_share": 0.05}}, 0.95),
        ({"dataset": {"train": 3, "articles": 4}}, 0.75), ({"corpus": {"split": [80, "x"]}}, 1.0),
        ({"partition": {"parts": {"train": None, "b": 1}}}, 1.0),
    ],
)  # fmt: skip
def test_the_share_that_is_trained_on(parameters: dict[str, Any], share: float) -> None:
    assert synonyms.train_share(parameters) == pytest.approx(share)


ODD: list[dict[str, Any]] = [
    {}, {"batch": {"train": 0}}, {"batch": {"train": True}, "model": {"seq_length": 4}},
    {"batch": {"train": 4}}, {"batch": [], "model": "x"},
    {"curriculum_stages": [None, {"step": "x"}, {"step": -3, "seq_len": 4}]},
]  # fmt: skip


@pytest.mark.parametrize("parameters", ODD, ids=[str(n) for n in range(len(ODD))])
def test_what_says_too_little_has_no_recipe(parameters: dict[str, Any]) -> None:
    assert recipe.recipe(with_(parameters)) is None


def test_a_huge_share_of_a_batch_is_not_factored() -> None:
    rows = [{"step": 0, "seq_len": 4, "batch_size": 10**11 + 3}]
    parameters = {"batch": {"micro": 1}, "model": {"seq_length": 8}, "train": {"max_steps": 2}}
    assert made({**parameters, "curriculum_stages": rows}).phases[0].accumulation == 1


def test_tokens_of_a_corpus_are_known_when_all_its_chunks_are(tmp_path: Path) -> None:
    job = MAIN.job("train_vanilla")
    folder = tmp_path / "data/processed/vanilla"
    folder.mkdir(parents=True)

    def counted() -> float | None:
        found = recipe.recipe(job, tmp_path)
        assert found
        return found.data.amount if found.data else None

    for number in range(1, 21):
        assert counted() is None
        path = folder / f"seapile_{number:04d}.json"
        path.write_text(json.dumps({"tokens": 90, "tokens_with_eod": 100}), "utf-8")
    assert counted() == 2000 * 0.98  # the share that is trained on
    (folder / "seapile_0007.json").write_text('{"tokens_wi', "utf-8")
    assert counted() is None
    (folder / "seapile.json").write_text(json.dumps({"tokens_with_eod": 1900}), "utf-8")
    assert counted() == 1900 * 0.98
    one = recipe.recipe(job, tmp_path)
    assert one and one.data and one.data.source == "counted"
    assert one.epochs == pytest.approx(5_242_880_000 / (1900 * 0.98))
