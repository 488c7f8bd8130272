"""Fetching one file over HTTP so that a broken connection costs only what is still missing."""

from __future__ import annotations

import email.utils
import hashlib
import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Any

import msgspec

from corpus.errors import CorpusError
from corpus.files import BLOCK, read_json, require_space, write_json

Report = Callable[[int, int | None], None]
_TRIES = 6  # in a row without one new byte; the waits between them come to half a minute
_TIMEOUT = 60.0  # seconds without a byte
_LONGEST_WAIT = 600.0  # seconds that a server may ask for
_ASCII = "%/:?#[]@!$&'()*+,;=~"  # what an address may hold as it is
_PASSING = {408, 425, 429}  # answers below 500 that are worth another try


class Remote(msgspec.Struct, frozen=True):
    """A file elsewhere: `name` says its format, `size` is in bytes, None is unknown.

    `page` is the hub's page of the data set it belongs to; HF_TOKEN is sent for such files only.
    """

    url: str
    name: str
    size: int | None = None
    sha256: str | None = None
    page: str = ""

    def part(self, directory: Path) -> Path:
        """Its place in `directory`. A content that is known keeps it whatever its address."""
        key = self.sha256 or hashlib.sha256(self.url.encode()).hexdigest()
        return directory / f"{key[:16]}-{self.name.rpartition('/')[2][-100:]}"


class Trouble(Exception):
    """A failure that may pass; `wait` is how many seconds the server asks for."""

    def __init__(self, fact: str, wait: float = 0.0) -> None:
        super().__init__(fact)
        self.wait = wait


class Patience:
    """Waits longer after each failure and gives up after too many in a row."""

    def __init__(self, what: str) -> None:
        self.what, self.failures = what, 0

    def wait(self, trouble: Trouble) -> None:
        """Sleep before the next try. Raises CorpusError when there is none."""
        self.failures += 1
        if self.failures == _TRIES or trouble.wait > _LONGEST_WAIT:
            later = f" in {trouble.wait:.0f} s" if trouble.wait else ""
            raise CorpusError(f"{self.what}: {trouble}. What came is kept; run it again{later} to "
                              "fetch the rest.") from trouble
        sleep(max(trouble.wait, 2.0 ** (self.failures - 1)))


def fetch(
    remote: Remote, directory: Path, report: Report = lambda held, total: None
) -> tuple[Path, str]:
    """Download `remote` into `directory`; the complete file and its SHA-256.

    The file grows beside a `.json` with the server's ETag and size, in which the digest marks the
    end. A later call asks for the rest by Range, and starts anew where the server's file has
    changed. `report` is told how many bytes there are, of how many. Raises CorpusError when the
    server refuses, does not give the whole and right file in several tries, or the disk is full.
    """
    if parse(remote.url).username is not None:
        raise CorpusError(f"{shown(remote.url)} is given with a user name, which is not supported. "
                          "Fetch the file by other means and set corpus.source to its path.")
    directory.mkdir(parents=True, exist_ok=True)
    transfer = _Transfer(remote, remote.part(directory), report)
    patience, furthest = Patience(shown(remote.url)), transfer.held
    while True:
        try:
            transfer.run()
        except Trouble as trouble:
            if transfer.held > furthest:
                patience.failures, furthest = 0, transfer.held
            patience.wait(trouble)
        else:
            return transfer.part, transfer.digest.hexdigest()


def discard(part: Path) -> None:
    """Remove a fetched file, so that the next call takes all of it again."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def shown(url: str) -> str:
    """The address without user name and query, which may be secret."""
    parts = parse(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def parse(url: str) -> urllib.parse.SplitResult:
    """The parts of an address. Raises CorpusError if it is none."""
    try:
        parts = urllib.parse.urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0  # a port that is no number raises
    except ValueError:
        usable = False
    if not usable:
        raise CorpusError("corpus.source is no address that can be asked. Correct it.")
    return parts


def refusal(what: str, code: int, reason: str, page: str) -> CorpusError:
    """What to say when a server answers `code`; `page` is the hub's page of the data set, or ""."""
    if page and code == 404:
        remedy = f"Check the name, the revision and the folder in corpus.source against {page}"
    elif page:
        remedy = ("Check the name. If the data set is private or asks for a licence, accept that "
                  f"at {page} and set HF_TOKEN to a token of the same account")
    elif code in (401, 403):
        remedy = "It wants a login. Fetch the file by other means and set corpus.source to its path"
    else:
        remedy = "Correct corpus.source"
    return CorpusError(f"{what}: the server answers {code} {reason}. {remedy}.")


def token() -> str | None:
    """The hub's token, from the environment only. Raises CorpusError if it cannot be one."""
    value = os.environ.get("HF_TOKEN", "").strip()
    if not re.fullmatch(r"[!-~]*", value):
        raise CorpusError("HF_TOKEN holds characters that no token has. Set it anew.")
    return value or None


