"""What a tokenizer file says: pieces, merges, added tokens, and whether the kernels can take it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from corpus.errors import CorpusError
from corpus.tokenizers import SentencePieceTokenizer, load_tokenizer

_BYTE = re.compile(rb"<0x([0-9A-F]{2})>")
SPECIAL = -2  # in `added`: the name of a special token is text


class Merges(msgspec.Struct):
    """A BPE tokenizer. Pair i, (left[i], right[i]), merges with rank ranks[i] into
    results[ranks[i]]; the smaller rank first, and of equal ones the leftmost.

    `spellings` are the pieces in UTF-8, where a space is written as one byte in place of the mark
    `mark`; "" where spaces are not marked or a piece holds a space itself.
    """

    spellings: list[bytes]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    ranks: NDArray[np.int32]
    results: NDArray[np.int32]
    atoms: frozenset[int]
    byte_ids: NDArray[np.int32]
    added: dict[str, int]
    mark: str
    prefix_space: bool = False
    slow: str = ""


class _Added(msgspec.Struct):
    id: int
    content: str
    special: bool = False
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False


class _Model(msgspec.Struct):
    type: str = "BPE"
    vocab: dict[str, int] = {}
    merges: list[tuple[str, str] | str] = []
    dropout: float | None = None
    unk_token: str | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None
    byte_fallback: bool = False
    ignore_merges: bool = False


class _File(msgspec.Struct):
    model: _Model
    added_tokens: list[_Added] = []
    normalizer: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any] | None = None


def read_merges(path: Path) -> Merges:
    """Read a tokenizer.json or a SentencePiece model. Raises CorpusError if it is neither."""
    return _read_model(path) if path.suffix == ".model" else _read_json(path)


def _read_json(path: Path) -> Merges:
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except msgspec.DecodeError as fault:
        raise CorpusError(f"{path} is no BPE tokenizer ({fault}). Fetch it again.") from fault
    slow = _unfit(file)
    mark = "▁" if not slow else load_tokenizer(path).space
    vocabulary = file.model.vocab
    size = max([*vocabulary.values(), *(added.id for added in file.added_tokens)], default=-1) + 1
    pieces = [""] * size
    for piece, token in vocabulary.items():
        pieces[token] = piece
    for added in file.added_tokens:
        pieces[added.id] = added.content
    spellings, mark, slow = _spell(pieces, mark, slow)
    special = {added.id for added in file.added_tokens if added.special}
    atoms = special | {token for token, piece in enumerate(pieces) if not piece}
    if file.model.unk_token is not None and file.model.unk_token in vocabulary:
        atoms.add(vocabulary[file.model.unk_token])
    byte_ids = _byte_ids(spellings if file.model.byte_fallback else [])
    atoms |= set(byte_ids[byte_ids >= 0].tolist())
    if not slow and (byte_ids < 0).any():
        slow = "it lacks tokens for some bytes"
    left, right, results = _pairs_of(file.model, path)
    return Merges(spellings, left, right, np.arange(len(left), dtype=np.int32), results,
                  frozenset(atoms), byte_ids, _added(file), mark, slow=slow)


def _unfit(file: _File) -> str:
    """Why the kernels would not encode as the file's settings say, or ""."""
    model, normalizer, cutter = file.model, file.normalizer, file.pre_tokenizer
    if normalizer != {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}:
        return f"its normalizer is {(normalizer or {}).get('type', 'none')}, not spaces to ▁"
    # Spaces are gone when it is asked to cut at them.
    if cutter and (cutter.get("type") != "Split" or cutter.get("pattern") != {"String": " "}
                   or cutter.get("invert")):
        return f"its pre-tokenizer is {cutter.get('type')}"
    if model.dropout or model.ignore_merges or not model.byte_fallback:
        return "its BPE drops or ignores merges, or has no byte fallback"
    if model.continuing_subword_prefix or model.end_of_word_suffix:
        return "it marks pieces inside words"
    if any(added.single_word or added.lstrip or added.rstrip or added.normalized
           or not added.content or added.content[0] == " " for added in file.added_tokens):
        return "its added tokens look at what stands around them"
    return ""


def _spell(pieces: list[str], mark: str, slow: str) -> tuple[list[bytes], str, str]:
    if mark and any(" " in piece for piece in pieces):
        return [piece.encode() for piece in pieces], "", slow or "a piece holds a space"
    if not mark:
        return [piece.encode() for piece in pieces], "", slow or "its spaces are not marked"
    return [piece.replace(mark, " ").encode() for piece in pieces], mark, slow


def _byte_ids(spellings: list[bytes]) -> NDArray[np.int32]:
    ids = np.full(256, -1, np.int32)
    for token, spelling in enumerate(spellings):
        if len(spelling) == 6 and (byte := _BYTE.fullmatch(spelling)):
            ids[int(byte[1], 16)] = token
    return ids


def _pairs_of(model: _Model, path: Path) -> tuple[NDArray[np.int32], ...]:
    if model.continuing_subword_prefix or model.end_of_word_suffix:
        return (np.zeros(0, np.int32),) * 3  # then a pair does not spell what it makes
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else merge for merge in model.merges]
    find, size = model.vocab.__getitem__, len(pairs)
    try:
        return (np.fromiter((find(left) for left, _ in pairs), np.int32, size),
                np.fromiter((find(right) for _, right in pairs), np.int32, size),
                np.fromiter((find(left + right) for left, right in pairs), np.int32, size))
    except (KeyError, ValueError) as fault:
        raise CorpusError(f"{path} has a merge that its vocabulary lacks ({fault}). Fetch it again."
                          ) from fault


def _added(file: _File) -> dict[str, int]:
    return {added.content: SPECIAL if added.special else added.id
            for added in file.added_tokens if added.content}


def _read_model(path: Path) -> Merges:
    tokenizer = load_tokenizer(path)
    assert isinstance(tokenizer, SentencePieceTokenizer)
    slow = tokenizer.unfit()
    spellings, mark, slow = _spell(tokenizer.pieces, tokenizer.space, slow)
    atoms = tokenizer.atoms
    byte_ids = _byte_ids([spelling if token in atoms else b""
                          for token, spelling in enumerate(spellings)])
    if not slow and (byte_ids < 0).any():
        slow = "it lacks tokens for some bytes"
    order = tokenizer.by_score if tokenizer.is_bpe else []
    ids = {tokenizer.pieces[token]: token for token in order}
    found: list[tuple[int, int, int]] = []
    for rank, token in enumerate(order):
        piece = tokenizer.pieces[token]
        for i in range(1, len(piece)):
            if piece[:i] in ids and piece[i:] in ids:
                found.append((ids[piece[:i]], ids[piece[i:]], rank))
    left, right, ranks = np.array(found, np.int32).reshape(-1, 3).T.copy()
    return Merges(spellings, left, right, ranks, np.array(order, np.int32), atoms, byte_ids, {},
                  mark, tokenizer.prefix_space, slow)
