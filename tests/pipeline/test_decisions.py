"""decisions.md: what a study decided, and what was changed on the way."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.manifest import Attempt, Entry, Manifest, Store

STUDY = """
study: small
title: A small study
question: Does it | work?
parameters: {fit: {rate: 1, micro: 8}}
resources: {gpus: 0, cpus: 1, mem: 1GB, walltime: "01:00:00"}
stages: {fit: {kind: command, run: [echo], reads: [fit]}}
profiles: {fast: {parameters: {fit: {rate: 2}}}}
revisions:
  fast: {summary: for the night, from: study, changes: [{key: fit.rate, why: it | is faster}]}
decisions:
  - {what: rates stay, why: nobody said, replaced: a decay, when: 2026-01-02, issue: 7}
  - {what: one seed, why: the plan has none}
claims:
  - {id: steps, says: ten steps, line: 12, claimed: 10, computed: fit.micro + 1,
     acknowledged: the plan counts from 0}
  - {id: wrong, says: two rates, line: 13, claimed: 2, computed: fit.rate}
  - {id: fine, says: one rate, line: 14, claimed: 1, computed: fit.rate}
"""


def attempt(number, state="submitted", *patch):
    return Attempt(
        number, f"t{number}", "1", f"attempts/fit.{number}.sh", "d",
        f"2026-01-0{number}T10:00:00.000+00:00", state, patch=list(patch),
    )  # fmt: skip


@pytest.fixture
def root(tmp_path, monkeypatch):
    for name in ("studies", "job_templates"):
        (tmp_path / name).mkdir()
    (tmp_path / "studies/small.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_STUDY", "small")
    return tmp_path


def told(*words):
    result = CliRunner().invoke(cli, ["decisions", "--output", "-", *words])
    assert result.exit_code == 0, result.output
    return result.output


def test_decisions_with_all_that_is_known_of_them(root):
    text = told()
    assert "# A small study: decisions\n\nDoes it \\| work?\n\nStudy `small`. Written" in text
    assert (
        "### rates stay\n\n- Why: nobody said\n- In place of: a decay\n- When: 2026-01-02\n"
        "- Issue: 7\n\n### one seed\n\n- Why: the plan has none\n\n## Rev" in text
    )


def test_revisions_with_computed_values_and_their_reasons(root):
    text = told()
    assert "### `fast`, from `study`\n\nfor the night\n\n| key | study | fast | why |" in text
    assert "| `fit.rate` | `1` | `2` | it \\| is faster |" in text
    assert "revision `fast`" not in text
    assert "profiles `fast`; revision `fast`" in told("--profile", "fast")


def test_contradictions_that_are_acknowledged_and_no_other_claim(root):
    text = told()
    assert "| `steps` | 12 | ten steps | 10 | 9 | the plan counts from 0 |" in text
    assert "one rate" not in text
    assert "two rates" not in text


def test_remedies_are_those_of_attempts_that_reached_the_scheduler(root):
    assert "None: nothing of this run was submitted yet." in told()
    attempts = [
        attempt(1), attempt(2, "submitted", "fit.micro=4"), attempt(3, "abandoned", "fit.micro=3"),
        attempt(4, "submitted", "fit.micro=4"), attempt(5, "submitted", "fit.micro=4", "fit.rate=3")
    ]  # fmt: skip
    store = Store(root / "jobs/small")
    with store.locked():
        store.write(
            Manifest("small", "local", "local", [], {"fit": Entry("fit", "", 1, {}, attempts)})
        )
    rows = [line for line in told().splitlines() if line.startswith("| fit |")]
    assert rows == [
        "| fit | 2 | 2026-01-02T10:00:00 UTC | `fit.micro=4` |",
        "| fit | 5 | 2026-01-05T10:00:00 UTC | `fit.rate=3` |",
    ]


def test_a_run_of_which_nothing_was_changed(root):
    store = Store(root / "jobs/small")
    with store.locked():
        store.write(Manifest("small", "local", "local"))
    assert "## Remedies that were applied\n\nNone.\n\n" in told()


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ((), "results/small/decisions.md"),
        (("--profile", "fast"), "results/small@fast/decisions.md"),
        (("--output", "elsewhere.md"), "elsewhere.md"),
    ],
)
def test_it_is_written_beside_the_results(root, words, path):
    result = CliRunner().invoke(cli, ["decisions", *words])
    assert (result.exit_code, result.output) == (0, f"{path}\n")
    assert (root / path).read_text().startswith("# A small study")


def test_a_misspelt_key_of_a_decision_is_refused(root):
    (root / "studies/small.yaml").write_text(STUDY.replace("why: nobody", "because: nobody"))
    result = CliRunner().invoke(cli, ["decisions"])
    assert result.exit_code == 2
    assert "decisions[0]: object" in result.stderr
