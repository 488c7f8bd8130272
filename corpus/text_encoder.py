"""Texts to ids: by the kernels where they are right for the tokenizer, else by its library."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from corpus.tokenizers import Tokenizer, load_tokenizer
from corpus.vocabulary import Vocabulary

_SLACK = 32  # bytes behind the text that a kernel may read, ids behind the last that it may write


class TextEncoder:
    """Encodes with a vocabulary. It has working memory of its own: one a thread."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        from corpus.kernels.tables import new_scratch

        self.vocabulary = vocabulary
        self.scratch = new_scratch()

    def encode(self, texts: Sequence[bytes]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The ids of UTF-8 texts without zero bytes, one text after another, and their bounds.

        Text d is ids[bounds[d]:bounds[d + 1]]; bounds has shape (texts + 1,).
        """
        about = self.vocabulary.about
        if about.slow:
            return self._encode_slowly(texts)
        from corpus.kernels.encode import encode_documents
        from corpus.kernels.tables import grow

        if about.prefix_space:
            texts = [b" " + text for text in texts]
        starts = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=starts[1:])
        joined = np.frombuffer(b"".join([*texts, bytes(_SLACK)]), np.uint8)
        self.scratch = grow(self.scratch, int(np.diff(starts).max(initial=0)))
        ids = np.empty(len(joined), np.int32)
        bounds = np.empty_like(starts)
        encode_documents(self.vocabulary.tables, self.scratch, joined, starts, ids, bounds)
        return ids[: bounds[-1]], bounds

    def _encode_slowly(
        self, texts: Sequence[bytes]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        parts = [self._library.encode(text.decode()) for text in texts]
        bounds = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=bounds[1:])
        return np.concatenate([np.zeros(0, np.int32), *parts]), bounds

    @cached_property
    def _library(self) -> Tokenizer:
        return load_tokenizer(self.vocabulary.path)
