"""The typed values that both back ends train with; training/config.py reads and checks them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.curriculum import Stage, stage_at
from training.schedule import Schedule


@dataclass(frozen=True)
class Model:
    """Which model, and where its first weights come from. `shape` is None for `init: weights`."""

    base: str
    architecture: str
    init: str
    seq_length: int
    vocab_size: int
    shape: dict[str, int] | None


@dataclass(frozen=True)
class Optimizer:
    """AdamW. `clip` bounds the global gradient norm; 0 leaves it alone. `warmup_steps` is what
    `warmup_ratio` of max_steps comes to where the study gives a ratio (else None)."""

    lr: float
    min_lr: float
    warmup_steps: int
    warmup_ratio: float | None
    decay: str
    weight_decay: float
    clip: float
    betas: tuple[float, float]
    eps: float


@dataclass(frozen=True)
class Batch:
    """Sequences a step in all (`global_size`), on one device at a time (`micro`), on how many
    devices (`world`). `gpus` is how many the study gives the job on each node."""

    global_size: int
    micro: int
    world: int
    nodes: int
    gpus: int = 0

    @property
    def accumulation(self) -> int:
        """Micro-batches that each device adds up before a step."""
        return self.global_size // (self.micro * self.world)


@dataclass(frozen=True)
class Data:
    """Where the token ids lie; `chunks` is how many numbered parts there must be, if known.

    Held-out documents are those of the second share of `split`, or the files of `validation`. The
    last three say what happens at the end of a document inside a sample, in Megatron's words.
    """

    path: Path
    chunks: int | None
    split: tuple[float, float, float]
    validation: Path | None = None
    reset_position_ids: bool = True
    reset_attention_mask: bool = True
    eod_mask_loss: bool = False


@dataclass(frozen=True)
class EarlyStopping:
    """End when `patience` validations in a row brought no gain of more than `min_delta`. Best value
    and patience start anew when the `scope` (stage, length) of a validation is another one."""

    metric: str
    mode: str
    min_delta: float
    patience: int
    scope: str = "global"


@dataclass(frozen=True)
class Validation:
    """How held-out text is looked at.

    `batch` samples at a time on a device (0: as many as in training); at a stage's end with the
    length of the stage that was `completed` or the `next` one; at each of its ends if `stage_ends`,
    and `at` these updates. `probe` is a length that every validation looks at besides (0: none).
    """

    batch: int = 0
    boundary: str = "completed"
    stage_ends: bool = False
    at: tuple[int, ...] = ()
    probe: int = 0
    accuracy: bool = False


@dataclass(frozen=True)
class Train:
    """How long, what is written how often (in steps), and how it is computed."""

    checkpoint_dir: Path
    max_steps: int
    checkpoint_every: int
    validate_every: int
    validate_batches: int
    log_every: int
    keep_checkpoints: int
    precision: str
    loss: str = "auto"
    parallel: str = "auto"
    gradient_sync: str = "auto"
    activation_checkpointing: bool = False
    compile: bool = False
    tensorboard: bool = False
    keep_best: bool = True
    max_loss: float = 0.0
    early_stopping: EarlyStopping | None = None
    validation: Validation = Validation()


@dataclass(frozen=True)
class Wandb:
    """Where Weights & Biases rows go; `directory` is the one that holds latest-run."""

    project: str
    name: str
    mode: str
    directory: Path


@dataclass(frozen=True)
class Settings:
    """Everything a trainer needs to know."""

    seed: int
    backend: str
    tokenizer_path: Path
    eod: int
    model: Model
    optimizer: Optimizer
    batch: Batch
    data: Data
    train: Train
    wandb: Wandb
    config_path: Path
    stages: tuple[Stage, ...]

    @property
    def staged(self) -> bool:
        """Whether the study gives stages of its own."""
        return self.stages[0].number > 0

    @property
    def schedule(self) -> Schedule:
        """The learning rate as a function of the step, before a stage scales it."""
        o = self.optimizer
        return Schedule(o.lr, o.min_lr, o.warmup_steps, self.train.max_steps, o.decay)

    def stage(self, step: int) -> Stage:
        """The stage of update number `step`, counted from 1; that of update 0 is the first."""
        return stage_at(self.stages, step)

    def rate(self, step: int) -> float:
        """The learning rate of update number `step`: base x warm-up x decay x the stage's scale."""
        return self.schedule(step) * self.stage(step).lr_scale

    def consumed(self, step: int) -> tuple[int, int]:
        """Samples and tokens that the first `step` updates learn from."""
        stage = self.stage(step)
        samples = (step - stage.first) * stage.batch_size
        return stage.samples + samples, stage.tokens + samples * stage.seq_len

    def validates(self, step: int) -> bool:
        """Whether held-out text is looked at after update number `step`."""
        train, ends = self.train, {stage.first for stage in self.stages[1:]}
        return step > 0 and (
            step % train.validate_every == 0
            or step == train.max_steps
            or step in train.validation.at
            or (train.validation.stage_ends and step in ends)
        )

    def validated(self, step: int) -> Stage:
        """The stage whose length a validation after update number `step` has: that of the update
        just made, or with `boundary: next` of the one to come."""
        after = self.train.validation.boundary == "next" and step < self.train.max_steps
        return self.stage(step + after)

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one optimizer step learns from where all steps are alike."""
        return self.batch.global_size * self.model.seq_length

    def identity(self) -> dict[str, Any]:
        """What a resumed run must share with the run that wrote the checkpoint.

        Not in it: max_steps, which may grow, and batch.micro, which the remedy for a lack of
        memory changes.
        """
        rows: dict[str, Any] = {"seed": self.seed, "batch.global": self.batch.global_size}
        rows |= {f"model.{k}": v for k, v in asdict(self.model).items() if k != "shape"}
        rows |= {f"model.config.{k}": v for k, v in (self.model.shape or {}).items()}
        rows |= {f"optimizer.{k}": v for k, v in asdict(self.optimizer).items()}
        rows["optimizer.betas"] = list(self.optimizer.betas)
        if self.optimizer.warmup_ratio is not None:
            del rows["optimizer.warmup_steps"]  # grows with max_steps
        rows["train.split"] = list(self.data.split)
        for key in ("reset_position_ids", "reset_attention_mask", "eod_mask_loss"):
            rows[f"train.{key}"] = getattr(self.data, key)
        if self.staged:
            rows["curriculum_stages"] = [stage.identity() for stage in self.stages]
        return rows
