"""What the tokens of a vocabulary spell, and all the ways in which they can cut a text.

Bytes, not characters: a token may be half a character. Special tokens spell nothing. A token of one
byte such as `<0xC3>` stands in for characters that the vocabulary lacks; it is no way to cut those
that it has.
"""

import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "\u2581"  # how SentencePiece and its likes write a space


class Pieces:
    """The bytes of each token of an open tokenizer of the `tokenizers` package."""

    def __init__(self, fast: Any) -> None:
        added = fast.get_added_tokens_decoder()
        special = {token for token, about in added.items() if about.special}
        byte_level = b'"ByteLevel"' in (fast.decoder.__getstate__() if fast.decoder else b"")
        table = _byte_alphabet() if byte_level else {}
        self._spelled: dict[int, bytes] = {}
        self._ordinary: dict[bytes, int] = {}
        self._bytes: dict[bytes, int] = {}
        for piece, token in fast.get_vocab(with_added_tokens=True).items():
            if token in special or piece == getattr(fast.model, "unk_token", None):
                continue
            if not byte_level and (found := _BYTE.fullmatch(piece)):
                self._spelled[token] = bytes.fromhex(found[1])
                self._bytes[self._spelled[token]] = token
                continue
            if token in added or not byte_level:
                spelled = piece.replace(_SPACE, " ").encode()
            else:
                spelled = bytes(table[character] for character in piece)
            self._spelled[token] = spelled
            self._ordinary.setdefault(spelled, token)
        self._longest = max(map(len, self._ordinary), default=0)

    def spell(self, token: int) -> bytes:
        """The bytes of a token; none for a special one."""
        return self._spelled.get(token, b"")

    def text(self, tokens: Sequence[int]) -> bytes:
        """The bytes of tokens one after another."""
        return b"".join(map(self.spell, tokens))

    def edges(self, text: bytes) -> list[list[tuple[int, int]]]:
        """For each place in `text` the tokens that can stand there, as (end, token)."""
        edges: list[list[tuple[int, int]]] = []
        whole = {at for at in range(len(text) + 1) if at == len(text) or text[at] & 0xC0 != 0x80}
        for at in range(len(text)):
            ends = range(at + 1, min(len(text), at + self._longest) + 1)
            found = [(end, self._ordinary[text[at:end]]) for end in ends
                     if text[at:end] in self._ordinary]  # fmt: skip
            edges.append(found)
        for at in sorted(whole - {len(text)}):
            end = min(place for place in whole if place > at)
            if text[at:end] not in self._ordinary:
                for place in range(at, end):
                    single = text[place : place + 1]
                    if single in self._bytes:
                        edges[place].append((place + 1, self._bytes[single]))
        return edges


@dataclass(frozen=True, slots=True)
class Lattice:
    """All tokenisations of a text, t, with q(t) = exp(-cost * tokens of t) / their sum.

    `counts[i]` is the number of ways to cut the text from byte i on, `logs[i]` the logarithm of the
    sum of exp(-cost * tokens) over them.
    """

    edges: list[list[tuple[int, int]]]
    counts: list[int]
    logs: list[float]
    cost: float

    @property
    def size(self) -> int:
        """How many tokenisations there are."""
        return self.counts[0]

    def log_q(self, tokens: Sequence[int]) -> float:
        """ln q of one of the tokenisations."""
        return -self.cost * len(tokens) - self.logs[0]

    def draw(self, rng: random.Random) -> tuple[int, ...]:
        """A tokenisation with probability q: from the left, each token by what can follow it."""
        at, tokens = 0, []
        while at < len(self.edges):
            shares = [math.exp(self.logs[end] - self.cost - self.logs[at])
                      for end, _ in self.edges[at]]  # fmt: skip
            at, token = rng.choices(self.edges[at], shares)[0]
            tokens.append(token)
        return tuple(tokens)

    def all(self, at: int = 0) -> Iterator[tuple[int, ...]]:
        """Every tokenisation of the text from byte `at` on; there can be very many."""
        if at == len(self.edges):
            yield ()
            return
        for end, token in self.edges[at]:
            if self.counts[end]:
                for rest in self.all(end):
                    yield (token, *rest)


def lattice(pieces: Pieces, text: bytes, cost: float) -> Lattice:
    """The tokenisations of `text`; its size is 0 where the vocabulary cannot spell it."""
    edges = pieces.edges(text)
    counts, logs = [0] * len(text) + [1], [-math.inf] * len(text) + [0.0]
    for at in range(len(text) - 1, -1, -1):
        counts[at] = sum(counts[end] for end, _ in edges[at])
        logs[at] = log_sum([logs[end] - cost for end, _ in edges[at]])
    return Lattice(edges, counts, logs, cost)


def log_sum(logs: Sequence[float]) -> float:
    """ln of the sum of exp(x); minus infinity for none."""
    top = max(logs, default=-math.inf)
    return top if top == -math.inf else top + math.log(sum(math.exp(x - top) for x in logs))


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's characters for bytes: printable ones are themselves, the others follow from 256 on.

    Source: `bytes_to_unicode` in openai/gpt-2, src/encoder.py.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + number): byte for number, byte in enumerate(others)
    }
