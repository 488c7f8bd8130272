"""Token ids from Megatron's .bin/.idx files, mapped and never loaded; numpy only.

The .idx file (little-endian): 9 bytes `MMIDIDX\\0\\0`, uint64 version 1, uint8 dtype code, uint64
sequence count n, uint64 document-index count, int32[n] lengths in tokens, int64[n] byte offsets
into the .bin file, int64 document index. One sequence is one document, as in Megatron's GPTDataset.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.contract import BadInput
from training.settings import Data, Model

MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQQ")
DTYPES: dict[int, str] = {
    1: "<u1",
    2: "<i1",
    3: "<i2",
    4: "<i4",
    5: "<i8",
    8: "<u2",
}
SCAN_TOKENS = 1 << 24  # a block of the vocabulary check: 64 MiB of 32-bit ids
REMAKE = "Preprocess that chunk again: pipeline resubmit --failed, or delete it and submit"


@dataclass(frozen=True)
class Shard:
    """One .bin/.idx pair, mapped."""

    prefix: Path
    tokens: npt.NDArray[np.integer]
    lengths: npt.NDArray[np.int32]  # tokens of each document
    starts: npt.NDArray[np.int64]  # first token of each document in `tokens`
    index_digest: str

    @property
    def documents(self) -> int:
        """Documents in this pair."""
        return len(self.lengths)


def open_shard(prefix: Path) -> Shard:
    """Map `prefix`.bin and .idx; BadInput when one is missing, foreign or cut short."""
    index_path, data_path = Path(f"{prefix}.idx"), Path(f"{prefix}.bin")
    for path in (index_path, data_path):
        if not path.is_file():
            raise BadInput(f"{path} is missing", REMAKE)
    raw = index_path.read_bytes()
    if len(raw) < HEADER.size or not raw.startswith(MAGIC):
        raise BadInput(f"{index_path} is no Megatron index", REMAKE)
    _, version, code, count, document_count = HEADER.unpack_from(raw)
    if version != 1 or code not in DTYPES:
        raise BadInput(f"{index_path} has version {version} and dtype code {code}", REMAKE)
    if len(raw) < HEADER.size + 12 * count + 8 * document_count:
        raise BadInput(f"{index_path} is cut short", REMAKE)
    dtype = np.dtype(DTYPES[code])
    lengths = np.frombuffer(raw, "<i4", count, HEADER.size)
    offsets = np.frombuffer(raw, "<i8", count, HEADER.size + 4 * count)
    needed = int((offsets + lengths * np.int64(dtype.itemsize)).max(initial=0))
    size = data_path.stat().st_size
    if size < needed:
        raise BadInput(f"{data_path} has {size} bytes of the {needed} that its index names", REMAKE)
    if size > needed:
        raise BadInput(
            f"{data_path} has {size} bytes, and its index names {needed}: ids of another width, or "
            "files of two attempts",
            REMAKE,
        )
    tokens = np.memmap(data_path, dtype, mode="r") if size else np.zeros(0, dtype)
    starts = offsets // dtype.itemsize
    return Shard(prefix, tokens, lengths, starts, hashlib.sha256(raw).hexdigest())


def resolve_prefixes(data_path: Path, chunks: int | None) -> list[Path]:
    """The prefixes that `data_path` means: itself, or its numbered parts, all of them.

    `chunks` is how many parts there must be; without it the highest number found decides.
    Raises BadInput naming the files that are missing or in excess.
    """
    if Path(f"{data_path}.bin").is_file():
        return [data_path]
    pattern = re.compile(re.escape(data_path.name) + r"_(\d{4,})\.(bin|idx)")
    parent = data_path.parent
    names = {path.name for path in parent.iterdir()} if parent.is_dir() else set()
    numbers = {int(match[1]) for name in names if (match := pattern.fullmatch(name))}
    if not numbers and chunks is None:
        raise BadInput(
            f"neither {data_path}.bin nor {data_path}_0001.bin is there",
            "Preprocess this arm first",
        )
    wanted = range(1, (chunks or max(numbers)) + 1)
    prefixes = [parent / f"{data_path.name}_{number:04d}" for number in wanted]
    files = [f"{prefix}.{kind}" for prefix in prefixes for kind in ("bin", "idx")]
    missing = [name for name in files if Path(name).name not in names]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise BadInput(
            f"of the {len(wanted)} parts of {data_path} these files are missing: "
            f"{', '.join(missing[:3])}{more}",
            "Run those preprocessing tasks: pipeline resubmit --failed",
        )
    if extra := sorted(numbers - set(wanted)):
        raise BadInput(
            f"{data_path}_{extra[0]:04d} is there, but corpus.chunks is {chunks}",
            "Remove the parts of an older split, or correct corpus.chunks",
        )
    return prefixes


def split_bounds(documents: int, split: tuple[float, ...]) -> list[tuple[int, int]]:
    """Half-open document ranges of train, validation and test, rounded as Megatron does."""
    total = sum(split)
    ends = [0.0, *accumulate(share / total for share in split)]
    marks = [round(end * float(documents)) for end in ends]
    return list(pairwise(marks))


def check_vocabulary(shards: list[Shard], vocab_size: int) -> None:
    """BadInput when an id is not below `vocab_size`: a GPU would only say "device assert"."""
    for shard in shards:
        for first in range(0, len(shard.tokens), SCAN_TOKENS):
            block = shard.tokens[first : first + SCAN_TOKENS]
            low, high = int(block.min()), int(block.max())
            if low < 0 or high >= vocab_size:
                raise BadInput(
                    f"{shard.prefix}.bin holds id {high if high >= vocab_size else low}, and the "
                    f"model's vocabulary has {vocab_size}",
                    "Preprocess with the study's tokenizer, or correct model.vocab_size",
                )


class TokenStream:
    """Documents joined end to end, epoch after epoch, read at any position without state.

    With a seed each epoch shuffles the documents of all shards together, which weights shards by
    their tokens. Arms that hold the same documents see them in the same order, since the order
    depends on the seed, the epoch and the number of documents alone. A sample of any length may
    begin at any position, so a run may change the length and go on in the same text.
    """

    def __init__(
        self, shards: list[Shard], share: int, split: tuple[float, ...], seed: int | None
    ) -> None:
        self.shards = shards
        self.seed = seed
        ranges = [split_bounds(shard.documents, split)[share] for shard in shards]
        self.shard_of = np.repeat(
            np.arange(len(shards), dtype=np.int32), [end - first for first, end in ranges]
        )
        parts = [np.arange(first, end, dtype=np.int64) for first, end in ranges]
        self.document_of = np.concatenate(parts)
        self.lengths = np.concatenate(
            [shard.lengths[first:end] for shard, (first, end) in zip(shards, ranges, strict=True)]
        )
        self.total = int(self.lengths.sum(dtype=np.int64))
        # Two epochs are enough: a batch can straddle a boundary. The cache belongs to the object.
        self._epoch = lru_cache(maxsize=2)(self._order)

    def _order(self, epoch: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The documents of an epoch in order, and the position after each."""
        order = np.arange(len(self.lengths), dtype=np.int64)
        if self.seed is not None:
            order = np.random.Generator(np.random.PCG64([self.seed, epoch])).permutation(order)
        return order, np.cumsum(self.lengths[order], dtype=np.int64)

    def read(self, position: int, count: int) -> npt.NDArray[np.int64]:
        """`count` tokens from a position in the endless stream."""
        out = np.empty(count, np.int64)
        filled = 0
        while filled < count:
            for piece in self._pieces(position + filled):
                piece = piece[: count - filled]
                out[filled : filled + len(piece)] = piece
                filled += len(piece)
                if filled == count:
                    break
        return out

    def _pieces(self, position: int) -> Iterator[npt.NDArray[np.integer]]:
        """The documents from a position to the end of its epoch, the first one from within."""
        epoch, within = divmod(position, self.total)
        order, ends = self._epoch(epoch)
        at = int(np.searchsorted(ends, within, side="right"))
        for rank in range(at, len(order)):
            document = int(order[rank])
            shard = self.shards[int(self.shard_of[document])]
            length = int(self.lengths[document])
            start = int(shard.starts[int(self.document_of[document])])
            skip = max(within - (int(ends[rank]) - length), 0)
            yield shard.tokens[start + skip : start + length]

    def batch(self, position: int, count: int, length: int) -> npt.NDArray[np.int64]:
        """Samples one behind the other from a position, as an array of shape (count, length): the
        last token of one, which is only predicted, is the first of the next."""
        rows = [self.read(position + row * (length - 1), length) for row in range(count)]
        return np.stack(rows)


