"""Checkpoints of other values, incomplete ones, and those of nobody."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.doctor import checkpoints
from pipeline.doctor.check import Scope
from tests.pipeline.doctored import asked, bad, by_name, facts, scope

IDENTITY = {
    "seed": 42, "batch.global": 16, "model.seq_length": 128, "model.config.layers": 4,
    "optimizer.lr": 0.01, "optimizer.betas": [0.9, 0.95], "train.split": [90.0, 10.0, 0.0],
    "train.precision": "fp32", "data.tokens": 65320, "data.digest": "ab", "model.base": "none",
}  # fmt: skip
MANIFEST = {
    "step": 120, "max_steps": 120, "consumed_samples": 1920, "identity": IDENTITY,
    "files": {"state.pt": {"bytes": 3, "sha256": "x"}},
}  # fmt: skip


def demo(project: Path = Path("/srv/project")) -> Scope:
    return scope("train", project=project, profiles=("demo",), log_dir=f"{project}/logs")


def folders(of: Scope) -> list[Path]:
    return [Path(path) for path in checkpoints._folders(of)]


def write(folder: Path, step: int, manifest: dict[str, Any] | None, size: int = 3) -> Path:
    own = folder / f"step_{step:08d}"
    own.mkdir(parents=True)
    (own / "state.pt").write_bytes(b"x" * size)
    if manifest is not None:
        (own / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return own


def look(of: Scope, project: Path) -> list[str]:
    return bad(checkpoints.checks(of, asked(checkpoints.questions(of), project)))


def changed(**keys: Any) -> dict[str, Any]:
    manifest = copy.deepcopy(MANIFEST)
    manifest["identity"] |= {k.replace("__", "."): v for k, v in keys.items()}  # type: ignore[operator]
    return manifest


def test_nothing_there_is_nothing_to_say(tmp_path: Path) -> None:
    of = demo(tmp_path)
    assert list(checkpoints.checks(of, asked(checkpoints.questions(of), tmp_path))) == []


def test_a_checkpoint_of_this_study(tmp_path: Path) -> None:
    of = demo(tmp_path / "a 'b'")
    write(folders(of)[2], 60, MANIFEST)
    write(folders(of)[2], 120, MANIFEST)
    answers = asked(checkpoints.questions(of), tmp_path)
    [check] = by_name(checkpoints.checks(of, answers)).values()
    assert (check.status, check.needed_by) == ("ok", ("train_patok",))
    assert check.fact == "2 whole, goes on from step_00000120"


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (changed(seed=7), "seed 7 -> 42"),
        (changed(optimizer__lr=0.001), "optimizer.lr 0.001 -> 0.01"),
        (changed(train__split=[98, 1, 1]), "train.split [98, 1, 1] -> [90, 10, 0]"),
        (changed(model__config__layers=26), "model.config.layers 26 -> 4"),
        ({**MANIFEST, "max_steps": 500}, "train.max_steps 500 -> 120"),
    ],
)
def test_a_checkpoint_of_other_values(tmp_path: Path, manifest: dict[str, Any], words: str) -> None:
    of = demo(tmp_path)
    write(folders(of)[0], 120, manifest)
    [line] = look(of, tmp_path)
    assert line.startswith("fail checkpoints of train_vanilla: step_00000120 was made under")
    assert words in line


@pytest.mark.parametrize(
    "manifest",
    [
        {**MANIFEST, "max_steps": 60},
        changed(optimizer__lr=1e-2, optimizer__betas=(0.9, 0.95), data__digest="of other data"),
        changed(unknown__key=3),
        {**MANIFEST, "identity": None},
    ],
    ids=["fewer steps", "the same numbers", "a key that is no more", "no identity"],
)
def test_what_is_no_difference(tmp_path: Path, manifest: dict[str, Any]) -> None:
    of = demo(tmp_path)
    write(folders(of)[0], 120, manifest)
    assert look(of, tmp_path) == []


def test_data_that_were_made_anew() -> None:
    of = demo()
    job = of.jobs[0]
    prefix = of.path(job.config["parameters"]["train"]["data_path"])
    assert checkpoints.differences(MANIFEST, job, {prefix: 65320}) == []
    assert checkpoints.differences(MANIFEST, job, {prefix: 7}) == ["data.tokens 65320 -> 7"]


@pytest.mark.parametrize(
    ("size", "manifest", "words"),
    [
        (2, MANIFEST, "state.pt has 2 bytes of 3"),
        (3, None, "it has no manifest"),
        (3, {"files": 7}, "it has no manifest"),
    ],
)
def test_an_incomplete_checkpoint(
    tmp_path: Path, size: int, manifest: dict[str, Any] | None, words: str
) -> None:
    of = demo(tmp_path)
    write(folders(of)[1], 120, manifest, size)
    assert look(of, tmp_path) == [
        f"fail checkpoints of train_stochastok: step_00000120 is incomplete: {words}"
    ]


def test_an_older_whole_one_makes_it_milder(tmp_path: Path) -> None:
    of = demo(tmp_path)
    write(folders(of)[1], 60, MANIFEST)
    write(folders(of)[1], 120, None)
    (folders(of)[1] / ".step_00000180.tmp").mkdir()
    assert look(of, tmp_path) == [
        "warn checkpoints of train_stochastok: step_00000120 is incomplete: it has no manifest",
        "warn checkpoints of train_stochastok: 1 unfinished writes: .step_00000180.tmp",
    ]


def test_a_folder_of_nobody(tmp_path: Path) -> None:
    of = demo(tmp_path)
    write(folders(of)[0], 120, MANIFEST)
    renamed = folders(of)[0].with_name("gemma3-1b-old name")
    write(renamed, 120, MANIFEST)
    (folders(of)[0].parent / "notes").mkdir()
    [line] = look(of, tmp_path)
    assert line.startswith(f"warn {of.short(str(renamed))}: holds checkpoints of no arm")


def test_nemos_own_record_and_marks(tmp_path: Path) -> None:
    of = scope("train", project=tmp_path)
    folder = folders(of)[0]
    own = write(folder, 1000, None)
    own.rename(folder / "step_00001000-last")
    (folder / "run.json").write_text(json.dumps({"identity": {"seed": 1}, "max_steps": 10000}))
    [line] = look(of, tmp_path)
    assert "step_00001000-last was made under other values (seed 1 -> 42)" in line
    (folder / "run.json").write_text("not json")
    (folder / "step_00001000-last-unfinished").write_text("")
    [line] = look(of, tmp_path)
    assert "its write did not end" in line


@pytest.mark.parametrize(
    "text",
    ["", "entry", "entry|x|f|1|a", "record|0|run.json|{", "record|0|x|[1]", "beside|0|",
     "entry|0|f|one|step_00000001/state.pt", "nothing|0|f|1|a", "\x00\x1b[31m|||"],
)  # fmt: skip
def test_lines_of_anything_else_do_no_harm(text: str) -> None:
    of = demo()
    by_name(checkpoints.checks(of, facts(checkpoints=text)))
