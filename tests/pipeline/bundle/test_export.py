"""`pipeline export`: unpacked in an empty folder, the bundle runs with nothing of pipeline."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from tests.cluster.fixture import Slurm
from tests.pipeline.clusters import ROOT, site_yaml

STUDY = """
study: small
title: A small study
arms: {a: {}, b: {}}
parameters: {list: {names: "lists/names.txt", scale: 2}}
resources: {gpus: 0, cpus: 1, mem: 100MB, walltime: "00:10:00"}
stages:
  make: {kind: command, run: [python, -m, tool.make, --config, "{config}"], reads: [list],
         outputs: ["${data}/numbers.txt"]}
  cut: {kind: command, arms: all, needs: [make], array: {over: chunks, count: 3},
        run: [bash, programs/cut.sh, "${data}", "${results}", "${arm}", "{task}"],
        outputs: ["${results}/${arm}_${task}.txt"]}
  tell: {kind: command, needs: [cut], run: [python, programs/tell.py, "${results}"],
         outputs: ["${results}/total.json"]}
"""
FILES = {
    "tool/__init__.py": "",
    "tool/make.py": """
        import sys
        from pathlib import Path
        from helpers import scaled
        text = Path(sys.argv[2]).read_text()  # the configuration, without a YAML reader
        scale = int(text.partition("scale: ")[2].split("}")[0].split()[0])
        names = Path("lists/names.txt").read_text().split()
        Path("data/small").mkdir(parents=True)
        numbers = [str(scaled(len(name), scale)) for name in names]
        Path("data/small/numbers.txt").write_text(" ".join(numbers))
    """,
    "helpers.py": "def scaled(number, scale):\n    return number * scale\n",
    "unused.py": "raise SystemExit(1)\n",
    "other/__init__.py": "",
    "lists/names.txt": "one three fifteen\n",
    "lists/README.md": "made up\n",
    "programs/cut.sh": """
        [ ! -e stop ] || { echo told to fail >&2; exit 7; }
        mkdir -p "$2"
        read -r -a numbers < "$1/numbers.txt"
        echo "${numbers[$4 - 1]}" > "$2/$3_000$4.txt"
    """,
    "programs/tell.py": """
        import json, sys
        from pathlib import Path
        from near import total
        results = Path(sys.argv[1])
        (results / "total.json").write_text(json.dumps(total(results)))
    """,
    "programs/near.py": """
        def total(results):
            return sum(int(p.read_text()) for p in results.glob("?_*.txt"))
    """,
    ".env": "API_TOKEN=this-is-a-secret\n",
    "studies/small.yaml": STUDY,
    "LICENSE": "free\n",
}
TOTAL = 2 * 2 * (len("one") + len("three") + len("fifteen"))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with programs of its own and no git."""
    import textwrap

    folder = tmp_path / "project"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))
    (folder / "job_templates").symlink_to(ROOT / "job_templates")
    (folder / "sites").mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PIPELINE_STUDY", "small")
    return folder


def site(root: Path, scheduler: str, more: str = "", python: str = "") -> None:
    text = site_yaml(scheduler, root, more).replace(sys.executable, python or sys.executable)
    (root / "sites/default.yaml").write_text(text)


def export(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(cli, ["export", *words])
    assert result.exit_code == code, result.output
    return result.output


def unpacked(root: Path, folder: Path, *words: str) -> Path:
    """The bundle in an empty folder, its checksums right; the project is gone."""
    export("--output", str(folder / "b.tar.gz"), *words)
    with tarfile.open(folder / "b.tar.gz") as tar:
        tar.extractall(folder, filter="data")
    shutil.rmtree(root)
    subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"],
                   cwd=folder / "small", check=True)  # fmt: skip
    return folder / "small"


def bare() -> str:
    """An interpreter that finds nothing of this project, nor of what is installed beside it."""
    return str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIPELINE"))}


def receipts(bundle: Path) -> list[str]:
    """`cut_a 2.ok`, of every receipt."""
    found = bundle.glob("jobs/small/receipts/*/*")
    return sorted(f"{p.parent.name} {p.name.split('.')[0]}.{p.name.split('.')[-1]}" for p in found)


DONE = sorted(
    ["make 1.ok", "tell 1.ok", *(f"cut_{arm} {task}.ok" for arm in "ab" for task in (1, 2, 3))]
)


