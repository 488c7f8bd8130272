"""The one configuration file that a job is given."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar, overload

from corpus.errors import CorpusError, require

T = TypeVar("T")
_MISSING: Any = object()
_KINDS = {str: "text", int: "a whole number", float: "a number", list: "a list", dict: "a mapping",
          bool: "true or false"}
# YAML 1.1 reads 1e-4 as text, because it has no dot; YAML 1.2 and everybody's eyes read a number.
_FLOAT = re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.[\d_]+)[eE][-+]?\d+$")


class Config:
    """Typed reading of a job's resolved configuration; every error names the file and the key."""

    def __init__(self, values: dict[str, Any], path: Path) -> None:
        self.values, self.path = values, path

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read the YAML file `path`. Raises CorpusError if it is missing or not a mapping."""
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as fault:
            raise CorpusError(
                f"{path}: no such file. Give the job's file with --config, or render it anew."
            ) from fault
        yaml = require("yaml", "pyyaml")
        try:
            values = yaml.load(text, Loader=_loader(yaml))
        except yaml.YAMLError as fault:
            raise CorpusError(f"{path} is not YAML: {fault}. Render it anew.") from fault
        if not isinstance(values, dict):
            raise CorpusError(f"{path} holds no mapping. Render it anew.")
        return cls(values, path)

    @overload
    def get(self, key: str, kind: type[T]) -> T: ...
    @overload
    def get(self, key: str, kind: type[T], default: T) -> T: ...

    def get(self, key: str, kind: type[T], default: T = _MISSING) -> T:
        """The value at the dotted `key`, which must be of `kind`; an int will do for a float.

        Raises CorpusError if it is missing and no default was given, or of another kind.
        """
        value: Any = self.values
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
            if value is None:
                break
        if value is None:
            if default is _MISSING:
                raise self.error(key, f"is missing. Set it to {_KINDS.get(kind, kind.__name__)} in "
                                      "the study and render again")
            return default
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(key, f"is {value!r}, not {_KINDS.get(kind, kind.__name__)}. Correct "
                                  "it in the study and render again")
        return value

    def parameter(self, key: str, kind: type[T], default: T = _MISSING) -> T:
        """`get` under `parameters`."""
        return self.get(f"parameters.{key}", kind, default)

    def path_parameter(self, key: str) -> Path:
        """The path at `key` under `parameters`."""
        return Path(self.parameter(key, str))

    def error(self, key: str, fact: str) -> CorpusError:
        """An error that names this file and the key."""
        return CorpusError(f"{self.path}: {key} {fact}.")


def _loader(yaml: Any) -> Any:
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))  # type: ignore[attr-defined]
    return loader
