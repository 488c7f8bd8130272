"""A learner corpus as one data set a level, and one of all: `<level>/{train,valid,test}.txt`.

Documents are joined by three newlines, which none of them holds: more than two newlines in a row
become two. They are divided by document, each level by itself; texts that are equal but for white
space go to the same split, also where they stand at several levels. GENERAL is the union of the
levels' own splits, so that no text it learns from is in a level's test set.

With `corpus.l1` only texts of those native languages are written. They are divided before, so that
a text is in the same split as it is without.

The corpus is read twice: once for digests (16 bytes a text are held), once to write. `levels.json`
comes last and holds the counts and, where `corpus.profile` says so, what the texts are like.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpus.config import Config
from corpus.errors import CorpusError, Parser, run
from corpus.files import (
    atomic,
    only_run,
    read_json,
    require_space,
    sha256_file,
    sha256_value,
    size_of,
    write_json,
)
from corpus.hierarchy import parse
from corpus.learners import Writing, columns_of, files_of, writings
from corpus.partition import Parts, assign, quotas, text_digest
from corpus.progress import Progress

SPLITS = ("train", "valid", "test")
SEPARATOR = "\n\n\n"
GENERAL = "GENERAL"
INDEX = "levels.json"
LEFT_OUT = -1  # the level of a text that no level of the study holds
# EFCAMDAT's 16 levels of instruction as levels of the CEFR, after Geertzen, Alexopoulou and
# Korhonen (2013), "Automatic Linguistic Annotation of Large Scale L2 Databases: The EF-Cambridge
# Open Language Database", table 1.
CEFR = {"A1": (1, 2, 3), "A2": (4, 5, 6), "B1": (7, 8, 9), "B2": (10, 11, 12), "C1": (13, 14, 15),
        "C2": (16,)}
_MANY_NEWLINES = re.compile(r"\n{3,}")
_THREE_LINES = re.compile(r"(?:\r\n?|\n){3}")


class Request(NamedTuple):
    """The study's `corpus` section."""

    source: Path
    directory: Path
    levels: tuple[str, ...]
    shares: tuple[Fraction, ...]
    seed: int
    columns: Mapping[str, str]
    l1: tuple[str, ...]
    profile: bool


class Survey(NamedTuple):
    """What the first reading found: a level and a digest for each text, in order."""

    levels: NDArray[np.int16]  # (texts,) index into the study's levels, or LEFT_OUT
    digests: NDArray[np.bytes_]
    counts: Counter[str]


