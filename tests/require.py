"""Skips a test whose tool is missing, unless this run is one where it must be there."""

from __future__ import annotations

import os

import pytest


def require(name: str, available: bool, reason: str) -> None:
    """Skips with `reason`; fails instead if PIPELINE_TEST_REQUIRE (a,b,c) lists `name`."""
    if available:
        return
    if name in os.environ.get("PIPELINE_TEST_REQUIRE", "").replace(" ", "").split(","):
        pytest.fail(f"{name} is required in this run: {reason}")
    pytest.skip(reason)
