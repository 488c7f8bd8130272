"""YAML in, YAML out, atomic writes, and the laws of merge and flatten."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import yamlio
from pipeline.errors import ConfigError, StateError
from tests.draws import draws

ROOT = Path(__file__).parents[2]

SCALARS = [
    ("1e-4", 0.0001),
    ("1E+3", 1000.0),
    ("-1e-8", -1e-8),
    ("2.5e-5", 2.5e-5),
    ("1.", 1.0),
    (".5", 0.5),
    ("1.e3", 1000.0),
    ("12", 12),
    ("-3", -3),
    ("1_000", 1000),
    ("0x10", 16),
    ("48:00:00", "48:00:00"),
    ("1:30", "1:30"),
    ("190:20:30.15", "190:20:30.15"),
    ("2-00:00:00", "2-00:00:00"),
    ("2020-01-01", "2020-01-01"),
    ("2020-01-01T10:00:00Z", "2020-01-01T10:00:00Z"),
    ("480GB", "480GB"),
    ("2.6.0", "2.6.0"),
    ("e5", "e5"),
    ("1e", "1e"),
    ("'1e-4'", "1e-4"),
    ('"12"', "12"),
    ("true", True),
    ("null", None),
    ("~", None),
    ("", None),
    ("${corpus.chunks}", "${corpus.chunks}"),
    ("[2, 3, 4]", [2, 3, 4]),
    ("{a: {b: 1}}", {"a": {"b": 1}}),
    ("wikang Filipino ñ 火", "wikang Filipino ñ 火"),
]


@pytest.mark.parametrize(("text", "value"), SCALARS, ids=[text or "empty" for text, _ in SCALARS])
def test_reads_a_value(text, value):
    found = yamlio.parse(f"key: {text}", "x")["key"]
    assert found == value
    assert type(found) is type(value)


KEYS = ["1", "true", "no", "~", "1e3", "48:00:00", "2020-01-01", "<<", "010"]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_the_text_typed(key):
    assert yamlio.parse(f"{key}: {{a: 1}}", "x") == {key: {"a": 1}}


def test_keys_that_equal_as_numbers_stay_apart():
    assert yamlio.parse("{1: a, true: b, 1.0: c}", "x") == {"1": "a", "true": "b", "1.0": "c"}


DUPLICATES = [
    ("top", "a: 1\nb: 2\na: 3\n", "x:3:1"),
    ("nested", "a:\n  b: 1\n  b: 2\n", "x:3:3"),
    ("flow", "{a: 1, a: 2}", "x:1:8"),
    ("quoted", "a: 1\n'a': 2\n", "x:2:1"),
    ("in-list", "- {a: 1}\n- {b: 1, b: 2}\n", "x:2:10"),
    ("empty", "? \n: 1\n? \n: 2\n", "x:3"),
]


@pytest.mark.parametrize(
    ("text", "place"), [c[1:] for c in DUPLICATES], ids=[c[0] for c in DUPLICATES]
)
def test_a_key_given_twice_is_refused_with_its_place(text, place):
    with pytest.raises(ConfigError, match="stands here twice") as caught:
        yamlio.parse(text, "x")
    assert str(caught.value).startswith(place)


BROKEN = [
    ("tab", "a:\n\tb: 1", "x:2:1"),
    ("open-flow", "a: [1, 2", "did not find expected"),
    ("open-quote", 'a: "b', "x:1:"),
    ("two-documents", "a: 1\n---\nb: 2", "another document"),
    ("unknown-alias", "a: *b", "undefined alias"),
    ("unknown-tag", "a: !!python/object:os.system {}", "x:1:4"),
    ("own-tag", "a: !thing 3", "x:1:4"),
    ("set", "a: !!set {x, y}", "x:1:4"),
    ("binary", "a: !!binary aGk=", "x:1:4"),
    ("omap", "a: !!omap [b: 1]", "x:1:4"),
    ("timestamp", "a: !!timestamp foo", "x:1:4"),
    ("bad-bool", "a: !!bool maybe", "does not fit its tag"),
    ("bad-int", "a: !!int ''", "does not fit its tag"),
    ("int-of-list", "a: !!int [1]", "does not fit its tag"),
    ("bad-float", "a: !!float x", "does not fit its tag"),
    ("huge-int", "a: " + "9" * 5000, "does not fit its tag"),
    ("list-as-key", "? [1, 2]\n: 3", "a key must be a word"),
    ("map-as-key", "{{a: 1}: 2}", "a key must be a word"),
    ("recursive-key", "&a {*a : 1}", "a key must be a word"),
    ("equals-sign", "a: =", "x:1:4"),
    ("nul", 'a: "\\0"', "NUL"),
    ("nul-key", '"\\0": 1', "NUL"),
    ("control", "a: \x07", "acter"),
    ("surrogate", 'a: "\\ud800"', "Unicode"),
]


@pytest.mark.parametrize(("text", "words"), [c[1:] for c in BROKEN], ids=[c[0] for c in BROKEN])
def test_refuses_what_is_no_plain_yaml(text, words):
    with pytest.raises(ConfigError) as caught:
        yamlio.parse(text, "x")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("marker", ["<<<<<<< HEAD", ">>>>>>> other"])
def test_names_a_merge_conflict(marker):
    with pytest.raises(ConfigError, match="merge-conflict marker"):
        yamlio.parse(f"a: 1\n{marker}\nb: 2\n=======\nb: 3\n", "x")


def bomb(levels, width=10):
    lines = ["a0: &a0 [x, x]"]
    for n in range(1, levels):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]")
    return "\n".join(lines)


@pytest.mark.parametrize("levels", [7, 10, 30])
def test_refuses_aliases_that_multiply(levels):
    with pytest.raises(ConfigError, match="aliases"):
        yamlio.parse(bomb(levels), "x")


def test_refuses_multiplied_aliases_as_a_key():
    with pytest.raises(ConfigError, match="a key must be a word"):
        yamlio.parse(bomb(5) + "\n? *a4\n: 1", "x")


def test_takes_honest_aliases():
    assert yamlio.parse("a: &x {b: 1}\nc: *x", "x") == {"a": {"b": 1}, "c": {"b": 1}}


def test_refuses_a_value_that_holds_itself():
    with pytest.raises(ConfigError, match="nested deeper"):
        yamlio.parse("a: &a [*a]", "x")


@pytest.mark.parametrize("opening", ["[", "{", "- ", "? ", "{a: "])
@pytest.mark.parametrize("depth", [50, 5_000, 300_000])
def test_refuses_any_depth_without_falling_over(opening, depth):
    with pytest.raises(ConfigError):
        yamlio.parse(opening * depth, "x")


@pytest.mark.parametrize("depth", [1, 10, yamlio.MAX_DEPTH - 1])
def test_takes_a_fair_depth(depth):
    yamlio.parse("[" * depth + "]" * depth + " " * 20_000, "x")


@draws(300)
@given(
    st.text(alphabet=st.sampled_from("ab:-?!&*[]{}'\"|>#%@, \n\t~<=0123456789.eE_x$"), max_size=60)
)
def test_parse_raises_nothing_but_config_errors_on_yaml_like_text(text):
    try:
        yamlio.parse(text, "x")
    except ConfigError as error:
        assert str(error).startswith("x")


@draws(200)
@given(st.text(max_size=80))
def test_parse_raises_nothing_but_config_errors_on_any_text(text):
    with contextlib.suppress(ConfigError):
        yamlio.parse(text, "x")


TAGS = ["int", "float", "bool", "null", "str", "seq", "map", "timestamp", "set", "merge", "value"]


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("value", ["", "x", "1", "[1]", "{a: 1}", "0x", "-", "0b", "1:2", "."])
def test_parse_survives_any_tag_on_any_value(tag, value):
    with contextlib.suppress(ConfigError):
        yamlio.parse(f"a: !!{tag} {value}", "x")


@draws(60)
@given(st.binary(max_size=60))
def test_load_raises_nothing_but_config_errors_on_any_bytes(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(data)
    try:
        assert isinstance(yamlio.load(path), dict)
    except ConfigError as error:
        assert str(path) in str(error)


UNREADABLE = [
    ("not-utf8", b"a: \xff\xfe\x00"),
    ("latin-1", "a: \u00f1".encode("latin-1")),
    ("list", b"- a\n- b\n"),
    ("text", b"just words"),
    ("empty", b""),
    ("number", b"42"),
]


@pytest.mark.parametrize("data", [c[1] for c in UNREADABLE], ids=[c[0] for c in UNREADABLE])
def test_load_refuses(tmp_path, data):
    (tmp_path / "s.yaml").write_bytes(data)
    with pytest.raises(ConfigError, match=r"s\.yaml"):
        yamlio.load(tmp_path / "s.yaml")


def test_load_refuses_a_missing_file_a_folder_and_a_huge_file(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        yamlio.load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        yamlio.load(tmp_path)
    with (tmp_path / "big.yaml").open("wb") as file:
        file.truncate(yamlio.MAX_BYTES + 1)
    with pytest.raises(ConfigError, match="right file"):
        yamlio.load(tmp_path / "big.yaml")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-10**9, 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text("abcxyz_-.", min_size=1, max_size=6), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@draws(200)
@given(PLAIN)
def test_what_is_dumped_reads_back(value):
    assert yamlio.parse(yamlio.dump(value), "x") == value


@pytest.mark.parametrize(
    "text", ["48:00:00", "1e-4", "no", "12", "null", "2020-01-01", "a: b", "#"]
)
def test_text_that_looks_like_something_else_reads_back_as_text(text):
    assert yamlio.parse(yamlio.dump({"a": text}), "x") == {"a": text}


def test_dump_keeps_the_order_of_keys():
    assert list(yamlio.parse(yamlio.dump({"z": 1, "a": {"y": 1, "b": 2}}), "x")) == ["z", "a"]


# Atomic writes.


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_write_atomic_makes_folders_and_sets_the_mode(tmp_path, mode):
    path = tmp_path / "a b" / "ñ" / "file.yaml"
    yamlio.write_atomic(path, "tekstong ñ\n", mode=mode)
    assert path.read_text("utf-8") == "tekstong ñ\n"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert os.listdir(path.parent) == ["file.yaml"]


def test_write_atomic_replaces(tmp_path):
    for data in ("old", b"new bytes"):
        yamlio.write_atomic(tmp_path / "f", data)
    assert (tmp_path / "f").read_bytes() == b"new bytes"


def limited(script, path, size):
    """Runs a script whose process may write no file larger than `size` bytes."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        cwd=ROOT, preexec_fn=limit, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_full_disk_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "manifest.yaml"
    path.write_text("old: whole\n")
    done = limited(
        """
        import sys; from pathlib import Path
        from pipeline import yamlio; from pipeline.errors import StateError
        try:
            yamlio.write_atomic(Path(sys.argv[1]), "x" * 100_000)
        except StateError as error:
            print(error); sys.exit(7)
        """,
        path, 4096,
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert "manifest.yaml: cannot be written" in done.stdout
    assert "untouched" in done.stdout
    assert path.read_text() == "old: whole\n"
    assert os.listdir(tmp_path) == ["manifest.yaml"]


def test_write_atomic_says_where_it_cannot_write(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot be written"):
        yamlio.write_atomic(tmp_path / "file" / "below", "x")


def test_write_atomic_does_not_replace_a_folder(tmp_path):
    (tmp_path / "d" / "e").mkdir(parents=True)
    with pytest.raises(StateError):
        yamlio.write_atomic(tmp_path / "d", "x")
    assert os.listdir(tmp_path) == ["d"]


# Laws.

TREES = st.recursive(
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3), max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner | st.integers(0, 3), max_size=3),
    max_leaves=8,
)


