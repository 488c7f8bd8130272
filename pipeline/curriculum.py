"""A training's values that change at given steps: `parameters.curriculum_stages`, checked here as
the trainers read them (training/curriculum.py, which this package does not import)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from pipeline import validate
from pipeline.sections import Batch, CurriculumStage, Model, Section, Train

KEY = "curriculum_stages"
PATH = f"parameters.{KEY}"


def rows_of(parameters: Mapping[str, Any], problems: list[str]) -> list[CurriculumStage]:
    """The rows of a study that has some; what is wrong with them goes to `problems`."""
    raw = parameters.get(KEY)
    if raw is None:
        return []
    if not isinstance(raw, list) or not raw:
        problems.append(f"{PATH}: expected a list of rows, {{step: 0, seq_len: 64, ...}}")
        return []
    before = len(problems)
    made = [
        validate.build(CurriculumStage, row, f"{PATH}[{i}]", problems) for i, row in enumerate(raw)
    ]
    rows = [row for row in made if row is not None]
    if len(problems) > before:
        return []
    if rows[0].step != 0:
        problems.append(
            f"{PATH}[0].step: {rows[0].step}, and nothing says what holds before. Begin at 0"
        )
    for number, (one, other) in enumerate(pairwise(rows), 1):
        if other.step <= one.step:
            problems.append(
                f"{PATH}[{number}].step: {other.step} is not after {one.step}. Steps must grow "
                "from row to row"
            )
    return rows


def check(
    rows: list[CurriculumStage], sections: Mapping[str, Section], ranks: int, problems: list[str]
) -> None:
    """What the other sections and the number of processes allow."""
    batch, model, train = (sections.get(name) for name in ("batch", "model", "train"))
    for number, row in enumerate(rows):
        where = f"{PATH}[{number}]"
        if isinstance(model, Model) and (row.seq_len or 1) > model.seq_length:
            problems.append(
                f"{where}.seq_len: {row.seq_len} is above model.seq_length {model.seq_length}, the "
                "positions that the model has. Raise it or shorten the stage"
            )
        if isinstance(batch, Batch) and (row.batch_size or batch.global_size) % ranks:
            problems.append(
                f"{where}.batch_size: {row.batch_size or batch.global_size} is no multiple of "
                f"{ranks} GPUs, which could not share it equally. Ask for fewer GPUs"
            )
    if rows and isinstance(train, Train) and train.backend == "nemo":
        problems.append(
            f"{PATH}: the NeMo back end trains with one length and one batch. Set train.backend "
            "to hf, or remove the stages"
        )


def spans(p: Mapping[str, Any]) -> list[tuple[int, int, int]]:
    """(updates, samples an update, tokens a sample) of each part of a training, in order; one where
    it has no stages. From resolved parameters, which hold what a row does not name."""
    steps = p["train"]["max_steps"]
    rows = [row for row in p.get(KEY) or [{"step": 0}] if row["step"] < steps]
    ends = [row["step"] for row in rows[1:]] + [steps]
    return [
        (
            end - row["step"],
            row.get("batch_size") or p["batch"]["global"],
            row.get("seq_len") or p["model"]["seq_length"],
        )
        for row, end in zip(rows, ends, strict=True)
    ]


def validations(p: Mapping[str, Any]) -> int:
    """How often a training looks at held-out text."""
    train = p["train"]
    last, also = train["max_steps"], train.get("validation") or {}
    every = train["validate_every"]
    marks = {last, *(step for step in also.get("at", ()) if step < last)}
    if also.get("stage_ends"):
        marks |= {row["step"] for row in p.get(KEY) or () if 0 < row["step"] < last}
    return int(last // every + len({step for step in marks if step % every}))


def largest_micro(share: int, length: int, micro: int, longest: int) -> int:
    """The samples of `length` on a device at a time: the largest divisor of its `share` of a batch
    with no more tokens than `micro` samples of `longest`."""
    most = max(micro * longest // length, 1)
    return next(size for size in range(min(share, most), 0, -1) if share % size == 0)
