"""Slurm: what to call, and what the answers mean. Checked against 22.05.

squeue is asked without `-j`, which fails as a whole for one unknown id, and for all states, since
it remembers the finished for some minutes (MinJobAge) and then costs no look into the accounts.
`-O FIELD:|` prints a field in full; `-o` and `-O` with a width cut it without a mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pipeline.errors import Rejected, Unreachable
from pipeline.schedulers.base import Answer, Completed, Submission, TaskReport
from pipeline.schedulers.indices import runs
from pipeline.schedulers.slurm_states import report, split_id
from pipeline.schedulers.words import complaint
from pipeline.states import FINAL

# Without it a list of more than 64 characters of pending indices ends in `...`. As a program of
# its own, `env` also makes a missing sacct an exit code instead of a missing command.
ENV = ["env", "SLURM_BITSTR_LEN=0"]
SQUEUE = [*ENV, "squeue", "-h", "--me", "-t", "all", "-O"]
SACCT = [*ENV, "sacct", "-X", "-n", "-P"]
SQUEUE_FIELDS = "JobArrayID:|,State:|,exit_code:|,Reason:|,NodeList:|,TimeUsed:"
SACCT_FIELDS = "JobID,State,ExitCode,Reason,NodeList,ElapsedRaw"

# A submission that failed so may have been accepted all the same.
NO_ANSWER = re.compile(
    r"unable to contact|timed out|connect failure|connection (refused|reset)|munge"
    r"|authentication error|zero bytes|unexpected message|transport endpoint"
    r"|unable to establish|configuration source|unable to process configuration",
    re.IGNORECASE,
)
ALREADY_ENDED = re.compile(r"invalid job id specified|already (completing|completed)|has finished")

REMEDIES = (  # sbatch's words, what to do about them
    ("partition", "`sinfo -s` lists the partitions; correct the queue in the site's file"),
    ("account", "`sacctmgr show assoc user=$USER` lists your accounts; correct the site's file"),
    ("node configuration", "No node has what it asks for: ask for less, or for another queue"),
    ("array specification", "The site limits an array's size (MaxArraySize): submit fewer tasks"),
    ("violates", "Wait until some of your jobs have ended, or ask for less"),
    ("feature", "`sinfo -o %f` lists the features; correct the site's file"),
    ("dos line breaks", "Render the script again: an editor has changed its line ends"),
    ("unrecognized option", "Correct the directive in the script's template"),
    ("specification", "Correct the value in the site's file or the stage's `resources`"),
)

_SUBMITTED = re.compile(r"(?:Submitted batch job )?(\d+)(?:;\S+)?", re.ASCII)
_NAMED = re.compile(r".*\.([a-z0-9]{8})", re.DOTALL)


class Slurm:
    """The `slurm` row of the scheduler table."""

    name = "slurm"
    extension = ".sbatch"
    # sbatch gives up after MessageTimeout (10 s); a controller that was hung works off its requests
    # when it answers squeue again.
    adopt_after_s = 10.0

    def submit_argv(self, submission: Submission) -> list[str]:
        """The token goes into the name as well: it is what squeue and sacct both show."""
        token = submission.token
        argv = [
            "sbatch",
            "--parsable",
            f"--job-name={submission.name}.{token}",
            f"--export=ALL,PIPELINE_TOKEN={token},PIPELINE_ATTEMPT={submission.attempt}",
        ]
        if submission.after:
            argv += [
                f"--dependency=afterany:{':'.join(submission.after)}",
                "--kill-on-invalid-dep=yes",
            ]
        script = submission.script
        return [*argv, f"./{script}" if script.startswith("-") else script]

    def parse_submit(self, result: Completed) -> str:
        words = complaint(result)
        if result.returncode == 0:
            for line in reversed(result.stdout.splitlines()):
                if match := _SUBMITTED.fullmatch(line.strip()):
                    return match[1]
            raise Unreachable(f"sbatch printed no job id: {words}")
        if _no_answer(result):
            raise Unreachable(f"Slurm does not answer: {words}")
        remedy = next((text for key, text in REMEDIES if key in words.lower()), "")
        raise Rejected(". ".join(filter(None, [f"Slurm refused it: {words}", remedy])))

    def query_argvs(self, ids: Sequence[str]) -> list[list[str]]:
        return [[*SQUEUE, SQUEUE_FIELDS]]

    def parse_query(self, ids: Sequence[str], results: Sequence[Completed]) -> Answer:
        return _parse(ids, results)

    def history_argvs(self, ids: Sequence[str]) -> list[list[str]]:
        return [[*SACCT, "-o", SACCT_FIELDS, "-j", ",".join(ids)]]

    def parse_history(self, ids: Sequence[str], results: Sequence[Completed]) -> Answer:
        """Only of what has ended: sacct lags, and of a job that squeue no longer knows it may say
        RUNNING for seconds, or for ever where the end never reached the database."""
        answer = _parse(ids, results)
        jobs = {
            job_id: {index: found for index, found in tasks.items() if found.state in FINAL}
            for job_id, tasks in answer.jobs.items()
        }
        return Answer({job_id: tasks for job_id, tasks in jobs.items() if tasks}, answer.silent)

    def find_argvs(self, spool: str) -> list[list[str]]:
        return [
            [*SQUEUE, "ArrayJobID:|,Name:"],
            [*SACCT, "-o", "JobID,JobName", "-S", "now-7days", "-E", "now"],
        ]

    def parse_find(self, results: Sequence[Completed]) -> dict[str, str]:
        """What squeue says, and what sacct adds to it at the sites that have one."""
        if not results or results[0].returncode != 0:
            words = complaint(results[0]) if results else "squeue was not asked"
            raise Unreachable(f"Slurm does not answer: {words}")
        tokens: dict[str, str] = {}
        for result in results:
            for line in result.stdout.splitlines() if result.returncode == 0 else ():
                printed, _, name = line.partition("|")
                found, named = split_id(printed), _NAMED.fullmatch(name.strip())
                if found and named:
                    tokens[named[1]] = found[0]
        return tokens

    def cancel_argvs(self, job_id: str, indices: Sequence[int] | None) -> list[list[str]]:
        if indices is None or list(indices) == [0]:
            return [["scancel", job_id]]
        chosen = ",".join(runs(indices))
        if not chosen:
            return []
        return [["scancel", f"{job_id}_{chosen}" if chosen.isdigit() else f"{job_id}_[{chosen}]"]]

    def parse_cancel(self, result: Completed) -> None:
        """scancel ends with 0 for unknown and finished ids, unless it is told to be verbose."""
        if result.returncode == 0 or ALREADY_ENDED.search(result.stderr.lower()):
            return
        if _no_answer(result):
            raise Unreachable(f"Slurm does not answer: {complaint(result)}")
        raise Rejected(f"Slurm did not cancel it: {complaint(result)}")

    def owner(self, receipt_id: str) -> tuple[str, int]:
        """`4_7` is task 7 of `4`; ("", 0) for an id that is not Slurm's."""
        found = split_id(receipt_id)
        if not found or found[1] is None or len(found[1]) != 1 or "[" in receipt_id:
            return "", 0
        return found[0], found[1][0]


