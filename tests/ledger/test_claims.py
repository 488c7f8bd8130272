"""Claims: how they are read, what is wrong with them, and their verdicts."""

from __future__ import annotations

import pytest

from ledger import claims
from ledger.claims import Verdict
from ledger.claims_file import read

NAMES = {"batch": {"global": 256, "micro": 2}, "hours": [24, 48], "name": "gpt2", "mem": 22.4}


def one(claimed, computed, **more):
    claim = {"id": "it", "says": "it", "claimed": claimed, "computed": computed, **more}
    found, problems = read([claim])
    assert not problems
    judged, problems = claims.judge(found, NAMES)
    assert not problems, problems
    return judged[0]


VERDICTS = [
    ("whole", 512, "batch.global * batch.micro", "holds"),
    ("whole-off", 513, "batch.global * batch.micro", "contradicts"),
    ("float", 0.3, "0.1 + 0.2", "holds"),
    ("percent", "47 %", "341155 / 723282", "rounds"),
    ("percent-cut", "5 %", "40238 / 723282", "contradicts"),
    ("percent-exact", "50 %", "1 / 2", "holds"),
    ("digits", 1.15, "1.1537", "rounds"),
    ("digits-text", "1.10", "1.1037", "rounds"),
    ("digits-text-off", "1.10", "1.107", "contradicts"),
    ("half-up", "20 h", "20.5 h", "rounds"),
    ("half-down", "21 h", "20.5 h", "rounds"),
    ("grouped", "5,242,880,000", "524288 * 10_000", "holds"),
    ("million", "1.6 million", "1_490_000", "contradicts"),
    ("billion", "1.8 billion tokens", "1_800_000_000", "holds"),
    ("scientific", "2e6", "1_990_000", "rounds"),
    ("unit", "22.4 GiB", "24 GB", "rounds"),
    ("unit-off", "24 GiB", "24 GB", "contradicts"),
    ("unit-of-the-claim", "22.4 GB", "mem", "holds"),
    ("rate", "28 k tokens/s", "100 M tokens / 1 h", "rounds"),
    ("true", True, "1 < 2", "holds"),
    ("true-off", True, "1 > 2", "contradicts"),
    ("text", "gpt2", "name", "holds"),
    ("text-off", "gpt2-medium", "name", "contradicts"),
    ("list", [72, 144], "3 * hours", "holds"),
    ("list-off", [72, 145], "3 * hours", "contradicts"),
    ("list-rounds", ["73 h", "144 h"], "3 * hours * 1 h + 0.6 h", "contradicts"),
    ("list-of-three", [1, 2, 3.1], "[1, 2, 3.14]", "rounds"),
    ("range-inside", [30, 40], "35", "holds"),
    ("range-end", ["30 h", "40 h"], "40 h", "holds"),
    ("range-rounds", [30, 40], "40.3", "rounds"),
    ("range-off", [30, 40], "41", "contradicts"),
]


@pytest.mark.parametrize(("claimed", "computed", "verdict"), [case[1:] for case in VERDICTS],
                         ids=[case[0] for case in VERDICTS])  # fmt: skip
def test_a_verdict(claimed, computed, verdict):
    assert one(claimed, computed).verdict == verdict


TOLERANCES = [
    (20, "21.5", 2, "rounds"), (20, "22.5", 2, "contradicts"), (160, "162", "2 %", "rounds"),
    (160, "164", "2 %", "contradicts"), ("6.98 GB", "6.9865 GB", 0.01, "rounds"),
    ([90, 160], "[90, 162]", "2 %", "rounds"),
]  # fmt: skip


@pytest.mark.parametrize(("claimed", "computed", "tolerance", "verdict"), TOLERANCES)
def test_a_tolerance(claimed, computed, tolerance, verdict):
    assert one(claimed, computed, tolerance=tolerance).verdict == verdict


def test_what_is_shown_is_in_the_claim_s_unit():
    judged = one("8 GiB", "8 GB")
    assert (judged.claimed, judged.computed) == ("8 GiB", "7.450581 GiB")
    assert one([1, 2], "[1, 2.5]").computed == "1, 2.5"
    assert one("5 %", "40238 / 723282").computed == "5.563252 %"
    assert one(True, "1 > 2").computed == "false"


def test_an_acknowledged_contradiction_does_not_stand():
    assert one(1, "2").stands
    judged = one(1, "2", acknowledged="so it is")
    assert (judged.stands, judged.verdict, judged.note) == (False, "contradicts", "so it is")


def test_an_acknowledgement_that_is_out_of_date_is_told():
    judged = one(2, "2", acknowledged="so it was")
    assert not judged.stands and "no longer contradicts" in judged.note


def test_what_cannot_be_computed_says_why():
    found, problems = read([{"id": "a", "says": "b", "claimed": "3 GB", "why": "no shapes"}])
    assert not problems
    (judged,), _ = claims.judge(found, {})
    assert (judged.verdict, judged.note, judged.claimed) == (Verdict.OPEN, "no shapes", "3 GB")


