"""The comparison as Markdown, which also reads as plain text on a terminal."""

from typing import Any

from evaluation.groups import LEVEL_TITLES
from evaluation.results import BITS

BIT_TITLES = {
    "bits_per_byte": "bits per byte, vanilla tokens",
    "bits_per_byte_own_tokens_upper_bound": "bits per byte, own tokens (upper bound)",
    "unigram_bits_per_byte": "unigram bits per byte (reference)",
}


def markdown(comparison: dict[str, Any]) -> str:
    """comparison.md: the figures, the expectations, level 2 and above, the notes."""
    parts = ["# Comparison of the arms", table(figures(comparison))]
    details = comparison["details"]
    if details["expectations"]:
        parts += ["## Expectations", table(expectations(details["expectations"]))]
    if details["levels"]:
        parts += ["## Level 2 and the levels above it", table(levels(details["levels"]))]
    parts += ["## Notes", "\n".join(f"- {note}" for note in comparison["notes"])]
    return "\n\n".join(parts) + "\n"


def table(rows: list[list[str]]) -> str:
    """A Markdown table, padded so that its columns line up as plain text; the first row heads."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def figures(comparison: dict[str, Any]) -> list[list[str]]:
    """Metrics down, arms across: value [interval], and the difference to the baseline."""
    details = comparison["details"]
    arms, base = details["arms"], details["baseline"]
    rows = [["metric", "chance", *(f"{a} (baseline)" if a == base else a for a in arms)]]
    for name in BITS:
        if any(name in arm["bits"] for arm in arms.values()):
            cells = [_bits(arm["bits"].get(name), key == base) for key, arm in arms.items()]
            rows.append([BIT_TITLES[name], "", *cells])
    for name in comparison["columns"]:
        found = [arm["metrics"][name] for arm in arms.values() if name in arm["metrics"]]
        if found:
            cells = [_share(arm["metrics"].get(name), key == base) for key, arm in arms.items()]
            rows.append([_title(name), f"{found[0]['chance']:.0f}", *cells])
    return rows


def _title(name: str) -> str:
    level = name.removesuffix(".gen").rpartition(".")[2]
    return f"{name} ({LEVEL_TITLES[level]})" if level in LEVEL_TITLES else name


def _bits(cell: dict[str, Any] | None, base: bool) -> str:
    if cell is None:
        return "-"
    over = cell["over_baseline"]
    return f"{cell['value']:.4f}" + ("" if base or over is None else f" {over:+.4f}")


def _share(cell: dict[str, Any] | None, base: bool) -> str:
    if cell is None:
        return "-"
    low, high = cell["wilson95"]
    points = cell["points_over_baseline"]
    over = "" if base or points is None else f" {points:+.1f} pp"
    return f"{cell['percent']:.1f} [{low:.1f}, {high:.1f}]{over}"


def expectations(judged: list[dict[str, Any]]) -> list[list[str]]:
    """Claimed range, result and verdict; a result whose interval holds the chance level says so."""
    rows = [["arm", "metric", "expected", "result", "verdict"]]
    for one in judged:
        low, high = one["range"]
        result = "-" if one["percent"] is None else f"{one['percent']:.1f}"
        verdict = one["verdict"] + (" (at chance)" if one["at_chance"] else "")
        rows.append([one["arm"], one["metric"], f"{low:g} to {high:g}", result, verdict])
    return rows


def levels(found: list[dict[str, Any]]) -> list[list[str]]:
    """Whether gains at level 2 go with gains at levels 3 to 5."""
    rows = [["arm", "level 2", "levels 3-5 (mean)", "gain at 2", "gain at 3-5"]]
    for one in found:
        values = [one["level2"], one["levels3to5"]]
        gains = [one["level2_gain"], one["levels3to5_gain"]]
        rows.append(
            [
                one["arm"],
                *("-" if value is None else f"{value:.1f}" for value in values),
                *("-" if gain is None else f"{gain:+.1f} pp" for gain in gains),
            ]
        )
    return rows
