from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from corpus.errors import CorpusError
from corpus.files import atomic, read_json, sha256_value, write_json


def test_atomic_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic(target) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    gone = tmp_path / f".out.{socket.gethostname()}.{dead.pid}.tmp"
    living = tmp_path / f".out.{socket.gethostname()}.{os.getppid()}.tmp"
    elsewhere = tmp_path / ".out.another-host.1.tmp"
    for path in (gone, living, elsewhere):
        path.touch()
    write_json(tmp_path / "out", {})
    assert (gone.exists(), living.exists(), elsewhere.exists()) == (False, True, True)


def test_read_json_tells_absent_from_broken(tmp_path: Path) -> None:
    assert read_json(tmp_path / "none") is None
    (tmp_path / "broken").write_text("{")
    with pytest.raises(CorpusError, match="broken"):
        read_json(tmp_path / "broken")


def test_digest_ignores_the_order_of_keys() -> None:
    assert sha256_value({"a": 1, "b": 2}) == sha256_value({"b": 2, "a": 1})
    assert sha256_value({"a": 1}) != sha256_value({"a": 1.5})
