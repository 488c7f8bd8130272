"""The tables of a report, from what `findings.compare` and the runs give."""

from typing import Any

from evaluation.report.tables import Table
from evaluation.results import BITS, Arm

BIT_TITLES = {
    "bits_per_byte": "bits per byte, vanilla tokens",
    "bits_per_byte_own_tokens_upper_bound": "bits per byte, own tokens (upper bound)",
    "unigram_bits_per_byte": "unigram bits per byte (reference)",
}
LEVEL_TITLES = {
    "level0": "character recognition",
    "level1": "character manipulation",
    "level2": "morpheme decomposition",
    "level3": "morpheme manipulation",
    "level4": "morpheme composition",
    "level5": "complex reasoning",
}


def title(name: str) -> str:
    """A metric as a reader meets it: levels are named."""
    level = next((word for word in name.partition("@")[0].split(".") if word in LEVEL_TITLES), "")
    return f"{name} ({LEVEL_TITLES[level]})" if level else name


def figures(comparison: dict[str, Any]) -> Table:
    """Metrics down, arms across: value [interval], and the difference to the baseline."""
    details = comparison["details"]
    arms, base = details["arms"], details["baseline"]
    rows = []
    for name in BITS:
        if any(name in arm["bits"] for arm in arms.values()):
            cells = [_bits(arm["bits"].get(name), key == base) for key, arm in arms.items()]
            rows.append([BIT_TITLES[name], "", *cells])
    rows += _shares(details, [name for name in comparison["columns"] if name not in BITS])
    head = ["metric", "chance", *(f"{a} (baseline)" if a == base else a for a in arms)]
    return Table(
        "accuracy", "Right answers in per cent with 95 % intervals, and differences to the "
        "baseline in percentage points (pp)", head, rows,
    )  # fmt: skip


def by_language(comparison: dict[str, Any]) -> Table | None:
    """The metrics of one language each; None where there is one language."""
    details = comparison["details"]
    names = dict.fromkeys(n for arm in details["arms"].values() for n in arm["metrics"])
    rows = _shares(details, [name for name in names if "@" in name])
    base = details["baseline"]
    head = ["metric", "chance"]
    head += [f"{arm} (baseline)" if arm == base else arm for arm in details["arms"]]
    caption = "The same questions in each language"
    return Table("languages", caption, head, rows) if rows else None


def _shares(details: dict[str, Any], names: list[str]) -> list[list[str]]:
    rows = []
    for name in names:
        arms = details["arms"]
        found = [arm["metrics"][name] for arm in arms.values() if name in arm["metrics"]]
        if found:
            base = details["baseline"]
            cells = [_share(arm["metrics"].get(name), key == base) for key, arm in arms.items()]
            rows.append([title(name), f"{found[0]['chance']:.0f}", *cells])
    return rows


def _bits(cell: dict[str, Any] | None, base: bool) -> str:
    if cell is None:
        return "-"
    over = cell["over_baseline"]
    return f"{cell['value']:.4f}" + ("" if base or over is None else f" {over:+.4f}")


def _share(cell: dict[str, Any] | None, base: bool) -> str:
    if cell is None:
        return "-"
    points = cell["points_over_baseline"]
    over = "" if base or points is None else f" {points:+.1f} pp"
    return f"{cell['percent']:.1f} {span(cell['interval95'])}{over}"


def span(interval: list[float], sign: str = "") -> str:
    """`[1.0, 2.0]`."""
    low, high = interval
    return f"[{low:{sign}.1f}, {high:{sign}.1f}]"


