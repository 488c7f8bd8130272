"""Hostile values, and ways of putting them into files that are otherwise real."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from pipeline import yamlio
from tests.draws import draws

ROOT = Path(__file__).parents[3]
STUDIES = sorted((ROOT / "studies").glob("*.yaml"))
SITES = sorted((ROOT / "sites").glob("example-*.yaml"))


def fuzz(examples: int = 200) -> settings:
    """Settings of a fuzz test: slow and large draws are its trade."""
    return draws(
        examples,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow,
                               HealthCheck.data_too_large, HealthCheck.large_base_example],
    )  # fmt: skip


class Raw(str):
    """YAML that is put into a file as it is."""


SHELL = [
    "$(touch CANARY)", "`touch CANARY`", "; touch CANARY", "&& touch CANARY", "| touch CANARY",
    "x\ntouch CANARY\n", "' ; touch CANARY ; '", '" ; touch CANARY ; "', "$(touch${IFS}CANARY)",
    ">CANARY", "${x:=$(touch CANARY)}", "a[$(touch CANARY)]", "-rf", "--help", "-", "--", "~",
    "~root", "*", "?", "[a-z]", "{a,b}", "!!", "%A_%a", "%", "\\", "a\\", "a b", " ", "\t", "'",
    '"', "''", "it's", "#x", "a=b", "[0]=x", "é", "火", "\u202egnp.exe", "\u200fx",
    "e\u0301", "\u2028", "\x85", "\x7f", "\x1b[31m\x1b]0;owned\x07", "$HOME", "$0", "$$",
    "\\$(touch CANARY)", "EOF", "END",
]  # fmt: skip
TEXTS = [
    *SHELL, "", ".", "..", "../..", "/", "/etc/passwd", "x" * 300, "x" * 20_000, "${arm}", "${x",
    "${task}", "${project}", "${corpus}", "{task}", "{config}", "{task4}{config}", "python",
    "{{ 7 * 7 }}", "{% include '/etc/passwd' %}", "YOUR_ACCOUNT", "none", "all", "command", "train",
    "local", "1-999999999", "x1e999", "12:30", "10**9",
]  # fmt: skip
SCALARS = [
    Raw(text)
    for text in (
        "~", "true", "false", "0", "-1", "1", "2", "1.5", "-0.0", ".nan", ".inf", "-.inf", "1e400",
        "1e308", "5e-324", "999999999", "1000000000", "1" + "0" * 30, "9" * 5000, "0x" + "f" * 6000,
        "-0x" + "f" * 6000, "0b" + "1" * 5000, "2020-01-01", "2020-01-01T10:00:00Z", "12:30:45",
        "18446744073709551616", "9223372036854775807", "-9223372036854775809", "1_000", "0o17",
        "!!python/object/apply:os.system ['touch CANARY']", "!!python/name:os.system ''",
        "!!python/object/new:os.system ['touch CANARY']", "!!python/module:os ''",
        "!!binary 'aGk='", "!!set {a, b}", "!!timestamp '2020-01-01'", "!!int x", "!!float ''",
        "!!str 5", "!x y",
        "!!null x", "!!bool maybe", "!!omap [a: 1]", "!!int '0x'", "!!float '1:2:'", "!!map []",
        '"\\ud800"', '"\\udfff x"', '"\\0"', '"\\e[0m"', '"\\u202e"', "*nobody", "&a [*a]",
        "&b {c: *b}", "[&c x, *c, *c]", "{<<: {a: 1}}", "{? [a] : 1}", "{? {a: 1} : 1}", "{1: 2}",
        "{~: 1}", "{true: 1}", "{.nan: 1}", "{a: 1, a: 2}", "[" * 30 + "]" * 30,
        "[" * 60 + "]" * 60, "{a: " * 30 + "1" + "}" * 30, "{a: " * 60 + "1" + "}" * 60,
        "[" * 200, "}", "'", "@x", "%x",
    )
]  # fmt: skip
COLLECTIONS: list[Any] = [
    [], {}, [[]], [None], ["x", 1], ["x", "x"], {"x": None}, {"": 1}, {"a.b": 1}, {"kind": 3},
    {"a": {"b": "${corpus}"}}, [{}], [[1, 2], [3]], {"count": 10**9, "over": "chunks"},
    {"count": -1, "over": "chunks"}, {"count": "${seed}", "over": "levels"}, [1.0, float("nan")],
    ["x"] * 3000, {f"k{i}": i for i in range(3000)}, ["${nothing}"] * 1000,
]  # fmt: skip
HOSTILE = st.one_of(
    st.sampled_from(SCALARS), st.sampled_from(TEXTS), st.sampled_from(COLLECTIONS),
    st.text(max_size=20), st.integers(), st.floats(), st.sampled_from(SHELL),
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every node below a value."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, child in items:
        yield (*path, key)
        yield from places(child, (*path, key))


def mutated(raw: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The tree with one to three of its nodes replaced, dropped, renamed, copied or added to."""
    change = st.tuples(
        st.sampled_from(list(places(raw))),
        st.sampled_from(["put"] * 5 + ["drop", "rename", "copy", "add"]),
        HOSTILE,
    )
    return st.lists(change, min_size=1, max_size=3).map(lambda changes: _change(raw, changes))


def _change(raw: dict[str, Any], changes: list[tuple[Any, str, Any]]) -> dict[str, Any]:
    tree = copy.deepcopy(raw)
    for place, action, odd in changes:
        with contextlib.suppress(KeyError, IndexError, TypeError):  # gone by an earlier change
            node: Any = tree
            for key in place[:-1]:
                node = node[key]
            _act(node, place[-1], action, copy.deepcopy(odd))
    return tree


def _act(node: Any, key: Any, action: str, odd: Any) -> None:
    if action == "put":
        node[key] = odd
    elif action == "drop":
        del node[key]
    elif action == "add":
        node[key]["added" if not isinstance(odd, str) else odd] = odd
    elif isinstance(node, dict):
        node[odd if isinstance(odd, str) else str(odd)] = node[key]
        if action == "rename":
            del node[key]


def text_of(value: Any) -> str:
    """A tree as YAML in one line, with what is `Raw` in it as it is."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, dict):
        pairs = (f"? {text_of(key)} : {text_of(child)}" for key, child in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(text_of, value)) + "]"
    if isinstance(value, float):
        return yamlio.dump(value).split("\n")[0]
    return json.dumps(value)


def raw_of(path: Path) -> dict[str, Any]:
    return yamlio.load(path)


@contextlib.contextmanager
def printed() -> Iterator[io.BytesIO]:
    """What is printed inside, as the bytes that a terminal would get; a character that has none is
    an error, as it is on a terminal."""
    raw = io.BytesIO()
    before, sys.stdout = sys.stdout, io.TextIOWrapper(raw, encoding="utf-8", errors="strict")
    try:
        yield raw
        sys.stdout.flush()
    finally:
        sys.stdout.detach()
        sys.stdout = before


def strict_json(raw: bytes) -> Any:
    """JSON as others read it: `NaN` and `Infinity` are none."""

    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(raw.decode(), parse_constant=refuse)
