"""Keys that are planted in the environment and in `.env` show up nowhere."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import plan, render, secret, site, study
from pipeline.errors import ConfigError
from pipeline.job import Runtime
from tests.golden.cases import make_job
from tests.pipeline.clusters import Project, site_yaml

NAMES = [
    "HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "MY_PASSWORD", "DB_PASSWD", "MYSQL_PWD",
    "GITHUB_PAT", "SSH_PASSPHRASE", "GOOGLE_CREDENTIALS", "NPM_AUTH", "hub_token", "CONDA_TOKEN",
    "WANDB_PW", "HF_PAT",
]  # fmt: skip
SECRETS = {name: f"{name.lower()[:3]}$(x)'\"planted{i:02d}" for i, name in enumerate(NAMES)}
PROXY = {"https_proxy": "http://user:proxy-planted99@proxy.example:3128"}
ALL = [*SECRETS.values(), "proxy-planted99", "dotenv-planted77", "planted"]


class Watch(threading.Thread):
    """Reads the argv of every process until it is told to end."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            for entry in os.listdir("/proc"):
                try:
                    self.seen.add(Path(f"/proc/{entry}/cmdline").read_bytes())
                except OSError:
                    continue
            time.sleep(0.02)


@pytest.fixture
def watch() -> Iterator[Watch]:
    found = Watch()
    found.start()
    yield found
    found.over.set()
    found.join()


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*") if p.is_file() and not p.is_symlink() and p.name != ".env"
    }  # fmt: skip


def test_a_whole_run_shows_no_secret(tmp_path: Path, watch: Watch) -> None:
    """All commands, over a run with failing and passing tasks, in a folder with a hostile name."""
    folder = tmp_path / 'it\'s $(touch CANARY) "x" é -rf'
    project = Project(folder, site_yaml("local", folder), {**SECRETS, **PROXY, "PIPELINE_X": "x"})
    (folder / ".env").write_text("HF_TOKEN=dotenv-planted77\nOWN_SECRET='dotenv-planted77'\n")
    (folder / ".env").chmod(0o600)
    project.control("exit_cut_a_2", "71")
    project.control("exit_make_1", "1")
    said = project.run("submit", "all")
    project.wait(lambda s: "running" not in str(s) and "queued" not in str(s))
    (folder / "control/exit_make_1").unlink()
    said += project.run("resubmit", "--failed")
    project.wait(lambda s: "running" not in str(s) and "queued" not in str(s))
    for words in (
        ["plan"], ["plan", "--json"], ["check"], ["check", "--json"], ["render"],
        ["render", "--diff"], ["status"], ["status", "--json"], ["status", "cut_a", "--json"],
        ["why", "cut_a"], ["why", "cut_a", "--json"], ["why", "make", "--json"], ["logs", "cut_a"],
        ["resubmit", "--failed", "--dry-run"], ["sites"], ["sites", "default"],
        ["doctor"], ["doctor", "--json"], ["submit", "all", "--dry-run"], ["cancel", "--all"],
    ):  # fmt: skip
        said += project.run(*words, code=None)
    (folder / "jobs/small/manifest.yaml").write_text("{")
    said += project.run("status", code=2) + project.run("repair")
    for value in ALL:
        assert value not in said
        for name, content in files(folder).items():
            assert value.encode() not in content, name
            assert json.dumps(value)[1:-1].encode() not in content, name
        assert not [argv for argv in watch.seen if value.encode() in argv]
    assert any(b"localq" in argv for argv in watch.seen)
    assert not list(tmp_path.rglob("CANARY"))


def test_a_traceback_shows_no_secret(tmp_path: Path) -> None:
    """An error of the program's own, in the middle of a command that has read all keys."""
    project = Project(tmp_path / "p", site_yaml("local", tmp_path / "p"), SECRETS)
    (tmp_path / "p/sitecustomize.py").write_text(
        "from pipeline import yamlio\n"
        "def broken(*a, **k): raise ZeroDivisionError('broken')\n"
        "yamlio.write_atomic = broken\n"
    )
    project.env["PYTHONPATH"] = f"{tmp_path / 'p'}:{project.env['PYTHONPATH']}"
    out, err = project.start("render").communicate()
    assert "ZeroDivisionError" in err
    assert not [value for value in ALL if value in out + err]