def _parse(ids: Sequence[str], results: Sequence[Completed]) -> Answer:
    """The rows of the one command, those of other jobs left out."""
    if not results or results[0].returncode != 0:
        words = complaint(results[0]) if results else "not asked"
        return Answer({}, dict.fromkeys(ids, f"Slurm does not answer: {words}"))
    return _rows(frozenset(ids), results[0].stdout.splitlines())


def _rows(wanted: frozenset[str], lines: Iterable[str]) -> Answer:
    jobs: dict[str, dict[int, TaskReport]] = {}
    silent: dict[str, str] = {}
    grouped: list[tuple[str, int, TaskReport]] = []
    for line in lines:
        printed, *fields = line.split("|")
        found = split_id(printed)
        if not found or found[0] not in wanted or len(fields) < 5:
            continue
        job_id, indices = found
        if indices is None:
            silent[job_id] = f"Slurm cut its list of tasks short: {printed[:60]}"
            continue
        said = report(*fields[:5])
        if "[" in printed:
            grouped += [(job_id, index, said) for index in indices]
        else:
            jobs.setdefault(job_id, {})[indices[0]] = said
    # A row of its own says more of a task than the row of those that never started.
    for job_id, index, said in grouped:
        jobs.setdefault(job_id, {}).setdefault(index, said)
    return Answer(jobs, silent)


def _no_answer(result: Completed) -> bool:
    return result.returncode < 0 or bool(NO_ANSWER.search(result.stderr))
