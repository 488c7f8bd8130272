"""What the torch back end's options cost, measured on this machine: time and memory.

    python benchmarks/training.py loss       peak memory and time of each kind of loss
    python benchmarks/training.py options    a step with each option, on a small Gemma 3
    python benchmarks/training.py loader     how long a step waits for its data

Each row is measured in a process of its own, since a process's peak memory never falls. On a GPU
the same commands measure that.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

TOKENS, WIDTH = 1024, 256
OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "chunked loss": {"loss": "chunked"},
    "activation checkpointing": {"recompute": True},
    "torch.compile": {"compile": True},
    "no resets at a document's end": {"joined": True},
}


def measure_loss(kind: str, vocabulary: int) -> dict[str, float]:
    """Loss and gradients of 1,024 tokens: peak bytes above those of hidden states and head."""
    import torch

    from training.hf import loss as losses
    from training.hf.device import memory_bytes, pick_device

    device = pick_device()
    losses.LOGITS_AT_A_TIME = 1 << 23  # 32 MiB: the ratio of a real run, scaled down
    hidden = torch.randn(TOKENS, WIDTH, device=device, requires_grad=True)
    head = torch.randn(vocabulary, WIDTH, device=device, requires_grad=True)
    targets = torch.randint(0, vocabulary, (TOKENS,), device=device)
    before = memory_bytes(device)
    start = time.perf_counter()
    value = losses.LOSSES[kind](hidden, head, targets)
    torch.autograd.backward(value)
    float(value.detach())
    return {"seconds": time.perf_counter() - start, "bytes": memory_bytes(device) - before}


def measure_step(name: str) -> dict[str, float]:
    """The median of ten steps of a Gemma 3 of 4 layers at 4 x 256 tokens."""
    import numpy as np
    import torch
    from torch.utils.checkpoint import checkpoint

    from training.hf.device import memory_bytes, pick_device
    from training.hf.loss import LOSSES
    from training.hf.model import build_model, build_optimizer
    from training.hf.packing import Boundaries, Trainee
    from training.hf.parallel import layers

    option, device = OPTIONS[name], pick_device()
    settings = small_settings(not option.get("joined", False))
    torch.set_num_threads(2)
    model = build_model(settings).to(device)
    for layer in layers(model):
        if option.get("recompute"):
            inner = layer.forward
            layer.forward = lambda *a, _f=inner, **k: checkpoint(_f, *a, use_reentrant=False, **k)
        if option.get("compile"):
            layer.compile()
    boundaries = Boundaries(settings.data, settings.eod)
    trainee = Trainee(model, LOSSES[option.get("loss", "plain")], boundaries).train()
    optimizer = build_optimizer(model, settings.optimizer)
    tokens = torch.randint(2, 8192, (4, 257), device=device)
    tokens[:, ::100] = 1
    times = []
    for _ in range(13):
        start = time.perf_counter()
        torch.autograd.backward(trainee(tokens))
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return {"seconds": float(np.median(times[3:])), "bytes": float(memory_bytes(device))}


def small_settings(reset: bool) -> Any:
    """Settings of a model of about 5 million parameters."""
    from training.settings import Batch, Data, Model, Optimizer, Settings, Train, Wandb

    shape = {"hidden_size": 256, "intermediate_size": 512, "layers": 4, "heads": 4}
    shape |= {"kv_heads": 1, "head_dim": 64, "sliding_window": 128}
    here = Path(".")
    return Settings(
        seed=1, backend="hf", tokenizer_path=here, eod=1,
        model=Model("none", "gemma3", "random", 256, 8192, shape),
        optimizer=Optimizer(1e-3, 0, 0, None, "constant", 0.1, 1.0, (0.9, 0.95), 1e-8),
        batch=Batch(4, 4, 1, 1),
        data=Data(here, None, (1.0, 0.0, 0.0), reset, reset, False),
        train=Train(here, 10, 10, 10, 1, 1, 1, "fp32"),
        wandb=Wandb("p", "n", "disabled", here),
        config_path=here,
    )  # fmt: skip


def measure_loader(length: int) -> dict[str, float]:
    """Reading a global batch of 256 samples from documents of about 600 tokens, mapped."""
    import numpy as np

    from training.data import Shard, TokenStream

    rng = np.random.default_rng(0)
    lengths = rng.integers(200, 1000, 100_000).astype("<i4")
    ends = np.cumsum(lengths, dtype=np.int64)
    tokens = np.memmap("/tmp/pipeline-loader.bin", "<i4", mode="w+", shape=(int(ends[-1]),))
    shard = Shard(Path("x"), tokens, lengths, ends - lengths, "")
    stream = TokenStream([shard], 0, (1.0, 0.0, 0.0), 1)
    stream.batch(0, 1, length + 1)
    start = time.perf_counter()
    for step in range(5):
        stream.batch(step * 256, 256, length + 1)
    seconds = (time.perf_counter() - start) / 5
    Path("/tmp/pipeline-loader.bin").unlink()
    return {"seconds": seconds, "tokens_per_second": 256 * length / seconds}


def alone(what: str, *words: str) -> dict[str, float]:
    """One measurement in a process of its own."""
    ended = subprocess.run(
        [sys.executable, __file__, "--one", what, *words],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        sys.exit(f"error: {what} {' '.join(words)} failed: {ended.stderr.strip()[-500:]}")
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def main(argv: list[str]) -> None:
    """Print one table."""
    if argv[:1] == ["--one"]:
        what, *words = argv[1:]
        if what == "loss":
            row = measure_loss(words[0], int(words[1]))
        else:
            row = measure_step(words[0]) if what == "options" else measure_loader(int(words[0]))
        print(json.dumps(row))
    elif argv == ["loss"]:
        print("| loss | vocabulary | logits fp32 MiB | peak MiB | seconds |\n|---|---|---|---|---|")
        for vocabulary in (32_768, 131_072):
            for kind in ("plain", "chunked"):
                row = alone("loss", kind, str(vocabulary))
                sizes = (TOKENS * vocabulary * 4, row["bytes"])
                text = " | ".join(f"{size / 2**20:.0f}" for size in sizes)
                print(f"| {kind} | {vocabulary:,} | {text} | {row['seconds']:.2f} |", flush=True)
    elif argv == ["options"]:
        print("| option | seconds a step | peak MiB of the process |\n|---|---|---|")
        for name in OPTIONS:
            row = alone("options", name)
            mib = row["bytes"] / 2**20
            print(f"| {name} | {row['seconds']:.3f} | {mib:.0f} |", flush=True)
    elif argv == ["loader"]:
        row = alone("loader", "2048")
        print(f"{row['seconds']:.3f} s a global batch, {row['tokens_per_second']:,.0f} tokens/s")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
