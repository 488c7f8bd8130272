"""How an expression reads: tokens, and nodes by precedence. docs/ledger.md tells the language."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from ledger.functions import FUNCTIONS
from ledger.names import LedgerError, nearest
from ledger.units import NUMBER, SCALES, UNITS, written

MAX_LENGTH = 2000  # characters
MAX_DEPTH = 50  # of brackets, and of whatever else leans to the right
# The word behind one of these may hold hyphens: arms.flan-t5-small, stages.train.hours.t5-base.
HYPHENED = ("arms", "profiles", "stages", "hours")
KEYWORDS = ("and", "or", "not", "if", "else")
CONSTANTS = {"true": True, "false": False, "True": True, "False": False}

_TOKEN = re.compile(
    rf"""\s*(?:(?P<number>{NUMBER})|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<text>"[^"]*"|'[^']*')
    |(?P<mark>\*\*|//|<=|>=|==|!=|[-+*/%<>()\[\].,:]))""",
    re.VERBOSE,
)
_HYPHENED = re.compile(r"\s*([A-Za-z0-9_]+(?:-+[A-Za-z0-9_]+)*)")
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


class ExpressionError(LedgerError):
    """What is wrong with an expression, where in it, and which names it could have meant."""

    def __init__(self, text: str, at: int, problem: str) -> None:
        self.text, self.at, self.problem = text, at, problem
        shown = text if len(text) <= 80 else f"{text[max(0, at - 40) : at + 40]}..."
        super().__init__(f"{shown!r}, character {at + 1}: {problem}")


class _Token(NamedTuple):
    kind: str  # number, word, text, mark, end
    text: str
    at: int
    end: int


class Node(NamedTuple):
    """A step: `kind` says how the parts, other nodes among them, make its value."""

    kind: str
    at: int
    parts: tuple[Any, ...]


