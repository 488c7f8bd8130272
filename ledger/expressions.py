"""The language of claims: arithmetic over a study's values, with units. docs/ledger.md tells it.

`parse` gives an expression, `Expression.value(names)` what it comes to. A text of any kind gives
an ExpressionError in a moment, or a value: its length, its depth, its lists, its whole numbers and
its steps are bounded, and nothing of Python's can be reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ledger import functions, operations, syntax
from ledger.names import LedgerError
from ledger.operations import Value
from ledger.syntax import ExpressionError, Node

MAX_STEPS = 200_000  # values that are looked at


class Expression(NamedTuple):
    """A parsed text, to be valued as often as one likes."""

    text: str
    root: Node

    def value(self, names: Mapping[str, Any]) -> Value:
        """What it comes to with these names. Raises ExpressionError."""
        return _Evaluator(self.text, names).value(self.root)


def parse(text: str) -> Expression:
    """The expression of a text. Raises ExpressionError."""
    return Expression(text, syntax.read(text))


class _Evaluator:
    """Values nodes; each costs a step, each value of a list one more."""

    def __init__(self, text: str, names: Mapping[str, Any]) -> None:
        self.text, self.names, self.left = text, names, MAX_STEPS

    def value(self, node: Node) -> Value:
        """Of any node; what goes wrong in it is told with its place."""
        try:
            found: Value = getattr(self, f"_{node.kind}")(*node.parts)
            self.left -= operations.size(found)
            if self.left < 0:
                raise LedgerError(f"takes more than {MAX_STEPS} steps. Use shorter lists")
            return found
        except ExpressionError:
            raise
        except LedgerError as error:
            raise ExpressionError(self.text, node.at, str(error)) from None

    def _value(self, found: Value) -> Value:
        return found

    def _name(self, word: str) -> Value:
        return operations.part(self.names, word, "")

    def _list(self, *nodes: Node) -> Value:
        return [self.value(node) for node in nodes]

    def _call(self, name: str, nodes: tuple[Node, ...]) -> Value:
        return functions.call(name, [self.value(node) for node in nodes])

    def _negate(self, node: Node) -> Value:
        return operations.apply("-", 0, self.value(node), unary=True)

    def _plus(self, node: Node) -> Value:
        return operations.apply("+", 0, self.value(node), unary=True)

    def _truth(self, node: Node) -> Value:
        return operations.truth(self.value(node))

    def _not(self, node: Node) -> Value:
        return not operations.truth(self.value(node))

    def _all(self, first: Node, rest: tuple[tuple[str, int, Node], ...]) -> Value:
        nodes = [first, *(node for _, _, node in rest)]
        return all(operations.truth(self.value(node)) for node in nodes)

    def _any(self, first: Node, rest: tuple[tuple[str, int, Node], ...]) -> Value:
        nodes = [first, *(node for _, _, node in rest)]
        return any(operations.truth(self.value(node)) for node in nodes)

    def _if(self, condition: Node, yes: Node, no: Node) -> Value:
        return self.value(yes if operations.truth(self.value(condition)) else no)

    def _apply(self, first: Node, rest: tuple[tuple[str, int, Node], ...]) -> Value:
        found = self.value(first)
        for mark, at, node in rest:
            other = self.value(node)
            try:
                found = operations.apply(mark, found, other)
            except LedgerError as error:
                raise ExpressionError(self.text, at, str(error)) from None
            self.left -= operations.size(found)
        return found

    def _compare(self, first: Node, rest: tuple[tuple[str, int, Node], ...]) -> Value:
        """`a < b < c` as `a < b and b < c`; of lists, one by one."""
        one, found = self.value(first), []
        for mark, at, node in rest:
            other = self.value(node)
            try:
                found.append(operations.apply(mark, one, other))
            except LedgerError as error:
                raise ExpressionError(self.text, at, str(error)) from None
            one = other
        return operations.together(found)

    def _parts(self, node: Node, steps: tuple[tuple[str, int, Any], ...]) -> Value:
        found, path, many = self.value(node), node.parts[0] if node.kind == "name" else "it", False
        for kind, at, given in steps:
            try:
                if kind in ("all", "slice"):
                    ends = [None if n is None else self.value(n) for n in given or (None, None)]
                    found = operations.several(found, many, ends, path)
                    many = True
                    path += "[*]" if kind == "all" else "[:]"
                    continue
                key = given if kind == "word" else self.value(given)
                found = (
                    [operations.part(one, key, path) for one in operations.items(found)]
                    if many
                    else operations.part(found, key, path)
                )
                path += f".{key}" if isinstance(key, str) else f"[{key}]"
                self.left -= operations.size(found)
            except ExpressionError:
                raise
            except LedgerError as error:
                raise ExpressionError(self.text, at, str(error)) from None
        return found
