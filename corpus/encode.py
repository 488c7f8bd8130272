"""From a batch of JSONL lines to ids: what one worker does."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from corpus.errors import CorpusError
from corpus.indexed import Ids, dtype_for
from corpus.jit import one_at_a_time
from corpus.lines import Batch, Overlong
from corpus.text_encoder import TextEncoder
from corpus.variants import make_variant
from corpus.variants.base import Documents
from corpus.vocabulary import Vocabulary

_EXCERPT = 200  # characters of a rejected line that are kept


class Recipe(msgspec.Struct, frozen=True):
    """All that turns a line into ids."""

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


class _Record(msgspec.Struct):
    text: str


_decode = msgspec.json.Decoder(_Record).decode


def text_of(line: bytes) -> bytes:
    """The text of a JSONL line, in UTF-8. Raises RejectedLine with the reason if there is none."""
    if isinstance(line, Overlong):
        raise RejectedLine("line too long")
    try:
        text = _decode(line).text
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = _text_by_hand(line)
    if not text:
        raise RejectedLine("empty text")
    if "\0" in text:
        raise RejectedLine("NUL in text")
    try:
        return text.encode()
    except UnicodeEncodeError as fault:
        raise RejectedLine("lone surrogate in text") from fault


def _text_by_hand(line: bytes) -> str:
    """What the standard library makes of a line that the fast decoder refuses."""
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError as fault:
        raise RejectedLine("not UTF-8") from fault
    except (ValueError, RecursionError) as fault:
        raise RejectedLine("not JSON" if line.strip() else "blank line") from fault
    if not isinstance(record, dict):
        raise RejectedLine("not an object")
    if "text" not in record:
        raise RejectedLine("no text key")
    text = record["text"]
    if not isinstance(text, str):
        raise RejectedLine("text is not a string")
    return text


class Encoder:
    """Applies a recipe. It has working memory of its own: one a thread."""

    def __init__(self, recipe: Recipe, vocabulary: Vocabulary) -> None:
        self.recipe = recipe
        self.texts = TextEncoder(vocabulary)
        self.variant = make_variant(recipe.variant, vocabulary, recipe.seed)
        self.dtype = dtype_for(recipe.vocab_size)
        self.histogram = np.zeros(recipe.vocab_size, np.int64)  # of all ids made, EODs included

    def encode(self, batch: Batch) -> Encoded:
        """Encode the lines of `batch` that are documents, and say what is wrong with the others.

        Raises CorpusError if the tokenizer makes an id beyond `vocab_size`.
        """
        rejects, texts, numbers = [], [], []
        for number, line in enumerate(batch.lines, batch.first):
            try:
                texts.append(text_of(line))
                numbers.append(self.recipe.first_document + number)
            except RejectedLine as reason:
                rejects.append(self._reject(number, line, str(reason)))
        ids, bounds = self.texts.encode(texts)
        cut = self.variant.cut(Documents(
            ids, bounds, np.array(numbers, np.uint64), own=not self.texts.vocabulary.about.slow))
        out = self._finish(cut.ids, cut.bounds)
        counts = Counts(len(texts), sum(map(len, texts)), len(cut.ids), len(ids), cut.attempted,
                        cut.achieved, cut.contractions_attempted, cut.contractions_achieved)
        return Encoded(out, np.diff(cut.bounds).astype(np.int32) + np.int32(1), counts, rejects)

    def _reject(self, number: int, line: bytes, reason: str) -> Reject:
        excerpt = line[: 4 * _EXCERPT].decode(errors="replace")[:_EXCERPT]
        return Reject(number + 1, self.recipe.first_document + number, reason, excerpt)

    def _finish(self, ids: NDArray[np.int32], bounds: NDArray[np.int64]) -> Ids:
        from corpus.kernels.encode import finish

        out = np.empty(len(ids) + len(bounds) - 1, np.int32)
        beyond = finish(ids, bounds, self.recipe.eod, self.histogram, out)
        if beyond >= 0:
            raise CorpusError(f"the tokenizer makes id {beyond}, beyond vocab_size "
                              f"{self.recipe.vocab_size}. Run the tokenizer stage again.")
        return out.astype(self.dtype, copy=False)


class Crew:
    """`workers` threads with an encoder each: the kernels run without Python's lock.

    Batches come out in the order they went in, and at most two a worker are under way, so that
    memory does not grow with the chunk. With one worker all happens in the caller's thread.
    """

    def __init__(self, recipe: Recipe, vocabulary: Vocabulary, workers: int) -> None:
        self.encoders = [Encoder(recipe, vocabulary) for _ in range(max(workers, 1))]
        with one_at_a_time():  # the kernels are compiled here, or read
            self.encoders[0].encode(Batch(0, []))

    def encode(self, batches: Iterator[Batch]) -> Iterator[Encoded]:
        """Encode all batches."""
        if len(self.encoders) == 1:
            yield from map(self.encoders[0].encode, batches)
            return
        free, own = deque(self.encoders), threading.local()

        def start() -> None:
            own.encoder = free.popleft()

        def work(batch: Batch) -> Encoded:
            encoder: Encoder = own.encoder
            return encoder.encode(batch)

        waiting: deque[Future[Encoded]] = deque()
        pool = ThreadPoolExecutor(len(self.encoders), initializer=start)
        try:
            for batch in batches:
                waiting.append(pool.submit(work, batch))
                if len(waiting) >= 2 * len(self.encoders):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def histogram(self) -> NDArray[np.int64]:
        """How often each id was written, shape (vocab_size,)."""
        total = np.zeros_like(self.encoders[0].histogram)
        for encoder in self.encoders:
            total += encoder.histogram
        return total
