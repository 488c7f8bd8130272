"""Our own programs on a CPU, with NeMo real and CUDA stood in for: `program.py WHAT [FLAG...]`.

WHAT is `train` (training/nemo/run_cpt.py; flags alone mean it too), `export` (training/export.py)
`make FOLDER`, which writes a base model in Hugging Face format, its tokenizer, two token files and
a configuration; `construct CONFIG...`, which prints the figures of every object that training would
use, one line of JSON for each configuration; or `compare FOLDER`, which converts the imported base
back and prints how far its logits are from the first ones.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2]))
os.environ["TORCHDYNAMO_DISABLE"] = "1"  # Megatron compiles small functions; here it only costs

WORDS = 200


def make(root: Path) -> None:
    """Write what a run needs; ids stay below `WORDS`, so that a few steps learn something."""
    import numpy as np
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(WORDS)}
    bare = Tokenizer(models.WordLevel(words, unk_token="w3"))
    bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare, eos_token="w1", bos_token="w2", pad_token="w0", unk_token="w3"
    )
    torch.manual_seed(1)
    config = Gemma3TextConfig(
        vocab_size=262_144, num_hidden_layers=26, hidden_size=32, intermediate_size=64,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, query_pre_attn_scalar=16,
        sliding_window=512, max_position_embeddings=64, torch_dtype="bfloat16",
    )  # fmt: skip
    model = Gemma3ForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:  # they start at one all over; make every one of them count
                weight.normal_(0, 0.1)
            elif "proj" in name:  # activations as large as a trained model's: see docs/nemo.md
                weight.normal_(0, 0.3)
    model.to(torch.bfloat16).save_pretrained(root / "base_hf")
    tokenizer.save_pretrained(root / "base_hf")
    tokenizer.save_pretrained(root / "tok")
    chance = np.random.default_rng(0)
    for part in (1, 2):
        prefix = root / "data" / f"seapile_{part:04d}"
        prefix.parent.mkdir(exist_ok=True)
        builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=np.int32)
        for length in chance.integers(40, 90, 120 * part):
            ids = [int(chance.integers(4, WORDS))]
            while len(ids) < length:
                ids.append(4 + (3 * ids[-1] + int(chance.integers(1, 3))) % (WORDS - 4))
            builder.add_document(torch.tensor([*ids, 1], dtype=torch.int32), [len(ids) + 1])
        builder.finalize(f"{prefix}.idx")
    (root / "config.json").write_text(json.dumps(configuration(root), indent=1))


def configuration(root: Path) -> dict[str, Any]:
    """The main study's values with fewer of everything; JSON is YAML."""
    return {
        "job": {"kind": "train"},
        "resources": {"nodes": 1, "gpus": 1},
        "parameters": {
            "seed": 42,
            "corpus": {"chunks": 2},
            "tokenizer": {"path": str(root / "tok"), "eod": 1},
            "model": {"base": str(root / "base_hf"), "architecture": "gemma3", "init": "weights",
                      "seq_length": 64, "vocab_size": 262_144},
            "optimizer": {"name": "adamw", "lr": 1e-2, "min_lr": 1e-3, "warmup_steps": 2,
                          "decay": "cosine", "weight_decay": 0.1, "clip": 1.0,
                          "betas": [0.9, 0.95], "eps": 1e-8},
            "batch": {"global": 4, "micro": 2},
            "train": {"backend": "nemo", "data_path": str(root / "data" / "seapile"),
                      "checkpoint_dir": str(root / "run"), "max_steps": 8, "checkpoint_every": 3,
                      "validate_every": 4, "validate_batches": 1, "log_every": 1,
                      "keep_checkpoints": 3, "precision": "bf16-mixed", "split": [90, 10, 0],
                      "tensorboard": True},
            "wandb": {"project": "p", "name": "n", "mode": "disabled", "dir": str(root / "wandb")},
        },
    }  # fmt: skip


def on_cpu(small: bool = True) -> None:
    """Install the stand-ins, the small model, and CPU processes in place of the GPUs."""
    from standins import install  # type: ignore[import-not-found]

    install()
    import nemo.lightning as nl
    from nemo.collections import llm
    from nemo.collections.llm.gpt.model import gemma3
    from nemo.lightning.io import pl

    if small:
        from small_model import SmallGemma3  # type: ignore[import-not-found]

        gemma3.Gemma3Config1B = llm.Gemma3Config1B = SmallGemma3
    pl._fix_tensors_device = lambda loaded: loaded  # would name a CUDA device by its number
    gpu = nl.Trainer
    nl.Trainer = lambda **given: gpu(**(given | {"accelerator": "cpu"}))


