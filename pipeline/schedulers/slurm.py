"""Slurm: what to call, and what the answers mean. Checked against 22.05.

squeue is asked without `-j`, which fails as a whole for one unknown id, and for all states, since
it remembers the finished for some minutes (MinJobAge) and then costs no look into the accounts.
`-O FIELD:|` prints a field in full; `-o` and `-O` with a width cut it without a mark.
"""

from __future__ import annotations

import functools
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
SQUEUE_FIELDS = "JobArrayID:|,State:|,exit_code:|,Reason:|,NodeList:|,TimeUsed:|,Name:"
SACCT_FIELDS = "JobID,State,ExitCode,Reason,NodeList,ElapsedRaw,JobName"

# A submission that failed so may have been accepted all the same.
NO_ANSWER = re.compile(
    r"unable to contact|timed out|connect failure|connection (refused|reset)|munge"
    r"|authentication error|zero bytes|unexpected message|transport endpoint"
    r"|unable to establish|configuration source|unable to process configuration",
    re.IGNORECASE,
)
# A site without slurmdbd has no history to be asked for: squeue and the receipts are all there is.
NO_ACCOUNTS = re.compile(r"accounting storage is disabled", re.IGNORECASE)
ALREADY_ENDED = re.compile(r"invalid job id specified|already (completing|completed)|has finished")

REMEDIES = (  # sbatch's words, what to do about them
    ("partition", "`sinfo -s` lists the partitions; correct the queue in the site's file"),
    ("account", "`sacctmgr show assoc user=$USER` lists your accounts; correct the site's file"),
    ("node configuration", "No node has what it asks for: ask for less, or for another queue"),
    (
        "array specification",
        "Give the limit on one array as `max_array` in the site's file, and the tasks go in "
        "several (it is MaxArraySize - 1 of `scontrol show config`)",
    ),
    ("violates", "Wait until some of your jobs have ended, or ask for less"),
    ("feature", "`sinfo -o %f` lists the features; correct the site's file"),
    ("dos line breaks", "Render the script again: an editor has changed its line ends"),
    ("unrecognized option", "Correct the directive in the script's template"),
    ("specification", "Correct the value in the site's file or the stage's `resources`"),
)

_OWN_ID = re.compile(r"(\d+)(?:_(\d{1,9}))?", re.ASCII)
_SUBMITTED = re.compile(r"(?:Submitted batch job )?(\d+)(?:;\S+)?", re.ASCII)
_ERROR = re.compile(r"^(squeue|sacct): error: ", re.MULTILINE)
_NAMED = re.compile(r".*\.([a-z0-9]{8})", re.DOTALL)


