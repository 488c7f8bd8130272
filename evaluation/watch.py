"""`python -m evaluation.watch`: a training's rows, and whether they show what they should.

Reads the metrics.jsonl and status.json of a training and writes one JSON of figures, each with a
sign that is true where something is wrong, and what to do about it. Nothing is decided here: a
study's gate or expectations read the figures.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.config import Config, InputError, guarded, load_config
from evaluation.files import write_json
from evaluation.rows import Row, read_rows

REMEDIES = {
    "flat": "the training loss does not fall: raise optimizer.lr, and look at the data",
    "overfitting": "the validation loss is far above the training loss: fewer train.epochs",
    "exploding": "the training loss rose above twice its first value: lower optimizer.lr, or a "
    "longer warm-up",
    "memory": "hardly any GPU memory is left: halve batch.train and double batch.accumulation, or "
    "train.activation_checkpointing",
    "idle": "more than half of the GPU's memory is free: a larger batch.train makes it faster",
    "unsteady": "some updates took more than twice as long as most: look at the node and its disk",
}
DECAYS: dict[str, Callable[[float], float]] = {  # of the peak, by the share of the way done
    "cosine": lambda share: (1 + math.cos(math.pi * share)) / 2,
    "linear": lambda share: 1 - share,
    "constant": lambda share: 1.0,
}


def read_metrics(path: Path) -> list[Row]:
    """The rows of a metrics.jsonl; raises InputError where it cannot be read or holds none."""
    rows = read_rows(path, remedy="Run the training first")
    if not any("train/loss" in row for row in rows):
        raise InputError(f"{path} has no row with train/loss", "Run the training first")
    return rows


def values(rows: Sequence[Row], key: str) -> list[float]:
    """A metric's values in the order of their rows."""
    return [float(row[key]) for row in rows if key in row]


def expected_rate(step: int, total: int, warmup: int, optimizer: Mapping[str, Any]) -> float:
    """The learning rate of update `step` (from 1): up from 0 in `warmup` updates, then the shape
    of the decay down to min_lr at `total`."""
    peak, least = float(optimizer["lr"]), float(optimizer.get("min_lr", 0))
    if step <= warmup:
        return peak * step / warmup
    share = min((step - warmup) / max(total - warmup, 1), 1.0)
    return least + (peak - least) * DECAYS[str(optimizer.get("decay", "linear"))](share)


def read_optimizer(config: Config) -> dict[str, Any]:
    """What decides the learning rate; raises InputError where it is none."""
    found: dict[str, Any] = {
        "lr": config.get("optimizer.lr", float),
        "min_lr": config.get("optimizer.min_lr", float, 0.0),
        "decay": config.get("optimizer.decay", str, "linear"),
    }
    if not 0 < found["lr"] < math.inf:
        raise InputError(f"optimizer.lr is {found['lr']}, not above 0", "Correct the study")
    if found["decay"] not in DECAYS:
        raise InputError(
            f"optimizer.decay is {found['decay']}, not one of {', '.join(DECAYS)}",
            "Correct the study",
        )
    return found


def loss_figures(rows: Sequence[Row]) -> dict[str, Any]:
    """First and last training loss (the mean of a tenth of the rows), validation beside it."""
    train = values(rows, "train/loss")
    tenth = max(1, len(train) // 10)
    first, last = statistics.fmean(train[:tenth]), statistics.fmean(train[-tenth:])
    held_out = values(rows, "val/loss")
    return {
        "train_first": first,
        "train_last": last,
        "train_fell": first - last,
        "train_highest_over_first": max(train) / first if first else math.inf,
        "val_last": held_out[-1] if held_out else None,
        "val_best": min(held_out, default=None),
        "val_over_train": held_out[-1] / last if held_out and last else None,
    }


def figures(rows: Sequence[Row], status: Row, optimizer: Mapping[str, Any]) -> dict[str, Any]:
    """All that is watched; None where the run does not say."""
    found = loss_figures(rows)
    total, warmup = int(status["max_steps"]), int(status.get("warmup_steps", 0))
    rates = [
        abs(row["train/learning_rate"] - expected_rate(row["step"], total, warmup, optimizer))
        for row in rows
        if "train/learning_rate" in row
    ]
    found["lr_deviation"] = max(rates) / float(optimizer["lr"]) if rates else None
    limit, used = status.get("device_memory"), values(rows, "train/memory_bytes")
    found["memory_share"] = max(used) / limit if limit and used else None
    pace = values(rows, "train/examples_per_second")[1:]  # the first has the start in it
    found["slowest_over_median"] = min(pace) / statistics.median(pace) if len(pace) > 2 else None
    found["exploded"] = found["train_highest_over_first"] > 2
    found["signs"] = signs(found)
    return found


def signs(found: Mapping[str, Any]) -> dict[str, bool]:
    """Each sign, true where it shows."""

    def beyond(key: str, least: float) -> bool:
        return found[key] is not None and found[key] > least

    share, pace = found["memory_share"], found["slowest_over_median"]
    return {
        "flat": found["train_fell"] <= 0.02 * found["train_first"],
        "overfitting": beyond("val_over_train", 1.3),
        "exploding": bool(found["exploded"]),
        "memory": beyond("memory_share", 0.95),
        "idle": share is not None and share < 0.5,
        "unsteady": pace is not None and pace < 0.5,
    }


def watch(config: Config) -> int:
    """Read the training that `watch` names, write the figures, print the signs."""
    rows = read_metrics(Path(config.get("watch.metrics", str)))
    path, optimizer = Path(config.get("watch.status", str)), read_optimizer(config)
    try:
        status = json.loads(path.read_text(encoding="utf-8"))
        found = figures(rows, status, optimizer)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be used ({error})", "Run the training again") from error
    shown = [name for name, true in found["signs"].items() if true]
    found["warnings"] = len(shown)
    write_json(Path(config.get("watch.output", str)), found)
    for name in shown:
        print(f"sign: {name}: {REMEDIES[name]}")
    print(f"{len(rows)} rows, {len(shown)} warning signs")
    return 0


def main(argv: list[str] | None = None) -> int:
    """The program."""
    parser = argparse.ArgumentParser(description="Look at a training's rows for warning signs.")
    parser.add_argument("--config", type=Path, required=True, help="the job's configuration")
    args = parser.parse_args(argv)
    return guarded(lambda: watch(load_config(args.config)))


if __name__ == "__main__":
    sys.exit(main())
