from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import CorpusError
from corpus.partition import INDEX, assign, main, partition, quotas, text_digest
from tests.draws import draws

SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}


def write(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"id": n, "text": text}) + "\n"
                            for n, text in enumerate(texts)), encoding="utf-8")
    return path


def read(directory: Path, part: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / f"{part}.jsonl").read_bytes().splitlines()]


def digests(texts: list[str], seed: int) -> Any:
    return np.array([text_digest(text, seed) for text in texts], "S16")


@pytest.mark.parametrize(("documents", "counts"), [
    (10_006, [8_004, 1_000, 1_002]), (40_238, [32_190, 4_023, 4_025]),
    (116_539, [93_231, 11_653, 11_655]), (215_344, [172_275, 21_534, 21_535]),
    (341_155, [272_924, 34_115, 34_116]), (723_282, [578_625, 72_328, 72_329]),
])
def test_quotas_are_floors_and_the_rest(documents: int, counts: list[int]) -> None:
    assert quotas(documents, list(SHARES.values())) == counts


def test_a_share_is_taken_as_it_is_written() -> None:
    assert quotas(100, [0.29, 0.71]) == [29, 71]  # 0.29 * 100 is 28.999999999999996


@pytest.mark.parametrize("shares", [[1.0], [0.5, 0.4], [0.5, 0.6], [1.2, -0.2], [0.0, 1.0]],
                         ids=["one", "less than 1", "more than 1", "negative", "none"])
def test_shares_that_are_no_parts_are_refused(shares: list[float]) -> None:
    with pytest.raises(CorpusError, match="add up to 1"):
        quotas(100, shares)


def test_an_empty_part_is_refused() -> None:
    with pytest.raises(CorpusError, match="leave a part empty"):
        quotas(9, list(SHARES.values()))


@draws(150)
@given(st.lists(st.integers(0, 40), min_size=10, max_size=120), st.integers(0, 2**32))
def test_parts_are_a_partition_by_text(kinds: list[int], seed: int) -> None:
    texts = [f"text {kind}" for kind in kinds]
    counts = quotas(len(texts), list(SHARES.values()))
    parts = assign(digests(texts, seed), counts, {})
    assert len(parts) == len(texts) and set(parts.tolist()) <= {0, 1, 2}
    held = [{text for text, part in zip(texts, parts, strict=True) if part == n} for n in range(3)]
    assert not (held[0] & held[1] or held[0] & held[2] or held[1] & held[2])
    sizes, largest = np.bincount(parts, minlength=3), max(Counter(texts).values())
    for n in (0, 1):  # a part is short only by less than the smallest text that is left
        assert counts[n] - largest < sizes[n] <= counts[n]


@given(st.integers(10, 400), st.integers(0, 2**32))
def test_distinct_texts_fill_the_parts_exactly(documents: int, seed: int) -> None:
    counts = quotas(documents, list(SHARES.values()))
    parts = assign(digests([str(n) for n in range(documents)], seed), counts, {})
    assert np.bincount(parts).tolist() == counts


def test_a_text_that_does_not_fit_makes_room_for_the_next() -> None:
    texts = ["often"] * 5 + [str(n) for n in range(15)]
    homes = set()
    for seed in range(40):
        parts = assign(digests(texts, seed), [16, 2, 2], {})
        sizes = np.bincount(parts, minlength=3).tolist()
        homes.add(home := int(parts[0]))
        assert set(parts[:5].tolist()) == {home}
        # Five equal texts fit into the first part, never into the second; the last takes the rest.
        assert sizes == ([16, 2, 2] if home == 0 else [15, 0, 5])
    assert homes == {0, 2}


def test_a_pinned_text_stays_where_it_is() -> None:
    texts = [str(n) for n in range(100)]
    found = digests(texts, 1)
    pinned = {bytes(found[3]): 2, bytes(found[4]): 2, text_digest("not there", 1): 0}
    parts = assign(found, [80, 10, 10], pinned)
    assert parts[3] == parts[4] == 2 and np.bincount(parts).tolist() == [80, 10, 10]