def probability(value: float) -> str:
    """A p-value: three decimals, or less than the last of them."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def tests(comparison: dict[str, Any], family: str) -> Table | None:
    """The paired tests of one family: effect, interval, both p-values with their corrections."""
    details = comparison["details"]
    rows = []
    for test in details["tests"]:
        if test["family"] == family:
            rows.append([
                test["arm"], test["metric"], f"{test['points']:+.1f} pp",
                span(test["interval95"], "+"), f"{test['better']} / {test['worse']}",
                probability(test["mcnemar"]), probability(test["mcnemar_holm"]),
                probability(test["bootstrap"]), probability(test["bootstrap_holm"]),
                "yes" if test["found"] else "no",
            ])  # fmt: skip
    if not rows:
        return None
    several = len({test["arm"] for test in details["tests"]}) > 1
    against = f"{'Each arm' if several else 'The other arm'} against {details['baseline']}"
    return Table(
        f"tests-{family}", f"{against}, {family}: paired tests over tasks",
        ["arm", "metric", "effect", "95 %", "better / worse", "McNemar p", "Holm", "bootstrap p",
         "Holm", "found"],
        rows, 2,
        f"Holm's correction is over the {len(rows)} rows of this table. Found: McNemar's p is "
        "below 0.05 after it.",
    )  # fmt: skip


def expectations(comparison: dict[str, Any]) -> Table | None:
    """Expected range, result and verdict; a result whose interval holds the chance level says so.
    None where the study expects nothing."""
    judged = comparison["details"]["expectations"]
    rows = []
    for one in judged:
        interval = one.get("interval95")
        verdict = one["verdict"] + (" (at chance)" if one["at_chance"] else "")
        if one["verdict"] in ("below", "above") and one.get("inside_possible"):
            verdict += ", interval reaches in"
        value = "-" if one["value"] is None else f"{one['value']:.4g}" if interval is None else (
            f"{one['value']:.1f} {span(interval)}"
        )
        rows.append([one["arm"], one["metric"], _range(one["range"]), value, verdict])
    rows += [
        ["", one["id"], one["wanted"], one["found"], one["verdict"]]
        for one in comparison["details"].get("checks", [])
    ]
    head = ["arm", "metric", "expected", "result", "verdict"]
    caption = "The study's expectations beside the results"
    return Table("expectations", caption, head, rows, 2, "", True) if rows else None


def _range(ends: list[float | None]) -> str:
    low, high = ends
    if low is None:
        return f"below {high:g}"
    return f"above {low:g}" if high is None else f"{low:g} to {high:g}"


def levels(comparison: dict[str, Any]) -> Table | None:
    """Whether gains at level 2 go with gains at levels 3 to 5."""
    rows = []
    for one in comparison["details"]["levels"]:
        values, gains = (
            [one["level2"], one["levels3to5"]],
            [one["level2_gain"], one["levels3to5_gain"]],
        )
        rows.append([
            one["arm"],
            *("-" if value is None else f"{value:.1f}" for value in values),
            *("-" if gain is None else f"{gain:+.1f} pp" for gain in gains),
        ])  # fmt: skip
    head = ["arm", "level 2", "levels 3-5 (mean)", "gain at 2", "gain at 3-5"]
    caption = "Level 2 and the levels above it: multiple choice, per cent"
    return Table("levels", caption, head, rows) if rows else None


def cascade(comparison: dict[str, Any]) -> Table | None:
    """Accuracy above level 2 on roots that an arm knows at level 2, and on those it does not."""
    rows = []
    for one in comparison["details"]["cascade"]:
        known, unknown, gap = one["known"], one["unknown"], one["difference"]
        rows.append([
            one["arm"], one["level"].removeprefix("level"), one["mode"],
            f"{known['value']:.1f} {span(known['interval95'])}", str(known["n"]),
            f"{unknown['value']:.1f} {span(unknown['interval95'])}", str(unknown["n"]),
            f"{gap['value']:+.1f} pp {span(gap['interval95'], '+')}",
        ])  # fmt: skip
    head = ["arm", "level", "mode", "root right at level 2", "items", "root wrong", "items",
            "difference"]  # fmt: skip
    return Table(
        "cascade", "Per cent right at levels 3-5, by whether the arm answered all level-2 items on "
        "the same root, in the same language and mode, rightly", head, rows, 3,
    ) if rows else None  # fmt: skip


def boundaries(arms: list[Arm]) -> Table | None:
    """How each arm's tokens agree with morphemes, as evaluation measured it; None where it did
    not."""
    rows = []
    names: dict[str, None] = {}
    for arm in arms:
        for found in (arm.made.get("boundaries") or {}).values():
            names |= dict.fromkeys(found)
    for arm in arms:
        for source, found in (arm.made.get("boundaries") or {}).items():
            cells = [found.get(name) for name in names]
            shown = ["-" if cell is None else _figure(cell) for cell in cells]
            rows.append([arm.id, source.replace("_", " "), *shown])
    caption = "Boundaries of tokens and of morphemes"
    return Table("boundaries", caption, ["arm", "tokens", *names], rows, 2) if rows else None


def checkpoints(comparison: dict[str, Any]) -> Table | None:
    """Whole benchmarks and level 2 over evaluated checkpoints."""
    found = comparison["details"]["checkpoints"]
    rows = []
    names: dict[str, None] = {}
    for steps in found.values():
        names |= dict.fromkeys(n for cells in steps.values() for n in cells if _coarse(n))
    for arm, steps in found.items():
        for step, cells in steps.items():
            shown = [
                f"{cells[n]['percent']:.1f} {span(cells[n]['interval95'])}" if n in cells else "-"
                for n in names
            ]
            rows.append([arm, f"{int(step):,}", *shown])
    caption = "Right answers in per cent at evaluated checkpoints, with Wilson's intervals"
    return Table("checkpoints", caption, ["arm", "step", *names], rows) if rows else None


def _coarse(name: str) -> bool:
    return "." not in name or name == "hierarchical.level2"


def _figure(value: float) -> str:
    """A count whole, any other number to four digits."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"
