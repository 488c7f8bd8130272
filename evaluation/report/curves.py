"""The figures of training, and of cross matrices."""

from collections.abc import Callable
from typing import Any

from evaluation.report.drawing import Figure, draw, legend, look
from evaluation.report.others import Matrix
from evaluation.report.runs import Run

FEW = 12  # points that are each worth a marker


def training(runs: list[Run]) -> list[Figure]:
    """Loss and learning rate over steps; those that the runs logged. Inside `drawing.styled`."""
    found = []
    for key, (label, caption, fits) in KINDS.items():
        names = [name for name in _names(runs) if fits(name)]
        if names:
            found.append(_curve(key, caption, runs, names, label))
    return found


def _loss(name: str) -> bool:
    return name.rpartition("/")[2] == "loss"


def _held(name: str) -> bool:
    return name.startswith(("val", "eval"))


# Key -> the axis, what the figure shows, which metrics it takes.
KINDS: dict[str, tuple[str, str, Callable[[str], bool]]] = {
    "loss": (
        "loss, nats a token",
        "Training loss, nats a token of the arm's own tokens: comparable only between arms that "
        "cut text alike.",
        lambda name: _loss(name) and not _held(name),
    ),
    "validation": (
        "loss, nats a token",
        "Loss on held-out documents, nats a token of the arm's own tokens; bits per byte compare "
        "arms that cut text differently.",
        lambda name: _loss(name) and _held(name),
    ),
    "learning_rate": (
        "learning rate",
        "Learning rate.",
        lambda name: name.rpartition("/")[2] in ("learning_rate", "lr"),
    ),
}


def _names(runs: list[Run]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in run.curves))


def _curve(key: str, caption: str, runs: list[Run], names: list[str], label: str) -> Figure:
    def paint(figure: Any, axes: Any) -> None:
        for index, run in enumerate(runs):
            for name in names:
                points = run.curves.get(name, [])
                if not points:
                    continue
                style = look(index)
                every = 1 if len(points) <= FEW else max(1, len(points) // 8)
                shown = run.arm if len(names) == 1 else f"{run.arm}, {name}"
                steps, values = zip(*points, strict=True)
                axes.plot(
                    steps, values, markevery=(index * every // max(1, len(runs)), every),
                    label=shown, **style,
                )  # fmt: skip
        axes.set(xlabel="step", ylabel=label)
        legend(axes)

    last = "; ".join(
        f"{run.arm} {name} {run.curves[name][-1][1]:.4g} at step {run.curves[name][-1][0]}"
        for run in runs for name in names if run.curves.get(name)
    )  # fmt: skip
    return draw(key, caption, f"Last values: {last}", 3.0, paint)


def matrix(found: Matrix) -> Figure:
    """A cross matrix as shades with its numbers; logarithmic where values span a power of ten."""

    def paint(figure: Any, axes: Any) -> None:
        from matplotlib.colors import LogNorm, Normalize

        known = [v for row in found.values for v in row if v is not None]
        wide = min(known) > 0 and max(known) > 10 * min(known)
        norm = (LogNorm if wide else Normalize)(min(known), max(known))
        nan = float("nan")
        values = [[nan if v is None else v for v in row] for row in found.values]
        shades = axes.imshow(values, cmap="cividis", norm=norm, aspect="auto")
        for i, row in enumerate(found.values):
            for j, value in enumerate(row):
                if value is not None:
                    dark = norm(value) < 0.5
                    axes.text(j, i, f"{value:.4g}", ha="center", va="center", fontsize=8,
                              color="white" if dark else "black")  # fmt: skip
        axes.set_xticks(range(len(found.columns)), found.columns)
        axes.set_yticks(range(len(found.rows)), found.rows)
        axes.grid(visible=False)
        axes.set(xlabel="test set", ylabel="model")
        figure.colorbar(shades, ax=axes, label=found.name)

    words = "; ".join(
        f"{row}: " + ", ".join(
            f"{c} {v:.4g}" for c, v in zip(found.columns, values, strict=True) if v is not None
        )
        for row, values in zip(found.rows, found.values, strict=True)
    )  # fmt: skip
    key = "matrix_" + "".join(c if c.isalnum() else "_" for c in found.name)
    return draw(key, f"{found.name}: models down, test sets across.", words,
                1.3 + 0.38 * len(found.rows), paint)  # fmt: skip
