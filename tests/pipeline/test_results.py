"""What `report` and `compare` hand to the evaluation package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline import results, site, study, yamlio
from pipeline.cli import cli
from pipeline.errors import StateError
from tests.pipeline.clusters import site_yaml

ROOT = Path(__file__).parents[2]
MAIN = ROOT / "studies/filipino-cpt.yaml"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Commands that were run, none of them really; in a project of links."""
    for name in ("studies", "job_templates", "sites"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    found: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        found.append(command)
        assert options["cwd"] == str(tmp_path)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr("subprocess.run", run)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    return found


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words), prog_name="pipeline")


def test_report_hands_over_every_arm_with_its_results(ran: list[list[str]], tmp_path: Path) -> None:
    result = invoke("report", "--profile", "demo", "--output", "elsewhere")
    assert result.exit_code == 1, "the program's own code"
    path = "jobs/filipino-cpt@demo/reports/report.yaml"
    words = ["--config", path, "--output", str(tmp_path / "elsewhere")]
    assert ran == [[sys.executable, "-m", "evaluation.analyze", *words]]
    told = yamlio.load(tmp_path / path)
    assert told["arms"]["vanilla"]["outputs"][-1] == (
        "results/filipino-cpt@demo/gemma3-1b-baseline/metrics.json"
    )
    assert (
        "jobs/filipino-cpt@demo/logs/checkpoints/gemma3-1b-patok"
        in told["arms"]["patok"]["outputs"]
    )
    assert told["report"]["question"].startswith("Can tokenisation")
    assert told["report"]["decisions"] == "decisions.md"
    assert "decay to the minimum" in (tmp_path / "elsewhere/decisions.md").read_text()
    assert told["job"]["profiles"] == ["demo"] and len(told["expectations"]) == 6


@pytest.mark.parametrize("name", ["socratic-t5", "efcamdat-ilm", "marco-lora", "wiki-curriculum"])
def test_report_takes_every_study(name: str, ran: list[list[str]], tmp_path: Path) -> None:
    invoke("report", "--study", name)
    (command,) = ran
    told = yamlio.load(tmp_path / command[command.index("--config") + 1])
    assert told["job"]["study"] == name and told["arms"]


def test_the_paper_s_rows_go_with_their_study(ran: list[list[str]], tmp_path: Path) -> None:
    invoke("report", "--study", "socratic-t5")
    told = yamlio.load(tmp_path / ran[0][ran[0].index("--config") + 1])["report"]
    assert told["external"]["T5-p"] == {"rougeL": 0.211, "bertscore": 0.632, "bleu4": 0.017}
    assert told["baseline"] == "t5-base"


def test_an_array_s_outputs_are_a_pattern(ran: list[list[str]], tmp_path: Path) -> None:
    invoke("report", "--study", "efcamdat-ilm")
    told = yamlio.load(tmp_path / ran[0][ran[0].index("--config") + 1])
    assert told["arms"]["C1"]["outputs"][-1] == "results/efcamdat-ilm/C1/perplexity_*.json"


def test_compare_hands_over_two_runs_of_any_study_and_profile(
    ran: list[list[str]], tmp_path: Path
) -> None:
    result = invoke("compare", "baseline", "filipino-cpt@demo:patok", "--json")
    assert result.exit_code == 1
    words = ["--config", "jobs/reports/compare.yaml", "--json"]
    assert ran == [[sys.executable, "-m", "evaluation.compare", *words]]
    one, other = yamlio.load(tmp_path / "jobs/reports/compare.yaml")["sides"]
    assert (one["arm"], other["arm"]) == ("vanilla", "patok")
    assert (one["paths"]["results"], other["paths"]["results"]) == (
        "results", "results/filipino-cpt@demo",
    )  # fmt: skip


def test_a_study_without_arms_is_compared_by_its_name(ran: list[list[str]], tmp_path: Path) -> None:
    assert invoke("compare", "marco-lora", "marco-lora@l4+conservative").exit_code == 1
    (command,) = ran
    one, other = yamlio.load(tmp_path / command[command.index("--config") + 1])["sides"]
    assert one["arm"] == other["arm"] == "marco-lora"
    rates = [side["arms"]["marco-lora"]["parameters"]["optimizer"]["lr"] for side in (one, other)]
    assert rates == [2e-4, 1e-4]
    assert "no arm is called 'l4'" in invoke("compare", "marco-lora:l4", "marco-lora").output
    assert len(ran) == 1


def test_a_run_that_is_none_is_a_user_s_mistake(ran: list[list[str]]) -> None:
    assert "did you mean 'patok'" in invoke("compare", "vanilla", "pato").output
    assert "did you mean 'filipino-cpt'" in invoke("compare", "vanilla", "filipino:patok").output
    assert not ran


def test_what_is_on_a_host_is_brought_by_hand(tmp_path: Path) -> None:
    """Its receipts and logs come by themselves, results do not: the commands are told."""
    raw = yamlio.parse(site_yaml("slurm", tmp_path), "s")
    raw |= {"host": "far", "project_dir": "/work/p", "log_dir": "/scratch/l"}
    there = site.read(raw, "s", tmp_path)
    loaded = study.load(MAIN, ("demo",))
    with pytest.raises(StateError) as caught:
        results.configuration(loaded, there, tmp_path)
    told = str(caught.value)
    assert "rsync -a far:/work/p/results/filipino-cpt@demo/ results/filipino-cpt@demo/" in told
    assert "far:/scratch/l/filipino-cpt@demo/" in told
    here = tmp_path / "results/filipino-cpt@demo/gemma3-1b-patok"
    here.mkdir(parents=True)
    (here / "metrics.json").write_text("{}")
    config = results.configuration(loaded, there, tmp_path)
    assert (
        "jobs/filipino-cpt@demo/host/scratch/l/filipino-cpt@demo/checkpoints/gemma3-1b-patok"
        in config["arms"]["patok"]["outputs"]
    )
