"""This machine as a scheduler: `pipeline/localq.py`, run as a program of its own."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import Rejected, Unreachable
from pipeline.ranges import to_ranges
from pipeline.schedulers.base import Answer, Completed, Submission, TaskReport
from pipeline.states import State

LOCALQ = Path(__file__).resolve().parent.parent / "localq.py"

# localq's states. `gone`, a task whose end nobody saw, is missing here: the answer leaves such a
# task out, as one that the scheduler no longer knows, and the receipts tell.
STATES = {
    "queued": State.QUEUED,
    "running": State.RUNNING,
    "completed": State.COMPLETED,
    "failed": State.FAILED,
    "cancelled": State.CANCELLED,
    "timeout": State.TIMEOUT,
}
_ID = re.compile(r"(L[1-9][0-9]*)(?:_([1-9][0-9]*))?")
_NO_PROGRAM = re.compile(r"can't open file .*localq\.py.?: \[Errno 2\]")
_REFUSAL = "localq: "  # how its own messages begin; a traceback does not


class Local:
    """A queue whose state is in `spool`; the supervisor behind it starts by itself."""

    name = "local"
    extension = ".sh"
    cancel_releases = True
    adopt_after_s = 2.0  # localq's `submit` does its work in a fraction of that, or never

    def __init__(
        self, spool: str = "", python: str = sys.executable, localq: str = str(LOCALQ),
        slots: int = 0,
    ) -> None:  # fmt: skip
        self.spool, self.python, self.localq, self.slots = spool, python, localq, slots

    def _argv(self, command: str, *rest: str) -> list[str]:
        # `--spool=DIR` and `--` keep a path that starts with a dash from being an option.
        return [self.python, self.localq, command, f"--spool={self.spool}", *rest]

    def submit_argv(self, submission: Submission) -> list[str]:
        options = [f"--name={submission.name}", f"--token={submission.token}"]
        options.append(f"--attempt={submission.attempt}")
        if self.slots:
            options.append(f"--slots={self.slots}")
        if submission.array is not None:
            options.append(f"--array={submission.array}")
        options.extend(f"--after={job_id}" for job_id in submission.after)
        return self._argv("submit", *options, "--", submission.script)

    def parse_submit(self, result: Completed) -> str:
        job_id = result.stdout.strip()
        if result.returncode == 0 and _ID.fullmatch(job_id):
            return job_id
        if _refused(result) and not job_id:
            raise Rejected(_said(result))
        raise Unreachable(f"the local queue gave no job id: {_said(result)}")

    def query_argvs(self, ids: Sequence[str]) -> list[list[str]]:
        return [self._argv("stat", "--", *ids)] if ids else []

    def parse_query(self, ids: Sequence[str], results: Sequence[Completed]) -> Answer:
        if not ids:
            return Answer({})
        try:
            jobs = {job["id"]: job for job in _jobs(results) if job["id"] in ids}
        except Unreachable as error:
            return Answer({}, dict.fromkeys(ids, str(error)))
        return Answer(
            {job_id: _reports(jobs[job_id]) for job_id in ids if job_id in jobs},
            tokens={job_id: job["token"] for job_id, job in jobs.items()},
        )

    def history_argvs(self, ids: Sequence[str]) -> list[list[str]]:
        return []

    def parse_history(self, ids: Sequence[str], results: Sequence[Completed]) -> Answer:
        return Answer({})

    def find_argvs(self) -> list[list[str]]:
        return [self._argv("stat")]

    def parse_find(self, results: Sequence[Completed]) -> dict[str, str]:
        if results and _NO_PROGRAM.search(results[0].stderr):
            return {}  # on another host, where the first submission brings it
        return {job["token"]: job["id"] for job in _jobs(results) if job["token"]}

    def cancel_argvs(self, job_id: str, indices: Sequence[int] | None) -> list[list[str]]:
        chosen = [] if indices is None else [f"--index={to_ranges(indices)}"]
        return [self._argv("cancel", *chosen, "--", job_id)]

    def parse_cancel(self, result: Completed) -> None:
        if result.returncode == 0:
            return
        if _refused(result):
            raise Rejected(_said(result))
        raise Unreachable(f"the local queue did not cancel: {_said(result)}")

    def owner(self, receipt_id: str) -> tuple[str, int]:
        match = _ID.fullmatch(receipt_id)
        if not match:
            return "", 0
        return match[1], int(match[2] or 0)


def _refused(result: Completed) -> bool:
    return result.returncode in (1, 2) and result.stderr.startswith((_REFUSAL, "usage: localq"))


def _said(result: Completed) -> str:
    lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
    return lines[-1].removeprefix(_REFUSAL) if lines else f"exit {result.returncode}, no message"


def _jobs(results: Sequence[Completed]) -> list[dict[str, Any]]:
    """The jobs of one `stat`. Raises Unreachable unless it answered."""
    for result in results:
        if result.returncode == 0:
            try:
                jobs: list[dict[str, Any]] = json.loads(result.stdout)["jobs"]
            except (ValueError, KeyError, TypeError) as error:
                raise Unreachable(f"the local queue's answer cannot be read: {error}") from error
            return jobs
        raise Unreachable(f"the local queue did not answer: {_said(result)}")
    raise Unreachable("the local queue was not asked")


def _reports(job: dict[str, Any]) -> dict[int, TaskReport]:
    waits = ", ".join(job.get("waits_for", []))
    reports = {}
    for index, task in job["tasks"].items():
        state = STATES.get(task["state"])
        if state is None:
            continue
        reports[int(index)] = TaskReport(
            state=state,
            exit_code=task.get("exit"),
            signal=task.get("signal"),
            reason=f"waits for {waits}"
            if waits and state is State.QUEUED
            else task.get("reason", ""),
            host=task.get("host", ""),
            elapsed_s=task.get("elapsed"),
        )
    return reports
