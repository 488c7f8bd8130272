"""Continued pretraining of Gemma 3 1B with NeMo, on the GPUs of one node or several.

    python training/nemo/run_cpt.py --data-path /workspace/data/processed/vanilla/seapile \\
        --checkpoint-dir /logs/checkpoints/gemma3-1b-baseline --max-steps 10000

One process starts the others, one a GPU; torchrun works too, and over several nodes it must be
torchrun. `--dry-run` prints every resolved value and needs neither NeMo nor a GPU.

What has been run, and where: docs/nemo.md. None of it on a GPU yet.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from importlib import metadata, util
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started by path: its own folder must not shadow other modules
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from training.config import load_settings, parse_arguments
from training.contract import BadInput, Exit, ProgramError, run_program, write_atomic
from training.data import Shard, check_vocabulary, open_shard, resolve_prefixes, split_bounds
from training.health import check_all
from training.metrics import Status, warn
from training.nemo.checkpoints import newest_whole, set_aside
from training.nemo.plan import CHECKPOINT_BYTES, check_supported, dry_run, resets, tokens_of
from training.resume import Position, refuse_other_run
from training.settings import Settings

PINS = {"nemo_toolkit": "2.5.3", "megatron-core": "0.14.0"}
IMAGE = "nvcr.io/nvidia/nemo:25.09"  # holds this pair; the tag of training/nemo/setup too
FUSED = (
    "NeMo's fused attention takes no notice of train.reset_position_ids and "
    "train.reset_attention_mask: a token sees the documents before its own in the same sample"
)
LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_", "TORCHELASTIC_")


def check_versions() -> None:
    """BadInput unless the pair of versions is the one this file was written against."""
    found = {}
    for name in PINS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    # A patch release keeps the API; other pairs fail inside the first step (rotary_pos_cos_sin).
    if any(not found[name].startswith(pin.rsplit(".", 1)[0] + ".") for name, pin in PINS.items()):
        told = ", ".join(f"{name} {version}" for name, version in found.items())
        wanted = " ".join(f"{name}=={pin}" for name, pin in PINS.items())
        raise BadInput(
            f"this environment has {told}",
            f"Use the container {IMAGE} (training/nemo/setup/setup_enroot.sh), or an environment "
            f"of its own (pip install -e '.[nemo]', which pins {wanted})",
        )
    if not has_module("modelopt"):  # without it llm.pretrain is gone, with a mere line in the log
        raise BadInput(
            "nvidia-modelopt is absent, and NeMo leaves llm.pretrain out without it",
            "pip install nvidia-modelopt==0.37.0",
        )


def has_module(name: str) -> bool:
    """Whether a module can be found, without importing it."""
    return util.find_spec(name) is not None


def main(argv: list[str]) -> Exit:
    """Train to the end, or as far as it goes; the exit code says which."""
    args = parse_arguments(
        argv,
        "Train one arm with NeMo on the GPUs of one node, or under torchrun of several.",
        dry_run="print the resolved values as JSON and stop",
        import_base="only convert the pretrained weights, then stop",
    )
    settings = load_settings(args)
    check_supported(settings)
    if args.dry_run:
        print(json.dumps(dry_run(settings), indent=1))
        return Exit.OK
    check_versions()
    if args.import_base:
        import_base(settings)
        return Exit.OK
    if settings.batch.nodes > 1 and "TORCHELASTIC_RUN_ID" not in os.environ:
        raise BadInput(
            f"the study asks for {settings.batch.nodes} nodes, and this process was not started "
            "by torchrun",
            "Submit the job's script, or set resources.nodes to 1",
        )
    gpus = settings.batch.world // settings.batch.nodes
    check_all(gpus, settings.train.checkpoint_dir, CHECKPOINT_BYTES)
    shards = setup(settings, argv)
    return fit(settings, shards) if shards else Exit.OK


def setup(settings: Settings, argv: list[str]) -> list[Shard]:
    """Check inputs and convert the pretrained weights once; an empty list when already done.

    Only the first process does the work: the others are started by it, or wait for it.
    """
    shards = [open_shard(p) for p in resolve_prefixes(settings.data.path, settings.data.chunks)]
    record = settings.train.checkpoint_dir / "run.json"
    steps = settings.train.max_steps
    before = None
    if record.exists():
        before = Position(**json.loads(record.read_text(encoding="utf-8")))
    if int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0:
        check_data(settings, shards)
        if any((settings.data.reset_position_ids, settings.data.reset_attention_mask)):
            warn(FUSED)
        identity = settings.identity() | {"data.tokens": sum(map(tokens_of, shards))}
        if before:
            refuse_other_run(before, identity, steps)
        if before is None or before.step < steps:
            here = Position(0, 0, steps, identity)
            write_atomic(record, json.dumps(vars(here), indent=1) + "\n")
            set_aside(record.parent)
            convert_base(settings, argv)
    elif before is None or before.step < steps:
        wait_for_base(settings.train.checkpoint_dir / "base")
    if before and before.step >= steps:
        print(f"{record.parent} is trained to step {before.step}; nothing to do")
        return []
    return shards


def check_data(settings: Settings, shards: list[Shard]) -> None:
    """BadInput for data that Megatron would choke on later, with less to say."""
    check_vocabulary(shards, settings.model.vocab_size)
    for shard in shards:
        train, validation, _ = split_bounds(shard.documents, settings.data.split)
        if train[0] == train[1] or validation[0] == validation[1]:
            raise BadInput(
                f"{shard.prefix} has too few documents ({shard.documents}) for train.split",
                "Split the corpus into fewer chunks",
            )


def convert_base(settings: Settings, argv: list[str]) -> None:
    """Run `--import-base` unless its result is there.

    In a process of its own, for the import leaves Megatron's global state behind.
    """
    if (settings.train.checkpoint_dir / "base").is_dir():
        return
    alone = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER)}
    command = [sys.executable, __file__, *argv, "--import-base"]
    code = subprocess.run(command, env=alone, check=False).returncode
    if code:
        raise ProgramError(
            Exit(code) if code in list(Exit) else Exit.FAILED,
            f"the weights of {settings.model.base} were not imported",
            "Set HF_TOKEN, put the weights into the Hugging Face cache, and see above",
        )


def wait_for_base(path: Path, limit_s: float = 7200.0) -> None:
    """Wait until the first process has imported the weights; torchrun ends the wait if it fails."""
    end = time.monotonic() + limit_s
    while not path.is_dir():
        if time.monotonic() > end:
            raise BadInput(
                f"{path} has not come within {limit_s:g} s",
                "See the log of the first process; do all nodes mount this directory?",
            )
        time.sleep(1)


def import_base(settings: Settings) -> None:
    """Convert the Hugging Face weights into `<checkpoint-dir>/base`, whole or not at all."""
    from nemo.collections import llm

    target = settings.train.checkpoint_dir / "base"
    temporary = target.with_name(".base.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model = llm.Gemma3Model(llm.Gemma3Config1B(seq_length=settings.model.seq_length))
    try:
        llm.import_ckpt(model, f"hf://{settings.model.base}", output_path=temporary)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise BadInput(
            f"the weights of {settings.model.base} cannot be imported: {reason}",
            "Set HF_TOKEN, or put the weights into the Hugging Face cache (hf download)",
        ) from error
    temporary.rename(target)


def build(settings: Settings, shards: list[Shard]) -> dict[str, Any]:
    """What `llm.pretrain` takes: model, data, trainer, log, resume and optim."""
    import nemo.lightning as nl
    from megatron.core.optimizer import OptimizerConfig
    from nemo.collections import llm
    from nemo.collections.common.tokenizers.huggingface.auto_tokenizer import AutoTokenizer
    from nemo.utils.app_state import AppState

    from training.nemo.parts import PlannedRate

    if not hasattr(llm, "pretrain"):
        raise BadInput(
            "nemo.collections.llm has no pretrain, so its parts did not all import",
            "See NeMo's warnings above; nvidia-modelopt==0.37.0 must import",
        )
    newest = newest_whole(settings.train.checkpoint_dir)
    # Else old checkpoints would not count among those to keep: a path given does not set it.
    AppState().restore = newest is not None
    if newest:
        print(f"going on from {newest}")
    model, o, train = settings.model, settings.optimizer, settings.train
    tokenizer = AutoTokenizer(str(settings.tokenizer_path))
    if settings.data.eod_mask_loss and tokenizer.eos_id != settings.eod:
        raise BadInput(
            f"{settings.tokenizer_path} ends documents with id {tokenizer.eos_id}, which NeMo goes "
            f"by, and tokenizer.eod is {settings.eod}",
            "Correct tokenizer.eod, or set train.eod_mask_loss to false",
        )
    blend = [text for shard in shards for text in (str(tokens_of(shard)), str(shard.prefix))]
    data = llm.PreTrainingDataModule(
        paths=blend,
        tokenizer=tokenizer,
        seq_length=model.seq_length,
        micro_batch_size=settings.batch.micro,
        global_batch_size=settings.batch.global_size,
        split=",".join(f"{share:g}" for share in settings.data.split),
        **resets(settings.data),
        seed=settings.seed,
        index_mapping_dir=str(train.checkpoint_dir / "index"),
        num_workers=2,
    )
    optim = nl.MegatronOptimizerModule(
        config=OptimizerConfig(
            optimizer="adam",  # Megatron's is AdamW, torch's and TransformerEngine's alike
            lr=o.lr,
            min_lr=o.min_lr,
            weight_decay=o.weight_decay,
            adam_beta1=o.betas[0],
            adam_beta2=o.betas[1],
            adam_eps=o.eps,
            clip_grad=o.clip,
            bf16=True,
            use_distributed_optimizer=True,
        ),
        lr_scheduler=PlannedRate(o.lr, o.min_lr, o.warmup_steps, train.max_steps, o.decay),
    )
    checkpoints = nl.ModelCheckpoint(
        dirpath=str(train.checkpoint_dir),
        filename="step_{step:08d}",
        auto_insert_metric_name=False,
        every_n_train_steps=train.checkpoint_every,
        monitor="step",
        mode="max",
        save_top_k=train.keep_checkpoints,
        save_last=True,
        save_optim_on_train_end=True,
        enable_version_counter=False,
    )
    return {
        "model": llm.Gemma3Model(
            llm.Gemma3Config1B(seq_length=model.seq_length), tokenizer=tokenizer
        ),
        "data": data,
        "trainer": build_trainer(settings),
        # A directory of its own: NeMo moves the files that it finds there.
        "log": nl.NeMoLogger(explicit_log_dir=str(train.checkpoint_dir / "logs"), ckpt=checkpoints),
        "resume": nl.AutoResume(
            restore_config=nl.RestoreConfig(
                path=str(train.checkpoint_dir / "base"),
                load_optim_state=False,
                load_artifacts=False,  # the tokenizer is the study's, not the one imported
            ),
            resume_from_directory=str(train.checkpoint_dir),
            resume_from_path=str(newest) if newest else None,
            resume_if_exists=newest is not None,
        ),
        "optim": optim,
    }


def build_trainer(settings: Settings) -> Any:
    """The trainer: data parallel over all GPUs, one optimizer shared between them."""
    import nemo.lightning as nl
    from lightning.pytorch.plugins.environments import LightningEnvironment
    from megatron.core.distributed import DistributedDataParallelConfig

    from training.nemo.parts import RowsAndSignals

    train, root = settings.train, settings.train.checkpoint_dir
    facts = {
        "max_steps": train.max_steps,
        "precision": "bf16-mixed",
        "accumulation": settings.batch.accumulation,
        "tokens_per_step": settings.tokens_per_step,
        "config": str(settings.config_path),
        "versions": {name: metadata.version(name) for name in PINS},
    }
    # Its params_dtype stays fp32, unlike the recipe's: weights are bf16 in training all the same,
    # and NeMo 2.5.3 exports no Gemma 3 whose configuration says bf16.
    plugins: list[Any] = [nl.MegatronMixedPrecision(precision="bf16-mixed")]
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        # Slurm's variables are set in a batch script too, where no srun has started eight tasks.
        plugins.append(LightningEnvironment())
    return nl.Trainer(
        accelerator="gpu",
        devices=settings.batch.world // settings.batch.nodes,
        num_nodes=settings.batch.nodes,
        max_steps=train.max_steps,
        val_check_interval=train.validate_every,
        check_val_every_n_epoch=None,  # else Lightning counts anew, and wrong, after resuming
        limit_val_batches=train.validate_batches,
        limit_test_batches=1,
        log_every_n_steps=train.log_every,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=False,
        callbacks=[RowsAndSignals(settings, Status(root / "status.json", facts))],
        plugins=plugins,
        strategy=nl.MegatronStrategy(
            tensor_model_parallel_size=1,
            pipeline_model_parallel_size=1,
            sequence_parallel=False,
            ckpt_async_save=False,  # a checkpoint that is reported is on disk
            ddp=DistributedDataParallelConfig(
                use_distributed_optimizer=True,
                check_for_nan_in_grad=True,
                grad_reduce_in_fp32=True,
                overlap_grad_reduce=True,
                overlap_param_gather=True,
            ),
        ),
    )


def fit(settings: Settings, shards: list[Shard]) -> Exit:
    """Hand everything to NeMo and turn how it ends into an exit code."""
    from nemo.collections import llm

    from training.hf.guards import tell_out_of_memory

    parts = build(settings, shards)
    watcher = next(c for c in parts["trainer"].callbacks if hasattr(c, "stopped_by"))
    try:
        with tell_out_of_memory(settings):
            llm.pretrain(**parts)
    except RuntimeError as error:
        if "NaN" not in str(error):
            raise
        raise ProgramError(
            Exit.DIVERGED, "a gradient is NaN", "Lower optimizer.lr or lengthen the warm-up"
        ) from error
    return Exit.PREEMPTED if watcher.stopped_by else Exit.OK


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
