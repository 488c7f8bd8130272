"""Megatron files, prefixes, splits, and samples at exact positions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.contract import BadInput
from training.data import (
    TokenStream,
    check_vocabulary,
    open_shard,
    resolve_prefixes,
    split_bounds,
)

Documents = list[list[int]]
Writer = Callable[..., None]


@pytest.mark.parametrize("code", [4, 8], ids=["int32", "uint16"])
def test_documents_come_back(tmp_path: Path, write_shard: Writer, code: int) -> None:
    write_shard(tmp_path / "a", [[5, 6, 1], [7, 1]], code)
    shard = open_shard(tmp_path / "a")
    assert shard.documents == 2
    read = [
        shard.tokens[s : s + n].tolist() for s, n in zip(shard.starts, shard.lengths, strict=True)
    ]
    assert read == [[5, 6, 1], [7, 1]]


def test_damage_is_told(tmp_path: Path, write_shard: Writer) -> None:
    prefix = tmp_path / "a"
    write_shard(prefix, [[5, 6, 1], [7, 1]])
    index, data = Path(f"{prefix}.idx"), Path(f"{prefix}.bin")
    whole = index.read_bytes()
    data.write_bytes(data.read_bytes()[:-4])
    with pytest.raises(BadInput, match="has 16 bytes of the 20"):
        open_shard(prefix)
    index.write_bytes(whole[:-3])
    with pytest.raises(BadInput, match="cut short"):
        open_shard(prefix)
    index.write_bytes(b"PK" + whole)
    with pytest.raises(BadInput, match="no Megatron index"):
        open_shard(prefix)
    data.unlink()
    with pytest.raises(BadInput, match=r"a\.bin is missing"):
        open_shard(prefix)


def test_one_file_wins_over_parts(tmp_path: Path, write_shard: Writer) -> None:
    for name in ("s", "s_0001", "s_0002"):
        write_shard(tmp_path / name, [[1]])
    assert resolve_prefixes(tmp_path / "s", 2) == [tmp_path / "s"]
    (tmp_path / "s.bin").unlink()
    assert [p.name for p in resolve_prefixes(tmp_path / "s", 2)] == ["s_0001", "s_0002"]
    assert [p.name for p in resolve_prefixes(tmp_path / "s", None)] == ["s_0001", "s_0002"]


@pytest.mark.parametrize(
    ("parts", "chunks", "fact"),
    [
        ([1, 3], 3, "s_0002.bin, "),
        ([1, 3], None, "s_0002.bin, "),
        ([1, 2], 3, "s_0003.bin, "),
        ([], 5, "and 7 more"),
        ([], None, "neither"),
        ([1, 2, 3], 2, "s_0003 is there, but corpus.chunks is 2"),
    ],
    ids=["gap", "gap-unknown-count", "end", "all", "nothing", "excess"],
)
def test_an_incomplete_set_is_refused(
    tmp_path: Path, write_shard: Writer, parts: list[int], chunks: int | None, fact: str
) -> None:
    for part in parts:
        write_shard(tmp_path / f"s_{part:04d}", [[1]])
    with pytest.raises(BadInput) as caught:
        resolve_prefixes(tmp_path / "s", chunks)
    assert fact in str(caught.value)


@pytest.mark.parametrize(
    ("documents", "split", "bounds"),
    [
        (1000, (98, 1, 1), [(0, 980), (980, 990), (990, 1000)]),
        (50, (98, 1, 1), [(0, 49), (49, 50), (50, 50)]),
        (25, (90, 10, 0), [(0, 22), (22, 25), (25, 25)]),  # round(22.5) is 22, as in Megatron
        (0, (98, 1, 1), [(0, 0), (0, 0), (0, 0)]),
    ],
)
def test_splits_round_as_megatron_does(
    documents: int, split: tuple[float, ...], bounds: list[tuple[int, int]]
) -> None:
    assert split_bounds(documents, split) == bounds


def stream(tmp_path: Path, write: Writer, docs: Documents, seed: int | None = 3) -> TokenStream:
    write(tmp_path / "a_0001", docs[: len(docs) // 2])
    write(tmp_path / "a_0002", docs[len(docs) // 2 :])
    shards = [open_shard(p) for p in resolve_prefixes(tmp_path / "a", 2)]
    return TokenStream(shards, 0, (1, 0, 0), seed)


def test_an_epoch_holds_each_document_once(
    tmp_path: Path, write_shard: Writer, documents: Documents
) -> None:
    made = stream(tmp_path, write_shard, documents)
    for epoch in range(2):
        tokens = made.read(epoch * made.total, made.total).tolist()
        split = " ".join(map(str, tokens)).split(" 1 ")
        assert sorted(d.removesuffix(" 1") for d in split) == sorted(
            " ".join(map(str, d[:-1])) for d in documents
        )
    first, second = made.read(0, 200), made.read(made.total, 200)
    assert not np.array_equal(first, second)


def test_reading_anywhere_agrees_with_reading_all(
    tmp_path: Path, write_shard: Writer, documents: Documents
) -> None:
    made = stream(tmp_path, write_shard, documents)
    everything = made.read(0, 3 * made.total)
    for position in (0, 1, 17, made.total - 1, made.total, 2 * made.total - 5):
        assert np.array_equal(made.read(position, 50), everything[position : position + 50])
    batch = made.batch(5 * 16, 3, 17)
    assert batch.shape == (3, 17)
    assert np.array_equal(batch[1], everything[6 * 16 : 6 * 16 + 17])


def test_arms_see_documents_in_the_same_order(
    tmp_path: Path, write_shard: Writer, documents: Documents
) -> None:
    short = [[number, 1] for number in range(100, 160)]
    long = [[number, number, 5, 1] for number in range(100, 160)]
    orders = []
    for name, docs in (("short", short), ("long", long)):
        made = stream(tmp_path / name, write_shard, docs)
        seen = [t for t in made.read(0, made.total).tolist() if t >= 100]
        orders.append(list(dict.fromkeys(seen)))
    assert orders[0] == orders[1] != sorted(orders[0])


def test_without_a_seed_the_order_is_the_files(tmp_path: Path, write_shard: Writer) -> None:
    made = stream(tmp_path, write_shard, [[2, 1], [3, 1], [4, 1], [5, 1]], seed=None)
    assert made.read(0, 10).tolist() == [2, 1, 3, 1, 4, 1, 5, 1, 2, 1]


def test_an_id_beyond_the_vocabulary_is_refused(tmp_path: Path, write_shard: Writer) -> None:
    write_shard(tmp_path / "a", [[5, 6, 64, 1]])
    shard = open_shard(tmp_path / "a")
    check_vocabulary([shard], 65)
    with pytest.raises(BadInput, match="holds id 64, and the model's vocabulary has 64"):
        check_vocabulary([shard], 64)
