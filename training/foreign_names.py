"""The names that transformers' TrainingArguments, old and new, have for keys of a study.

A plan that was written for one version of transformers ends in a TypeError with the next:
`evaluation_strategy` and `warmup_ratio` are no arguments of version 5. A study's own names do not
change, and a foreign one is refused with what it is called here.
"""

from __future__ import annotations

from training.contract import Section

NAMES = {
    "num_train_epochs": "train.epochs",
    "max_steps": "train.max_steps",
    "per_device_train_batch_size": "batch.train",
    "per_device_eval_batch_size": "batch.eval",
    "gradient_accumulation_steps": "batch.accumulation",
    "learning_rate": "optimizer.lr",
    "weight_decay": "optimizer.weight_decay",
    "warmup_ratio": "optimizer.warmup_ratio",
    "warmup_steps": "optimizer.warmup_steps (a share of all updates is optimizer.warmup_ratio)",
    "lr_scheduler_type": "optimizer.decay",
    "max_grad_norm": "optimizer.clip",
    "optim": "optimizer.name",
    "adam_beta1": "optimizer.betas",
    "adam_beta2": "optimizer.betas",
    "adam_epsilon": "optimizer.eps",
    "gradient_checkpointing": "train.activation_checkpointing",
    "dataloader_pin_memory": "train.pin_memory",
    "dataloader_num_workers": "train.workers",
    "remove_unused_columns": "nothing: only ids and labels are ever kept",
    "logging_steps": "train.log_every",
    "eval_steps": "train.validate_every",
    "evaluation_strategy": "train.validate_every, always in updates",
    "eval_strategy": "train.validate_every, always in updates",
    "save_steps": "train.checkpoint_every",
    "save_strategy": "train.checkpoint_every, always in updates",
    "save_total_limit": "train.keep_checkpoints; the best is kept besides",
    "load_best_model_at_end": "train.early_stopping, whose best is final/ (patience 0 never stops)",
    "metric_for_best_model": "train.early_stopping.metric (eval_loss is val/loss)",
    "greater_is_better": "train.early_stopping.mode, min or max",
    "run_name": "wandb.name",
    "report_to": "wandb.mode",
    "fp16": "train.precision: fp16-mixed",
    "bf16": "train.precision: bf16-mixed",
    "data_seed": "seed",
}
SECTIONS = ("train", "batch", "optimizer", "wandb")


def refuse(config: Section) -> None:
    """Note a problem for each foreign name in the sections of a training."""
    for section in SECTIONS:
        given = config.values["parameters"].get(section)
        for key in given if isinstance(given, dict) else ():
            here = NAMES.get(key)
            if here and here.split()[0].rstrip(",;") != f"{section}.{key}":
                config.check(
                    False, f"parameters.{section}.{key} is transformers' name for {here}"
                )
