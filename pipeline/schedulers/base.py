"""What every scheduler is: a table of states and pure functions, request -> argv, text -> facts.

Nothing here or in the modules beside it does I/O, so that all of it is testable on recordings.
A job's directives stand in its script (`job_templates/`); argv carries only what is known at
submission: the ids of jobs to wait for, the attempt's token.

A task has two numbers. Its *task number* is the study's (chunk 7). Its *index* is the
scheduler's: 1..k, dense, within one attempt. `pipeline.manifest` holds the map between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from pipeline.states import State

# The reason of a job that is held until other jobs have ended.
WAITS_FOR_JOBS = "waits for other jobs"


class Completed(msgspec.Struct, frozen=True):
    """A finished command: what a transport gives back."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


class Submission(msgspec.Struct, frozen=True):
    """One attempt, as the scheduler is asked to run it."""

    script: str  # path on the scheduler's host
    name: str  # the job's name, e.g. preprocess_patok
    # Unique to the attempt; the scheduler can be asked for it later. Empty of a command that stands
    # in a script for users, where nobody asks.
    token: str
    attempt: int
    array: int | None = None  # number of array elements, 1..array; None is a plain job
    after: tuple[str, ...] = ()  # job ids that must have ended, however they ended


class TaskReport(msgspec.Struct, frozen=True):
    """What the scheduler says of one index of a job (index 0: a plain job)."""

    state: State
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""  # the scheduler's own words, e.g. "Resources" or "exceeded walltime"
    host: str = ""
    elapsed_s: int | None = None


class Answer(msgspec.Struct, frozen=True):
    """Answer to a query: reports per job id, per index.

    An id that was asked for and is not in `jobs` is one that the scheduler does not know.
    `silent` holds the ids about which there was no answer at all, with the reason. `tokens` holds
    the token that a job was submitted with, empty for one without, where the answer shows that: a
    server that was reset gives old ids to other jobs.
    """

    jobs: Mapping[str, Mapping[int, TaskReport]]
    silent: Mapping[str, str] = msgspec.field(default_factory=dict)
    tokens: Mapping[str, str] = msgspec.field(default_factory=dict)


class Scheduler(Protocol):
    """The rows of `pipeline.schedulers.SCHEDULERS` satisfy this."""

    name: str
    extension: str  # of rendered scripts: .pbs, .sbatch, .sh
    cancel_releases: bool  # whether what waits for a job is released when that is cancelled
    adopt_after_s: float  # how long after its command gave up a submission may still be taken in

    def submit_argv(self, submission: Submission) -> list[str]:
        """The command that submits a script."""

    def parse_submit(self, result: Completed) -> str:
        """The job id. Raises Rejected (nothing queued) or Unreachable (it may have been)."""

    def query_argvs(self, ids: Sequence[str]) -> list[list[str]]:
        """The fewest commands that tell the state of these jobs."""

    def parse_query(self, ids: Sequence[str], results: Sequence[Completed]) -> Answer:
        """What those commands said."""

    def history_argvs(self, ids: Sequence[str]) -> list[list[str]]:
        """Commands for jobs that have left the queue; empty where the query tells it all."""

    def parse_history(self, ids: Sequence[str], results: Sequence[Completed]) -> Answer:
        """What those commands said."""

    def find_argvs(self) -> list[list[str]]:
        """Commands that list this user's jobs, running and remembered, with their tokens."""

    def parse_find(self, results: Sequence[Completed]) -> dict[str, str]:
        """Token -> job id. Raises Unreachable when there was no answer."""

    def cancel_argvs(self, job_id: str, indices: Sequence[int] | None) -> list[list[str]]:
        """Commands that cancel a job, or some indices of its array."""

    def parse_cancel(self, result: Completed) -> None:
        """Raises Unreachable or Rejected; a job that has already ended is no error."""

    def owner(self, receipt_id: str) -> tuple[str, int]:
        """(job id, index) of the id that a task's own script wrote into its receipt's name;
        ("", 0) of an id that is not this scheduler's, such as that of a script run by hand."""
