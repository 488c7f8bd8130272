"""Documents with their token boundaries, for a terminal.

In colour the tokens of a document alternate between two backgrounds. Without (NO_COLOR, or no
terminal) a thin line stands at each boundary. Of two sets that hold the same text, a boundary that
only one has is a thick line in both cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from corpus.compare import Side, document_cut
from corpus.spelling import printable
from corpus.view import console

_SHADES = ("black on white", "black on cyan")  # of the eight colours, so every terminal has them
_THIN, _THICK, _THICK_STYLE = "│", "┃", "bold white on red"
_SAMPLE_BYTES = 600  # of a document's text, where not all of it is asked for
_LONGEST_WORD = 40  # bytes; longer ones, or text without spaces, may be broken
_BESIDE = 100  # columns from which two documents stand side by side


class _Word(NamedTuple):
    """What stays on one line. `size` is bytes of text; `ends` where a line break follows."""

    text: Text
    size: int
    ends: bool


def show(sides: Sequence[Side], documents: Sequence[int], whole: bool) -> None:
    """Documents of one set, or of two that hold the same text, with their token boundaries."""
    out = console()
    colour = out.color_system is not None and not out.no_color
    if documents:
        out.print(_legend(len(sides), colour))
    for document in documents:
        cuts = [document_cut(side, document) for side in sides]
        part, number = sides[0].dataset.part_of(document)
        counts = " and ".join(f"{len(tokens):,}" for tokens, _ in cuts)
        out.print(Text.assemble((f"\nDocument {document}", "bold"),
                                f" ({part.prefix.name}, {number}): {counts} tokens"))
        shared = frozenset.intersection(*(places for _, places in cuts))
        words = [_words(tokens, shared, colour) for tokens, _ in cuts]
        names = ["A", "B"] if len(sides) == 2 else [""]
        if len(names) == 2 and out.width >= _BESIDE:
            _beside(out, words, whole)
        else:
            _below(out, words, names, whole)


def _words(tokens: list[bytes], shared: frozenset[int], colour: bool) -> Iterator[_Word]:
    """The document in unbreakable stretches, broken at the same bytes of text whatever the cuts.

    A boundary that is not in `shared` is a thick line.
    """
    place, start, text = 0, 0, Text()
    for number, token in enumerate(tokens):
        style, run = _SHADES[number % 2] if colour else "", ""
        if number and place not in shared:
            text.append(_THICK, _THICK_STYLE if colour else "")
        elif number and not colour:
            text.append(_THIN)
        for unit in _units(token):
            inside = unit[0] & 0xC0 == 0x80  # of a character, so the text has no place here
            full = place - start >= _LONGEST_WORD
            if place > start and not inside and (unit == b" " or full):
                yield _Word(text.append(run, style), place - start, False)
                text, run, start = Text(), "", place
            run += _shown(unit)
            place += len(unit)
            if unit == b"\n":
                yield _Word(text.append(run, style), place - start, True)
                text, run, start = Text(), "", place
        text.append(run, style)
    if text:
        yield _Word(text, place - start, False)


def _legend(sides: int, colour: bool) -> Text:
    """What the marks in the documents mean."""
    legend = Text("\n")
    if colour:
        legend.append(" token ", _SHADES[0]).append(" token ", _SHADES[1])
    else:
        legend.append(f"{_THIN} between tokens" + (", of both" if sides == 2 else ""))
    if sides == 2:
        legend.append("; ").append(_THICK, _THICK_STYLE if colour else "")
        legend.append(" only here")
    return legend


def _units(token: bytes) -> list[bytes]:
    """The characters of a token; its single bytes where it is no text."""
    try:
        return [character.encode() for character in token.decode()]
    except UnicodeDecodeError:
        return [bytes([byte]) for byte in token]


def _shown(unit: bytes) -> str:
    if unit == b"\n":
        return "⏎"
    return "⇥" if unit == b"\t" else printable(unit)


def _lines(words: list[Iterator[_Word]], width: int, whole: bool) -> Iterator[list[Text]]:
    """Lines of `width` cells at most, one Text a set; each line is the same text in all."""
    line, size, used = [Text() for _ in words], 0, False
    for row in zip_longest(*words, fillvalue=_Word(Text(), 0, False)):  # other texts may be shorter
        if used and max(cell_len(text.plain) + cell_len(word.text.plain)
                        for text, word in zip(line, row, strict=True)) > width:
            yield line
            line, used = [Text() for _ in words], False
        line = [text + word.text for text, word in zip(line, row, strict=True)]
        used, size = True, size + max(word.size for word in row)
        if not whole and size >= _SAMPLE_BYTES:
            yield [text + Text(" …") for text in line]
            return
        if any(word.ends for word in row):
            yield line
            line, used = [Text() for _ in words], False
    if used:
        yield line


def _beside(out: Console, words: list[Iterator[_Word]], whole: bool) -> None:
    width = (out.width - 3) // 2
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("A", "B"):
        table.add_column(name, width=width, overflow="fold")
    for line in _lines(words, width, whole):
        table.add_row(*line)
    out.print(table)


def _below(out: Console, words: list[Iterator[_Word]], names: list[str], whole: bool) -> None:
    margin = max(map(len, names)) + 1 if names[0] else 0
    for line in _lines(words, out.width - margin, whole):
        for name, text in zip(names, line, strict=True):
            out.print(Text.assemble((f"{name} " if name else "", "bold"), text), overflow="fold")
