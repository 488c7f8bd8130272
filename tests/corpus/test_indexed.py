from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import CorpusError
from corpus.indexed import Reader, Writer, bin_path, dtype_for, idx_path

DOCUMENTS = [[5, 6, 1], [1], [65499, 0, 3, 1]]


def write(prefix: Path, documents: list[list[int]], dtype: type[np.integer[Any]]) -> None:
    with Writer(prefix, dtype) as writer:
        for ids in documents:
            writer.add(np.array(ids, np.int64), np.array([len(ids)]))
        writer.publish()


@pytest.mark.parametrize(("size", "kind"), [(65499, np.uint16), (65500, np.int32),
                                            (262144, np.int32)])
def test_dtype_is_megatrons(size: int, kind: type) -> None:
    assert dtype_for(size) is kind


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
@given(documents=st.lists(st.lists(st.integers(0, 65499), min_size=1, max_size=9), max_size=9))
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, dtype: type, documents: list[list[int]]
) -> None:
    prefix = tmp_path_factory.mktemp("indexed") / "p"
    write(prefix, documents, dtype)
    reader = Reader(prefix)
    assert reader.dtype is dtype
    assert [reader[i].tolist() for i in range(len(reader))] == documents
    assert reader.documents.tolist() == list(range(len(documents) + 1))


def test_the_index_is_written_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [[n] * (n + 1) for n in range(7)]
    write(tmp_path / "whole", documents, np.int32)
    monkeypatch.setattr("corpus.indexed._INDEX_BLOCK", 3)
    write(tmp_path / "blocks", documents, np.int32)
    assert idx_path(tmp_path / "blocks").read_bytes() == idx_path(tmp_path / "whole").read_bytes()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_megatron_reads_and_writes_the_same(tmp_path: Path, dtype: type) -> None:
    pytest.importorskip("megatron.core", reason="megatron-core is in the training container only")
    megatron = importlib.import_module("megatron.core.datasets.indexed_dataset")
    write(tmp_path / "ours", DOCUMENTS, dtype)
    theirs = megatron.IndexedDataset(str(tmp_path / "ours"))
    assert theirs.index.dtype is dtype
    assert [theirs[i].tolist() for i in range(len(theirs))] == DOCUMENTS
    assert theirs.document_indices.tolist() == [0, 1, 2, 3]
    builder = megatron.IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=dtype)
    import torch

    for ids in DOCUMENTS:
        builder.add_item(torch.tensor(ids))
        builder.end_document()
    builder.finalize(str(tmp_path / "theirs.idx"))
    for path in (bin_path, idx_path):
        assert path(tmp_path / "ours").read_bytes() == path(tmp_path / "theirs").read_bytes()


def test_nothing_appears_without_publish(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Writer(tmp_path / "p", np.int32) as writer:
        writer.add(np.arange(3), np.array([3]))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["bin", "idx", "header"])
def test_damage_is_noticed(tmp_path: Path, damage: str) -> None:
    write(tmp_path / "p", DOCUMENTS, np.int32)
    path = bin_path(tmp_path / "p") if damage == "bin" else idx_path(tmp_path / "p")
    content = path.read_bytes()
    path.write_bytes(b"X" + content[1:] if damage == "header" else content[:-4])
    with pytest.raises(CorpusError, match=path.name):
        Reader(tmp_path / "p")