def construct(path: str) -> dict[str, Any]:
    """The figures of what `build` makes of one rendered configuration, read off the objects."""
    import torch
    from torch.optim import AdamW

    from training.config import load_settings, parse_arguments
    from training.data import open_shard, resolve_prefixes
    from training.nemo import run_cpt

    settings = load_settings(parse_arguments(["--config", path], "test"))
    prefixes = resolve_prefixes(settings.data.path, settings.data.chunks)
    parts = run_cpt.build(settings, [open_shard(prefix) for prefix in prefixes])
    model, data, trainer = parts["model"].config, parts["data"], parts["trainer"]
    optim, strategy, keeper = parts["optim"], parts["trainer"].strategy, parts["log"].ckpt
    weight = torch.nn.Parameter(torch.zeros(1))
    planned = optim.lr_scheduler.scheduler(None, AdamW([weight], lr=optim.config.lr))
    share = planned["lr_scheduler"]["scheduler"].lr_lambdas[0]
    dataset = data.gpt_dataset_config
    [watcher] = [c for c in trainer.callbacks if hasattr(c, "stopped_by")]
    return {
        "model": {name: getattr(model, name) for name in (
            "num_layers", "hidden_size", "num_attention_heads", "num_query_groups", "kv_channels",
            "ffn_hidden_size", "window_size", "vocab_size", "seq_length", "bf16")},
        "base": watcher.settings.model.base,
        "optimizer": {name: getattr(optim.config, name) for name in (
            "optimizer", "lr", "min_lr", "weight_decay", "adam_beta1", "adam_beta2", "adam_eps",
            "clip_grad", "bf16", "use_distributed_optimizer")},
        # after `done` updates the next one is number done + 1
        "rates": {step: share(step - 1) * optim.config.lr for step in (0, 500, 5250, 10_000)},
        "rising": sum(share(done) < share(done + 1) for done in range(trainer.max_steps)) + 1,
        "data": {"seq_length": data.seq_length, "micro": data.micro_batch_size,
                 "global": data.global_batch_size, "blend": data.build_kwargs["blend"]},
        "dataset": {"eod": dataset.tokenizer.eod} | {name: getattr(dataset, name) for name in (
            "random_seed", "sequence_length", "split", "reset_position_ids",
            "reset_attention_mask", "eod_mask_loss")},
        "trainer": {"max_steps": trainer.max_steps, "validate_every": trainer.val_check_interval,
                    "validate_batches": trainer.limit_val_batches, "devices": trainer.num_devices,
                    "log_every": trainer.log_every_n_steps, "nodes": trainer.num_nodes,
                    "precision": trainer.precision_plugin.precision},
        "strategy": {"tensor": strategy.tensor_model_parallel_size,
                     "pipeline": strategy.pipeline_model_parallel_size,
                     "sequence": strategy.sequence_parallel},
        "checkpoints": {"every": keeper._every_n_train_steps, "keep": keeper.save_top_k,
                        "directory": str(keeper.dirpath)},
        "resume": {"directory": str(parts["resume"].resume_from_directory),
                   "weights": str(parts["resume"].restore_config.path)},
        "wandb": {"project": watcher.settings.wandb.project, "name": watcher.settings.wandb.name},
        "unlike_recipe": unlike_recipe(parts),
    }  # fmt: skip


