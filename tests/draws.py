"""How a property test draws its examples: the same ones each time, unless others are asked for.

A change should not fail for what it did not touch, so a run draws what the last one drew.
PIPELINE_TEST_EXAMPLES=5000 pytest ... draws that many, others each time, to look for what is wrong.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

_ASKED = os.environ.get("PIPELINE_TEST_EXAMPLES", "")


def draws(examples: int = 100, **others: Any) -> settings:
    """Settings of a test of `examples` draws; the environment may ask for more."""
    return settings(
        max_examples=int(_ASKED or examples), derandomize=not _ASKED, deadline=None, database=None,
        **others,
    )  # fmt: skip


settings.register_profile("project", draws())
settings.load_profile("project")  # of tests that say nothing themselves