def test_it_runs_to_its_end_by_bash_alone(root: Path, tmp_path: Path) -> None:
    site(root, "local", python=bare())
    folder = tmp_path / "a colleague's folder, é"
    folder.mkdir()
    bundle = unpacked(root, folder)
    none = subprocess.run([bare(), "-c", "import pipeline"], cwd=bundle, env=environment(),
                          capture_output=True, check=False)  # fmt: skip
    assert b"No module named 'pipeline'" in none.stderr
    (bundle / "stop").touch()
    argv = ["bash", str(bundle / "submit_all.sh")]
    first = subprocess.run(argv, env=environment(), capture_output=True, text=True, check=False)
    assert first.returncode == 1
    assert "error: cut_a, task 1 of 3, ended with code 7. Mend it" in first.stderr
    assert receipts(bundle) == ["cut_a 1.fail-7", "make 1.ok"]
    (bundle / "stop").unlink()
    second = subprocess.run(argv, env=environment(), capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert "== make, task 1 of 1: done before" in second.stdout
    assert receipts(bundle) == sorted([*DONE, "cut_a 1.fail-7"])
    assert json.loads((bundle / "results/small/total.json").read_text()) == TOTAL


def test_names_that_a_shell_would_run_stay_names(root: Path, tmp_path: Path) -> None:
    name = "jobs/it's $(touch pwned) `x` & é"
    (root / "studies/small.yaml").write_text(
        f'study: small\nstate_dir: "{name}"\ntitle: a $(touch pwned) | title\n'
        "resources: {gpus: 0, cpus: 1, mem: 100MB, walltime: 60}\n"
        "stages: {a: {kind: command, run: [printf, '%s|', \"it's $(touch pwned)\", '{task}'],"
        " array: {over: chunks, count: 2}}}\n"
    )
    site(root, "local")
    bundle = unpacked(root, tmp_path)
    done = subprocess.run(["bash", "submit_all.sh"], cwd=bundle, env=environment(),
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "it's $(touch pwned)|1|" in done.stdout and "it's $(touch pwned)|2|" in done.stdout
    assert len(list((bundle / name / "receipts/a").glob("*.ok"))) == 2
    assert not list(tmp_path.rglob("pwned"))


def test_a_script_submitted_from_elsewhere_says_so(root: Path, tmp_path: Path) -> None:
    site(root, "local")
    bundle = unpacked(root, tmp_path)
    script = bundle / "jobs/small/scripts/make.sh"
    done = subprocess.run(["bash", str(script)], cwd=tmp_path, env=environment(),
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 65
    assert "is not the bundle's folder. Submit this script from where" in done.stderr
    assert not (tmp_path / "jobs").exists()


def wait_for(bundle: Path, wanted: list[str], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while receipts(bundle) != wanted:
        assert time.monotonic() < until, receipts(bundle)
        time.sleep(0.2)


def submitted(bundle: Path) -> str:
    """What submit_all.sh says, started from another folder."""
    argv = ["bash", str(bundle / "submit_all.sh")]
    done = subprocess.run(argv, cwd="/", env=environment(), capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pbs_runs_it_each_behind_those_it_needs(
    root: Path, tmp_path: Path, pbs_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in pbs_env.items():
        monkeypatch.setenv(name, value)
    site(root, "pbs", python=bare())
    (tmp_path / "there é").mkdir()
    bundle = unpacked(root, tmp_path / "there é")
    out = submitted(bundle)
    assert [line.split("  ")[1] for line in out.splitlines()[:-1]] == [
        "make", "cut_a, tasks 1-3", "cut_b, tasks 1-3", "tell",
    ]  # fmt: skip
    wait_for(bundle, DONE)
    assert json.loads((bundle / "results/small/total.json").read_text()) == TOTAL


def test_slurm_runs_it_each_behind_those_it_needs(
    root: Path, tmp_path: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])
    site(root, "slurm", python=bare())
    bundle = unpacked(root, tmp_path)
    assert submitted(bundle).splitlines()[-1].startswith("4 submissions.")
    wait_for(bundle, DONE)
    assert json.loads((bundle / "results/small/total.json").read_text()) == TOTAL


CHAIN = """
study: small
resources: {gpus: 0, cpus: 1, mem: 100MB, walltime: "01:00:00"}
stages:
  cut: {kind: command, run: [echo, "{task}"], array: {over: chunks, count: 5}}
  fit: {kind: command, needs: [cut], run: [echo], chain: {links: 3, walltime: "00:30:00"}}
  tell: {kind: command, needs: [fit], run: [echo]}
"""
STUB = """#!/bin/bash
count=$(cat "$STUB/count" 2>/dev/null || echo 0)
echo $((++count)) >"$STUB/count"
printf '%s\\n' "$*" >>"$STUB/calls"
cat -- "${@: -1}" >"$STUB/script.$count"
echo "{answer}"
"""
SCHEDULERS = [
    (
        "slurm", "sbatch", "$count;cluster",
        "--parsable --export=ALL --dependency=afterany:{} --kill-on-invalid-dep=yes ", ":",
    ),
    ("pbs", "qsub", "$count.server", "-W depend=afterany:{} ", ":"),
    ("torque", "qsub", "$count[].server", "-W depend=afteranyarray:{} ", ":"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("scheduler", "command", "answer", "words", "colon"), SCHEDULERS, ids=[s[0] for s in SCHEDULERS]
)
def test_split_arrays_and_links_of_a_chain(
    root, tmp_path, monkeypatch, scheduler, command, answer, words, colon
):
    (root / "studies/small.yaml").write_text(CHAIN)
    site(root, scheduler, "max_array: 3\n")
    bundle = unpacked(root, tmp_path)
    stub = tmp_path / "stub"
    stub.mkdir()
    (stub / command).write_text(STUB.replace("{answer}", answer))
    (stub / command).chmod(0o755)
    monkeypatch.setenv("STUB", str(stub))
    monkeypatch.setenv("PATH", f"{stub}:{os.environ['PATH']}")
    out = submitted(bundle)
    ids = [line.split("  ")[0] for line in out.splitlines()[:-1]]
    assert [line.split("  ")[1] for line in out.splitlines()[:-1]] == [
        "cut, tasks 1-2", "cut, tasks 3-5", "fit, link 1 of 3", "fit, link 2 of 3",
        "fit, link 3 of 3", "tell",
    ]  # fmt: skip
    calls = (stub / "calls").read_text().splitlines()
    after = [[], [], ids[:2], ids[2:3], ids[3:4], ids[2:5]]
    for call, waited in zip(calls, after, strict=True):
        if scheduler == "torque" and waited != ids[:2]:
            words = "-W depend=afterany:{} "
        expected = words.format(colon.join(waited)) if waited else ""
        assert call.startswith(expected) and (waited or "depend" not in call)
        words = next(s[3] for s in SCHEDULERS if s[0] == scheduler)
    third = (stub / "script.5").read_text()
    assert f"BEFORE=(  # the links before, the newest first\n  '{ids[3]}'\n  '{ids[2]}'\n)" in third
    assert "@id-" not in third
    assert (bundle / "jobs/small/scripts/fit.link-3").with_suffix(
        {"slurm": ".link-3.sbatch"}.get(scheduler, ".link-3.pbs")
    ).read_text() == third
    part = (stub / "script.2").read_text()
    assert "\n  3 4 5\n)" in part


def test_a_command_that_is_missing_or_refuses_is_told(root, tmp_path, monkeypatch):
    site(root, "pbs")
    bundle = unpacked(root, tmp_path)
    stub = tmp_path / "stub"
    stub.mkdir()
    for tool in ("bash", "dirname", "mkdir"):
        (stub / tool).symlink_to(str(shutil.which(tool)))
    env = environment() | {"PATH": str(stub)}
    argv = ["bash", str(bundle / "submit_all.sh")]
    done = subprocess.run(argv, cwd="/", env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr[:25]) == (1, "error: qsub is not here. ")
    (stub / "qsub").write_text("#!/bin/bash\n[[ $* != *-W* ]] || exit 3\necho 1.s\n")
    (stub / "qsub").chmod(0o755)
    done = subprocess.run(argv, cwd="/", env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cut_a, tasks 1-3 was not submitted. Queued before it: 1.s." in done.stderr


def names(path: Path) -> set[str]:
    with tarfile.open(path) as tar:
        return {m.name.removeprefix("small/") for m in tar.getmembers() if m.isfile()}


def test_it_holds_what_jobs_need_and_nothing_else(root: Path) -> None:
    site(root, "local")
    out = export()
    scripts = {f"jobs/small/scripts/{job}.sh" for job in ("make", "cut_a", "cut_b", "tell")}
    configs = {f"jobs/small/configs/{job}.yaml" for job in ("make", "cut_a", "cut_b", "tell")}
    assert names(root / "small.tar.gz") == scripts | configs | {
        "README.md", "SHA256SUMS", "submit_all.sh", "decisions.md", "LICENSE", "studies/small.yaml",
        "tool/__init__.py", "tool/make.py", "helpers.py", "lists/names.txt",
        "programs/cut.sh", "programs/tell.py", "programs/near.py",
    }  # fmt: skip
    assert out.startswith("small.tar.gz: 21 files")
    assert "bash submit_all.sh" in out


def test_a_part_of_a_run_says_what_it_lacks(root: Path) -> None:
    site(root, "local")
    out = export("cut", "--variant", "b", "--output", "part.tar.gz")
    assert "not in it: data/small/numbers.txt (what job make, not in here, writes)" in out
    found = names(root / "part.tar.gz")
    assert "jobs/small/scripts/cut_b.sh" in found and "programs/cut.sh" in found
    assert not {n for n in found if "tell" in n or "cut_a" in n or n.startswith("tool")}


@pytest.mark.parametrize(
    ("inputs", "missing"),
    [
        ("[lists/names.txt]", ""),
        ("[lists]", ""),
        ("['corpora/*.jsonl']", "not in it: corpora/*.jsonl (for make)"),
        ("['hub:someone/model']", "not in it: someone/model (fetched by its name, if the node"),
    ],
)
def test_inputs_go_along_or_are_named(root: Path, inputs: str, missing: str) -> None:
    site(root, "local")
    (root / "studies/small.yaml").write_text(
        STUDY.replace("reads: [list],", f"reads: [list], inputs: {inputs},")
    )
    out = export()
    assert missing in out and out.count("not in it") == bool(missing)
    with tarfile.open("small.tar.gz") as tar:
        readme = tar.extractfile("small/README.md").read().decode()  # type: ignore[union-attr]
    assert readme.count("**Bring") == bool(missing)


def test_the_same_study_gives_the_same_bytes(root: Path, tmp_path: Path, monkeypatch) -> None:
    site(root, "local")
    export("--output", "one.tar.gz")
    os.utime(root / "helpers.py", (1, 1))
    (root / "sub").mkdir()
    monkeypatch.chdir(root / "sub")
    export("--output", "two.tar.gz")
    assert (root / "one.tar.gz").read_bytes() == (root / "sub/two.tar.gz").read_bytes()


def test_of_a_git_project_go_what_git_has_and_no_file_that_is_ignored_or_deleted(
    root: Path, tmp_path: Path
) -> None:
    site(root, "local")
    for words in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *words], check=True)
    (root / ".gitignore").write_text("lists/\n")
    subprocess.run(["git", "rm", "-q", "--cached", "lists/names.txt"], check=True)
    (root / "programs/near.py").unlink()
    out = export()
    found = names(root / "small.tar.gz")
    assert "programs/tell.py" in found and "helpers.py" in found
    assert not {"lists/names.txt", "programs/near.py"} & found
    assert "not in it" not in out


def test_a_project_at_a_dot_is_no_site_s(root: Path) -> None:
    text = site_yaml("local", root).replace(json.dumps(str(root)), ".")
    (root / "sites/default.yaml").write_text(text)
    assert "project_dir: '.' is no absolute path" in export(code=2)


@pytest.mark.parametrize("where", ["lists/names.txt", "helpers.py", "studies/small.yaml"])
def test_no_bundle_holds_a_secret(root: Path, where: str) -> None:
    site(root, "local")
    (root / where).write_text((root / where).read_text() + "# this-is-a-secret\n")
    out = export(code=2)
    assert f"error: {where}: holds the value of API_TOKEN (.env)" in out
    assert "this-is-a-secret" not in out
    assert not list(root.glob("*.gz"))


def test_another_interpreter_is_named_once(root: Path, tmp_path: Path) -> None:
    site(root, "local")
    bundle = unpacked(root, tmp_path, "--python", ".venv/bin/python")
    assert (
        "payload=(\n  .venv/bin/python\n  -m tool.make"
        in (bundle / "jobs/small/scripts/make.sh").read_text()
    )
    assert "interpreter `.venv/bin/python` must be there" in (bundle / "README.md").read_text()
