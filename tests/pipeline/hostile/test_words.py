"""Every text that a user can type, as a word of shell: refused, or taken as it is, never run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from pipeline import plan, schedulers, site, study
from pipeline.errors import ConfigError
from pipeline.job import Job
from pipeline.render import render
from pipeline.schedulers.base import Submission
from tests.pipeline.hostile.values import SHELL

WORDS = [w for w in SHELL if "\0" not in w]
IDS = [ascii(w) for w in WORDS]
SCHEDULERS = ["slurm", "pbs", "torque", "local"]
SHOW = 'printf "%s\\0" "$@" >"argv.$1"\nenv -0 >environment\n'


class Sandbox:
    """A project folder whose study and site are a test's own, written as JSON, which is YAML."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        (root / "show.sh").write_text(SHOW)

    def jobs(self, study_: dict[str, Any], site_: dict[str, Any], *sets: str) -> tuple[Job, ...]:
        """The jobs of a study of two stages with some keys changed. Raises ConfigError."""
        stages = study_.pop("stages", None) or {"first": {}, "last": {"needs": ["first"]}}
        for name, stage in stages.items():
            run = stage.pop("word", None)
            stages[name] = {
                "kind": "command", "run": ["bash", "show.sh", "1", *([run] if run else [])],
                **stage,
            }  # fmt: skip
        whole = {
            "study": "s", "stages": stages, "parameters": {"own": {"x": "x"}},
            "resources": {"gpus": 0, "cpus": 1, "mem": "100MB", "walltime": "00:10:00"}, **study_,
        }  # fmt: skip
        for stage in stages.values():
            stage.setdefault("reads", ["own"])
        where = {
            "site": "here", "scheduler": "slurm", "project_dir": str(self.root),
            "environments": {"light": {"python": sys.executable}}, **site_,
        }  # fmt: skip
        for name, value in (("s", whole), ("site", where)):
            (self.root / f"{name}.yaml").write_text(json.dumps(value))
        loaded = study.load(self.root / "s.yaml", [*study_.get("profiles", {})], sets)
        return plan.make(loaded, site.load(self.root, str(self.root / "site.yaml"))).jobs

    def run(self, text: str, **env: str) -> subprocess.CompletedProcess[bytes]:
        """What bash does with a script."""
        script = self.root / "script"
        script.write_text(text)
        assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
        return subprocess.run(
            ["bash", str(script)], cwd=self.root, stdin=subprocess.DEVNULL, capture_output=True,
            env={"PATH": os.environ["PATH"], "PIPELINE_GATE_WAIT": "0", **env},
        )  # fmt: skip

    def argv(self) -> list[bytes]:
        return (self.root / "argv.1").read_bytes().split(b"\0")[1:-1]

    def no_canary(self) -> bool:
        found = [name for _, folders, files in os.walk(self.root) for name in (*folders, *files)]
        return "CANARY" not in found


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path / "p")


Slot = Callable[[dict[str, Any], dict[str, Any], str], object]


