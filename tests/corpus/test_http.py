from __future__ import annotations

import errno
import hashlib
import json
import os
import time
import urllib.request
from collections.abc import Iterator
from email.message import Message
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import pytest

from corpus.errors import CorpusError
from corpus.http import Remote, _Redirects, fetch, retry_after, shown, token
from tests.corpus.server import Server

BODY = bytes(range(256)) * 40
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server().running() as server:
        server.files["/a.jsonl"] = BODY
        yield server


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were to be waited; nobody waits."""
    pauses: list[float] = []
    monkeypatch.setattr("corpus.http.sleep", pauses.append)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return pauses


def remote(server: Server, **about: object) -> Remote:
    return Remote(f"{server.url}/a.jsonl", "a.jsonl", **about)  # type: ignore[arg-type]


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_broken_connection_goes_on_where_it_broke(
    tmp_path: Path, server: Server, pauses: list[float], reset: bool
) -> None:
    server.cuts, server.reset, seen = [3000, 500, 0], reset, []
    path, digest = fetch(remote(server), tmp_path, lambda held, total: seen.append((held, total)))
    assert path.read_bytes() == BODY and digest == SHA
    asked = [one.headers for one in server.requests]
    starts = [int(one.get("range", "=0-")[:-1].partition("=")[2]) for one in asked]
    if not reset:  # a reset may also take what was on its way
        assert starts == [0, 3000, 3500, 3500]
        assert pauses == [1.0, 1.0, 2.0]
    assert starts == sorted(starts)
    assert {one.get("if-range") for one in asked[1:] if "range" in one} <= {f'"{SHA}"'}
    assert seen[-1] == (len(BODY), len(BODY))


def test_many_drops_are_borne_while_bytes_come(tmp_path: Path, server: Server) -> None:
    server.cuts = [100] * 50
    path, _ = fetch(remote(server), tmp_path)
    assert path.read_bytes() == BODY and len(server.requests) == 51


def test_gives_up_without_progress_and_the_next_call_goes_on(
    tmp_path: Path, server: Server, pauses: list[float]
) -> None:
    server.cuts = [700, *[0] * 6]
    with pytest.raises(CorpusError, match=f"only 700 of {len(BODY)} bytes came.*run it again"):
        fetch(remote(server), tmp_path)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0]
    server.requests.clear()
    server.cuts.clear()
    path, digest = fetch(remote(server), tmp_path)
    assert path.read_bytes() == BODY and digest == SHA
    assert server.ranges_of("a.jsonl") == ["bytes=700-"]


def test_nobody_there(tmp_path: Path, pauses: list[float]) -> None:
    server = Server()
    with server.running():
        pass
    with pytest.raises(CorpusError, match="refused.*run it again"):
        fetch(remote(server), tmp_path)
    assert len(pauses) == 5


def broken_off(server: Server, directory: Path, **about: object) -> None:
    """An earlier run has left 4000 bytes."""
    server.cuts = [4000, *[0] * 6]
    with pytest.raises(CorpusError):
        fetch(remote(server, **about), directory)
    server.cuts, server.requests = [], []


def test_server_that_ignores_ranges(tmp_path: Path, server: Server) -> None:
    server.ranges = False
    broken_off(server, tmp_path)
    path, digest = fetch(remote(server), tmp_path)
    assert path.read_bytes() == BODY and digest == SHA and len(server.requests) == 1


@pytest.mark.parametrize("if_range", [True, False], ids=["If-Range honoured", "ignored"])
@pytest.mark.parametrize("size", [len(BODY), 5000], ids=["same size", "shorter"])
def test_file_that_changed_in_between_is_taken_anew(
    tmp_path: Path, server: Server, if_range: bool, size: int
) -> None:
    broken_off(server, tmp_path)
    server.files["/a.jsonl"], server.if_range = BODY[::-1][:size], if_range
    path, _ = fetch(remote(server), tmp_path)
    assert path.read_bytes() == BODY[::-1][:size]
    assert server.ranges_of("a.jsonl") == ["bytes=4000-", *([] if if_range else [None])]


def test_file_that_became_shorter_than_what_is_held(tmp_path: Path, server: Server) -> None:
    broken_off(server, tmp_path)
    server.files["/a.jsonl"], server.if_range = b"short", False
    assert fetch(remote(server), tmp_path)[0].read_bytes() == b"short"
    assert server.ranges_of("a.jsonl") == ["bytes=4000-", None]


@pytest.mark.parametrize("etag", [None, "W/{sha}"], ids=["no ETag", "weak ETag"])
@pytest.mark.parametrize("sha256", [None, SHA], ids=["unknown", "known digest"])
def test_without_a_validator_only_a_known_digest_allows_going_on(
    tmp_path: Path, server: Server, etag: str | None, sha256: str | None
) -> None:
    server.etag = etag
    broken_off(server, tmp_path, sha256=sha256)
    path, _ = fetch(remote(server, sha256=sha256), tmp_path)
    assert path.read_bytes() == BODY
    assert server.ranges_of("a.jsonl") == ["bytes=4000-" if sha256 else None]
    assert "if-range" not in server.requests[0].headers


def test_answer_that_starts_elsewhere_is_not_appended(tmp_path: Path, server: Server) -> None:
    broken_off(server, tmp_path)
    server.first_byte = 1
    path, _ = fetch(remote(server), tmp_path)
    assert path.read_bytes() == BODY
    assert server.ranges_of("a.jsonl") == ["bytes=4000-", None]


def test_length_too_long(tmp_path: Path, server: Server) -> None:
    server.extra_length = 7
    with pytest.raises(CorpusError, match=f"no more than {len(BODY)} of {len(BODY) + 7} bytes"):
        fetch(remote(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("extra", [-9, 9])
def test_length_that_contradicts_the_hub(tmp_path: Path, server: Server, extra: int) -> None:
    server.extra_length = extra
    with pytest.raises(CorpusError, match=f"offers {len(BODY) + extra} bytes, the hub lists"):
        fetch(remote(server, size=len(BODY)), tmp_path)
    assert not list(tmp_path.glob("*.jsonl"))


@pytest.mark.parametrize("cut", [False, True])
def test_chunks_without_a_length(tmp_path: Path, server: Server, cut: bool) -> None:
    server.chunked, server.cuts = True, [600] if cut else []
    path, _ = fetch(remote(server), tmp_path)
    assert path.read_bytes() == BODY
    assert server.ranges_of("a.jsonl") == [None, *(["bytes=600-"] if cut else [])]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_busy_server_is_asked_again_when_it_says(
    tmp_path: Path, server: Server, pauses: list[float], status: int
) -> None:
    server.failures = [(status, {"Retry-After": "17"}), (status, {})]
    assert fetch(remote(server), tmp_path)[1] == SHA
    assert pauses == [17.0, 2.0]


def test_server_that_asks_for_hours_is_not_waited_for(
    tmp_path: Path, server: Server, pauses: list[float]
) -> None:
    server.failures = [(503, {"Retry-After": "7200"})]
    with pytest.raises(CorpusError, match="answers 503.*again in 7200 s"):
        fetch(remote(server), tmp_path)
    assert pauses == []


def test_retry_after_may_be_a_date() -> None:
    assert 50 < retry_after({"Retry-After": formatdate(time.time() + 60, usegmt=True)}) <= 60
    assert retry_after({"Retry-After": formatdate(0)}) == 0
    assert retry_after({"Retry-After": "soon"}) == retry_after({}) == 0


@pytest.mark.parametrize(
    ("status", "page", "says"),
    [(401, "", "login"), (403, "", "login"), (404, "", "Correct corpus.source"),
     (401, "https://hub/datasets/a/b", "licence.*https://hub/datasets/a/b.*HF_TOKEN"),
     (403, "https://hub/datasets/a/b", "licence.*https://hub/datasets/a/b.*HF_TOKEN"),
     (404, "https://hub/datasets/a/b", "revision.*https://hub/datasets/a/b")])
def test_refusal_is_clear_and_final(
    tmp_path: Path, server: Server, status: int, page: str, says: str
) -> None:
    server.failures = [(status, {})]
    with pytest.raises(CorpusError, match=f"answers {status}.*{says}"):
        fetch(remote(server, page=page), tmp_path)
    assert len(server.requests) == 1


def test_token_goes_to_the_hub_and_no_further(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", " hf_secret\n")
    with Server().running() as elsewhere:
        elsewhere.files["/a"] = BODY
        server.redirects = {"/a.jsonl": ("/renamed", {}), "/renamed": (f"{elsewhere.url}/a", {})}
        elsewhere.cuts = [10]
        assert fetch(remote(server, page="https://hub"), tmp_path)[1] == SHA
        assert [one.headers.get("authorization") for one in server.requests] == [
            "Bearer hf_secret"] * 4
        assert not any("authorization" in one.headers for one in elsewhere.requests)
        assert elsewhere.ranges_of("/a") == [None, "bytes=10-"]
    assert all(b"hf_secret" not in path.read_bytes() for path in tmp_path.iterdir())


def test_token_is_for_the_hub_only(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch(remote(server), tmp_path)
    assert "authorization" not in server.requests[0].headers


def test_token_that_is_none_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_se\ncret")
    with pytest.raises(CorpusError, match="HF_TOKEN holds") as fault:
        token()
    assert "cret" not in str(fault.value)


def test_redirect_off_encryption_is_refused() -> None:
    for address in ("http://elsewhere/a?Signature=x", "ftp://elsewhere/a?Signature=x"):
        with pytest.raises(CorpusError, match="not encrypted") as fault:
            _Redirects().redirect_request(urllib.request.Request("https://here/a"), None, 302, "",
                                          Message(), address)
        assert "Signature" not in str(fault.value)


def test_wrong_content_is_refused_and_dropped(tmp_path: Path, server: Server) -> None:
    with pytest.raises(CorpusError, match="has the SHA-256 .*, the hub lists 0000"):
        fetch(remote(server, sha256="0" * 64), tmp_path)
    assert list(tmp_path.iterdir()) == [] and len(server.requests) == 1


def test_wrong_part_is_dropped_and_all_taken_anew(tmp_path: Path, server: Server) -> None:
    broken_off(server, tmp_path, sha256=SHA)
    part = remote(server, sha256=SHA).part(tmp_path)
    part.write_bytes(b"x" * 4000)
    assert fetch(remote(server, sha256=SHA), tmp_path)[0].read_bytes() == BODY
    assert server.ranges_of("a.jsonl") == ["bytes=4000-", None]


def test_complete_file_is_not_asked_for_again(tmp_path: Path, server: Server) -> None:
    first = fetch(remote(server), tmp_path)
    assert fetch(remote(server), tmp_path) == first and len(server.requests) == 1
    first[0].write_bytes(BODY[::-1])
    assert fetch(remote(server), tmp_path) == first and len(server.requests) == 2
    assert first[0].read_bytes() == BODY


def test_empty_file(tmp_path: Path, server: Server) -> None:
    server.files["/a.jsonl"], empty = b"", hashlib.sha256().hexdigest()
    for sha256 in (None, empty):
        path, digest = fetch(remote(server, size=0, sha256=sha256), tmp_path)
        assert path.read_bytes() == b"" and digest == empty


def test_known_content_is_kept_whatever_its_address(tmp_path: Path, server: Server) -> None:
    fetch(remote(server, sha256=SHA), tmp_path)
    moved = Remote(f"{server.url}/absent/a.jsonl", "a.jsonl", len(BODY), SHA)
    assert fetch(moved, tmp_path)[1] == SHA and len(server.requests) == 1


def test_killed_before_the_end_was_noted(tmp_path: Path, server: Server) -> None:
    path, _ = fetch(remote(server), tmp_path)
    note = path.with_name(path.name + ".json")
    note.write_text(json.dumps(json.loads(note.read_bytes()) | {"sha256": None}))
    assert fetch(remote(server), tmp_path) == (path, SHA)
    assert server.ranges_of("a.jsonl") == [None, f"bytes={len(BODY)}-"]


def test_full_disk_is_refused_before_and_not_tried_again(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(self: object, block: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("corpus.files.shutil.disk_usage", lambda path: SimpleNamespace(free=100))
        with pytest.raises(CorpusError, match="needs .* GiB and has 0.00 GiB free"):
            fetch(remote(server), tmp_path)
    monkeypatch.setattr("corpus.http._Transfer._count", no_room)
    with pytest.raises(OSError, match="No space left"):
        fetch(remote(server), tmp_path)
    assert len(server.requests) == 2


def test_secrets_of_an_address_are_not_shown(tmp_path: Path) -> None:
    assert shown("https://me:pw@host:8/a?key=secret#x") == "https://host:8/a"
    with pytest.raises(CorpusError, match="https://host/a is given with a user name") as fault:
        fetch(Remote("https://me:pw@host/a?key=secret", "a"), tmp_path)
    assert "pw" not in str(fault.value) and "secret" not in str(fault.value)


def test_address_with_other_letters(tmp_path: Path, server: Server) -> None:
    server.files["/%C3%B1%20b%2Fc.jsonl"] = BODY
    assert fetch(Remote(f"{server.url}/ñ b%2Fc.jsonl", "n"), tmp_path)[1] == SHA


@pytest.mark.parametrize("address", ["http://[x/a", "http://", "http://a:port/b?key=secret",
                                     "http://a:99999/b"])
def test_address_that_is_none(tmp_path: Path, address: str) -> None:
    with pytest.raises(CorpusError, match="no address") as fault:
        fetch(Remote(address, "n"), tmp_path)
    assert "secret" not in str(fault.value)
