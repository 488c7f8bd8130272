"""How well token boundaries agree with morpheme boundaries, on a list of annotated words.

A boundary is a place between two letters of a word; a hyphen is no letter, so cuts on either side
of it are one boundary. Of a word let M be its morpheme boundaries, at least one, and T those of
its tokens inside it. Then

    precision = |T & M| / |T|    recall = |T & M| / |M|    F1 = 2 |T & M| / (|T| + |M|)

*Micro* sums the three counts over all words first. *Macro* is the mean of the words' own values;
a word that is one token has no precision and is left out of that mean (its F1 is 0). A word is
*kept* where T holds all of M. *Fertility* is tokens per word; a space mark that is a token of its
own counts.

Sources: boundaries as units are the evaluation of Morpho Challenge 2005 (Kurimo et al.,
"Unsupervised segmentation of words into morphemes", 2006); for tokenizers, micro and macro, it is
MorphScore in its second form (Arnett, Hudspeth and O'Connor, "Evaluating morphological alignment of
tokenizers in 70 languages", 2025). MorphScore's first form leaves out words of one token; here they
count as missed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from corpus.errors import CorpusError
from corpus.spelling import Cut, Spelling
from corpus.tokenizers import Tokenizer

_DATA = Path(__file__).resolve().parent.parent / "data"
MORPHEMES, AFFIXES = _DATA / "lexicon" / "morphemes.tsv", _DATA / "affixes"
HEADER = ["form", "segmentation", "root", "stem", "gloss"]
KINDS = ("prefix", "infix", "suffix")
_WORD = re.compile(rb"[a-z]+(?:-[a-z]+)*")


class Word(msgspec.Struct, frozen=True):
    """An annotated word; `segments` spell `form` without its hyphens."""

    form: str
    segments: tuple[str, ...]
    root: str
    stem: str
    gloss: str

    @property
    def boundaries(self) -> frozenset[int]:
        """Letters before each morpheme boundary."""
        ends = np.cumsum([len(segment) for segment in self.segments])
        return frozenset(ends[:-1].tolist())


class Occurrence(NamedTuple):
    """An annotated word in a text, at byte offsets."""

    word: Word
    start: int
    stop: int


class Alignment(msgspec.Struct, frozen=True):
    """The module's figures; None where there is nothing to divide by."""

    words: int  # different words that were met
    occurrences: int
    cuts: int  # |T|, summed
    cuts_on_morphemes: int  # |T & M|, summed
    precision: float | None
    recall: float | None
    f1: float | None
    macro_precision: float | None
    macro_recall: float | None
    macro_f1: float | None
    kept: float | None
    fertility: float | None


class Coverage(msgspec.Struct, frozen=True):
    """How many affixes of a kind are one token: as they are, and with the space mark before."""

    kind: str
    affixes: int
    bare: int
    marked: int
    missing: list[str]  # neither way


class Lexicon:
    """Annotated words, to be found in texts."""

    def __init__(self, words: Iterable[Word]) -> None:
        self.words = list(words)
        self._known = {word.form.encode(): word for word in self.words}

    def find(self, text: bytes) -> list[Occurrence]:
        """Every occurrence in UTF-8 text, in any case, as a word of its own."""
        known = self._known
        return [Occurrence(word, *found.span()) for found in _WORD.finditer(text.lower())
                if (word := known.get(found[0])) and _alone(text, *found.span())]


class Tally:
    """Sums over occurrences, kept word by word: a word's own values are means over its own."""

    _COUNTS = ("occurrences", "hits", "cuts", "morphemes", "kept", "tokens", "f1", "divided",
               "precision")

    def __init__(self) -> None:
        self._rows: dict[str, NDArray[np.float64]] = {}
        self._letters: dict[str, tuple[frozenset[int], list[int]]] = {}

    def add(self, occurrences: list[Occurrence], cut: Cut) -> None:
        """Count the tokens of `occurrences`, which `Lexicon.find` found in `cut.text`."""
        if not occurrences:
            return
        starts = np.array([found.start for found in occurrences], np.int64)
        stops = np.array([found.stop for found in occurrences], np.int64)
        first = np.searchsorted(cut.boundaries, starts, "right")
        behind = np.searchsorted(cut.boundaries, stops, "left")
        lone = _spaces_alone(cut, starts)
        for found, i, j, extra in zip(occurrences, first.tolist(), behind.tolist(), lone.tolist(),
                                      strict=True):
            self._count(found.word, (cut.boundaries[i:j] - found.start).tolist(), extra)

    def _count(self, word: Word, places: list[int], extra: bool) -> None:
        """One occurrence, cut at byte offsets `places` of its form."""
        if word.form not in self._letters:
            before = [len(word.form[:place].replace("-", "")) for place in range(len(word.form))]
            self._letters[word.form] = word.boundaries, before
            self._rows[word.form] = np.zeros(len(self._COUNTS))
        morphemes, letters = self._letters[word.form]
        cuts = {letters[place] for place in places}
        hits, total = len(cuts & morphemes), len(cuts) + len(morphemes)
        self._rows[word.form] += (
            1, hits, len(cuts), len(morphemes), hits == len(morphemes), 1 + len(places) + extra,
            2 * hits / total, bool(cuts), hits / len(cuts) if cuts else 0)

    def alignment(self) -> Alignment:
        """The figures of all that was added."""
        rows = np.array(list(self._rows.values())).reshape(-1, len(self._COUNTS))
        own = dict(zip(self._COUNTS, rows.T, strict=True))
        total = {name: float(column.sum()) for name, column in own.items()}
        divided = own["divided"] > 0

        def mean(values: NDArray[np.float64]) -> float | None:
            return round(float(values.mean()), 6) if len(values) else None

        return Alignment(
            len(rows), int(total["occurrences"]), int(total["cuts"]), int(total["hits"]),
            _ratio(total["hits"], total["cuts"]), _ratio(total["hits"], total["morphemes"]),
            _ratio(2 * total["hits"], total["cuts"] + total["morphemes"]),
            mean(own["precision"][divided] / own["divided"][divided]),
            mean(own["hits"] / own["morphemes"]), mean(own["f1"] / own["occurrences"]),
            _ratio(total["kept"], total["occurrences"]),
            _ratio(total["tokens"], total["occurrences"]))