def read(text: str) -> Node:
    """The node that a text stands for. Raises ExpressionError."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            text, MAX_LENGTH,
            f"longer than {MAX_LENGTH} characters. Give its parts names under `let`",
        )  # fmt: skip
    parser = _Parser(text)
    root = parser.conditional()
    if parser.token.kind != "end":
        parser.fail(f"{parser.token.text!r} cannot stand here. Put an operator before it")
    return root


class _Parser:
    """Reads by precedence, from `conditional`, which binds least, to `atom`."""

    def __init__(self, text: str) -> None:
        self.text, self.depth = text, 0
        self.token = self._read(0)

    def fail(self, problem: str, at: int | None = None) -> NoReturn:
        raise ExpressionError(self.text, self.token.at if at is None else at, problem)

    def _read(self, start: int) -> _Token:
        match = _TOKEN.match(self.text, start)
        if match and match.lastgroup:
            return _Token(
                match.lastgroup, match[match.lastgroup], match.start(match.lastgroup), match.end()
            )
        rest = self.text[start:]
        at = len(self.text) - len(rest.lstrip())
        if not rest.strip():
            return _Token("end", "the end", len(self.text), len(self.text))
        raise ExpressionError(
            self.text, at, f"{self.text[at]!r} means nothing here; docs/ledger.md has what does"
        )

    def advance(self) -> _Token:
        token = self.token
        self.token = self._read(token.end)
        return token

    def accept(self, *texts: str) -> _Token | None:
        if self.token.kind in ("mark", "word") and self.token.text in texts:
            return self.advance()
        return None

    def expect(self, text: str) -> None:
        if not self.accept(text):
            self.fail(f"{self.token.text!r} stands where {text!r} must. Write {text!r} before it")

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"nested deeper than {MAX_DEPTH}. Give its parts names under `let`")

    def conditional(self) -> Node:
        self._deeper()
        node = self._chain("any", ("or",), self._both)
        if token := self.accept("if"):
            condition = self._chain("any", ("or",), self._both)
            self.expect("else")
            node = Node("if", token.at, (condition, node, self.conditional()))
        self.depth -= 1
        return node

    def _chain(self, kind: str, marks: tuple[str, ...], below: Callable[[], Node]) -> Node:
        """Operands side by side: one node, however many there are."""
        first = below()
        rest = []
        while token := self.accept(*marks):
            rest.append((token.text, token.at, below()))
        return Node(kind, first.at, (first, tuple(rest))) if rest else first

    def _both(self) -> Node:
        return self._chain("all", ("and",), self._negation)

    def _negation(self) -> Node:
        found = []
        while token := self.accept("not"):
            found.append(token)
        node = self._chain("compare", _COMPARISONS, self._sum)
        if len(found) % 2:
            return Node("not", found[0].at, (node,))
        return Node("truth", found[0].at, (node,)) if found else node

    def _sum(self) -> Node:
        return self._chain("apply", ("+", "-"), self._product)

    def _product(self) -> Node:
        return self._chain("apply", ("*", "/", "//", "%"), self._signed)

    def _signed(self) -> Node:
        signs = []
        while token := self.accept("-", "+"):
            signs.append(token)
        node = self._power()
        if not signs:
            return node
        minus = sum(token.text == "-" for token in signs) % 2
        return Node("negate" if minus else "plus", signs[0].at, (node,))

    def _power(self) -> Node:
        node = self._parts()
        if token := self.accept("**"):
            self._deeper()
            node = Node("apply", node.at, (node, (("**", token.at, self._signed()),)))
            self.depth -= 1
        return node

    def _parts(self) -> Node:
        """An atom with what hangs on it: .word, [index], [from:to], [*]."""
        node = self._atom()
        steps: list[tuple[str, int, Any]] = []
        while self.token.kind == "mark" and self.token.text in (".", "["):
            token = self.token
            if token.text == ".":
                last = steps[-1][2] if steps else node.parts[0] if node.kind == "name" else ""
                steps.append(("word", token.at, self._word(hyphened=last in HYPHENED)))
            else:
                steps.append(self._index())
        return Node("parts", node.at, (node, tuple(steps))) if steps else node

    def _word(self, hyphened: bool) -> str:
        """The word behind a dot."""
        dot = self.token
        match = _HYPHENED.match(self.text, dot.end) if hyphened else None
        if match:
            self.token = self._read(match.end())
            return match[1]
        self.advance()
        if self.token.kind != "word":
            self.fail('a name must follow the dot. Write others in quotes: levels["top-k"]')
        return self.advance().text

    def _index(self) -> tuple[str, int, Any]:
        at = self.advance().at
        if self.accept("*"):
            self.expect("]")
            return "all", at, None
        start = None if self._at(":") else self.conditional()
        if not self.accept(":"):
            self.expect("]")
            return "item", at, start
        end = None if self._at("]") else self.conditional()
        self.expect("]")
        return "slice", at, (start, end)

    def _at(self, text: str) -> bool:
        return self.token.kind == "mark" and self.token.text == text

    def _atom(self) -> Node:
        token = self.token
        if token.kind == "number":
            return self._number()
        if token.kind == "text":
            self.advance()
            return Node("value", token.at, (token.text[1:-1],))
        if token.kind == "word" and token.text not in KEYWORDS:
            self.advance()
            if self._at("("):
                return self._call(token)
            if token.text in CONSTANTS:
                return Node("value", token.at, (CONSTANTS[token.text],))
            return Node("name", token.at, (token.text,))
        if self.accept("("):
            node = self.conditional()
            self.expect(")")
            return node
        if self.accept("["):
            return Node("list", token.at, self._several("]"))
        self.fail(f"{token.text!r} stands where a number or a name must")

    def _call(self, token: _Token) -> Node:
        if token.text not in FUNCTIONS:
            self.fail(
                f"no function is called {token.text!r}; {nearest(token.text, FUNCTIONS)}",
                token.at,
            )
        self.advance()
        return Node("call", token.at, (token.text, self._several(")")))

    def _several(self, end: str) -> tuple[Node, ...]:
        nodes: list[Node] = []
        while not self.accept(end):
            if nodes:
                self.expect(",")
            nodes.append(self.conditional())
        return tuple(nodes)

    def _number(self) -> Node:
        """A number with the unit behind it. `%` is one where no operand follows it."""
        number = self.advance()
        end = number.end
        while self.token.kind == "word" and self.token.text not in KEYWORDS:
            word = self.advance()
            if word.text not in UNITS and word.text not in SCALES:
                valid = nearest(word.text, [*UNITS, *SCALES])
                self.fail(f"{word.text!r} is no unit; {valid}", word.at)
            end = word.end
            if word.text in UNITS:
                end = self._rate(end)
                break
        if end == number.end and self._at("%") and self._percent():
            end = self.advance().end
        try:
            found = written(self.text[number.at : end])
        except LedgerError as error:
            raise ExpressionError(self.text, number.at, str(error)) from None
        if found is None:
            self.fail(f"{self.text[number.at:end]!r} is no number", number.at)
        return Node("value", number.at, (found.value,))

    def _rate(self, end: int) -> int:
        """Takes `/s` behind a unit; a slash before anything else divides."""
        if self._at("/"):
            after = self._read(self.token.end)
            if after.kind == "word" and after.text in UNITS:
                self.advance()
                return self.advance().end
        return end

    def _percent(self) -> bool:
        after = self._read(self.token.end)
        if after.kind == "word":
            return after.text in KEYWORDS and after.text != "not"
        return after.kind == "end" or (after.kind == "mark" and after.text not in "([")
