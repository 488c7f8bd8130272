"""One face over the two kinds of tokenizer files: `tokenizer.json` and SentencePiece `.model`.

A *piece* is a token as the vocabulary writes it, where a space is `space` (a mark such as U+2581).
Pieces one after another spell the tokenizer's view of a text, so any cut of the same spelling into
pieces decodes to the same text. *Atoms* are the exception: special, byte and unknown tokens, whose
piece is a name and not a spelling; nothing may cut or join them.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpus.errors import CorpusError, require
from corpus.files import sha256_file

JSON, MODEL = "tokenizer.json", "tokenizer.model"
Pairs = dict[int, list[tuple[int, int]]]
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

    @abstractmethod
    def tokens_of(self, spelling: str) -> list[int]:
        """Tokenise a string of vocabulary characters (marks, not spaces) as it stands."""

    @cached_property
    @abstractmethod
    def atoms(self) -> frozenset[int]:
        """Ids that stay whole."""

    @cached_property
    @abstractmethod
    def special(self) -> frozenset[int]:
        """Ids of special (control) tokens."""

    @abstractmethod
    def _pairs(self) -> Pairs:
        """All (left, right) that make a token, atoms included."""

    @cached_property
    def pieces(self) -> list[str]:
        """The piece of every id below `full_size`."""
        return [self.id_to_piece(token) for token in range(self.full_size)]

    @cached_property
    def expansions(self) -> Pairs:
        """For each token that can be split, the pairs whose pieces spell it; atoms take no part."""
        atoms, table = self.atoms, {}
        for token, pairs in self._pairs().items():
            kept = [pair for pair in pairs if pair[0] not in atoms and pair[1] not in atoms]
            if kept and token not in atoms:
                table[token] = kept
        return table

    @cached_property
    def space(self) -> str:
        """How pieces spell a space: one character, or "" where this cannot be told."""
        spelled = "".join(self.id_to_piece(int(token)) for token in self.encode("a b"))
        mark = spelled[spelled.find("a") + 1 : spelled.rfind("b")]
        return mark if len(mark) == 1 else ""

    def segment(self, spelling: str) -> list[int] | None:
        """`tokens_of`, or None where the result would not spell the same (unknown characters)."""
        tokens = self.tokens_of(spelling)
        return tokens if "".join(map(self.id_to_piece, tokens)) == spelling else None

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

    def decode(self, ids: NDArray[Any] | list[int]) -> str:
        return str(self._inner.decode([int(token) for token in ids], skip_special_tokens=False))

    def id_to_piece(self, token: int) -> str:
        return self._inner.id_to_token(token) or ""

    def piece_to_id(self, piece: str) -> int | None:
        found: int | None = self._inner.token_to_id(piece)
        return found

    def tokens_of(self, spelling: str) -> list[int]:
        return [token.id for token in self._inner.model.tokenize(spelling)]

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

    def _pairs(self) -> Pairs:
        model = json.loads(self.path.read_bytes())["model"]
        if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
            raise CorpusError(f"{self.path} marks pieces inside words, so that pairs do not spell "
                              "the tokens they make. Choose another tokenizer.source.")
        vocabulary: dict[str, int] = model["vocab"]
        table: Pairs = {}
        for merge in model["merges"]:
            left, right = merge.split(" ") if isinstance(merge, str) else merge
            pair = (vocabulary[left], vocabulary[right])
            table.setdefault(vocabulary[left + right], []).append(pair)
        return table


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

    def tokens_of(self, spelling: str) -> list[int]:
        """Merge the adjacent pair with the best score, leftmost first, as SentencePiece does.

        Done here because the package would normalise `spelling` first, and some models put a space
        before it. Characters without a piece become the unknown token.
        """
        ranks, parts = self._ranks, list(spelling)
        while True:
            best, at = None, -1
            for i in range(len(parts) - 1):
                score = ranks.get(parts[i] + parts[i + 1])
                if score is not None and (best is None or score > best):
                    best, at = score, i
            if best is None:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        unknown = int(self._inner.unk_id())
        return [self._ids.get(part, unknown) for part in parts]

    @cached_property
    def special(self) -> frozenset[int]:
        return frozenset(token for token in range(self.full_size) if self._inner.is_control(token))

    @cached_property
    def atoms(self) -> frozenset[int]:
        inner = self._inner
        return self.special | {token for token in range(self.full_size) if inner.is_byte(token)
                               or inner.is_unknown(token) or inner.is_unused(token)}

    @cached_property
    def _ids(self) -> dict[str, int]:
        atoms = self.atoms
        return {piece: token for token, piece in enumerate(self.pieces) if token not in atoms}

    @cached_property
    def _ranks(self) -> dict[str, float]:
        ranks = {piece: self._inner.get_score(token) for piece, token in self._ids.items()}
        if any(score != int(score) for score in ranks.values()):
            raise CorpusError(f"{self.path} is a unigram model. Patok and stochastok need BPE; "
                              "choose another tokenizer.source.")
        return ranks

    def _pairs(self) -> Pairs:
        ids, table = {piece: self._ids[piece] for piece in self._ranks}, {}
        for piece, token in ids.items():
            splits = ((ids.get(piece[:i]), ids.get(piece[i:])) for i in range(1, len(piece)))
            pairs = [(left, right) for left, right in splits
                     if left is not None and right is not None]
            if pairs:
                table[token] = pairs
        return table


def load_tokenizer(path: Path) -> Tokenizer:
    """Open a tokenizer file, or a directory's `tokenizer.json` or else its `tokenizer.model`.

    Raises CorpusError if there is neither or the file is not a BPE tokenizer.
    """
    if path.is_dir():
        path = next((path / name for name in (JSON, MODEL) if (path / name).is_file()), path / JSON)
    if not path.is_file():
        raise CorpusError(f"{path}: no such file. Run the tokenizer stage first.")
    return SentencePieceTokenizer(path) if path.suffix == ".model" else JsonTokenizer(path)