def test_a_part_is_a_random_sample() -> None:
    texts = [str(n) for n in range(4000)]
    for seed in (1, 2):
        mine = np.flatnonzero(assign(digests(texts, seed), [2000, 2000], {}) == 0)
        assert abs(mine.mean() - 2000) < 5 * 1155 / 2000**0.5  # five standard errors
    one, two = (assign(digests(texts, seed), [2000, 2000], {}) for seed in (1, 2))
    assert 0.45 < float((one == two).mean()) < 0.55


def test_files_hold_the_lines_as_they_were_and_in_order(tmp_path: Path) -> None:
    texts = [f"á text {n % 37}" for n in range(100)]
    source = write(tmp_path / "in.jsonl", texts)
    source.write_bytes(source.read_bytes()[:-1])  # no newline at the end
    index = partition(source, tmp_path / "out", SHARES, seed=7)
    lines = source.read_bytes().splitlines()
    seen: list[int] = []
    for name, about in index["parts"].items():
        rows = (tmp_path / "out" / about["file"]).read_bytes().splitlines()
        ids = [json.loads(row)["id"] for row in rows]
        assert ids == sorted(ids) and rows == [lines[n] for n in ids]
        assert about["documents"] == len(rows) and about["file"] == f"{name}.jsonl"
        seen += ids
    assert sorted(seen) == list(range(100)) and index["documents"] == 100
    assert index["distinct_texts"] == 37


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [str(n) for n in range(200)])
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        partition(source, tmp_path / name, SHARES, seed)
    a, b, c = ((tmp_path / name / "train.jsonl").read_bytes() for name in "abc")
    assert a == b != c


def test_the_order_of_documents_does_not_decide(tmp_path: Path) -> None:
    texts = [str(n) for n in range(200)]
    forth = partition(write(tmp_path / "a.jsonl", texts), tmp_path / "a", SHARES, 1)
    back = partition(write(tmp_path / "b.jsonl", texts[::-1]), tmp_path / "b", SHARES, 1)
    assert forth["parts"]["train"]["documents"] == back["parts"]["train"]["documents"]
    assert ({row["text"] for row in read(tmp_path / "a", "train")}
            == {row["text"] for row in read(tmp_path / "b", "train")})


def test_a_second_run_writes_nothing_and_a_changed_source_is_seen(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [str(n) for n in range(50)])
    partition(source, tmp_path / "out", SHARES, 1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    partition(source, tmp_path / "out", SHARES, 1)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    write(source, [str(n) for n in range(60)])
    assert partition(source, tmp_path / "out", SHARES, 1)["documents"] == 60
    (tmp_path / "out" / "test.jsonl").write_bytes(b"")
    index = partition(source, tmp_path / "out", SHARES, 1)
    assert len(read(tmp_path / "out", "test")) == index["parts"]["test"]["documents"]


@pytest.mark.parametrize(("line", "message"), [
    (b"{oops\n", "in.jsonl:3 is not a JSON object"), (b"[1]\n", "in.jsonl:3 is not a JSON object"),
    (b'{"other": "x"}\n', "in.jsonl:3 has no text under 'text'"),
    (b'{"text": 5}\n', "in.jsonl:3 has no text under 'text'"),
], ids=["broken", "a list", "another key", "a number"])
def test_a_line_that_is_no_document_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    source = write(tmp_path / "in.jsonl", ["a", "b"])
    source.write_bytes(source.read_bytes() + line)
    with pytest.raises(CorpusError, match=message):
        partition(source, tmp_path / "out", SHARES, 1)
    assert not list((tmp_path / "out").iterdir())


def test_a_part_is_no_path(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", ["a", "b"])
    with pytest.raises(CorpusError, match="cannot be called '../x'"):
        partition(source, tmp_path / "out", {"../x": 0.5, "y": 0.5}, 1)


def test_the_command_reads_its_section(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"reply": str(n)}) + "\n\n" for n in range(40)))
    section = {"source": str(source), "output_dir": str(tmp_path / "out"), "seed": 42,
               "parts": {"train": 0.95, "validation": 0.05}, "text_key": "reply"}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"parameters": {"partition": section}}))
    assert main(["--config", str(config)]) == 0
    assert "40 documents, train 38, validation 2" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / INDEX).read_text())["documents"] == 40
    section |= {"parts": {"a": "b"}}
    config.write_text(yaml.safe_dump({"parameters": {"partition": section}}))
    assert main(["--config", str(config)]) == 65
    assert "partition.parts.a is 'b', not a number" in capsys.readouterr().err
