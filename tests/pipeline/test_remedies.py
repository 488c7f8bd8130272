"""`resubmit --apply` and the retries of `run`, with real tasks on the local scheduler."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import yamlio
from tests.pipeline.clusters import Project, site_yaml

STUDY = """
study: small
state_dir: jobs/small
parameters: {work: {size: 4, note: plain}}
stages:
  fit: {kind: command, run: [bash, fit.sh, "${work.size}", "${work.note}"]}
  tell: {kind: command, needs: [fit], run: [bash, work.sh, tell, "1"]}
resources: {gpus: 0, cpus: 1, mem: 1GB, walltime: "01:00:00"}
"""
CAUSES = """
causes:
  - {name: size, cause: too large, advice: take less, log: too large for, patch: {work.size: half}}
"""
FIT = r"""
echo "$1 $2" >> out/tries
[ "$1" -le "$(cat control/most)" ] || { echo "error: $1 is too large for me" >&2; exit 1; }
[ "$(wc -l < out/tries)" -gt "$(cat control/flaky)" ] && exit
echo "Connection reset by peer" >&2
exit 1
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "p"
    made = Project(folder, site_yaml("local", folder), {}, STUDY)
    (folder / "causes.yaml").write_text(CAUSES)
    (folder / "fit.sh").write_text(FIT)
    made.control("most", "9")
    made.control("flaky", "0")
    return made


def tries(project: Project) -> list[str]:
    return (project.root / "out/tries").read_text().splitlines()


def test_a_patch_is_shown_applied_and_kept(project: Project) -> None:
    project.control("most", "1")
    project.run("submit", "fit", "tell")
    project.wait(lambda s: s["fit"] == {"failed": "1"} and "blocked" in s["tell"])
    assert "patch: work.size 4 -> 2, by `pipeline resubmit --apply`" in project.run("why", "fit")
    dry = project.run("resubmit", "--apply", "--dry-run")
    assert "fit: too large: work.size 4 -> 2" in dry and "would submit fit" in dry
    said = project.run("resubmit", "--apply")
    assert "submitted fit" in said and "with work.size=2" in said
    project.wait(lambda s: s["fit"] == {"failed": "1"} and "blocked" in s["tell"])
    said = project.run("resubmit", "--apply", "fit")
    assert "work.size 2 -> 1" in said and "with work.size=1" in said
    project.wait(lambda s: s["tell"] == {"completed": "1"})
    assert tries(project) == ["4 plain", "2 plain", "1 plain"]
    entry = yamlio.load(project.root / "jobs/small/manifest.yaml")["jobs"]["fit"]
    assert [a.get("patch", []) for a in entry["attempts"]] == [[], ["work.size=2"], ["work.size=1"]]
    project.run("submit", "fit", "--force")
    project.wait(lambda s: s["fit"] == {"completed": "1"})
    project.run("submit", "fit", "--force", "--set", "work.note=new")
    project.wait(lambda s: s["fit"] == {"completed": "1"})
    assert tries(project)[3:] == ["1 plain", "1 new"], "later attempts keep the patch"


def test_set_stands_over_a_patch(project: Project) -> None:
    project.control("most", "2")
    project.run("submit", "fit")
    project.wait(lambda s: s["fit"] == {"failed": "1"})
    project.run("resubmit", "fit", "--apply", "--set", "work.size=1")
    project.wait(lambda s: s["fit"] == {"completed": "1"})
    assert tries(project) == ["4 plain", "1 plain"]


def test_without_a_remedy_it_runs_as_before(project: Project) -> None:
    project.control("flaky", "1")
    project.run("submit", "fit")
    project.wait(lambda s: s["fit"] == {"failed": "1"})
    said = project.run("resubmit", "--apply")
    assert "fit: no parameter is known that would help" in said and "submitted fit" in said
    project.wait(lambda s: s["fit"] == {"completed": "1"})


def test_a_table_that_is_wrong_is_told_before_anything_is_submitted(project: Project) -> None:
    project.control("most", "1")
    project.run("submit", "fit")
    project.wait(lambda s: s["fit"] == {"failed": "1"})
    (project.root / "causes.yaml").write_text("causes: [{name: a, cause: b, advice: c, log: '('}]")
    said = project.run("resubmit", "--apply", code=2)
    assert "causes.yaml: causes[0]" in said and "no regular expression" in said
    assert tries(project) == ["4 plain"]


def test_what_may_pass_is_tried_again_and_the_run_goes_on(project: Project) -> None:
    project.control("flaky", "2")
    said = project.run("run", "--interval", "0.3")
    assert said.count("trying again: fit") == 2
    assert project.states()["tell"] == {"completed": "1"} and len(tries(project)) == 3


def test_only_so_often_and_only_what_may_pass(project: Project) -> None:
    project.control("flaky", "9")
    said = project.run("run", "--interval", "0.3", "--retries", "1", code=1)
    assert said.count("trying again: fit") == 1 and len(tries(project)) == 2
    assert "a network step timed out" in said
    project.control("most", "1")
    said = project.run("run", "--interval", "0.3", code=1)
    assert "trying again" not in said and "too large" in said
