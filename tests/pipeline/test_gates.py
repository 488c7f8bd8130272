"""Gates for real: a stage's checks in its own script, on this machine's queue, by every command."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from pipeline.job import Chain, Runtime
from pipeline.render import render
from tests.pipeline.clusters import ROOT, Project, site_yaml
from tests.pipeline.test_scripts_run import Script, wait_for

GATE = [
    {"id": "there", "file": "out", "exists": True},
    {"id": "loss", "file": "out/{task}.json", "key": "loss", "below": 2},
]


def script(root: Path, *argv: str, gate: list[dict[str, Any]] = GATE, **changes: Any) -> Script:
    """A job with a gate, its configuration beside it."""
    config = {
        "job": {"name": "split"}, "paths": {"state": "jobs", "results": "results"}, "gate": gate,
    }  # fmt: skip
    made = Script(root, *argv, config=config, **changes)
    (root / "jobs/configs").mkdir(parents=True)
    (root / "jobs/configs/split.yaml").write_text(json.dumps(config))
    (root / "ledger").symlink_to(ROOT / "ledger")
    return made


def write(loss: str) -> tuple[str, ...]:
    return ("bash", "-c", f"mkdir -p out; printf '{{\"loss\": {loss}}}' >out/1.json")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "it's a project, é"


def test_an_open_gate_is_a_success(root: Path) -> None:
    made = script(root, *write("1.5"))
    code, out, err = made.run(LOCAL_JOB_ID="L1")
    assert (code, made.names()) == (0, ["1.L1.ok"]), err
    assert "gate: PASS loss: 1.5, wanted below 2 (out/1.json, loss)" in out
    found = json.loads((root / "jobs/gates/split/1.json").read_text())
    assert [c["verdict"] for c in found["checks"]] == ["PASS", "PASS"] and not found["closed"]


def test_a_closed_gate_is_78_and_its_receipt_says_which_criterion(root: Path) -> None:
    made = script(root, *write("2.5"))
    code, _, err = made.run(LOCAL_JOB_ID="L1")
    assert (code, made.names()) == (78, ["1.L1.fail-78"])
    assert made.receipt("1.L1.fail-78")["gate"] == "loss: 2.5, wanted below 2 (out/1.json, loss)"
    assert "error: gate closed by loss: 2.5, wanted below 2" in err


def test_what_nobody_knows_closes_too_unless_it_is_optional(root: Path) -> None:
    unknown = {"id": "later", "file": "out/later.json", "key": "x", "is": 1}
    made = script(root / "a", *write("1"), gate=[*GATE, unknown])
    assert made.run(LOCAL_JOB_ID="L1")[0] == 78
    said = made.receipt("1.L1.fail-78")["gate"]
    assert said == "later is inconclusive: there is no out/later.json, wanted exactly 1"
    made = script(root / "b", *write("1"), gate=[*GATE, {**unknown, "optional": True}])
    code, out, _ = made.run(LOCAL_JOB_ID="L1")
    assert code == 0 and "INCONCLUSIVE (optional) later" in out


def test_a_program_that_fails_is_not_checked(root: Path) -> None:
    made = script(root, "bash", "-c", "exit 7")
    code, out, _ = made.run(LOCAL_JOB_ID="L1")
    assert (code, made.names()) == (7, ["1.L1.fail-7"]) and "gate:" not in out
    assert "gate" not in made.receipt("1.L1.fail-7")


def test_a_criterion_of_an_earlier_attempt_is_not_told_again(root: Path) -> None:
    made = script(root, *write("2.5"))
    made.run(LOCAL_JOB_ID="L1")
    made = script_again(made, "bash", "-c", "exit 78")
    assert made.run(LOCAL_JOB_ID="L2")[0] == 78
    assert "gate" not in made.receipt("1.L2.fail-78")


def script_again(made: Script, *argv: str) -> Script:
    return Script(made.root, *argv, config=made.job.config)


def test_a_check_that_does_not_read_is_bad_input(root: Path) -> None:
    code, _, err = script(root, "true", gate=[{"id": "a", "below": 3}]).run()
    assert code == 65 and "gate[0]: says nothing for what it looks at" in err
    assert "Traceback" not in err


def test_a_stage_that_is_a_gate_has_no_program(root: Path) -> None:
    argv = ("python3", "-m", "ledger.gate", "--config", "jobs/configs/split.yaml")
    made = script(root, *argv, kind="gate")
    (root / "out").mkdir()
    (root / "out/1.json").write_text('{"loss": 3}')
    assert made.run(LOCAL_JOB_ID="L1")[0] == 78
    assert "loss: 3, wanted below 2" in made.receipt("1.L1.fail-78")["gate"]
    assert made.file.read_text().count("ledger.gate") == 1


def test_a_signal_reaches_the_checks(root: Path) -> None:
    made = script(root, *write("1"), runtime=slow_python(root))
    process = made.start(LOCAL_JOB_ID="L1")
    wait_for((root / "checking").exists)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143 and made.names() == ["1.L1.fail-143"]


def test_checks_are_made_after_a_program_that_ended_well_on_a_signal(root: Path) -> None:
    ends = 'trap "exit 0" USR1; touch started; while :; do sleep 0.1; done'
    made = script(root, "bash", "-c", ends, gate=GATE[:1])
    process = made.start(LOCAL_JOB_ID="L1")
    wait_for((root / "started").exists)
    (root / "out").mkdir()
    process.send_signal(signal.SIGUSR1)
    out, _ = process.communicate(timeout=20)
    log = "".join(p.read_text() for p in (root / made.job.log_dir).glob("*.log"))
    assert process.returncode == 0 and made.names() == ["1.L1.ok"]
    assert "gate: PASS there" in out + log


def test_a_closed_gate_ends_a_chain(root: Path) -> None:
    chain = Chain(links=2, notice_s=1, total_s=60)
    made = script(root, *write("2.5"), chain=chain)
    assert made.run(LOCAL_JOB_ID="L1")[0] == 78
    made.file.write_text(render(made.job, link=2, before=("L1",)))
    assert made.run(LOCAL_JOB_ID="L2")[0] == 78
    said = made.receipt("1.L2.fail-78")
    assert said["stopped"] and "link 1 ended with code 78" in said["gate"]
    assert "checks" not in said and made.receipt("1.L1.fail-78")["checks"] == "closed"


def slow_python(root: Path) -> Runtime:
    root.mkdir(parents=True)
    python = root / "slow-python"
    python.write_text("#!/bin/bash\ntouch checking\nexec sleep 60\n")
    python.chmod(0o755)
    return Runtime(python=str(python))


# The whole way: queue, status, why, resubmit.

STUDY = """
study: small
state_dir: jobs/small
arms: {a: {}, b: {}}
parameters: {limits: {loss: 2}}
stages:
  fit:
    {kind: command, arms: all, run: [bash, work.sh, "fit_${arm}", "1"],
     outputs: ["results/small/${arm}.json"],
     gate: [{id: loss, file: "out/loss_${arm}.json", key: loss, below: "${limits.loss}"}]}
  tell: {kind: command, arms: all, needs: [fit], run: [bash, work.sh, "tell_${arm}", "1"]}
  accept:
    {kind: gate, needs: [tell], gate: [
      {id: all, matrix: "out/loss_*.json", order: row-below-row, rows: [a, b], columns: [loss]}]}
