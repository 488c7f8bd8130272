"""A study of another domain is one YAML file: every command takes it from there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from tests.pipeline.clusters import ROOT, site_yaml

JOBS = {"observe": 4, "fit_flat": 1, "fit_daily": 1, "fit_moon": 1, "accept": 1, "best": 1}
SCHEDULERS = [
    ("example-pbs", ".pbs", "#PBS -J 1-4%2"),
    ("example-slurm", ".sbatch", "#SBATCH --array=1-4%2"),
]


def run(*words: str, code: int = 0) -> str:
    """What a `pipeline` command prints, here."""
    result = CliRunner().invoke(cli, list(words))
    assert result.exit_code == code, f"{words}: exit {result.exit_code}\n{result.output}"
    return result.output


def states() -> dict[str, dict[str, str]]:
    """Job -> state -> ranges of tasks."""
    result = CliRunner().invoke(cli, ["status", "--json"])
    return {job["name"]: job["tasks"] for job in json.loads(result.stdout)["jobs"]}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project that holds this study and the example sites, and of programs only `ledger`."""
    root = tmp_path_factory.mktemp("harbour") / "a project"
    (root / "studies").mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("sixth.yaml"), root / "studies/tides.yaml")
    (root / "job_templates").symlink_to(ROOT / "job_templates")
    shutil.copytree(ROOT / "ledger", root / "ledger")
    shutil.copytree(ROOT / "sites", root / "sites", ignore=shutil.ignore_patterns("default.yaml"))
    (root / "sites/default.yaml").write_text(site_yaml("local", root))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("PIPELINE_STUDY", "tides")
        patch.setenv("PYTHONPATH", str(ROOT))
        yield root


@pytest.fixture(scope="module")
def failed(project: Path) -> dict[str, dict[str, str]]:
    """The states after a run in which the third month was lost."""
    (project / "storm_3").touch()
    run("run", "--interval", "0.2", code=1)
    return states()


@pytest.fixture(scope="module")
def done(project: Path, failed: dict[str, dict[str, str]]) -> str:
    """The run after its failure was mended; what `resubmit` said."""
    (project / "storm_3").unlink()
    said = run("resubmit", "--failed")
    run("run", "--interval", "0.2")
    return said


def test_it_plans_and_checks(project: Path) -> None:
    told = json.loads(run("plan", "--json", "--site", "example-pbs"))
    assert {job["name"]: job["tasks"] for job in told["jobs"]} == JOBS
    assert told["figures"]
    assert "holds together" in run("check")
    checked = json.loads(run("check", "--claims", "--json", "--site", "example-pbs"))
    assert checked["arms_differ_in"] == ["curve.period_h"]
    assert {claim["id"]: claim["verdict"] for claim in checked["claims"]} == {
        "readings": "holds", "turns": "rounds", "range": "contradicts",
    }  # fmt: skip


@pytest.mark.parametrize(("site", "extension", "array"), SCHEDULERS, ids=["pbs", "slurm"])
def test_it_renders_for_both_schedulers(
    project: Path, site: str, extension: str, array: str
) -> None:
    scripts = run("render", "--site", site).split("\n")[:-1]
    assert len(scripts) == len(JOBS) and all(path.endswith(extension) for path in scripts)
    for path in scripts:
        subprocess.run(["bash", "-n", path], check=True)
    assert f"\n{array}\n" in Path(f"jobs/tides/scripts/observe{extension}").read_text()


def test_a_lost_month_fails_its_own_task_and_blocks_what_needs_it(
    failed: dict[str, dict[str, str]],
) -> None:
    assert failed["observe"] == {"completed": "1-2,4", "failed": "3"}
    assert all(failed[job] == {"blocked": "1"} for job in JOBS if job != "observe")


def test_why_and_logs_tell_of_the_storm(failed: dict[str, dict[str, str]]) -> None:
    why = run("why", "observe", "3")
    assert "exit code 9" in why and "the gauge of month 3 was lost in a storm" in why
    assert "observe" in run("why", "fit_moon")
    assert "was lost in a storm" in run("logs", "observe", "--failed")


def test_only_what_failed_was_run_again_and_all_is_done(project: Path, done: str) -> None:
    assert [line.split()[1] for line in done.splitlines()][:1] == ["observe"]
    assert all(set(tasks) == {"completed"} for tasks in states().values())
    receipts = (project / "jobs/tides/receipts/observe").glob("*.ok")
    once = sorted(path.name.split(".")[0] for path in receipts)
    assert once == ["1", "2", "3", "4"], "every month was observed once"


def test_the_moon_wins(project: Path, done: str) -> None:
    rows = [line.split("\t") for line in Path("results/tides/ranking.tsv").read_text().splitlines()]
    assert rows[0][1] == "moon"
    found = json.loads(Path("results/tides/moon/fit.json").read_text())
    assert found["n"] == 960
    assert found["amplitude"] == pytest.approx(1.5, abs=0.05)
    assert found["rmse"] == pytest.approx(0.3 / 3**0.5, abs=0.02)  # of uniform noise


def test_the_report_shows_it_and_brings_the_decisions(project: Path, done: str) -> None:
    out = run_outside("report")
    assert "moon" in out and "rmse" in out
    text = Path("results/tides/comparison.md").read_text()
    assert "The tide at a quay" in text and "(decisions.md)" in text
    decisions = Path("results/tides/decisions.md").read_text()
    assert "- In place of: the notes' normal noise" in decisions
    assert "| `quay.noise_m` | `0.3` | `0.05` | the first gauge stood in the wind |" in decisions
    assert "it is 3 m; the notes add the waves" in decisions


def run_outside(*words: str) -> str:
    """A command as a process: what its own programs print is not the runner's to catch."""
    argv = [sys.executable, "-m", "pipeline", *words]
    finished = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_a_profile_is_a_run_of_its_own_with_the_name_of_its_revision(project: Path) -> None:
    assert "quay.noise_m  0.3 -> 0.05" in run("diff", "study", "calm")
    run("run", "--interval", "0.2", "--profile", "calm", "--profile", "demo")
    found = json.loads(Path("results/tides@calm+demo/moon/fit.json").read_text())
    assert found["n"] == 120 and found["rmse"] < 0.05


def test_its_bundle_gives_the_same_results_without_pipeline(
    project: Path, done: str, tmp_path: Path
) -> None:
    run("export", "--output", str(tmp_path / "b.tar.gz"))
    with tarfile.open(tmp_path / "b.tar.gz") as tar:
        tar.extractall(tmp_path, filter="data")
        programs = {name.split("/")[1] for name in tar.getnames() if name.endswith(".py")}
    assert programs == {"ledger"}, "for the gates"
    assert (tmp_path / "tides/requirements.txt").read_text() == "pyyaml>=6.0\n"
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIPELINE"))}
    folder = tmp_path / "tides"
    subprocess.run(["bash", "submit_all.sh"], cwd=folder, env=env, check=True, capture_output=True)
    for name in ("ranking.tsv", "moon/fit.json"):
        theirs, ours = (place / "results/tides" / name for place in (folder, project))
        assert theirs.read_bytes() == ours.read_bytes()
