"""What tests of faults share."""

from __future__ import annotations

from tests.cluster.fixture import own_slurm

__all__ = ["own_slurm"]
