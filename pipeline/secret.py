"""Keeps secrets out of what is written: no script and no configuration holds the value of one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import ConfigError
from pipeline.job import Job

SHORTEST = 8  # characters; a shorter value stands in many texts by chance
NAME = re.compile(
    r"TOKEN(?!IZ)|KEY(?!BOARD)|SECRET|PASSW|PASSPHRASE|CREDENTIAL|(^|_)(PASS|PAT|PW|AUTH)(_|$)|_PWD$",
    re.IGNORECASE,
)
_ENV_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)=(.*)")
_IN_URL = re.compile(rf"://[^/\s:@]*:([^/\s@]{{{SHORTEST},}})@")  # of a proxy, of a database


def refuse(jobs: Sequence[Job], text: str = "") -> None:
    """Raises ConfigError, without a value, where one stands in a job or in its script's text."""
    problems: list[str] = []
    for job in jobs:
        words = [text, *_words(msgspec.to_builtins(job))]
        problems += [
            f"{job.name}: the value of {name} would stand in the script or its configuration. "
            f"Leave it in the environment or in {job.env_file or 'a 0600 .env'}, where the program "
            "reads it"
            for name, value in known(job)
            if any(value in word for word in words)
        ]
    if problems:
        raise ConfigError(problems)


def known(job: Job) -> Iterator[tuple[str, str]]:
    """Names and values that look like secrets, of the environment and the file for them."""
    found = dict(os.environ)
    if job.env_file:
        try:
            path = Path(job.project_dir) / job.env_file
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            lines = []  # on another machine, or not written yet
        for match in filter(None, map(_ENV_LINE.fullmatch, lines)):
            found[f"{match[1]} ({job.env_file})"] = match[2].strip().strip("'\"")
    for name, value in sorted(found.items()):
        if len(value) >= SHORTEST and NAME.search(name.partition(" ")[0]):
            yield name, value
        for password in _IN_URL.findall(value):
            yield name, password


def _words(value: Any) -> Iterator[str]:
    """Every key, text and number in a value."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield str(key)
            yield from _words(child)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _words(child)
    else:
        yield str(value)
