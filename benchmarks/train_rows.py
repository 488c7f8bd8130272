"""One row of benchmarks/train_gpu.py, measured in the process that calls it.

Our trainer is measured by its own update, `learn`, on a corpus of its own format; transformers'
Trainer by its own loop, on the same samples, the same first weights, the same schedule.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from training.data import HEADER, MAGIC

Row = dict[str, Any]
EOD = 1
# Gemma 3 1B, of 999,885,952 parameters (google/gemma-3-1b-pt's configuration).
FULL: Row = {
    "vocab_size": 262_144, "seq_length": 2048, "documents": (200, 1000), "tokens": 3_000_000,
    "config": {"hidden_size": 1152, "intermediate_size": 6912, "layers": 26, "heads": 4,
               "kv_heads": 1, "head_dim": 256, "sliding_window": 512},
}  # fmt: skip
SMALL: Row = {
    "vocab_size": 8192, "seq_length": 256, "documents": (50, 300), "tokens": 200_000,
    "config": {"hidden_size": 256, "intermediate_size": 1024, "layers": 6, "heads": 4,
               "kv_heads": 1, "head_dim": 64, "sliding_window": 128},
}  # fmt: skip
TINY: Row = {
    "vocab_size": 512, "seq_length": 64, "documents": (10, 50), "tokens": 20_000,
    "config": {"hidden_size": 32, "intermediate_size": 64, "layers": 2, "heads": 2,
               "kv_heads": 1, "head_dim": 16, "sliding_window": 16},
}  # fmt: skip


# GPT-2's smallest, with 2,048 positions: studies/wiki-curriculum.yaml. Articles as long as there.
GPT2: Row = {
    "vocab_size": 50_257, "seq_length": 2048, "documents": (1000, 7000), "tokens": 3_000_000,
    "architecture": "gpt2",
    "config": {"hidden_size": 768, "intermediate_size": 3072, "layers": 12, "heads": 12},
}  # fmt: skip
TINY_GPT2: Row = {
    "vocab_size": 512, "seq_length": 128, "documents": (60, 400), "tokens": 20_000,
    "architecture": "gpt2",
    "config": {"hidden_size": 32, "intermediate_size": 64, "layers": 2, "heads": 2},
}  # fmt: skip


def size_of(ladder: bool, tiny: bool) -> Row:
    """The model and the text of a benchmark."""
    if ladder:
        return TINY_GPT2 if tiny else GPT2
    return TINY if tiny else FULL


def write_corpus(folder: Path, size: Row) -> None:
    """Documents of random ids, each with its end: `folder`/text.bin and .idx."""
    rng = np.random.default_rng(0)
    few, many = size["documents"]
    lengths = rng.integers(few, many, 2 * size["tokens"] // (few + many)).astype("<i4")
    ends = np.cumsum(lengths, dtype="<i8")
    tokens = rng.integers(2, size["vocab_size"], ends[-1]).astype("<i4")
    tokens[ends - 1] = EOD
    head = HEADER.pack(MAGIC, 1, 4, len(lengths), len(lengths) + 1)
    parts = (lengths, 4 * (ends - lengths), np.arange(len(lengths) + 1, dtype="<i8"))
    (folder / "text.bin").write_bytes(tokens.tobytes())
    (folder / "text.idx").write_bytes(head + b"".join(part.tobytes() for part in parts))
    (folder / "tokenizer.json").write_text("{}")


def settings_of(case: Row, folder: Path, size: Row) -> Any:
    """A case's settings, read as a study's are."""
    from training.config import read_settings
    from training.contract import Section

    steps = case["warm"] + case["steps"]
    parameters = {
        "seed": 1,
        "tokenizer": {"path": str(folder), "eod": EOD},
        "model": {"init": "random", "architecture": size.get("architecture", "gemma3")}
        | {key: size[key] for key in ("vocab_size", "seq_length", "config")},
        "optimizer": {"lr": 1e-4, "min_lr": 1e-5, "warmup_steps": 1, "weight_decay": 0.1},
        "batch": {"global": case["global"], "micro": case["micro"]},
        "train": {"backend": "hf", "data_path": str(folder / "text"), "split": [90, 10, 0]}
        | {"checkpoint_dir": str(folder / "run"), "max_steps": steps, "checkpoint_every": steps}
        | {"validate_every": steps} | case["options"],
    }  # fmt: skip
    if "length" in case:  # one stage of a curriculum, its batch in one piece
        row = {"step": 0, "seq_len": case["length"], "batch_size": case["global"]}
        parameters["curriculum_stages"] = [row]
        parameters["batch"] = dict.fromkeys(("global", "micro"), case["global"])
        parameters["train"] |= {"validation": {"batch": case.get("validation", 0)}}
    config = Section({"parameters": parameters, "resources": {"gpus": 0}}, folder / "none")
    settings = read_settings(config, int(os.environ.get("WORLD_SIZE", "1")))
    config.raise_problems()
    return settings


def measure(case: Row, folder: Path, size: Row, device: str) -> Row:
    """Tokens a second, peak bytes and what else is known of one case."""
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if case["program"] == "rate":
        return measure_rate()
    settings = settings_of(case, folder, size)
    ours = case["program"] == "ours"
    return measure_ours(case, settings) if ours else measure_theirs(case, settings, folder)


def measure_rate() -> Row:
    """The matrix product that utilisation is held against: bf16 on a GPU, fp32 on a CPU."""
    import torch

    from training.hf.device import measure_flops, peak_flops, pick_device

    device = pick_device()
    gpu = device.type == "cuda"
    dtype = torch.bfloat16 if gpu else torch.float32
    sheet, source = peak_flops(device, "bf16-mixed" if gpu else "fp32")
    return {
        "device": torch.cuda.get_device_name(device) if gpu else "CPU",
        "rate": max(measure_flops(device, dtype) for _ in range(3)),
        "sheet": sheet if "sheet" in source else 0.0,
        "torch": torch.__version__,
    }


def clock(device: Any) -> float:
    """Seconds, once the device has done all that it was given."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_bytes(device: Any) -> int:
    """What torch's allocator took from a GPU at most; of a process on a CPU all that it held."""
    import torch

    from training.hf.device import memory_bytes

    gpu = device.type == "cuda"
    return int(torch.cuda.max_memory_reserved(device)) if gpu else memory_bytes(device)


