"""Hours and money: what a plan asks for, what a run has taken, and the budget between them."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from pipeline import limits, plan, quote, retry, site, study
from pipeline.cli import cli
from pipeline.errors import ConfigError, OverBudget
from pipeline.plan import Plan
from pipeline.quote import Quote
from pipeline.site import Charge, Queue, Site
from tests.pipeline.world import World

ROOT = Path(__file__).parents[2]
STUDY = """
study: small
state_dir: jobs/small
stages:
  cut: {kind: command, run: [echo], hours: [1, 2], array: {over: chunks, count: 4},
        resources: {gpus: 0, cpus: 2}}
  fit: {kind: command, run: [echo], needs: [cut], hours: 3, resources: {gpus: 2}}
  tell: {kind: command, run: [echo], needs: [fit], resources: {gpus: 0, walltime: "00:30:00"}}
resources: {gpus: 1, cpus: 8, mem: 1GB, walltime: "10:00:00"}
"""


def planned(folder: Path, text: str = STUDY, where: Site | None = None) -> Plan:
    path = folder / "small.yaml"
    path.write_text(text)
    return plan.make(study.load(path), where or site.reference(ROOT))


def charged(*, queue: Charge | None = None) -> Site:
    base = site.reference(ROOT)
    rich = Charge(node_hour=1, gpu_hour=10, core_hour=0.5, unit="EUR")
    return msgspec.structs.replace(base, charge=rich, queues={"": Queue(charge=queue)})


# --- what a plan asks for


def test_hours_from_one_task_at_a_time_to_all_at_once(tmp_path: Path) -> None:
    made = planned(tmp_path)
    hours = {job.name: quote.task_hours(made, job) for job in made.jobs}
    assert hours == {"cut": (1, 8), "fit": (3, 3), "tell": (0, 0.5)}
    assert [job.name for job in made.jobs if not quote.stated(made, job)] == ["tell"]


@pytest.mark.parametrize(
    ("change", "hours"),
    [
        (("count: 4}", "count: 4, throttle: 2}"), (1, 4)),
        (("count: 4}", "count: 40}"), (1, 80)),
        (("hours: [1, 2]", "hours: [1, 50]"), (1, 40)),  # four tasks of ten hours
    ],
    ids=["throttle", "many", "walltime"],
)
def test_an_array(tmp_path: Path, change: tuple[str, str], hours: tuple[float, float]) -> None:
    made = planned(tmp_path, STUDY.replace(*change))
    assert quote.task_hours(made, made.job("cut")) == hours


def test_hours_and_their_cost(tmp_path: Path) -> None:
    made = planned(tmp_path, where=charged())
    assert quote.of_jobs(made, made.jobs) == Quote(
        gpu_hours=(6, 6), core_hours=(2 + 24, 16 + 24 + 4),
        cost=(4 + 60 + 0.5 * 26, 8 + 3 + 0.5 + 60 + 0.5 * 44),
    )  # fmt: skip


def test_a_queue_may_have_a_price_of_its_own(tmp_path: Path) -> None:
    made = planned(tmp_path, where=charged(queue=Charge(gpu_hour=7)))
    assert quote.of_jobs(made, made.jobs).cost == (42, 42)


def test_a_chain_is_all_its_links(tmp_path: Path) -> None:
    text = (ROOT / "studies/filipino-cpt.yaml").read_text()
    text = text.replace("    hours: [24, 48]\n", "    chain: {links: 5, walltime: '10:00:00'}\n")
    made = planned(tmp_path, text)
    assert quote.task_hours(made, made.job("train_patok")) == (0, 50)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("budget: {gpu_hours: -1}", "gpu_hours is -1. It must be 0 or more"),
        ("budget: {disk: much}", "'much' is no size"),
        ("budget: {gpus: 3}", "budget.gpus: unknown key"),
        ("budget: {cost: .inf}", "cost is inf"),
    ],
)
def test_a_budget_is_checked(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(tmp_path, STUDY + text)
    assert words in str(caught.value)


# --- what a run has taken


def world(folder: Path, budget: str) -> World:
    return World(folder / "project", f"{STUDY}budget: {budget}\n")


def submit(of: World, *stages: str) -> list[str]:
    jobs = of.plan.select(stages)
    return [done.job for done in of.engine.submit(jobs, whole="all" in stages)]


def test_within_the_budget_it_is_submitted(tmp_path: Path) -> None:
    of = world(tmp_path, "{gpu_hours: 6, core_hours: 44}")
    assert submit(of, "all") == ["cut", "fit", "tell"]


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("{gpu_hours: 5.9}", "0 GPU-hours are spent and up to 6 are asked for, which is more than "
         "budget.gpu_hours: 5.9"),
        ("{core_hours: 43}", "0 core-hours are spent and up to 44 are asked for"),
        ("{deadline_hours: 5}", "it may end 5.5 h after the first submission, later than "
         "budget.deadline_hours: 5"),
        ("{disk: 50kB}", "0.00012 GB will be on disk, more than budget.disk: 50kB"),
    ],
    ids=["gpu", "core", "deadline", "disk"],
)  # fmt: skip
def test_beyond_it_nothing_is_submitted(tmp_path: Path, budget: str, words: str) -> None:
    of = world(tmp_path, budget)
    with pytest.raises(OverBudget) as caught:
        submit(of, "all")
    assert words in str(caught.value)
    assert str(caught.value).endswith("insist with --over-budget")
    assert not of.scheduler.submitted
    of.engine.over_budget = True
    assert submit(of, "all") == ["cut", "fit", "tell"]


def test_a_part_that_it_holds_may_go(tmp_path: Path) -> None:
    of = world(tmp_path, "{gpu_hours: 1}")
    assert submit(of, "cut") == ["cut"]
    with pytest.raises(OverBudget):
        submit(of, "fit")


def test_what_is_queued_counts(tmp_path: Path) -> None:
    of = world(tmp_path, "{core_hours: 30}")
    assert submit(of, "cut") == ["cut"]  # up to 16
    with pytest.raises(OverBudget, match="up to 40 are asked for"):
        submit(of, "fit")


def test_what_ended_counts_by_its_receipts(tmp_path: Path) -> None:
    of = world(tmp_path, "{core_hours: 30}")
    submit(of, "cut")
    for task in range(1, 5):  # a quarter of an hour each, on two cores
        of.receipt("cut", task, f"F1_{task}", "ok", start=1000, end=1900)
    of.receipt("cut", 1, "F0_1", "fail-1", at=1.0, start=0, end=3600)  # an earlier attempt
    of.scheduler.jobs.clear()
    with pytest.raises(OverBudget, match=r"^4 core-hours are spent and up to 28 are asked for"):
        submit(of, "all")
    assert quote.spent(of.plan, of.root, of.engine.status()) == {"cut": 2.0}


def test_a_receipt_that_says_nothing_of_time_counts_nothing(tmp_path: Path) -> None:
    of = world(tmp_path, "{core_hours: 30}")
    of.receipt("cut", 1, "F0_1", "fail-1")
    of.receipt("cut", 2, "F0_2", "fail-1", start=time.time() + 1000, end=5)
    of.receipt("cut", 3, "F0_3", "fail-1", start=0, end=10**9)  # no task runs for years
    assert quote.spent(of.plan, of.root, of.engine.status()) == {"cut": pytest.approx(11.0)}


def test_a_retry_is_no_way_round_it(tmp_path: Path) -> None:
    of = world(tmp_path, "{gpu_hours: 9}")
    submit(of, "cut")
    of.finish("cut")
    submit(of, "fit")
    of.receipt("fit", 1, "F2", "fail-1", start=0, end=2 * 3600)
    of.scheduler.jobs.clear()
    with pytest.raises(OverBudget, match="4 GPU-hours are spent and up to 6 are asked for"):
        of.engine.retry({"fit": [1]})


def test_run_says_so_when_the_rest_is_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = world(tmp_path, "{gpu_hours: 1}")
    monkeypatch.setattr(limits, "limited", lambda _: True)
    with pytest.raises(OverBudget):
        retry.Retries(of.engine, 0).act(of.engine.status())


def test_without_a_budget_no_receipt_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = World(tmp_path / "project", STUDY)
    monkeypatch.delattr(quote, "account")
    assert submit(of, "all") == ["cut", "fit", "tell"]


# --- the command


def test_plan_holds_itself_against_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(STUDY + "budget: {gpu_hours: 5, core_hours: 30, cost: 9, deadline_hours: 9}\n")
    monkeypatch.chdir(ROOT)
    where = tmp_path / "mine.yaml"
    text = "site: mine\nscheduler: slurm\ncharge: {gpu_hour: 2, unit: EUR}\nproject_dir: /p\n"
    where.write_text(text + "environments: {light: {}, hf: {}}\n")
    result = CliRunner().invoke(cli, ["plan", "--study", str(path), "--site", str(where)])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert "GPU-hours: 6, more than the budget's 5" in lines
    assert "core-hours: 26-44, maybe more than the budget's 30" in lines
    assert "cost in EUR: 12 (2 a GPU-hour), more than the budget's 9" in lines
    assert "deadline: 4-5 h, within the budget's 9" in lines
    assert "no hours are stated for tell: 0 at the low end, their walltime at the high end" in lines
