"""The command line: what it says, what it refuses, with which code it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import cli
from tests.pipeline.clusters import Project, site_yaml

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(cli.commands)


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words), prog_name="pipeline")


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_teaches_with_an_example(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert "Example:" in result.output and f"pipeline {command}" in result.output


def test_the_plans_commands_are_all_there() -> None:
    assert set(COMMANDS) >= {
        "plan", "check", "render", "submit", "run", "status", "logs", "why", "resubmit", "cancel",
        "inspect", "repair", "doctor", "sites", "completion",
    }  # fmt: skip


@pytest.mark.parametrize(
    "study", ["filipino-cpt", "efcamdat-ilm", "marco-lora", "socratic-t5", "wiki-curriculum"]
)
def test_check_holds_for_every_study_that_ships(study: str) -> None:
    result = invoke("check", "--study", study)
    assert result.exit_code == 0, result.output
    assert "holds together" in result.output


def test_check_json() -> None:
    result = CliRunner().invoke(cli, ["check", "--json"])
    found = json.loads(result.stdout)
    assert found["jobs"] == 17 and found["arms"] == ["vanilla", "stochastok", "patok"]
    assert {key.split(".")[0] for key in found["arms_differ_in"]} == {"variant"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plan", "--study", "filipino"], "'filipino'; did you mean 'filipino-cpt'"),
        (["plan", "--site", "nowhere"], "there is no such site"),
        (["plan", "--profile", "dmo"], "did you mean 'demo'"),
        (["plan", "--set", "batch.micr=1"], "did you mean 'batch.micro'"),
        (["plan", "--set", "batch.micro"], "key=value"),
        (["plan", "--set", "batch.micro=3"], "256 is not divisible by micro x GPUs = 3 x 8"),
        (["plan", "--set", "train.tensor_parallel=2"], "must be 1"),
        (["render", "--profile", "demo", "preproces"], "did you mean 'preprocess'"),
        (["submit", "--profile", "demo", "train", "--variant", "pato"], "did you mean 'patok'"),
        (["submit", "--profile", "demo", "split", "--variant", "patok"], "no arms"),
        (["status", "--profile", "demo", "trian_patok"], "did you mean 'train_patok'"),
        (["plan", "--site", "local"], "Use `--profile demo` here"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_users_mistake_is_one_message_and_code_2(words: list[str], message: str) -> None:
    result = invoke(*words)
    assert result.exit_code == 2, result.output
    assert message in result.output and "Traceback" not in result.output


def test_outside_a_project_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("plan")
    assert result.exit_code == 2 and "studies/" in result.output


def test_the_login_node_needs_no_heavy_package() -> None:
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'numpy', 'transformers', 'nemo', 'wandb'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from pipeline.cli import cli\n"
        "for words in (['plan'], ['check'], ['doctor', '--profile', 'demo'], ['sites'],\n"
        "              ['render', '--site', 'example-pbs', '--diff', 'train']):\n"
        "    try:\n"
        "        cli.main(words, prog_name='pipeline', standalone_mode=True)\n"
        "    except SystemExit as end:\n"
        "        assert end.code in (0, 1), (words, end.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_help_imports_nothing_but_click() -> None:
    code = (
        "import sys, pipeline.cli\n"
        "heavy = {'rich', 'jinja2', 'msgspec', 'yaml', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["a/b", "--sample", "3", "--json"], ["a/b", "--sample", "3", "--json"]),
        (
            ["--profile", "demo", "--variant", "baseline", "--document", "7"],
            ["data/filipino-cpt@demo/processed/vanilla/seapile", "--tokenizer",
             "data/filipino-cpt@demo/tokenizer", "--document", "7"],
        ),
        (
            ["--compare", "--profile", "demo", "--variant", "patok", "x/y"],
            ["data/filipino-cpt@demo/processed/patok/seapile", "--tokenizer",
             "data/filipino-cpt@demo/tokenizer", "--compare", "x/y"],
        ),
    ],
    ids=lambda value: " ".join(value),
)  # fmt: skip
def test_inspect_hands_its_words_to_the_corpus_package(
    words: list[str], given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, 65)

    monkeypatch.setattr("subprocess.run", run)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert invoke("inspect", *words).exit_code == 65
    assert ran == [[sys.executable, "-m", "corpus.inspect", *given]]


def test_benchmarks_hands_what_the_study_asks_for_to_the_evaluation_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, 65)

    monkeypatch.setattr("subprocess.run", run)
    result = invoke(
        "benchmarks", "--set", "corpus.source=x", "--set", "benchmark.groups=[cute]",
        "--set", "benchmark.sizes={cute: 7}", "--seed", "5", "--dry-run",
    )  # fmt: skip
    assert result.exit_code == 65 and "contamination is not checked" in result.output
    program, words = ran[0][:3], ran[0][3:]
    assert program == [sys.executable, "-m", "evaluation.benchmarks"]
    assert words[:2] == ["--output-dir", "data/benchmarks"] and words[-3:] == [
        "--seed",
        "5",
        "--dry-run",
    ]
    assert words[words.index("--groups") + 1] == "cute" and "cute=7" in words
    corpus = "README.md"  # any file that is there
    invoke("benchmarks", "--set", f"benchmark.corpus={corpus}")
    assert ran[1][-2:] == ["--corpus", corpus]


def test_benchmarks_of_a_study_without_them_says_so() -> None:
    result = invoke("benchmarks", "--study", "wiki-curriculum")
    assert result.exit_code == 2 and "has no benchmarks stage" in result.output


def test_inspect_without_the_corpus_extra_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = invoke("inspect", "a/b")
    assert result.exit_code == 2
    assert "has no numpy" in result.output and "'pipeline-studies[corpus]'" in result.output


def test_inspect_of_a_study_without_preprocessing_says_so() -> None:
    result = invoke("inspect", "--study", "wiki-curriculum", "--variant", "curriculum")
    assert result.exit_code == 2
    assert result.output == "error: curriculum: no preprocess stage. Give the data's prefix\n"
    result = invoke("inspect", "--variant", "pato")
    assert result.exit_code == 2 and "did you mean 'patok'" in result.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    result = invoke("completion", shell)
    assert result.exit_code == 0 and "_PIPELINE_COMPLETE" in result.output


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("submit pre", "preprocess"),
        ("submit preprocess --variant base", "baseline"),
        ("run --profile de", "demo"),
        ("plan --study wiki", "wiki-curriculum"),
        ("plan --site lo", "local"),
        ("logs train_p", "train_patok"),
        ("status --study marco-lora --profile a100", "a100"),
    ],
)
def test_names_are_completed(words: str, wanted: str) -> None:
    env = {
        **os.environ, "_PIPELINE_COMPLETE": "bash_complete", "COMP_WORDS": f"pipeline {words}",
        "COMP_CWORD": str(len(words.split())),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "from pipeline.cli import main; main()"],
        env=env, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert f"plain,{wanted}" in done.stdout.splitlines(), done.stdout + done.stderr


def test_six_scripts_of_the_plan(tmp_path: Path) -> None:
    project = Project(
        tmp_path / "p",
        site_yaml(
            "pbs", tmp_path / "p",
            "log_dir: /scratch/logs\n"
            "defaults: {queue: gpu, gpus: 8, cpus: 64, mem: 480GB, walltime: \"48:00:00\"}\n",
        ).replace("environments: {", "environments: {nemo: {container: enroot, image: n}, "),
        {},
        (ROOT / "studies/filipino-cpt.yaml").read_text(),
    )  # fmt: skip
    project.run("render", "preprocess", "train")
    assert sorted(p.name for p in (project.root / "jobs").glob("*.pbs")) == [
        "preprocess_data_patok.pbs", "preprocess_data_stochastok.pbs",
        "preprocess_data_vanilla.pbs", "run_cpt_baseline.pbs", "run_cpt_patok.pbs",
        "run_cpt_stochastok.pbs",
    ]  # fmt: skip
    text = (project.root / "jobs/run_cpt_baseline.pbs").read_text()
    for words in (
        "--data-path data/processed/vanilla/seapile",
        "--checkpoint-dir /logs/checkpoints/gemma3-1b-baseline",
        "--wandb-name gemma3-1b-baseline", "--max-steps 10000", "select=1:ncpus=64:ngpus=8",
    ):  # fmt: skip
        assert words in " ".join(text.split()), words
    assert "#PBS -J 1-20" in (project.root / "jobs/preprocess_data_patok.pbs").read_text()


def test_status_json_has_its_documented_form(tmp_path: Path) -> None:
    project = Project(tmp_path / "p", site_yaml("local", tmp_path / "p"), {})
    found = project.status()
    assert set(found) == {
        "study", "run", "site", "scheduler", "time", "summary", "jobs", "removed", "silent",
        "adopted", "dropped", "scheduler_calls",
    }  # fmt: skip
    assert set(found["jobs"][0]) == {
        "name", "stage", "arm", "state", "tasks", "id", "attempt", "progress", "missing_outputs",
    }  # fmt: skip
    detail = project.status("make")["jobs"][0]["details"][0]
    assert set(detail) >= {
        "task", "state", "evidence", "reason", "exit_code", "signal", "attempt", "id", "host",
        "elapsed_s", "receipt", "output",
    }  # fmt: skip


def test_a_scheduler_that_is_not_there_is_code_3(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    project = Project(folder, site_yaml("pbs", folder), {"PATH": str(tmp_path)})
    said = project.run("submit", "make", code=3)
    assert "qsub: no such command here" in said


def test_no_secret_is_written_anywhere(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    secret = "hf_" + "sentinel" * 4
    project = Project(folder, site_yaml("local", folder), {"WANDB_API_KEY": secret})
    (folder / ".env").write_text(f"HF_TOKEN={secret}\n")
    (folder / ".env").chmod(0o600)
    said = project.run("run", "--interval", "0.3")
    said += project.run("status") + project.run("why", "make") + project.run("logs", "make")
    assert secret not in said
    for path in folder.rglob("*"):
        if path.is_file() and path.name != ".env":
            assert secret.encode() not in path.read_bytes(), path


def test_logs_follow_a_running_task(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    project = Project(folder, site_yaml("local", folder), {})
    project.control("sleep_make", "60")
    project.run("submit", "make")
    project.wait(lambda s: s["make"] == {"running": "1"})
    process = project.start("logs", "make", "-f")
    assert process.stdout is not None
    assert "make 1 on" in process.stdout.readline()
    process.kill()
    process.communicate()
    project.run("cancel", "make")
    project.wait(lambda s: s["make"] == {"cancelled": "1"})


@pytest.mark.parametrize("words", [(), ("all",), ("--all", "make")])
def test_cancel_wants_jobs_or_its_flag(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, ["cancel", *words])
    assert result.exit_code == 2 and "--all" in result.output


@pytest.mark.parametrize("words", [["run"], ["status", "--watch"], ["logs", "make", "-f"]])
def test_ctrl_c_ends_it_quietly(tmp_path: Path, words: list[str]) -> None:
    folder = tmp_path / "p"
    project = Project(folder, site_yaml("local", folder), {"PYTHONUNBUFFERED": "1"})
    project.control("sleep_make", "60")
    project.run("submit", "make")
    project.wait(lambda s: s["make"] == {"running": "1"})
    process = project.start(*words)
    assert process.stdout is not None and process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err.strip()) == (130, "")
    assert project.states()["make"] == {"running": "1"}
    project.run("cancel", "--all")


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    project = Project(folder, site_yaml("local", folder), {"PYTHONUNBUFFERED": "1"})
    for words in (["plan"], ["status"], ["status", "--json"]):
        process = project.start(*words)
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert (process.wait(timeout=30), process.stderr.read()) == (0, ""), words
        process.stderr.close()


def test_a_file_in_the_way_is_one_message(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    project = Project(folder, site_yaml("local", folder), {})
    (folder / "jobs/small").mkdir(parents=True)
    (folder / "jobs/small/receipts").write_text("")
    assert "receipts/make: Not a directory" in project.run("status", code=2)


def test_what_failed_comes_first_and_is_shown_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    project = Project(folder, site_yaml("local", folder), {})
    receipts = folder / "jobs/small/receipts/cut_a"
    receipts.mkdir(parents=True)
    for task in (1, 2):
        (receipts / f"{task}.manual-n1-{task}.run").write_text("{}")
    (receipts / "4.manual-n1-4.fail-78").write_text('{"gate": "[/x] make (task :one:)"}')
    assert "blocked" in project.run("why", "cut_a").splitlines()[0]
    assert "[/x] make (task :one:)" in project.run("why", "cut_a")
    assert "cut_a" in project.run("status", code=1)


def test_a_log_of_any_bytes_is_printed_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    project = Project(folder, site_yaml("local", folder), {"PYTHONIOENCODING": "ascii"})
    (folder / "jobs/small/logs/jobs/make").mkdir(parents=True)
    log = folder / "jobs/small/logs/jobs/make/1.L1.log"
    log.write_bytes(b"\xff one\ntwo \xc3\xa9\n")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "logs", "make", "-n", "1"],
        cwd=folder, env=project.env, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout == b"two \xc3\xa9\n"
