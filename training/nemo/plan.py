"""What a NeMo run would do, and whether it can: no NeMo and no GPU needed."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from training.contract import BadInput
from training.data import Shard, open_shard, resolve_prefixes
from training.settings import Data, Settings

VOCABULARY = 262_144  # of NeMo's Gemma3Config1B, which cannot be changed
PARAMETERS = 999_885_952
CHECKPOINT_BYTES = 14 * PARAMETERS  # bf16 weights; weights and both moments of Adam in fp32


HF_ONLY = ("loss", "parallel", "activation_checkpointing", "compile", "early_stopping",
           "validation")  # fmt: skip


def check_supported(settings: Settings) -> None:
    """BadInput for what this recipe cannot do, before a GPU is touched."""
    train = settings.train
    facts = [
        f"train.{field.name} is for the hf back end"
        for field in fields(train)
        if field.name in HF_ONLY and getattr(train, field.name) != field.default
    ]
    if settings.data.validation:
        facts.append("train.validation.data_path is for the hf back end")
    if settings.staged:
        facts.append("curriculum_stages are for the hf back end: NeMo has one length and one batch")
    if settings.model.init != "weights":
        facts.append("model.init is random, and NeMo starts from weights only (train.backend hf)")
    if settings.model.vocab_size != VOCABULARY:
        facts.append(f"model.vocab_size is {settings.model.vocab_size}, not {VOCABULARY}")
    if settings.train.precision in ("fp32", "fp16-mixed"):
        facts.append(f"train.precision is {settings.train.precision}, not bf16-mixed")
    if settings.model.architecture != "gemma3":
        facts.append(f"model.architecture is {settings.model.architecture}, not gemma3")
    if "step" in str(settings.train.checkpoint_dir.absolute()):
        facts.append("the path train.checkpoint_dir contains 'step', which NeMo takes for a number")
    if settings.batch.world % settings.batch.nodes:
        facts.append(f"{settings.batch.world} GPUs do not divide by {settings.batch.nodes} nodes")
    if facts:
        raise BadInput("; ".join(facts), "Correct the study, or train with the hf back end")


def dry_run(settings: Settings) -> dict[str, Any]:
    """Every value that training would use, and what follows from them."""
    train, batch, rate = settings.train, settings.batch, settings.schedule
    marks = (0, rate.warmup_steps, (rate.warmup_steps + rate.max_steps) // 2, rate.max_steps)
    data: dict[str, Any] = {"path": str(settings.data.path), "split": list(settings.data.split)}
    data |= resets(settings.data)
    try:
        shards = [open_shard(p) for p in resolve_prefixes(settings.data.path, settings.data.chunks)]
        data["prefixes"] = {str(shard.prefix): tokens_of(shard) for shard in shards}
        data["tokens"] = sum(data["prefixes"].values())
        data["passes"] = round(settings.tokens_per_step * train.max_steps / data["tokens"], 3)
    except BadInput as problem:
        data["problem"] = str(problem)
    return {
        "config": str(settings.config_path),
        "seed": settings.seed,
        "model": {"base": settings.model.base, "init": "weights", "parameters": PARAMETERS}
        | {"seq_length": settings.model.seq_length, "vocab_size": settings.model.vocab_size},
        "optimizer": {"name": "adamw", **asdict(settings.optimizer)},
        "learning_rate_at": {str(step): rate(step) for step in marks},
        "global_batch_size": batch.global_size,
        "micro_batch_size": batch.micro,
        "devices": batch.world,
        "nodes": batch.nodes,
        "accumulation": batch.accumulation,
        "tokens_per_step": settings.tokens_per_step,
        "total_tokens": settings.tokens_per_step * train.max_steps,
        "checkpoint_bytes": CHECKPOINT_BYTES,
        "logits_bytes_fp32": batch.micro
        * settings.model.seq_length
        * settings.model.vocab_size
        * 4,
        "precision": "bf16-mixed",
        "tensor_parallel": 1,
        "pipeline_parallel": 1,
        "max_steps": train.max_steps,
        "checkpoint_every": train.checkpoint_every,
        "checkpoints": train.max_steps // train.checkpoint_every,
        "validate_every": train.validate_every,
        "validations": train.max_steps // train.validate_every,
        "validate_batches": train.validate_batches,
        "log_every": train.log_every,
        "log_points": train.max_steps // train.log_every,
        "checkpoint_dir": str(train.checkpoint_dir),
        "keep_checkpoints": train.keep_checkpoints,
        "data": data,
        "wandb": {key: str(value) for key, value in asdict(settings.wandb).items()},
    }


def resets(data: Data) -> dict[str, bool]:
    """What the study says of documents inside a sample, as Megatron's datasets take it."""
    return {
        "reset_position_ids": data.reset_position_ids,
        "reset_attention_mask": data.reset_attention_mask,
        "eod_mask_loss": data.eod_mask_loss,
    }


def tokens_of(shard: Shard) -> int:
    """Tokens of a prefix: its weight in the blend."""
    return int(shard.lengths.sum(dtype="int64"))
