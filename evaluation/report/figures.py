"""The figures of accuracies: effects, levels, categories, cascade, expectations, checkpoints."""

from typing import Any

from evaluation.report.content import LEVEL_TITLES
from evaluation.report.drawing import COLOURS, HATCHES, Figure, draw, legend, look, offsets

LEVELS = tuple(LEVEL_TITLES)
CHANCE: dict[str, Any] = {
    "color": "0.35", "linewidth": 1, "linestyle": (0, (1, 2)), "label": "chance",
}  # fmt: skip


def accuracies(comparison: dict[str, Any]) -> list[Figure]:
    """Those that the comparison has figures for; inside `drawing.styled`."""
    details = comparison["details"]
    makers = (effects, expected, levels, categories, cascade, bits)
    found = [figure for figure in (make(details) for make in makers) if figure]
    return [*found, *checkpoints(details)]


def _bars(cells: list[dict[str, Any]], key: str) -> tuple[list[float], list[list[float]]]:
    """Values, and how far their intervals reach down and up, for errorbar."""
    values = [cell[key] for cell in cells]
    ends = [cell["interval95"] for cell in cells]
    low = [max(0.0, v - e[0]) for v, e in zip(values, ends, strict=True)]
    high = [max(0.0, e[1] - v) for v, e in zip(values, ends, strict=True)]
    return values, [low, high]


def effects(details: dict[str, Any]) -> Figure | None:
    """Differences to the baseline with their intervals, the primary tests and whole benchmarks."""
    tests = [t for t in details["tests"] if t["family"] == "primary" or "." not in t["metric"]]
    arms = list(dict.fromkeys(test["arm"] for test in tests))
    metrics = list(dict.fromkeys(test["metric"] for test in tests))
    if not tests:
        return None
    order = list(details["arms"])

    def paint(figure: Any, axes: Any) -> None:
        for arm, shift in zip(arms, offsets(len(arms), 0.22), strict=True):
            own = [t for t in tests if t["arm"] == arm]
            values, reach = _bars(own, "points")
            style = {**look(order.index(arm)), "linestyle": "none"}
            places = [metrics.index(t["metric"]) + shift for t in own]
            axes.errorbar(values, places, xerr=reach, capsize=3, label=arm, **style)
        axes.axvline(0, color="0.2", linewidth=1)
        axes.set_yticks(range(len(metrics)), metrics)
        axes.set_ylim(len(metrics) - 0.5, -0.5)
        axes.set(xlabel=f"difference to {details['baseline']}, percentage points")
        legend(axes)

    words = "; ".join(
        f"{t['arm']} {t['metric']} {t['points']:+.1f} "
        f"[{t['interval95'][0]:+.1f}, {t['interval95'][1]:+.1f}]"
        for t in tests
    )
    caption = (
        f"Differences to {details['baseline']} in percentage points with 95 % bootstrap intervals."
    )
    return draw("effects", caption, words, 1.2 + 0.42 * len(metrics), paint)


def expected(details: dict[str, Any]) -> Figure | None:
    """The study's expected ranges as bars, the results as points with intervals."""
    judged = [
        one for one in details["expectations"]
        if one["value"] is not None and one["interval95"] and None not in one["range"]
    ]  # fmt: skip
    order = list(details["arms"])
    if not judged:
        return None

    def paint(figure: Any, axes: Any) -> None:
        for place, one in enumerate(judged):
            low, high = one["range"]
            axes.barh(
                place, high - low, left=low, height=0.62, color="0.86", edgecolor="0.5",
                linewidth=0.6, label="expected" if place == 0 else None,
            )  # fmt: skip
            values, reach = _bars([one], "value")
            arm = next((a for a in order if a == one["arm"]), order[0])
            style = {**look(order.index(arm)), "linestyle": "none"}
            axes.errorbar(values, [place], xerr=reach, capsize=3, **style)
        axes.set_yticks(range(len(judged)), [f"{o['metric']}\n{o['arm']}" for o in judged])
        axes.set_ylim(len(judged) - 0.5, -0.5)
        axes.set(xlim=(0, 100), xlabel="right answers, %")
        legend(axes)

    words = "; ".join(
        f"{o['arm']} {o['metric']}: {o['value']:.1f}, expected {o['range'][0]:g} to "
        f"{o['range'][1]:g}, {o['verdict']}"
        for o in judged
    )
    caption = "Results with 95 % intervals; the bars are the study's expected ranges."
    return draw("expected", caption, words, 1.1 + 0.42 * len(judged), paint)


