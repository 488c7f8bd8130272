"""Scripts as text: golden files, what is refused, quoting, digests, the shell entry points."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.job import Job, Resources, Runtime
from pipeline.render import TEMPLATES, argv_lines, extension, render, script_digest
from tests.draws import draws
from tests.golden.cases import CASES, HERE, Case, array_job, make_job, train_job
from tests.require import require

ROOT = Path(__file__).parents[2]
HOSTILE = """a b"c'd$(touch pwned)`x`;&|*?[1]{a,b}~#!\\é=,"""


def shellcheck(*files: Path, exclude: str = "") -> None:
    require("shellcheck", shutil.which("shellcheck") is not None, "shellcheck is not installed")
    done = subprocess.run(
        ["shellcheck", "-x", f"-P{ROOT}", "--format=gcc", f"--exclude={exclude}", *map(str, files)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.path.name)
def test_script_is_the_golden_one(case: Case) -> None:
    text = case.render()
    assert text == case.path.read_text(), "read the difference, then tests/golden/update.py"


def test_every_golden_file_has_its_case() -> None:
    kept = {p for p in HERE.iterdir() if p.suffix in (".pbs", ".torque", ".sbatch", ".sh")}
    assert kept == {case.path for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.path.name)
def test_golden_scripts_pass_shellcheck(case: Case) -> None:
    shellcheck(case.path)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.path.name)
def test_golden_scripts_parse(case: Case) -> None:
    subprocess.run(["bash", "-n", str(case.path)], check=True)


def test_shell_entry_points_pass_shellcheck() -> None:
    shellcheck(ROOT / "run_in_enroot.sh", TEMPLATES / "setup_jobs.sh")


def test_hostile_values_pass_shellcheck(tmp_path: Path) -> None:
    job = array_job(
        scheduler="local", project_dir=f"/{HOSTILE}",
        argv=("prog", HOSTILE, "-", "", "[0]=x", "ls"),
        env_file=f"-{HOSTILE}", state_dir=f"-{HOSTILE}", directives=(),
    )  # fmt: skip
    file = tmp_path / "x.sh"
    file.write_text(render(job))
    shellcheck(file, exclude="SC2016,SC2089,SC2090")  # these doubt the values, not the script


@draws(30)
@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), min_size=1))
def test_bash_reads_argv_back(argv: list[str]) -> None:
    argv = [word.replace("{task", "") for word in argv]
    script = "\n".join(["words=(", *argv_lines(argv), ")", "printf '%s\\0' \"${words[@]}\""])
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == argv


def test_task_number_stands_in_for_its_word() -> None:
    assert argv_lines(["p", "--task", "{task}", "a b_{task4}.idx"]) == [
        "p", '--task "$TASK"', "'a b_'\"$TASK4\".idx",
    ]  # fmt: skip


@pytest.mark.parametrize("scheduler", ["pbs", "slurm"])
def test_body_is_the_same_for_all_schedulers_but_for_identity(scheduler: str) -> None:
    def body(name: str) -> str:
        text = render(array_job(scheduler=name)).split("# --- 1. Identity")[1]
        return text.split("TASK=$INDEX\n")[1]

    assert body(scheduler) == body("local")


# --- attempts


def test_an_attempt_over_one_task_is_a_plain_script() -> None:
    text = render(array_job(), attempt_tasks=[7])
    assert "\nTASK=7\n" in text
    assert "#PBS -J" not in text


def test_an_attempt_over_all_tasks_is_the_whole_job() -> None:
    assert render(array_job(), attempt_tasks=range(1, 21)) == render(array_job())


def test_an_attempt_over_many_tasks_holds_them_all() -> None:
    job = array_job(tasks=10000)
    text = render(job, attempt_tasks=range(2, 10001))
    words = text.split("is this task\n")[1].split(")")[0].split()
    assert [int(w) for w in words] == list(range(2, 10001))
    assert max(map(len, text.splitlines())) < 400


@pytest.mark.parametrize("tasks", [[], [0], [21], [3, 3]], ids=["none", "zero", "beyond", "twice"])
def test_an_attempt_over_tasks_that_are_not_there_is_refused(tasks: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"preprocess_patok: its tasks are 1-20"):
        render(array_job(), attempt_tasks=tasks)


# --- digests


def test_digest_is_in_the_script_and_the_same_for_attempts() -> None:
    digest = script_digest(array_job())
    for tasks in (None, [7], [3, 7]):
        assert f"DIGEST={digest}\n" in render(array_job(), attempt_tasks=tasks)


def test_digest_leaves_directives_out() -> None:
    changed = array_job(queue="other", account="x", throttle=1, directives=("-l place=excl",))
    assert script_digest(changed) == script_digest(array_job())


