"""Where compiled kernels and tokenizer tables are kept.

One directory holds both: `$PIPELINE_CACHE_DIR`, or else `pipeline` in `$XDG_CACHE_HOME`, which is
`~/.cache` where it is not set; where that cannot be written (a container without the user's home),
`cache` beside the tokenizer's files, which all tasks of a study share; and where that cannot
either, a temporary directory, for this run. Any number of processes may fill it at once, also over
a network file system: every file is written under a name of its own and renamed, and its name
holds the digest of what it was made from, so that whoever comes second writes the same again. It
may be deleted at any time.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from corpus.errors import require

VARIABLE = "PIPELINE_CACHE_DIR"


def cache_directory(beside: Path) -> Path:
    """The directory for a tokenizer whose files lie in the directory `beside`, made if need be."""
    chosen = os.environ.get(VARIABLE)
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    places = [Path(chosen)] if chosen else [Path(home) / "pipeline", beside / "cache"]
    return next((place for place in places if _writable(place)), None) or _temporary(places[-1])


def _writable(directory: Path) -> bool:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK | os.X_OK)


@cache
def _temporary(instead_of: Path) -> Path:
    logging.getLogger(__name__).warning(
        "%s cannot be written, so tables and kernels are made anew in this run. Set %s to a "
        "directory that can.", instead_of, VARIABLE)
    # Kept alive by the cache of this function, removed when the process ends.
    _temporary_directories.append(tempfile.TemporaryDirectory(prefix="pipeline-cache-"))
    return Path(_temporary_directories[-1].name)


_temporary_directories: list[tempfile.TemporaryDirectory[str]] = []


@cache
def _sources_digest() -> str:
    digest = hashlib.sha256()
    for file in sorted((Path(__file__).parent / "kernels").glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def use(directory: Path) -> None:
    """Keep what `corpus.kernels` compiles in `directory`; before the first import of a kernel.

    The first call in a process decides where. Numba looks only at a function's own file for
    changes, not at those it calls; so the digest of all of them is in the folder's name.
    Raises MissingPackage where numba is not installed.
    """
    numba = require("numba", "numba")
    if not any(name.startswith("corpus.kernels.") for name in sys.modules):
        # Most loops run over the few bytes of a word, where vectors only cost.
        numba.config.LOOP_VECTORIZE = 0
        numba.config.CACHE_DIR = str(directory / f"jit-{_sources_digest()}")


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold a lock of the cache while kernels are first called: of many tasks that start at once one
    compiles, and the others find what it made. Where the file system has no locks, all compile.
    """
    folder = Path(require("numba", "numba").config.CACHE_DIR)
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context((folder / "compiling.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as fault:
            logging.getLogger(__name__).warning(
                "%s cannot be locked (%s): tasks that start together compile the same", folder,
                fault.strerror)
        yield
