"""A table as Markdown, which also reads as plain text on a terminal, and as LaTeX."""

import re
from dataclasses import dataclass

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "×": r"$\times$", "–": "--", "−": "$-$",
}  # fmt: skip
NEGATIVE = re.compile(r"(?<!\w)-(?=\d)")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a heading; the first `left` columns are words, and the last one where
    `words_last`; the rest are figures."""

    key: str  # of the LaTeX label and the page's anchor
    caption: str
    head: list[str]
    rows: list[list[str]]
    left: int = 1
    note: str = ""
    words_last: bool = False

    @property
    def align(self) -> str:
        """A letter a column, l or r."""
        columns = len(self.head)
        letters = "l" * self.left + "r" * (columns - self.left)
        return letters[: columns - 1] + "l" if self.words_last else letters


def markdown(table: Table) -> str:
    """A Markdown table, padded so that its columns line up as plain text, and its note."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in [table.head, *table.rows]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.head))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines) + (f"\n\n{table.note}" if table.note else "")


def latex(table: Table) -> str:
    """A `table` environment for the booktabs package, every cell escaped."""
    rows = [" & ".join(map(escaped, row)) + r" \\" for row in table.rows]
    lines = [
        r"\begin{table}", r"  \centering", rf"  \caption{{{escaped(table.caption)}}}",
        rf"  \label{{tab:{table.key}}}", rf"  \begin{{tabular}}{{{table.align}}}", r"    \toprule",
        "    " + " & ".join(map(escaped, table.head)) + r" \\", r"    \midrule",
        *("    " + row for row in rows), r"    \bottomrule", r"  \end{tabular}",
    ]  # fmt: skip
    if table.note:
        lines.append(rf"  \par\smallskip\footnotesize {escaped(table.note)}")
    return "\n".join([*lines, r"\end{table}"])


def escaped(text: str) -> str:
    """A text that LaTeX prints as it is; a minus before a figure becomes a true one."""
    return NEGATIVE.sub("$-$", "".join(LATEX.get(letter, letter) for letter in text))


def latex_file(tables: list[Table]) -> str:
    """All tables in one file that a paper reads with \\input."""
    head = "% Tables of a report. Needs \\usepackage{booktabs}.\n"
    return head + "\n" + "\n\n".join(latex(table) for table in tables) + "\n"
