"""Whether a text holds what benchmark items ask: their content in a row, or a question verbatim.

What is searched for, in lower-case words without punctuation, whatever stands between them:

- content: what an item's question has in quotation marks (or as numbers), in its order, then the
  answer: `kumain kain` for the root of kumain. n is the number of these words, at most 8; of
  more, each 8 in a row. The template's own words are no part of it.
- question: all words of the question, template and content.

A short content can stand in a text by chance (`sulat sulat`), so that hits are told by n. The text
is read a line at a time; memory holds the items' n-grams and one document.
"""

import hashlib
import json
import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from evaluation.config import InputError
from evaluation.generation import Asked

LONGEST = 8  # words of an n-gram of content
_SPACES = str.maketrans(dict.fromkeys(f"{string.punctuation}“”‘’«»–—…•·", " "))
_CONTENT = re.compile(r'"([^"]+)"|(\d+)')
Gram = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """A question in a language, and the n-grams that would give it away."""

    name: str
    content: tuple[Gram, ...]
    question: Gram


@dataclass(frozen=True, slots=True)
class Findings:
    """`flagged` maps an item's name to what was found: kind, n, and the documents that hold it."""

    corpus: str
    sha256: str
    documents: int
    words: int
    items: int
    flagged: dict[str, dict[str, Any]]

    def by_kind(self) -> dict[str, int]:
        """How many items were found, by kind and n: `content, n=2`, and `question`."""
        told = Counter(
            "question" if f["found"] == "question" else f"content, n={f['n']}"
            for f in self.flagged.values()
        )
        return dict(sorted(told.items()))


def words(text: str) -> Gram:
    """The words in lower case; punctuation separates them, as white space does."""
    return tuple(text.lower().translate(_SPACES).split())


def item_of(asked: Asked, language: str) -> Item:
    """What to search for where a question is asked in a language; its name is task.language."""
    text = asked.question.text(language)
    pieces = [quoted or number for quoted, number in _CONTENT.findall(text)]
    content = words(" ".join([*pieces, asked.question.answer]))
    n = min(len(content), LONGEST)
    grams = {content[i : i + n] for i in range(len(content) - n + 1)}
    return Item(f"{asked.task}.{language}", tuple(sorted(grams)), words(text))


class Searcher:
    """Finds n-grams in documents by the pair of neighbours that the fewest of them share."""

    def __init__(self, grams: Iterable[Gram]) -> None:
        wanted = sorted({gram for gram in grams if len(gram) > 1})
        shared = Counter(pair for gram in wanted for pair in set(pairwise(gram)))
        self.anchors: dict[tuple[str, str], list[tuple[int, Gram]]] = {}
        for gram in wanted:
            pairs = list(pairwise(gram))
            at = min(range(len(pairs)), key=lambda i: shared[pairs[i]])
            self.anchors.setdefault(pairs[at], []).append((at, gram))

    def find(self, document: Sequence[str]) -> set[Gram]:
        """The n-grams that stand in a document."""
        anchors, found = self.anchors, set[Gram]()
        if anchors.keys().isdisjoint(pairwise(document)):  # most documents, at a third of the time
            return found
        for i, pair in enumerate(pairwise(document)):
            if pair in anchors:
                for offset, gram in anchors[pair]:
                    start = i - offset
                    if start >= 0 and tuple(document[start : start + len(gram)]) == gram:
                        found.add(gram)
        return found


def search(
    items: Sequence[Item], corpus: Path, text_key: str, notice: Callable[[int], None]
) -> Findings:
    """Search a JSON Lines file; `notice` gets the bytes of each line.

    Raises InputError for a file that cannot be read, or a line that is no object with a text.
    """
    searcher = Searcher(gram for item in items for gram in (*item.content, item.question))
    documents, total, digest = Counter[Gram](), Counter[str](), hashlib.sha256()
    try:
        with corpus.open("rb") as file:
            for number, line in enumerate(file, start=1):
                text = words(_text(line, text_key, f"{corpus}:{number}"))
                documents.update(searcher.find(text))
                total.update(documents=1, words=len(text))
                digest.update(line)
                notice(len(line))
    except OSError as error:
        raise InputError(
            f"the corpus {corpus} cannot be read ({error.strerror})",
            "Correct benchmark.corpus, or leave it empty",
        ) from error
    return Findings(
        corpus=corpus.name,
        sha256=digest.hexdigest(),
        documents=total["documents"],
        words=total["words"],
        items=len(items),
        flagged={item.name: found for item in items if (found := _found(item, documents))},
    )


def _text(line: bytes, key: str, where: str) -> str:
    """The text of a line's object."""
    try:
        record = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where} is not JSON ({error})", "Give a JSON Lines file") from error
    text = record.get(key) if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise InputError(f"{where} has no text under {key!r}", "Name its key: corpus.text_key")
    return text


def _found(item: Item, documents: Counter[Gram]) -> dict[str, Any]:
    """What of an item stands in the corpus: the question verbatim before its content."""
    if documents[item.question]:
        return {
            "found": "question",
            "n": len(item.question),
            "documents": documents[item.question],
        }
    most = max(item.content, key=lambda gram: documents[gram])
    if not documents[most]:
        return {}
    return {
        "found": "content",
        "n": len(most),
        "ngram": " ".join(most),
        "documents": documents[most],
    }
