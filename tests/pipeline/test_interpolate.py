"""`${...}` in a study's values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.interpolate import Resolver
from tests.draws import draws

PARAMETERS = {
    "seed": 42,
    "lr": 1e-4,
    "on": True,
    "none": None,
    "list": [1, "${seed}", "${run}"],
    "map": {"a": 1, "b": "${seed}", "deep": {"c": "${map.b}/${run}"}},
    "text": "run ${run} at ${lr}",
    "braces": "{config} and {task}",
    "dollar": "costs $5",
}
NAMES = {"run": "baseline", "task": "{task4}", "data": "data"}

VALUES = [
    ("int-kept", "${seed}", 42),
    ("float-kept", "${lr}", 1e-4),
    ("bool-kept", "${on}", True),
    ("null-kept", "${none}", None),
    ("list-kept", "${list}", [1, 42, "baseline"]),
    ("map-kept", "${map}", {"a": 1, "b": 42, "deep": {"c": "42/baseline"}}),
    ("in-text", "x_${seed}_${run}", "x_42_baseline"),
    ("through-text", "${text}", "run baseline at 0.0001"),
    ("deep", "${map.deep.c}", "42/baseline"),
    ("spaces", "${ seed }", 42),
    ("name", "${task}", "{task4}"),
    ("in-list", ["${seed}", {"k": "${run}"}], [42, {"k": "baseline"}]),
    ("tuple", ("${seed}",), [42]),
    ("braces-stay", "${braces}", "{config} and {task}"),
    ("dollar-stays", "${dollar}", "costs $5"),
    ("no-text", 7, 7),
]


@pytest.mark.parametrize(("raw", "value"), [c[1:] for c in VALUES], ids=[c[0] for c in VALUES])
def test_value(raw, value):
    resolver = Resolver(PARAMETERS, NAMES)
    found = resolver.value(raw, "here")
    assert found == value
    assert type(found) is type(value)
    assert not resolver.problems


WRONG = [
    ("unknown", "${sede}", "here: nothing is called 'sede'; did you mean 'seed'?"),
    ("unknown-deep", "${map.z}", "here: nothing is called 'map.z'"),
    ("below-a-leaf", "${seed.x}", "here: nothing is called 'seed.x'"),
    ("unclosed", "a ${seed", "opens a ${ that no } closes"),
    ("empty", "${}", "opens a ${"),
    ("nested", "${a${seed}}", "opens a ${"),
]


@pytest.mark.parametrize(("raw", "words"), [c[1:] for c in WRONG], ids=[c[0] for c in WRONG])
def test_problems(raw, words):
    resolver = Resolver(PARAMETERS, NAMES)
    resolver.value(raw, "here")
    assert len(resolver.problems) == 1
    assert words in resolver.problems[0]


def test_names_the_place_inside_a_value():
    resolver = Resolver(PARAMETERS, NAMES)
    resolver.value({"a": ["${x}"]}, "stages.s")
    assert resolver.problems[0].startswith("stages.s.a[0]: ")


CIRCLES = [
    ("itself", {"a": "${a}"}, "a -> a"),
    ("two", {"a": "${b}", "b": "${a}"}, "a -> b -> a"),
    ("three", {"a": "x${b}", "b": "${c}", "c": "${a}!"}, "a -> b -> c -> a"),
    ("its-own-section", {"a": {"b": "${a}"}}, "a -> a"),
]


@pytest.mark.parametrize(
    ("given_", "circle"), [c[1:] for c in CIRCLES], ids=[c[0] for c in CIRCLES]
)
def test_circles_are_shown(given_, circle):
    resolver = Resolver(given_, {})
    resolver.value("${a}", "here")
    assert any(problem.endswith(f" refers to itself: {circle}") for problem in resolver.problems)


@pytest.mark.parametrize("joined", [True, False], ids=["text", "lists"])
def test_references_that_multiply_are_refused(joined):
    step = ["${%d}", "${%d}"]
    given_: dict[str, object] = {"0": "x" * 10}
    for n in range(1, 40):
        given_[str(n)] = "".join(step) % (n - 1, n - 1) if joined else [s % (n - 1) for s in step]
    resolver = Resolver(given_, {})
    resolver.value(given_, "parameters")
    assert any("multiply" in problem for problem in resolver.problems)
    assert len(resolver.problems) == 1


def test_a_chain_without_end_is_refused():
    given_ = {str(n): f"${{{n + 1}}}" for n in range(5000)}
    resolver = Resolver({**given_, "5000": 1}, {})
    resolver.value("${0}", "here")
    assert resolver.problems


def test_a_fair_chain_is_followed():
    given_ = {str(n): f"${{{n + 1}}}" for n in range(50)}
    assert Resolver({**given_, "50": 1}, {}).value("${0}", "here") == 1


def test_used_holds_the_sections_that_were_named():
    resolver = Resolver(PARAMETERS, NAMES)
    resolver.value(["${map.deep.c}", "${run}", "${nothing}"], "here")
    assert resolver.used == {"map", "seed"}  # map.deep.c leads to seed


@draws(200)
@given(
    st.dictionaries(
        st.sampled_from("abcd"),
        st.text(alphabet=st.sampled_from("${}abcd. x"), max_size=12) | st.integers(),
    ),
    st.text(alphabet=st.sampled_from("${}abcd. x"), max_size=12),
)
def test_never_raises_and_leaves_no_reference(given_, raw):
    resolver = Resolver(given_, {})
    value = resolver.value(raw, "here")
    if not resolver.problems:
        assert "${" not in str(value)