def levels(details: dict[str, Any]) -> Figure | None:
    """Accuracy by level, one line an arm, beside the chance level."""
    arms = details["arms"]
    shown = [
        level for level in LEVELS
        if any(f"hierarchical.{level}" in arm["metrics"] for arm in arms.values())
    ]  # fmt: skip
    if not shown:
        return None
    names = [f"hierarchical.{level}" for level in shown]

    def paint(figure: Any, axes: Any) -> None:
        _lines(axes, arms, names)
        ticks = [
            f"{level[-1]}\n{LEVEL_TITLES[level].replace(' ', chr(10))}" for level in shown
        ]
        axes.set_xticks(range(len(shown)), ticks, fontsize=8)
        axes.set(xlabel="level", ylabel="multiple choice, % right")
        legend(axes)

    caption = (
        "Accuracy by level with 95 % intervals: level 2, morpheme decomposition, is the bottleneck "
        "that the study names."
    )
    return draw("levels", caption, _words(arms, names), 3.5, paint)


def categories(details: dict[str, Any]) -> Figure | None:
    """Accuracy by category, for each benchmark that has categories other than levels."""
    arms = details["arms"]
    names = list(dict.fromkeys(
        name for arm in arms.values() for name in arm["metrics"]
        if name.count(".") == 1 and not name.endswith((".gen", ".marginal"))
        and "@" not in name and name.split(".")[1] not in LEVELS
    ))  # fmt: skip
    if not names:
        return None

    def paint(figure: Any, axes: Any) -> None:
        _points(axes, arms, names)
        legend(axes)

    caption = "Accuracy by category, multiple choice, with 95 % intervals."
    return draw("categories", caption, _words(arms, names), 1.2 + 0.36 * len(names), paint)


def _points(axes: Any, arms: dict[str, Any], names: list[str]) -> None:
    """Metrics down, a point an arm, with the chance level."""
    for index, (shift, (arm, values)) in enumerate(
        zip(offsets(len(arms), 0.2), arms.items(), strict=True)
    ):
        found = [(i, values["metrics"][n]) for i, n in enumerate(names) if n in values["metrics"]]
        points, reach = _bars([cell for _, cell in found], "percent")
        style = {**look(index), "linestyle": "none"}
        places = [i + shift for i, _ in found]
        axes.errorbar(points, places, xerr=reach, capsize=3, label=arm, **style)
    axes.axvline(_chance(arms, names), **CHANCE)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set(xlim=(-2, 102), xlabel="right answers, %")


def _lines(axes: Any, arms: dict[str, Any], names: list[str]) -> None:
    """Metrics across, a line an arm, with the chance level."""
    for index, (shift, (arm, values)) in enumerate(
        zip(offsets(len(arms), 0.09), arms.items(), strict=True)
    ):
        found = [(i, values["metrics"][n]) for i, n in enumerate(names) if n in values["metrics"]]
        points, reach = _bars([cell for _, cell in found], "percent")
        axes.errorbar(
            [i + shift for i, _ in found], points, yerr=reach, capsize=3, label=arm, **look(index)
        )
    axes.axhline(_chance(arms, names), **CHANCE)
    axes.set(ylim=(-3, 103))


def _chance(arms: dict[str, Any], names: list[str]) -> float:
    cells = [arm["metrics"][n] for arm in arms.values() for n in names if n in arm["metrics"]]
    return float(cells[0]["chance"])


def _words(arms: dict[str, Any], names: list[str]) -> str:
    """The figure's values, for who does not see it."""
    return "; ".join(
        f"{arm}: " + ", ".join(
            f"{n} {values['metrics'][n]['percent']:.1f}" for n in names if n in values["metrics"]
        )
        for arm, values in arms.items()
    )  # fmt: skip


