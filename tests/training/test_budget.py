"""Equal text: an arm that cuts it into more tokens makes as many more updates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training import budget
from training.contract import BadInput, Section

Documents = list[list[int]]
Write = Callable[[Path, Documents], None]


@pytest.fixture
def data(tmp_path: Path, write_shard: Write) -> Path:
    """Ten documents in two parts: of 8 tokens in `vanilla`, of 12 in `patok`."""
    for arm, length in (("vanilla", 8), ("patok", 12)):
        for part in ("0001", "0002"):
            write_shard(tmp_path / arm / f"x_{part}", [[2] * length for _ in range(5)])
    return tmp_path


def section(data: Path, **train: Any) -> Section:
    given = {
        "data_path": str(data / "patok/x"), "reference_data": str(data / "vanilla/x"),
        "max_steps": 1000, "split": [80, 20, 0], **train,
    }  # fmt: skip
    return Section({"parameters": {"train": given, "corpus": {"chunks": 2}}}, Path("job.yaml"))


def steps(config: Section) -> int:
    budget.apply(config)
    config.raise_problems()
    found: int = config.values["parameters"]["train"]["max_steps"]
    return found


def test_equal_tokens_are_the_default(data: Path) -> None:
    assert steps(section(data)) == steps(section(data, budget="tokens")) == 1000


def test_equal_text_makes_updates_grow_with_the_tokens(data: Path) -> None:
    assert steps(section(data, budget="text")) == 1500
    assert steps(section(data, budget="text", data_path=str(data / "vanilla/x"))) == 1000


def test_only_documents_that_are_trained_on_count(data: Path, write_shard: Write) -> None:
    for part in ("0001", "0002"):
        longer = [[2] * 12] * 4 + [[2] * 900]  # the last document of five is for validation
        write_shard(data / f"patok/x_{part}", longer)
    assert budget.training_tokens(data / "patok/x", 2, (80.0, 20.0, 0.0)) == (8, 96)
    assert steps(section(data, budget="text")) == 1500


def test_without_a_reference_it_says_so(data: Path) -> None:
    with pytest.raises(BadInput, match="parameters.train.reference_data is missing"):
        steps(section(data, budget="text", reference_data=None))
    with pytest.raises(BadInput, match="nothere"):
        steps(section(data, budget="text", reference_data=str(data / "nothere/x")))


def test_other_documents_are_no_reference(data: Path, write_shard: Write) -> None:
    write_shard(data / "vanilla/x_0002", [[2] * 8])
    with pytest.raises(BadInput, match="8 training documents and"):
        steps(section(data, budget="text"))


def test_another_word_is_refused(data: Path) -> None:
    with pytest.raises(BadInput, match="'bytes', not one of tokens, text"):
        steps(section(data, budget="bytes"))