def first(study_: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = study_.setdefault("stages", {}).setdefault("first", {})
    study_["stages"].setdefault("last", {"needs": ["first"]})
    return found


# Slot -> puts a word there, into a study and a site.
SLOTS: dict[str, Slot] = {
    "run": lambda s, _, w: first(s).update(word=w),
    "parameter": lambda s, _, w: s.update(parameters={"own": {"x": w}}),
    "outputs": lambda s, _, w: first(s).update(outputs=[f"out/{w}", w]),
    "script": lambda s, _, w: first(s).update(script=f"scripts/{w}"),
    "state_dir": lambda s, _, w: s.update(state_dir=f"jobs/{w}"),
    "state_dir itself": lambda s, _, w: s.update(state_dir=w),
    "data_dir": lambda s, _, w: s.update(data_dir=w),
    "log_dir": lambda _, p, w: p.update(log_dir=f"logs/{w}"),
    "env_file": lambda _, p, w: p.update(env_file=w),
    "queue": lambda _, p, w: p.update(defaults={"queue": w}),
    "account": lambda _, p, w: p.update(account=w),
    "network_interface": lambda _, p, w: p.update(network_interface=w),
    "site": lambda _, p, w: p.update(site=w),
    "title": lambda s, _, w: s.update(title=w, question=w, arms={"a": {"title": w}}),
}
NAMES: dict[str, Any] = {
    "study": lambda w: {"study": w},
    "stage": lambda w: {"stages": {w: {}}},
    "arm": lambda w: {"arms": {w: {}}, "stages": {"first": {"arms": "all"}}},
    "alias": lambda w: {"arms": {"a": {"aliases": [w]}}, "stages": {"first": {"arms": "all"}}},
    "profile": lambda w: {"profiles": {w: {}}},
}


@pytest.mark.parametrize("slot", NAMES)
def test_a_name_is_a_name(sandbox: Sandbox, slot: str) -> None:
    for word in [*(w for w in WORDS if not w.isalpha() or not w.isascii()), "", "..", "a/b", "x\n"]:
        with pytest.raises(ConfigError, match=r"s\.yaml: "):
            sandbox.jobs(NAMES[slot](word), {})
    assert sandbox.jobs(NAMES[slot]("Fine-1.2_x"), {})
    assert sandbox.no_canary()


def accepted(sandbox: Sandbox, scheduler: str, word: str, slots: Iterable[str]) -> list[str]:
    """The scripts of a project with a word in some slots; none where it is refused."""
    study_: dict[str, Any] = {}
    where: dict[str, Any] = {"scheduler": scheduler}
    for slot in slots:
        SLOTS[slot](study_, where, word)
    try:
        return [render(job) for job in sandbox.jobs(study_, where)]
    except ConfigError as error:
        assert error.problems
        return []


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_script_with_any_word_in_it_is_one(sandbox: Sandbox, scheduler: str) -> None:
    words = WORDS[SCHEDULERS.index(scheduler) :: 3]
    scripts = [
        text for word in words for slot in SLOTS
        for text in accepted(sandbox, scheduler, word, [slot])
    ]  # fmt: skip
    assert len(scripts) > 6 * len(words)
    whole = "".join(f"f{i}() {{\n{text}\n}}\n" for i, text in enumerate(scripts))
    done = subprocess.run(["bash", "-n"], input=whole.encode(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("word", WORDS, ids=IDS)
def test_a_word_in_all_places_that_take_it_never_runs(sandbox: Sandbox, word: str) -> None:
    slots = [slot for slot in SLOTS if accepted(sandbox, "slurm", word, [slot])]
    assert len(slots) >= 2  # a title, and an argument or a parameter
    if {"state_dir", "state_dir itself"} <= set(slots):
        slots.remove("state_dir")
    scripts = accepted(sandbox, "slurm", word, slots)
    assert scripts
    done = [sandbox.run(text) for text in scripts]
    assert done[0].returncode in (0, 65), done[0].stderr  # 65: a folder taken for the env_file
    assert sandbox.no_canary()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_arguments_arrive_byte_for_byte(sandbox: Sandbox, scheduler: str) -> None:
    words = [*WORDS, "", "{task}", "a{task4}$x", "-{task}"]
    run = ["bash", "show.sh", "1", *words, "${own.x}"]
    value = " ".join(w for w in WORDS if "$" not in w and "{" not in w)
    jobs = sandbox.jobs(
        {"stages": {"first": {"run": [w.replace("${x:=", "$ {x:=").replace("${IFS}", "")
                                      for w in run]}},
         "parameters": {"own": {"x": value}}},
        {"scheduler": scheduler},
    )  # fmt: skip
    done = sandbox.run(render(jobs[0]))
    assert done.returncode == 0, done.stderr
    wanted = [*jobs[0].argv[3:]]
    filled = [w.replace("{task}", "1").replace("{task4}", "0001") for w in wanted]
    assert sandbox.argv() == [w.encode() for w in filled]
    assert filled[-1] == value and len(filled) == len(words) + 1
    assert sandbox.no_canary()


def test_a_set_is_a_value(sandbox: Sandbox) -> None:
    words = [word for word in WORDS if "${" not in word]
    own = {f"x{i}": "" for i in range(len(words))}
    run = ["bash", "show.sh", "1", *(f"${{own.{key}}}" for key in own)]
    sets = [f"own.{key}={json.dumps(w)}" for key, w in zip(own, words, strict=True)]
    study_ = {"parameters": {"own": own}, "stages": {"first": {"run": run}}}
    assert sandbox.run(render(sandbox.jobs(study_, {}, *sets)[0])).returncode == 0
    assert sandbox.argv() == [word.encode() for word in words]
    assert sandbox.no_canary()


@pytest.mark.parametrize("word", WORDS, ids=IDS)
def test_a_project_in_a_folder_of_any_name(tmp_path: Path, word: str) -> None:
    if word in ("-", "--"):
        word += "x"
    sandbox = Sandbox(tmp_path / f"{word} p".replace("/", "_"))
    jobs = sandbox.jobs({}, {"scheduler": "local"})
    try:
        text = render(jobs[0])
    except ConfigError as error:
        assert "control character" in str(error)
        return
    assert sandbox.run(text).returncode == 0
    assert (sandbox.root / "jobs/s/receipts/first").is_dir()
    assert "CANARY" not in os.listdir(tmp_path) and sandbox.no_canary()


@pytest.mark.parametrize("word", WORDS[:16] + WORDS[18:24], ids=IDS[:16] + IDS[18:24])
def test_what_a_scheduler_and_an_env_file_say_is_no_code(sandbox: Sandbox, word: str) -> None:
    """The variables of a job, and the lines of `.env`, whose values arrive as they are."""
    (sandbox.root / ".env").write_text(f"FIRST=x\nOWN_VALUE={word}\n", encoding="utf-8")
    (sandbox.root / ".env").chmod(0o600)
    array = {"first": {"array": {"over": "chunks", "count": 2}}}
    jobs = sandbox.jobs({"stages": array}, {"scheduler": "slurm"})
    env = {
        "SLURM_ARRAY_JOB_ID": word, "PIPELINE_TOKEN": word, "PIPELINE_ATTEMPT": word,
        "HOSTNAME": word, "PIPELINE_GATE_WAIT": word, "TASK": word, "INDEX": word,
        "STATE_DIR": word,
    }  # fmt: skip
    done = sandbox.run(render(jobs[0]), SLURM_ARRAY_TASK_ID="1", **env)
    assert done.returncode == 0, done.stderr
    assert sandbox.run(render(jobs[0]), SLURM_ARRAY_TASK_ID=word, **env).returncode == 65
    own = [v for v in (sandbox.root / "environment").read_bytes().split(b"\0")
           if v.startswith(b"OWN_VALUE=")]  # fmt: skip
    line = word.split("\n")[0]
    if line == line.strip() and "#" not in line and line[:1] not in ("'", '"', ""):
        assert own == [f"OWN_VALUE={line}".encode()]
    for receipt in (sandbox.root / "jobs/s/receipts/first").iterdir():
        assert "/" not in receipt.name and json.loads(receipt.read_bytes())["task"] == 1
    assert sandbox.no_canary()


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("word", ["-rf", "--help", "-", "--", "$(x)", "a b", "x\ny"])
def test_no_word_of_a_scheduler_s_command_is_an_option_by_accident(name: str, word: str) -> None:
    scheduler = schedulers.get(name, "/spool")
    argv = scheduler.submit_argv(Submission(script=word, name="job", token="t1", attempt=1))
    at = argv.index("--") if "--" in argv[:-1] else -1
    assert argv[-1] == word if at == len(argv) - 2 else argv[-1] == f"./{word}" or word[0] != "-"
    assert word not in argv[:-1] or word == "--"
    assert scheduler.owner(word) == ("", 0)
