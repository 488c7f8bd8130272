import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.config import InputError
from evaluation.results import metric_names, read_arm
from tests.evaluation.planted import write_arm


def metrics(**more: Any) -> dict[str, Any]:
    cell = {"n": 10, "correct": 4, "accuracy": 0.4, "chance": 0.25}
    group = {"mcq": {**cell, "by": {"affixation": cell}}, "gen": {**cell, "by": {}}}
    return {"arm": "patok", "title": "Patok", "benchmarks": {"pacute": group}, **more}


def test_an_arm_is_read_flat(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(metrics(heldout={"bits_per_byte": 1.5})))
    arm = read_arm(path)
    assert (arm.id, arm.title, arm.heldout) == ("patok", "Patok", {"bits_per_byte": 1.5})
    assert metric_names([arm]) == ["pacute", "pacute.affixation", "pacute.gen"]
    assert arm.cells["pacute.affixation"].percent == 40


@pytest.mark.parametrize(
    "content",
    [
        None,
        "{",
        "[]",
        '{"arm": "a"}',
        json.dumps(metrics()).replace('"correct": 4', '"correct": 11'),
    ],
    ids=["missing", "cut", "list", "without", "more right than asked"],
)
def test_what_is_no_metrics_file_is_refused(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=str(path)):
        read_arm(path, "patok")


def test_languages_and_other_scorings_have_names_of_their_own(tmp_path: Path) -> None:
    cell = {"n": 10, "correct": 4, "accuracy": 0.4, "chance": 0.25}
    result = {
        **cell, "by": {"affixation": cell}, "by_language": {"fil": cell},
        "by_part_language": {"affixation@fil": cell},
    }  # fmt: skip
    values = {"arm": "a", "benchmarks": {"pacute": {"gen": result}},
              "marginal": {"pacute": {"mcq": result}}}  # fmt: skip
    (tmp_path / "metrics.json").write_text(json.dumps(values))
    arm = read_arm(tmp_path / "metrics.json")
    assert list(arm.cells) == [
        "pacute.gen", "pacute.affixation.gen", "pacute.gen@fil", "pacute.affixation.gen@fil",
        "pacute.marginal", "pacute.affixation.marginal", "pacute.marginal@fil",
        "pacute.affixation.marginal@fil",
    ]  # fmt: skip
    assert metric_names([arm]) == [name for name in arm.cells if "@" not in name]


def test_records_that_are_not_those_that_were_counted_are_refused(tmp_path: Path) -> None:
    write_arm(tmp_path, "a", {}, questions=5)
    arm = read_arm(tmp_path / "metrics.json")
    assert arm.answers["pacute.affixation@fil"].correct.sum() == (
        arm.cells["pacute.affixation@fil"].correct
    )
    path = tmp_path / "samples_pacute_mcq.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(InputError, match="of 40 right for pacute, the records beside it"):
        read_arm(tmp_path / "metrics.json")


def test_records_of_a_benchmark_that_was_not_evaluated_again_are_passed_over(
    tmp_path: Path,
) -> None:
    write_arm(tmp_path, "a", {}, questions=5)
    path = tmp_path / "metrics.json"
    values = json.loads(path.read_text())
    del values["benchmarks"]["pacute"]
    path.write_text(json.dumps(values))
    assert not any(name.startswith("pacute") for name in read_arm(path).answers)


def test_evaluated_checkpoints_are_found_by_their_steps(tmp_path: Path) -> None:
    write_arm(tmp_path, "a", {}, questions=5)
    for step in (2000, 10000):
        write_arm(tmp_path / f"step_{step:08d}", "a", {}, questions=4, modes=("mcq",))
    steps = read_arm(tmp_path / "metrics.json").checkpoints
    assert list(steps) == [2000, 10000] and steps[2000]["pacute"].n == 32
