"""Affix lists, corpora, chunks and token files as `corpus.verify` tells of them."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.doctor import data
from pipeline.doctor.check import MARK, Facts, Scope
from pipeline.site import Environment
from tests.pipeline.doctored import ROOT, asked, bad, by_name, facts, said, scope

HERE = Environment(python=sys.executable)
SITE: dict[str, Any] = {"environments": {"light": HERE, "hf": HERE, "nemo": HERE}}
WELL = "97 yes no 0 0\n2 yes no 0 0\n21 yes no 0 0\n"


def verified(*findings: dict[str, str], sets: tuple[dict[str, Any], ...] = ()) -> str:
    full = [{"remedy": "", **finding} for finding in findings]
    return f"banner\n{MARK}{json.dumps({'findings': full, 'sets': sets})}\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (WELL, []),
        (WELL.replace("97", "96"), ["warn affixes data/affixes/prefix.txt: 96 lines, not 97"]),
        ("missing\n" + WELL.partition("\n")[2], ["fail affixes data/affixes/prefix.txt: missing"]),
        (WELL.replace("2 yes", "2 no"), ["fail affixes data/affixes/infix.txt: is not UTF-8"]),
        (WELL.replace("21 yes no", "21 yes yes"),
         ["fail affixes data/affixes/suffix.txt: has DOS line ends"]),
        (WELL.replace("21 yes no 0 0", "21 yes no 1 2"),
         ["warn affixes data/affixes/suffix.txt: 1 doubled and 2 blank lines"]),
    ],
)  # fmt: skip
def test_affix_lists(answer: str, expected: list[str]) -> None:
    of = scope("preprocess")
    assert bad(data.checks(of, facts(lists=answer, verify=verified()))) == expected


def test_only_the_arm_that_reads_them_needs_the_lists() -> None:
    found = by_name(data.checks(scope("preprocess"), facts(lists=WELL, verify=verified())))
    assert found["affixes data/affixes/infix.txt"].needed_by == ("preprocess_patok",)


@pytest.mark.parametrize(("answer", "status"), [("yes\n", "ok"), ("no\n", "fail")])
def test_a_local_corpus(answer: str, status: str) -> None:
    of = scope("download", sets=("corpus.source=data/sample/*.jsonl",))
    assert by_name(data.checks(of, facts(sources=answer)))["corpus source"].status == status
    assert not [q for q in data.questions(scope("download")) if q.key == "sources"]


def finding(name: str, status: str, fact: str = "a fact") -> dict[str, str]:
    remedy = "" if status in ("ok", "absent") else "do it"
    return {"path": str(ROOT / "data" / name), "status": status, "fact": fact, "remedy": remedy}


@pytest.mark.parametrize(
    ("stages", "found", "expected"),
    [
        (("split",), finding("chunks", "absent"), ("ok", "not made yet; split makes them")),
        (("preprocess",), finding("chunks", "absent"), ("warn", "not made yet")),
        (("train",), finding("processed/patok/seapile", "absent"), ("warn", "not made yet")),
        (("preprocess",), finding("processed/patok/seapile_0002", "fail"), ("fail", "a fact")),
        (("preprocess",), finding("processed/patok/seapile", "warn"), ("warn", "a fact")),
        (("split",), finding("chunks", "ok"), ("ok", "a fact")),
    ],
)
def test_a_finding_becomes_a_check(
    stages: tuple[str, ...], found: dict[str, str], expected: tuple[str, str]
) -> None:
    of = scope(*stages)
    checks = by_name(data.checks(of, facts(lists=WELL, verify=verified(found))))
    check = checks[of.short(found["path"])]
    assert (check.status, check.fact) == expected


def test_a_damaged_part_is_needed_by_what_writes_and_reads_it() -> None:
    of = scope("preprocess", "train")
    found = finding("processed/patok/seapile_0002", "fail")
    checks = by_name(data.checks(of, facts(lists=WELL, verify=verified(found))))
    check = checks["data/processed/patok/seapile_0002"]
    assert check.needed_by == ("preprocess_patok", "train_patok")


@pytest.mark.parametrize(
    ("answer", "words"),
    [(said(code=127, error="no python"), "no python"), (said("banner\n[]\n", 1), "banner"),
     (said(f"{MARK}{{}}\n", 2, "error: x"), "error: x"), (said(code=124), "no answer within")],
)  # fmt: skip
def test_where_nothing_could_be_looked_at_it_says_so(answer: Any, words: str) -> None:
    found = bad(data.checks(scope("split"), facts(verify=answer)))
    assert len(found) == 1 and words in found[0] and found[0].startswith("warn")


def held(of: Scope, arm: str, **changed: Any) -> dict[str, Any]:
    job = of.plan.job(f"preprocess_{arm}")
    p = job.config["parameters"]
    record = {
        "seed": p["seed"], "tasks": p["corpus"]["chunks"], "eod": p["tokenizer"]["eod"],
        "vocab_size": p["tokenizer"]["vocab_size"], "documents": 3,
        "variant": {**p["variant"], "affixes": "0a1b"}, **changed,
    }  # fmt: skip
    return {"prefix": data._prefix(of, job), "parts": 20, "tokens": 9, "record": record}


def test_a_set_made_with_what_the_study_says() -> None:
    of = scope("preprocess")
    answer = facts(lists=WELL, verify=verified(sets=(held(of, "patok"),)))
    assert bad(data.checks(of, answer)) == []
    assert list(data.tokens(answer).values()) == [9]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seed": 1}, "seed 1 -> 42"),
        ({"vocab_size": 2048}, "vocab_size 2048 -> 262144"),
        ({"tasks": 4}, "tasks 4 -> 20"),
        ({"variant": {"name": "patok", "expand_prop": 0.2}}, "variant.expand_prop 0.2 -> 0.1"),
    ],
)
def test_a_set_made_under_other_values(changed: dict[str, Any], words: str) -> None:
    of = scope("preprocess")
    [line] = bad(
        data.checks(of, facts(lists=WELL, verify=verified(sets=(held(of, "patok", **changed),))))
    )
    assert line.startswith("fail data/processed/patok/seapile: made under") and words in line


# --- for real


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the affix lists, two chunks of a demo, and this repository's programs."""
    folder = tmp_path / "project of 'mine'"
    shutil.copytree(ROOT / "data/affixes", folder / "data/affixes")
    (folder / "corpus").symlink_to(ROOT / "corpus")
    sample = folder / "data/sample/filipino.jsonl"
    sample.parent.mkdir()
    shutil.copyfile(ROOT / "data/sample/filipino.jsonl", sample)
    return folder


