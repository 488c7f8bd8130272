"""Learners' questions from several corpora, each with a level, in exact quotas by level.

A source is a file in one of two forms. JSONL: `{"id", "question"}`, and where it is known `level`
and a human's `response`. TSV without a header, as Tatoeba exports sentences: id, language, text;
of these the questions in one language are taken. A level is the row's own, else the source's; rows
without any are ranked by the Gulpease index and cut, easiest first, into stretches in proportion to
what each level still lacks. What is drawn is drawn by the study's seed and the row's id.

The rows with a human's response stay as they are, beside the questions that a model is to answer.
"""

from __future__ import annotations

import csv
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

from corpus.config import Config
from corpus.errors import CorpusError, Parser, run
from corpus.files import sha256_file, sha256_value, write_json
from corpus.rows import normal, read_rows, write_rows

_WORD = re.compile(r"[^\W\d_]+")
_END = re.compile(r"[.!?…]+")


@dataclass(frozen=True)
class Source:
    """A corpus: `level` of all its rows where it has one, `language` of a TSV's rows."""

    name: str
    file: Path
    level: str = ""
    language: str = ""


@dataclass(frozen=True)
class Question:
    """A question with its source's name and id; `level` is empty where nobody has said one."""

    id: str
    source: str
    question: str
    level: str = ""
    response: str = ""


@dataclass(frozen=True)
class Wanted:
    """What to draw. `levels`: conversations a level, in the order of difficulty, `authentic` of
    all of them with responses of the source `human`; `reserve`: share of questions beyond."""

    levels: Mapping[str, int]
    human: str
    authentic: int
    reserve: float
    seed: int

    def order(self, question: Question) -> str:
        """A number drawn for a question, by which questions are chosen."""
        return hashlib.sha256(f"{self.seed}:{question.id}".encode()).hexdigest()


def gulpease(text: str) -> float:
    """The Gulpease index: 89 + (300 sentences - 10 letters) / words; more is easier to read.

    Lucisano and Piemontese, Scuola e citta 39 (1988): made for Italian, it needs no syllables.
    """
    words = _WORD.findall(text)
    sentences = max(1, sum(1 for part in _END.split(text) if part.strip()))
    return 89 + (300 * sentences - 10 * sum(map(len, words))) / max(1, len(words))


def read_source(source: Source, levels: Sequence[str]) -> list[Question]:
    """A source's questions. Raises CorpusError for an unknown level and for an id given twice."""
    rows = _tsv(source) if source.file.suffix == ".tsv" else _jsonl(source)
    seen: set[str] = set()
    for row in rows:
        if row.level and row.level not in levels:
            raise CorpusError(f"{source.file}: {row.id} has the level {row.level!r}, which is none "
                              f"of {', '.join(levels)}. Correct the row, or the study's levels.")
        if row.id in seen:
            raise CorpusError(f"{source.file}: the id of {row.id} stands there twice. Make ids "
                              "unique.")
        seen.add(row.id)
    return rows


def _jsonl(source: Source) -> list[Question]:
    rows = read_rows(source.file, ("question",), _bring(source))
    return [
        Question(f"{source.name}:{row.get('id', number)}", source.name, row["question"].strip(),
                 str(row.get("level") or source.level), row.get("response") or "")
        for number, row in enumerate(rows, 1)
    ]


def _tsv(source: Source) -> list[Question]:
    try:
        stream = source.file.open(encoding="utf-8", newline="")
    except FileNotFoundError as fault:
        raise CorpusError(f"{source.file}: no such file. {_bring(source)}") from fault
    found = []
    with stream:
        for cells in csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
            if len(cells) != 3:
                raise CorpusError(f"{source.file}: a row has {len(cells)} columns, not id, "
                                  "language and text. Export it anew.")
            number, language, text = cells
            if language == source.language and text.rstrip().endswith("?"):
                found.append(Question(f"{source.name}:{number}", source.name, text.strip(),
                                      source.level))
    return found


def _bring(source: Source) -> str:
    return f"Put the corpus {source.name} there, or correct questions.sources.{source.name}.file."


def draw(
    questions: Sequence[Question], wanted: Wanted
) -> tuple[list[Question], list[Question], int]:
    """The authentic conversations, the questions to answer (of each level those of its quota
    before the reserve), and how many of these got their level from the index.

    Raises CorpusError that names everything that is short.
    """
    human = [q for q in questions if q.source == wanted.human and q.response]
    if len(human) < wanted.authentic:
        raise CorpusError(f"{wanted.human} has {len(human)} rows with a response and "
                          f"{wanted.authentic} are wanted. Give more, or lower "
                          "questions.authentic.count.")
    authentic = sorted(human, key=wanted.order)[:wanted.authentic]
    authentic.sort(key=lambda q: q.id)
    if nameless := [q.id for q in authentic if not q.level]:
        raise CorpusError(f"{nameless[0]} has a response and no level. Give questions.sources."
                          f"{wanted.human} a level, or its rows.")
    seen = {normal(q.question) for q in authentic}
    open_ = []
    for question in questions:
        if (key := normal(question.question)) and key not in seen:
            seen.add(key)
            open_.append(replace(question, response=""))
    needs = _needs(authentic, wanted)
    levelled = _with_levels(open_, needs, wanted)
    return authentic, _choose(levelled, needs, wanted), sum(
        1 for question in open_ if not question.level)


