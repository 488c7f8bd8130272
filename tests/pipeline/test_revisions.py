"""Named configurations: what differs between two, and the reasons that are given for it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from pipeline import plan, revisions, site, study
from pipeline.cli import cli
from pipeline.errors import ConfigError
from pipeline.revisions import UNSET

STUDY = """
study: small
arms:
  a: {}
  b: {parameters: {fit: {rate: 3}}}
parameters:
  fit: {rate: 1, width: 4, depth: 2, note: "${arm}"}
resources: {gpus: 0, cpus: 1, mem: 1GB, walltime: "01:00:00"}
stages:
  make: {kind: command, run: [echo], reads: [fit]}
  fit: {kind: command, run: [echo], arms: all, reads: [fit], resources: {mem: 8GB}}
profiles:
  first: {parameters: {fit: {rate: 2, width: 8}}}
  second: {parameters: {fit: {rate: 2, width: 16, depth: 1}}, resources: {mem: 2GB}}
  own: {arms: {a: {parameters: {fit: {rate: 9}}}}, stages: {fit: {hours: 2}}}
  extra: {parameters: {fit: {extra: 1}}}
revisions:
  v1: {profile: first, from: study, changes: [{key: fit, why: wider}]}
  second:
    summary: on the large machine
    from: v1
    changes:
      - {key: [fit.width, fit.depth], why: it fits there}
      - {key: resources.mem, why: less is enough}
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    for name in ("studies", "job_templates"):
        (tmp_path / name).mkdir()
    (tmp_path / "studies/small.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_STUDY", "small")
    return tmp_path / "studies/small.yaml"


def keys(path, one, other):
    return revisions.difference(path, one, other).keys


FIRST = {"fit.rate": (1, 2), "fit.width": (4, 8), "arms.b.parameters.fit.rate": (3, 2)}
OWN = {"arms.a.parameters.fit.rate": (1, 9), "stages.fit.hours": (UNSET, 2)}
ROWS = [
    ("study", "first", FIRST),
    ("", "v1", FIRST),
    ("first", "", {key: (after, before) for key, (before, after) in FIRST.items()}),
    ("study", "extra", {"fit.extra": (UNSET, 1)}),
    ("study", "own", OWN),
    ("study", "first+own", FIRST | OWN),
    ("v1", "first", {}),
]


@pytest.mark.parametrize(("one", "other", "expected"), ROWS, ids=[f"{a}:{b}" for a, b, _ in ROWS])
def test_every_key_that_differs_with_both_values(path, one, other, expected):
    assert keys(path, one, other) == expected


def test_an_arm_or_a_stage_has_rows_of_its_own_only_where_it_differs_otherwise(path):
    found = keys(path, "study", "second")
    assert found["fit.rate"] == (1, 2)
    assert found["arms.b.parameters.fit.rate"] == (3, 2)
    assert "arms.a.parameters.fit.rate" not in found
    assert found["resources.mem"] == ("1GB", "2GB")
    assert found["stages.fit.resources.mem"] == ("8GB", "2GB")
    assert "stages.make.resources.mem" not in found


def test_reasons_go_with_the_keys_they_name_most_closely(path):
    found = revisions.difference(path, "v1", "second")
    assert [(list(change.keys), change.why) for change in found.changes] == [
        (["fit.width", "fit.depth"], "it fits there"),
        (["resources.mem"], "less is enough"),
        (["stages.fit.resources.mem"], ""),
    ]


def test_reasons_of_every_step_between_two_configurations_both_ways(path):
    for one, other in (("study", "second"), ("second", "study")):
        found = revisions.difference(path, one, other)
        whys = {key: change.why for change in found.changes for key in change.keys}
        assert whys["fit.rate"] == "wider"
        assert whys["fit.width"] == "wider; then: it fits there"
        assert whys["fit.depth"] == "wider; then: it fits there"
        assert whys["arms.b.parameters.fit.rate"] == "wider"


def test_reasons_are_not_borrowed_from_another_pair(path):
    assert [c.why for c in revisions.difference(path, "second", "extra").changes] == [""]


def change(path, old, new):
    assert old in STUDY
    path.write_text(STUDY.replace(old, new))
    revisions.check(study.load(path))


BAD = [
    ("same key", "key: [fit.width, fit.depth]", "key: [fit.width, fit.rate]",
     "revisions.second.changes[0].key: 'fit.rate' does not differ between v1 and second"),
    ("no key", "key: resources.mem", "key: resources.cpus", "did you mean 'resources.mem'?"),
    ("covered", "key: resources.mem", "key: fit", "changes[1].key: 'fit' does not differ"),
    ("no from", "from: study, ", "", "revisions.v1.from: missing"),
    ("no profile", "profile: first, ", "", "no revision or profile is called 'v1'"),
    ("from nothing", "from: v1", "from: v0", "no revision or profile is called 'v0'; did you mean"),
    ("unknown", "summary: on", "sumary: on", "revisions.second.sumary: unknown key"),
    ("from in a change", "why: wider", "why: wider, to: 8", "revisions.v1.changes[0]: object"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_reason_that_explains_nothing_is_refused(path, old, new, message):
    revisions.check(study.load(path))
    with pytest.raises(ConfigError) as caught:
        change(path, old, new)
    assert message in str(caught.value)


def test_check_shows_it_to_the_user(path):
    path.write_text(STUDY.replace("key: resources.mem", "key: resources.cpus"))
    result = CliRunner().invoke(cli, ["check"])
    assert result.exit_code == 2
    assert "'resources.cpus' does not differ" in result.stderr


def test_the_command_marks_what_has_no_reason(path):
    out = CliRunner().invoke(cli, ["diff", "v1", "second"]).output
    assert out.startswith("small, v1 -> second: 4 keys: 2 changes with a reason, 1 key without")
    assert "fit.width                 8 -> 16" in out
    assert out.index("stages.fit.resources.mem  8GB -> 2GB") < out.index("! `revisions` gives no")
    assert CliRunner().invoke(cli, ["diff", "v1", "first"]).output.endswith("nothing differs.\n")
    told = json.loads(CliRunner().invoke(cli, ["diff", "study", "extra", "--json"]).output)
    assert told["changes"] == [{"why": "", "keys": {"fit.extra": {"to": 1}}}]


def test_names_of_configurations_are_completed(path):
    from click.shell_completion import ShellComplete

    complete = ShellComplete(cli, {}, "pipeline", "_PIPELINE_COMPLETE")
    found = complete.get_completions(["diff", "v1"], "s")
    assert [item.value for item in found] == ["second", "study"]


def test_the_command_knows_the_names(path):
    result = CliRunner().invoke(cli, ["diff", "v1", "secnd"])
    assert result.exit_code == 2
    assert "did you mean 'second'? Valid: second, extra, first, own, study, v1" in result.stderr


@pytest.mark.parametrize(
    ("profiles", "name"), [(("first",), "v1"), (("second",), "second"), ((), ""), (("own",), "")]
)
def test_a_run_says_which_revision_it_is(path, profiles, name):
    made = plan.make(study.load(path, profiles), site.reference(path.parent))
    assert made.study.revision == name
    assert made.jobs[0].config["job"].get("revision", "") == name


def test_the_plain_study_can_be_a_revision(path):
    path.write_text(STUDY.replace("profile: first, from: study", "profile: study, from: first"))
    assert study.load(path).revision == "v1"
    assert keys(path, "first", "v1") == keys(path, "first", "study")