def look(of: Scope, cwd: Path) -> Facts:
    return asked(data.questions(of), cwd)


def test_it_is_asked_for_real(project: Path) -> None:
    from corpus.split import split

    of = scope("all", project=project, profiles=("demo",), **SITE)
    assert bad(data.checks(of, look(of, project))) == []
    folder = project / "data/filipino-cpt@demo/chunks"
    folder.parent.mkdir()
    split(project / "data/sample/filipino.jsonl", folder, 4)
    found = by_name(data.checks(of, look(of, project)))
    assert found["data/filipino-cpt@demo/chunks"].fact.startswith("4 chunks")
    (folder / "chunk_0002.jsonl").unlink()
    found = by_name(data.checks(of, look(of, project)))
    assert found["data/filipino-cpt@demo/chunks"].status == "fail"


def test_hostile_lists_for_real(project: Path) -> None:
    lists = project / "data/affixes"
    (lists / "prefix.txt").write_bytes(b"ma\xe9\n" * 97)
    (lists / "infix.txt").write_bytes(b"um\r\nin\r\n")
    (lists / "suffix.txt").unlink()
    of = scope("preprocess", project=project, **SITE)
    assert bad(data.checks(of, look(of, project)))[:3] == [
        "fail affixes data/affixes/prefix.txt: is not UTF-8",
        "fail affixes data/affixes/infix.txt: has DOS line ends",
        "fail affixes data/affixes/suffix.txt: missing",
    ]


def test_the_lists_that_ship_are_well(tmp_path: Path) -> None:
    of = scope("preprocess")
    answers = facts(lists=look(of, tmp_path).get("lists"), verify=verified())
    assert bad(data.checks(of, answers)) == []
