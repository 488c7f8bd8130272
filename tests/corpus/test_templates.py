"""What counts as a template, and what does not."""

from __future__ import annotations

import json
import random

import pytest
import yaml

from corpus.errors import CorpusError
from corpus.templates import Limits, detect, main, masked_words

WORDS = [f"parola{n}" for n in range(400)]
PLAN = Limits((r"\bthis [abc][12][- ]level text (shows|demonstrates)",))


def varied(number, words=30):
    drawn = random.Random(number)
    return " ".join(drawn.choices(WORDS, k=words))


def rows(texts, origin=""):
    return [{"id": f"r{n}", "level": "A1", "response": text, "origin": origin}
            for n, text in enumerate(texts)]


def rules(texts, limits=PLAN, origin=""):
    found, _ = detect(rows(texts, origin), limits)
    return {row["id"]: row["rule"] for row in found}


def test_varied_answers_are_no_templates():
    found, figures = detect(rows([varied(n) for n in range(200)]), PLAN)
    assert found == []
    assert figures["templates"] == 0
    assert figures["distinct_opening_share"] == 1.0
    assert figures["repeated_ngram_share"] == 0.0


SAID = [
    "This A1-level text shows developing proficiency in the present tense.",
    "Well: this C2 level text demonstrates mastery.",
]


@pytest.mark.parametrize("text", SAID)
def test_the_plan_s_formula_is_found_wherever_it_stands(text):
    assert rules([varied(1), text, varied(2)]) == {"r1": "pattern"}


def test_a_text_that_speaks_of_levels_is_none():
    assert rules(["Il livello A1 è il primo; this text shows how articles work."]) == {}


def test_the_same_opening_over_and_over_is_a_template_whatever_level_it_names():
    openings = [f"A questo livello {level} lo studente impara presto a {varied(n, 20)}"
                for n, level in enumerate(["A1", "B2", "C1", "A2"])]
    texts = [*openings, *(varied(n) for n in range(100, 140))]
    assert rules(texts) == {f"r{n}": "opening" for n in range(4)}
    share = Limits(PLAN.patterns, max_opening_share=0.2)
    assert rules(texts, share) == {}


def test_a_text_with_slots_is_a_skeleton():
    frame = "{} la regola dice che il verbo concorda sempre con il soggetto della frase e mai {}"
    texts = [frame.format(varied(n, 8), varied(n + 50, 3)) for n in range(5)]
    assert rules([*texts, *(varied(n) for n in range(200, 260))]) == {
        f"r{n}": "skeleton" for n in range(5)
    }
    assert rules([*texts[:2], *(varied(n) for n in range(200, 260))]) == {}  # two may be chance


def test_copies_are_skeletons_and_nothing_is_empty():
    texts = [varied(1)] * 3 + ["", "  \n"] + [varied(n) for n in range(300, 600)]
    found = rules(texts)
    assert [found[f"r{n}"] for n in range(5)] == ["skeleton"] * 3 + ["empty"] * 2
    assert len(found) == 5


def test_human_and_short_answers_are_judged_by_pattern_alone():
    assert rules(["Yes, that's right!"] * 9) == {}
    assert rules([varied(1)] * 9, origin="authentic") == {}
    assert rules([SAID[0]], origin="authentic") == {"r0": "pattern"}


def test_slots_are_masked():
    assert masked_words('Il livello B2: "casa" e **albero**, 12 volte') == [
        "il", "livello", "<x>", "<x>", "e", "<x>", "<x>", "volte"
    ]  # fmt: skip


def test_a_pattern_that_is_none_is_refused():
    with pytest.raises(CorpusError, match=r"templates.patterns: '\(' is no regular expression"):
        detect(rows(["a"]), Limits(("(",)))


def test_the_program_reads_a_folder_and_writes_figures_and_rows(tmp_path, capsys):
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump({"parameters": {"templates": {"patterns": ["level text"]}}}))
    for part, text in (("0001", varied(1)), ("0002", "an A1 level text")):
        row = {"id": part, "level": "A1", "response": text}
        (tmp_path / f"responses_{part}.jsonl").write_text(json.dumps(row) + "\n")
    out = tmp_path / "found.json"
    argv = ["--config", str(config), "--input", str(tmp_path), "--output", str(out)]
    assert main(argv) == 0
    assert json.loads(out.read_text())["rules"]["pattern"] == 1
    assert json.loads(out.with_suffix(".jsonl").read_text())["id"] == "0002"
    assert main([*argv[:3], str(tmp_path / "none.jsonl"), *argv[4:]]) == 65
