"""The comparison of planted accuracies: differences, marks, notes, files."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluation.analyze import arms_in, guess_baseline, main, run_folder
from evaluation.config import InputError

PARTS = {
    "pacute": ["affixation", "composition", "manipulation", "syllabification"],
    "hierarchical": [f"level{n}" for n in range(6)],
}
ARMS = {"vanilla": "baseline", "stochastok": "stochastok", "patok": "patok"}
RIGHT = {  # of 200 in each part
    "vanilla": {"affixation": 90, "level2": 70, "level3": 60, "level4": 50, "level5": 40},
    "stochastok": {"affixation": 98, "level2": 100, "level3": 70, "level4": 60, "level5": 50},
    "patok": {"affixation": 160, "level2": 120, "level3": 90, "level4": 80, "level5": 70},
}
EXPECTED = [
    {"arm": "vanilla", "metric": "pacute.affixation", "range": [40, 50]},
    {"arm": "stochastok", "metric": "pacute.affixation", "range": [50, 65]},
    {"arm": "stochastok", "metric": "hierarchical.level2", "range": [45, 50]},
    {"arm": "patok", "metric": "pacute.affixation", "range": [60, 70]},
    {"arm": "patok", "metric": "hierarchical.level2", "range": [60, 70]},
    {"arm": "patok", "metric": "cute.level9", "range": [60, 70]},
]


def cell(correct: int, n: int, chance: float) -> dict[str, Any]:
    return {"n": n, "correct": correct, "accuracy": correct / n, "chance": chance}


def planted(arm: str, bits: float) -> dict[str, Any]:
    """metrics.json of an arm with the planted right answers, 50 of 200 where none are planted."""
    benchmarks: dict[str, Any] = {}
    for group, parts in PARTS.items():
        right = {part: RIGHT[arm].get(part, 50) for part in parts}
        total, n = sum(right.values()), 200 * len(parts)
        benchmarks[group] = {
            "mcq": {
                **cell(total, n, 0.25),
                "by": {p: cell(r, 200, 0.25) for p, r in right.items()},
            },
            "gen": {**cell(0, n, 0.0), "by": {p: cell(0, 200, 0.0) for p in parts}},
        }
    heldout = {
        "bits_per_byte": bits,
        "bits_per_byte_own_tokens_upper_bound": bits + 0.5,
        "unigram_bits_per_byte": 2.0,
        "heldout_text_sha256": "0" * 64,
    }
    return {"arm": arm, "title": arm.title(), "benchmarks": benchmarks, "heldout": heldout}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An analyze job's configuration beside the results of three arms; figures are left out."""
    monkeypatch.setattr("evaluation.analyze.accuracies", lambda *_: [])
    results, arms = tmp_path / "results", {}
    for at, (arm, run) in enumerate(ARMS.items()):
        folder = results / f"gemma3-1b-{run}"
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(planted(arm, 1.25 - 0.1 * at)))
        arms[arm] = {"run": run, "parameters": {"evaluate": {"output_dir": str(folder)}}}
    analyze = {"results_dir": str(results), "baseline": "vanilla"}
    values = {"job": {"profiles": []}, "arms": arms, "parameters": {"analyze": analyze}}
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({**values, "expectations": EXPECTED}, sort_keys=False))
    return path


def comparison(study: Path) -> dict[str, Any]:
    found = json.loads((study.parent / "results" / "comparison.json").read_text())
    assert isinstance(found, dict)
    return found


def test_the_simple_form(study: Path) -> None:
    assert main(["--config", str(study)]) == 0
    found = comparison(study)
    assert list(found) == ["columns", "headline", "rows", "notes", "details"]
    assert set(found["headline"]) < set(found["columns"])
    assert found["columns"][:4] == [
        "arm", "title", "bits_per_byte", "bits_per_byte_own_tokens_upper_bound",
    ]  # fmt: skip
    assert [row["arm"] for row in found["rows"]] == list(ARMS)
    assert all(list(row) == found["columns"] for row in found["rows"])
    patok = found["rows"][2]
    assert (patok["pacute.affixation"], patok["hierarchical.level2"]) == (80, 60)
    assert (patok["bits_per_byte"], patok["pacute.gen"]) == (1.05, 0)


def test_differences_are_percentage_points(study: Path) -> None:
    main(["--config", str(study)])
    arms = comparison(study)["details"]["arms"]
    points = {
        arm: values["metrics"]["pacute.affixation"]["points_over_baseline"]
        for arm, values in arms.items()
    }
    assert points == {"vanilla": 0, "stochastok": 4, "patok": 35}
    assert arms["patok"]["bits"]["bits_per_byte"]["over_baseline"] == pytest.approx(-0.2)
    figures = arms["patok"]["metrics"]["pacute.affixation"]
    assert (figures["interval95"], figures["by"]) == ([73.914, 84.955], "Wilson")


