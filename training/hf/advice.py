"""What to change where a GPU has much to spare."""

from __future__ import annotations

import contextlib

import torch

from training.fit_settings import FitSettings

IDLE_MEMORY = 0.4  # below this share of a GPU's memory, twice the batch fits with room to spare


def advice(memory: float, busy: float, settings: FitSettings) -> str:
    """What to change where a GPU has much to spare: memory and time in use as shares, or ''."""
    if memory >= IDLE_MEMORY:
        return ""
    batch, options = settings.batch, settings.train
    words = [f"batch.train {2 * batch.train} and batch.eval {2 * batch.eval}"]
    if batch.accumulation > 1:
        words[0] += f" with batch.accumulation {max(batch.accumulation // 2, 1)}"
    if options.activation_checkpointing:
        words.append("train.activation_checkpointing false, which this model does not need")
    used = f"{100 * memory:.0f} % of the GPU's memory is in use"
    if busy < 0.9:
        used += f", and it computes {100 * busy:.0f} % of the time"
    return f"{used}. Try {'; '.join(words)}"


def use_of(device: torch.device) -> tuple[float, float] | None:
    """The share of a GPU's memory that torch has taken at most, and of the last second in which it
    computed, as far as the driver tells (else 1); None on a CPU."""
    if device.type != "cuda":
        return None
    total = torch.cuda.get_device_properties(device).total_memory
    busy = 1.0
    with contextlib.suppress(ModuleNotFoundError, RuntimeError):  # without NVIDIA's bindings
        busy = torch.cuda.utilization(device) / 100
    return torch.cuda.max_memory_reserved(device) / total, busy