def unlike_recipe(parts: dict[str, Any]) -> dict[str, list[str]]:
    """Where model, strategy and precision are not those of NeMo's own recipe: its value, ours."""
    from dataclasses import fields

    import fiddle as fdl
    from nemo.collections import llm

    trainer = parts["trainer"]
    length, gpus = parts["model"].config.seq_length, trainer.num_devices
    recipe = llm.gemma3_1b.pretrain_recipe(name="r", num_gpus_per_node=gpus, seq_length=length)
    strategy = fdl.build(recipe.trainer.strategy)
    pairs = {
        "model": (fdl.build(recipe.model).config, parts["model"].config),
        "ddp": (strategy.ddp_config, trainer.strategy.ddp_config),
        "precision": (fdl.build(recipe.trainer.plugins).dtype_config,
                      trainer.precision_plugin.dtype_config),
    }  # fmt: skip
    found = {
        f"{name}.{field.name}": [repr(getattr(side, field.name)) for side in pair]
        for name, pair in pairs.items()
        for field in fields(pair[0])
    }
    for name in ("tensor_model_parallel_size", "pipeline_model_parallel_size", "sequence_parallel",
                 "context_parallel_size", "expert_model_parallel_size"):  # fmt: skip
        found[f"strategy.{name}"] = [repr(getattr(s, name)) for s in (strategy, trainer.strategy)]
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


def parameters() -> int:
    """Of Gemma 3 1B as NeMo builds it, with weights that take no memory."""
    import nemo.lightning as nl
    import torch
    from lightning.pytorch.plugins.environments import LightningEnvironment
    from nemo.collections import llm

    model = llm.Gemma3Model(llm.Gemma3Config1B(seq_length=64, perform_initialization=False))
    trainer = nl.Trainer(
        devices=1, accelerator="cpu", plugins=[LightningEnvironment()],
        strategy=nl.MegatronStrategy(setup_optimizers=False),
    )  # fmt: skip
    trainer.strategy.connect(model)
    trainer.strategy.setup_environment()
    model.tokenizer = type("Words", (), {"vocab_size": 262_144, "bos_id": 2, "eos_id": 1})()
    torch.cuda.current_device = lambda: torch.device("meta")  # type: ignore[assignment,return-value]
    with torch.device("meta"):
        model.configure_model()
    return sum(weight.numel() for weight in model.parameters())


def compare(root: Path) -> dict[str, Any]:
    """Hugging Face -> NeMo -> Hugging Face: the logits of all three, and the weights."""
    import torch
    from nemo.collections.llm.gpt.model.gemma3 import HFGemma3Exporter
    from transformers import Gemma3ForCausalLM

    from training.export import convert_nemo

    convert_nemo(root / "run" / "base", root / "back")
    first, back = (
        Gemma3ForCausalLM.from_pretrained(root / name, torch_dtype=torch.float32).eval()
        for name in ("base_hf", "back")
    )
    middle, _ = HFGemma3Exporter(str(root / "run" / "base")).nemo_load(root / "run" / "base")
    words = torch.randint(4, WORDS, (2, 48), generator=torch.Generator().manual_seed(3))
    places = torch.arange(48).expand(2, -1)
    with torch.no_grad():
        one, three = first(words).logits, back(words).logits
        two = middle.module.float()(words, places, None).float()
    weights = dict(back.named_parameters())
    return {
        "back": (one - three).abs().max().item(),
        "nemo": (one - two).abs().max().item(),
        "spread": one.std().item(),
        "same_weights": all(torch.equal(w, weights[k]) for k, w in first.named_parameters()),
        "window": json.loads((root / "back" / "config.json").read_text())["sliding_window"],
    }


def main() -> int:
    """Run what is asked for; its exit code."""
    argv = sys.argv[1:]
    what = "train" if argv[0].startswith("--") else argv.pop(0)
    if what == "make":
        make(Path(argv[0]))
        return 0
    if what == "construct":
        on_cpu(small=False)
        for path in argv:
            print("FOUND", json.dumps(construct(path)))
        print("FOUND", json.dumps({"parameters": parameters()}))
        return 0
    on_cpu()
    if what == "compare":
        print("FOUND", json.dumps(compare(Path(argv[0]))))
        return 0
    from training.contract import run_program

    if what == "export":
        from training import export

        return run_program(export.main, argv)
    from training.health import check_all
    from training.nemo import run_cpt

    # No nvidia-smi here, and small checkpoints.
    vars(run_cpt)["check_all"] = lambda gpus, there, needed: check_all(0, there)
    run_cpt.__file__ = str(HERE)  # what it starts for the import has the stand-ins too
    return run_program(run_cpt.main, argv)


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    code = main()
    sys.stdout.flush()
    for child in multiprocessing.active_children():  # megatron's manager of checkpoint writers
        child.terminate()
    os._exit(code)  # what NeMo leaves behind must not change how it ended