@pytest.mark.parametrize(
    "changes",
    [{"config": {"seed": 43}}, {"argv": ("true",)}, {"upstream": ()}],
    ids=lambda c: next(iter(c)),
)
def test_digest_changes_with_what_is_done(changes: dict[str, object]) -> None:
    assert script_digest(array_job(**changes)) != script_digest(array_job())


# --- what is refused


def own_templates(tmp_path: Path, change: Callable[[str], str]) -> Path:
    folder = tmp_path / "templates"
    shutil.copytree(TEMPLATES, folder)
    default = folder / "stages" / "default.sh.j2"
    default.write_text(change(default.read_text()))
    return folder


def test_an_undefined_variable_is_named_with_its_template(tmp_path: Path) -> None:
    folder = own_templates(tmp_path, lambda text: "{{ jbo.name }}\n" + text)
    with pytest.raises(ConfigError, match=r"stages/default\.sh\.j2:1: 'jbo' is undefined"):
        render(make_job(), templates=folder)


def test_an_undefined_field_is_named(tmp_path: Path) -> None:
    folder = own_templates(tmp_path, lambda text: text + "{{ job.walltime }}\n")
    with pytest.raises(ConfigError, match=r"default\.sh\.j2:\d+: .*'walltime'"):
        render(make_job(), templates=folder)


def test_a_broken_template_is_named_with_its_line(tmp_path: Path) -> None:
    folder = own_templates(tmp_path, lambda text: "\n{% if %}\n" + text)
    with pytest.raises(ConfigError, match=r"default\.sh\.j2:2: "):
        render(make_job(), templates=folder)


def test_a_launcher_without_a_template_is_named() -> None:
    with pytest.raises(ConfigError, match=r"launchers/mpi\.sh\.j2: there is no such template"):
        render(make_job(launcher="mpi"))


def test_a_template_from_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    folder = own_templates(tmp_path, lambda text: "{% include '../outside' %}\n" + text)
    with pytest.raises(ConfigError, match="no such template"):
        render(make_job(), templates=folder)


def test_a_placeholder_is_refused() -> None:
    with pytest.raises(ConfigError, match="YOUR_QUEUE is left"):
        render(make_job(queue="YOUR_QUEUE"))


@pytest.mark.parametrize("name", ["HF_TOKEN", "wandb_api_key", "MY_SECRET", "DB_PASSWORD"])
def test_a_secret_of_the_environment_is_refused_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "sentinel-0123")
    with pytest.raises(ConfigError, match=name) as error:
        render(make_job(argv=("curl", "--header=x:sentinel-0123")))
    assert "sentinel" not in str(error.value)


def test_a_short_value_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "jobs")
    render(make_job())


def test_a_secret_of_the_env_file_is_refused_without_its_value(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# keys\nexport HF_TOKEN='sentinel-0123'\n")
    with pytest.raises(ConfigError, match=r"HF_TOKEN \(\.env\)") as error:
        render(make_job(project_dir=str(tmp_path), argv=("echo", "sentinel-0123")))
    assert "sentinel" not in str(error.value)


@pytest.mark.parametrize(
    "field",
    ["name", "queue", "account", "project_dir", "log_dir", "state_dir", "env_file", "script"],
)
def test_a_newline_in_what_is_a_name_is_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        render(make_job(**{field: "/a\n#PBS -q other"}))


def test_a_newline_in_a_directive_is_refused() -> None:
    with pytest.raises(ConfigError, match="directive"):
        render(make_job(directives=("-l place=excl\nrm -r x",)))


def test_all_problems_come_together() -> None:
    with pytest.raises(ConfigError) as error:
        render(make_job(queue="a b", account="$(x)", project_dir="relative"))
    assert len(error.value.problems) == 3


TWO = Resources(nodes=2, gpus=8, cpus=8, mem_bytes=2**30, walltime_s=60)


@pytest.mark.parametrize("scheduler", ["torque", "local"])
def test_several_nodes_are_refused_where_nothing_starts_on_them(scheduler: str) -> None:
    with pytest.raises(ConfigError, match="for Slurm and PBS Pro only"):
        render(train_job(scheduler=scheduler, resources=TWO))


@pytest.mark.parametrize(
    ("directives", "count"), [((), 1), (("-l place=scatter:excl",), 0)], ids=["ours", "the site's"]
)
def test_chunks_of_pbs_lie_on_hosts_of_their_own(directives: tuple[str, ...], count: int) -> None:
    text = render(train_job(resources=TWO, directives=directives))
    assert text.count("#PBS -l place=scatter\n") == count
    assert "#PBS -l select=2:" in text and text.count("place=") == 1


@pytest.mark.parametrize("path", ["/a b", "/a:b", "/a,b"], ids=["space", "colon", "comma"])
def test_a_path_that_no_container_mounts_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="mounts no path"):
        render(train_job(scheduler="slurm", project_dir=path))


