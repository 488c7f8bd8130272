"""What a trainer is told: its command line and its configuration, checked and typed."""

from __future__ import annotations

import argparse
import math
from fractions import Fraction
from pathlib import Path

from training import budget
from training.contract import Section, find_config, load_config
from training.curriculum import Stage, read_stages
from training.schedule import SHAPES
from training.settings import (
    Batch,
    Data,
    EarlyStopping,
    Model,
    Optimizer,
    Settings,
    Train,
    Validation,
    Wandb,
)

ARCHITECTURES = ("gemma3", "gpt2", "llama", "qwen")
PRECISIONS = ("auto", "bf16-mixed", "fp16-mixed", "fp32")
LOSSES = ("auto", "plain", "chunked", "liger", "cce")
PARALLEL = ("auto", "none", "ddp", "fsdp2")
SYNC = ("auto", "each", "last")
SCOPES = ("global", "stage", "length")
BOUNDARIES = ("completed", "next")
METRICS = ("val/loss", "val/perplexity", "val/accuracy", "probe/loss", "probe/perplexity",
           "probe/accuracy")  # fmt: skip
SHAPE_KEYS = (
    "hidden_size",
    "intermediate_size",
    "layers",
    "heads",
    "kv_heads",
    "head_dim",
    "sliding_window",
)


