"""A text as paragraphs, sentences and words, by exact character offsets and without any data.

- A **paragraph** is a line that holds more than white space, without the space around it. Lines end
  where `str.splitlines` ends them.
- A **sentence** ends behind a run of . ! ? or … with the quotes and brackets that close there, if
  white space follows; not behind an abbreviation or a single capital letter ("J. Smith"), not
  behind a number that opens the sentence ("1. First"), and not behind dots in a row before a small
  letter ("well... maybe"). Learners often begin a sentence with a small letter, so that is no sign
  that the last one goes on.
- A **word** is a run of letters and digits that apostrophes or hyphens may join inside ("don't",
  "well-known"), a number with its points and commas ("1,000.50"), or a run of any other
  characters that are no white space (", ..., 🙂👍🏽"). So byte-level BPE tokens, which never mix
  letters with other signs but for contractions, seldom reach over a word's edge.

Every character that is no white space is in exactly one word, one sentence and one paragraph; a
word lies in one sentence, a sentence in one paragraph. Offsets count characters of the whole text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

Span = tuple[int, int]  # first character, and the one behind the last

_CLOSERS = "\"'”’»)\\]}"
_END = re.compile(rf"(?P<mark>[.!?…]+)[{_CLOSERS}]*(?=\s)")
_WORD = re.compile(r"\d+(?:[.,]\d+)+(?!\w)|\w+(?:['’-]\w+)*|[^\w\s]+")
_LAST = re.compile(r"[^\s(\[{\"'“‘«]+$")
ABBREVIATIONS = frozenset((
    "mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "e.g", "i.e", "cf", "vol", "approx",
    "dept", "tel", "jan", "feb", "aug", "sept", "oct", "nov", "dec", "mt", "rev", "capt", "lt",
    "sgt", "gov", "inc", "ltd", "corp", "u.s", "u.k"))
OFTEN_LAST = frozenset(("etc", "a.m", "p.m"))  # abbreviations that end a sentence as well


class Paragraph(NamedTuple):
    """A paragraph's span and its sentences."""

    span: Span
    sentences: list[Sentence]


class Sentence(NamedTuple):
    """A sentence's span and those of its words."""

    span: Span
    words: list[Span]


def parse(text: str) -> list[Paragraph]:
    """The paragraphs of `text` with their sentences and words; none where it is white space."""
    return [Paragraph(paragraph, [Sentence(sentence, list(words(text, sentence)))
                                  for sentence in sentences(text, paragraph)])
            for paragraph in paragraphs(text)]


def paragraphs(text: str) -> Iterator[Span]:
    """Lines with something in them."""
    start = 0
    for line in text.splitlines(keepends=True):
        if span := _trimmed(text, start, start + len(line)):
            yield span
        start += len(line)


def sentences(text: str, paragraph: Span) -> Iterator[Span]:
    """The sentences of a paragraph."""
    start, stop = paragraph
    for match in _END.finditer(text, start, stop):
        if match.start() >= start and _ends(text, start, match, stop):
            if span := _trimmed(text, start, match.end()):
                yield span
            start = match.end()
    if span := _trimmed(text, start, stop):
        yield span


def words(text: str, sentence: Span) -> Iterator[Span]:
    """The words of a sentence."""
    for match in _WORD.finditer(text, *sentence):
        yield match.span()


def _ends(text: str, start: int, match: re.Match[str], stop: int) -> bool:
    """Whether a run of marks ends the sentence that began at `start`."""
    mark = match["mark"]
    if "!" in mark or "?" in mark:
        return True
    rest = text[match.end() : stop].lstrip()
    if len(mark) > 1 or mark == "…":
        return not rest[:1].islower()
    before = _LAST.search(text, max(start, match.start() - 32), match.start())
    word = before.group() if before else ""
    if word.lower() in OFTEN_LAST:
        return not rest[:1].islower()
    if word.lower() in ABBREVIATIONS or (len(word) == 1 and word.isupper() and word != "I"):
        return False
    opens = text[start : match.start()].strip()
    return not (word.isdigit() and opens == word)


def _trimmed(text: str, start: int, stop: int) -> Span | None:
    """The span without white space at its ends; None where nothing is left."""
    while start < stop and text[start].isspace():
        start += 1
    while stop > start and text[stop - 1].isspace():
        stop -= 1
    return (start, stop) if start < stop else None
