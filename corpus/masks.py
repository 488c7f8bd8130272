"""Which spans of each text a model learns to fill in: hierarchical masks.

A mask is drawn from the top down. With probability p(document) it is the whole text and nothing
else; otherwise each paragraph is a span with p(paragraph), and what it holds is passed over;
otherwise each of its sentences with p(sentence); otherwise each word starts a span with p(word),
which a coin makes a run of k words of that sentence, k uniform from 1 to ngram.max_words or to as
many as are left. So spans are disjoint and in order by construction. A mask may be empty.

Masks of one text differ from each other. One that is there already is drawn again, at most
`mask.retries` times; so a short text has fewer than `mask.examples_per_document`.

Random numbers belong to a document: its number in its file and the study's `mask.seed`. So any
number of workers gives the same masks, and a run that was killed goes on behind the parts that it
finished.

Files, a folder a split (numpy's .npy, to be mapped and not loaded):

    texts      int64 (documents, 2)    first byte in <split>.txt, bytes
    documents  int64 (documents + 1,)  first mask of each document
    masks      int64 (masks + 1,)      first span of each mask
    spans      (spans,) of kind u1 (index into KINDS), start u4, length u4, in characters
    masks.json                         counts, written last
"""

from __future__ import annotations

import math
import mmap
import random
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpus import sharded
from corpus.config import Config
from corpus.errors import CorpusError, Parser, run
from corpus.files import atomic, only_run, read_json, sha256_file, sha256_value, write_json
from corpus.hierarchy import Paragraph, parse
from corpus.levels import SEPARATOR, SPLITS

KINDS = ("document", "paragraph", "sentence", "ngram", "word")
DOCUMENT, PARAGRAPH, SENTENCE, NGRAM, WORD = range(5)
SPAN = np.dtype([("kind", "u1"), ("start", "<u4"), ("length", "<u4")])
INDEX = "masks.json"

Span = tuple[int, int, int]  # kind, first character, characters
Mask = tuple[Span, ...]


class Settings(NamedTuple):
    """The study's `mask` section."""

    examples: int
    retries: int
    seed: int
    document: float
    paragraph: float
    sentence: float
    word: float
    coin: float
    longest: int


def draw(text: str, tree: Sequence[Paragraph], settings: Settings, rng: random.Random) -> Mask:
    """One mask of a text whose paragraphs are `tree`."""
    if rng.random() < settings.document:
        first, last = tree[0].span[0], tree[-1].span[1]
        return ((DOCUMENT, first, last - first),)
    spans: list[Span] = []
    for paragraph in tree:
        if rng.random() < settings.paragraph:
            spans.append(_span(PARAGRAPH, *paragraph.span))
            continue
        for sentence in paragraph.sentences:
            if rng.random() < settings.sentence:
                spans.append(_span(SENTENCE, *sentence.span))
            else:
                spans.extend(_draw_words(sentence.words, settings, rng))
    return tuple(spans)


def _draw_words(words: list[tuple[int, int]], settings: Settings,
                rng: random.Random) -> Iterator[Span]:
    """A trial at each word that no span holds yet; how many fail in a row is one random number."""
    at = _failures(settings.word, rng)
    while at < len(words):
        kind, taken = WORD, 1
        if rng.random() < settings.coin:
            kind = NGRAM
            taken += int(rng.random() * min(settings.longest, len(words) - at))
        yield _span(kind, words[at][0], words[at + taken - 1][1])
        at += taken + _failures(settings.word, rng)


def _failures(probability: float, rng: random.Random) -> int:
    """How many trials fail before one succeeds: geometric, by inversion (Devroye 1986, X.2)."""
    if probability in (0, 1):
        return 0 if probability else sys.maxsize
    return int(math.log(1 - rng.random()) / math.log1p(-probability))


def _span(kind: int, start: int, end: int) -> Span:
    return kind, start, end - start


