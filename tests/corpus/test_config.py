from __future__ import annotations

from pathlib import Path

import pytest

from corpus.config import Config
from corpus.errors import CorpusError


def load(tmp_path: Path, text: str) -> Config:
    (tmp_path / "job.yaml").write_text(text, encoding="utf-8")
    return Config.load(tmp_path / "job.yaml")


def test_exponents_are_numbers(tmp_path: Path) -> None:
    config = load(tmp_path, "parameters: {a: 1e-4, b: 3E+2, c: 2, d: '1e-4', e: 1.5}")
    assert [config.parameter(key, float) for key in "abce"] == [1e-4, 300.0, 2.0, 1.5]
    assert config.parameter("d", str) == "1e-4"


@pytest.mark.parametrize(
    ("key", "kind", "says"),
    [("seed", int, "parameters.seed is 'x', not a whole number"),
     ("flag", int, "parameters.flag is True"),
     ("none", str, "parameters.none is missing"),
     ("corpus.file", str, "parameters.corpus.file is missing"),
     ("seed.deeper", str, "parameters.seed.deeper is missing")])
def test_errors_name_file_and_key(tmp_path: Path, key: str, kind: type, says: str) -> None:
    config = load(tmp_path, "parameters: {seed: x, flag: true, none: null, corpus: {}}")
    with pytest.raises(CorpusError, match=r"job\.yaml") as raised:
        config.parameter(key, kind)
    assert says in str(raised.value)


def test_defaults_fill_only_what_is_missing(tmp_path: Path) -> None:
    config = load(tmp_path, "parameters: {seed: 1}")
    assert config.parameter("other", int, 7) == 7
    assert config.parameter("seed", int, 7) == 1


@pytest.mark.parametrize("text", ["a: [", "- 1", ""], ids=["broken", "list", "empty"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(CorpusError, match=r"job\.yaml"):
        load(tmp_path, text)
