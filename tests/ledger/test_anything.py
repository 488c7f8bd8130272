"""Whatever stands in a study or in a file that a program left: an answer, never a traceback."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from ledger import checks, checks_file, claims, claims_file
from ledger.checks import World
from ledger.checks_file import SOURCES, TESTS
from tests.draws import draws

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["1 +", "x.y", "3 GB", "${a.b}", "a*b*c", "out.jsonl", "loss", "up", "min"])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3),
    max_leaves=4,
)  # fmt: skip


def mapping(must, may):
    """A mapping that has some keys for certain and others now and then, with any values."""
    return st.fixed_dictionaries(
        {key: st.just(value) if isinstance(value, str) else value for key, value in must.items()},
        optional=dict.fromkeys(may, VALUES),
    )


CLAIM = mapping({"id": "a", "says": "b", "claimed": VALUES, "computed": VALUES}, ["tolerance"])
CLAIMS = st.one_of(CLAIM, mapping({}, claims_file.KEYS), mapping({"let": VALUES}, []))


@draws(150)
@given(st.lists(CLAIMS, max_size=2) | VALUES)
def test_claims(raw):
    found, problems = claims_file.read(raw)
    assert all(isinstance(problem, str) for problem in problems)
    _, more = claims.judge(found, {"x": {"y": 3}})
    assert all(isinstance(problem, str) for problem in more)


@st.composite
def a_check(draw):
    source = draw(st.sampled_from(list(SOURCES)))
    may = draw(st.sets(st.sampled_from(["tolerance", "optional", *SOURCES[source]]), max_size=3))
    must = {"id": "a", source: VALUES, draw(st.sampled_from(TESTS)): VALUES}
    return draw(mapping(must, may))


@draws(200)
@given(a_check())
def test_checks(tmp_path_factory, raw):
    found, problems = checks_file.read([raw], "gate")
    assert bool(found) != bool(problems)
    root = tmp_path_factory.getbasetemp()
    for check in found:
        assert str(checks.judge(check, World(root, {"x": {"y": 3}}, values={"a": {"loss": 1}})))


ROW = mapping({"step": st.integers(0, 9), "loss": VALUES}, [])
ROWS = st.lists(ROW.map(json.dumps), max_size=9)
LEFT = (
    st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode())
    | ROWS.map(lambda rows: "\n".join(rows).encode())
)  # fmt: skip
TRIES = [
    {"key": "loss", "below": 3}, {"key": "loss", "trend": "down"}, {"key": "a.b.0", "near": 3},
    {"key": "loss", "is": 3, "at": "min"}, {"key": "loss", "above": 1, "at": 7},
]  # fmt: skip


@draws(150)
@given(LEFT, st.sampled_from(TRIES), st.sampled_from(["json", "jsonl", "yaml"]))
def test_files(tmp_path_factory, left, check, suffix):
    path = tmp_path_factory.getbasetemp() / f"left.{suffix}"
    path.write_bytes(left)
    found, problems = checks_file.read([{"id": "a", "file": str(path), **check}], "gate")
    assert not problems
    assert checks.judge(found[0], World(path.parent)).verdict in ("PASS", "FAIL", "INCONCLUSIVE")