def normalise(text: str) -> str:
    """A text without space at its ends, its lines ended by one newline, at most two in a row."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return _MANY_NEWLINES.sub("\n\n", lines.strip())


def level_of(writing: Writing, levels: Sequence[str]) -> int:
    """The index of a text's level, by its CEFR name or as one of EFCAMDAT's 16; LEFT_OUT where
    the study does not name it. Raises CorpusError where it is no level at all."""
    name = writing.level
    if name not in CEFR and name not in levels:
        known = [cefr for cefr, numbers in CEFR.items() if name.isdigit() and int(name) in numbers]
        if not known:
            raise CorpusError(f"{writing.where} has the level {name!r}, which is neither 1 to 16 "
                              f"nor one of {', '.join(CEFR)}. Correct it or remove that text.")
        name = known[0]
    return levels.index(name) if name in levels else LEFT_OUT


def extract(request: Request) -> dict[str, Any]:
    """Write every level's splits and GENERAL's, and return the index.

    Raises CorpusError on a text without a level, a level without texts, and a full disk. A second
    run over the same corpus does nothing.
    """
    files = files_of(request.source)
    about = {"version": 1, "files": [[path.name, sha256_file(path)] for path in files],
             "request": {key: value for key, value in request._asdict().items()
                         if key not in ("source", "directory", "shares")},
             "shares": [str(share) for share in request.shares]}
    digest = sha256_value(about)
    with only_run(request.directory):
        known = read_json(request.directory / INDEX)
        if known and known.get("input_digest") == digest and _whole(request.directory, known):
            return known
        (request.directory / INDEX).unlink(missing_ok=True)
        survey = _survey(files, request)
        parts = divide(survey, request)
        require_space(request.directory, 2 * sum(path.stat().st_size for path in files))
        written = _write(files, request, survey, parts)
        index = {"version": 1, "input_digest": digest, "source": str(request.source),
                 "seed": request.seed, "l1": list(request.l1), "counts": dict(survey.counts),
                 "documents": written[GENERAL]["documents"], "levels": written}
        write_json(request.directory / INDEX, index)
    return index


def _survey(files: list[Path], request: Request) -> Survey:
    levels, digests, counts = [], bytearray(), Counter[str]()
    progress = Progress(None, "documents", "reading the corpus")
    for number, writing in enumerate(writings(files, request.columns), 1):
        text, level = normalise(writing.text), level_of(writing, request.levels)
        counts["texts"] += 1
        if not text:
            counts["empty"] += 1
            level = LEFT_OUT
        elif level == LEFT_OUT:
            counts["other_levels"] += 1
        counts["newlines_normalised"] += bool(_THREE_LINES.search(writing.text.strip()))
        levels.append(level)
        digests += text_digest(" ".join(text.split()), request.seed)
        progress.update(number)
    progress.finish(len(levels))
    return Survey(np.array(levels, np.int16), np.frombuffer(bytes(digests), "S16"), counts)


def divide(survey: Survey, request: Request) -> Parts:
    """The split of each text, shape (texts,); those left out have one too, which means nothing.

    Levels are divided one after the other; a text that an earlier one holds too is in its split.
    """
    parts = np.zeros(len(survey.levels), np.int8)
    pinned: dict[bytes, int] = {}
    shared = _shared(survey)
    for level, name in enumerate(request.levels):
        mine = np.flatnonzero(survey.levels == level)
        if not len(mine):
            raise CorpusError(f"{request.source} has no text of level {name}. Take it out of "
                              "corpus.levels, or complete the corpus.")
        digests = survey.digests[mine]
        parts[mine] = assign(digests, quotas(len(mine), request.shares), pinned)
        for at in np.flatnonzero(np.isin(digests, shared)):
            pinned[digests[at].ljust(16, b"\0")] = int(parts[mine[at]])
    return parts


def _shared(survey: Survey) -> NDArray[np.bytes_]:
    """The digests that stand at more than one level."""
    own = [np.unique(survey.digests[survey.levels == level])
           for level in np.unique(survey.levels) if level != LEFT_OUT]
    own.append(survey.digests[:0])
    values, counts = np.unique(np.concatenate(own), return_counts=True)
    shared: NDArray[np.bytes_] = values[counts > 1]
    return shared


class _Output:
    """One `<split>.txt` that is being written."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.documents, self.bytes = stream, 0, 0

    def add(self, text: bytes) -> None:
        joined = SEPARATOR.encode() + text if self.documents else text
        self.stream.write(joined)
        self.documents += 1
        self.bytes += len(joined)


def _write(files: list[Path], request: Request, survey: Survey, parts: Parts) -> dict[str, Any]:
    names = [*request.levels, GENERAL]
    features = {name: Features() for name in names}
    progress = Progress(len(parts), "documents", "writing the levels")
    with ExitStack() as stack:
        outputs = {(name, split): _Output(stack.enter_context(
            atomic(request.directory / name / f"{split}.txt"))) for name in names
            for split in SPLITS}
        for number, writing in enumerate(_again(files, request, survey)):
            level, split = int(survey.levels[number]), SPLITS[int(parts[number])]
            if level == LEFT_OUT or (request.l1 and writing.l1 not in request.l1):
                continue
            text = normalise(writing.text)
            for name in (request.levels[level], GENERAL):
                outputs[name, split].add(text.encode())
                if request.profile:
                    features[name].add(text)
            progress.update(number)
        for (name, split), output in outputs.items():
            if not output.documents:
                raise CorpusError(f"{name} has no {split} text"
                                  + (f" in {', '.join(request.l1)}. Correct corpus.l1."
                                     if request.l1 else ". Give more texts."))
    return {name: {"documents": sum(outputs[name, split].documents for split in SPLITS),
                   "splits": {split: {"documents": outputs[name, split].documents,
                                      "bytes": outputs[name, split].bytes} for split in SPLITS},
                   **({"profile": features[name].told()} if request.profile else {})}
            for name in names}


