"""Torque: the `qsub` and `qstat` of its manual. Never run against a Torque: no recording of one was
to be had, so whatever stands here is read, not seen.

It differs from OpenPBS in what matters here: `-t` makes an array, whose dependents need
`afteranyarray`; `qstat -f` prints text, not JSON; and a job that has ended stays in state C with
its `exit_status` for `keep_completed` seconds only, after which nobody but its receipt knows of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pipeline.errors import Rejected, Unreachable
from pipeline.schedulers.base import Answer, Completed, Submission, TaskReport
from pipeline.schedulers.indices import runs
from pipeline.schedulers.pbs import TOKEN, UNKNOWN_ID, no_server
from pipeline.schedulers.words import complaint, seconds, signal_name
from pipeline.states import EXIT_STATES, State

# `5.host`, `5[].host`, `5[7].host`; before Torque 3, an array's task was `5-7.host`.
JOB_ID = re.compile(r"(\d+)(?:(\[(\d*)\])|-(\d+))?(\.\S+)?", re.ASCII)

STATES = {  # Torque Administrator Guide, qstat
    "Q": State.QUEUED,
    "W": State.QUEUED,  # waits for its start time
    "T": State.QUEUED,  # on its way to another server
    "H": State.HELD,
    "S": State.HELD,
    "R": State.RUNNING,
    "E": State.RUNNING,  # its output is being delivered
}
EXITS = {  # Torque Administrator Guide, "Job exit status"; the others are failures to start
    -3: (State.FAILED, "the node could not start it, and asks for another try"),
    -10: (State.OOM, "exceeded its memory"),
    -11: (State.TIMEOUT, "exceeded its walltime"),
    -12: (State.TIMEOUT, "exceeded its CPU time"),
}
_ATTRIBUTE = re.compile(r"\s+([\w.]+) = (.*)")
_NOT_DELETED = frozenset({0, UNKNOWN_ID, 170})  # 170: state C, "invalid for state of job"

Attributes = Mapping[str, str]


class Torque:
    """The `torque` row of the scheduler table."""

    name = "torque"
    extension = ".pbs"
    cancel_releases = False  # not known of it: taken to be as in PBS
    adopt_after_s = 2.0

    def submit_argv(self, submission: Submission) -> list[str]:
        values = f"PIPELINE_TOKEN={submission.token},PIPELINE_ATTEMPT={submission.attempt}"
        argv = ["qsub", "-v", values] if submission.token else ["qsub"]
        arrays = [job_id for job_id in submission.after if "[]" in job_id]
        plain = [job_id for job_id in submission.after if "[]" not in job_id]
        kinds = [("afterany", plain), ("afteranyarray", arrays)]
        if depends := [f"{kind}:{':'.join(ids)}" for kind, ids in kinds if ids]:
            argv += ["-W", f"depend={','.join(depends)}"]
        script = submission.script
        return [*argv, f"./{script}" if script.startswith("-") else script]

    def parse_submit(self, result: Completed) -> str:
        found = [JOB_ID.fullmatch(line.strip()) for line in result.stdout.splitlines()]
        ids = [match[0] for match in found if match and not match[3] and not match[4]]
        if result.returncode == 0:
            if ids:
                return ids[-1]
            raise Unreachable(f"qsub printed no job id: {complaint(result)}")
        if ids:
            raise Unreachable(f"qsub printed {ids[-1]} and failed: {complaint(result)}")
        if no_server(result):
            raise Unreachable(f"Torque does not answer: {complaint(result)}")
        raise Rejected(f"Torque refused it: {complaint(result)}")

    def query_argvs(self, ids: Sequence[str]) -> list[list[str]]:
        return [["qstat", "-f", "-t", job_id] for job_id in ids]

    def parse_query(self, ids: Sequence[str], results: Sequence[Completed]) -> Answer:
        jobs: dict[str, Mapping[int, TaskReport]] = {}
        silent = dict.fromkeys(ids[len(results) :], "not asked")
        tokens: dict[str, str] = {}
        for job_id, result in zip(ids, results, strict=False):
            if result.returncode == UNKNOWN_ID:
                continue
            if result.returncode != 0:
                silent[job_id] = f"Torque does not answer: {complaint(result)}"
                continue
            found = _reports(job_id, result.stdout)
            for _, attributes in _jobs(result.stdout) if found else ():
                if variables := attributes.get("Variable_List"):
                    match = TOKEN.search(variables)
                    tokens[job_id] = match[1] if match else ""
            if found:
                jobs[job_id] = found
            else:
                silent[job_id] = f"qstat said nothing of it: {complaint(result)}"
        return Answer(jobs, silent, tokens)

    def history_argvs(self, ids: Sequence[str]) -> list[list[str]]:
        return []

    def parse_history(self, ids: Sequence[str], results: Sequence[Completed]) -> Answer:
        return Answer({})

    def find_argvs(self) -> list[list[str]]:
        return [["qstat", "-f"]]

    def parse_find(self, results: Sequence[Completed]) -> dict[str, str]:
        tokens: dict[str, str] = {}
        for result in results:
            if result.returncode != 0:
                raise Unreachable(f"Torque does not answer: {complaint(result)}")
            for job_id, attributes in _jobs(result.stdout):
                match = TOKEN.search(attributes.get("Variable_List", ""))
                if match:
                    tokens[match[1]] = _whole(job_id)
        return tokens

    def cancel_argvs(self, job_id: str, indices: Sequence[int] | None) -> list[list[str]]:
        if indices is None or "[]" not in job_id:
            return [["qdel", job_id]]
        return [["qdel", "-t", ",".join(runs(indices)), job_id]]

    def parse_cancel(self, result: Completed) -> None:
        if result.returncode in _NOT_DELETED:
            return
        if no_server(result):
            raise Unreachable(f"Torque does not answer: {complaint(result)}")
        raise Rejected(f"Torque did not delete it: {complaint(result)}")

    def owner(self, receipt_id: str) -> tuple[str, int]:
        """`5[7].host` is task 7 of `5[].host`; ("", 0) for an id that is not Torque's."""
        match = JOB_ID.fullmatch(receipt_id)
        if not match:
            return "", 0
        index = match[3] or match[4]
        return (_whole(receipt_id), int(index[:9])) if index else (receipt_id, 0)


