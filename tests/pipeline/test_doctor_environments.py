"""Interpreters and their packages, containers and their images, versions after pyproject.toml."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.doctor import environments, versions
from pipeline.doctor.check import MARK, Facts, Scope
from pipeline.site import Environment
from tests.pipeline.doctored import asked, bad, by_name, facts, said, scope

HERE = Environment(python=sys.executable)


def site_of(**own: Environment) -> dict[str, Any]:
    return {"environments": {"light": HERE, "hf": HERE, "nemo": HERE} | own}


# --- versions


@pytest.mark.parametrize(
    ("version", "wanted", "good"),
    [
        ("2.6.0", ">=2.6", True), ("2.6", ">=2.6.0", True), ("2.13.0+cpu", ">=2.6", True),
        ("2.6.0a0+git1", ">=2.6", True), ("2.5.9", ">=2.6", False), ("10.0", ">=9.1", True),
        ("0.60.0", ">=0.61,<0.70", False), ("0.69.9", ">=0.61,<0.70", True),
        ("0.70", ">=0.61,<0.70", False), ("4.53.3", "==4.53.3", True),
        ("4.53.4", "==4.53.3", False), ("1.26", "<2", True), ("2.0", "<2", False),
        ("1.4.5", "~=1.4", True), ("2.0", "~=1.4", False), ("1.4.9", "~=1.4.2", True),
        ("1.5.0", "~=1.4.2", False), ("3", "!=3.0", False), ("anything", "", True),
        ("unknown", ">=1", False),
    ],
)  # fmt: skip
def test_versions_against_what_is_asked_for(version: str, wanted: str, good: bool) -> None:
    assert versions.satisfies(version, wanted) is good


def test_a_patch_release_is_nearly_the_pinned_one() -> None:
    assert versions.nearly("2.5.9", "==2.5.3") and not versions.nearly("2.6.0", "==2.5.3")
    assert not versions.nearly("2.5.9", ">=2.5.10")


def test_the_projects_own_requirements() -> None:
    assert versions.requirements("corpus")["numba"] == ">=0.61,<0.70"
    assert versions.requirements("nemo")["nemo_toolkit"] == "==2.5.3"
    assert "click" in versions.requirements("") and versions.oldest_python() >= (3, 11)


def test_without_the_projects_file_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "PYPROJECT", Path("/nowhere/pyproject.toml"))
    assert versions.requirements("corpus") == {} and versions.oldest_python() == ()


# --- interpreters


def packages(of: Scope, env: str, python: str = "3.12.1", **changed: str | None) -> Facts:
    """An answer with all that is wanted, at its least version, but for what is `changed`."""
    jobs = environments._used(of)[env]
    found: dict[str, str | None] = {}
    for name, want in environments._wanted(of, env, jobs).items():
        found[name] = next(iter(versions._CLAUSE.findall(want)), ("", "1.0"))[1]
        if want == "<2":
            found[name] = "1.9"
        elif want.startswith("<"):
            found[name] = "0.1"
    told = json.dumps({"python": python, "packages": found | changed})
    banner = "Welcome to the cluster\n{}\n"
    return facts(**{f"environment_of_{env}": f"{banner}{MARK}{told}\nlast login: never\n"})


def test_an_environment_as_it_should_be() -> None:
    of = scope("train")
    found = by_name(environments.checks(of, packages(of, "nemo")))
    assert bad(found.values()) == []
    assert found["nemo: python"].fact == "python3: Python 3.12.1"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"nemo_toolkit": None}, "fail nemo: packages: nemo_toolkit==2.5.3 is missing"),
        ({"nemo_toolkit": "2.6.0"}, "fail nemo: packages: nemo_toolkit==2.5.3 is 2.6.0"),
        ({"nemo_toolkit": "2.5.4"}, "warn nemo: packages: nemo_toolkit==2.5.3 is 2.5.4"),
        ({"numpy": "2.1"}, "fail nemo: packages: numpy<2 is 2.1"),
        ({"python": "3.9.18"}, "fail nemo: python: python3: Python 3.9.18"),
    ],
)
def test_packages_of_another_version(changed: dict[str, Any], expected: str) -> None:
    of = scope("train")
    assert bad(environments.checks(of, packages(of, "nemo", **changed))) == [expected]


def test_wandb_may_be_missing() -> None:
    of = scope("train", profiles=("demo",))
    [line] = bad(environments.checks(of, packages(of, "hf", wandb=None)))
    assert line.startswith("warn hf: packages: wandb")


def test_many_missing_ones_are_one_line() -> None:
    of = scope("train")
    names = environments._wanted(of, "nemo", list(of.jobs))
    none: dict[str, Any] = dict.fromkeys(names)
    [line] = bad(environments.checks(of, packages(of, "nemo", **none)))
    assert line.endswith(f"and {len(names) - 6} more")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (said(code=127, error="doctor: line 2: /x/python: No such file or directory"),
         "python3 does not run: /x/python: No such file or directory"),
        (said(code=124), "no answer within"),
        (said("{}\n[1]\n", 0, "odd"), "odd"),
        (said(code=1, error="ModuleNotFoundError: no json"), "ModuleNotFoundError"),
    ],
)  # fmt: skip
def test_an_interpreter_that_does_not_run(answer: Any, words: str) -> None:
    of = scope("split")
    found = by_name(environments.checks(of, facts(environment_of_light=answer)))
    assert words in found["light: python"].fact and "environments.light" in (
        found["light: python"].remedy
    )


def test_only_what_a_stage_needs_is_asked_for() -> None:
    hub = environments._wanted(scope("download"), "light", list(scope("download").jobs))
    local = scope("download", sets=("corpus.source=data/sample/filipino.jsonl",))
    assert "huggingface_hub" in hub
    assert "huggingface_hub" not in environments._wanted(local, "light", list(local.jobs))


def test_the_sites_shell_lines_come_first(tmp_path: Path) -> None:
    lines = (f"echo noise; export FLAG=1; PATH={Path(sys.executable).parent}:$PATH", "true '")
    quiet = Environment(python="python", activate=(lines[0],))
    of = scope("split", project=tmp_path, **site_of(light=quiet))
    found = by_name(environments.checks(of, asked(environments.questions(of), tmp_path)))
    assert bad(found.values()) == []
    broken = Environment(python="python", activate=lines)
    of = scope("split", project=tmp_path, **site_of(light=broken))
    found = by_name(environments.checks(of, asked(environments.questions(of), tmp_path)))
    assert found["light: python"].status == "fail"


def test_it_reads_this_interpreter(tmp_path: Path) -> None:
    of = scope("split", project=tmp_path, **site_of())
    found = by_name(environments.checks(of, asked(environments.questions(of), tmp_path)))
    version = ".".join(map(str, sys.version_info[:3]))
    assert found["light: python"].fact == f"{sys.executable}: Python {version}"
    assert bad(found.values()) == []


# --- containers

ENROOT = Environment(container="enroot", image="nemo_framework")
SIF = Environment(container="apptainer", image="/images/nemo-25.04.sif")


def marked(*lines: str) -> str:
    return "module: loading\n" + "".join(f"{MARK}{line}\n" for line in lines)


@pytest.mark.parametrize(
    ("runtime", "lines", "scheduler", "expected"),
    [
        (ENROOT, ("version 3.5.0", "there"), "slurm", []),
        (ENROOT, ("missing",), "slurm", ["warn nemo: enroot: not on PATH here; compute nodes may"]),
        (ENROOT, ("missing",), "local", ["fail nemo: enroot: not on PATH"]),
        (ENROOT, ("version 3",), "slurm", ["fail nemo: image: nemo_framework is not there"]),
        (ENROOT, ("version 3", "there", "dist nemo_toolkit-2.5.3.dist-info",
                  "dist megatron_core-0.14.2.dist-info"), "slurm", []),
        (ENROOT, ("version 3", "there", "dist megatron_core-0.15.0.dist-info"), "slurm",
         ["fail nemo: image: nemo_framework has megatron-core 0.15.0; asked for is ==0.14.0"]),
        (SIF, ("version apptainer version 1.2", "there", "labels {}"), "slurm",
         ["warn nemo: image: /images/nemo-25.04.sif is NeMo 25.04; this project"]),
        (Environment(container="apptainer", image="/images/x.sif"),
         ("version 1", "there", 'labels {"from": "nvcr.io/nvidia/nemo:25.07"}'), "slurm",
         ["warn nemo: image: /images/x.sif is NeMo 25.07; this project"]),
        (Environment(container="apptainer", image="/images/x.sif"),
         ("version 1", "there", 'labels {"from": "nvcr.io/nvidia/nemo:25.09"}'), "slurm", []),
    ],
)  # fmt: skip
def test_containers(
    runtime: Environment, lines: tuple[str, ...], scheduler: str, expected: list[str]
) -> None:
    of = scope("train", scheduler=scheduler, log_dir="/logs", **site_of(nemo=runtime))
    found = bad(environments.checks(of, facts(environment_of_nemo=marked(*lines))))
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True)), found


def program(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{body}\n")
    (folder / name).chmod(0o755)


def test_enroot_is_asked_for_real(tmp_path: Path) -> None:
    listed = 'printf "other\\nnemo_framework\\n"'
    program(tmp_path / "bin", "enroot", f"case $1 in version) echo 3 ;; list) {listed} ;; esac")
    packages = tmp_path / "enroot/nemo_framework/opt/venv/lib/python3.12/site-packages"
    (packages / "nemo_toolkit-2.5.3.dist-info").mkdir(parents=True)
    lines = (f"export PATH={tmp_path}/bin:$PATH ENROOT_DATA_PATH={tmp_path}/enroot",)
    runtime = Environment(container="enroot", image="nemo_framework", activate=lines)
    of = scope("train", project=tmp_path, **site_of(nemo=runtime))
    found = by_name(environments.checks(of, asked(environments.questions(of), tmp_path)))
    assert bad(found.values()) == []
    assert found["nemo: image"].fact == "nemo_framework: nemo_toolkit 2.5.3"


def test_apptainer_is_asked_for_real(tmp_path: Path) -> None:
    labels = '{"data": {"attributes": {"labels": {"from": "nvidia/nemo:25.09"}}}}'
    told = f"case $1 in --version) echo version 1.3 ;; inspect) echo '{labels}' ;; esac"
    program(tmp_path / "bin", "apptainer", told)
    image = tmp_path / "image with a space.sif"
    image.write_bytes(b"")
    runtime = Environment(
        container="apptainer", image=str(image), activate=(f"PATH={tmp_path}/bin:$PATH",)
    )
    of = scope("train", project=tmp_path, **site_of(nemo=runtime))
    found = by_name(environments.checks(of, asked(environments.questions(of), tmp_path)))
    assert bad(found.values()) == []
    assert "nemo:25.09" in found["nemo: image"].fact
    os.unlink(image)
    found = by_name(environments.checks(of, asked(environments.questions(of), tmp_path)))
    assert found["nemo: image"].status == "fail"