def _again(files: list[Path], request: Request, survey: Survey) -> Iterator[Writing]:
    """The texts a second time; CorpusError where they are no longer those of the first."""
    count = 0
    for count, writing in enumerate(writings(files, request.columns), 1):
        text = " ".join(normalise(writing.text).split())
        if count > len(survey.digests):
            break
        # numpy gives a bytes value without the zeros at its end
        if text_digest(text, request.seed).rstrip(b"\0") != bytes(survey.digests[count - 1]):
            break
        yield writing
    else:
        if count == len(survey.digests):
            return
    raise CorpusError(f"{request.source} changed while it was read. Run again when it is at rest.")


class Features:
    """What a level's texts are like: lengths of sentences and texts in words, vocabulary."""

    def __init__(self) -> None:
        self.texts = self.sentences = self.words = 0
        self.forms: set[str] = set()

    def add(self, text: str) -> None:
        """Take in one text. Punctuation is no word here."""
        self.texts += 1
        for paragraph in parse(text):
            for sentence in paragraph.sentences:
                words = [text[start:end].lower() for start, end in sentence.words]
                words = [word for word in words if word[0].isalnum()]
                self.sentences += bool(words)
                self.words += len(words)
                self.forms.update(words)

    def told(self) -> dict[str, float]:
        """The figures."""
        return {"words_per_sentence": self.words / max(self.sentences, 1),
                "words_per_text": self.words / max(self.texts, 1), "vocabulary": len(self.forms)}


def _whole(directory: Path, index: dict[str, Any]) -> bool:
    return all(size_of(directory / name / f"{split}.txt") == about["bytes"]
               for name, level in index["levels"].items()
               for split, about in level["splits"].items())


def request_of(config: Config) -> Request:
    """What a job's configuration asks for. Raises CorpusError for what cannot be."""
    shares = config.parameter("corpus.split", list)
    levels = tuple(str(level) for level in config.parameter("corpus.levels", list))
    if not levels or GENERAL in levels or set(levels) - CEFR.keys():
        raise config.error("corpus.levels", f"is {list(levels)}. Name levels out of "
                                            f"{', '.join(CEFR)}")
    if len(shares) != len(SPLITS) or not all(type(share) in (int, float) for share in shares):
        raise config.error("corpus.split", f"is {shares}, not the shares of train, valid and test")
    exact = [Fraction(str(share)) for share in shares]
    return Request(
        source=config.path_parameter("corpus.source"),
        directory=config.path_parameter("corpus.output_dir"), levels=levels,
        shares=tuple(share / (sum(exact) or 1) for share in exact),
        seed=config.parameter("seed", int),
        columns=columns_of(config.parameter("corpus.columns", dict, {})),
        l1=tuple(str(one) for one in config.parameter("corpus.l1", list, [])),
        profile=config.parameter("corpus.profile", bool, False))


def _main(argv: Sequence[str] | None) -> None:
    parser = Parser(prog="corpus.levels",
                    description="Extract a data set for each level from a learner corpus.")
    parser.add_argument("--config", type=Path, required=True, help="the job's configuration")
    request = request_of(Config.load(parser.parse_args(argv).config))
    index = extract(request)
    for name, level in index["levels"].items():
        told = ", ".join(f"{split} {about['documents']}"
                         for split, about in level["splits"].items())
        print(f"{request.directory / name}: {level['documents']} texts, {told}")
    left = {key: count for key, count in index["counts"].items() if key != "texts" and count}
    if left:
        print("of {} texts: {}".format(index["counts"]["texts"], ", ".join(
            f"{count} {key.replace('_', ' ')}" for key, count in left.items())))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
