"""How figures look: told apart by hue, marker and dash, in print too; the same bytes each time.

Colours are Okabe and Ito's, which the common kinds of colour blindness keep apart; markers, dashes
and hatches do the same in a black-and-white print.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from evaluation.config import InputError

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo")
WIDTH = 5.4  # inches: a column of a paper, and readable on a telephone
STYLE: dict[Any, Any] = {
    "axes.grid": True, "axes.axisbelow": True, "axes.spines.right": False,
    "axes.spines.top": False, "axes.titlelocation": "left", "axes.titlesize": 10,
    "axes.titleweight": "bold", "figure.constrained_layout.use": True, "font.size": 9,
    "grid.color": "0.88", "grid.linewidth": 0.6, "legend.frameon": False, "legend.fontsize": 8.5,
    "lines.linewidth": 1.4, "lines.markersize": 4.5, "pdf.fonttype": 42,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawn figure: `svg` for the page, `pdf` for a paper; `says` what it shows, in words."""

    key: str
    caption: str
    says: str
    svg: bytes
    pdf: bytes


def look(index: int) -> dict[str, Any]:
    """Colour, marker and dash of the arm with an index."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index % len(DASHES)],
    }


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib without a display, in this style. Raises InputError where it is not installed."""
    try:
        import matplotlib
    except ImportError as error:
        raise InputError(
            "this environment has no matplotlib", "Run: pip install 'pipeline-studies[hf]'"
        ) from error
    matplotlib.use("Agg")
    with matplotlib.rc_context(STYLE):
        yield


def draw(
    key: str, caption: str, says: str, height: float, paint: Callable[[Any, Any], None]
) -> Figure:
    """Call `paint(figure, axes)` on fresh axes and keep what it drew; inside `styled`."""
    import matplotlib
    from matplotlib import pyplot

    # Ids in an SVG come from the salt: one for each figure keeps them apart in one page.
    matplotlib.rcParams["svg.hashsalt"] = key
    figure, axes = pyplot.subplots(figsize=(WIDTH, height))
    paint(figure, axes)
    files = []
    dates: dict[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    for kind, metadata in dates.items():
        data = io.BytesIO()
        figure.savefig(data, format=kind, metadata=metadata)
        files.append(data.getvalue())
    pyplot.close(figure)
    return Figure(key, caption, says, *files)


def legend(axes: Any, columns: int = 4) -> None:
    """Under the axes, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.figure.legend(
            handles, labels, loc="outside lower center", ncols=min(columns, len(labels))
        )


def offsets(count: int, spread: float) -> list[float]:
    """Positions side by side around 0, so that intervals do not cover each other."""
    return [spread * (i - (count - 1) / 2) for i in range(count)]
