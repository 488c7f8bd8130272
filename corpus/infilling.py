"""Masked texts as the token ids that an infilling language model (ILM) is trained on.

Donahue, Lee and Liang (2020), "Enabling Language Models to Fill in the Blanks". An example is the
text with each span replaced by a blank of its kind, a separator, and the answers in order, each
with an end behind it:

    She ate<|infill_ngram|> for<|infill_word|><|startofinfill|> leftover pasta<|endofinfill|>
    lunch<|endofinfill|>

A span takes every token that it shares a character with, so that the space before a word goes into
the answer. Where two spans share a token, it belongs to the first; no example is lost over it.

An example that is longer than `batch.seq_length` is not cut at its end, where the answers are, but
made of a window of the text: around one of its spans (the masks of a text take turns) as many
tokens to the left and the right as there is room for, spans as a whole or not at all. An answer
that is too long by itself is cut and has no end; that is counted.

Files, a folder a split, beside `infilling.json` (counts, ids; written last) and the tokenizer with
its seven new tokens:

    ids       u2 or u4 (tokens,)
    kinds     u1 (tokens,) what each token is, an index into TARGETS
    examples  int64 (examples + 1,) first token of each example
    targets   int32 (examples, 2) tokens of answers with their ends, and of context, that are
              predicted: the first token of an example is not
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpus import masks, sharded
from corpus.config import Config
from corpus.errors import CorpusError, Parser, run
from corpus.files import atomic, only_run, read_json, sha256_file, sha256_value, write_json
from corpus.levels import SPLITS
from corpus.tokenizers import JSON, JsonTokenizer, load_tokenizer

INDEX = "infilling.json"
TARGETS = ("pad", "context", "blank", "separator", "answer", "end")
PAD, CONTEXT, BLANK, SEPARATOR, ANSWER, END = range(6)
START, STOP = "<|startofinfill|>", "<|endofinfill|>"
SPECIAL = (START, STOP, *(f"<|infill_{kind}|>" for kind in masks.KINDS))
_ARRAYS = ("ids", "kinds", "examples", "targets")
_CONFIG = "tokenizer_config.json"

Blank = tuple[int, int, int]  # kind, first token, the one behind its last


class Vocabulary(NamedTuple):
    """Ids of the special tokens: they follow the tokenizer's own."""

    separator: int
    end: int
    blanks: tuple[int, ...]  # by index into masks.KINDS

    @classmethod
    def behind(cls, size: int) -> Vocabulary:
        """Those behind a vocabulary of `size` ids: 50257 ... 50263 with GPT-2's."""
        first = size + SPECIAL.index(STOP) + 1
        return cls(size, size + 1, tuple(range(first, first + len(masks.KINDS))))


class Example(NamedTuple):
    """Ids and what each is."""

    ids: list[int]
    kinds: list[int]


def align(spans: Sequence[masks.Span], offsets: NDArray[np.int64],
          counts: Counter[str]) -> list[Blank]:
    """The tokens of each span of characters; `offsets` (tokens, 2) never decrease."""
    if not spans:
        return []
    starts = np.array([start for _, start, _ in spans])
    ends = starts + np.array([length for _, _, length in spans])
    first = np.searchsorted(offsets[:, 1], starts, side="right").tolist()
    last = np.searchsorted(offsets[:, 0], ends, side="left").tolist()
    blanks: list[Blank] = []
    free = 0  # the first token that no span has
    for (kind, _, _), start, end in zip(spans, first, last, strict=True):
        counts["spans_trimmed"] += start < free
        start = max(start, free)
        if start < end:
            blanks.append((kind, start, end))
            free = end
        else:
            counts["spans_swallowed"] += 1
    return blanks


def window(blanks: Sequence[Blank], tokens: int, limit: int, turn: int) -> tuple[int, int]:
    """First token and the one behind the last of the part of a text whose example fits `limit`.

    A context token costs one place, a span its tokens and two more, the separator one. Where not
    even the span of this `turn` fits, the window is that span.
    """
    if tokens + 2 * len(blanks) + 1 <= limit:
        return 0, tokens
    at_start = {start: end for _, start, end in blanks}
    at_end = {end: start for _, start, end in blanks}
    if blanks:
        _, low, high = blanks[turn % len(blanks)]
        left = limit - 1 - (high - low + 2)
    else:
        low = high = turn * (limit - 1) % tokens
        left = limit - 1
    more_left = more_right = True
    while left > 0 and (more_left or more_right):
        if more_right:
            end = at_start.get(high, high + 1)
            cost = end - high + 2 * (high in at_start)
            more_right = high < tokens and cost <= left
            if more_right:
                high, left = end, left - cost
        if more_left and left > 0:
            start = at_end.get(low, low - 1)
            cost = low - start + 2 * (low in at_end)
            more_left = low > 0 and cost <= left
            if more_left:
                low, left = start, left - cost
    return low, high


