"""The numbers that the arms of a run left."""

import json

import pytest

from ledger import results
from ledger.evidence import Missing, numbers


def test_numbers_of_any_file_are_named_by_their_places() -> None:
    values = {"perplexity": {"C1": 25, "A1": 80.5}, "note": "x", "ok": True, "none": None}
    assert numbers(values) == {"perplexity.C1": 25.0, "perplexity.A1": 80.5}


def cell(n: int, correct: int) -> dict[str, float]:
    return {"n": n, "correct": correct, "chance": 0.25}


BENCHMARKED = {
    "benchmarks": {"pacute": {
        "mcq": {**cell(4, 3), "by": {"affixation": cell(2, 1)}, "by_language": {"fil": cell(1, 1)},
                "by_part_language": {"affixation@fil": cell(1, 0)}},
        "gen": {**cell(4, 1), "by": {}},
    }},
    "marginal": {"pacute": {"mcq": {**cell(4, 2), "by": {}}}},
    "heldout": {"bits_per_byte": 1.5},
}  # fmt: skip
WANTED = {
    "pacute": 75.0, "pacute.affixation": 50.0, "pacute@fil": 100.0, "pacute.affixation@fil": 0.0,
    "pacute.gen": 25.0, "pacute.marginal": 50.0, "bits_per_byte": 1.5,
}  # fmt: skip


@pytest.fixture
def config(tmp_path):
    (tmp_path / "results/a").mkdir(parents=True)
    (tmp_path / "results/a/metrics.json").write_text(json.dumps(BENCHMARKED))
    (tmp_path / "results/b_1.json").write_text('{"perplexity": {"C1": 25}}')
    (tmp_path / "results/b_2.json").write_text('{"rouge": 0.2}')
    (tmp_path / "logs/b").mkdir(parents=True)
    (tmp_path / "logs/b/metrics.jsonl").write_text('{"step": 1, "loss": 3}\n')
    return {
        "paths": {"results": "results"},
        "arms": {
            "a": {"run": "first", "outputs": ["results/a/metrics.json"]},
            "b": {"run": "b", "outputs": ["results/b_*.json", "logs/b/final", "data/c.json"]},
        },
    }  # fmt: skip


def test_an_evaluation_s_counts_are_percents(config, tmp_path):
    world = results.world(config, tmp_path)
    assert world.values["a"] == pytest.approx(WANTED)


def test_every_file_of_an_arm_counts_and_the_rows_beside(config, tmp_path):
    world = results.world(config, tmp_path)
    assert world.values["b"] == {"perplexity.C1": 25.0, "rouge": 0.2}
    assert world.rows["b"] == [tmp_path / "logs/b/metrics.jsonl"] and world.rows["a"] == []


def test_counts_that_cannot_be_are_missing(config, tmp_path):
    (tmp_path / "results/a/metrics.json").write_text('{"benchmarks": {"pacute": {"mcq": {}}}}')
    with pytest.raises(Missing, match="holds no counts of answers"):
        results.world(config, tmp_path).values["a"]