@pytest.mark.parametrize(
    ("scheduler", "path", "line"),
    [
        ("pbs", "/a b/é", '#PBS -o "/a b/é/scheduler/"'),
        ("slurm", '/a b/"q" 5%', '#SBATCH --output="/a b/\\"q\\" 5%%/scheduler/%j.out"'),
        ("pbs", "logs", "#PBS -o /scratch/me/pipeline/logs/scheduler/"),
    ],
    ids=["pbs", "slurm", "relative"],
)
def test_log_folders_are_quoted_as_the_scheduler_reads_them(
    scheduler: str, path: str, line: str
) -> None:
    assert line in render(make_job(scheduler=scheduler, log_dir=path)).splitlines()


@pytest.mark.parametrize(
    ("scheduler", "path"), [("pbs", "/a:b"), ("pbs", "/a'b"), ("slurm", "/a\\b")]
)
def test_log_folders_that_the_scheduler_misreads_are_refused(scheduler: str, path: str) -> None:
    with pytest.raises(ConfigError, match="misreads"):
        render(make_job(scheduler=scheduler, log_dir=path))


@pytest.mark.parametrize(
    ("name", "short"), [("7a b", "j7a_b"), ("étude", "j_tude"), ("x" * 300, "x" * 230)],
    ids=["digit", "accent", "long"],
)  # fmt: skip
def test_job_names_are_ones_that_schedulers_take(name: str, short: str) -> None:
    assert f"#PBS -N {short}\n" in render(make_job(name=name))


def test_a_site_may_write_directives_with_or_without_their_prefix() -> None:
    lines = render(make_job(directives=("-l place=excl", "#PBS -m n"))).splitlines()
    assert "#PBS -l place=excl" in lines
    assert "#PBS -m n" in lines


def test_extensions() -> None:
    assert [extension(s) for s in ("pbs", "slurm", "local")] == [".pbs", ".sbatch", ".sh"]


# --- run_in_enroot.sh and setup_jobs.sh

STUB = """#!/bin/bash
case $1 in
  list) echo nemo_framework ;;
  *) printf '%s\\0' "$@" >"$CALL" ;;
esac
"""


def stubs(folder: Path, **programs: str) -> str:
    """A PATH with these programs before the others."""
    folder.mkdir(exist_ok=True)
    for name, text in programs.items():
        (folder / name.replace("_", "-")).write_text(text)
        (folder / name.replace("_", "-")).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(ROOT / "run_in_enroot.sh", folder)
    shutil.copytree(TEMPLATES, folder / "job_templates")
    (folder / ".env").write_text("HF_TOKEN=sentinel-0123\nWANDB_ENTITY=me\n")
    (folder / ".env").chmod(0o600)
    return folder


def enroot_job(folder: Path, **changes: object) -> Job:
    one = Resources(nodes=1, gpus=0, cpus=1, mem_bytes=2**30, walltime_s=60)
    values: dict[str, object] = {
        "scheduler": "local", "project_dir": str(folder), "site_log_dir": str(folder / "logs"),
        "log_dir": "logs", "upstream": (), "launcher": "", "resources": one, "directives": (),
    }  # fmt: skip
    return train_job(**(values | changes))


def test_a_job_and_run_in_enroot_start_the_same_thing(tmp_path: Path) -> None:
    folder = project(tmp_path)
    path = stubs(tmp_path / "bin", enroot=STUB)
    job = enroot_job(folder)
    env = {"PATH": path, "HOME": "/", "LOG_DIR": str(folder / "logs"), "OMP_NUM_THREADS": "1"}
    calls = []
    script = folder / "job.sh"
    script.write_text(render(job))
    by_hand = [str(folder / "run_in_enroot.sh"), *job.argv]
    for number, argv in enumerate((["bash", str(script)], by_hand)):
        call = tmp_path / f"call{number}"
        subprocess.run(argv, env={**env, "CALL": str(call)}, check=True, cwd="/")
        calls.append(call.read_text().split("\0"))
    in_job = calls[0]
    at = in_job.index("PIPELINE_PROGRESS")  # only a job has it
    assert in_job[: at - 1] + in_job[at + 1 :] == calls[1]
    assert "HF_TOKEN" in calls[1]
    assert not any("sentinel" in word for call in calls for word in call)


def test_run_in_enroot_reads_the_sites_log_folder(tmp_path: Path) -> None:
    folder = project(tmp_path)
    (folder / "sites").mkdir()
    (folder / "sites" / "default.yaml").write_text(f"site: x\nlog_dir: '{tmp_path}/it''s'\n")
    env = {"PATH": stubs(tmp_path / "bin", enroot=STUB), "CALL": str(tmp_path / "call")}
    subprocess.run([folder / "run_in_enroot.sh", "true"], env=env, check=True)
    assert f"{tmp_path}/it's:/logs" in (tmp_path / "call").read_text().split("\0")


