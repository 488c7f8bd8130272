"""Memory of one training step on a CPU, against what `pipeline plan` predicts.

    pip install -e '.[hf]'
    python benchmarks/train_memory.py

Each case is a process of its own: a small model of transformers in fp32, one thread, two
micro-batches and an update. `states` is what weights, gradients and AdamW's moments added to the
resident memory; `step` how far the peak of a full step lies above that; `kept` the bytes that
autograd's hooks see saved by the model's own forward pass, which no allocator blurs. Linux only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline import memory
from pipeline.shapes import Shape, shape_of

MB = 1e6
PAIRS = 1 << 20  # of a piece of the chunked loss: 4 MB of logits
BASE: dict[str, int] = {"vocab_size": 8192, "hidden_size": 256, "layers": 6, "heads": 4}
GROUPED = {**BASE, "kv_heads": 1, "head_dim": 64, "intermediate_size": 1024}
MODELS: dict[str, dict[str, Any]] = {
    "gemma3": {"architecture": "gemma3", **GROUPED},
    "gpt2": {"architecture": "gpt2", **BASE, "positions": 512},
    "llama": {"architecture": "llama", **GROUPED},
    "qwen": {"architecture": "qwen", **GROUPED},
}
CASES = [
    ("gemma3", 4, 256, "plain"), ("gemma3", 4, 256, "chunked"), ("gemma3", 8, 256, "plain"),
    ("gemma3", 4, 512, "chunked"), ("gpt2", 4, 256, "plain"), ("gpt2", 4, 256, "chunked"),
    ("gemma3", 4, 512, "chunked, recomputed"), ("gpt2", 4, 512, "chunked, recomputed"),
    ("llama", 4, 256, "plain"), ("llama", 4, 256, "chunked"), ("qwen", 4, 256, "plain"),
]  # fmt: skip


def main() -> None:
    """Prints docs/training-memory.md's table."""
    if sys.argv[1:2] == ["--case"]:
        name, micro, length, loss = json.loads(sys.argv[2])
        print(json.dumps(measure(name, micro, length, loss)))
        return
    heads = ("model", "batch", "loss", "states MB", "predicted", "kept MB", "predicted")
    print(f"| {' | '.join(heads)} | step MB | predicted |")
    print("|---" * 9 + "|")
    libraries = []
    for name, micro, length, loss in CASES:
        found = child(name, micro, length, loss)
        libraries.append(found["libraries"])
        wanted = predicted(name, micro, length, loss)
        cells = [
            name, f"{micro} x {length}", loss,
            *(cell for key in wanted for cell in (f"{found[key] / MB:.0f}", span(wanted[key]))),
        ]  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\nPython, torch and transformers: {max(libraries) / MB:.0f} MB")


def span(size: memory.Bytes) -> str:
    """`120-140`, in MB."""
    low, high = (f"{end / MB:.0f}" for end in size)
    return low if low == high else f"{low}-{high}"


def shape(name: str) -> Shape:
    """A case's model."""
    found = shape_of({"model": MODELS[name]})
    if found is None:
        raise SystemExit(f"error: {name} is no shape. Correct MODELS")
    return found


def predicted(name: str, micro: int, length: int, loss: str) -> dict[str, memory.Bytes]:
    """The same three figures by pipeline/memory.py."""
    setup = memory.Setup(
        shape(name), length, micro, precision="fp32", pairs=PAIRS, device="cpu",
        loss="plain" if loss == "plain" else "chunked", checkpointing="recomputed" in loss,
    )  # fmt: skip
    parts = memory.predict(setup)
    total = memory.Bytes(0.0, 0.0)
    for key in ("activations", "logits and loss", "buffers", "allocator"):
        total = total.plus(parts[key])
    states = sum(parts[key].high for key in ("weights", "gradients", "optimizer"))
    kept = setup.tokens * memory.eager_bytes(setup.shape, 4) * setup.shape.layers
    return {"states": memory.Bytes(states, states), "kept": memory.Bytes(kept, kept), "step": total}