@given(TREES, TREES, TREES)
def test_merge_goes_left_to_right(a, b, c):
    assert yamlio.merge(a, b, c) == yamlio.merge(yamlio.merge(a, b), c)


@given(TREES)
def test_merge_with_nothing_or_itself_changes_nothing(a):
    assert yamlio.merge(a) == yamlio.merge(a, {}) == yamlio.merge({}, a) == yamlio.merge(a, a) == a


@given(TREES, TREES)
def test_an_overlay_has_its_way_and_its_base_is_not_touched(a, b):
    before = repr(a)
    flat = yamlio.flatten(yamlio.merge(a, b))
    for key, value in yamlio.flatten(b).items():
        if value != {}:
            assert flat[key] == value
    assert repr(a) == before


@given(TREES)
def test_flatten_loses_nothing(a):
    rebuilt = {}
    for key, value in yamlio.flatten(a).items():
        for word in reversed(key.split(".")):
            value = {word: value}
        rebuilt = yamlio.merge(rebuilt, value)
    assert rebuilt == a


def test_merge_replaces_lists_whole():
    assert yamlio.merge({"a": [1, 2]}, {"a": [3]}) == {"a": [3]}


NEAR = [
    ("transposed", "mirco", ["micro", "global"], "did you mean 'micro'? Valid: micro, global"),
    ("nothing-near", "zzz", ["micro", "global"], "Valid: global, micro"),
    ("no-names", "zzz", [], "Valid: none"),
]


@pytest.mark.parametrize(("name", "valid", "text"), [c[1:] for c in NEAR], ids=[c[0] for c in NEAR])
def test_nearest(name, valid, text):
    assert yamlio.nearest(name, valid) == text


def test_what_killed_commands_left_is_swept(tmp_path: Path) -> None:
    old, new, other = (tmp_path / n for n in (".x.a1.tmp", ".x.b2.tmp", ".y.c3.tmp"))
    for path in (old, new, other):
        path.write_text("half")
    for path in (old, other):
        os.utime(path, (1, 1))
    yamlio.write_atomic(tmp_path / "x", "whole")
    assert not old.exists() and new.exists() and other.exists()
