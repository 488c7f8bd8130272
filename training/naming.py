"""Names of runs that say on what they ran."""

from __future__ import annotations

import re

VENDORS = re.compile(r"^(nvidia|amd|intel(\(r\))?)\s+", re.IGNORECASE)


def gpu_slug(device: str) -> str:
    """A device's name as part of another: `NVIDIA A100-SXM4-40GB` is a100-sxm4-40gb, `Tesla T4`
    tesla-t4, a CPU cpu."""
    return re.sub(r"[^a-z0-9]+", "-", VENDORS.sub("", device).lower()).strip("-")


def run_name(name: str, device: str) -> str:
    """The name of a run, `{gpu}` in it replaced."""
    return name.replace("{gpu}", gpu_slug(device))