@pytest.mark.parametrize("which", ["job", "run_in_enroot"])
def test_a_missing_container_names_the_remedy(tmp_path: Path, which: str) -> None:
    folder = project(tmp_path)
    path = stubs(tmp_path / "bin", enroot="#!/bin/sh\necho other\n")
    (folder / "job.sh").write_text(render(enroot_job(folder)))
    argv = ["bash", "job.sh"] if which == "job" else ["./run_in_enroot.sh", "true"]
    done = subprocess.run(
        argv, cwd=folder, env={"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 65
    assert "Re-run training/nemo/setup/setup_enroot.sh" in done.stderr


PLAN = {
    f"jobs/{name}.pbs"
    for name in (
        "preprocess_data_vanilla", "preprocess_data_stochastok", "preprocess_data_patok",
        "run_cpt_baseline", "run_cpt_stochastok", "run_cpt_patok",
    )
}  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project to set jobs up in; its pipeline is this one."""
    folder = tmp_path / "checkout"
    for part in ("job_templates", "studies", "data/affixes"):
        shutil.copytree(ROOT / part, folder / part)
    return folder


def set_up(folder: Path, **settings_: str) -> subprocess.CompletedProcess[str]:
    import sys

    path = stubs(
        folder.parent / "bin",
        pipeline=f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec "
        f'{shlex.quote(sys.executable)} -m pipeline "$@"\n',
    )
    return subprocess.run(
        ["bash", str(folder / "job_templates" / "setup_jobs.sh")], stdin=subprocess.DEVNULL,
        env={"PATH": path, "HOME": "/", **settings_}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def scripts(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in (folder / "jobs").rglob("*.pbs")}


def test_setup_jobs_writes_exactly_the_plans_six(checkout: Path) -> None:
    done = set_up(checkout, QUEUE="gpu", NETWORK_IF="ib0", DEFAULT_WALLTIME="24:00:00")
    assert (done.returncode, done.stderr) == (0, "")
    assert scripts(checkout) == PLAN
    text = (checkout / "jobs" / "run_cpt_patok.pbs").read_text()
    assert "#PBS -q gpu\n" in text
    assert "#PBS -l walltime=24:00:00\n" in text
    assert "interface='ib0'" in text


def test_setup_jobs_again_refreshes_and_keeps_settings(checkout: Path) -> None:
    set_up(checkout, QUEUE="gpu")
    script = checkout / "jobs" / "run_cpt_patok.pbs"
    script.write_text("old")
    done = set_up(checkout, DEFAULT_MEMORY="100GB")
    assert (done.returncode, done.stderr) == (0, "")
    assert "#PBS -q gpu\n" in script.read_text()
    assert ":mem=95367mb\n" in script.read_text()


def test_setup_jobs_never_overwrites_a_site_changed_by_hand(checkout: Path) -> None:
    set_up(checkout)
    site = checkout / "sites" / "default.yaml"
    site.write_text(site.read_text() + "throttle: 2\n")
    done = set_up(checkout)
    assert done.returncode == 0
    assert "#PBS -J 1-20%2\n" in (checkout / "jobs/preprocess_data_patok.pbs").read_text()
    done = set_up(checkout, QUEUE="other")
    assert done.returncode == 2
    assert "was changed by hand" in done.stderr
    assert site.read_text().endswith("throttle: 2\n")


@pytest.mark.parametrize(
    ("name", "value"),
    [("SCHEDULER", "sge"), ("QUEUE", "a b"), ("LOG_DIR", "logs"), ("DEFAULT_NGPUS", "many"),
     ("DEFAULT_MEMORY", "lots"), ("DEFAULT_WALLTIME", "2 days"), ("PROJECT_DIR", "/a\nsite: b")],
    ids=lambda v: v[:12],
)  # fmt: skip
def test_setup_jobs_refuses_what_is_no_setting(checkout: Path, name: str, value: str) -> None:
    done = set_up(checkout, **{name: value})
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {name} is ")
    assert not (checkout / "sites" / "default.yaml").exists()


def test_setup_jobs_quotes_its_values(checkout: Path) -> None:
    set_up(checkout, LOG_DIR="/it's: #é {x}")
    from pipeline import yamlio

    assert yamlio.load(checkout / "sites/default.yaml")["log_dir"] == "/it's: #é {x}"


def test_jobs_differ_only_in_what_was_changed() -> None:
    """The builders of the golden cases are frozen structs: changing one leaves the others."""
    changed = msgspec.structs.replace(make_job(), runtime=Runtime(activate=("module load x",)))
    assert "  module load x\n" in render(changed)


def test_a_name_is_cut_to_what_the_site_takes() -> None:
    job = array_job(scheduler="torque", name="preprocess_stochastok", name_length=15)
    assert "#PBS -N preprocess_stoc\n" in render(job)