def build(ids: Sequence[int], blanks: Sequence[Blank], vocabulary: Vocabulary, limit: int,
          turn: int, counts: Counter[str]) -> Example:
    """The example of a text's tokens and spans, at most `limit` tokens long."""
    low, high = window(blanks, len(ids), limit, turn)
    if (low, high) != (0, len(ids)):
        counts["windowed"] += 1
        blanks = [blank for blank in blanks if low <= blank[1] and blank[2] <= high]
    context: list[int] = []
    kinds: list[int] = []
    answers: list[int] = []
    answer_kinds: list[int] = []
    at = low
    for kind, start, end in blanks:
        context += [*ids[at:start], vocabulary.blanks[kind]]
        kinds += [CONTEXT] * (start - at) + [BLANK]
        answers += [*ids[start:end], vocabulary.end]
        answer_kinds += [ANSWER] * (end - start) + [END]
        at = end
    context += [*ids[at:high], vocabulary.separator]
    kinds += [CONTEXT] * (high - at) + [SEPARATOR]
    room = limit - len(context)
    counts["answers_cut"] += len(answers) > room
    counts["without_blanks"] += not blanks
    return Example(context + answers[:room], kinds + answer_kinds[:room])


class _Job(NamedTuple):
    """The documents from `first` to before `last` of a split, whose examples go to `target`."""

    target: Path
    texts: Path
    masks: Path
    tokenizer: Path
    first: int
    last: int
    limit: int

    @property
    def size(self) -> int:
        """Documents."""
        return self.last - self.first


def _examples_part(job: _Job) -> None:
    tokenizer = _open(job.tokenizer)
    vocabulary = Vocabulary.behind(tokenizer.full_size)
    arrays = {name: np.load(job.masks / f"{name}.npy", mmap_mode="r")
              for name in ("texts", "documents", "masks", "spans")}
    counts: Counter[str] = Counter()
    ids: list[int] = []
    kinds: list[int] = []
    sizes: list[int] = []
    targets: list[tuple[int, int]] = []
    with job.texts.open("rb") as stream:
        for document in range(job.first, job.last):
            start, size = arrays["texts"][document].tolist()
            stream.seek(start)
            tokens, offsets = _encode(tokenizer, stream.read(size).decode(),
                                      f"{job.texts}: document {document + 1}")
            first, last = arrays["documents"][document : document + 2].tolist()
            ends = arrays["masks"][first : last + 1].tolist()
            for turn in range(last - first):
                spans = arrays["spans"][ends[turn] : ends[turn + 1]].tolist()
                blanks = align(spans, offsets, counts)
                example = build(tokens, blanks, vocabulary, job.limit, turn, counts)
                ids += example.ids
                kinds += example.kinds
                sizes.append(len(example.ids))
                targets.append(_count(example.kinds))
    wide = vocabulary.blanks[-1] >= 1 << 16
    sharded.write_part(job.target, counts, ids=np.array(ids, np.uint32 if wide else np.uint16),
                       kinds=np.array(kinds, np.uint8), sizes=np.array(sizes, np.int64),
                       targets=np.array(targets, np.int32).reshape(-1, 2))


def _count(kinds: list[int]) -> tuple[int, int]:
    """Predicted tokens of answers with their ends, and of context."""
    return kinds.count(ANSWER) + kinds.count(END), kinds.count(CONTEXT) - (kinds[0] == CONTEXT)


def _encode(tokenizer: JsonTokenizer, text: str,
            where: str) -> tuple[list[int], NDArray[np.int64]]:
    """Ids and their characters. Raises CorpusError where they do not spell the text."""
    ids, spans = tokenizer.encode_spans(text)
    offsets = np.array(spans, np.int64).reshape(-1, 2)
    if (np.diff(offsets, axis=0) < 0).any() or tokenizer.decode(ids) != text:
        raise CorpusError(f"{where}: {tokenizer.path} does not give its text back. Use a tokenizer "
                          "that keeps every character, such as a byte-level BPE.")
    return ids, offsets


def _open(path: Path) -> JsonTokenizer:
    tokenizer = load_tokenizer(path)
    if not isinstance(tokenizer, JsonTokenizer):
        raise CorpusError(f"{tokenizer.path} tells no offsets. Use a tokenizer.json.")
    if taken := [name for name in SPECIAL if tokenizer.piece_to_id(name) is not None]:
        raise CorpusError(f"{tokenizer.path} has {taken[0]} already. Use the base model's own.")
    return tokenizer


