"""Questions by level: quotas, levels by the index, authentic replies, and what is refused."""

from __future__ import annotations

import json

import pytest
import yaml

from corpus.errors import CorpusError
from corpus.questions import (
    Question,
    Source,
    Wanted,
    draw,
    gulpease,
    main,
    read_source,
)

LEVELS = ("A1", "B1", "C1")


def question(number, level="", source="celi", text="", response=""):
    return Question(f"{source}:{number}", source, text or f"domanda {number}?", level, response)


def wanted(levels=None, authentic=0, reserve=0.0, seed=1):
    return Wanted(levels or dict.fromkeys(LEVELS, 2), "cima", authentic, reserve, seed)


def test_the_gulpease_index_is_its_formula():
    # 1 sentence, 4 words, 16 letters: 89 + (300 - 160) / 4
    assert gulpease("Dove sono le chiavi?") == 89 + (300 - 10 * 16) / 4
    assert gulpease("Come ti chiami? Io sono Anna.") > gulpease("Come ti chiami io sono Anna.")


def test_a_level_gets_its_quota_and_its_reserve():
    questions = [question(f"{level}{n}", level) for level in LEVELS for n in range(9)]
    _, chosen, ranked = draw(questions, wanted(dict.fromkeys(LEVELS, 4), reserve=0.3))
    assert [q.level for q in chosen] == [level for level in LEVELS for _ in range(6)]
    assert ranked == 0


def test_what_is_drawn_follows_from_the_seed():
    questions = [question(f"{level}{n}", level) for level in LEVELS for n in range(9)]
    one, again, other = (draw(questions, wanted(seed=seed))[1] for seed in (1, 1, 2))
    assert one == again
    assert {q.id for q in one} != {q.id for q in other}
    assert draw(questions[::-1], wanted())[1] == one  # the order of the file decides nothing


def test_questions_without_a_level_are_cut_easiest_first_where_levels_lack():
    texts = ["Chi è?", "Dove sei ora?", "Perché non sei venuto alla festa di ieri?",
             "Secondo te conviene aspettare il prossimo autobus oppure prendere la macchina?"]
    questions = [question("own", "A1"), question("own2", "A1"),
                 *(question(n, text=text) for n, text in enumerate(texts))]
    _, chosen, ranked = draw(questions, wanted())
    assert ranked == 4
    by = {level: {q.question for q in chosen if q.level == level} for level in LEVELS}
    assert by["B1"] == set(texts[:2])
    assert by["C1"] == set(texts[2:])


def test_authentic_conversations_count_for_their_level_and_are_asked_of_no_model():
    human = [question(n, "A1", "cima", response=f"risposta {n}") for n in range(3)]
    again = question("copy", "A1", text=human[0].question.upper())  # the same question elsewhere
    rest = [question(f"{level}{n}", level) for level in LEVELS for n in range(3)]
    authentic, chosen, _ = draw([*human, again, *rest], wanted(authentic=1))
    assert [q.response for q in authentic] == [human[int(authentic[0].id[-1])].response]
    assert authentic[0].question not in {q.question for q in chosen}
    assert [q.level for q in chosen].count("A1") == 1
    assert all(q.response == "" for q in chosen)


REFUSED = {
    "short": ([question(1, "A1"), question(2, "B1"), question(3, "B1")], wanted(),
              "A1 needs 2 and has 1 (celi 1); C1 needs 2 and has 0 (none)"),
    "authentic": ([question(1, "A1", "cima", response="sì")], wanted(authentic=2),
                  "cima has 1 rows with a response and 2 are wanted"),
    "no level": ([question(1, "", "cima", response="sì")], wanted(authentic=1),
                 "cima:1 has a response and no level"),
    "too many": ([question(n, "A1", "cima", response="sì") for n in range(3)],
                 wanted(authentic=3), "A1 has 3 and may have 2"),
}  # fmt: skip


@pytest.mark.parametrize(("questions", "asked", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_short_is_named(questions, asked, said):
    with pytest.raises(CorpusError) as caught:
        draw(questions, asked)
    assert said in str(caught.value)


def test_a_tsv_gives_the_questions_of_its_language(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text('1\tita\tDove sei?\n2\teng\tWhere?\n3\tita\tNon lo so.\n4\tita\t"Chi"?\n')
    rows = read_source(Source("tatoeba", path, language="ita"), LEVELS)
    assert [(q.id, q.question) for q in rows] == [
        ("tatoeba:1", "Dove sei?"), ("tatoeba:4", '"Chi"?')
    ]  # fmt: skip
    path.write_text("1\tita\n")
    with pytest.raises(CorpusError, match="2 columns, not id, language and text"):
        read_source(Source("tatoeba", path, language="ita"), LEVELS)


BAD = [
    ('{"id": 1, "question": "a?", "level": "D1"}\n', "has the level 'D1', which is none of A1"),
    ('{"id": 1, "question": "a?"}\n{"id": 1, "question": "b?"}\n', "stands there twice"),
    ('{"id": 1}\n', ":1 has no text under 'question'"),
    ("[1]\n", ":1 is not a JSON object"),
    ("{\n", ":1 is not JSON"),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_a_bad_row_is_named(tmp_path, text, said):
    path = tmp_path / "q.jsonl"
    path.write_text(text)
    with pytest.raises(CorpusError) as caught:
        read_source(Source("celi", path), LEVELS)
    assert said in str(caught.value)


def config(folder, **sources):
    values = {
        "seed": 3,
        "questions": {
            "sources": sources,
            "authentic": {"source": "cima", "count": 1},
            "levels": {"A1": 2, "B1": 1},
            "output_dir": str(folder / "out"),
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"parameters": values}))
    return path


def test_the_program_writes_questions_authentic_replies_and_counts(tmp_path, capsys):
    reply = "  Quasi!\tTry  again. "  # kept to the byte
    rows = [{"id": 1, "question": "a?", "response": reply}, {"id": 2, "question": "b?"}]
    (tmp_path / "cima.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "celi.jsonl").write_text('{"id": "x", "level": "B1", "question": "c?"}\n')
    path = config(tmp_path, cima={"file": str(tmp_path / "cima.jsonl"), "level": "A1"},
                  celi={"file": str(tmp_path / "celi.jsonl")})
    assert main(["--config", str(path)]) == 0
    out = tmp_path / "out"
    assert json.loads((out / "authentic.jsonl").read_text())["response"] == reply
    chosen = [json.loads(line) for line in (out / "questions.jsonl").read_text().splitlines()]
    assert [(row["id"], row["level"]) for row in chosen] == [("cima:2", "A1"), ("celi:x", "B1")]
    figures = json.loads((out / "questions.json").read_text())
    assert (figures["levels"], figures["authentic"]) == ({"A1": 1, "B1": 1}, 1)


def test_a_corpus_that_was_not_brought_is_said_in_one_line(tmp_path, capsys):
    path = config(tmp_path, cima={"file": str(tmp_path / "none.jsonl"), "level": "A1"})
    assert main(["--config", str(path)]) == 65
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Put the corpus cima there, or correct questions.sources.cima.file" in said
