"""What the torch back end's options cost, measured on this machine: time and memory.

    python benchmarks/training.py loss       peak memory and time of each kind of loss
    python benchmarks/training.py options    an update with each option, on a small Gemma 3
    python benchmarks/training.py loader     how long a step waits for its data

Each row is measured in a process of its own, since a process's peak memory never falls. On GPUs
(two, for the rows of two processes) say `options cuda`; benchmarks/train_gpu.py measures one GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import train_rows

TOKENS, WIDTH = 1024, 256
# What is changed, and by how many processes.
OPTIONS: dict[str, tuple[int, dict[str, Any]]] = {
    "none": (1, {}),
    "chunked loss": (1, {"loss": "chunked"}),
    "activation checkpointing": (1, {"activation_checkpointing": True}),
    "torch.compile": (1, {"compile": True}),
    "torch.compile, activation checkpointing": (
        1, {"compile": True, "activation_checkpointing": True},
    ),
    "no resets at a document's end": (
        1, {"reset_position_ids": False, "reset_attention_mask": False},
    ),
    "ddp, gradients with the last micro-batch": (2, {"parallel": "ddp"}),
    "ddp, gradients with each": (2, {"parallel": "ddp", "gradient_sync": "each"}),
    "fsdp2, gradients with the last micro-batch": (2, {"gradient_sync": "last"}),
    "fsdp2, gradients with each": (2, {"gradient_sync": "each"}),
    "fsdp2, activation checkpointing": (2, {"activation_checkpointing": True}),
    "fsdp2, torch.compile": (2, {"compile": True}),
}  # fmt: skip


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


def measure_options(name: str) -> dict[str, Any]:
    """Five updates of 8 samples, 2 at a time, after two: by this process or its share of them."""
    import torch

    torch.set_num_threads(1)
    folder = Path(os.environ["BENCHMARK_FOLDER"])
    case = {"program": "ours", "global": 8, "micro": 2, "warm": 2, "steps": 5}
    case["options"] = OPTIONS[name][1]
    return train_rows.measure(case, folder, train_rows.SMALL, os.environ["BENCHMARK_DEVICE"])


def measure_loader(length: int) -> dict[str, float]:
    """Reading a global batch of 256 samples from documents of about 600 tokens, mapped."""
    import numpy as np

    from training.data import Shard, TokenStream

    rng = np.random.default_rng(0)
    lengths = rng.integers(200, 1000, 100_000).astype("<i4")
    ends = np.cumsum(lengths, dtype=np.int64)
    with tempfile.TemporaryDirectory() as folder:
        tokens = np.memmap(f"{folder}/tokens", "<i4", mode="w+", shape=(int(ends[-1]),))
        shard = Shard(Path("x"), tokens, lengths, ends - lengths, "")
        stream = TokenStream([shard], 0, (1.0, 0.0, 0.0), 1)
        stream.batch(0, 1, length + 1)
        start = time.perf_counter()
        for step in range(5):
            stream.batch(step * 256 * length, 256, length + 1)
        seconds = (time.perf_counter() - start) / 5
    return {"seconds": seconds, "tokens_per_second": 256 * length / seconds}


def alone(what: str, *words: str, processes: int = 1, **names: str) -> dict[str, Any]:
    """One measurement in a process of its own, or in several that torchrun starts: the first one's.
    Freed memory goes back to the system at once."""
    program = [sys.executable, __file__]
    if processes > 1:
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        program = [sys.executable, *launch, __file__]
    allocator = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    ended = subprocess.run(
        [*program, "--one", what, *words],
        env={**os.environ, **allocator, "OMP_NUM_THREADS": "1", **names},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        sys.exit(f"error: {what} {' '.join(words)} failed: {ended.stderr.strip()[-500:]}")
    lines = [text for text in ended.stdout.splitlines() if text.startswith("{")]
    return dict(json.loads(lines[-1]))


def print_options(device: str) -> None:
    """A small Gemma 3 with each option."""
    print("| option | processes | seconds an update | peak MB of a process |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        train_rows.write_corpus(Path(folder), train_rows.SMALL)
        names = {"BENCHMARK_FOLDER": folder, "BENCHMARK_DEVICE": device}
        for name, (processes, _) in OPTIONS.items():
            row = alone("options", name, processes=processes, **names)
            seconds = f"{row['seconds'] / 5:.2f}"
            print(f"| {name} | {processes} | {seconds} | {row['bytes'] / 1e6:.0f} |", flush=True)
        print(f"\n{row['parameters']:,} parameters")


def main(argv: list[str]) -> None:
    """Print one table."""
    if argv[:1] == ["--one"]:
        what, *words = argv[1:]
        row: dict[str, Any]
        if what == "loss":
            row = measure_loss(words[0], int(words[1]))
        else:
            row = measure_options(words[0]) if what == "options" else measure_loader(int(words[0]))
        if os.environ.get("RANK", "0") == "0":  # two lines at once can become one
            print(json.dumps(row))
    elif argv == ["loss"]:
        print("| loss | vocabulary | logits fp32 MiB | peak MiB | seconds |\n|---|---|---|---|---|")
        for vocabulary in (32_768, 131_072):
            for kind in ("plain", "chunked"):
                row = alone("loss", kind, str(vocabulary))
                sizes = (TOKENS * vocabulary * 4, row["bytes"])
                text = " | ".join(f"{size / 2**20:.0f}" for size in sizes)
                print(f"| {kind} | {vocabulary:,} | {text} | {row['seconds']:.2f} |", flush=True)
    elif argv[:1] == ["options"] and argv[1:] in ([], ["cpu"], ["cuda"]):
        print_options(argv[1] if argv[1:] else "cpu")
    elif argv == ["loader"]:
        row = alone("loader", "2048")
        print(f"{row['seconds']:.3f} s a global batch, {row['tokens_per_second']:,.0f} tokens/s")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
