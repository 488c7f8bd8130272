"""Two arms of a study side by side: is it the same text, and where are only the cuts different?"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np

from corpus.dataset import Dataset
from corpus.morphology import Alignment, Lexicon, Tally
from corpus.progress import Progress
from corpus.spelling import END, Cut, Spelling, printable

_EXCERPT = 40  # bytes shown from where two texts part


class Side(NamedTuple):
    """A set and what its tokens spell."""

    dataset: Dataset
    spelling: Spelling


class Difference(msgspec.Struct, frozen=True):
    """Where the texts part first: a document, and a byte of its text, both from 0."""

    document: int
    byte: int
    a: str
    b: str


class Boundaries(msgspec.Struct, frozen=True):
    """Token boundaries inside documents, counted."""

    both: int
    only_a: int
    only_b: int


class Comparison(msgspec.Struct, frozen=True):
    """Everything that `compare` finds; the figures after `difference` are of equal texts only."""

    a: str
    b: str
    documents_a: int
    documents_b: int
    same_text: bool
    difference: Difference | None
    boundaries: Boundaries | None
    alignment_a: Alignment | None
    alignment_b: Alignment | None


def compare(a: Side, b: Side, lexicon: Lexicon) -> Comparison:
    """Compare block by block, up to the first document whose text differs."""
    tally_a, tally_b, counts = Tally(), Tally(), np.zeros(3, np.int64)
    difference = None
    common = min(len(a.dataset), len(b.dataset))
    progress = Progress(common, "documents", "comparing")
    for start, stop in a.dataset.blocks():
        stop = min(stop, common)
        if start >= stop:
            break
        cut_a, cut_b = (side.spelling.cut(side.dataset.ids(start, stop)) for side in (a, b))
        if cut_a.text != cut_b.text:
            difference = _locate(cut_a.text, cut_b.text, start)
            break
        counts += _shared(cut_a, cut_b)
        found = lexicon.find(cut_a.text)
        tally_a.add(found, cut_a)
        tally_b.add(found, cut_b)
        progress.update(stop)
    progress.finish(common)
    if difference is None and len(a.dataset) != len(b.dataset):
        difference = Difference(common, 0, *(_opening(side, common) for side in (a, b)))
    same = difference is None
    return Comparison(
        _name(a), _name(b), len(a.dataset), len(b.dataset), same, difference,
        Boundaries(*counts.tolist()) if same else None,
        tally_a.alignment() if same else None, tally_b.alignment() if same else None)


def document_cut(side: Side, document: int) -> tuple[list[bytes], frozenset[int]]:
    """A document's tokens without EOD, as bytes, and the byte offsets of its boundaries."""
    ids = side.dataset.ids(document, document + 1)
    cut = side.spelling.cut(ids)
    tokens = [side.spelling.tokens[token] for token in ids.tolist() if token != side.spelling.eod]
    return tokens, frozenset(cut.boundaries.tolist())


def _shared(a: Cut, b: Cut) -> tuple[int, int, int]:
    cut = np.zeros(len(a.text) + 1, np.bool_)
    cut[a.boundaries] = True
    both = int(np.count_nonzero(cut[b.boundaries]))
    return both, len(a.boundaries) - both, len(b.boundaries) - both


def _locate(a: bytes, b: bytes, first: int) -> Difference:
    """The first difference of two blocks that begin with document `first`."""
    at = _common(a, b)
    begin = a.rfind(END, 0, at) + 1
    return Difference(first + a.count(END, 0, at), at - begin, _excerpt(a[at:]), _excerpt(b[at:]))


def _common(a: bytes, b: bytes) -> int:
    """How many bytes two texts share at their beginning, back to where a character begins."""
    size = min(len(a), len(b))
    differ = np.frombuffer(a, np.uint8, size) != np.frombuffer(b, np.uint8, size)
    at = int(differ.argmax()) if differ.any() else size
    while at and (_inside(a, at) or _inside(b, at)):
        at -= 1
    return at


def _inside(text: bytes, at: int) -> bool:
    return at < len(text) and text[at] & 0xC0 == 0x80


def _excerpt(text: bytes) -> str:
    whole = text.partition(END)[0]
    shown = whole[:_EXCERPT].decode(errors="ignore")
    return printable(shown.encode()) + ("…" if len(whole) > _EXCERPT else "")


def _opening(side: Side, document: int) -> str:
    if document >= len(side.dataset):
        return ""
    return _excerpt(side.spelling.cut(side.dataset.ids(document, document + 1)).text)


def _name(side: Side) -> str:
    return str(side.dataset.prefix)

