"""`export`."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from pipeline.bundle import Bundle
from pipeline.errors import plain


def export(made: Bundle, path: Path, packed: bytes) -> None:
    """Where it is, what is in it, what is not."""
    digest = hashlib.sha256(packed).hexdigest()
    click.echo(f"{path}: {len(made.files) + 1} files, {len(packed) / 1e6:.1f} MB, sha256 {digest}")
    for one in made.bring:
        click.echo(plain(f"not in it: {one.path} ({one.why})"))
    click.echo(f"To run it: tar -xf {path.name}, then `bash submit_all.sh` in {made.name}/")
