"""The device: which one, in which precision, how fast it can be, and how much memory is used."""

from __future__ import annotations

import contextlib
import re
import resource
import time
from typing import Any

import torch

from training.contract import BadInput

LOWER = {"bf16-mixed": torch.bfloat16, "fp16-mixed": torch.float16}

# Dense peak in 1e12 floating point operations a second (bf16 or fp16 with sums in fp32; fp32), from
# the makers' data sheets. A GPU is the first one all of whose words are in its name.
PEAKS = {
    "h200": (989.0, 67.0),
    "h100 pcie": (756.0, 51.0),
    "h100 nvl": (835.0, 60.0),
    "h100": (989.0, 67.0),
    "a100": (312.0, 19.5),
    "l40s": (362.0, 91.6),
    "l4": (121.0, 30.3),
    "a10g": (70.0, 31.5),
    "a10": (125.0, 31.2),
    "v100": (125.0, 15.7),
    "t4": (65.0, 8.1),
}


def pick_device(local_rank: int = 0) -> torch.device:
    """This process's GPU if there is one."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def pick_precision(wanted: str, device: torch.device) -> str:
    """`auto` is bf16-mixed where the hardware has bf16 (compute capability 8), fp16-mixed where it
    has fast fp16 (7), else fp32.

    Raises BadInput when a precision is asked of a device without it.
    """
    level = torch.cuda.get_device_capability(device)[0] if device.type == "cuda" else 0
    able = {"bf16-mixed": level >= 8, "fp16-mixed": level >= 7, "fp32": True}
    if wanted == "auto":
        return next(name for name, fast in able.items() if fast)
    if not able[wanted]:
        newer = "an A100" if wanted == "bf16-mixed" else "a V100"
        raise BadInput(
            f"train.precision is {wanted}, and this {device.type} has no fast {wanted[:4]}",
            f"Set it to auto or fp32, or run on {newer} or newer",
        )
    return wanted


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Arithmetic in 16 bits over fp32 weights, or nothing."""
    if precision in LOWER:
        return torch.autocast(device.type, LOWER[precision])
    return contextlib.nullcontext()


class LossScale:
    """Keeps fp16's small gradients above zero: a factor on the loss, taken off the gradients.

    Halved when a gradient is no number, and that update skipped; doubled after 2,000 good ones.
    The other precisions have the range of fp32 and a factor of 1.
    """

    def __init__(self, precision: str) -> None:
        self.active = precision == "fp16-mixed"
        self.factor = 65536.0 if self.active else 1.0
        self.good = 0

    def accept(self, finite: bool) -> bool:
        """Whether to make the update; adapts the factor to come."""
        if not self.active:
            return finite
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.factor /= 2
        elif self.good == 2000:
            self.factor, self.good = self.factor * 2, 0
        return finite


def memory_bytes(device: torch.device) -> int:
    """The most that torch has allocated on a GPU so far; on a CPU the most the process has held."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kilobytes on Linux


def peak_flops(device: torch.device, precision: str) -> tuple[float, str]:
    """Peak floating point operations a second, and whence: a data sheet, or else measured."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    for known, (lower, full) in PEAKS.items():
        if words >= set(known.split()):
            return (lower if precision in LOWER else full) * 1e12, f"data sheet of the {known}"
    return measure_flops(device, LOWER.get(precision, torch.float32)), "measured matrix product"


def measure_flops(device: torch.device, dtype: torch.dtype) -> float:
    """The best of five square matrix products, each of 2 n^3 operations."""
    size = 8192 if device.type == "cuda" else 768
    a = torch.randn(size, size, device=device).to(dtype)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        float((a @ a)[0, 0])  # waits for the result
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
