"""Megatron's indexed dataset: `<prefix>.bin` holds the ids, `<prefix>.idx` where each document is.

The format is that of megatron-core 0.16 (`megatron/core/datasets/indexed_dataset.py`), little
endian: 9 bytes "MMIDIDX\\0\\0", uint64 version 1, uint8 code of the ids' type, uint64 sequences,
uint64 document indices, then int32 length (in ids) of each sequence, int64 byte offset of each in
the .bin, and int64 index of the first sequence of each document, with the number of sequences at
the end. Here a document is one sequence.
"""

from __future__ import annotations

import struct
from array import array
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpus.config import Config
from corpus.errors import CorpusError
from corpus.files import PendingFile

HEADER = b"MMIDIDX\x00\x00"
_DTYPES: dict[int, type[np.integer[Any]]] = {
    1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}
_INDEX_BLOCK = 1 << 20  # documents
_CODES = {kind: code for code, kind in _DTYPES.items()}
Ids = NDArray[np.integer[Any]]


def dtype_for(vocab_size: int) -> type[np.integer[Any]]:
    """The type Megatron takes for a vocabulary: uint16 below 65,500 entries, else int32."""
    return np.uint16 if vocab_size < 65500 else np.int32


def bin_path(prefix: Path) -> Path:
    """`<prefix>.bin`."""
    return prefix.with_name(prefix.name + ".bin")


def idx_path(prefix: Path) -> Path:
    """`<prefix>.idx`."""
    return prefix.with_name(prefix.name + ".idx")


def set_prefix(config: Config) -> Path:
    """Where a job's tokens go: `<output_dir>/<arm>/<name>`; its chunks append `_0001` and so on.

    Without an arm the folder is named for the variant.
    """
    arm = config.get("job.arm", str, "") or config.parameter("variant.name", str)
    return (config.path_parameter("preprocess.output_dir") / arm
            / config.parameter("corpus.name", str))


class Writer:
    """Streams documents to `<prefix>.bin`; `publish` gives both files their names, or neither.

    Memory: 4 bytes a document. As a context manager it discards what was not published.
    """

    def __init__(self, prefix: Path, dtype: type[np.integer[Any]]) -> None:
        self.prefix, self.dtype = prefix, dtype
        self.lengths = array("i")
        self.tokens = 0
        self._bin, self._idx = PendingFile(bin_path(prefix)), PendingFile(idx_path(prefix))
        self._published = False

    def __enter__(self) -> Writer:
        self._stream = self._bin.open()
        self._idx.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        if not self._published:
            self._bin.discard()
            self._idx.discard()

    def add(self, ids: Ids, lengths: Ids) -> None:
        """Append documents: their `ids` one after another, shape (sum of lengths,)."""
        self._stream.write(np.ascontiguousarray(ids, self.dtype).data)
        self.lengths.frombytes(lengths.astype(np.int32).tobytes())
        self.tokens += len(ids)

    def publish(self) -> None:
        """Write the index, then rename .bin and .idx.

        A pair from an earlier run goes first, .idx before .bin: an .idx must never stand beside a
        .bin that it does not describe.
        """
        self._idx.stream.write(HEADER + struct.pack(
            "<QBQQ", 1, _CODES[self.dtype], len(self.lengths), len(self.lengths) + 1))
        self._idx.stream.write(self.lengths)
        # In blocks: all offsets at once would take 8 bytes a document more than the lengths.
        offset, size = 0, np.dtype(self.dtype).itemsize
        for start in range(0, len(self.lengths), _INDEX_BLOCK):
            lengths = np.frombuffer(self.lengths[start : start + _INDEX_BLOCK], np.int32)
            ends = np.cumsum(lengths, dtype=np.int64) * size + offset
            self._idx.stream.write((ends - lengths * np.int64(size)).tobytes())
            offset = int(ends[-1])
        for start in range(0, len(self.lengths) + 1, _INDEX_BLOCK):
            stop = min(start + _INDEX_BLOCK, len(self.lengths) + 1)
            self._idx.stream.write(np.arange(start, stop, dtype=np.int64).tobytes())
        idx_path(self.prefix).unlink(missing_ok=True)
        self._bin.publish()
        self._idx.publish()
        self._published = True


class Reader:
    """Maps an indexed dataset; `reader[i]` is the ids of document i, shape (length,)."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        index = _map(idx_path(prefix))
        if len(index) < 34 or index[:9].tobytes() != HEADER:
            raise CorpusError(f"{idx_path(prefix)} is not a Megatron index. Make it again.")
        version, code, sequences, documents = struct.unpack("<QBQQ", index[9:34].tobytes())
        if version != 1 or code not in _DTYPES or len(index) < 34 + 12 * sequences + 8 * documents:
            raise CorpusError(f"{idx_path(prefix)} is truncated or of version {version}, not 1. "
                              "Make it again.")
        self.dtype = _DTYPES[code]
        at = 34 + 4 * sequences
        self.lengths: NDArray[np.int32] = index[34:at].view(np.int32)
        self.offsets: NDArray[np.int64] = index[at : at + 8 * sequences].view(np.int64)
        self.documents: NDArray[np.int64] = index[at + 8 * sequences :][: 8 * documents].view(
            np.int64)
        data = _map(bin_path(prefix))
        if len(data) != int(self.lengths.sum(dtype=np.int64)) * np.dtype(self.dtype).itemsize:
            raise CorpusError(f"{bin_path(prefix)} has {len(data)} bytes, not what its .idx says. "
                              "Make it again.")
        self.ids: Ids = data.view(self.dtype)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, document: int) -> Ids:
        start = int(self.offsets[document]) // np.dtype(self.dtype).itemsize
        return self.ids[start : start + int(self.lengths[document])]


def _map(path: Path) -> NDArray[np.uint8]:
    if not path.is_file():
        raise CorpusError(f"{path}: no such file. Run the preprocess stage first.")
    if path.stat().st_size == 0:  # an empty file cannot be mapped
        return np.zeros(0, np.uint8)
    return np.memmap(path, np.uint8, "r")