def _needs(authentic: Sequence[Question], wanted: Wanted) -> dict[str, int]:
    """Questions that each level needs beside its authentic conversations."""
    have = Counter(q.level for q in authentic)
    over = [f"{level} has {have[level]} and may have {count}"
            for level, count in wanted.levels.items() if have[level] > count]
    if over:
        raise CorpusError(f"more authentic conversations than the quota: {'; '.join(over)}. Raise "
                          "the quota, or spread the source's levels.")
    return {level: count - have[level] for level, count in wanted.levels.items()}


def _with_levels(
    questions: Sequence[Question], needs: Mapping[str, int], wanted: Wanted
) -> list[Question]:
    """All questions with a level; the order of those that have their own stays."""
    own = [q for q in questions if q.level]
    rest = sorted((q for q in questions if not q.level),
                  key=lambda q: (-gulpease(q.question), wanted.order(q)))
    have = Counter(q.level for q in own)
    lack = {level: max(0, _with_reserve(need, wanted) - have[level])
            for level, need in needs.items()}
    total, done, taken = max(1, sum(lack.values())), 0, 0
    made = list(own)
    for level, count in lack.items():
        done += count
        end = len(rest) * done // total
        made += [replace(q, level=level) for q in rest[taken:end]]
        taken = end
    return made


def _choose(
    questions: Sequence[Question], needs: Mapping[str, int], wanted: Wanted
) -> list[Question]:
    """Of each level its quota and reserve, in the order drawn."""
    chosen, short = [], []
    for level, need in needs.items():
        found = sorted((q for q in questions if q.level == level), key=wanted.order)
        if len(found) < need:
            by = Counter(q.source for q in found)
            told = ", ".join(f"{name} {count}" for name, count in sorted(by.items())) or "none"
            short.append(f"{level} needs {need} and has {len(found)} ({told})")
        chosen += found[:_with_reserve(need, wanted)]
    if short:
        raise CorpusError(f"questions are short: {'; '.join(short)}. Add to the sources, or lower "
                          "the quotas.")
    return chosen


def _with_reserve(need: int, wanted: Wanted) -> int:
    return ceil(need * (1 + wanted.reserve))


def write(config: Config) -> dict[str, Any]:
    """Draw what a configuration asks for, write it, and return the figures."""
    wanted = _wanted(config)
    sources = _sources(config)
    directory = config.path_parameter("questions.output_dir")
    questions = [q for source in sources for q in read_source(source, list(wanted.levels))]
    authentic, chosen, ranked = draw(questions, wanted)
    write_rows(directory / "authentic.jsonl", [_row(q, "response") for q in authentic])
    write_rows(directory / "questions.jsonl", [_row(q) for q in chosen])
    figures = {
        "version": 1,
        "read": dict(Counter(q.source for q in questions)),
        "without_level": ranked,
        "authentic": len(authentic),
        "authentic_sha256": sha256_value({q.id: q.response for q in authentic}),
        "authentic_levels": _counts(authentic, wanted),
        "questions": len(chosen),
        "levels": _counts(chosen, wanted),
        "sources": dict(Counter(q.source for q in chosen)),
        "input_sha256": {source.name: sha256_file(source.file) for source in sources},
    }
    write_json(directory / "questions.json", figures)
    return figures


def _row(question: Question, *more: str) -> dict[str, str]:
    return {key: getattr(question, key) for key in ("id", "level", "source", "question", *more)}


def _counts(questions: Sequence[Question], wanted: Wanted) -> dict[str, int]:
    counts = Counter(q.level for q in questions)
    return {level: counts[level] for level in wanted.levels}


def _wanted(config: Config) -> Wanted:
    levels = config.parameter("questions.levels", dict)
    for level in levels:
        config.parameter(f"questions.levels.{level}", int)
    return Wanted(
        levels,
        config.parameter("questions.authentic.source", str),
        config.parameter("questions.authentic.count", int),
        config.parameter("questions.reserve", float, 0.0),
        config.parameter("seed", int),
    )


def _sources(config: Config) -> list[Source]:
    names = config.parameter("questions.sources", dict)
    return [
        Source(name, config.path_parameter(f"questions.sources.{name}.file"),
               config.parameter(f"questions.sources.{name}.level", str, ""),
               config.parameter(f"questions.sources.{name}.language", str, ""))
        for name in names
    ]


def _main(argv: Sequence[str] | None) -> None:
    parser = Parser(prog="corpus.questions",
                    description="Draw learners' questions by level from several corpora.")
    parser.add_argument("--config", type=Path, required=True, help="the job's configuration")
    figures = write(Config.load(parser.parse_args(argv).config))
    told = ", ".join(f"{level} {count}" for level, count in figures["levels"].items())
    print(f"{figures['authentic']} authentic conversations; {figures['questions']} questions: "
          f"{told}")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