class Slurm:
    """The `slurm` row of the scheduler table."""

    name = "slurm"
    extension = ".sbatch"
    cancel_releases = True
    # sbatch gives up after MessageTimeout (10 s); a controller that was hung works off its requests
    # when it answers squeue again.
    adopt_after_s = 10.0

    def submit_argv(self, submission: Submission) -> list[str]:
        """The token goes into the name as well: it is what squeue and sacct both show.

        The variables are sbatch's own and not `--export=ALL,NAME=...`: a name there makes the node
        log in as the user once more (`su -`) before it starts each task of an array.
        """
        token = submission.token
        variables = [f"PIPELINE_TOKEN={token}", f"PIPELINE_ATTEMPT={submission.attempt}"]
        known = ["env", *variables, "sbatch", "--parsable", f"--job-name={submission.name}.{token}"]
        argv = [*(known if token else ["sbatch", "--parsable"]), "--export=ALL"]
        if submission.after:
            argv += [
                f"--dependency=afterany:{':'.join(submission.after)}",
                "--kill-on-invalid-dep=yes",
            ]
        script = submission.script
        return [*argv, f"./{script}" if script.startswith("-") else script]

    def parse_submit(self, result: Completed) -> str:
        words = complaint(result)
        found = [_SUBMITTED.fullmatch(line.strip()) for line in result.stdout.splitlines()]
        ids = [match[1] for match in found if match]
        if result.returncode == 0:
            if ids:
                return ids[-1]
            raise Unreachable(f"sbatch printed no job id: {words}")
        if ids:
            raise Unreachable(f"sbatch printed {ids[-1]} and failed: {words}")
        if result.returncode == 127:  # `env` found no sbatch
            raise Rejected("sbatch: no such command here. Log in to the cluster or load its module")
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
        if results and _no_accounts(results[0]):
            return Answer({})
        answer = _parse(ids, results)
        jobs = {
            job_id: {index: found for index, found in tasks.items() if found.state in FINAL}
            for job_id, tasks in answer.jobs.items()
        }
        ended = {job_id: tasks for job_id, tasks in jobs.items() if tasks}
        return Answer(ended, answer.silent, answer.tokens)

    def find_argvs(self) -> list[list[str]]:
        return [
            [*SQUEUE, "ArrayJobID:|,Name:"],
            [*SACCT, "-o", "JobID,JobName", "-S", "now-7days", "-E", "now"],
        ]

    def parse_find(self, results: Sequence[Completed]) -> dict[str, str]:
        """What squeue says, and what sacct adds to it at the sites that have one."""
        if not results or _failed(results[0]):
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
        found = _OWN_ID.fullmatch(receipt_id)
        return (found[1], int(found[2] or 0)) if found else ("", 0)


def _parse(ids: Sequence[str], results: Sequence[Completed]) -> Answer:
    """The rows of the one command, those of other jobs left out."""
    if not results or _failed(results[0]):
        words = complaint(results[0]) if results else "not asked"
        return Answer({}, dict.fromkeys(ids, f"Slurm does not answer: {words}"))
    return _rows(frozenset(ids), results[0].stdout.splitlines())


def _rows(wanted: frozenset[str], lines: Iterable[str]) -> Answer:
    jobs: dict[str, dict[int, TaskReport]] = {}
    silent: dict[str, str] = {}
    tokens: dict[str, str] = {}
    grouped: list[tuple[str, list[int], TaskReport]] = []
    for line in lines:
        printed, *fields = line.split("|", 6)  # a name, the last, may hold anything
        found = split_id(printed)
        if not found or found[0] not in wanted or len(fields) < 5:
            continue
        job_id, indices = found
        if len(fields) > 5:
            tokens[job_id] = _token(fields[5])
        if indices is None:
            silent[job_id] = f"Slurm cut its list of tasks short: {printed[:60]}"
            continue
        said = report(*fields[:5])
        if "[" in printed:
            grouped.append((job_id, indices, said))
        else:
            jobs.setdefault(job_id, {})[indices[0]] = said
    # A row of its own says more of a task than the row of those that never started.
    for job_id, indices, said in grouped:
        jobs[job_id] = {**dict.fromkeys(indices, said), **jobs.get(job_id, {})}
    return Answer(jobs, silent, tokens)


@functools.lru_cache(maxsize=1000)  # all rows of an array bear one name
def _token(name: str) -> str:
    """The token at the end of a job's name; empty where there is none."""
    named = _NAMED.fullmatch(name.strip())
    return named[1] if named else ""


def _no_accounts(result: Completed) -> bool:
    """Whether the site has none, by sacct's own words or because there is no sacct (127)."""
    code = result.returncode
    return code == 127 or (code != 0 and bool(NO_ACCOUNTS.search(result.stderr)))


def _failed(result: Completed) -> bool:
    """squeue ends with 0 even where it did not look: `squeue: error: Invalid user`."""
    looked = bool(result.stdout.strip()) or not _ERROR.search(result.stderr)
    return result.returncode != 0 or not looked


def _no_answer(result: Completed) -> bool:
    return result.returncode < 0 or bool(NO_ANSWER.search(result.stderr))
