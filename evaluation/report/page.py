"""One HTML page that needs no network, and the same report as Markdown and LaTeX."""

import base64
from dataclasses import dataclass
from pathlib import Path

from evaluation.config import InputError
from evaluation.files import write_bytes, write_text
from evaluation.report.drawing import Figure
from evaluation.report.sections import Section
from evaluation.report.tables import latex_file, markdown

TEMPLATE = "page.html.j2"


@dataclass(frozen=True, slots=True)
class Heading:
    """What stands above everything."""

    title: str
    question: str
    study: str
    caution: str = ""
    decisions: str = ""  # the file beside the page that tells what the study decided


def html(heading: Heading, sections: list[Section]) -> str:
    """The page: style, figures and tables inside it; no script, no address elsewhere.

    Raises InputError where jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise InputError("this environment has no jinja2", "Run: pip install jinja2") from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data"] = _data
    return environment.get_template(TEMPLATE).render(heading=heading, sections=sections)


def _data(figure: Figure) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(figure.svg).decode()


def text(heading: Heading, sections: list[Section]) -> str:
    """The report as Markdown; figures are links to their files."""
    parts = [f"# {heading.title}"]
    link = heading.decisions and f"[What was decided, and why]({heading.decisions})"
    parts += [part for part in (heading.question, heading.caution, link) if part]
    for section in sections:
        parts.append(f"## {section.title}")
        if section.text:
            parts.append("\n".join(f"- {line}" for line in section.text))
        parts += [f"**{table.caption}**\n\n{markdown(table)}" for table in section.shown]
        parts += [f"![{f.caption}](figures/{f.key}.svg)" for f in section.figures]
    return "\n\n".join(parts) + "\n"


def write(folder: Path, heading: Heading, sections: list[Section]) -> None:
    """figures/*.{svg,pdf}, tables.tex, comparison.md, and report.html last."""
    for section in sections:
        for figure in section.figures:
            write_bytes(folder / "figures" / f"{figure.key}.svg", figure.svg)
            write_bytes(folder / "figures" / f"{figure.key}.pdf", figure.pdf)
    tables = [table for section in sections for table in section.shown]
    write_text(folder / "tables.tex", latex_file(tables))
    write_text(folder / "comparison.md", text(heading, sections))
    write_text(folder / "report.html", html(heading, sections))
