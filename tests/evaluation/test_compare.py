"""Two runs side by side: what was changed, and whether it is one thing."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluation.compare import main
from tests.evaluation.planted import write_arm

BASE: dict[str, Any] = {"seed": 42, "optimizer": {"lr": 1e-4}, "variant": {"name": "vanilla"}}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two arms, planted apart at level 2."""
    folder = tmp_path_factory.mktemp("compare")
    write_arm(folder / "results/vanilla", "vanilla", {"level2": 0.3}, 60, 0, ("mcq",))
    write_arm(folder / "results/patok", "patok", {"level2": 0.7}, 60, 1, ("mcq",))
    return folder


def side(arm: str, profile: str = "", **changes: Any) -> dict[str, Any]:
    parameters = {**BASE, "train": {"data_path": f"data{profile}/{arm}/x"}, **changes}
    told = {"run": arm, "outputs": [f"results/{arm}/metrics.json"], "parameters": parameters}
    return {
        "arm": arm, "job": {"study": "s", "profiles": [profile] if profile else []},
        "paths": {"state": "jobs", "results": "results", "data": f"data{profile}"},
        "parameters": {}, "arms": {arm: told},
    }  # fmt: skip


def compared(project: Path, capsys: pytest.CaptureFixture[str], *sides: Any) -> tuple[int, Any]:
    config = {"sides": list(sides), "parameters": {"seed": 1}}
    (project / "compare.yaml").write_text(yaml.safe_dump(config))
    with contextlib.chdir(project):
        code = main(["--config", "compare.yaml", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_one_treatment_is_one_change_however_many_parameters_it_has(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    patok = side("patok", variant={"name": "patok", "expand_prop": 0.1, "affix_awareness": 0.95})
    code, found = compared(project, capsys, side("vanilla"), patok)
    assert (code, found["causes"], found["warnings"]) == (0, ["variant"], [])
    assert (found["a"], found["b"]) == ("s: vanilla", "s: patok")
    level2 = next(test for test in found["tests"] if test["metric"] == "hierarchical.level2")
    assert level2["found"] and level2["points"] > 20


@pytest.mark.parametrize(
    ("changes", "warnings"),
    [
        ({"seed": 43}, ["more than one parameter was changed: seed, variant",
                        "seed differ: 42 and 43"]),
        ({"optimizer": {"lr": 2e-4}},
         ["more than one parameter was changed: optimizer.lr, variant"]),
    ],
    ids=["seed", "rate"],
)  # fmt: skip
def test_more_than_one_change_is_flagged(
    changes: dict[str, Any], warnings: list[str], project: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    other = side("patok", **{"variant": {"name": "patok", "expand_prop": 0.1}, **changes})
    code, found = compared(project, capsys, side("vanilla"), other)
    assert (code, found["warnings"]) == (1, warnings)


def test_the_same_arm_of_two_profiles_differs_in_what_the_profile_changed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = compared(
        project, capsys, side("vanilla"), side("vanilla", "@fast", optimizer={"lr": 3e-4})
    )
    assert (code, found["causes"], found["b"]) == (0, ["optimizer.lr"], "s@@fast: vanilla")
    assert all(test["points"] == 0 for test in found["tests"])


def test_other_text_or_other_items_are_flagged(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arm, digest in (("vanilla", "a"), ("patok", "b")):
        folder = project / f"data/{arm}"
        folder.mkdir(parents=True, exist_ok=True)
        record = {"tokens_with_eod": 10, "text_bytes": 9, "chunk_sha256": digest}
        (folder / "x_0001.json").write_text(json.dumps(record))
    code, found = compared(project, capsys, side("vanilla"), side("patok"))
    assert code == 1
    assert [w.split(" differ:")[0] for w in found["warnings"]] == ["text (digest of the chunks)"]


def test_without_results_the_parameters_are_compared(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = compared(project, capsys, side("vanilla"), side("nobody", optimizer={"lr": 1.0}))
    assert (code, found["tests"], found["causes"]) == (0, [], ["optimizer.lr"])


def test_it_reads_well_on_a_terminal(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {"sides": [side("vanilla"), side("patok", seed=7)], "parameters": {}}
    (project / "compare.yaml").write_text(yaml.safe_dump(config))
    with contextlib.chdir(project):
        assert main(["--config", "compare.yaml"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("A: s: vanilla\nB: s: patok\n")
    assert "| seed " in out and "warning: seed differ: 42 and 7" in out


def test_other_examples_are_flagged_by_what_the_trainings_learned(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sides = []
    for profile, digest in (("@one", "a" * 64), ("@two", "b" * 64)):
        folder = project / f"run{profile}"
        (folder / "final").mkdir(parents=True)
        identity = {"seed": 42, "data.train": digest}
        (folder / "final" / "manifest.json").write_text(json.dumps({"identity": identity}))
        (folder / "metrics.jsonl").write_text("")
        sides.append(side("whole", profile, train={"checkpoint_dir": str(folder)}))
    code, found = compared(project, capsys, *sides)
    assert code == 1
    assert "examples (digest) differ: aaaaaaaaaaaa and bbbbbbbbbbbb" in found["warnings"]
