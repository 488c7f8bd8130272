"""Installed versions against a study's, and what to type where they are too old."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from training import environment
from training.contract import run_program
from training.environment import index_problem, numbers, package_problems, pip_command


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2.6.0", (2, 6)), ("2.13.0+cu124", (2, 13)), ("1.26", (1, 26)), ("4.0.0rc1", (4,)),
     ("2.0", (2,))],
)  # fmt: skip
def test_versions(text: str, expected: tuple[int, ...]) -> None:
    assert numbers(text) == expected


def test_the_plans_table() -> None:
    least = {"torch": "2.6.0", "peft": "0.14.0", "numpy": "2.0.0"}
    found = {"torch": "2.5.1+cu121", "numpy": "2.0.0"}
    assert package_problems(least, found) == [
        "torch is 2.5.1+cu121, older than 2.6.0",
        "peft is not installed (needs 0.14.0)",
    ]
    assert package_problems({"torch": "2.6.0"}, {"torch": "2.10.0"}) == []


@pytest.mark.parametrize(
    ("index", "least", "told"),
    [
        ("https://download.pytorch.org/whl/cu121", "2.6.0", "no wheels for cu121"),
        ("https://download.pytorch.org/whl/cu124", "2.6.0", ""),
        ("https://download.pytorch.org/whl/cu121", "2.5.1", ""),
        ("https://download.pytorch.org/whl/cpu", "2.6.0", ""),
        ("https://download.pytorch.org/whl/cu121", "9.0", ""),
        ("", "2.6.0", ""),
    ],
)
def test_an_index_without_such_wheels(index: str, least: str, told: str) -> None:
    found = index_problem(index, least)
    assert told in found and bool(found) == bool(told)


def test_the_pip_of_a_venv_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", "/home/ubuntu/socratic-path/.venv")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    assert pip_command() == "/home/ubuntu/socratic-path/.venv/bin/pip install --upgrade"
    # the system's python, which PEP 668 protects
    monkeypatch.setattr(sys, "prefix", "/usr")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    assert pip_command().endswith("-m pip install --upgrade")
    (tmp_path / "EXTERNALLY-MANAGED").write_text("")
    assert pip_command() == "python3 -m venv .venv && .venv/bin/pip install --upgrade"


def job(tmp_path: Path, **values: Any) -> list[str]:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"parameters": {"environment": values}}))
    return ["--config", str(path)]


def check(words: list[str]) -> int:
    return run_program(environment.main, words)


def test_what_is_installed_is_written(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    assert check(job(tmp_path, minimum=["torch>=2.0.0", "numpy>=1.0"], report=str(report))) == 0
    assert set(json.loads(report.read_text())) == {"python", "torch", "numpy"}


def test_all_problems_are_told_with_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = "https://download.pytorch.org/whl/cu121"
    words = job(tmp_path, minimum=["torch>=2.6.0", "no-such-package>=1.0"], cuda_index=index)
    assert check(words) == 65
    err = capsys.readouterr().err
    assert "no-such-package is not installed" in err and "no wheels for cu121" in err
    assert "pip install --upgrade 'torch>=2.6.0' 'no-such-package>=1.0'" in err


@pytest.mark.parametrize("minimum", [["torch"], "torch>=2.6", ["torch==2.6"]])
def test_a_minimum_that_is_none(
    tmp_path: Path, minimum: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code = check(job(tmp_path, minimum=minimum))
    assert code == (0 if minimum == "torch>=2.6" else 65)


def test_a_section_that_is_no_mapping(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("parameters: {environment: [torch]}\n")
    assert check(["--config", str(path)]) == 65
    assert "parameters.environment is ['torch'], not a mapping" in capsys.readouterr().err


def test_a_gpu_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert check(job(tmp_path, minimum=["torch>=2.0"], gpus=True)) == 65
    assert "sees no GPU (a build without CUDA)" in capsys.readouterr().err
