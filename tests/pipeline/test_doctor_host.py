"""The host: shell, tools, folders, mounts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.doctor import host
from pipeline.doctor.check import Facts, Scope
from pipeline.site import Environment
from tests.pipeline.doctored import asked, bad, by_name, facts, scope

TOOLS = "\n".join((*host.TOOLS, "qsub", "qstat", "qdel", "pbsnodes"))


def paths(of: Scope, **changed: str) -> str:
    """The answer to the look at all paths: all well, but for what `changed` says of them."""
    lines = ["1000"]
    for path in host._paths(of):
        name = path.rsplit("/", 1)[-1]
        lines.append(changed.get(name.lstrip("."), "755|1000|4096|directory|yes"))
    return "\n".join(lines)


def well(of: Scope, **changed: str) -> Facts:
    answers = {"bash": "5.1.16(1)-release\n", "tools": TOOLS, "paths": paths(of)}
    return facts(**(answers | changed))


def test_a_host_as_it_should_be() -> None:
    of = scope()
    assert bad(host.checks(of, well(of))) == []


@pytest.mark.parametrize(
    ("answer", "status"),
    [("4.2.46(2)-release", "ok"), ("4.1.2(1)-release", "fail"), ("3.2.57", "fail"), ("", "fail"),
     ("bash: warning: setlocale", "fail"), ("10.0.1", "ok")],
)  # fmt: skip
def test_bash_of_an_age(answer: str, status: str) -> None:
    of = scope()
    assert by_name(host.checks(of, well(of, bash=answer)))["bash"].status == status


def test_tools_and_commands_that_are_not_on_path() -> None:
    of = scope()
    missing = TOOLS.replace("sync", "").replace("qstat", "")
    found = by_name(host.checks(of, well(of, tools=missing)))
    assert found["tools"].fact == "not on PATH: sync" and found["tools"].status == "fail"
    assert found["command qstat"].status == "fail" and found["command qsub"].status == "ok"


def test_without_a_site_no_schedulers_command_is_wanted() -> None:
    of = scope()
    of = Scope(of.plan, of.jobs, reference=True)
    names = by_name(host.checks(of, well(of, tools="\n".join(host.TOOLS))))
    assert not [name for name in names if name.startswith("command")]


@pytest.mark.parametrize(
    ("name", "answer", "check", "status"),
    [
        ("main", "|||missing|no", "project_dir", "fail"),
        ("main", "644|1000|4|regular file|yes", "project_dir", "fail"),
        ("corpus", "|||missing|no", "project_dir", "fail"),
        ("main", "755|0|4096|directory|no", "project_dir writable", "fail"),
        ("jobs", "755|0|4096|directory|no", "state_dir writable", "fail"),
        ("jobs", "|||missing|yes", "state_dir writable", "ok"),
        ("logs", "644|1000|4|regular file|yes", "log_dir writable", "fail"),
    ],
)  # fmt: skip
def test_folders(name: str, answer: str, check: str, status: str) -> None:
    of = scope(project=Path("/srv/main"))
    found = by_name(host.checks(of, well(of, paths=paths(of, **{name: answer}))))
    assert found[check].status == status


def test_a_folder_that_every_node_has_for_itself() -> None:
    of = scope(log_dir="/tmp/logs")
    found = by_name(host.checks(of, well(of)))
    assert found["log_dir shared"].status == "warn"
    of = scope(log_dir="/tmpfiles/logs")
    assert "log_dir shared" not in by_name(host.checks(of, well(of)))


def test_mounts_are_told_where_a_container_runs() -> None:
    nemo, other = Environment(container="enroot", image="x"), Environment()
    of = scope("train", environments={"light": other, "hf": other, "nemo": nemo})
    found = by_name(host.checks(of, well(of)))
    assert found["mount /workspace"].needed_by[0] == "train_vanilla"
    assert not [n for n in by_name(host.checks(scope(), well(of))) if n.startswith("mount")]


def test_it_is_asked_for_real_with_hostile_names(tmp_path: Path) -> None:
    project = tmp_path / "a b'c\"$(touch x)|y"
    for part in host.PARTS:
        (project / part).mkdir(parents=True)
    of = scope(project=project, scheduler="local", env_file="-rf .env")
    (project / "-rf .env").write_text("")
    (project / "-rf .env").chmod(0o640)
    answers = asked(host.questions(of), tmp_path)
    assert bad(host.checks(of, answers)) == []
    seen = host.places(of, answers)
    assert seen[f"{project}/-rf .env"]["mode"] == "640"
    assert host.user(answers) == str(os.getuid())
    assert not list(tmp_path.glob("**/x"))
