"""What goes wrong, and how a program of this package says so.

The library raises; only `run` prints and chooses an exit code. A message is a fact and what to do
about it, on one line.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn


class CorpusError(Exception):
    """Bad input: a file or a value that is missing, corrupt or of the wrong kind."""

    exit_code = 65


class UsageError(CorpusError):
    """The command line does not make sense."""

    exit_code = 2


class MissingPackage(CorpusError):
    """A Python package that only this source or format needs is not installed."""

    exit_code = 1


class Parser(argparse.ArgumentParser):
    """An argument parser that raises `UsageError`: only `run` prints and exits."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}. See `{self.prog} --help`.")


def require(module: str, package: str) -> Any:
    """Import `module`, or raise `MissingPackage` with the command that installs `package`."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        raise MissingPackage(
            f"the Python package {package} is not installed. Install it: pip install {package}"
        ) from missing


def run(body: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> int:
    """Call `body(argv)` and return the exit code; a user's mistake prints one line to stderr."""
    try:
        body(argv)
    except CorpusError as mistake:
        return _say(str(mistake), mistake.exit_code)
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as fault:
        return _say(f"{fault.filename}: {fault.strerror}. Check the path and its rights.", 65)
    except OSError as fault:
        where = f"{fault.filename}: " if fault.filename else ""
        return _say(f"{where}{fault.strerror or fault}. Check the disk and its quota.", 1)
    except MemoryError:
        return _say("out of memory. Ask for more memory, or for fewer workers.", 71)
    except KeyboardInterrupt:
        return _say("interrupted. Run it again; finished work is kept.", 130)
    return 0


def _say(message: str, exit_code: int) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return exit_code