@dataclass(frozen=True)
class Corpus:
    """What one arm trains and validates on."""

    shards: list[Shard]
    train: TokenStream
    validation: TokenStream

    def identity(self) -> dict[str, object]:
        """Digests of the data, wherever it lies: names and paths may differ between machines."""
        return {
            "data.documents": sum(shard.documents for shard in self.shards),
            "data.tokens": int(sum(shard.lengths.sum(dtype=np.int64) for shard in self.shards)),
            "data.digest": hashlib.sha256(
                "".join(shard.index_digest for shard in self.shards).encode()
            ).hexdigest(),
        }


def open_corpus(data: Data, model: Model, seed: int, check: bool = True) -> Corpus:
    """Open and check the data; BadInput for whatever would fail later, in the middle of a job.

    Without `check` the ids themselves are not read: another process of the run has done it.
    """
    shards = [open_shard(prefix) for prefix in resolve_prefixes(data.path, data.chunks)]
    if check:
        check_vocabulary(shards, model.vocab_size)
    train = TokenStream(shards, 0, data.split, seed)
    validation = TokenStream(shards, 1, data.split, None)
    if data.validation:
        held_out = [open_shard(prefix) for prefix in resolve_prefixes(data.validation, None)]
        if check:
            check_vocabulary(held_out, model.vocab_size)
        # In an order of its own: a part of it, which is what is looked at, is then like the whole.
        validation = TokenStream(held_out, 0, (1.0, 0.0, 0.0), seed)
    held = data.validation or f"the validation share of {data.path}"
    for name, stream in ((f"the training share of {data.path}", train), (held, validation)):
        if stream.total <= model.seq_length:
            raise BadInput(
                f"{name} holds {stream.total} tokens, fewer than one sample of "
                f"{model.seq_length + 1}",
                "Give it more documents, or raise its share in train.split",
            )
    return Corpus(shards, train, validation)