def draw_all(text: str, settings: Settings, rng: random.Random,
             counts: Counter[str]) -> list[Mask]:
    """The masks of a text, none twice. `counts` takes in what was drawn again and why."""
    tree = parse(text)
    found: dict[Mask, None] = {}
    for _ in range(settings.examples):
        for _ in range(1 + settings.retries):
            mask = draw(text, tree, settings, rng)
            if mask not in found:
                found[mask] = None
                break
            counts["retries_same_spans" if mask else "retries_empty_again"] += 1
        else:
            counts["given_up"] += 1
    starts = [word[0] for paragraph in tree for sentence in paragraph.sentences
              for word in sentence.words]
    counts["words"] += len(starts) * len(found)
    counts["masked_words"] += sum(
        bisect_left(starts, start + length) - bisect_left(starts, start)
        for mask in found for _, start, length in mask)
    counts["empty"] += () in found
    return list(found)


def expected_rate(settings: Settings) -> float:
    """The share of words that is masked in long sentences: 15.9 % with p = 0.03 throughout.

    A word is spared by the three levels above, then masked with the share of a renewal process
    whose spans have a mean of m words: p m / (1 - p + p m).
    """
    mean = settings.coin * (1 + settings.longest) / 2 + 1 - settings.coin
    inside = settings.word * mean / (1 - settings.word + settings.word * mean)
    above = (1 - settings.document) * (1 - settings.paragraph) * (1 - settings.sentence)
    return 1 - above * (1 - inside)


def locate(source: Path) -> NDArray[np.int64]:
    """First byte and size of each document of a `<split>.txt`, shape (documents, 2)."""
    if not source.stat().st_size:
        raise CorpusError(f"{source} is empty. Extract the levels again.")
    separator, begin, found = SEPARATOR.encode(), 0, []
    with source.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as all:
        while (end := all.find(separator, begin)) >= 0:
            found.append((begin, end - begin))
            begin = end + len(separator)
        found.append((begin, len(all) - begin))
    return np.array(found, np.int64)


class _Job(NamedTuple):
    """The documents number `first` and following, whose masks go to `target`."""

    source: Path
    target: Path
    texts: NDArray[np.int64]
    first: int
    settings: Settings

    @property
    def size(self) -> int:
        """Documents."""
        return len(self.texts)


def mask_split(source: Path, directory: Path, settings: Settings, workers: int) -> dict[str, Any]:
    """Write the masks of one split's documents to `directory` and return the counts.

    Parts that an earlier run finished are kept, and removed when all are joined.
    """
    about = {"version": 1, "source": sha256_file(source), "settings": settings._asdict()}
    texts = locate(source)
    parts = directory / f".parts-{sha256_value(about)[:16]}"
    parts.mkdir(parents=True, exist_ok=True)
    jobs = [_Job(source, parts / f"{first:08d}.npz", texts[first:last], first, settings)
            for first, last in sharded.ranges(len(texts))]
    sharded.work(jobs, _mask_part, workers, f"masking {source.name}")
    with atomic(directory / "texts.npy") as stream:
        np.save(stream, texts)
    sizes = {"documents": sharded.join_sizes(jobs, "masks_of", directory / "documents.npy"),
             "masks": sharded.join_sizes(jobs, "spans_of", directory / "masks.npy"),
             "spans": sharded.join(jobs, "spans", directory / "spans.npy")}
    counts = {**sizes, **sharded.counted(jobs)}
    sharded.clear(jobs)
    return counts


def _mask_part(job: _Job) -> None:
    masks_of: list[int] = []
    spans_of: list[int] = []
    spans: list[Span] = []
    counts: Counter[str] = Counter()
    with job.source.open("rb") as stream:
        for number, (start, size) in enumerate(job.texts.tolist(), job.first):
            stream.seek(start)
            rng = random.Random(f"{job.settings.seed}:{number}")
            masks = draw_all(stream.read(size).decode(), job.settings, rng, counts)
            masks_of.append(len(masks))
            for mask in masks:
                spans_of.append(len(mask))
                spans.extend(mask)
                counts.update(KINDS[kind] for kind, _, _ in mask)
    sharded.write_part(job.target, counts, masks_of=np.array(masks_of, np.int64),
                       spans_of=np.array(spans_of, np.int64), spans=np.array(spans, SPAN))


