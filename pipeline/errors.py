"""The exceptions that users may see. A message is a fact plus what to do about it."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Control characters, halves of characters, and marks that turn the direction of what follows.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class PipelineError(Exception):
    """Base of all: `cli` prints the message as it is and exits with `exit_code`."""

    exit_code = 2


class ConfigError(PipelineError):
    """One or more problems of a study, a site or a request, reported together."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class StateError(PipelineError):
    """The state on disk does not allow what was asked for, or cannot be read."""


class OverBudget(StateError):
    """The study's budget does not hold what was asked for."""


class Damaged(StateError):
    """The manifest is gone or cannot be read; `pipeline repair` rebuilds it."""


class Rejected(PipelineError):
    """The scheduler refused a submission; nothing was queued."""

    exit_code = 1


class Unreachable(PipelineError):
    """The scheduler or the host did not answer; what it knows is unknown, not nothing."""

    exit_code = 3


class NotStarted(Unreachable):
    """The scheduler's command cannot be run here: nothing was asked, so nothing was queued."""


def plain(text: str) -> str:
    """A text from elsewhere as a terminal may show it: what would steer it becomes an escape."""
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)
