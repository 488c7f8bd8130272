from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluation.config import InputError
from evaluation.documents import find_prefixes, held_out, open_index, validation_range

Write = Callable[[Path, list[list[int]]], None]


def test_documents_are_read_back(tmp_path: Path, write_prefix: Write) -> None:
    documents = [[5, 6, 1], [1], [7, 8, 9, 1]]
    write_prefix(tmp_path / "d", documents)
    index = open_index(tmp_path / "d")
    assert [ids.tolist() for ids in index.read(range(3))] == documents
    assert [ids.tolist() for ids in index.read(range(1, 2))] == [[1]]


@pytest.mark.parametrize(
    ("n", "split", "expected"),
    [
        (100, [98, 1, 1], range(98, 99)),
        (100, [90, 10, 0], range(90, 100)),
        (10, [98, 1, 1], range(10, 10)),
        (25, [90, 10, 0], range(22, 25)),  # 22.5 rounds to even
        (35, [90, 10, 0], range(32, 35)),  # 31.5 too
        (0, [98, 1, 1], range(0, 0)),
        (7, [0, 1, 0], range(0, 7)),
    ],
)
def test_the_validation_share(n: int, split: list[float], expected: range) -> None:
    assert validation_range(n, split) == expected


def test_shares_are_rounded_as_megatron_does_it() -> None:
    for n in range(300):
        normal = (np.array([98.0, 1.0, 1.0]) / np.sum([98.0, 1.0, 1.0])).tolist()
        bounds = [0.0, normal[0], normal[0] + normal[1]]
        megatron = range(round(bounds[1] * float(n)), round(bounds[2] * float(n)))
        assert validation_range(n, [98, 1, 1]) == megatron


def test_one_prefix_wins_over_the_set(tmp_path: Path, write_prefix: Write) -> None:
    for name in ("d", "d_0001"):
        write_prefix(tmp_path / name, [[1]])
    assert find_prefixes(tmp_path / "d", 4) == [tmp_path / "d"]


def test_the_set_must_be_complete(tmp_path: Path, write_prefix: Write) -> None:
    for number in (1, 3):
        write_prefix(tmp_path / f"d_{number:04d}", [[1]])
    with pytest.raises(InputError, match=r"d_0002\.bin missing"):
        find_prefixes(tmp_path / "d")
    write_prefix(tmp_path / "d_0002", [[1]])
    assert [path.name for path in find_prefixes(tmp_path / "d")] == ["d_0001", "d_0002", "d_0003"]
    with pytest.raises(InputError, match=r"d_0004\.bin, d_0005.*, d_0006.* and 14 more missing"):
        find_prefixes(tmp_path / "d", 20)
    with pytest.raises(InputError, match=r"e\.bin missing"):
        find_prefixes(tmp_path / "e")


def test_held_out_documents_come_from_each_prefix_in_order(
    tmp_path: Path, write_prefix: Write
) -> None:
    for number in (1, 2):
        write_prefix(tmp_path / f"d_{number:04d}", [[number * 100 + i, 1] for i in range(10)])
    found = held_out(tmp_path / "d", [80, 20, 0], 2)
    assert [ids.tolist() for ids in found] == [[108, 1], [109, 1], [208, 1], [209, 1]]
    with pytest.raises(InputError, match="holds no document"):
        held_out(tmp_path / "d", [100, 0, 0], 2)


def test_another_token_type_is_read(tmp_path: Path, write_prefix: Write) -> None:
    write_prefix(tmp_path / "d", [[5, 1], [6, 1]])
    raw = bytearray((tmp_path / "d.idx").read_bytes())
    raw[17] = 8  # uint16
    raw[34 + 8 : 34 + 24] = np.array([0, 4], dtype="<i8").tobytes()
    (tmp_path / "d.idx").write_bytes(raw)
    (tmp_path / "d.bin").write_bytes(np.array([5, 1, 60000, 1], dtype="<u2").tobytes())
    assert [ids.tolist() for ids in open_index(tmp_path / "d").read(range(2))] == [
        [5, 1],
        [60000, 1],
    ]


@pytest.mark.parametrize("fault", ["magic", "short", "cut", "data", "none", "several"])
def test_a_damaged_prefix_is_refused(fault: str, tmp_path: Path, write_prefix: Write) -> None:
    write_prefix(tmp_path / "d", [[5, 1], [6, 1]])
    index, data = tmp_path / "d.idx", tmp_path / "d.bin"
    raw = index.read_bytes()
    if fault == "magic":
        index.write_bytes(b"X" + raw[1:])
    elif fault == "short":
        index.write_bytes(raw[:20])
    elif fault == "cut":
        index.write_bytes(raw[:-8])
    elif fault == "data":
        data.write_bytes(data.read_bytes()[:-4])
    elif fault == "none":
        index.unlink()
    else:
        changed = raw[:-24] + np.array([0, 2, 2], dtype="<i8").tobytes()
        index.write_bytes(changed)
    with pytest.raises(InputError, match=r"Run preprocessing again\.$"):
        open_index(tmp_path / "d")
