"""Which PBS the tests here run on: the fake, or the one on PATH where PIPELINE_TEST_PBS is 1."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakepbs.cluster import Cluster
from tests.fakepbs.fixture import FakePBS, fakepbs

__all__ = ["fakepbs"]
REAL = os.environ.get("PIPELINE_TEST_PBS") == "1" and shutil.which("qsub") is not None


@pytest.fixture
def pbs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    if REAL:
        # A folder that the nodes see too.
        with tempfile.TemporaryDirectory(dir=Path.home()) as shared:
            yield Cluster(Path(shared), None)
        return
    folder = tmp_path / "work"
    folder.mkdir()
    yield Cluster(folder, request.getfixturevalue("fakepbs"))


@pytest.fixture
def fake(pbs: Cluster) -> FakePBS:
    """For what only a fake can be told to do: to be down, to have no history."""
    if pbs.fake is None:
        pytest.skip("needs settings of the fake")
    return pbs.fake
