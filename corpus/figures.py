"""The figures of a preprocessed set, counted block by block: nothing is loaded whole."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from corpus.compare import Side, document_cut
from corpus.dataset import Dataset
from corpus.errors import CorpusError
from corpus.morphology import Alignment, Coverage, Lexicon, Tally
from corpus.progress import Progress
from corpus.spelling import Spelling, printable

_TOP = 20  # most frequent tokens that are listed


class Spread(msgspec.Struct, frozen=True):
    """Of tokens per document, without EOD; the percentiles are by nearest rank."""

    min: int
    median: int
    p95: int
    max: int


class Attempts(msgspec.Struct, frozen=True):
    """What a variant tried and how often it changed something."""

    expansions_attempted: int
    expansions_achieved: int
    contractions_attempted: int
    contractions_achieved: int


class Frequent(msgspec.Struct, frozen=True):
    """One of the most frequent tokens."""

    id: int
    piece: str
    count: int
    share: float  # of the tokens without EOD


class Sample(msgspec.Struct, frozen=True):
    """A document as it is cut; bytes that are no character are shown as <E6>."""

    document: int
    part: str
    document_in_part: int
    tokens: list[str]
    ids: list[int]


class Report(msgspec.Struct, frozen=True):
    """The figures of a set. Tokens are counted without EOD, one of which ends each document."""

    prefix: str
    parts: int
    missing_parts: list[int]
    variant: dict[str, Any]
    seed: int | None
    documents: int
    tokens: int
    tokens_per_document: Spread | None
    characters_per_token: float | None  # of the tokens that are whole characters
    vanilla_tokens: int
    growth: float | None
    dtype: str
    eod: int
    attempts: Attempts
    rejected: int
    rejects: dict[str, int]  # by reason; empty where the sidecar of a merged set has none
    token_lengths: dict[int, int]  # characters of a token to tokens; -1 for part of a character
    document_lengths: dict[int, int]  # 0, 1, 2, 4, 8 ...: from that many tokens to below the next
    frequent: list[Frequent]


class Morphology(msgspec.Struct, frozen=True):
    """Boundary figures of the tokenizer on the list, and of a set's own cuts of these words."""

    lexicon: str
    words: int
    tokenizer: Alignment
    dataset: Alignment | None
    affixes: list[Coverage]


def report(dataset: Dataset, spelling: Spelling) -> Report:
    """Count the whole set once. Raises CorpusError for ids outside the vocabulary."""
    tokens, lengths = _count(dataset, spelling)
    total, vanilla = int(tokens.sum()), dataset.total("vanilla_tokens")
    rejects = Counter[str]()
    for part in dataset.parts:
        rejects.update(part.record.get("rejects", {}))
    characters = _by(spelling.characters, tokens)
    whole = total - characters.get(-1, 0)
    spelled = sum(size * count for size, count in characters.items() if size > 0)
    return Report(
        str(dataset.prefix), len(dataset.parts), dataset.missing,
        dataset.record.get("variant", {}), dataset.record.get("seed"), len(dataset), total,
        _spread(lengths), round(spelled / whole, 3) if whole else None, vanilla,
        round(total / vanilla, 6) if vanilla else None, dataset.parts[0].reader.dtype.__name__,
        dataset.eod,
        Attempts(*(dataset.total(key) for key in (
            "attempted", "achieved", "contractions_attempted", "contractions_achieved"))),
        dataset.total("rejected"), dict(rejects.most_common()), characters,
        _by(_powers(len(lengths)), lengths), _frequent(tokens, spelling))


def _count(dataset: Dataset, spelling: Spelling) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How often each token stands in the set, shape (vocabulary,), without EOD; and how many
    documents have each number of tokens, shape (longest + 1,)."""
    tokens, lengths = np.zeros(len(spelling.tokens), np.int64), np.zeros(1, np.int64)
    progress = Progress(len(dataset), "documents", "counting")
    for start, stop in dataset.blocks():
        ids = dataset.ids(start, stop)
        spelling.check(ids)
        tokens += np.bincount(ids, minlength=len(tokens))
        ends = np.flatnonzero(ids == spelling.eod)
        if len(ends) != stop - start:
            part, number = dataset.part_of(start)
            raise CorpusError(f"{part.prefix} has {len(ends)} EODs in the {stop - start} documents "
                              f"from {number} on. Run the preprocess stage again.")
        found = np.bincount(np.diff(ends, prepend=-1) - 1)
        lengths = np.pad(lengths, (0, max(0, len(found) - len(lengths))))
        lengths[: len(found)] += found
        progress.update(stop)
    progress.finish(len(dataset))
    tokens[spelling.eod] = 0
    return tokens, lengths


def _spread(lengths: NDArray[np.int64]) -> Spread | None:
    ranks = np.cumsum(lengths)
    if not ranks[-1]:
        return None
    middle, high = (int(np.searchsorted(ranks, np.ceil(share * ranks[-1])))
                    for share in (0.5, 0.95))
    present = np.flatnonzero(lengths)
    return Spread(int(present[0]), middle, high, int(present[-1]))


def _by(keys: NDArray[np.int64], counts: NDArray[np.int64]) -> dict[int, int]:
    """Sums of `counts` by key, keys rising, without those that sum to nothing."""
    found, places = np.unique(keys, return_inverse=True)
    sums = np.zeros(len(found), np.int64)
    np.add.at(sums, places, counts)
    return {int(key): int(total) for key, total in zip(found, sums, strict=True) if total}


def _powers(size: int) -> NDArray[np.int64]:
    """The greatest power of two up to each of 0 ... size - 1; 0 for 0."""
    return np.array([1 << (number.bit_length() - 1) if number else 0 for number in range(size)],
                    np.int64)


def _frequent(tokens: NDArray[np.int64], spelling: Spelling) -> list[Frequent]:
    order = np.argsort(-tokens, kind="stable")[:_TOP].tolist()
    total = max(int(tokens.sum()), 1)
    return [Frequent(token, printable(spelling.tokens[token]), int(tokens[token]),
                     round(int(tokens[token]) / total, 6)) for token in order if tokens[token]]


def samples(side: Side, documents: list[int]) -> list[Sample]:
    """The documents of these numbers, whole."""
    found = []
    for document in documents:
        tokens, _ = document_cut(side, document)
        ids = side.dataset.ids(document, document + 1).tolist()
        part, number = side.dataset.part_of(document)
        found.append(Sample(document, part.prefix.name, number, list(map(printable, tokens)),
                            [token for token in ids if token != side.spelling.eod]))
    return found


def choose(documents: int, count: int, seed: int) -> list[int]:
    """`count` of so many documents' numbers, rising; the same for the same seed."""
    return sorted(random.Random(seed).sample(range(documents), min(count, documents)))


def corpus_alignment(dataset: Dataset, spelling: Spelling, lexicon: Lexicon) -> Alignment:
    """How the set cuts the words of the list, wherever they occur in it."""
    tally = Tally()
    progress = Progress(len(dataset), "documents", "words")
    for start, stop in dataset.blocks():
        cut = spelling.cut(dataset.ids(start, stop))
        tally.add(lexicon.find(cut.text), cut)
        progress.update(stop)
    progress.finish(len(dataset))
    return tally.alignment()
