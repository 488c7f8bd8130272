"""Preprocessed sets written by hand, for tests that need documents of their own."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from corpus.indexed import Writer
from corpus.tokenizers import Tokenizer

EOD = 1


def write_set(folder: Path, tokenizer: Tokenizer, documents: list[list[int]], name: str = "own", /,
              **changes: Any) -> Path:
    """Write documents' ids, each with its EOD, and a sidecar that `changes` go into."""
    prefix = folder / name
    with Writer(prefix, np.uint16) as writer:
        for ids in documents:
            writer.add(np.array(ids, np.uint16), np.array([len(ids)], np.int32))
        writer.publish()
    record = {"documents": len(documents), "eod": EOD, "tokenizer_digest": tokenizer.digest(),
              "tokenizer": str(tokenizer.path), **changes}
    prefix.with_name(f"{name}.json").write_text(json.dumps(record))
    return prefix


def encoded(tokenizer: Tokenizer, *texts: str) -> list[list[int]]:
    """The ids of each text, with EOD."""
    return [[*tokenizer.encode(text).tolist(), EOD] for text in texts]


@cache
def _spellings(tokenizer: Tokenizer) -> dict[str, int]:
    return {piece: token for token, piece in enumerate(tokenizer.pieces)
            if token not in tokenizer.atoms}


def halves(tokenizer: Tokenizer, token: int) -> list[tuple[int, int]]:
    """The pairs of tokens that spell the same as this one."""
    ids, piece = _spellings(tokenizer), tokenizer.pieces[token]
    cuts = ((piece[:at], piece[at:]) for at in range(1, len(piece)) if token not in tokenizer.atoms)
    return [(ids[left], ids[right]) for left, right in cuts if left in ids and right in ids]