def cascade(details: dict[str, Any]) -> Figure | None:
    """Accuracy at levels 3-5 on roots right and wrong at level 2: a pair of points an arm."""
    rows = [row for row in details["cascade"] if row["mode"] == "mcq"]
    arms = list(details["arms"])
    shown = list(dict.fromkeys(row["level"] for row in rows))
    if not rows:
        return None

    def paint(figure: Any, axes: Any) -> None:
        from matplotlib.lines import Line2D

        shifts = dict(zip(arms, offsets(len(arms), 0.24), strict=True))
        for row in rows:
            place = shown.index(row["level"]) + shifts[row["arm"]]
            style = {**look(arms.index(row["arm"])), "linestyle": "none"}
            pair = [row["unknown"]["value"], row["known"]["value"]]
            axes.plot([place - 0.04, place + 0.04], pair, color=style["color"], linewidth=0.8)
            for side, face, shift in (("known", style["color"], 0.04), ("unknown", "white", -0.04)):
                values, reach = _bars([row[side]], "value")
                axes.errorbar(
                    [place + shift], values, yerr=reach, capsize=2, markerfacecolor=face,
                    elinewidth=0.8, **style,
                )  # fmt: skip
        axes.set_xticks(range(len(shown)), [
            f"{level[-1]}\n{LEVEL_TITLES[level].replace(' ', chr(10))}" for level in shown
        ])  # fmt: skip
        axes.set(ylim=(-3, 103), xlabel="level", ylabel="multiple choice, % right")
        handles = [Line2D([], [], **{**look(i), "linestyle": "none"}) for i in range(len(arms))]
        filled = [
            Line2D([], [], color="0.3", marker="o", linestyle="none", markerfacecolor=face)
            for face in ("0.3", "white")
        ]
        labels = [*arms, "root right at level 2", "root wrong"]
        figure.legend([*handles, *filled], labels, loc="outside lower center", ncols=3)

    words = "; ".join(
        f"{r['arm']} {r['level']}: {r['known']['value']:.1f} against {r['unknown']['value']:.1f}"
        for r in rows
    )
    caption = (
        "The cascade: accuracy at levels 3-5 on roots that the arm answered rightly at level 2 "
        "(filled) and on the others (open)."
    )
    return draw("cascade", caption, words, 3.6, paint)


def checkpoints(details: dict[str, Any]) -> list[Figure]:
    """Each whole benchmark over evaluated checkpoints, a line an arm."""
    found = details["checkpoints"]
    names = list(dict.fromkeys(
        n for steps in found.values() for cells in steps.values() for n in cells if "." not in n
    ))  # fmt: skip
    return [_checkpoints(details, name) for name in names]


def _checkpoints(details: dict[str, Any], name: str) -> Figure:
    order = list(details["arms"])
    found = {
        arm: [(int(step), cells[name]) for step, cells in steps.items() if name in cells]
        for arm, steps in details["checkpoints"].items()
    }

    def paint(figure: Any, axes: Any) -> None:
        for arm, own in found.items():
            values, reach = _bars([cell for _, cell in own], "percent")
            steps = [step for step, _ in own]
            axes.errorbar(steps, values, yerr=reach, capsize=3, label=arm, **look(order.index(arm)))
        axes.set(xlabel="training step", ylabel=f"{name}, % right")
        legend(axes)

    words = "; ".join(
        f"{arm}: " + ", ".join(f"step {step} {cell['percent']:.1f}" for step, cell in own)
        for arm, own in found.items()
    )
    caption = f"{name} over evaluated checkpoints, multiple choice, Wilson's intervals."
    return draw(f"checkpoints_{name}", caption, words, 3.0, paint)


def bits(details: dict[str, Any]) -> Figure | None:
    """Two bars an arm, in vanilla and in its own tokens, beside the unigram reference."""
    arms = details["arms"]
    names = [name for name, arm in arms.items() if "bits_per_byte" in arm["bits"]]
    if not names:
        return None
    kinds = (
        ("bits_per_byte", "vanilla tokens"),
        ("bits_per_byte_own_tokens_upper_bound", "own tokens (upper bound)"),
    )

    def paint(figure: Any, axes: Any) -> None:
        for at, (key, label) in enumerate(kinds):
            values = [arms[name]["bits"].get(key, {}).get("value", 0) for name in names]
            drawn = axes.bar(
                [i + (-0.2, 0.2)[at] for i in range(len(names))], values, width=0.38,
                color=(COLOURS[0], COLOURS[5])[at], edgecolor="black", linewidth=0.6,
                hatch=HATCHES[at], label=label,
            )  # fmt: skip
            axes.bar_label(
                drawn, fmt="%.3f", padding=2, fontsize=8, zorder=5,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            )  # fmt: skip
        unigram = arms[names[0]]["bits"].get("unigram_bits_per_byte", {}).get("value")
        if unigram is not None:
            axes.axhline(unigram, color="0.35", linewidth=1, linestyle="--", label="unigram")
        axes.set_xticks(range(len(names)), names)
        axes.grid(visible=False, axis="x")
        axes.set(ylabel="bits per byte, less is better")
        axes.margins(y=0.15)
        legend(axes)

    words = "; ".join(f"{n}: {arms[n]['bits']['bits_per_byte']['value']:.4f}" for n in names)
    caption = (
        "Bits a byte of held-out text. Of an arm's own tokens it is an upper bound; unigram is "
        "what ignoring context gives."
    )
    return draw("bits_per_byte", caption, words, 3.2, paint)
