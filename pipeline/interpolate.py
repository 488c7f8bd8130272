"""Replaces `${...}` in a study's values, so that nothing of a plan is typed twice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.yamlio import flatten, nearest

BUDGET = 100_000  # values and characters; a few lines that double each other ask for billions
MAX_TRAIL = 100  # references through references
MAX_HINTS = 20  # names whose problem lists the valid ones

_REFERENCE = re.compile(r"\$\{([^${}]+)\}")


def references(text: str) -> list[str]:
    """The names that a text refers to, in its order."""
    return [found.strip() for found in _REFERENCE.findall(text)]


class Resolver:
    """Resolves references against a study's parameters and a few names of the job.

    `${corpus.file}` is a parameter; `${data}`, `${arm}` and the like are in `names`. A value that
    is one reference and nothing else keeps the type of what it names. Problems are collected.
    """

    def __init__(self, parameters: Mapping[str, Any], names: Mapping[str, Any]) -> None:
        self._parameters = parameters
        self._names = names
        self._problems: list[str] = []
        self._left = BUDGET
        self._hinted: set[str] = set()
        self.used: set[str] = set()

    @property
    def problems(self) -> list[str]:
        """What could not be resolved, with the path of the value that asked for it."""
        return self._problems

    def value(self, raw: Any, path: str, trail: tuple[str, ...] = ()) -> Any:
        """`raw` with every reference in it replaced, whatever its depth."""
        if not self._afford(1, path):
            return ""
        if isinstance(raw, Mapping):
            return {key: self.value(child, f"{path}.{key}", trail) for key, child in raw.items()}
        if isinstance(raw, list | tuple):
            return [self.value(child, f"{path}[{i}]", trail) for i, child in enumerate(raw)]
        if not isinstance(raw, str) or "${" not in raw:
            return raw
        whole = _REFERENCE.fullmatch(raw)
        if whole:
            return self._look_up(whole[1].strip(), path, trail)
        if "${" in _REFERENCE.sub("", raw):
            self._problems.append(f"{path}: {raw[:60]!r} opens a ${{ that no }} closes. Close it")
            return ""
        return _REFERENCE.sub(lambda m: self._text(m[1].strip(), path, trail), raw)

    def _text(self, name: str, path: str, trail: tuple[str, ...]) -> str:
        text = str(self._look_up(name, path, trail))
        return text if self._afford(len(text), path) else ""

    def _afford(self, cost: int, path: str) -> bool:
        if self._left >= 0:
            self._left -= cost
            if self._left < 0:
                self._problems.append(f"{path}: the references multiply each other. Use fewer")
        return self._left >= 0

    def _hint(self, name: str) -> str:
        if name in self._hinted or len(self._hinted) >= MAX_HINTS:
            return ""
        self._hinted.add(name)
        return f"; {nearest(name, [*flatten(self._parameters), *self._names])}"

    def _look_up(self, name: str, path: str, trail: tuple[str, ...]) -> Any:
        if name in self._names:
            return self._names[name]
        if name in trail or len(trail) > MAX_TRAIL:
            circle = " -> ".join((*trail[-10:], name))
            self._problems.append(f"{path}: ${{{name}}} refers to itself: {circle}")
            return ""
        node: Any = self._parameters
        for word in name.split("."):
            if not isinstance(node, Mapping) or word not in node:
                self._problems.append(f"{path}: nothing is called {name!r}{self._hint(name)}")
                return ""
            node = node[word]
        self.used.add(name.split(".")[0])
        return self.value(node, path, (*trail, name))