def parse_arguments(argv: list[str], description: str, **flags: str) -> argparse.Namespace:
    """The command line that every trainer takes; `flags` adds switches with their help texts."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", help="the job's resolved configuration")
    parser.add_argument("--data-path", help="prefix of the .bin and .idx files")
    parser.add_argument("--checkpoint-dir", help="where checkpoints and metrics go")
    parser.add_argument("--wandb-name", help="the run's name in Weights & Biases")
    parser.add_argument("--max-steps", type=int, help="optimizer steps in all")
    parser.add_argument("--micro-batch-size", type=int, help="sequences on a device at a time")
    for name, text in flags.items():
        parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=text)
    return parser.parse_args(argv)


def load_settings(args: argparse.Namespace, world: int | None = None) -> Settings:
    """Settings from the configuration and the flags that override it.

    `world` is the number of devices, by default `resources.nodes` x `resources.gpus` of each node.
    Raises BadInput that tells every problem of the file at once.
    """
    config = load_config(find_config(args.config, args.checkpoint_dir))
    _override(config, args)
    budget.apply(config)
    if world is None:
        world = config.positive("resources.nodes", 1) * config.positive("resources.gpus")
    settings = read_settings(config, world)
    config.raise_problems()
    return settings


def _override(config: Section, args: argparse.Namespace) -> None:
    parameters = config.values["parameters"]
    for section, key, value in (
        ("train", "data_path", args.data_path),
        ("train", "checkpoint_dir", args.checkpoint_dir),
        ("train", "max_steps", args.max_steps),
        ("wandb", "name", args.wandb_name),
        ("batch", "micro", args.micro_batch_size),
    ):
        if value is not None:
            parameters[section] = config.mapping(f"parameters.{section}") | {key: value}


def read_settings(config: Section, world: int) -> Settings:
    """Settings from a configuration; problems stay in `config` for its raise_problems."""
    p = "parameters."
    config.choice(p + "optimizer.name", ("adamw",), "adamw")
    for key in ("tensor_parallel", "pipeline_parallel"):
        size = config.positive(p + "train." + key, 1)
        config.check(size == 1, f"{p}train.{key} is {size}, and only 1 is supported")
    directory = config.get(p + "train.checkpoint_dir", str)
    model, optimizer, batch = _model(config), _optimizer(config), _batch(config, world)
    train = _train(config, directory)
    probe, longest = train.validation.probe, model.seq_length
    config.check(
        probe <= longest, f"{p}train.validation.probe {probe} is above model.seq_length {longest}"
    )
    return Settings(
        seed=config.get(p + "seed", int),
        backend=config.choice(p + "train.backend", ("hf", "nemo"), "nemo"),
        tokenizer_path=Path(config.get(p + "tokenizer.path", str)),
        eod=config.get(p + "tokenizer.eod", int),
        model=model,
        optimizer=optimizer,
        batch=batch,
        data=_data(config),
        train=train,
        wandb=Wandb(
            project=config.get(p + "wandb.project", str, "training"),
            name=config.get(p + "wandb.name", str, Path(directory).name or "run"),
            mode=config.choice(p + "wandb.mode", ("online", "offline", "disabled"), "disabled"),
            directory=Path(config.get(p + "wandb.dir", str, "logs/wandb")),
        ),
        config_path=config.source,
        stages=_stages(config, model, optimizer, batch),
    )


def _stages(config: Section, model: Model, o: Optimizer, batch: Batch) -> tuple[Stage, ...]:
    base = Stage(
        0, 0, model.seq_length, batch.global_size, batch.micro, 1.0, o.weight_decay, o.clip,
        o.betas, o.eps,
    )  # fmt: skip
    return read_stages(config, base, batch.world)


def shape_keys(architecture: str) -> tuple[str, ...]:
    """The keys of model.config that an architecture has."""
    absent = {"gemma3": (), "gpt2": ("kv_heads", "head_dim", "sliding_window")}
    return tuple(k for k in SHAPE_KEYS if k not in absent.get(architecture, ("sliding_window",)))


def _model(config: Section) -> Model:
    p = "parameters.model."
    init = config.choice(p + "init", ("weights", "random"))
    architecture = config.choice(p + "architecture", ARCHITECTURES, "gemma3")
    shape = None
    if init == "random":
        shape = {key: config.positive(f"{p}config.{key}") for key in shape_keys(architecture)}
        shape.setdefault("kv_heads", shape["heads"])
        config.check(
            shape["heads"] % shape["kv_heads"] == 0,
            f"{p}config.heads {shape['heads']} is no multiple of kv_heads {shape['kv_heads']}",
        )
    base = config.get(p + "base", str, "none")
    config.check(
        init == "random" or base != "none",
        f"{p}init is weights but {p}base names none (random trains from scratch)",
    )
    return Model(
        base=base,
        architecture=architecture,
        init=init,
        seq_length=config.positive(p + "seq_length"),
        vocab_size=config.positive(p + "vocab_size"),
        shape=shape,
    )


def _optimizer(config: Section) -> Optimizer:
    p = "parameters.optimizer."
    lr = config.get(p + "lr", float)
    betas = config.numbers(p + "betas", 2, (0.9, 0.95))
    ratio = config.get(p + "warmup_ratio", float) if config.has(p + "warmup_ratio") else None
    steps = config.get(p + "warmup_steps", int, 0)
    config.check(ratio is None or not steps, f"{p}warmup_steps and warmup_ratio are both given")
    config.check(0 <= (ratio or 0) <= 1, f"{p}warmup_ratio is {ratio}, not between 0 and 1")
    if ratio is not None:
        # Rounded up, as transformers' trainer does.
        steps = math.ceil(Fraction(str(ratio)) * config.positive("parameters.train.max_steps"))
    optimizer = Optimizer(
        lr=lr,
        min_lr=config.get(p + "min_lr", float, 0.0),
        warmup_steps=steps,
        warmup_ratio=ratio,
        decay=config.choice(p + "decay", SHAPES, "cosine"),
        weight_decay=config.get(p + "weight_decay", float, 0.0),
        clip=config.get(p + "clip", float, 1.0),
        betas=(betas[0], betas[1]),
        eps=config.get(p + "eps", float, 1e-8),
    )
    config.check(lr > 0, f"{p}lr is {lr}, not above 0")
    config.check(
        0 <= optimizer.min_lr <= lr, f"{p}min_lr is {optimizer.min_lr}, not between 0 and lr"
    )
    config.check(optimizer.warmup_steps >= 0, f"{p}warmup_steps is below 0")
    return optimizer


def _batch(config: Section, world: int) -> Batch:
    p = "parameters.batch."
    nodes = config.positive("resources.nodes", 1)
    batch = Batch(
        global_size=config.positive(p + "global"),
        micro=config.positive(p + "micro"),
        world=world,
        nodes=nodes,
        gpus=config.get("resources.gpus", int, 0),
    )
    config.check(  # with stages, each has a batch of its own
        config.has("parameters.curriculum_stages")
        or batch.global_size % (batch.micro * world) == 0,
        f"{p}global {batch.global_size} is no multiple of micro {batch.micro} x {world} devices",
    )
    return batch


def _data(config: Section) -> Data:
    p = "parameters.train."
    split = config.numbers(p + "split", 3, (98.0, 1.0, 1.0))
    config.check(
        min(split) >= 0 and split[0] > 0, f"{p}split is {list(split)}, and trains on nothing"
    )
    files = config.has(p + "validation.data_path")
    config.check(
        not files or not sum(split[1:]),
        f"{p}split is {list(split)}, and {p}validation.data_path has the held-out text: "
        "of data_path all must be trained on, [1, 0, 0]",
    )
    return Data(
        path=Path(config.get(p + "data_path", str)),
        chunks=(
            config.positive("parameters.corpus.chunks")
            if config.has("parameters.corpus.chunks")
            else None
        ),
        split=(split[0], split[1], split[2]),
        validation=Path(config.get(p + "validation.data_path", str)) if files else None,
        reset_position_ids=config.get(p + "reset_position_ids", bool, True),
        reset_attention_mask=config.get(p + "reset_attention_mask", bool, True),
        eod_mask_loss=config.get(p + "eod_mask_loss", bool, False),
    )


def _train(config: Section, directory: str) -> Train:
    p = "parameters.train."
    return Train(
        checkpoint_dir=Path(directory),
        max_steps=config.positive(p + "max_steps"),
        checkpoint_every=config.positive(p + "checkpoint_every"),
        validate_every=config.positive(p + "validate_every"),
        validate_batches=_at_least_0(config, p + "validate_batches", 50),
        log_every=config.positive(p + "log_every", 10),
        keep_checkpoints=config.positive(p + "keep_checkpoints", 3),
        precision=config.choice(p + "precision", PRECISIONS, "auto"),
        loss=config.choice(p + "loss", LOSSES, "auto"),
        parallel=config.choice(p + "parallel", PARALLEL, "auto"),
        gradient_sync=config.choice(p + "gradient_sync", SYNC, "auto"),
        activation_checkpointing=config.get(p + "activation_checkpointing", bool, False),
        compile=config.get(p + "compile", bool, False),
        tensorboard=config.get(p + "tensorboard", bool, False),
        keep_best=config.get(p + "keep_best", bool, True),
        max_loss=config.get(p + "max_loss", float, 0.0),
        early_stopping=_early_stopping(config) if config.has(p + "early_stopping") else None,
        validation=_validation(config),
    )


def _at_least_0(config: Section, key: str, default: int) -> int:
    number = config.get(key, int, default)
    config.check(number >= 0, f"{key} is {number}, below 0")
    return number


def _validation(config: Section) -> Validation:
    p = "parameters.train.validation."
    config.subkeys(p[:-1], ("data_path", *Validation.__dataclass_fields__))
    return Validation(
        batch=_at_least_0(config, p + "batch", 0),
        boundary=config.choice(p + "boundary", BOUNDARIES, "completed"),
        stage_ends=config.get(p + "stage_ends", bool, False),
        at=config.steps(p + "at"),
        probe=_at_least_0(config, p + "probe", 0),
        accuracy=config.get(p + "accuracy", bool, False),
    )


def _early_stopping(config: Section) -> EarlyStopping:
    p, v = "parameters.train.early_stopping.", "parameters.train.validation."
    metric = config.choice(p + "metric", METRICS, "val/loss")
    config.check(
        not metric.startswith("probe/") or config.has(v + "probe"),
        f"{p}metric is {metric}, and {v}probe gives no length",
    )
    config.check(
        not metric.endswith("/accuracy") or config.get(v + "accuracy", bool, False),
        f"{p}metric is {metric}, and {v}accuracy is not true",
    )
    return EarlyStopping(
        metric=metric,
        mode=config.choice(p + "mode", ("min", "max"), "min"),
        min_delta=config.get(p + "min_delta", float, 0.0),
        patience=config.positive(p + "patience"),
        scope=config.choice(p + "scope", SCOPES, "global"),
    )
