"""OpenPBS and PBS Professional: what to call, and what the answers mean.

Two questions, since the finished need a flag that sites with job history off refuse for the living
as well: `qstat -t` for what is in the queue, `qstat -x -t` for what has left it. One id a call:
given two, current clients print the first only, and without an id `-t` lists every subjob that the
server remembers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import Rejected, Unreachable
from pipeline.schedulers.base import Answer, Completed, Submission, TaskReport
from pipeline.schedulers.indices import runs
from pipeline.schedulers.pbs_json import decode
from pipeline.schedulers.pbs_states import JOB_ID, reports
from pipeline.schedulers.words import complaint

# Exit codes are PBS error numbers modulo 256 (pbs_error.h). For these, nobody at the server
# decided: no connection (162, 186, 255), none free (13, 185), protocol (183, 208), shutdown (212).
NO_SERVER = frozenset({13, 162, 183, 185, 186, 208, 212, 255})
NO_SERVER_WORDS = re.compile(
    r"connect to|connection (refused|reset|timed out|closed)|timed out|end of file|no route to host"
    r"|communication failure|shutting down",
    re.IGNORECASE,
)
UNKNOWN_ID, FINISHED, ENDING = 153, 35, 168
NO_HISTORY = "not configured to maintain job history"

REMEDIES = {  # of qsub's exit codes
    3: "Give the limit on one array as `max_array` in the site's file, and the tasks go in several "
    "(`qstat -Bf` and `qstat -Qf` show it as max_array_size)",
    38: "Wait until some of your jobs have ended, or use another queue",
    166: "Correct the value in the site's file or the stage's `resources`",
    170: "`qstat -Q` lists the queues; correct the queue in the site's file",
    173: "The queue takes no jobs now: choose another in the site's file",
    174: "You may not use this queue: choose another in the site's file",
    187: "The site has no such resource: correct its file's resource names",
    188: "Ask for less, or for a queue with larger limits (`qstat -Qf` shows them)",
}

# A token always starts with a letter: qstat's JSON turns a value that looks like a number into
# one (12345678 into a number, 1e400 into null), and the token would be gone.
TOKEN = re.compile(r"\bPIPELINE_TOKEN=([0-9A-Za-z]+)")


class PBS:
    """The `pbs` row of the scheduler table."""

    name = "pbs"
    extension = ".pbs"
    cancel_releases = False  # what waits for a job that was deleted in the queue is held for ever
    adopt_after_s = 2.0  # the server takes a request in hundredths of a second, a busy one in some

    def submit_argv(self, submission: Submission) -> list[str]:
        """`-v` takes neither commas nor quotes well, so it carries these two words only."""
        values = f"PIPELINE_TOKEN={submission.token},PIPELINE_ATTEMPT={submission.attempt}"
        argv = ["qsub", "-v", values] if submission.token else ["qsub"]
        if submission.after:
            argv += ["-W", f"depend=afterany:{':'.join(submission.after)}"]
        script = submission.script
        return [*argv, f"./{script}" if script.startswith("-") else script]

    def parse_submit(self, result: Completed) -> str:
        found = [JOB_ID.fullmatch(line.strip()) for line in result.stdout.splitlines()]
        ids = [match[0] for match in found if match and not match[3]]
        if result.returncode == 0:
            if ids:
                return ids[-1]
            raise Unreachable(f"qsub printed no job id: {complaint(result)}")
        if ids:
            raise Unreachable(f"qsub printed {ids[-1]} and failed: {complaint(result)}")
        if no_server(result):
            raise Unreachable(f"PBS does not answer: {complaint(result)}")
        remedy = REMEDIES.get(result.returncode, "")
        raise Rejected(". ".join(filter(None, [f"PBS refused it: {complaint(result)}", remedy])))

    def query_argvs(self, ids: Sequence[str]) -> list[list[str]]:
        return [["qstat", "-t", "-f", "-F", "json", job_id] for job_id in ids]

    def parse_query(self, ids: Sequence[str], results: Sequence[Completed]) -> Answer:
        return _parse(ids, results, history=False)

    def history_argvs(self, ids: Sequence[str]) -> list[list[str]]:
        return [["qstat", "-x", "-t", "-f", "-F", "json", job_id] for job_id in ids]

    def parse_history(self, ids: Sequence[str], results: Sequence[Completed]) -> Answer:
        return _parse(ids, results, history=True)

    def find_argvs(self) -> list[list[str]]:
        """Both: where history is off the second says nothing, and qstat's `-u` excludes `-f`."""
        return [["qstat", "-f", "-F", "json"], ["qstat", "-x", "-f", "-F", "json"]]

    def parse_find(self, results: Sequence[Completed]) -> dict[str, str]:
        tokens: dict[str, str] = {}
        for result in results:
            if result.returncode != 0:
                raise Unreachable(f"PBS does not answer: {complaint(result)}")
            if NO_HISTORY in result.stderr:
                continue
            try:
                jobs = _jobs(result.stdout)
            except ValueError as error:
                raise Unreachable(f"qstat's listing cannot be read: {error}") from None
            for job_id, attributes in jobs.items():
                token = _token(attributes)
                if token and JOB_ID.fullmatch(job_id):
                    tokens[token] = job_id
        return tokens

    def cancel_argvs(self, job_id: str, indices: Sequence[int] | None) -> list[list[str]]:
        """One command a range: qdel takes `12[3-4]`, and refuses `12[3,7]`."""
        if indices is None or "[]" not in job_id:
            return [["qdel", job_id]]
        return [["qdel", job_id.replace("[]", f"[{part}]")] for part in runs(indices)]

    def parse_cancel(self, result: Completed) -> None:
        if result.returncode in (0, FINISHED, UNKNOWN_ID, ENDING):
            return
        if no_server(result):
            raise Unreachable(f"PBS does not answer: {complaint(result)}")
        raise Rejected(f"PBS did not delete it: {complaint(result)}")

    def owner(self, receipt_id: str) -> tuple[str, int]:
        """`12[7].server` is task 7 of `12[].server`; ("", 0) for an id that is not PBS's."""
        match = JOB_ID.fullmatch(receipt_id)
        if not match:
            return "", 0
        if not match[3]:
            return receipt_id, 0
        return f"{match[1]}[]{match[4] or ''}", int(match[3][:9])