def _whole(job_id: str) -> str:
    """The id of the array that a task's id belongs to; a plain job's own."""
    match = JOB_ID.fullmatch(job_id)
    if not match or not (match[2] or match[4]):
        return job_id
    return f"{match[1]}[]{match[5] or ''}"


def _jobs(text: str) -> Iterator[tuple[str, Attributes]]:
    """The jobs of `qstat -f`: a line `Job Id: X`, then `    name = value`; a value goes on in lines
    that begin with a tab."""
    attributes: dict[str, str] = {}
    job_id = last = ""
    for line in text.splitlines():
        if line.startswith("Job Id:"):
            if job_id:
                yield job_id, attributes
            job_id, attributes, last = line.partition(":")[2].strip(), {}, ""
        elif match := _ATTRIBUTE.fullmatch(line):
            last = match[1]
            attributes[last] = match[2]
        elif line.startswith("\t") and last:
            attributes[last] += line.strip()
    if job_id:
        yield job_id, attributes


def _reports(job_id: str, text: str) -> dict[int, TaskReport]:
    """What an answer about one job says, per index; an array's parent says nothing of its tasks."""
    found: dict[int, TaskReport] = {}
    for key, attributes in _jobs(text):
        match = JOB_ID.fullmatch(key)
        if not match or _whole(key) != job_id:
            continue
        index = match[3] or match[4]
        if index or not match[2]:
            found[int(index[:9]) if index else 0] = _report(attributes)
    return found


def _report(attributes: Attributes) -> TaskReport:
    letter = attributes.get("job_state", "")
    used = attributes.get("resources_used.walltime")
    chunks = [chunk.partition("/")[0] for chunk in attributes.get("exec_host", "").split("+")]
    host, elapsed = ",".join(dict.fromkeys(filter(None, chunks))), seconds(used) if used else None
    if letter != "C":
        state = STATES.get(letter, State.UNKNOWN)
        waits = state in (State.QUEUED, State.HELD)
        reason = attributes.get("comment", "") if waits else ""
        if state == State.UNKNOWN:
            reason = f"Torque says state {letter!r}"
        return TaskReport(state, reason=reason, host=host, elapsed_s=elapsed)
    text = attributes.get("exit_status", "")
    if not re.fullmatch(r"-?\d{1,9}", text, re.ASCII):
        if host:
            return TaskReport(State.FAILED, reason="ended without an exit status", host=host)
        return TaskReport(State.CANCELLED, reason="deleted, never run")
    code = int(text)
    if code < 0:
        state, reason = EXITS.get(code, (State.FAILED, f"Torque could not run it (status {code})"))
        return TaskReport(state, reason=reason, host=host, elapsed_s=elapsed)
    if code > 256:  # 256 + the signal; qdel sends SIGTERM and SIGKILL
        signal = code - 256
        state = State.CANCELLED if signal in (9, 15) else State.FAILED
        return TaskReport(state, signal=signal, reason=f"killed by {signal_name(signal)}",
                          host=host, elapsed_s=elapsed)  # fmt: skip
    return TaskReport(EXIT_STATES.get(code, State.FAILED), exit_code=code, host=host,
                      elapsed_s=elapsed)  # fmt: skip
