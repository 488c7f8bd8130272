from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from corpus.config import Config
from corpus.dataset import Dataset
from corpus.errors import CorpusError
from corpus.indexed import Reader, bin_path, idx_path
from corpus.merge import merge
from corpus.preprocess import output_prefix, preprocess, read_task
from corpus.tokenizers import Tokenizer
from tests.corpus.sets import write_set

MakeConfig = Callable[..., Config]
Written = Callable[..., Path]


@pytest.fixture
def parts(make_config: MakeConfig) -> Path:
    """The prefix of a whole set of chunks, not merged."""
    config = make_config("stochastok")
    for number in (1, 2, 3):
        preprocess(read_task(config, number))
    return output_prefix(config, 1).with_name("seapile")


@pytest.fixture
def written(tmp_path: Path, tokenizer: Tokenizer) -> Written:
    """`write_set` into a folder of this test's own."""
    return partial(write_set, tmp_path, tokenizer)


def documents(prefix: Path) -> list[list[int]]:
    reader = Reader(prefix)
    return [reader[i].tolist() for i in range(len(reader))]


def test_chunks_and_a_merged_set_are_the_same_stream(parts: Path) -> None:
    chunks = Dataset(parts)
    merge(parts)
    merged = Dataset(parts)
    whole = documents(parts)
    assert [len(chunks.parts), len(merged.parts)] == [3, 1]
    for dataset in (chunks, merged):
        assert len(dataset) == len(whole) and dataset.missing == []
        end = len(whole)
        for start, stop in ((0, end), (3, 3), (0, 1), (15, 45), (end - 1, end)):
            expected = [token for ids in whole[start:stop] for token in ids]
            assert dataset.ids(start, stop).tolist() == expected
    assert chunks.total("tokens") == merged.total("tokens") == sum(map(len, whole)) - len(whole)
    part, number = chunks.part_of(len(documents(parts.with_name("seapile_0001"))))
    assert (part.prefix.name, number) == ("seapile_0002", 0)


def test_one_chunk_is_a_set(parts: Path) -> None:
    prefix = parts.with_name("seapile_0002")
    assert Dataset(prefix).ids(0, len(Reader(prefix))).tolist() == Reader(prefix).ids.tolist()


@pytest.mark.parametrize("size", [1, 7, 30, 10_000])
def test_blocks_hold_each_document_once(
    written: Written, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corpus.dataset._BLOCK", size)
    lengths = [5, 1, 1, 40, 2, 2, 2, 9, 1]
    dataset = Dataset(written([[7] * (length - 1) + [1] for length in lengths]))
    blocks = list(dataset.blocks())
    assert [at for block in blocks for at in range(*block)] == list(range(len(lengths)))
    for start, stop in blocks[:-1]:
        assert stop == start + 1 or sum(lengths[start:stop]) <= size
        assert sum(lengths[start : stop + 1]) > size
    assert len(blocks) == 1 or size < sum(lengths)
    assert list(Dataset(written([], "empty")).blocks()) == []


def test_a_set_of_chunks_says_what_is_missing(parts: Path) -> None:
    for path in parts.parent.glob("seapile_0002*"):
        path.unlink()
    dataset = Dataset(parts)
    assert dataset.missing == [2] and len(dataset.parts) == 2


def test_the_tokenizer_is_found_beside_the_set_or_above(
    written: Written, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    prefix = written([[1]], tokenizer=None)
    with pytest.raises(CorpusError, match="was not found near it"):
        Dataset(prefix).spelling()
    (tmp_path / "tokenizer").mkdir()
    copy = tmp_path / "tokenizer" / tokenizer.path.name
    copy.write_bytes(tokenizer.path.read_bytes())
    assert Dataset(prefix).spelling().tokenizer.path == copy
    assert Dataset(written([[1]])).spelling().tokenizer.path == tokenizer.path
    copy.write_bytes(tokenizer.path.read_bytes() + b"\n")  # another file, another digest
    with pytest.raises(CorpusError, match="was not found near it"):
        Dataset(written([[1]], tokenizer=None)).spelling()
    with pytest.raises(CorpusError, match="is not the tokenizer that"):
        Dataset(prefix).spelling(copy)


def cut_bin(prefix: Path) -> None:
    bin_path(prefix).write_bytes(bin_path(prefix).read_bytes()[:-2])


def cut_index(prefix: Path) -> None:
    idx_path(prefix).write_bytes(idx_path(prefix).read_bytes()[:60])


def change(prefix: Path, **values: Any) -> None:
    path = prefix.with_name(prefix.name + ".json")
    path.write_text(json.dumps(json.loads(path.read_bytes()) | values))


@pytest.mark.parametrize(
    ("damage", "says"),
    [(cut_bin, "not what its .idx says"), (cut_index, "truncated"),
     (lambda prefix: bin_path(prefix).unlink(), "seapile_0002.bin: no such file"),
     (lambda prefix: idx_path(prefix).write_bytes(b""), "not a Megatron index"),
     (lambda prefix: prefix.with_name("seapile_0002.json").unlink(), "is not finished"),
     (lambda prefix: prefix.with_name("seapile_0002.json").write_text("{"), "is not JSON"),
     (lambda prefix: prefix.with_name("seapile_0002.json").write_text("{}"), "lacks docum"),
     (lambda prefix: change(prefix, documents=3), "says 3 documents, but"),
     (lambda prefix: change(prefix, eod=7), "differs from .*seapile_0001 in eod")],
    ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_damaged_is_refused(
    parts: Path, damage: Callable[[Path], object], says: str
) -> None:
    damage(parts.with_name("seapile_0002"))
    with pytest.raises(CorpusError, match=says):
        Dataset(parts)


def test_a_prefix_without_files_is_refused(tmp_path: Path) -> None:
    for prefix in (tmp_path / "seapile", tmp_path / "no folder" / "seapile"):
        with pytest.raises(CorpusError, match="there is neither .*seapile.bin nor"):
            Dataset(prefix)
