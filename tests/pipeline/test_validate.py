"""From parsed YAML to structs, with all problems at once."""

from __future__ import annotations

from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import validate
from pipeline.errors import ConfigError
from tests.draws import draws


class Inner(msgspec.Struct, frozen=True):
    size: int
    kind: Literal["a", "b"] = "a"

    def __post_init__(self):
        if self.size < 0:
            raise ValueError("size is negative. Raise it")


class Outer(msgspec.Struct, frozen=True):
    name: str
    inner: Inner | None = None
    numbers: list[int] = []
    renamed: int = msgspec.field(default=0, name="global")


def problems_of(raw):
    problems = []
    built = validate.build(Outer, raw, "top", problems)
    assert (built is None) == bool(problems)
    return problems


def test_builds_nested_structs_and_renamed_fields():
    problems = []
    raw = {"name": "x", "inner": {"size": 3}, "global": 5}
    assert validate.build(Outer, raw, "top", problems) == Outer("x", Inner(3), [], 5)
    assert not problems


WRONG = [
    ("no-mapping", 5, ["top: expected a mapping of keys, got 5"]),
    ("missing", {}, ["top.name: missing"]),
    ("unknown", {"name": "x", "nmae": 1}, ["top.nmae: unknown key; did you mean 'name'?"]),
    ("type", {"name": 5}, ["top.name: expected `str`, got `int`: 5"]),
    ("bool-no-int", {"name": "x", "global": True}, ["top.global: expected `int`, got `bool`"]),
    ("float-no-int", {"name": "x", "global": 1.0}, ["top.global: expected `int`, got `float`"]),
    ("list-item", {"name": "x", "numbers": [1, "b"]}, ["top.numbers[1]: expected `int`"]),
    ("nested-missing", {"name": "x", "inner": {}}, ["top.inner.size: missing"]),
    ("nested-rule", {"name": "x", "inner": {"size": -1}}, ["top.inner: size is negative"]),
    ("literal", {"name": "x", "inner": {"size": 1, "kind": "c"}}, ["top.inner.kind: invalid"]),
    ("field-name", {"name": "x", "renamed": 1}, ["top.renamed: unknown key"]),
    (
        "all-at-once",
        {"nmae": 1, "inner": {"size": "x", "knid": 2}, "numbers": "y"},
        ["top.nmae", "top.name: missing", "top.inner.knid", "top.inner.size", "top.numbers"],
    ),
]


@pytest.mark.parametrize(("raw", "expected"), [c[1:] for c in WRONG], ids=[c[0] for c in WRONG])
def test_reports_every_problem_with_its_path(raw, expected):
    problems = problems_of(raw)
    assert len(problems) == len(expected)
    for words in expected:
        assert any(p.startswith(words) for p in problems), (words, problems)


def test_shows_long_values_short():
    (problem,) = problems_of({"name": ["x" * 500]})
    assert len(problem) < 150


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "inner", "numbers", "global", "size", "x"]), inner
        )
    ),
    max_leaves=8,
)


@draws(200)
@given(ANY)
def test_build_never_raises(raw):
    problems_of(raw)


def test_finish_names_the_file_on_every_line_and_drops_repetitions():
    with pytest.raises(ConfigError) as caught:
        validate.finish(["a", "b", "a"], "f.yaml")
    assert caught.value.problems == ("f.yaml: a", "f.yaml: b")
    validate.finish([], "f.yaml")


SIZES = [
    ("480GB", 480 * 10**9), ("64GiB", 64 * 2**30), ("1 TB", 10**12), ("1.5GB", 1_500_000_000),
    ("512m", 512 * 10**6), ("2k", 2000), ("7", 7), (7, 7), ("100B", 100), ("1TiB", 2**40),
    ("0.5GiB", 2**29), (" 3GB ", 3 * 10**9), ("999999999999999", 10**15 - 1),
]  # fmt: skip


@pytest.mark.parametrize(("text", "size"), SIZES, ids=[str(t) for t, _ in SIZES])
def test_parse_size(text, size):
    assert validate.parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "-5GB", "5 XB", "5GBs", "1e9", "0", 0, -1, "0GB", "٣GB", "9" * 400, "0.1B"]
)
def test_parse_size_refuses(text):
    with pytest.raises(ValueError, match=r"no size|nothing"):
        validate.parse_size(text)


TIMES = [
    ("48:00:00", 172800), ("00:00:01", 1), ("2-00:00:00", 172800), ("1-12:30:05", 131405),
    ("100:00:00", 360000), (3600, 3600), ("0:5:0", 300), (" 01:00:00 ", 3600),
]  # fmt: skip


@pytest.mark.parametrize(("text", "seconds"), TIMES, ids=[str(t) for t, _ in TIMES])
def test_parse_walltime(text, seconds):
    assert validate.parse_walltime(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "48h",
        "1h",
        "48:00",
        "00:60:00",
        "00:00:60",
        "-1:00:00",
        "00:00:00",
        0,
        -5,
        "3600",
        "9:9",
    ],
)
def test_parse_walltime_refuses(text):
    with pytest.raises(ValueError, match=r"no walltime|no time"):
        validate.parse_walltime(text)


@given(st.integers(1, 10**8))
def test_walltimes_round_trip(seconds):
    assert validate.parse_walltime(validate.format_walltime(seconds)) == seconds
