"""The command as a user runs it: sections, JSON, exit codes, one call for all questions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline import doctor
from pipeline.cli import cli
from pipeline.doctor.check import Check
from pipeline.errors import Unreachable
from pipeline.schedulers.base import Completed
from pipeline.transport import Here
from pipeline.view import site as view
from tests.pipeline.doctored import ROOT, scope

SECTIONS = ["host", "scheduler", "keys", "environments", "data", "checkpoints", "disk", "deep"]


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words), prog_name="pipeline")


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_demo_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    result = invoke("doctor", "--profile", "demo")
    assert result.exit_code in (0, 1), result.output  # packages of this machine decide
    lines = result.output.splitlines()
    titles = [line for line in lines if line in SECTIONS]
    assert titles == [s for s in SECTIONS if s in titles] and "host" in titles
    assert lines[-1].endswith(" well")


def test_json_of_some_stages() -> None:
    result = invoke("doctor", "--profile", "demo", "--json", "split")
    found = json.loads(result.stdout)
    assert all(
        set(check) == {"section", "name", "status", "fact", "remedy", "needed_by"}
        for check in found
    )
    needed = {job for check in found for job in check["needed_by"]}
    assert needed <= {"split"}
    assert not [check for check in found if check["section"] in ("checkpoints", "keys")]


def test_an_unknown_stage() -> None:
    result = invoke("doctor", "--profile", "demo", "splti")
    assert result.exit_code == 2 and "did you mean 'split'" in result.output


def test_without_a_site_no_scheduler_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPELINE_SITE", raising=False)
    if (ROOT / "sites/default.yaml").exists():
        pytest.skip("this checkout has a default site")
    result = invoke("doctor", "benchmarks", "--json")
    found = {c["name"]: c for c in json.loads(result.stdout)}
    assert found["site"]["status"] == "warn" and "command qsub" not in found


class Counting(Here):
    """Counts the round trips."""

    def __init__(self) -> None:
        super().__init__(str(ROOT))
        self.trips = 0

    def run_all(self, argvs: Sequence[Sequence[str]]) -> list[Completed]:
        self.trips += 1
        return super().run_all(argvs)


def test_all_questions_are_one_round_trip() -> None:
    transport = Counting()
    doctor.examine(scope(profiles=("demo",)).plan, transport)
    assert transport.trips == 1


def test_every_question_has_a_time_limit_and_a_key_of_its_own() -> None:
    of = scope("all")
    questions = [q for section in doctor.SECTIONS for q in section.questions(of)]
    assert all(q.argv[0] == "timeout" for q in questions)
    assert len({q.key for q in questions}) == len(questions) > 10


def test_a_host_that_does_not_answer_is_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> list[Completed]:
        raise Unreachable("cluster: no answer. Try again")

    monkeypatch.setattr(Here, "run_all", unreachable)
    result = invoke("doctor", "--profile", "demo")
    assert result.exit_code == 3 and "error: cluster: no answer" in result.output


def test_answers_that_are_all_empty_raise_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheduler in ("pbs", "torque", "slurm", "local"):
        of = scope("all", scheduler=scheduler, log_dir="/logs")
        for code in (0, 1, 124, 127):
            nothing = doctor.Facts(
                {q.key: Completed(q.argv, code, "", "")
                 for section in doctor.SECTIONS for q in section.questions(of)}
            )  # fmt: skip
            found = [c for section in doctor.SECTIONS for c in section.checks(of, nothing)]
            assert doctor.exit_code(found) in (1, 3)


HOSTILE = [
    "\x1b[31mred\x1b[0m|||||||||\n" * 3, "é\u2028|\x00|\n", "{" * 500, "[" * 5000, "|" * 5000,
    '{"nodes": {"\\ud800": {"resources_available": []}}}', "pipeline-doctor {\n",
    "pipeline-doctor {}\n", 'pipeline-doctor {"python": 3, "packages": []}\n',
    'pipeline-doctor {"findings": [{}], "sets": [{}]}\n', "free|" * 9, "9" * 400,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_answers_raise_nothing(text: str) -> None:
    for scheduler in ("pbs", "slurm", "local"):
        of = scope("all", scheduler=scheduler, log_dir="/logs")
        answers = doctor.Facts(
            {q.key: Completed(q.argv, 0, text, text)
             for section in doctor.SECTIONS for q in section.questions(of)}
        )  # fmt: skip
        found = [c for section in doctor.SECTIONS for c in section.checks(of, answers)]
        assert found


@pytest.mark.parametrize(
    ("statuses", "code"),
    [((), 0), (("ok", "warn"), 0), (("ok", "fail"), 1), (("fail", "silent"), 3)],
)
def test_exit_codes(statuses: tuple[doctor.check.Status, ...], code: int) -> None:
    assert doctor.exit_code([Check("host", "x", status, "") for status in statuses]) == code


def test_the_view_shows_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = ("a", "b", "c", "d")
    view.doctor([Check("host", "[red]x", "fail", "[bold] :x:", "do [it]", jobs),
                 Check("keys", "y", "silent", "nothing")], as_json=False)  # fmt: skip
    out = capsys.readouterr().out
    assert "[red]x" in out and "[bold] :x: (for a, b, c and 1 more)" in out and "-> do [it]" in out
    assert "1 to mend before anything is submitted, 1 unknown" in out


def test_scripts_stay_out_of_jobs(tmp_path: Path) -> None:
    of = scope("split", project=tmp_path)
    doctor.examine(of.plan, Here(str(tmp_path)), ("split",))
    assert list(tmp_path.iterdir()) == []