def measure_ours(case: Row, settings: Any) -> Row:
    """Our trainer's updates, as its loop makes them."""
    from training.hf import run_cpt
    from training.hf.guards import Stop
    from training.hf.model import flops_per_token
    from training.hf.parallel import join
    from training.hf.run import setup

    with join() as world:
        run = setup(settings, world, Stop())
        assert run is not None
        for _ in range(case["warm"]):
            run_cpt.learn(run)
        length = settings.stages[0].seq_len
        if "validation" in case:
            run.feeder.close()
            return _measure_validation(case, run, length)
        waited, start = run.feeder.waited, clock(world.device)
        for _ in range(case["steps"]):
            run_cpt.learn(run)
        seconds = clock(world.device) - start
        run.feeder.close()
        return {
            "seconds": seconds,
            "tokens": case["steps"] * settings.stages[0].batch_size * length,
            "bytes": peak_bytes(world.device),
            "flops": flops_per_token(run.model, length),
            "loss_kind": run.status.facts["loss_kind"],
            "waited": (run.feeder.waited - waited) / seconds,
            "parameters": run.status.facts["parameters"],
        }


def _measure_validation(case: Row, run: Any, length: int) -> Row:
    """Held-out text in batches of its own size, behind updates whose memory is given back."""
    import torch

    from training.hf.heldout import measure as look
    from training.hf.model import flops_per_token

    device = run.world.device
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    start = clock(device)
    seen = look(run, length)
    seconds = clock(device) - start
    assert seen is not None
    return {
        "seconds": seconds,
        "tokens": seen.samples * length,
        "bytes": peak_bytes(device),
        "flops": flops_per_token(run.model, length) / 3,  # no backward pass
        "loss_kind": run.status.facts["loss_kind"],
        "parameters": run.status.facts["parameters"],
    }


def measure_theirs(case: Row, settings: Any, folder: Path) -> Row:
    """transformers' Trainer over the same samples; it knows nothing of documents in them."""
    import torch
    import transformers

    from training.data import open_corpus
    from training.hf.device import pick_device
    from training.hf.model import build_model, flops_per_token

    device = pick_device()
    gpu, length = device.type == "cuda", settings.model.seq_length
    stream = open_corpus(settings.data, settings.model, settings.seed, check=False).train
    torch.backends.cuda.matmul.allow_tf32 = True

    class Samples(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
        def __len__(self) -> int:
            return int(settings.batch.global_size * settings.train.max_steps)

        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            ids = torch.from_numpy(stream.batch(index * length, 1, length + 1)[0][:-1])
            return {"input_ids": ids, "labels": ids}

    moments: list[float] = []

    class Clock(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            moments.append(clock(device))

    arguments = transformers.TrainingArguments(
        output_dir=str(folder / "theirs"), max_steps=settings.train.max_steps, seed=1,
        per_device_train_batch_size=settings.batch.micro,
        gradient_accumulation_steps=settings.batch.accumulation,
        bf16=gpu, use_cpu=not gpu, optim="adamw_torch_fused" if gpu else "adamw_torch",
        learning_rate=1e-4, weight_decay=0.1, adam_beta2=0.95, lr_scheduler_type="cosine",
        warmup_steps=1, max_grad_norm=1.0, dataloader_num_workers=4 if gpu else 0,
        dataloader_pin_memory=gpu, save_strategy="no", logging_strategy="no", report_to=[],
        disable_tqdm=True, **case["options"],
    )  # fmt: skip
    model = build_model(settings)
    flops = flops_per_token(model, length)
    trainer = transformers.Trainer(
        model=model, args=arguments, train_dataset=Samples(), callbacks=[Clock()]
    )
    trainer.train()
    return {
        "seconds": moments[-1] - moments[case["warm"] - 1],
        "tokens": case["steps"] * settings.tokens_per_step,
        "bytes": peak_bytes(device),
        "flops": flops,
        "loss_kind": "liger" if case["options"].get("use_liger_kernel") else "plain",
    }
