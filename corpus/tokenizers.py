"""One face over the two kinds of tokenizer files: `tokenizer.json` and SentencePiece `.model`.

A *piece* is a token as the vocabulary writes it, where a space is `space` (a mark such as U+2581).
Pieces one after another spell the tokenizer's view of a text, so any cut of the same spelling into
pieces decodes to the same text. *Atoms* are the exception: special, byte and unknown tokens, whose
piece is a name and not a spelling; nothing may cut or join them.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpus.errors import CorpusError, require
from corpus.files import sha256_file

JSON, MODEL = "tokenizer.json", "tokenizer.model"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


class Tokenizer(ABC):
    """A tokenizer file, opened. `vocab_size` counts the ids that text can become."""

    def __init__(self, path: Path) -> None:
        self.path = path

    vocab_size: int
    full_size: int  # with special tokens whose ids follow the vocabulary

    @abstractmethod
    def encode(self, text: str) -> NDArray[np.int32]:
        """The ids of `text`, shape (tokens,), without BOS or EOS.

        A special token's name inside the text is text: a page that says "<eos>" ends no document.
        """

    @abstractmethod
    def decode(self, ids: NDArray[Any] | list[int]) -> str:
        """The text of `ids`; special tokens appear by name."""

    @abstractmethod
    def id_to_piece(self, token: int) -> str:
        """The piece of a token; empty for an id without one."""

    @abstractmethod
    def piece_to_id(self, piece: str) -> int | None:
        """The id of a piece, or None where the vocabulary lacks it."""

    @cached_property
    @abstractmethod
    def atoms(self) -> frozenset[int]:
        """Ids that stay whole."""

    @cached_property
    @abstractmethod
    def special(self) -> frozenset[int]:
        """Ids of special (control) tokens."""

    @cached_property
    def pieces(self) -> list[str]:
        """The piece of every id below `full_size`."""
        return [self.id_to_piece(token) for token in range(self.full_size)]

    @cached_property
    def space(self) -> str:
        """How pieces spell a space: one character, or "" where this cannot be told."""
        spelled = "".join(self.id_to_piece(int(token)) for token in self.encode("a b"))
        mark = spelled[spelled.find("a") + 1 : spelled.rfind("b")]
        return mark if len(mark) == 1 else ""

    def digest(self) -> str:
        """SHA-256 of the tokenizer's file."""
        return sha256_file(self.path)


class JsonTokenizer(Tokenizer):
    """A BPE `tokenizer.json`, read by the `tokenizers` package."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        package = require("tokenizers", "tokenizers")
        try:
            self._inner: Any = package.Tokenizer.from_file(str(path))
        except Exception as fault:  # the package raises bare Exception
            raise CorpusError(f"{path} is no tokenizer ({fault}). Fetch it again.") from fault
        if type(self._inner.model).__name__ != "BPE":
            raise CorpusError(f"{path} holds a {type(self._inner.model).__name__} model. Only BPE "
                              "is supported; choose another tokenizer.source.")
        self._inner.encode_special_tokens = True
        self._inner.no_truncation()
        self._inner.no_padding()
        added: dict[int, Any] = self._inner.get_added_tokens_decoder()
        self.special_tokens = frozenset(token for token, what in added.items() if what.special)
        plain = max((token for token in added if token not in self.special_tokens), default=-1)
        self.vocab_size = max(self._inner.get_vocab_size(False), plain + 1)
        self.full_size = max(self._inner.get_vocab_size(True), max(added, default=-1) + 1)

    def encode(self, text: str) -> NDArray[np.int32]:
        return np.array(self._inner.encode(text, add_special_tokens=False).ids, np.int32)

    def encode_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids of `text`, and of each the first character and the one behind its last. A token
        that is a part of a character's bytes has that character; some leave out leading spaces."""
        encoding = self._inner.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def with_special(self, names: list[str]) -> str:
        """The tokenizer.json with more special tokens behind those that it has."""
        package = require("tokenizers", "tokenizers")
        extended = package.Tokenizer.from_str(self._inner.to_str())
        extended.add_special_tokens([package.AddedToken(name, special=True, normalized=False)
                                     for name in names])
        return str(extended.to_str(pretty=True))

    def decode(self, ids: NDArray[Any] | list[int]) -> str:
        return str(self._inner.decode([int(token) for token in ids], skip_special_tokens=False))

    def id_to_piece(self, token: int) -> str:
        return self._inner.id_to_token(token) or ""

    def piece_to_id(self, piece: str) -> int | None:
        found: int | None = self._inner.token_to_id(piece)
        return found

    @cached_property
    def special(self) -> frozenset[int]:
        return self.special_tokens

    @cached_property
    def atoms(self) -> frozenset[int]:
        atoms = set(self.special)
        model = self._inner.model
        if model.unk_token is not None:
            atoms.add(self._inner.token_to_id(model.unk_token))
        if model.byte_fallback:
            atoms |= {token for token, piece in enumerate(self.pieces) if _BYTE.fullmatch(piece)}
        return frozenset(atoms)