expectations:
  - {arm: a, metric: loss, range: [1, 2]}
  - {id: b-of-a, file: out/loss_b.json, key: loss, above: 1}
resources: {gpus: 0, cpus: 1, mem: 100MB, walltime: "00:10:00"}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "a project é"
    made = Project(folder, site_yaml("local", folder), {}, STUDY)
    (folder / "ledger").symlink_to(ROOT / "ledger")
    for arm, loss in (("a", 1.5), ("b", 3)):
        (folder / f"out/loss_{arm}.json").write_text(json.dumps({"loss": loss}))
        (folder / "results/small").mkdir(parents=True, exist_ok=True)
        (folder / f"results/small/{arm}.json").symlink_to(folder / f"out/loss_{arm}.json")
    return made


def test_a_closed_gate_blocks_what_needs_it_and_says_which_criterion(project: Project) -> None:
    out = project.run("run", "--interval", "0.5", code=1)
    assert project.states() == {
        "fit_a": {"completed": "1"}, "fit_b": {"blocked": "1"}, "tell_a": {"completed": "1"},
        "tell_b": {"blocked": "1"}, "accept": {"blocked": "1"},
    }  # fmt: skip
    criterion = "loss: 3, wanted below 2 (out/loss_b.json, loss)"
    assert criterion in " ".join(project.run("why", "fit_b").split())
    assert criterion in " ".join(out.split())
    assert "fit_b (task 1 of 1)" in project.run("why", "tell_b")
    assert criterion in project.run("logs", "fit_b")
    # A closed gate is a finding, no failure: --failed leaves it alone, and says what does not.
    said = project.run("resubmit", "--failed", code=None)
    assert project.ran() == ["fit_a 1", "fit_b 1", "tell_a 1"]
    assert "fit_b" in said and "closed" in said
    # Once what it found is mended, resubmit makes the checks anew, and what it blocked follows.
    (project.root / "out/loss_b.json").write_text('{"loss": 1.9}')
    project.run("resubmit", "fit_b")
    project.wait(lambda s: all(set(tasks) == {"completed"} for tasks in s.values()))
    assert project.ran() == ["fit_a 1", "fit_b 1", "fit_b 1", "tell_a 1", "tell_b 1"]


def test_results_are_judged_by_expectations_and_gates(project: Project) -> None:
    project.run("run", "--interval", "0.5", code=1)
    out = " ".join(project.run("check", "--results", code=1).split())
    assert "fit_b loss FAIL 3 below 2 out/loss_b.json, loss" in out
    assert "b-of-a PASS 3 above 1" in out
    assert "Gates whose checks were not made yet: accept." in out
    found = json.loads(project.run("check", "--results", "--json", code=1).split("\nNo site")[0])
    assert [(one["id"], one["verdict"]) for one in found["expectations"]] == [
        ("a.loss", "PASS"), ("b-of-a", "PASS"),
    ]  # fmt: skip
    assert str(project.root) not in str(found["expectations"]), "paths are the project's own"
    assert [(gate["job"], len(gate["checks"])) for gate in found["gates"]] == [
        ("fit_a", 1), ("fit_b", 1), ("accept", 0),
    ]  # fmt: skip


def test_before_a_run_nothing_is_known(project: Project) -> None:
    for arm in "ab":
        (project.root / f"out/loss_{arm}.json").unlink()
    out = project.run("check", "--results")
    assert "INCONCLUSIVE" in out and "2 INCONCLUSIVE." in out