def load_morphemes(path: Path = MORPHEMES) -> Lexicon:
    """The annotated words in the file's order.

    Raises CorpusError for a missing file, a row of another shape, segments that do not spell the
    form, or a form that stands twice.
    """
    if not path.is_file():
        raise CorpusError(f"{path}: no such file. Give the annotated words with --lexicon.")
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or lines[0].split("\t") != HEADER:
        raise CorpusError(f"{path} lacks its heading {' '.join(HEADER)}. Put it in the first line.")
    words: dict[str, Word] = {}
    for number, line in enumerate(lines[1:], start=2):
        word = _parse(line, f"{path}:{number}")
        if word.form in words:
            raise CorpusError(f"{path}:{number}: {word.form} stands twice. Keep one analysis.")
        words[word.form] = word
    return Lexicon(words.values())


def _parse(line: str, where: str) -> Word:
    cells = line.split("\t")
    if len(cells) != len(HEADER) or not all(cells):
        raise CorpusError(f"{where}: it has not the {len(HEADER)} columns. Correct the row.")
    form, segmentation, *rest = cells
    segments = tuple(segmentation.split("-"))
    if not _WORD.fullmatch(form.encode()):
        raise CorpusError(f"{where}: {form!r} is not of the letters a to z. Correct the row.")
    if len(segments) < 2 or not all(segments) or "".join(segments) != form.replace("-", ""):
        raise CorpusError(f"{where}: {segmentation} does not cut {form} into two or more parts. "
                          "Correct the row.")
    return Word(form, segments, *rest)


def tokenizer_alignment(lexicon: Lexicon, spelling: Spelling) -> Alignment:
    """How the tokenizer itself cuts each word of the list once, as it stands behind a space."""
    tally = Tally()
    for word in lexicon.words:
        # A word before it, since some tokenizers put a space of their own before a text.
        cut = spelling.cut(spelling.tokenizer.encode(f"a {word.form}"))
        stop = len(cut.text)
        if cut.text.endswith(word.form.encode()):
            tally.add([Occurrence(word, stop - len(word.form), stop)], cut)
    return tally.alignment()


def affix_coverage(directory: Path, tokenizer: Tokenizer) -> list[Coverage]:
    """The share of each list of affixes, one a line, that the vocabulary holds.

    Raises CorpusError if a list is missing.
    """
    return [_covered(kind, directory / f"{kind}.txt", tokenizer) for kind in KINDS]


def _covered(kind: str, path: Path, tokenizer: Tokenizer) -> Coverage:
    if not path.is_file():
        raise CorpusError(f"{path}: no such file. Give the folder of prefix.txt, infix.txt and "
                          "suffix.txt with --affixes.")
    affixes = list(dict.fromkeys(path.read_text(encoding="utf-8").split()))
    bare = {affix for affix in affixes if tokenizer.piece_to_id(affix) is not None}
    marked = {affix for affix in affixes
              if tokenizer.space and tokenizer.piece_to_id(tokenizer.space + affix) is not None}
    missing = [affix for affix in affixes if affix not in bare | marked]
    return Coverage(kind, len(affixes), len(bare), len(marked), missing)


def _alone(text: bytes, start: int, stop: int) -> bool:
    """Whether no letter, digit or accent beyond ASCII touches text[start:stop]."""
    before = text[max(start - 4, 0) : start].decode(errors="ignore")[-1:]
    after = text[stop : stop + 4].decode(errors="ignore")[:1]
    return not any(side.isalnum() or side == "_" or "\u0300" <= side <= "\u036f"
                   for side in (before, after) if side)


def _spaces_alone(cut: Cut, starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """For each start, whether the space before it is a token of its own, shape (starts,)."""
    text = np.frombuffer(cut.text, np.uint8)
    spaced = (starts > 0) & (text[starts - 1] == ord(" "))
    opened = (starts == 1) | np.isin(starts - 1, cut.boundaries)
    fresh = text[starts - 2] == 0  # the space is a document's first character
    alone: NDArray[np.bool_] = spaced & np.isin(starts, cut.boundaries) & (opened | fresh)
    return alone


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 6) if whole else None
