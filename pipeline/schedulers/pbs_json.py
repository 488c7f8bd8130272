"""Reads what `qstat -F json` prints, which is not always JSON.

Released clients write control characters raw, invent escapes (`"\\x"`), print a job name of `1e5`
or `007` without quotes and a variable that is set twice twice. One odd job of another user would
make a whole listing unreadable to a strict parser.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_STRING = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "\\": "\\", "/": "/"}
_BARE = re.compile(r"[^\s,\]}]+")
_SPACE = re.compile(r"[\s,]*")
_NOTHING = re.compile(r"\s*[,}]")
_DEEPEST = 40


def decode(text: str) -> dict[str, Any]:
    """The object that `text` holds. Raises ValueError where it holds none or stops half-way."""
    start = text.find("{")
    if start < 0:
        raise ValueError("no JSON in it")
    try:
        decoder = json.JSONDecoder(strict=False, object_pairs_hook=_merge)
        value, _ = decoder.raw_decode(text, start)
    except (ValueError, RecursionError):
        value = _Tolerant(text, start).value(0)
    return value if isinstance(value, dict) else {}  # it starts with a brace


def _merge(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a key that comes twice, the last value; of objects, the members of both."""
    merged: dict[str, Any] = dict(pairs)
    if len(merged) == len(pairs):
        return merged
    merged = {}
    for key, value in pairs:
        before = merged.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            merged[key] = {**before, **value}
        else:
            merged[key] = value
    return merged


class _Tolerant:
    """Strict about structure, so that half an answer is noticed; lenient about what is in it."""

    def __init__(self, text: str, position: int) -> None:
        self.text, self.position = text, position

    def value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        match self._peek():
            case "{":
                return self._object(depth)
            case "[":
                return self._array(depth)
            case '"':
                return self._string()
        return self._bare()

    def _peek(self) -> str:
        """The next character that says something; commas are taken as space."""
        found = _SPACE.match(self.text, self.position)
        self.position = found.end() if found else self.position
        if self.position >= len(self.text):
            raise ValueError("it stops half-way")
        return self.text[self.position]

    def _object(self, depth: int) -> dict[str, Any]:
        self.position += 1
        pairs: list[tuple[str, Any]] = []
        while self._peek() != "}":
            key = self._string()
            if self._peek() != ":":
                raise ValueError(f"no value after {key!r}")
            self.position += 1
            nothing = _NOTHING.match(self.text, self.position)
            pairs.append((key, None if nothing else self.value(depth + 1)))
        self.position += 1
        return _merge(pairs)

    def _array(self, depth: int) -> list[Any]:
        self.position += 1
        items: list[Any] = []
        while self._peek() != "]":
            items.append(self.value(depth + 1))
        self.position += 1
        return items

    def _string(self) -> str:
        match = _STRING.match(self.text, self.position)
        if not match:
            raise ValueError("it stops half-way, or is no JSON")
        self.position = match.end()
        return _ESCAPE.sub(_unescape, match[1])

    def _bare(self) -> Any:
        match = _BARE.match(self.text, self.position)
        if not match:
            raise ValueError(f"unexpected {self.text[self.position]!r}")
        self.position = match.end()
        try:
            return json.loads(match[0])
        except (ValueError, RecursionError):
            return match[0]


def _unescape(match: re.Match[str]) -> str:
    word = match[1]
    if len(word) == 5:
        return chr(int(word[1:], 16))
    return _ESCAPES.get(word, match[0])
