"""Cross matrices and the orders that a plan expects of them."""

import json

import pytest

from ledger import matrix
from ledger.checks import World, judge
from ledger.checks_file import read
from ledger.evidence import Missing

GOOD = {
    "C1": {"C1": 25.0, "A1": 80.0}, "A1": {"C1": 150.0, "A1": 15.0},
    "GENERAL": {"C1": 30.0, "A1": 20.0},
}  # fmt: skip


@pytest.fixture
def root(tmp_path):
    for row, cells in GOOD.items():
        folder = tmp_path / f"results/efcamdat_{row}"
        folder.mkdir(parents=True)
        (folder / "ppl.json").write_text(json.dumps({"perplexity": cells, "n": 3}))
        for column, value in cells.items():
            (folder / f"on_{column}.json").write_text(json.dumps({"ppl": value}))
    return tmp_path


FORMS = [("results/efcamdat_*/ppl.json", "perplexity"), ("results/efcamdat_*/on_*.json", "ppl")]


@pytest.mark.parametrize(("pattern", "key"), FORMS, ids=["one-file-a-row", "one-file-a-cell"])
def test_it_is_read(root, pattern, key):
    assert matrix.read(root, pattern, key) == GOOD


def test_an_absolute_glob(root):
    assert matrix.read(root / "x", f"{root}/results/efcamdat_*/ppl.json", "perplexity") == GOOD


def test_it_is_of_the_arms_metrics():
    values = {row: {f"perplexity.{c}": v for c, v in cells.items()} for row, cells in GOOD.items()}
    assert matrix.of_arms(values, "perplexity") == GOOD
    with pytest.raises(Missing, match="no arm has loss"):
        matrix.of_arms(values, "loss")


@pytest.mark.parametrize(("pattern", "said"), [
    ("results/a.json", "0 stars"), ("a*b*c*", "3 stars"), ("no/*.json", "there is no"),
    ("results/efcamdat_*/on_*.json", "no number"),
])  # fmt: skip
def test_what_is_no_matrix(root, pattern, said):
    with pytest.raises(Missing, match=said):
        matrix.read(root, pattern, "")


def changed(row, column, value):
    cells = {name: dict(own) for name, own in GOOD.items()}
    if value is None:
        del cells[row][column]
    else:
        cells[row][column] = value
    return cells


ORDERS = [
    ("column", GOOD, {"order": "diagonal-lowest-in-column"}, "PASS", "2 comparisons"),
    ("column-off", changed("A1", "C1", 24.0), {"order": "diagonal-lowest-in-column"}, "FAIL",
     "C1 on C1 is 25, A1 on C1 24"),
    ("column-equal", changed("A1", "C1", 25.0), {"order": "diagonal-lowest-in-column"}, "FAIL", ""),
    ("column-rows", changed("GENERAL", "C1", 24.0),
     {"order": "diagonal-lowest-in-column", "rows": ["C1", "A1", "GENERAL"]}, "FAIL", "GENERAL on"),
    ("column-square", changed("GENERAL", "C1", 24.0), {"order": "diagonal-lowest-in-column"},
     "PASS", ""),
    ("column-missing", changed("A1", "C1", None), {"order": "diagonal-lowest-in-column"},
     "INCONCLUSIVE", "missing: A1 on C1"),
    ("column-highest", GOOD, {"order": "diagonal-highest-in-column"}, "FAIL", ""),
    ("row", GOOD, {"order": "diagonal-lowest-in-row"}, "PASS", "2 comparisons"),
    ("row-off", changed("C1", "A1", 20.0), {"order": "diagonal-lowest-in-row"}, "FAIL",
     "C1 on C1 is 25, C1 on A1 20"),
    ("help", GOOD, {"order": "diagonal-below-row", "row": "GENERAL", "rows": ["C1", "A1"]},
     "PASS", "2 comparisons"),
    ("help-off", changed("GENERAL", "A1", 14.0),
     {"order": "diagonal-below-row", "row": "GENERAL", "rows": ["C1", "A1"]}, "FAIL",
     "A1 on A1 is 15, GENERAL on A1 14"),
    ("help-all", GOOD, {"order": "diagonal-below-row", "row": "GENERAL"}, "PASS", ""),
    ("rows", GOOD, {"order": "row-below-row", "rows": ["GENERAL", "C1"], "columns": ["A1"]},
     "PASS", "1 comparisons"),
    ("rows-off", GOOD, {"order": "row-below-row", "rows": ["GENERAL", "C1"]}, "FAIL",
     "GENERAL on C1 is 30, C1 on C1 25"),
    ("nan", changed("C1", "C1", float("nan")), {"order": "diagonal-lowest-in-column"}, "FAIL", ""),
    ("nothing", {"x": {"y": 1.0}}, {"order": "diagonal-lowest-in-column"}, "INCONCLUSIVE",
     "no two cells"),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "check", "verdict", "found"), [case[1:] for case in ORDERS],
                         ids=[case[0] for case in ORDERS])  # fmt: skip
def test_an_order(tmp_path, cells, check, verdict, found):
    values = {row: {f"p.{c}": v for c, v in own.items()} for row, own in cells.items()}
    checks, problems = read([{"id": "it", "matrix": "p", **check}], "gate")
    assert not problems
    outcome = judge(checks[0], World(tmp_path, values=values))
    assert (outcome.verdict, found in outcome.found) == (verdict, True), outcome
