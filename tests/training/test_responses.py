"""The partial file of a shard: what is kept of it, and who may write it."""

from __future__ import annotations

import json

import pytest

from training.contract import BadInput
from training.responses import Shard, shard_of


def row(name):
    return {"id": name, "response": "è"}


def test_shards_share_all_rows_and_all_levels():
    rows = [{"id": str(n), "level": "A1" if n < 10 else "B1"} for n in range(20)]
    parts = [shard_of(rows, task, 3) for task in (1, 2, 3)]
    assert sorted(r["id"] for part in parts for r in part) == sorted(r["id"] for r in rows)
    assert all({r["level"] for r in part} == {"A1", "B1"} for part in parts)


@pytest.mark.parametrize("cut", range(1, 24))
def test_wherever_the_file_was_cut_whole_rows_stay(tmp_path, cut):
    shard = Shard(tmp_path, 1, "digest")
    with shard.opened():
        shard.add([row("a"), row("b")])
    whole = shard.partial.read_bytes()
    shard.partial.write_bytes(whole[:-cut])
    again = Shard(tmp_path, 1, "digest")
    with again.opened():
        assert again.done == {"a"}
        again.add([row("a"), row("b")])
        again.publish({})
    lines = again.path.read_text("utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a", "b"]
    assert again.finished()
    assert not again.partial.exists()


def test_a_head_that_was_cut_begins_anew(tmp_path):
    shard = Shard(tmp_path, 1, "digest")
    with shard.opened():
        pass
    shard.partial.write_bytes(shard.partial.read_bytes()[:5])
    with shard.opened():
        assert shard.done == set()
        shard.add([row("a")])
    assert shard.partial.read_bytes().count(b"\n") == 2


def test_rows_made_from_something_else_are_thrown_away(tmp_path, capsys):
    shard = Shard(tmp_path, 1, "one")
    with shard.opened():
        shard.add([row("a")])
    other = Shard(tmp_path, 1, "two")
    with other.opened():
        assert other.done == set()
    assert "was made from something else" in capsys.readouterr().err


def test_two_runs_do_not_write_the_same_shard(tmp_path):
    with (
        Shard(tmp_path, 1, "digest").opened(),
        pytest.raises(BadInput, match="another run writes"),
        Shard(tmp_path, 1, "digest").opened(),
    ):
        pass


def test_a_shard_of_other_settings_or_of_another_size_is_not_finished(tmp_path):
    shard = Shard(tmp_path, 1, "one")
    with shard.opened():
        shard.add([row("a")])
        shard.publish({})
    assert shard.finished()
    assert not Shard(tmp_path, 1, "two").finished()
    shard.path.write_text("")
    assert not shard.finished()
