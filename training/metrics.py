"""Where a run's numbers go: metrics.jsonl always, Weights & Biases when asked, status.json."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any, Protocol

from training.contract import write_atomic
from training.settings import Wandb


class Sink(Protocol):
    """Takes rows of numbers."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """Record the values of one step."""
        ...

    def close(self) -> None:
        """Flush; nothing is logged afterwards."""
        ...


class JsonlSink:
    """One JSON object a row: step, time (Unix seconds) and the values."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def trim(self, step: int) -> list[dict[str, float]]:
        """Drop rows after `step`, which the resumed run writes again, and a last line cut short.

        Returns the rows that stay.
        """
        kept: list[str] = []
        if not self.path.exists():
            return []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break  # only a kill in the middle of a write leaves one, at the end
            if row["step"] <= step:
                kept.append(line + "\n")
        write_atomic(self.path, "".join(kept))
        return [json.loads(line) for line in kept]

    def log(self, step: int, values: dict[str, float]) -> None:
        """Append one row; opened anew each time, so that a moved file does not swallow rows."""
        row = {"step": step, "time": time.time(), **values}
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")

    def close(self) -> None:
        """Nothing is held open."""


class WandbSink:
    """Rows to Weights & Biases. Losing them is worth a warning, never a training run."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def log(self, step: int, values: dict[str, float]) -> None:
        """Send one row."""
        try:
            self.run.log(values, step=step)
        except Exception as error:  # wandb raises what it likes; metrics.jsonl has the row
            warn(f"wandb lost a row of step {step}: {error}")

    def close(self) -> None:
        """Finish the run's upload."""
        try:
            self.run.finish()
        except Exception as error:  # as above
            warn(f"wandb did not finish: {error}")


class TensorBoardSink:
    """Rows to TensorBoard's event files. Like wandb's, they are worth a warning at most."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def log(self, step: int, values: dict[str, float]) -> None:
        """Write one row."""
        try:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)
        except Exception as error:  # a full disk, say; metrics.jsonl has the row or ends the run
            warn(f"tensorboard lost a row of step {step}: {error}")

    def close(self) -> None:
        """Flush what is left."""
        try:
            self.writer.close()
        except Exception as error:  # as above
            warn(f"tensorboard did not finish: {error}")


def open_tensorboard(run_dir: Path, step: int) -> TensorBoardSink | None:
    """Event files in `run_dir`/tensorboard, rows after `step` of an earlier attempt hidden; None
    when it cannot be had."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        warn("tensorboard is not installed, so rows go to metrics.jsonl. pip install tensorboard")
        return None
    try:
        make: Any = SummaryWriter
        return TensorBoardSink(make(str(run_dir / "tensorboard"), purge_step=step + 1))
    except Exception as error:  # no path of a picture of the rows may stop the training
        warn(f"tensorboard does not start: {error}")
        return None


def warn(fact: str) -> None:
    """One line for the user; the run goes on."""
    print(f"warning: {fact}", file=sys.stderr)


def wandb_mode(settings: Wandb) -> str:
    """The mode to use: WANDB_MODE wins, and online needs a key."""
    mode = os.environ.get("WANDB_MODE") or settings.mode
    if mode == "online" and not os.environ.get("WANDB_API_KEY"):
        warn("WANDB_API_KEY is not set, so wandb runs offline. Send it later with `wandb sync`")
        return "offline"
    return mode


def open_wandb(settings: Wandb, run_dir: Path, config: dict[str, Any]) -> WandbSink | None:
    """Start or continue the run in Weights & Biases; None when disabled or not to be had.

    The run's id is kept in `run_dir`, so that every attempt of a job adds to the same run.
    """
    mode = wandb_mode(settings)
    if mode == "disabled":
        return None
    try:
        import wandb
    except ImportError:
        warn("wandb is not installed, so rows go to metrics.jsonl only. pip install wandb")
        return None
    directory = settings.directory
    # wandb adds a folder `wandb` itself; the documented path is <directory>/latest-run
    parent = directory.parent if directory.name == "wandb" else directory
    parent.mkdir(parents=True, exist_ok=True)
    id_file = run_dir / "wandb_id.txt"
    attempts: list[Any] = list(dict.fromkeys((mode, "offline")))
    for attempt in attempts:
        try:
            run_id = id_file.read_text().strip() if id_file.exists() else secrets.token_hex(4)
            run = wandb.init(
                project=settings.project,
                name=settings.name,
                id=run_id,
                resume="allow" if attempt == "online" else None,
                mode=attempt,
                dir=str(parent),
                config=config,
                settings=wandb.Settings(init_timeout=60, silent=True),
            )
        except Exception as error:  # network, quota, version: none may stop the training
            warn(f"wandb does not start {attempt}: {error}")
            continue
        write_atomic(id_file, run_id + "\n", sync=False)
        return WandbSink(run)
    return None


class Status:
    """status.json: where the run stands, for people and for `pipeline status`."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path = path
        self.facts = facts

    def write(self, state: str, sync: bool = True, **values: Any) -> None:
        """Replace the file. `state` is running, done, stopped, diverged or failed. Between
        checkpoints `sync` is not needed: a crash makes the file stale anyway."""
        self.facts |= values
        row = {"state": state, **self.facts, "time": time.time()}
        write_atomic(self.path, json.dumps(row, indent=1) + "\n", sync)

    def done(self) -> bool:
        """Whether the file says so already."""
        return self.path.exists() and '"done"' in self.path.read_text()
