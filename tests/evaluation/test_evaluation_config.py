"""The job's configuration, the messages, the progress file, atomic files."""

import errno
import json
from pathlib import Path

import pytest

from evaluation.config import Config, InputError, Progress, choose, guarded, load_config
from evaluation.files import sha256, write_bytes, write_json, write_jsonl


def load(path: Path, text: str) -> Config:
    path.write_text(text, encoding="utf-8")
    return load_config(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("3E5", 3e5), ("-2.5e-3", -2.5e-3), ("0.1", 0.1), ("1", 1.0)],
)
def test_numbers_are_read_as_floats(text: str, value: float, tmp_path: Path) -> None:
    assert load(tmp_path / "c.yaml", f"parameters: {{lr: {text}}}\n").get("lr", float) == value


def test_words_stay_words(tmp_path: Path) -> None:
    config = load(tmp_path / "c.yaml", "parameters: {a: e4, b: 1e, c: 12ab}\n")
    assert [config.get(key, str) for key in "abc"] == ["e4", "1e", "12ab"]


def test_missing_and_mistyped_values_are_named(tmp_path: Path) -> None:
    config = load(tmp_path / "c.yaml", "parameters: {a: {b: true}}\n")
    with pytest.raises(InputError, match=r"has no parameters\.a\.c"):
        config.get("a.c", str)
    with pytest.raises(InputError, match=r"parameters\.a\.b in .* is True, not int"):
        config.get("a.b", int)
    assert config.get("a.c", str, "x") == "x"
    assert config.top("job.arm", str, "") == ""


def test_another_arms_parameters(tmp_path: Path) -> None:
    text = "arms: {patok: {run: p, parameters: {x: 5}}}\nparameters: {x: 4}\n"
    config = load(tmp_path / "c.yaml", text)
    assert config.arm("patok").get("x", int) == 5
    with pytest.raises(InputError, match=r"has no arms\.vanilla"):
        config.arm("vanilla")


@pytest.mark.parametrize("text", ["a: [", "- 1", "job: {}", "!!python/object:os.system {}"])
def test_what_is_no_configuration_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        load(tmp_path / "c.yaml", text)


def test_a_missing_file_is_one_line_and_65(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(lambda: 0 if load_config(tmp_path / "none.yaml") else 1) == 65
    error = capsys.readouterr().err
    assert error.startswith("error: the configuration ") and error.count("\n") == 1
    assert error.endswith("Give --config the file that rendering wrote.\n")


def test_an_unknown_choice_lists_the_valid_ones() -> None:
    assert choose("mode", ["gen"], ["mcq", "gen"]) == ["gen"]
    with pytest.raises(InputError, match=r"mode 'all' is not known\. Choose from mcq, gen\."):
        choose("mode", ["all"], ["mcq", "gen"])


def test_progress_is_told_at_most_once_a_second_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "progress.json"
    monkeypatch.setenv("PIPELINE_PROGRESS", str(path))
    progress = Progress(total=10, unit="items")
    progress.advance(1, "first")
    progress.advance(4, "second")
    assert json.loads(path.read_text())["done"] == 1
    progress.advance(5, "last")
    told = json.loads(path.read_text())
    assert (told["done"], told["total"], told["message"]) == (10, 10, "last")
    assert {"unit", "rate", "rate_unit", "time"} <= told.keys()


def test_progress_is_silent_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPELINE_PROGRESS", raising=False)
    Progress(total=1, unit="items").advance(1, "done")


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "file"
    write_bytes(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_bytes(path, b"new")
    assert [p.name for p in path.parent.iterdir()] == ["file"] and path.read_bytes() == b"old"


def test_json_is_strict_and_readable(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    write_jsonl(tmp_path / "a.jsonl", [{"b": "ñ"}, {"a": 1}])
    assert (tmp_path / "a.jsonl").read_text(encoding="utf-8") == '{"b": "ñ"}\n{"a": 1}\n'
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a"), 1, "on device: 'a'. Make room"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a"), 1, "correct the path"),
        (MemoryError(), 71, "memory ran out"),
        (InputError("a", "b"), 65, "error: a. b.\n"),
    ],
)
def test_what_is_no_bug_is_a_line_and_a_code(
    error: Exception, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def program() -> int:
        raise error

    assert guarded(program) == code
    err = capsys.readouterr().err
    assert said in err and err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize("bug", [FileNotFoundError(errno.ENOENT, "none", "a"), ZeroDivisionError()])
def test_a_bug_keeps_its_traceback(bug: Exception) -> None:
    def program() -> int:
        raise bug

    with pytest.raises(type(bug)):
        guarded(program)
