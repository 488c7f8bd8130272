"""How `corpus.inspect` prints its figures: tables and bars."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from corpus.compare import Comparison
from corpus.figures import Morphology, Report
from corpus.morphology import Alignment

_LONG_TOKEN = 16  # characters; longer tokens share a row
_LONG_VALUE = 24  # characters; of a digest the beginning will do
_EIGHTHS = " ▏▎▍▌▋▊▉█"


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # for `corpus.inspect` to end on; rich would end with code 1


def console() -> Console:
    """Standard output; what a corpus holds is no markup."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    return _Console(highlight=False, markup=False, emoji=False)


def report(found: Report) -> None:
    """The figures of a set."""
    out = console()
    out.print(Text(found.prefix, style="bold"), overflow="fold")
    if found.missing_parts:
        out.print(f"Not whole: parts {', '.join(map(str, found.missing_parts))} are not there.",
                  style="yellow")
    out.print()
    _pairs(out, _figures(found))
    _bars(out, "Characters per token", "tokens", _token_rows(found.token_lengths))
    _bars(out, "Tokens per document", "documents", _document_rows(found.document_lengths))
    if found.frequent:
        out.print(Text("\nMost frequent tokens", style="bold"))
        table = _table("id", "token", "count", "share", left=("token",))
        for token in found.frequent:
            table.add_row(f"{token.id}", _visible(token.piece), f"{token.count:,}",
                          f"{token.share:.2%}")
        out.print(table)


def comparison(found: Comparison) -> None:
    """What two sets share."""
    out = console()
    out.print(Text(f"A  {found.a}\nB  {found.b}\n", style="bold"), overflow="fold")
    if found.difference:
        first = found.difference
        _pairs(out, [("same text", "no"),
                     ("documents", f"A {found.documents_a:,}, B {found.documents_b:,}"),
                     ("first difference", f"document {first.document}, byte {first.byte}"),
                     ("A goes on", first.a or "(nothing)"), ("B goes on", first.b or "(nothing)")])
        return
    assert found.boundaries and found.alignment_a and found.alignment_b
    _pairs(out, [("same text", f"yes, {found.documents_a:,} documents")])
    counts = found.boundaries
    total = counts.both + counts.only_a + counts.only_b
    out.print(Text("\nToken boundaries", style="bold"))
    table = _table("", "number", "share", left=("",))
    for name, number in (("in both", counts.both), ("only in A", counts.only_a),
                         ("only in B", counts.only_b)):
        table.add_row(name, f"{number:,}", f"{number / max(total, 1):.2%}")
    out.print(table)
    _alignments(out, "Annotated words in the text", {"A": found.alignment_a,
                                                     "B": found.alignment_b})


def morphology(found: Morphology) -> None:
    """Boundary figures and affix coverage."""
    out = console()
    out.print(f"{found.lexicon}: {found.words} annotated words", overflow="fold")
    columns = {"tokenizer, each once": found.tokenizer}
    if found.dataset:
        columns["this set's own cuts"] = found.dataset
    _alignments(out, "Agreement with morpheme boundaries", columns)
    out.print(Text("\nAffixes that are one token", style="bold"))
    table = _table("", "affixes", "bare", "with space mark", "neither", left=("", "neither"))
    for row in found.affixes:
        table.add_row(row.kind, f"{row.affixes}", _of(row.bare, row.affixes),
                      _of(row.marked, row.affixes), _list(row.missing))
    out.print(table)


def _figures(found: Report) -> list[tuple[str, str]]:
    spread, tries = found.tokens_per_document, found.attempts
    rows = [("variant", " ".join(f"{key}={str(value)[:_LONG_VALUE]}"
                                 for key, value in found.variant.items()).removeprefix("name=")),
            ("documents", f"{found.documents:,} in {found.parts} part"
             + ("s" if found.parts > 1 else "")),
            ("tokens", f"{found.tokens:,}, and {found.documents:,} EOD (id {found.eod})")]
    if spread:
        rows.append(("tokens per document", f"min {spread.min:,}, median {spread.median:,}, "
                     f"p95 {spread.p95:,}, max {spread.max:,}"))
    if found.characters_per_token is not None:
        rows.append(("characters per token", f"{found.characters_per_token:.2f}"))
    if found.growth is not None:
        rows.append(("growth", f"{found.growth:.4f} of vanilla's {found.vanilla_tokens:,} tokens"))
    rows += [("expansions", _achieved(tries.expansions_achieved, tries.expansions_attempted)),
             ("contractions", _achieved(tries.contractions_achieved, tries.contractions_attempted)),
             ("rejected lines", _rejected(found)), ("ids stored as", found.dtype)]
    return rows + ([] if found.seed is None else [("seed", f"{found.seed}")])


