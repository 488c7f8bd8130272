"""What a run leaves for others: its facts, its pace, and its models in Hugging Face format."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from training.artifacts import MANIFEST, read_manifest, write_manifest
from training.contract import publish_directory
from training.hf import checkpoint
from training.hf.device import memory_bytes, peak_flops
from training.hf.model import flops_per_token
from training.hf.parallel import World
from training.metrics import Status
from training.resume import Position, refuse_other_run
from training.settings import Settings
from training.stopping import WATCH_ONLY, Best

if TYPE_CHECKING:
    from training.hf.run import Run


class NoStatus(Status):
    """Of all processes but the first: facts are kept and no file is written."""

    def write(self, state: str, sync: bool = True, **values: Any) -> None:
        """Keep the values."""
        self.facts |= values


def open_status(settings: Settings, world: World, how: dict[str, Any]) -> Status:
    """status.json with the facts about a run that it holds from its first line on."""
    device, train = world.device, settings.train
    facts = {
        "step": 0,
        "max_steps": train.max_steps,
        "consumed_samples": 0,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processes": world.size,
        **how,
        "activation_checkpointing": train.activation_checkpointing,
        "accumulation": settings.batch.accumulation,
        "tokens_per_step": settings.tokens_per_step,
        "config": str(settings.config_path),
        "torch": torch.__version__,
    }
    return (Status if world.first else NoStatus)(train.checkpoint_dir / "status.json", facts)


def finished(settings: Settings, identity: dict[str, Any], status: Status) -> bool:
    """Whether final/ is whole and holds what these settings ask for; BadInput if another run's."""
    train = settings.train
    final = train.checkpoint_dir / "final"
    if not final.is_dir():
        return False
    try:
        manifest = read_manifest(final)
    except ValueError as error:
        print(f"warning: {error}, so it is written again", file=sys.stderr)
        return False
    del manifest["files"]
    at = Position(**manifest)
    refuse_other_run(at, identity, train.max_steps)
    best = Best(train.early_stopping or WATCH_ONLY, at.best, at.best_step, at.bad)
    if at.step < train.max_steps and not best.exhausted:
        return False
    print(f"{final} is complete at step {at.step}; nothing to do")
    if '"done"' not in (status.path.read_text() if status.path.exists() else ""):
        status.write("done", step=at.step, consumed_samples=at.consumed_samples)
    return True


def write_model(run: Run, name: str, of: str = "") -> None:
    """Write the model to `<checkpoint-dir>/name`, whole: this step's, or a copy of `of`.

    All processes call this together.
    """
    root = run.settings.train.checkpoint_dir
    weights = {} if of else checkpoint.gather_weights(run.model, run.world.first)

    def write() -> None:
        with publish_directory(root / name) as directory:
            if of:
                copy_files(root / of, directory)
            else:
                tokenizer = run.settings.tokenizer_path
                checkpoint.write_model(directory, run.model, weights, tokenizer)
            write_manifest(directory, run.position().facts())

    with run.pace.pause():
        run.world.together(write)


def copy_files(source: Path, target: Path) -> None:
    """All files but the manifest."""
    for path in sorted(source.iterdir()):
        if path.name != MANIFEST:
            shutil.copyfile(path, target / path.name)


@dataclass
class Measured:
    """What was measured since the last row."""

    row: dict[str, float]
    tokens_per_second: float
    remaining_s: float


class Pace:
    """How fast the run goes: tokens a second, model FLOP utilisation, memory, time left.

    The utilisation is tokens a second x operations a token, over the peak of all devices (PaLM,
    arXiv:2204.02311, appendix B); training alone counts, without validation and checkpoints. The
    time left is what the steps of this attempt took, those pauses included, times the steps left.
    """

    def __init__(self, settings: Settings, world: World, model: Any, precision: str) -> None:
        self.settings = settings
        self.device = world.device
        self.flops = flops_per_token(model, settings.model.seq_length)
        peak, self.source = peak_flops(world.device, precision)
        self.peak = peak * world.size
        self._begun: tuple[int, float] | None = None
        self._since = (0, 0.0, 0.0)
        self._paused = 0.0

    def start(self, step: int) -> None:
        """Before the first step of this attempt."""
        self._begun = (step, time.perf_counter())
        self._since = (step, self._begun[1], 0.0)
        self._paused = 0.0

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Around what is not training."""
        start = time.perf_counter()
        yield
        self._paused += time.perf_counter() - start

    def measure(self, step: int, waited: float) -> Measured:
        """The pace since the last call; `waited` is how many seconds steps have waited for data."""
        assert self._begun is not None
        now = time.perf_counter()
        before, then, waited_before = self._since
        seconds = max(now - then - self._paused, 1e-9)
        self._since, self._paused = (step, now, waited), 0.0
        rate = (step - before) * self.settings.tokens_per_step / seconds
        each = (now - self._begun[1]) / (step - self._begun[0])
        row = {
            "train/tokens_per_second": rate,
            "train/data_wait": (waited - waited_before) / seconds,
            "train/memory_bytes": float(memory_bytes(self.device)),
            "train/mfu": rate * self.flops / self.peak,
        }
        return Measured(row, rate, each * (self.settings.train.max_steps - step))