class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece BPE `.model`, read by the `sentencepiece` package."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        package = require("sentencepiece", "sentencepiece")
        try:
            self._inner: Any = package.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as fault:
            raise CorpusError(f"{path} is no SentencePiece model ({fault}). Fetch it again."
                              ) from fault
        self.vocab_size = self.full_size = self._inner.get_piece_size()

    def encode(self, text: str) -> NDArray[np.int32]:
        return np.array(self._inner.encode(text), np.int32)

    def decode(self, ids: NDArray[Any] | list[int]) -> str:
        return str(self._inner.decode([int(token) for token in ids]))

    def id_to_piece(self, token: int) -> str:
        return str(self._inner.id_to_piece(token)) if 0 <= token < self.full_size else ""

    def piece_to_id(self, piece: str) -> int | None:
        found = int(self._inner.piece_to_id(piece))
        return found if self.id_to_piece(found) == piece else None

    @cached_property
    def special(self) -> frozenset[int]:
        return frozenset(token for token in range(self.full_size) if self._inner.is_control(token))

    @cached_property
    def atoms(self) -> frozenset[int]:
        inner = self._inner
        return self.special | {token for token in range(self.full_size) if inner.is_byte(token)
                               or inner.is_unknown(token) or inner.is_unused(token)}

    @cached_property
    def by_score(self) -> list[int]:
        """Tokens that merges make, the one that is merged first first."""
        tokens = [token for token in range(self.full_size) if token not in self.atoms]
        return sorted(tokens, key=lambda token: -float(self._inner.get_score(token)))

    @property
    def prefix_space(self) -> bool:
        """Whether a text is encoded as if a space stood before it."""
        return bool(self._settings.normalizer.get(3, 1))

    @property
    def is_bpe(self) -> bool:
        """Whether it merges pairs; a unigram model weighs whole segmentations instead."""
        return self._settings.trainer.get(3, 1) == _BPE

    def unfit(self) -> str:
        """Why plain merging of the text's characters would not give this model's ids, or ""."""
        settings = self._settings
        if not self.is_bpe:
            return "it is no BPE model"
        if settings.normalizer.get(2) or settings.normalizer.get(4, 1):
            return "it normalises texts"
        if not settings.normalizer.get(5, 1) or settings.trainer.get(24):
            return "it does not put marks for spaces before words"
        if not settings.kinds <= {1, 2, 3, 6}:
            return "it has user-defined or unused pieces"
        scores = [self._inner.get_score(token) for token in self.by_score]
        if len(set(scores)) < len(scores):
            return "two of its pieces have one score"
        known = {self.pieces[token] for token in self.by_score}
        if not {character for piece in known for character in piece} <= known:
            return "a piece has a character that is no piece"
        return ""

    @cached_property
    def _settings(self) -> _Settings:
        """What the package does not tell, read off the model's Protocol Buffers message.

        Numbers are those of sentencepiece_model.proto: of the model, 1 a piece, 2 the trainer's
        and 3 the normalizer's settings; of a piece, 3 its kind, 1 where it is not given.
        """
        kinds, trainer, normalizer = set(), {}, {}
        for number, value in _fields(self._inner.serialized_model_proto()):
            if number == 1 and isinstance(value, bytes):
                kinds.add(int(dict(_fields(value)).get(3, 1)))
            elif number == 2 and isinstance(value, bytes):
                trainer = dict(_fields(value))
            elif number == 3 and isinstance(value, bytes):
                normalizer = dict(_fields(value))
        return _Settings(frozenset(kinds), trainer, normalizer)


class _Settings(NamedTuple):
    kinds: frozenset[int]
    trainer: dict[int, int | bytes]
    normalizer: dict[int, int | bytes]


_BPE = 2


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a Protocol Buffers message: number, and value as a whole number or bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        number, wire = divmod(varint(), 8)
        if wire == 0:
            yield number, varint()
            continue
        size = {1: 8, 5: 4}.get(wire) or varint()
        yield number, message[at : at + size]
        at += size


def tokenizer_file(path: Path) -> Path:
    """The file itself, or a directory's `tokenizer.json`, or else its `tokenizer.model`.

    Raises CorpusError if there is neither.
    """
    if path.is_dir():
        path = next((path / name for name in (JSON, MODEL) if (path / name).is_file()), path / JSON)
    if not path.is_file():
        raise CorpusError(f"{path}: no such file. Run the tokenizer stage first.")
    return path


def load_tokenizer(path: Path) -> Tokenizer:
    """Open a tokenizer file, or a directory's `tokenizer.json` or else its `tokenizer.model`.

    Raises CorpusError if there is neither or the file is not a BPE tokenizer.
    """
    path = tokenizer_file(path)
    return SentencePieceTokenizer(path) if path.suffix == ".model" else JsonTokenizer(path)
