"""Compiled templates, kept between commands: compiling them takes a tenth of a submission's time.

In `templates-<version of jinja2>` of `$PIPELINE_CACHE_DIR`, or else of `pipeline` in
`$XDG_CACHE_HOME`, which is `~/.cache` where it is not set. A file that is damaged or of another
source is passed over and written again; where nothing can be written, templates are compiled.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket

_DIGEST = 32  # bytes of SHA-256, in front of the code


def folder() -> Path:
    """Where they are kept. The user's own: who can write there can run programs as the user."""
    own = os.environ.get("PIPELINE_CACHE_DIR")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(own or f"{home}/pipeline") / f"templates-{jinja2.__version__}"


class Templates(jinja2.BytecodeCache):
    """jinja2 compares the source's digest itself; ours says that the file is whole."""

    def __init__(self) -> None:
        self.folder = folder()

    def load_bytecode(self, bucket: Bucket) -> None:
        with contextlib.suppress(OSError):
            data = (self.folder / bucket.key).read_bytes()
            if hashlib.sha256(data[_DIGEST:]).digest() == data[:_DIGEST]:
                bucket.bytecode_from_string(data[_DIGEST:])

    def dump_bytecode(self, bucket: Bucket) -> None:
        code = bucket.bytecode_to_string()
        path = self.folder / bucket.key
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # a full disk, no home: the next command compiles again
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.write_bytes(hashlib.sha256(code).digest() + code)
            temporary.rename(path)