def test_let_names_figures_for_all():
    raw = [
        {"id": "a", "says": "b", "claimed": 80, "computed": "twice * 5"},
        {"let": {"gpus": 8, "twice": "gpus * batch.micro", "both": [1, 2]}},
        {"id": "c", "says": "d", "claimed": 3, "computed": "sum(both)"},
    ]
    found, problems = read(raw)
    judged, more = claims.judge(found, NAMES)
    assert not problems and not more
    assert [j.verdict for j in judged] == ["holds", "holds"]


def test_a_name_that_is_not_there_is_a_problem_of_the_claim():
    raw = [
        {"let": {"x": "batch.globl"}},
        {"id": "a", "says": "b", "claimed": 1, "computed": "batch.mikro"},
        {"id": "c", "says": "d", "claimed": 1, "computed": "1"},
        {"id": "e", "says": "f", "claimed": "1 GB", "computed": "1 h"},
        {"id": "g", "says": "h", "claimed": 1, "computed": "[1, 2, 3]"},
        {"id": "i", "says": "j", "claimed": True, "computed": "3"},
    ]
    judged, problems = claims.judge(read(raw)[0], NAMES)
    assert [j.claim.id for j in judged] == ["c"]
    assert "claims let.x: 'batch.globl'" in problems[0]
    assert "claims a: " in problems[1] and "did you mean 'micro'" in problems[1]
    assert "claims e: computes seconds where the document gives bytes" in problems[2]
    assert "claims g: computes a list of 3 where the document gives 1 figures" in problems[3]
    assert "claims i: computes 3 where the document says True" in problems[4]


GOOD = {"id": "a", "says": "b", "claimed": 1, "computed": "1"}
WRONG = [
    ("no-list", {"id": 1}, "claims: expected a list"),
    ("no-mapping", ["x"], "claims[0]: expected a mapping"),
    ("unknown-key", [{**GOOD, "compted": "1"}], "claims[0].compted: unknown key; did you mean"),
    ("old-key", [{"id": "a", "says": "b", "expression": "1"}], "claims[0].expression: unknown key"),
    ("no-id", [{**GOOD, "id": ""}], "claims[0].id: missing"),
    ("odd-id", [{**GOOD, "id": "a b"}], "claims[0].id: 'a b' is no name"),
    ("twice", [GOOD, GOOD], "claims[1].id: 'a' names two claims"),
    ("no-says", [{k: v for k, v in GOOD.items() if k != "says"}], "claims[0].says: missing"),
    ("line", [{**GOOD, "line": "12"}], "claims[0].line: '12' is no line"),
    ("no-claimed", [{"id": "a", "says": "b", "computed": "1"}], "claims[0].claimed: missing"),
    ("claimed", [{**GOOD, "claimed": {}}], "claims[0].claimed: a group of values is no figure"),
    ("claimed-unit", [{**GOOD, "claimed": "3 layers"}], "claims[0].claimed: 'layers' is no unit"),
    ("claimed-empty", [{**GOOD, "claimed": []}], "claims[0].claimed: a list of 0 figures"),
    ("claimed-one", [{**GOOD, "claimed": [1]}], "claims[0].claimed: a list of 1 figures. Give"),
    ("syntax", [{**GOOD, "computed": "1 +"}], "claims[0].computed: '1 +', character 4:"),
    ("neither", [{"id": "a", "says": "b", "claimed": 1}], "claims[0].computed: missing"),
    ("both", [{**GOOD, "why": "x"}], "claims[0].why: is for a claim that cannot be computed"),
    ("why-acknowledged", [{"id": "a", "says": "b", "why": "x", "acknowledged": "y"}],
     "claims[0].acknowledged: goes with a contradiction"),
    ("acknowledged", [{**GOOD, "acknowledged": True}], "claims[0].acknowledged: True is no text"),
    ("tolerance", [{**GOOD, "tolerance": "much"}], "claims[0].tolerance: 'much' is none"),
    ("tolerance-less", [{**GOOD, "tolerance": -1}], "claims[0].tolerance: -1 is none"),
    ("let-more", [{"let": {}, "id": "a"}], "claims[0].let: stands alone"),
    ("let-unit", [{"let": {"GB": 1}}], "claims[0].let.GB: 'GB' is a unit"),
    ("let-word", [{"let": {"a-b": 1}}], "claims[0].let.a-b: 'a-b' is a unit, a function or"),
    ("let-value", [{"let": {"a": {}}}], "claims[0].let.a: a group of values is no number"),
    ("let-syntax", [{"let": {"a": "1 +"}}], "claims[0].let.a: '1 +', character 4"),
    ("many", [GOOD] * 1001, "claims: 1001 are too many"),
]


@pytest.mark.parametrize(("raw", "said"), [case[1:] for case in WRONG],
                         ids=[case[0] for case in WRONG])  # fmt: skip
def test_what_is_wrong_is_told_with_its_path(raw, said):
    _, problems = read(raw)
    assert any(problem.startswith(said) for problem in problems), problems