def _achieved(achieved: int, attempted: int) -> str:
    return (f"{achieved:,} of {attempted:,} attempted ({achieved / attempted:.1%})" if attempted
            else "none attempted")


def _rejected(found: Report) -> str:
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in found.rejects.items())
    return f"{found.rejected:,}" + (f" ({reasons})" if reasons else "")


def _token_rows(lengths: dict[int, int]) -> list[tuple[str, int]]:
    if not lengths:
        return []
    longest = min(max(lengths), _LONG_TOKEN)
    rows = [(str(size), lengths.get(size, 0)) for size in range(1, longest + 1)]
    more = sum(count for size, count in lengths.items() if size > _LONG_TOKEN)
    others = [(f"over {_LONG_TOKEN}", more), ("none", lengths.get(0, 0)),
              ("part of one", lengths.get(-1, 0))]
    return rows + [row for row in others if row[1]]


def _document_rows(lengths: dict[int, int]) -> list[tuple[str, int]]:
    if not lengths:
        return []
    low, high = min(lengths), max(lengths)
    powers = ([0] if low == 0 else []) + [
        1 << bit for bit in range(max(low, 1).bit_length() - 1, high.bit_length())]
    return [(f"{power:,}" if power < 2 else f"{power:,} to {2 * power - 1:,}",
             lengths.get(power, 0)) for power in powers]


def _bars(out: Console, title: str, unit: str, rows: list[tuple[str, int]]) -> None:
    if not rows:
        return
    out.print(Text(f"\n{title}", style="bold"))
    label = max(len(name) for name, _ in rows)
    total, most = sum(count for _, count in rows), max(count for _, count in rows)
    digits = max(len(f"{most:,}"), len(unit))
    room = max(out.width - label - digits - 12, 8)
    out.print(f"{'':>{label}}  {unit:>{digits}}   share", style="dim")
    for name, count in rows:
        line = Text(f"{name:>{label}}  {count:>{digits},}  {count / total:6.1%}  ")
        line.append(_bar(count / most * room), style="cyan")
        out.print(line)


def _bar(cells: float) -> str:
    """A bar of that many cells; one that is not empty shows at least an eighth."""
    eighths = max(round(cells * 8), 1) if cells else 0
    return _EIGHTHS[8] * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def _alignments(out: Console, title: str, columns: dict[str, Alignment]) -> None:
    out.print(Text(f"\n{title}", style="bold"))
    table = _table("", *columns, left=("",))
    rows = list(columns.values())
    table.add_row("words found", *(f"{row.words:,}" for row in rows))
    table.add_row("occurrences", *(f"{row.occurrences:,}" for row in rows))
    table.add_row("boundaries inside them", *(f"{row.cuts:,}" for row in rows))
    table.add_row("  on a morpheme boundary", *(f"{row.cuts_on_morphemes:,}" for row in rows))
    for name, field in (("precision, micro", "precision"), ("recall, micro", "recall"),
                        ("F1, micro", "f1"), ("precision, macro", "macro_precision"),
                        ("recall, macro", "macro_recall"), ("F1, macro", "macro_f1"),
                        ("words with all boundaries kept", "kept")):
        table.add_row(name, *(_share(getattr(row, field)) for row in rows))
    table.add_row("tokens per word", *("-" if row.fertility is None else f"{row.fertility:.2f}"
                                     for row in rows))
    out.print(table)


def _pairs(out: Console, rows: list[tuple[str, str]]) -> None:
    table = _table("", "", left=("",))
    table.show_header = False
    for name, value in rows:
        table.add_row(Text(name, style="dim"), value)
    out.print(table)


def _table(*columns: str, left: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", overflow="fold")
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _of(part: int, whole: int) -> str:
    return f"{part} ({part / whole:.0%})" if whole else "0"


def _list(names: list[str]) -> str:
    return " ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _visible(piece: str) -> str:
    """A token's text with its spaces visible."""
    return piece.replace(" ", "▁")