def mask(texts: Path, directory: Path, settings: Settings, workers: int) -> dict[str, Any]:
    """Masks for all splits of a level: from `texts`/<split>.txt to `directory`/<split>/.

    A second run over the same texts with the same settings does nothing. Raises CorpusError where
    a split is missing.
    """
    sources = {split: texts / f"{split}.txt" for split in SPLITS}
    for source in sources.values():
        if not source.is_file():
            raise CorpusError(f"{source}: no such file. Extract the levels first.")
    about = {"version": 1, "settings": settings._asdict(),
             "texts": {split: sha256_file(source) for split, source in sources.items()}}
    with only_run(directory):
        known = read_json(directory / INDEX)
        if known and known.get("input_digest") == sha256_value(about) and _whole(directory):
            return known
        (directory / INDEX).unlink(missing_ok=True)
        splits = {split: _told(mask_split(source, directory / split, settings, workers), settings)
                  for split, source in sources.items()}
        index = {"version": 1, "input_digest": sha256_value(about), **about,
                 "texts_dir": str(texts), "expected_mask_rate": expected_rate(settings),
                 "splits": splits}
        write_json(directory / INDEX, index)
    return index


def _told(counts: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The counts with every cause and kind, and what people ask for."""
    causes = ("retries_same_spans", "retries_empty_again", "given_up", "empty")
    return {**dict.fromkeys((*causes, *KINDS), 0), **counts,
            "masks_per_document": counts["masks"] / counts["documents"],
            "masks_per_document_at_most": settings.examples,
            "mask_rate": counts["masked_words"] / max(counts["words"], 1)}


def _whole(directory: Path) -> bool:
    names = ("texts", "documents", "masks", "spans")
    return all((directory / split / f"{name}.npy").is_file() for split in SPLITS for name in names)


def settings_of(config: Config) -> Settings:
    """The study's `mask` section. Raises CorpusError for what cannot be."""
    probability = {kind: config.parameter(f"mask.probability.{kind}", float)
                   for kind in ("document", "paragraph", "sentence", "word")}
    coin = config.parameter("mask.ngram.coin", float)
    for key, value in {**{f"probability.{kind}": p for kind, p in probability.items()},
                       "ngram.coin": coin}.items():
        if not 0 <= value <= 1:
            raise config.error(f"mask.{key}", f"is {value}, not between 0 and 1. Correct the study")
    settings = Settings(
        examples=config.parameter("mask.examples_per_document", int),
        retries=config.parameter("mask.retries", int), seed=config.parameter("mask.seed", int),
        **probability, coin=coin, longest=config.parameter("mask.ngram.max_words", int))
    if min(settings.examples, settings.longest) < 1 or settings.retries < 0:
        raise config.error("mask", "asks for fewer than one mask or word. Correct the study")
    return settings


def _main(argv: Sequence[str] | None) -> None:
    parser = Parser(prog="corpus.masks", description="Draw hierarchical masks for a level's texts.")
    parser.add_argument("--config", type=Path, required=True, help="the job's configuration")
    config = Config.load(parser.parse_args(argv).config)
    level = config.parameter("level.name", str)
    index = mask(config.path_parameter("corpus.output_dir") / level,
                 config.path_parameter("mask.output_dir") / level, settings_of(config),
                 config.get("resources.cpus", int, 1))
    for split, told in index["splits"].items():
        print(f"{level} {split}: {told['documents']} documents, {told['masks']} masks "
              f"({told['masks_per_document']:.2f} of {told['masks_per_document_at_most']} a "
              f"document), {100 * told['mask_rate']:.1f} % of words masked "
              f"(expected {100 * index['expected_mask_rate']:.1f} %), drawn again: "
              f"{told['retries_same_spans']} for the same spans, {told['retries_empty_again']} for "
              f"a second empty mask; {told['given_up']} given up")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