def _parse(ids: Sequence[str], results: Sequence[Completed], history: bool) -> Answer:
    jobs: dict[str, Mapping[int, TaskReport]] = {}
    silent: dict[str, str] = {}
    tokens: dict[str, str] = {}
    for job_id, result in zip(ids, results, strict=False):
        try:
            found, token = _one(job_id, result, history)
        except ValueError as error:
            silent[job_id] = str(error)
        else:
            if found:
                jobs[job_id] = found
            if token is not None:
                tokens[job_id] = token
    for job_id in ids[len(results) :]:
        silent[job_id] = "not asked"
    return Answer(jobs, silent, tokens)


def _one(job_id: str, result: Completed, history: bool) -> tuple[dict[int, TaskReport], str | None]:
    """(reports of one job, its token); nothing where PBS does not know it. ValueError where it
    says nothing."""
    if result.returncode in (UNKNOWN_ID, FINISHED):
        return {}, None
    if result.returncode != 0:
        raise ValueError(f"PBS does not answer: {complaint(result)}")
    try:
        jobs = _jobs(result.stdout)
        found = reports(job_id, jobs, history)
    except ValueError as error:
        raise ValueError(f"qstat's answer cannot be read: {error}") from None
    if found is None and NO_HISTORY not in result.stderr:
        raise ValueError(f"qstat said nothing of it: {complaint(result)}")
    shown = [job for job in jobs.values() if isinstance(job, Mapping) and "Variable_List" in job]
    return found or {}, _token(shown[0]) if found and shown else None


def _jobs(stdout: str) -> Mapping[str, Any]:
    jobs = decode(stdout).get("Jobs", {})
    return jobs if isinstance(jobs, Mapping) else {}


def _token(attributes: Any) -> str:
    """The token among a job's variables. A released client prints an empty variable's neighbour
    as part of its value (`"A": ",PIPELINE_TOKEN=..."`), hence the second look."""
    if not isinstance(attributes, Mapping):
        return ""
    variables = attributes.get("Variable_List")
    if isinstance(variables, Mapping) and isinstance(variables.get("PIPELINE_TOKEN"), str):
        return str(variables["PIPELINE_TOKEN"])
    values = variables.values() if isinstance(variables, Mapping) else [variables]
    for value in [*values, attributes.get("Submit_arguments")]:
        if match := TOKEN.search(value if isinstance(value, str) else ""):
            return match[1]
    return ""


def no_server(result: Completed) -> bool:
    killed = result.returncode < 0
    return killed or result.returncode in NO_SERVER or bool(NO_SERVER_WORDS.search(result.stderr))
