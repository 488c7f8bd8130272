import json
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.benchmarks import Corpus, check, main
from evaluation.config import InputError
from evaluation.contamination import Item, Searcher, item_of, search, words
from evaluation.generation import Asked, Settings, ask_all
from evaluation.makers.question import question

SIZES = {"pacute": 3, "hierarchical": 4, "cute": 1, "langgame": 8, "addition": 4}


def asked(fil: str, answer: str) -> Asked:
    made = question("w", fil, "What?", answer, ["x", "y", "z"])
    return Asked("g", "p", 0, "k", made, ("x", "y", "z", answer), 3, ())


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def to(*texts: str, key: str = "text") -> Path:
        path = tmp_path / "corpus.jsonl"
        path.write_text("".join(json.dumps({key: text}) + "\n" for text in texts))
        return path

    return to


def nothing(_: int) -> None:
    pass


CONTENT = [
    ('Ano ang salitang-ugat ng "kumain"?', "kain", [("kumain", "kain")]),
    ('Ikabit ang "-um-" sa "kain".', "kumain", [("um", "kain", "kumain")]),
    ("Ano ang kabuuan ng 12 + 340?", "352", [("12", "340", "352")]),
    ('Pantigin ang "bata".', "ba-ta", [("bata", "ba", "ta")]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "answer", "grams"), CONTENT, ids=[c[1] for c in CONTENT])
def test_content_is_what_is_quoted_or_counted_and_the_answer(
    text: str, answer: str, grams: list[tuple[str, ...]]
) -> None:
    item = item_of(asked(text, answer), "fil")
    assert list(item.content) == grams
    assert item.question == words(text) and item.name == "g.p.0000.fil"


def test_more_than_eight_words_of_content_give_each_eight_in_a_row() -> None:
    item = item_of(asked('Baybayin ang "a b c d e".', "f g h i j"), "fil")
    assert {len(gram) for gram in item.content} == {8}
    assert {"".join(gram) for gram in item.content} == {"abcdefgh", "bcdefghi", "cdefghij"}


def test_the_searcher_finds_what_stands_in_a_row_and_nothing_else() -> None:
    grams = [("a", "b"), ("b", "c", "d"), ("d", "e"), ("x", "a", "b"), ("a", "b", "a", "b")]
    searcher = Searcher(grams)
    for text in ("a b c d", "x a b a b", "d e", "b a d", "a", "", "c d e x a b", "b b c c d d e"):
        row = text.split()
        # By definition: every stretch of the row compared with every n-gram.
        right = {g for g in grams for i in range(len(row)) if tuple(row[i : i + len(g)]) == g}
        assert searcher.find(row) == right, text


def test_a_planted_item_is_found_and_another_is_not(write: Callable[..., Path]) -> None:
    corpus = write(
        "Ang ugat ng salita: KUMAIN (kain), sabi niya.",
        "Wala rito. Kain muna bago kumain.",
        'Ano ang salitang-ugat ng "umalis"? Hindi sinasabi.',
        "Isa pa: kumain - kain.",
    )
    items = [
        item_of(asked('Ano ang salitang-ugat ng "kumain"?', "kain"), "fil"),
        item_of(asked('Ano ang salitang-ugat ng "umalis"?', "alis"), "fil"),
        item_of(asked('Ano ang salitang-ugat ng "umupo"?', "upo"), "fil"),
    ]
    named = [Item(str(i), item.content, item.question) for i, item in enumerate(items)]
    sizes: list[int] = []
    found = search(named, corpus, "text", sizes.append)
    assert found.flagged == {
        "0": {"found": "content", "n": 2, "ngram": "kumain kain", "documents": 2},
        "1": {"found": "question", "n": 6, "documents": 1},
    }
    assert found.by_kind() == {"content, n=2": 1, "question": 1}
    assert (found.documents, found.items, sum(sizes)) == (4, 3, corpus.stat().st_size)


def test_a_leaked_benchmark_is_found_whole(write: Callable[..., Path]) -> None:
    made = ask_all(Settings(sizes=SIZES))
    leaked = [q.question.fil for questions in made.values() for q in questions]
    found = check(made, ["fil", "en"], Corpus(write(*leaked)))
    names = {f"{q.task}.fil" for questions in made.values() for q in questions}
    assert {n for n, f in found.flagged.items() if f["found"] == "question"} == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{\n", "corpus.jsonl:1 is not JSON"),
        ('{"text": "a"}\n[1]\n', "corpus.jsonl:2 has no text under 'text'"),
        ('{"text": 3}\n', "corpus.jsonl:1 has no text under 'text'"),
    ],
    ids=["broken", "list", "number"],
)
def test_a_line_that_is_no_text_is_refused_by_number(
    content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        search([], path, "text", nothing)


def test_a_missing_corpus_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [word for part, size in SIZES.items() for word in ("--size", f"{part}={size}")]
    given = ["--output-dir", str(tmp_path / "out"), "--corpus", str(tmp_path / "none"), *sizes]
    assert main(given) == 65
    assert "none is not there. Correct benchmark.corpus" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_key_can_hold_the_text(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write("isa dalawa", key="body")
    sizes = ["--groups", "addition", "--size", "addition=4"]
    given = ["--output-dir", str(tmp_path / "out"), "--corpus", str(corpus), *sizes]
    assert main([*given, "--text-key", "body"]) == 0
    assert "corpus.jsonl: 0 of 8 questions flagged in 1 documents" in capsys.readouterr().out
    assert main(given) == 65
