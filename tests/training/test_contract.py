"""Configuration, exit codes, files."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from training.contract import (
    BadInput,
    Exit,
    ProgramError,
    Progress,
    Section,
    find_config,
    load_config,
    mark_checkpoint,
    publish_directory,
    run_program,
    write_atomic,
)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "+1.0e-4", ".1e-3", "0.0001"])
def test_every_way_to_write_a_rate_is_a_float(tmp_path: Path, text: str) -> None:
    config = load_config(write(tmp_path / "c.yaml", f"parameters: {{lr: {text}}}\n"))
    assert config.get("parameters.lr", float) == pytest.approx(1e-4)


def test_words_stay_words(tmp_path: Path) -> None:
    config = load_config(write(tmp_path / "c.yaml", "parameters: {a: e5, b: 00012e, c: 1e}\n"))
    assert config.values["parameters"] == {"a": "e5", "b": "00012e", "c": "1e"}


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        (None, "cannot be read: No such file"),
        ("a: [", "is not YAML (line"),
        ("- 1", "has no section parameters"),
        ("parameters: 3", "has no section parameters"),
    ],
    ids=["missing", "broken", "list", "number"],
)
def test_a_bad_file_is_told_in_one_line(tmp_path: Path, text: str | None, fact: str) -> None:
    path = tmp_path / "c.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInput) as caught:
        load_config(path)
    assert fact in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_problems_come_together() -> None:
    section = Section({"a": {"steps": "many", "on": True, "kind": "x"}}, Path("c.yaml"))
    section.positive("a.steps")
    section.get("a.absent", str)
    section.get("a.on", int)
    section.choice("a.kind", ("y", "z"))
    with pytest.raises(BadInput) as caught:
        section.raise_problems()
    assert str(caught.value).startswith(
        "c.yaml: a.steps is 'many', not a whole number; a.absent is missing; "
        "a.on is True, not a whole number; a.kind is 'x', not one of y, z."
    )


def test_a_whole_number_serves_as_a_float() -> None:
    assert Section({"clip": 1}, Path("c")).get("clip", float) == 1.0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInput("a", "b"), 65),
        (ProgramError(Exit.DIVERGED, "a", "b"), 70),
        (ProgramError(Exit.PREEMPTED, "a", "b"), 75),
    ],
)
def test_an_error_becomes_a_code_and_a_line(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(argv: list[str]) -> Exit:
        raise error

    assert run_program(main, []) == code
    assert capsys.readouterr().err == "error: a. b\n"


def test_memory_has_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: list[str]) -> Exit:
        raise MemoryError

    assert run_program(main, []) == 71
    assert capsys.readouterr().err.startswith("error: memory ran out")


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "Make room"), (errno.ENAMETOOLONG, "Correct the path")]
)
def test_what_the_machine_refuses_is_a_line(
    number: int, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(argv: list[str]) -> Exit:
        raise OSError(number, "no", "a")

    assert run_program(main, []) == 1
    assert capsys.readouterr().err == f"error: [Errno {number}] no: 'a'. {remedy}, then run again\n"


def test_a_bug_keeps_its_traceback() -> None:
    def main(argv: list[str]) -> Exit:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_program(main, [])


def test_the_configuration_is_found_by_its_checkpoint_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIPELINE_CONFIG", raising=False)
    text = "job: {{kind: {}}}\nparameters: {{train: {{checkpoint_dir: {}}}}}\n"
    write(Path("jobs/configs/run_cpt_baseline.yaml"), text.format("train", "/logs/a"))
    write(Path("jobs/configs/run_cpt_patok.yaml"), text.format("train", "/logs/b"))
    write(Path("jobs/configs/export_vanilla.yaml"), text.format("export", "/logs/a"))
    assert find_config(None, "/logs/a/") == Path("jobs/configs/run_cpt_baseline.yaml")
    assert find_config("x.yaml", "/logs/a") == Path("x.yaml")
    with pytest.raises(BadInput, match="Name one with --config"):
        find_config(None, "/logs/c")
    monkeypatch.setenv("PIPELINE_CONFIG", "y.yaml")
    assert find_config(None, "/logs/c") == Path("y.yaml")


def test_writing_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a" / "f", "one")
    write_atomic(tmp_path / "a" / "f", "two")
    assert (tmp_path / "a" / "f").read_text() == "two"
    assert os.listdir(tmp_path / "a") == ["f"]


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with publish_directory(target) as directory:
        (directory / "f").write_text("one")
        assert not target.exists()
    with pytest.raises(RuntimeError), publish_directory(target) as directory:
        (directory / "f").write_text("broken")
        raise RuntimeError
    assert (target / "f").read_text() == "one"
    with publish_directory(target) as directory:
        (directory / "f").write_text("two")
    assert (target / "f").read_text() == "two"
    assert os.listdir(tmp_path) == ["out"]


def test_progress_is_sparing_but_never_misses_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "progress.json"
    monkeypatch.setenv("PIPELINE_PROGRESS", str(path))
    progress = Progress(total=3, every_s=3600)
    for done in (1, 2):
        progress.report(done, "training", 12.34, 5.0)
    first = json.loads(path.read_text())
    assert (first["done"], first["total"], first["unit"]) == (1, 3, "steps")
    assert (first["rate"], first["rate_unit"], first["loss"]) == (12.3, "tokens/s", 5.0)
    progress.report(3, "done")
    assert json.loads(path.read_text())["done"] == 3


def test_a_chain_is_told_of_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint"
    monkeypatch.setenv("PIPELINE_CHECKPOINT", str(path))
    for step in (5, 10):
        mark_checkpoint(step)
        assert path.read_text() == f"{step}\n"
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_progress_does_nothing_when_nobody_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIPELINE_PROGRESS", raising=False)
    monkeypatch.delenv("PIPELINE_CHECKPOINT", raising=False)
    monkeypatch.chdir(tmp_path)
    Progress(1).report(1, "done")
    mark_checkpoint(1)
    assert os.listdir(tmp_path) == []
