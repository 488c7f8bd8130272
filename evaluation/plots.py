"""Plots of a comparison as PNG and SVG, told apart by hue, marker, dash and hatch.

Colours are Okabe and Ito's, which the common kinds of colour blindness keep apart; markers and
hatches do the same in a black-and-white print.
"""

import io
from pathlib import Path
from typing import Any

from evaluation.files import write_bytes
from evaluation.groups import LEVEL_TITLES, LEVELS

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
HATCHES = ("", "//", "..", "xx", "\\\\", "++")


def draw(comparison: dict[str, Any], folder: Path) -> list[Path]:
    """Draw what the comparison has figures for; returns the files."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "comparison", "font.size": 10})
    arms = comparison["details"]["arms"]
    written = []
    if any(f"hierarchical.{level}" in arm["metrics"] for arm in arms.values() for level in LEVELS):
        written += _save(_levels(arms), folder / "comparison_levels")
    if any("bits_per_byte" in arm["bits"] for arm in arms.values()):
        written += _save(_bits(arms), folder / "comparison_bits_per_byte")
    return written


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(width, height), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _levels(arms: dict[str, Any]) -> Any:
    """Accuracy by level, one line an arm, with its Wilson intervals, beside the chance level."""
    figure, axes = _figure(7.5, 4.2)
    chance = 25.0
    for at, (name, arm) in enumerate(arms.items()):
        found = [
            (i, arm["metrics"][f"hierarchical.{level}"])
            for i, level in enumerate(LEVELS)
            if f"hierarchical.{level}" in arm["metrics"]
        ]
        shift = 0.08 * (at - (len(arms) - 1) / 2)  # so that intervals do not cover each other
        values = [cell["percent"] for _, cell in found]
        low = [v - cell["wilson95"][0] for v, (_, cell) in zip(values, found, strict=True)]
        high = [cell["wilson95"][1] - v for v, (_, cell) in zip(values, found, strict=True)]
        axes.errorbar(
            [i + shift for i, _ in found],
            values,
            yerr=[[max(0.0, v) for v in low], [max(0.0, v) for v in high]],
            color=COLOURS[at % len(COLOURS)],
            marker=MARKERS[at % len(MARKERS)],
            linestyle=DASHES[at % len(DASHES)],
            capsize=3,
            label=name,
        )
        chance = next((cell["chance"] for _, cell in found), chance)
    axes.axhline(chance, color="0.35", linewidth=1, linestyle=(0, (1, 2)), label="chance")
    labels = [f"{i}\n{LEVEL_TITLES[level].replace(' ', chr(10))}" for i, level in enumerate(LEVELS)]
    axes.set_xticks(range(len(LEVELS)), labels)
    axes.set(ylim=(-3, 103), xlabel="level", ylabel="multiple-choice accuracy, %")
    axes.set_title("Accuracy by level, with 95 % intervals", loc="left")
    axes.legend(frameon=False, ncols=min(4, len(arms) + 1))
    return figure


def _bits(arms: dict[str, Any]) -> Any:
    """Two bars an arm, in vanilla and in its own tokens, beside the unigram reference."""
    figure, axes = _figure(6.5, 4.0)
    names = [name for name, arm in arms.items() if "bits_per_byte" in arm["bits"]]
    bars = (
        ("bits_per_byte", "vanilla tokens", -0.2),
        ("bits_per_byte_own_tokens_upper_bound", "own tokens (upper bound)", 0.2),
    )
    for at, (key, label, shift) in enumerate(bars):
        values = [arms[name]["bits"][key]["value"] for name in names]
        drawn = axes.bar(
            [i + shift for i in range(len(names))],
            values,
            width=0.38,
            color=COLOURS[at],
            edgecolor="black",
            linewidth=0.6,
            hatch=HATCHES[at],
            label=label,
        )
        axes.bar_label(drawn, fmt="%.3f", padding=2, fontsize=9)
    unigram = [arms[n]["bits"].get("unigram_bits_per_byte", {}).get("value") for n in names]
    if unigram[0] is not None:
        axes.axhline(unigram[0], color="0.35", linewidth=1, linestyle="--", label="unigram")
    axes.set_xticks(range(len(names)), names)
    axes.set(ylabel="bits per byte, lower is better")
    axes.margins(y=0.2)
    axes.set_title("Held-out text", loc="left")
    axes.legend(frameon=False, ncols=3, loc="upper left")
    return figure


def _save(figure: Any, stem: Path) -> list[Path]:
    """Write <stem>.png at 200 dots an inch and <stem>.svg without its date, then close."""
    from matplotlib import pyplot

    written = []
    for kind, extra in (("png", {"dpi": 200}), ("svg", {"metadata": {"Date": None}})):
        data = io.BytesIO()
        figure.savefig(data, format=kind, **extra)
        path = stem.with_name(f"{stem.name}.{kind}")
        write_bytes(path, data.getvalue())
        written.append(path)
    pyplot.close(figure)
    return written
