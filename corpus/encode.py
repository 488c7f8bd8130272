"""From a batch of JSONL lines to ids: what one worker process does."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from corpus.errors import CorpusError
from corpus.indexed import Ids, dtype_for
from corpus.randomness import Draws
from corpus.tokenizers import Tokenizer, load_tokenizer
from corpus.variants import make_variant

_EXCERPT = 200  # characters of a rejected line that are kept
Batch = tuple[int, list[bytes]]


class Recipe(msgspec.Struct, frozen=True):
    """All that turns a line into ids; picklable, so that workers can be given it."""

    tokenizer: Path
    variant: dict[str, Any]
    vocab_size: int
    eod: int
    seed: int
    first_document: int  # the corpus' number of the chunk's first line


class Reject(msgspec.Struct, frozen=True):
    """A line that became no document; `line` counts from 1 in the chunk, `document` from 0."""

    line: int
    document: int
    reason: str
    excerpt: str


class Counts(msgspec.Struct):
    """What was done to some documents. Tokens are without the EOD of each document."""

    documents: int = 0
    text_bytes: int = 0
    tokens: int = 0
    vanilla_tokens: int = 0
    attempted: int = 0
    achieved: int = 0
    contractions_attempted: int = 0
    contractions_achieved: int = 0

    def add(self, other: Counts) -> None:
        """Add another batch's counts to these."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Encoded(msgspec.Struct):
    """A batch done: ids of its documents one after another with EODs, and their lengths."""

    ids: Ids
    lengths: NDArray[np.int32]
    counts: Counts
    rejects: list[Reject]


class RejectedLine(Exception):
    """A line without a usable text; its message is the reason."""


def text_of(line: bytes) -> str:
    """The text of a JSONL line. Raises RejectedLine with the reason where there is none."""
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError as fault:
        raise RejectedLine("not UTF-8") from fault
    except ValueError as fault:
        raise RejectedLine("not JSON" if line.strip() else "blank line") from fault
    if not isinstance(record, dict):
        raise RejectedLine("not an object")
    if "text" not in record:
        raise RejectedLine("no text key")
    text = record["text"]
    if not isinstance(text, str):
        raise RejectedLine("text is not a string")
    if not text:
        raise RejectedLine("empty text")
    if "\0" in text:
        raise RejectedLine("NUL in text")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise RejectedLine("lone surrogate in text")
    return text


class WorkerDied(CorpusError):
    """The system ended a worker process, as it does where memory runs out."""

    exit_code = 71


class Encoder:
    """Applies a recipe. Constructing it opens the tokenizer: seconds for a large one."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.tokenizer: Tokenizer = load_tokenizer(recipe.tokenizer)
        self.variant = make_variant(recipe.variant, self.tokenizer)
        self.dtype = dtype_for(recipe.vocab_size)

    def encode(self, batch: Batch) -> Encoded:
        """Encode `batch`: the number of its first line in the chunk, from 0, and its lines."""
        first, lines = batch
        counts, rejects = Counts(), []
        ids: list[int] = []
        lengths: list[int] = []
        for number, line in enumerate(lines, first):
            document = self.recipe.first_document + number
            try:
                text = text_of(line)
            except RejectedLine as reason:
                excerpt = line[: 4 * _EXCERPT].decode(errors="replace")[:_EXCERPT].rstrip("\n")
                rejects.append(Reject(number + 1, document, str(reason), excerpt))
                continue
            before = len(ids)
            self._add(text, document, ids, counts)
            lengths.append(len(ids) - before)
        out = np.array(ids, np.int64)
        if len(out) and not 0 <= int(out.min()) <= int(out.max()) < self.recipe.vocab_size:
            raise CorpusError(f"the tokenizer makes id {int(out.max())}, beyond vocab_size"
                              f" {self.recipe.vocab_size}. Run the tokenizer stage again.")
        return Encoded(out.astype(self.dtype), np.array(lengths, np.int32), counts, rejects)

    def _add(self, text: str, document: int, ids: list[int], counts: Counts) -> None:
        vanilla = self.tokenizer.encode(text).tolist()
        done = self.variant.expand(vanilla, Draws(self.recipe.seed, document))
        ids += done.ids
        ids.append(self.recipe.eod)
        counts.add(Counts(1, len(text.encode()), len(done.ids), len(vanilla), done.attempted,
                          done.achieved, done.contractions_attempted, done.contractions_achieved))


def encode_all(encoder: Encoder, batches: Iterator[Batch], workers: int) -> Iterator[Encoded]:
    """Encode batches in order. With one worker it happens here, else in `workers` processes.

    At most two batches a worker are in flight, so memory does not grow with the chunk.
    """
    if workers <= 1:
        yield from map(encoder.encode, batches)
        return
    import multiprocessing

    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _start_worker, (encoder.recipe, os.getpid()))
    waiting: deque[Future[Encoded]] = deque()
    try:
        for batch in batches:
            waiting.append(pool.submit(_encode_here, batch))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as fault:
        raise WorkerDied("a worker process was killed, most likely for its memory. Ask for more "
                         "memory or fewer workers.") from fault
    finally:
        pool.shutdown(cancel_futures=True)


_encoder: Encoder | None = None  # a worker's own


def _start_worker(recipe: Recipe, parent: int) -> None:
    global _encoder
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    _encoder = Encoder(recipe)


def _follow(parent: int) -> None:
    """End this worker when its parent is gone: a killed task must not leave processes behind."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _encode_here(batch: Batch) -> Encoded:
    assert _encoder is not None, "the pool starts every worker with _start_worker"
    return _encoder.encode(batch)
