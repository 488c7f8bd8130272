"""Checks of what a run left: how each is judged, and what is wrong with those that do not read."""

from __future__ import annotations

import json

import pytest

from ledger import checks, checks_file
from ledger.checks import World

DOCUMENT = {
    "loss": 2.5, "nan": float("nan"), "name": "done", "ok": True, "quotas": {"A1": 4, "B1": 3},
    "a": {"b": [1, {"c": 7}], "d.e": 8}, "train/loss": 3, "none": None,
}  # fmt: skip


def row(step, **values):
    return {"step": step, **values}


ROWS = [
    row(10, loss=5.0, **{"val/ppl": 100}), row(20, loss=4.0), row(30, loss=3.0, **{"val/ppl": 60}),
    row(40, loss=3.5), row(50, loss=2.0, **{"val/ppl": 40}), row(60, loss=2.1),
]  # fmt: skip


@pytest.fixture
def world(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/d.json").write_text(json.dumps(DOCUMENT))
    (tmp_path / "out/d.yaml").write_text("loss: 2.5\na: {b: [1, {c: 7}]}\n")
    (tmp_path / "out/m.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS) + '{"st')
    (tmp_path / "out/0007.json").write_text('{"loss": 1}')
    parameters = {"model": {"vocab_size": 32101}, "gate": {"most": 2.6}}
    rows = {"C1": [tmp_path / "out/m.jsonl"]}
    return World(tmp_path, parameters, 7, {"C1": {"ppl.C1": 25.0}}, rows)


def judged(world, **check):
    found, problems = checks_file.read([{"id": "it", **check}], "gate")
    assert not problems
    return checks.judge(found[0], world)


D, M = "out/d.json", "out/m.jsonl"
CASES = [
    ("exists", {"file": D, "exists": True}, "PASS", "there"),
    ("exists-folder", {"file": "out", "exists": True}, "PASS", "there"),
    ("exists-not", {"file": "out/x", "exists": True}, "FAIL", "not there"),
    ("absent", {"file": "out/x", "exists": False}, "PASS", "not there"),
    ("absent-not", {"file": D, "exists": False}, "FAIL", "it is there"),
    ("exists-key", {"file": D, "key": "a.b", "exists": True}, "PASS", "there"),
    ("exists-key-not", {"file": D, "key": "a.x", "exists": True}, "FAIL", "not there"),
    ("is", {"file": D, "key": "loss", "is": 2.5}, "PASS", "2.5"),
    ("is-whole", {"file": D, "key": "train/loss", "is": 3.0}, "PASS", "3"),
    ("is-off", {"file": D, "key": "loss", "is": 2}, "FAIL", "2.5"),
    ("is-text", {"file": D, "key": "name", "is": "done"}, "PASS", "done"),
    ("is-true", {"file": D, "key": "ok", "is": True}, "PASS", "true"),
    ("is-true-no-1", {"file": D, "key": "ok", "is": 1}, "FAIL", "true"),
    ("is-null", {"file": D, "key": "none", "is": None}, "PASS", "None"),
    ("is-mapping", {"file": D, "key": "quotas", "is": {"B1": 3, "A1": 4}}, "PASS", "A1"),
    ("is-not", {"value": "a/b", "is_not": "a/c"}, "PASS", "a/b"),
    ("is-not-off", {"value": "a/b", "is_not": "a/b"}, "FAIL", "a/b"),
    ("key-list", {"file": D, "key": "a.b.1.c", "is": 7}, "PASS", "7"),
    ("key-dots", {"file": D, "key": "a.d.e", "is": 8}, "PASS", "8"),
    ("yaml", {"file": "out/d.yaml", "key": "a.b.1.c", "is": 7}, "PASS", "7"),
    ("task", {"file": "out/{task4}.json", "key": "loss", "is": 1}, "PASS", "1"),
    ("above", {"file": D, "key": "loss", "above": 2}, "PASS", "2.5"),
    ("above-end", {"file": D, "key": "loss", "above": 2.5}, "FAIL", "2.5"),
    ("at-least-end", {"file": D, "key": "loss", "at_least": 2.5}, "PASS", "2.5"),
    ("below-end", {"file": D, "key": "loss", "below": 2.5}, "FAIL", "2.5"),
    ("at-most-end", {"file": D, "key": "loss", "at_most": 2.5}, "PASS", "2.5"),
    ("below-nan", {"file": D, "key": "nan", "below": 50}, "FAIL", "nan"),
    ("between", {"file": D, "key": "loss", "between": [2.5, 3]}, "PASS", "2.5"),
    ("between-off", {"file": D, "key": "loss", "between": [2.6, 3]}, "FAIL", "2.5"),
    ("near", {"file": D, "key": "loss", "near": 3}, "PASS", "2.5"),
    ("near-off", {"file": D, "key": "loss", "near": 3.2}, "FAIL", "2.5"),
    ("near-tolerance", {"file": D, "key": "loss", "near": 2, "tolerance": 0.5}, "PASS", "2.5"),
    ("near-share", {"file": D, "key": "loss", "near": 2, "tolerance": "20 %"}, "FAIL", "2.5"),
    ("expression", {"file": D, "key": "loss", "below": "1.5 * log(model.vocab_size)"}, "PASS", ""),
    ("expression-off", {"file": D, "key": "loss", "above": "gate.most"}, "FAIL", "2.5"),
    ("expression-name", {"file": D, "key": "loss", "above": "gate.le"}, "INCONCLUSIVE", "gate.le"),
    ("expression-unit", {"file": D, "key": "loss", "above": "2 GB"}, "INCONCLUSIVE", "no plain"),
    ("text", {"file": D, "key": "name", "below": 3}, "INCONCLUSIVE", "done is no number"),
    ("no-file", {"file": "out/x.json", "key": "a", "is": 1}, "INCONCLUSIVE", "there is no"),
    ("no-key", {"file": D, "key": "lss", "is": 1}, "INCONCLUSIVE", "did you mean 'loss'"),
    ("no-format", {"file": "out", "key": "a", "is": 1}, "INCONCLUSIVE", "is none of .json"),
    ("last", {"file": M, "key": "val/ppl", "below": 50}, "PASS", "40"),
    ("first", {"file": M, "key": "val/ppl", "at": "first", "is": 100}, "PASS", "100"),
    ("min", {"file": M, "key": "loss", "at": "min", "is": 2.0}, "PASS", "2"),
    ("max", {"file": M, "key": "loss", "at": "max", "is": 5.0}, "PASS", "5"),
    ("step", {"file": M, "key": "loss", "at": 30, "is": 3.0}, "PASS", "3"),
    ("step-before", {"file": M, "key": "val/ppl", "at": 49, "is": 60}, "PASS", "60"),
    ("step-none", {"file": M, "key": "val/ppl", "at": 9, "is": 1}, "INCONCLUSIVE", "row at step 9"),
    ("row-none", {"file": M, "key": "lss", "is": 1}, "INCONCLUSIVE", "did you mean 'loss'"),
    ("trend", {"file": M, "key": "loss", "trend": "down"}, "PASS", "from 4.5 to 2.05"),
    ("trend-other", {"file": M, "key": "loss", "trend": "up"}, "FAIL", "from 4.5 to 2.05"),
    ("trend-few", {"file": M, "key": "val/ppl", "trend": "down"}, "INCONCLUSIVE", "3 rows, fewer"),
    ("metric", {"arm": "C1", "metric": "ppl.C1", "range": [20, 40]}, "PASS", "25"),
    ("metric-row", {"arm": "C1", "metric": "val/ppl", "at": 30, "below": 50}, "FAIL", "60"),
    ("metric-arm", {"arm": "C2", "metric": "ppl", "below": 5}, "INCONCLUSIVE", "no arm 'C2'"),
    ("metric-none", {"arm": "C1", "metric": "ppl.A1", "below": 5}, "INCONCLUSIVE", "no 'ppl.A1'"),
    ("metric-trend", {"arm": "C1", "metric": "loss", "trend": "down"}, "PASS", "medians"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "verdict", "found"), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])  # fmt: skip
def test_a_check(world, check, verdict, found):
    outcome = judged(world, **check)
    assert (outcome.verdict, found in outcome.found) == (verdict, True), outcome


def test_an_outcome_names_what_was_found_what_was_wanted_and_where(world):
    outcome = judged(world, file=M, key="val/ppl", at=35, below=50)
    assert str(outcome) == f"it: 60, wanted below 50 ({world.root}/out/m.jsonl, step 30)"


def test_a_step_that_a_resumed_run_wrote_again_counts_once(world):
    path = world.root / "out/again.jsonl"
    path.write_text('{"step": 1, "x": 1}\n{"step": 2, "x": 2}\n{"step": 1, "x": 5}\n')
    assert judged(world, file="out/again.jsonl", key="x", at=1, **{"is": 5}).verdict == "PASS"


def test_a_broken_line_in_the_middle_is_no_evidence(world):
    (world.root / "out/b.jsonl").write_text('{"step": 1, "x": 1}\n{"st\n{"step": 3, "x": 1}\n')
    outcome = judged(world, file="out/b.jsonl", key="x", **{"is": 1})
    assert outcome.verdict == "INCONCLUSIVE" and "line 2, is no JSON" in outcome.found


def test_a_number_that_is_none_fails_a_trend(world):
    rows = [row(s, x=float("nan") if s == 5 else 9.0 - s) for s in range(8)]
    (world.root / "out/n.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    outcome = judged(world, file="out/n.jsonl", key="x", trend="down")
    assert (outcome.verdict, outcome.found) == ("FAIL", "nan at step 5")


def test_an_optional_check_closes_nothing(world):
    assert judged(world, value=1, **{"is": 2}).closes
    assert not judged(world, value=1, optional=True, **{"is": 2}).closes
    assert judged(world, file="x.json", key="a", **{"is": 2}).closes, "nobody knows: no success"


OK = {"id": "a", "file": "x.json", "key": "k", "below": 3}
WRONG = [
    ("no-list", {"id": 1}, "gate: expected a list"),
    ("no-mapping", ["x"], "gate[0]: expected a mapping"),
    ("no-id", [{"file": "x", "exists": True}], "gate[0].id: missing"),
    ("twice", [OK, OK], "gate[1].id: 'a' names two checks"),
    ("no-source", [{"id": "a", "below": 3}], "gate[0]: says nothing for what it looks at"),
    ("two-sources", [{**OK, "value": 3}], "gate[0]: says file and value for what it looks at"),
    ("no-test", [{"id": "a", "file": "x.json", "key": "k"}], "gate[0]: says nothing for what is"),
    ("two-tests", [{**OK, "above": 1}], "gate[0]: says above and below for what is wanted"),
    ("unknown", [{**OK, "blow": 1}], "gate[0].blow: unknown key; did you mean 'below'"),
    ("no-key", [{"id": "a", "file": "x", "below": 1}], "gate[0].key: missing"),
    ("number", [{**OK, "below": "x +"}], "gate[0].below: 'x +', character 4"),
    ("true", [{**OK, "below": True}], "gate[0].below: True is no number"),
    ("between", [{"id": "a", "value": 1, "between": [1]}], "gate[0].between: a list of 1 is not"),
    ("exists", [{"id": "a", "file": "x", "exists": "yes"}], "gate[0].exists: 'yes' is neither"),
    ("trend", [{"id": "a", "file": "x", "key": "k", "trend": "lower"}], "gate[0].trend: is `up`"),
    ("at", [{**OK, "at": "best"}], "gate[0].at: 'best' is no step"),
    ("tolerance", [{**OK, "tolerance": 1}], "gate[0].tolerance: goes with `near`"),
    ("optional", [{**OK, "optional": 1}], "gate[0].optional: 1 is neither"),
    ("file", [{**OK, "file": 3}], "gate[0].file: 3 is no text"),
    ("order", [{"id": "a", "matrix": "x*", "order": "lowest"}], "gate[0].order: 'lowest' is none"),
    ("order-alone", [{"id": "a", "value": 1, "order": "x"}], "gate[0].order: a matrix has"),
    ("matrix-alone", [{"id": "a", "matrix": "x*", "below": 1}], "gate[0].below: a matrix has"),
    ("rows", [{"id": "a", "matrix": "x*", "order": "row-below-row"}], "gate[0].rows: name two"),
    ("row", [{"id": "a", "matrix": "x*", "order": "diagonal-below-row"}], "gate[0].row: goes with"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "said"), [case[1:] for case in WRONG],
                         ids=[case[0] for case in WRONG])  # fmt: skip
def test_what_is_wrong_is_told_with_its_path(raw, said):
    _, problems = checks_file.read(raw, "gate")
    assert any(problem.startswith(said) for problem in problems), problems


def test_a_value_that_is_still_to_be_resolved_is_not_looked_at():
    raw = [{"id": "a", "file": "${x}", "key": "k", "at": "${a.b}", "between": "${c.d}"}]
    assert checks_file.read(raw, "gate")[1] == []


def test_a_metric_names_its_check():
    raw = [{"arm": "a", "metric": "ppl", "at": n, "below": 3} for n in (1, 2)]
    assert [c.id for c in checks_file.read(raw, "e")[0]] == ["a.ppl@1", "a.ppl@2"]