def prepare(texts: Path, masked: Path, tokenizer: Path, directory: Path, limit: int,
            workers: int) -> dict[str, Any]:
    """Examples of a level's splits in `directory`, of at most `limit` tokens; returns the index.

    A second run over the same masks does nothing. Raises CorpusError where the masks are missing
    or were drawn for other texts.
    """
    drawn = read_json(masked / masks.INDEX)
    if drawn is None:
        raise CorpusError(f"{masked / masks.INDEX}: no such file. Draw the masks first.")
    for split in SPLITS:
        if sha256_file(texts / f"{split}.txt") != drawn["texts"][split]:
            raise CorpusError(f"{texts / split}.txt is not what its masks were drawn for. Draw "
                              "them again.")
    opened = _open(tokenizer)
    about = {"version": 1, "masks": drawn["input_digest"], "tokenizer": opened.digest(),
             "seq_length": limit}
    with only_run(directory):
        known = read_json(directory / INDEX)
        if known and known.get("input_digest") == sha256_value(about) and _whole(directory):
            return known
        (directory / INDEX).unlink(missing_ok=True)
        splits = {split: _prepare_split(texts / f"{split}.txt", masked / split, opened.path,
                                        directory / split, limit, workers,
                                        drawn["splits"][split]["documents"], sha256_value(about))
                  for split in SPLITS}
        _write_tokenizer(opened, directory)
        vocabulary = Vocabulary.behind(opened.full_size)
        index = {"version": 1, "input_digest": sha256_value(about), **about,
                 "vocab_size": opened.full_size,
                 "vocab_size_with_special": vocabulary.blanks[-1] + 1,
                 "special": {name: opened.full_size + at for at, name in enumerate(SPECIAL)},
                 "targets": list(TARGETS), "splits": splits}
        write_json(directory / INDEX, index)
    return index


def _prepare_split(
    texts: Path, masked: Path, tokenizer: Path, directory: Path, limit: int, workers: int,
    documents: int, digest: str,
) -> dict[str, Any]:
    parts = directory / f".parts-{digest[:16]}"
    parts.mkdir(parents=True, exist_ok=True)
    jobs = [_Job(parts / f"{first:08d}.npz", texts, masked, tokenizer, first, last, limit)
            for first, last in sharded.ranges(documents)]
    sharded.work(jobs, _examples_part, workers, f"examples of {texts.stem}")
    tokens = sharded.join(jobs, "ids", directory / "ids.npy")
    sharded.join(jobs, "kinds", directory / "kinds.npy")
    sharded.join(jobs, "targets", directory / "targets.npy")
    examples = sharded.join_sizes(jobs, "sizes", directory / "examples.npy")
    counts = sharded.counted(jobs)
    sharded.clear(jobs)
    targets = np.load(directory / "targets.npy", mmap_mode="r")
    names = ("windowed", "answers_cut", "spans_trimmed", "spans_swallowed", "without_blanks")
    return {"documents": documents, "examples": examples, "tokens": tokens,
            **{name: counts[name] for name in names},
            "without_answers": int((targets[:, 0] == 0).sum()),
            "answer_targets": int(targets[:, 0].sum()), "context_targets": int(targets[:, 1].sum())}


def _write_tokenizer(tokenizer: JsonTokenizer, directory: Path) -> None:
    with atomic(directory / JSON) as stream:
        stream.write(tokenizer.with_special(list(SPECIAL)).encode())
    about = read_json(tokenizer.path.with_name(_CONFIG)) or {
        "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    with atomic(directory / _CONFIG) as stream:
        stream.write(json.dumps(about, indent=1).encode())


def _whole(directory: Path) -> bool:
    files = [directory / JSON, *(directory / split / f"{name}.npy" for split in SPLITS
                                 for name in _ARRAYS)]
    return all(path.is_file() for path in files)


def _main(argv: Sequence[str] | None) -> None:
    parser = Parser(prog="corpus.infilling",
                    description="Turn a level's masks into examples to train on.")
    parser.add_argument("--config", type=Path, required=True, help="the job's configuration")
    config = Config.load(parser.parse_args(argv).config)
    level = config.parameter("level.name", str)
    limit = config.parameter("batch.seq_length", int)
    if limit < 8:
        raise config.error("batch.seq_length", f"is {limit}. Give an example 8 tokens or more")
    index = prepare(
        config.path_parameter("corpus.output_dir") / level,
        config.path_parameter("mask.output_dir") / level, config.path_parameter("tokenizer.path"),
        config.path_parameter("examples.output_dir") / level, limit,
        config.get("resources.cpus", int, 1))
    for split, told in index["splits"].items():
        print(f"{level} {split}: {told['examples']} examples, {told['tokens']} tokens; "
              f"{told['windowed']} windows of longer texts, {told['answers_cut']} answers cut, "
              f"{told['without_answers']} without answers, {told['spans_trimmed']} spans trimmed, "
              f"{told['spans_swallowed']} swallowed")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