def child(name: str, micro: int, length: int, loss: str) -> dict[str, float]:
    """Measures in a process of its own, whose allocator gives back at once what is freed."""
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    argv = [sys.executable, __file__, "--case", json.dumps([name, micro, length, loss])]
    done = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(name: str, micro: int, length: int, loss: str) -> dict[str, float]:
    """Bytes of states, of a step's peak above them, and of what the forward pass keeps."""
    import torch

    torch.set_num_threads(1)
    build(shape(name), length)  # and let go: what torch loads for it counts for nobody
    start = resident()
    model = build(shape(name), length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    score: Callable[..., Any] = plain if loss == "plain" else chunked
    if "recomputed" in loss:
        model.gradient_checkpointing_enable({"use_reentrant": False})

    def step(sequences: int, tokens: int, micros: int) -> None:
        optimizer.zero_grad(set_to_none=True)
        for _ in range(micros):
            ids = torch.randint(0, model.config.vocab_size, (sequences, tokens + 1))
            torch.autograd.backward(score(model, ids))
        optimizer.step()

    step(1, 8, 1)
    before = resident()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    step(micro, length, 2)
    peak = status("VmHWM")
    model.gradient_checkpointing_disable()
    saved = kept(model, torch.zeros(micro, length, dtype=torch.long))
    return {"states": before - start, "kept": saved, "step": peak - before, "libraries": start}


def build(of: Shape, length: int) -> Any:
    """A model of transformers with this shape, in fp32 and without dropout."""
    import transformers

    common = {"vocab_size": of.vocab, "bos_token_id": None, "eos_token_id": None}
    if of.family == "gpt2":
        config: Any = transformers.GPT2Config(
            n_embd=of.hidden, n_layer=of.layers, n_head=of.heads, n_positions=of.positions,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **common,
        )  # fmt: skip
    else:
        kinds = {"gemma3": "Gemma3TextConfig", "llama": "LlamaConfig", "qwen": "Qwen3Config"}
        config = getattr(transformers, kinds[of.family])(
            hidden_size=of.hidden, intermediate_size=of.intermediate, num_hidden_layers=of.layers,
            num_attention_heads=of.heads, num_key_value_heads=of.kv_heads, head_dim=of.head_dim,
            tie_word_embeddings=of.tied, max_position_embeddings=length, pad_token_id=None,
            **common,
        )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.config.use_cache = False
    if sum(p.numel() for p in model.parameters()) != of.parameters:
        raise SystemExit(f"error: {of.family} has other parameters than predicted: shapes.py")
    return model.train()


def body(model: Any, ids: Any) -> Any:
    """The hidden states behind the last layer, of shape (tokens, hidden)."""
    return model.base_model(input_ids=ids).last_hidden_state.flatten(0, 1)


def plain(model: Any, ids: Any) -> Any:
    """Mean cross-entropy in nats, with all logits at once."""
    from torch.nn import functional

    return functional.cross_entropy(model.lm_head(body(model, ids[:, :-1])), ids[:, 1:].flatten())


def chunked(model: Any, ids: Any) -> Any:
    """The same, with the logits made in pieces and made again for the gradient."""
    import torch
    from torch.nn import functional
    from torch.utils.checkpoint import checkpoint

    def piece(h: Any, t: Any) -> Any:
        return functional.cross_entropy(model.lm_head(h), t, reduction="sum")

    hidden, targets = body(model, ids[:, :-1]), ids[:, 1:].flatten()
    rows = max(PAIRS // model.config.vocab_size, 1)
    pieces = zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    return sum(checkpoint(piece, h, t, use_reentrant=False) for h, t in pieces) / len(targets)


def kept(model: Any, ids: Any) -> float:
    """Bytes of distinct storages, weights apart, that the layers save for the backward pass: twice
    what half of them add, so that embedding and final norm do not count. The model loses that half.
    """
    from torch.autograd.graph import saved_tensors_hooks

    def saved() -> int:
        found = {p.untyped_storage().data_ptr(): 0 for p in model.parameters()}
        alive = []  # a freed storage's address would be given to the next one

        def see(tensor: Any) -> Any:
            storage = tensor.untyped_storage()
            found.setdefault(storage.data_ptr(), storage.nbytes())
            alive.append(tensor)
            return tensor

        with saved_tensors_hooks(see, lambda tensor: tensor):
            alive.append(body(model, ids))
        return sum(found.values())

    everything = saved()
    base = model.base_model
    name, count = "h" if hasattr(base, "h") else "layers", model.config.num_hidden_layers
    stack = getattr(base, name)
    setattr(base, name, stack[: count // 2])
    model.config.num_hidden_layers = count // 2
    return 2.0 * (everything - saved())


def status(key: str) -> float:
    """A size of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return float(line.split()[1]) * 1024
    raise SystemExit(f"error: /proc/self/status has no {key}. Run on Linux")


def resident() -> float:
    """Bytes of memory that this process holds."""
    return status("VmRSS")


if __name__ == "__main__":
    main()
