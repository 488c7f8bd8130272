"""What each token of a vocabulary spells, in bytes, and where the tokens of a text are cut.

Bytes, because a token may be half a character: a byte token such as `<0xE6>`, or a piece of a
byte-level vocabulary. Two streams hold the same text where their bytes are the same.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpus.errors import CorpusError
from corpus.indexed import Ids
from corpus.tokenizers import Tokenizer

END = b"\x00"  # stands for the end of a document: no document holds NUL
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_BYTE_LEVEL_SPACE = "\u0120"  # the space of the byte-level alphabet that GPT-2 brought
_JOINERS = "\u200c\u200d"  # invisible, but they hold words and emoji together
_HIDDEN = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}  # control, format, private use, line separators


class Cut(NamedTuple):
    """A text and its token boundaries."""

    text: bytes  # with END behind each document
    boundaries: NDArray[np.int64]  # rising byte offsets of the cuts inside documents


class Spelling:
    """The bytes of every token; that of `eod`, if there is one, is END."""

    def __init__(self, tokenizer: Tokenizer, eod: int | None = None) -> None:
        self.tokenizer, self.eod = tokenizer, -1 if eod is None else eod
        self.tokens = _spell(tokenizer)
        if eod is not None:
            if not 0 <= eod < len(self.tokens):
                raise CorpusError(f"the EOD {eod} is no token of {tokenizer.path}. Give the "
                                  "tokenizer that the set was made with.")
            self.tokens[eod] = END
        self.lengths = np.fromiter(map(len, self.tokens), np.int64, len(self.tokens))

    def cut(self, ids: Ids) -> Cut:
        """Spell a stream of whole documents, shape (tokens,).

        Raises CorpusError for an id outside the vocabulary.
        """
        self.check(ids)
        ends = np.cumsum(self.lengths[ids])
        last = ids == self.eod
        inside = ~last[:-1] & ~last[1:] & (self.lengths[ids[1:]] > 0)
        text = b"".join(map(self.tokens.__getitem__, ids.tolist()))
        return Cut(text, ends[:-1][inside])

    def check(self, ids: Ids) -> None:
        """Raises CorpusError for an id outside the vocabulary."""
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(self.tokens):
            raise CorpusError(f"an id is {int(ids.max())}, but {self.tokenizer.path} has "
                              f"{len(self.tokens)} tokens. Give the tokenizer that the set was "
                              "made with, or make the set again.")

    @cached_property
    def characters(self) -> NDArray[np.int64]:
        """Characters that each token spells, shape (vocabulary,); -1 for a part of one."""
        return np.fromiter((_characters(token) for token in self.tokens), np.int64,
                           len(self.tokens))


def printable(token: bytes) -> str:
    """A token for a reader: bytes that are no character as <E6>, control characters as <U+001B>.

    Without this a page's escape sequences would reach the terminal.
    """
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return "".join(f"<{byte:02X}>" for byte in token)
    return "".join(map(printable_character, text))


def printable_character(character: str) -> str:
    """The character, or its code point where it would not show or would do something."""
    if character in _JOINERS or unicodedata.category(character) not in _HIDDEN:
        return character
    return f"<U+{ord(character):04X}>"


def _spell(tokenizer: Tokenizer) -> list[bytes]:
    alphabet = _byte_level() if tokenizer.space == _BYTE_LEVEL_SPACE else None
    spelled = []
    for token, piece in enumerate(tokenizer.pieces):
        byte = _BYTE.fullmatch(piece) if token in tokenizer.atoms else None
        if token in tokenizer.special:
            spelled.append(piece.encode())
        elif byte:
            spelled.append(bytes([int(byte[1], 16)]))
        elif alphabet:
            spelled.append(b"".join(alphabet.get(character, character.encode())
                                    for character in piece))
        else:
            spaced = piece.replace(tokenizer.space, " ") if tokenizer.space else piece
            spelled.append(spaced.encode())
    return spelled


def _byte_level() -> dict[str, bytes]:
    """The byte of each character of GPT-2's alphabet: printable Latin-1 stands for itself, the
    other bytes, in rising order, are the characters from U+0100."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in plain]
    table = {chr(byte): bytes([byte]) for byte in plain}
    return table | {chr(0x100 + place): bytes([byte]) for place, byte in enumerate(others)}


def _characters(token: bytes) -> int:
    try:
        return len(token.decode())
    except UnicodeDecodeError:
        return -1