def retry_after(headers: Any) -> float:
    """Seconds that the server asks to wait, which it gives as a number or as a date; 0 if not."""
    value = str(headers.get("Retry-After") or "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


def passing(code: int) -> bool:
    """Whether the same request may succeed later."""
    return code >= 500 or code in _PASSING


class _Transfer:
    """One file on its way: `held` bytes of it are in `part`, and `digest` is their SHA-256."""

    def __init__(self, remote: Remote, part: Path, report: Report) -> None:
        self.remote, self.part, self.report = remote, part, report
        self.note: dict[str, Any] = read_json(_note(part)) or {}
        self.held, self.digest = 0, hashlib.sha256()
        if self.part.exists():
            with self.part.open("rb") as stream:
                while block := stream.read(BLOCK):
                    self._count(block)
        self.resumed = self.held > 0
        if self.note.get("sha256") not in (None, self.digest.hexdigest()):
            self._restart()

    def run(self) -> None:
        """Take what is missing. Raises Trouble if it does not come, CorpusError on a refusal."""
        done = {self.note.get("sha256"), self.remote.sha256}
        if self.part.exists() and self.digest.hexdigest() in done:
            return
        etag, headers = self.note.get("etag", ""), {}
        # Without a validator or a digest nobody would notice that the file changed in between.
        if self.held and not etag and not self.remote.sha256:
            self._restart()
        if self.held:
            headers = {"Range": f"bytes={self.held}-"} | ({"If-Range": etag} if etag else {})
        answer = _open(self.remote, headers)
        if answer is None:  # nothing stands after what is held
            held, size = self.held, self.note.get("size")
            if held != size:
                self._restart()
                raise Trouble(f"the server has no more than {held} of {size} bytes")
        else:
            with answer:
                self._take(answer)
        self._finish()

    def _take(self, answer: Any) -> None:
        total = _total(answer.headers, answer.status)
        kept = self.note.get("etag", "") if answer.status == 206 else ""
        etag = answer.headers.get("ETag") or kept
        about: dict[str, Any] = {
            "url": shown(self.remote.url), "etag": "" if etag.startswith("W/") else etag,
            "size": self.remote.size if total is None else total}
        if total is not None and self.remote.size not in (None, total):
            raise Trouble(f"the server offers {total} bytes, the hub lists {self.remote.size}")
        if answer.status == 206:
            self.resumed = True
            first = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range") or "")
            changed = any(self.note.get(key) and self.note[key] != about[key]
                          for key in ("etag", "size"))
            if changed or not first or int(first[1]) != self.held:
                self._restart()
                raise Trouble("the server's answer does not continue the partial file")
        else:
            self._restart()
        require_space(self.part.parent, (about["size"] or 0) - self.held)
        self.note = about
        write_json(_note(self.part), about)
        with self.part.open("ab") as stream:
            try:
                while block := _read(answer):
                    stream.write(block)
                    self._count(block)
                    self.report(self.held, about["size"])
            finally:
                stream.flush()
                os.fsync(stream.fileno())

    def _finish(self) -> None:
        size = self.note.get("size")
        if size not in (None, self.held):
            if self.held > size:
                self._restart()
                raise Trouble(f"more than the {size} bytes came")
            raise Trouble(f"only {self.held} of {size} bytes came")
        found = self.digest.hexdigest()
        if self.remote.sha256 not in (None, found):
            whole = not self.resumed
            self._restart()
            fact = f"what came has the SHA-256 {found}, the hub lists {self.remote.sha256}"
            if whole:  # another try would bring the same
                raise CorpusError(f"{shown(self.remote.url)}: {fact}. Run it again later.")
            raise Trouble(fact)
        self.note["sha256"] = found
        write_json(_note(self.part), self.note)

    def _restart(self) -> None:
        """Drop what is held; the note goes last, as an old part must not meet a new ETag."""
        discard(self.part)
        self.note, self.held, self.digest, self.resumed = {}, 0, hashlib.sha256(), False

    def _count(self, block: bytes) -> None:
        self.digest.update(block)
        self.held += len(block)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but takes the token to no other host and nothing off encryption."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if new.scheme not in ("https", old.scheme):
            raise CorpusError(f"{shown(req.full_url)} redirects to {shown(newurl)}, which is not "
                              "encrypted. Correct corpus.source.")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            request.remove_header("Authorization")
        return request


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _total(headers: Any, status: int) -> int | None:
    """Size of the whole file in bytes, or None where the answer does not say."""
    if status == 206:
        stated = (headers.get("Content-Range") or "").rpartition("/")[2]
    else:
        stated = headers.get("Content-Length") or ""
    return int(stated) if stated.isdecimal() else None


def _open(remote: Remote, headers: dict[str, str]) -> Any:
    """The server's answer, or None if it says that the range asked for is empty."""
    headers = {"User-Agent": "corpus-download/1", "Accept-Encoding": "identity"} | headers
    secret = token() if remote.page else None
    if secret:
        headers["Authorization"] = f"Bearer {secret}"
    url = urllib.parse.quote(remote.url, safe=_ASCII)
    try:
        request = urllib.request.Request(url, headers=headers)
        return urllib.request.build_opener(_Redirects).open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as refused:
        refused.close()
        if refused.code == 416:
            return None
        if passing(refused.code):
            raise Trouble(f"the server answers {refused.code} {refused.reason}",
                          retry_after(refused.headers)) from refused
        raise refusal(shown(remote.url), refused.code, refused.reason, remote.page) from refused
    except (OSError, http.client.HTTPException) as fault:
        reason = getattr(fault, "reason", fault)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise CorpusError(f"{shown(remote.url)}: the server's certificate is not valid here "
                              f"({reason.verify_message}). Set SSL_CERT_FILE to your site's "
                              "certificates, or correct corpus.source.") from fault
        raise Trouble(str(reason) or type(reason).__name__) from fault


def _read(answer: Any) -> bytes:
    """The next bytes of the body, as many as are there; none at its end."""
    try:
        block: bytes = answer.read1(BLOCK)
    except (OSError, http.client.HTTPException) as fault:
        raise Trouble(f"the connection broke off ({fault or type(fault).__name__})") from fault
    return block
