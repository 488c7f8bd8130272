"""Fixtures that put a scheduler behind the same tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.fixture import Slurm
from tests.fakepbs.fixture import FakePBS


@pytest.fixture
def pbs_env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A PBS: the fake one, or with PIPELINE_TEST_PBS=1 the one on PATH."""
    if os.environ.get("PIPELINE_TEST_PBS") == "1" and shutil.which("qsub"):
        yield {}
        return
    fake = FakePBS(tmp_path / "pbs")
    yield fake.env
    fake.stop()


@pytest.fixture
def slurm_env(slurm: Slurm) -> dict[str, str]:
    """What leads `sbatch` and its kind to the test cluster."""
    return {"SLURM_CONF": slurm.env["SLURM_CONF"]}