def test_expectations_are_marked(study: Path) -> None:
    main(["--config", str(study)])
    judged = comparison(study)["details"]["expectations"]
    verdicts = ["inside", "below", "inside", "above", "inside", "missing"]
    assert [one["verdict"] for one in judged] == verdicts
    assert [one["at_chance"] for one in judged] == [*[False] * 5, None]


def test_level_two_stands_beside_the_higher_ones(study: Path) -> None:
    main(["--config", str(study)])
    patok = comparison(study)["details"]["levels"][2]
    assert patok == {
        "arm": "patok", "level2": 60, "levels3to5": 40, "level2_gain": 25, "levels3to5_gain": 15,
    }  # fmt: skip


def test_the_report_is_written_and_its_tables_printed(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--config", str(study)])
    printed, results = capsys.readouterr().out, study.parent / "results"
    text = (results / "comparison.md").read_text()
    for words in ("80.0 [73.9, 85.0] +35.0 pp", "1.0500 -0.2000", "vanilla (baseline)"):
        assert words in text and words in printed and words in (results / "report.html").read_text()
    assert "morpheme decomposition" in text
    assert f"report: {results / 'report.html'}" in printed
    table = [line for line in printed.splitlines() if line.startswith("|")]
    first = table[: next(i for i, line in enumerate(table) if line.startswith("| arm"))]
    assert len({len(line) for line in first}) == 1
    assert (results / "tables.tex").read_text().count("\\begin{tabular}") >= 3


def test_the_demo_carries_its_caution(study: Path) -> None:
    caution = "say nothing about the study's claims"
    main(["--config", str(study)])
    assert not any(caution in note for note in comparison(study)["notes"])
    values = yaml.safe_load(study.read_text())
    values["job"]["profiles"] = ["demo"]
    study.write_text(yaml.safe_dump(values, sort_keys=False))
    main(["--config", str(study)])
    assert any(caution in note for note in comparison(study)["notes"])


def test_what_was_decided_is_one_link_away_where_it_was_written(study: Path) -> None:
    assert main(["--config", str(study)]) == 0
    assert "decisions" not in (study.parent / "results/comparison.md").read_text()
    config = yaml.safe_load(study.read_text())
    config["report"] = {**config.get("report", {}), "decisions": "decisions.md"}
    study.write_text(yaml.safe_dump(config))
    assert main(["--config", str(study)]) == 0
    assert "(decisions.md)" in (study.parent / "results/comparison.md").read_text()
    assert '<a href="decisions.md">' in (study.parent / "results/report.html").read_text()


def test_different_held_out_texts_are_noted(study: Path) -> None:
    path = study.parent / "results/gemma3-1b-patok/metrics.json"
    path.write_text(path.read_text().replace("0" * 64, "1" * 64))
    main(["--config", str(study)])
    assert any("not comparable" in note for note in comparison(study)["notes"])


def test_every_missing_arm_is_named(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run in ("stochastok", "patok"):
        (study.parent / f"results/gemma3-1b-{run}/metrics.json").unlink()
    assert main(["--config", str(study)]) == 65
    error = capsys.readouterr().err
    assert "arm stochastok has no results" in error and "arm patok has no results" in error
    assert error.count("\n") == 1 and not (study.parent / "results/comparison.json").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"arm": "nobody", "metric": "pacute", "range": [1, 2]},
        {"arm": "patok", "metric": "pacute", "range": [1]},
        {"arm": "patok", "range": [1, 2]},
    ],
    ids=["arm", "range", "metric"],
)
def test_a_wrong_expectation_is_refused(change: dict[str, Any], study: Path) -> None:
    values = yaml.safe_load(study.read_text())
    values["expectations"] = [change]
    study.write_text(yaml.safe_dump(values))
    assert main(["--config", str(study)]) == 65


def test_a_folder_of_results(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = study.parent / "results"
    assert run_folder(results, None) == 0
    assert "vanilla (baseline)" in capsys.readouterr().out
    assert run_folder(results, "patok") == 0
    assert "patok (baseline)" in capsys.readouterr().out
    with pytest.raises(InputError, match="Choose from vanilla, patok, stochastok"):
        run_folder(results, "nobody")


def test_a_baseline_is_guessed_by_name(study: Path) -> None:
    arms = arms_in(study.parent / "results")
    assert guess_baseline(arms) == "vanilla"
    assert guess_baseline([arm for arm in arms if arm.id != "vanilla"]) == "patok"


def test_a_folder_without_results_or_with_an_arm_twice_is_refused(study: Path) -> None:
    with pytest.raises(InputError, match="holds no"):
        arms_in(study.parent)
    path = study.parent / "results/gemma3-1b-patok/metrics.json"
    path.write_text(json.dumps(planted("vanilla", 1.0)))
    with pytest.raises(InputError, match="both of arm vanilla"):
        arms_in(study.parent / "results")
