"""The hub's own client library talks to a hub on loopback."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from corpus.errors import CorpusError
from corpus.hub import hub_files, select
from tests.corpus.server import COMMIT, Server
from tests.require import require

FILES = {"tl/b.parquet": b"bb", "tl/a é.jsonl": b"a", "id/c.jsonl.zst": b"ccc", "README.md": b"#"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    require("hub", find_spec("huggingface_hub") is not None, "huggingface_hub is an extra")
    monkeypatch.setattr("corpus.http.sleep", lambda seconds: None)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    # A token that the library keeps in a file of its own is not ours to use.
    (tmp_path / "token").write_text("hf_stored")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    with Server().running() as server:
        server.add_dataset("org/pile", FILES)
        monkeypatch.setenv("HF_ENDPOINT", server.url + "/")
        yield server


@pytest.mark.parametrize("location", ["hf://org/pile", "hf://org/pile@v1", "hf://org/pile:tl",
                                      "hf://org/pile@v1:/tl/"])
def test_files_of_a_language_at_one_commit(hub: Server, location: str) -> None:
    found = hub_files(location, "fil")
    assert [(one.name, one.size, one.sha256) for one in found] == [
        ("tl/a é.jsonl", 1, None), ("tl/b.parquet", 2, None)]
    assert found[0].url == f"{hub.url}/datasets/org/pile/resolve/{COMMIT}/tl/a%20%C3%A9.jsonl"
    assert {one.page for one in found} == {f"{hub.url}/datasets/org/pile"}
    tree = f"/api/datasets/org/pile/tree/{COMMIT}"
    asked = "/api/datasets/org/pile" + ("/revision/v1" if "@" in location else "")
    assert [one.path for one in hub.requests] == [asked, tree, f"{tree}/page2"]
    assert not any("authorization" in one.headers for one in hub.requests)


def test_large_files_come_with_their_digest(hub: Server) -> None:
    hub.add_dataset("org/pile", FILES, cdn=hub)
    assert [one.sha256 for one in hub_files("hf://org/pile", "id")] == [
        hashlib.sha256(b"ccc").hexdigest()]


def test_token_of_the_environment_is_used(hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.secret = "hf_secret"
    assert len(hub_files("hf://org/pile", "")) == 3


@pytest.mark.parametrize("token", ["", "hf_of_somebody_else"])
def test_licence_that_was_not_accepted(
    hub: Server, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    hub.secret = "hf_secret"
    with pytest.raises(CorpusError) as fault:
        hub_files("hf://org/pile", "fil")
    message = str(fault.value)
    assert "answers 401" in message and "licence" in message and "HF_TOKEN" in message
    assert f"{hub.url}/datasets/org/pile" in message
    assert "hf_of_somebody_else" not in message and len(hub.requests) == 1


@pytest.mark.parametrize(("status", "says"), [(403, "licence"), (404, "revision")])
def test_other_refusals(hub: Server, status: int, says: str) -> None:
    hub.failures = [(status, {})]
    with pytest.raises(CorpusError, match=f"answers {status}.*{says}"):
        hub_files("hf://org/pile", "fil")


def test_busy_hub_is_asked_again(hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("corpus.http.sleep", pauses.append)
    hub.failures = [(503, {}), (429, {"Retry-After": "9"})]
    assert len(hub_files("hf://org/pile", "fil")) == 2
    assert pauses == [1.0, 9.0]


def test_hub_that_is_not_there(hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(CorpusError, match="hf://org/pile: the hub cannot be reached.*run it again"):
        hub_files("hf://org/pile", "fil")


def test_folder_that_is_not_there_names_those_that_are(hub: Server) -> None:
    with pytest.raises(CorpusError, match="for 'th'; its folders are id, tl"):
        hub_files("hf://org/pile", "th")
    with pytest.raises(CorpusError, match="for 'en'; its folders are id, tl"):
        hub_files("hf://org/pile:en", "fil")


@pytest.mark.parametrize("location", ["hf://", "hf://a/b/c", "hf://org/-bad-"])
def test_impossible_names(hub: Server, location: str) -> None:
    with pytest.raises(CorpusError, match="Correct corpus.source"):
        hub_files(location, "")
    assert not hub.requests


def test_language_folders() -> None:
    names = ["tl/a.parquet", "tl/readme.md", "tlx/b.parquet", "data/fil/c.jsonl.gz", "en/d.parquet",
             "tl/e.jsonl.zst"]
    assert select(names, "", "fil") == ["tl/a.parquet", "data/fil/c.jsonl.gz", "tl/e.jsonl.zst"]
    assert select(names, "", "tl") == ["tl/a.parquet", "tl/e.jsonl.zst"]
    assert select(names, "en", "fil") == ["en/d.parquet"]
    assert select(names, "", "") == [name for name in names if name != "tl/readme.md"]
