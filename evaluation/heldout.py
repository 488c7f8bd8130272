"""Loss on held-out documents, in bits a byte of their text.

A document's tokens t1 ... tn (its final EOD left out: it is no text) are each predicted once.
The sequence EOD, t1 ... tn is cut into windows of seq_length tokens of context as training cuts
it: window k predicts the tokens k*seq_length + 1 ... (k+1)*seq_length from those before them in the
window, beginning with the last token of window k-1, or with EOD for the first. Bits a byte is the
total of nats / ln 2 / the bytes of the documents' decoded UTF-8 text.

The arms tokenise the same text differently, so losses a token are not comparable; bits a byte of
the vanilla tokens are. With an arm's own tokens it is an upper bound: the text has many
tokenisations, and p(text) is the sum over all of them, not the one that was drawn.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.config import Config, InputError, choose
from evaluation.documents import Ids, held_out
from evaluation.models import LanguageModel
from evaluation.tasks import Notice

HELD_OUT = ("validation", "none")


class HeldOut:
    """The held-out documents of an arm: `vanilla` tokens and its `own`, EOD cut off.

    Raises InputError for a document that does not end with EOD.
    """

    def __init__(self, vanilla: list[Ids], own: list[Ids], eod: int) -> None:
        self.vanilla = _without_eod(vanilla, eod)
        self.own = _without_eod(own, eod)

    def digest(self) -> str:
        """The SHA-256 of all the ids that are scored."""
        digest = hashlib.sha256()
        for ids in (*self.vanilla, *self.own):
            digest.update(len(ids).to_bytes(8, "little") + ids.astype("<i8").tobytes())
        return digest.hexdigest()


def load_held_out(config: Config, eod: int) -> HeldOut | None:
    """What evaluate.heldout asks for; None where it says none. Raises InputError for bad data."""
    wanted = config.get("evaluate.heldout", str, "validation")
    choose("evaluate.heldout", [wanted], HELD_OUT)
    if wanted == "none":
        return None
    split = [float(share) for share in config.get("train.split", list)]
    if len(split) != 3 or min(split) < 0 or sum(split) <= 0:
        raise InputError(f"train.split {split} is not three shares", "Write it as [98, 1, 1]")
    chunks = config.get("corpus.chunks", int, 0) or None
    reference = Path(config.get("evaluate.reference_data", str))
    own = Path(config.get("evaluate.arm_data", str))
    vanilla = held_out(reference, split, chunks)
    return HeldOut(vanilla, vanilla if own == reference else held_out(own, split, chunks), eod)


def windows(
    ids: Sequence[int] | Ids, eod: int, seq_length: int
) -> list[tuple[Sequence[int], Sequence[int]]]:
    """A document as pairs of a context of one token and at most seq_length tokens behind it; each
    token is behind a context once."""
    sequence = [eod, *(int(token) for token in ids)]
    return [
        (sequence[at : at + 1], sequence[at + 1 : at + seq_length + 1])
        for at in range(0, len(sequence) - 1, seq_length)
    ]


def count_windows(data: HeldOut | None, seq_length: int) -> int:
    """How many spans `measure` will score, for the progress file."""
    if data is None:
        return 0
    sets = [data.vanilla] if _same(data) else [data.vanilla, data.own]
    return sum(-(-len(ids) // seq_length) for documents in sets for ids in documents)


def measure(model: LanguageModel, data: HeldOut, seq_length: int, notice: Notice) -> dict[str, Any]:
    """The figures of metrics.json's `heldout`.

    Raises InputError where the arm's own documents decode to another text than the vanilla ones.
    """
    if seq_length + 1 > model.longest:
        raise InputError(
            f"windows of {seq_length} tokens behind one of context do not fit the "
            f"{model.longest} that this back end scores at once",
            "Use evaluate.backend hf, or evaluate.heldout none",
        )
    text = _texts(model, data.vanilla)
    if len(data.own) != len(data.vanilla) or _digest(_texts(model, data.own)) != _digest(text):
        raise InputError(
            f"the arm holds out {len(data.own)} documents whose text is not that of the "
            f"{len(data.vanilla)} vanilla documents",
            "Preprocess both from the same chunks with the same tokenizer",
        )
    size = sum(len(document) for document in text)
    if not size:
        raise InputError("the held-out documents are empty", "Give train.split a larger share")
    nats = _nats(model, data.vanilla, seq_length, notice)
    own = nats if _same(data) else _nats(model, data.own, seq_length, notice)
    tokens = sum(map(len, data.vanilla))
    return {
        "bits_per_byte": nats / math.log(2) / size,
        "bits_per_byte_own_tokens_upper_bound": own / math.log(2) / size,
        "unigram_bits_per_byte": _unigram_nats(data.vanilla) / math.log(2) / size,
        "nats_per_token": nats / tokens,
        "documents": len(data.vanilla),
        "tokens": tokens,
        "own_tokens": sum(map(len, data.own)),
        "bytes": size,
        "seq_length": seq_length,
        "heldout_text_sha256": _digest(text),
    }


def _same(data: HeldOut) -> bool:
    pairs = zip(data.vanilla, data.own, strict=False)
    return len(data.vanilla) == len(data.own) and all(np.array_equal(a, b) for a, b in pairs)


def _nats(model: LanguageModel, documents: list[Ids], seq_length: int, notice: Notice) -> float:
    pairs = [pair for ids in documents for pair in windows(ids, model.eod, seq_length)]
    return -math.fsum(model.log_likelihoods(pairs, notice))


def _unigram_nats(documents: list[Ids]) -> float:
    """Nats of the tokens under their own frequencies: the best that ignoring context can do."""
    counts = np.bincount(np.concatenate(documents))
    seen = counts[counts > 0]
    return -float((seen * np.log(seen / seen.sum())).sum())


def _texts(model: LanguageModel, documents: list[Ids]) -> list[bytes]:
    return [model.tokenizer.decode(ids.tolist()).encode() for ids in documents]


def _digest(texts: list[bytes]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(len(text).to_bytes(8, "little") + text)
    return digest.hexdigest()


def _without_eod(documents: list[Ids], eod: int) -> list[Ids]:
    for number, ids in enumerate(documents):
        if not len(ids) or ids[-1] != eod:
            raise InputError(
                f"held-out document {number} does not end with the end-of-document id {eod}",
                "Preprocess again with the study's tokenizer.eod",
            )
    return [ids[:-1] for ids in documents]