@pytest.mark.parametrize("container", ["", "enroot", "apptainer"])
@pytest.mark.parametrize("env_file", [".env", ""])
def test_bash_x_shows_no_secret(tmp_path: Path, container: str, env_file: str) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("enroot", "apptainer"):
        (programs / name).write_text("#!/bin/bash\n[[ $1 != list ]] || echo image\n")
        (programs / name).chmod(0o755)
    root = tmp_path / "p"
    root.mkdir()
    (root / ".env").write_text("".join(f"{k}={v}\n" for k, v in SECRETS.items()))
    (root / ".env").chmod(0o600)
    (root / "image").touch()
    job = make_job(
        scheduler="local", project_dir=str(root), log_dir="logs", site_log_dir=str(tmp_path / "l"),
        env_file=env_file, argv=("true",),
        runtime=Runtime(container=container, image="image", activate=("set -x",)),
    )  # fmt: skip
    (root / "s.sh").write_text(render.render(job))
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "HOSTNAME": "n", **SECRETS}
    done = subprocess.run(
        ["bash", "-x", str(root / "s.sh")], cwd=root, env=env, capture_output=True, text=True
    )
    assert "+ mkdir" in done.stderr
    said = done.stdout + done.stderr + b"".join(files(root).values()).decode()
    assert not [value for value in ALL if value in said]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_value_in_a_study_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, place: str
) -> None:
    value = SECRETS[name]
    if place == "environment":
        monkeypatch.setenv(name, value)
    else:
        (tmp_path / ".env").write_text(f"export {name}={value}\n")
    for changes in (
        {"argv": ("run", f"--key={value}")}, {"config": {"parameters": {"own": {"x": value}}}},
        {"config": {value: 1}}, {"config": {"a": [{"b": f"x{value}x"}]}}, {"outputs": (value,)},
        {"directives": (f"--comment={value}",)},
    ):  # fmt: skip
        job = make_job(project_dir=str(tmp_path), **changes)
        with pytest.raises(ConfigError, match=f"the value of {name}") as error:
            render.render(job)
        assert "planted" not in str(error.value)
    assert render.render(make_job(project_dir=str(tmp_path)))


def test_a_number_and_a_proxy_s_password_are_values_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOM_KEY", "1234567890")
    monkeypatch.setenv("https_proxy", PROXY["https_proxy"])
    for value, name in ((1234567890, "ROOM_KEY"), ("x proxy-planted99", "https_proxy")):
        with pytest.raises(ConfigError, match=f"the value of {name} would stand"):
            render.render(make_job(config={"parameters": {"own": value}}))


@pytest.mark.parametrize(
    "name", ["TOKENIZERS_PARALLELISM", "KEYBOARD", "XAUTHORITY", "PATH", "OLDPWD", "PASSENGER"]
)
def test_what_only_sounds_like_a_secret_is_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/scratch/me")
    assert render.render(make_job())


@pytest.mark.parametrize("command", ["plan", "check", "render"])
def test_a_set_with_a_secret_is_refused_before_it_is_shown(tmp_path: Path, command: str) -> None:
    folder = tmp_path / "p"
    project = Project(folder, site_yaml("local", folder), SECRETS)
    study_ = folder / "studies/small.yaml"
    study_.write_text(study_.read_text() + "parameters: {own: {x: y}}\n")
    study_.write_text(study_.read_text().replace('make, "1"]}', 'make, "1", "${own.x}"]}'))
    said = project.run(command, "--set", f"own.x={json.dumps(SECRETS['HF_TOKEN'])}", code=2)
    assert "the value of HF_TOKEN" in said and "planted" not in said
    assert not [n for n, content in files(folder).items() if b"planted" in content]


def test_every_shipped_study_goes_with_keys_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The check is no obstacle: no word of a real study is taken for a key."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    root = Path(__file__).parents[3]
    made = plan.make(
        study.load(root / "studies/filipino-cpt.yaml"), site.load(root, "example-slurm")
    )
    secret.refuse(made.jobs)
