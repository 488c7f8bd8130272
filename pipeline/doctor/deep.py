"""What `--deep` does besides: asks the scheduler whether it would take each job, reads chunks.

Slurm: `sbatch --test-only`, which queues nothing. PBS: `qsub -h` of an empty script under the job's
own directives, and `qdel` of just that id, both in one command on the host that no signal stops
between the two. What is left all the same is found by its token and deleted, or named.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from pipeline import render, schedulers
from pipeline.doctor import data, scheduler
from pipeline.doctor.check import Check, Facts, Question, Scope, Status, ask, said, shell
from pipeline.errors import PipelineError, Unreachable
from pipeline.job import Job
from pipeline.schedulers.base import Completed
from pipeline.transport import Transport

SECTION = "deep"
SLICE_S = 20  # of reading chunks, so that each answer comes in time
Say = Callable[[str], None]

_TEST_ONLY = 'printf "%s\\n" "$1" | sbatch --test-only'
# No signal stops it between the two: a held job never runs, but it would stay.
_HELD = r"""
trap '' INT TERM HUP PIPE
answer=$(printf '%s\n' "$1" | qsub -h -v "PIPELINE_TOKEN=$2" 2>&1)
code=$?
id=${answer##*$'\n'}
deleted=
if ((code == 0)); then
  for try in 1 2 3; do
    if words=$(qdel "$id" 2>&1); then deleted=; break; fi
    deleted=${words:-qdel failed}
    ((try == 3)) || sleep "$try"
  done
fi
printf 'code %s\nid %s\ndeleted %s\n' "$code" "$id" "${deleted//$'\n'/; }"
printf '%s\n' "$answer" >&2
"""
_START = re.compile(r"to start at (\S+)")


def submissions(scope: Scope, transport: Transport, say: Say) -> Iterator[Check]:
    """A job of each shape, as the scheduler sees it."""
    kind = scope.plan.site.scheduler
    if scope.reference or kind == "local":
        return
    scripts = {job.name: _script(scope, job) for job in scope.jobs}
    shapes: dict[tuple[str, ...], list[str]] = {}
    for name, script in scripts.items():
        shapes.setdefault(tuple(_directives(script)), []).append(name)
    for number, names in enumerate(map(tuple, shapes.values()), 1):
        say(f"asking the scheduler about {names[0]} ({number} of {len(shapes)})")
        try:
            test = _slurm if kind == "slurm" else _pbs
            yield from test(transport, scripts[names[0]], names, kind)
        except Unreachable as error:
            yield Check(SECTION, f"submit {names[0]}", "silent", str(error), "Try again", names)
            return


def digests(scope: Scope, transport: Transport, facts: Facts, say: Say) -> Iterator[Check]:
    """Chunks against their checksums, in slices of time; none where they could not be looked at."""
    if data.verified(facts) is None:
        return
    for folder, count in data.chunk_folders(scope):
        first, read = 1, 0
        while first:
            say(f"reading {folder}: {read} of {count} chunks")
            words = ("--digests", folder, "--from", str(first), "--seconds", str(SLICE_S))
            found = ask(transport, [Question("digests", data.verify(scope, *words))])
            answer = data.verified(found, "digests")
            if answer is None:
                yield Check(
                    SECTION, f"checksums in {scope.short(folder)}", "warn",
                    f"chunk {first} was not read: {said(facts.get('digests'))}",
                    "Run `python -m corpus.verify --digests` there",
                )  # fmt: skip
                return
            yield from _wrong(scope, answer)
            read, first = read + answer.read, answer.next
        if read:
            yield Check(
                SECTION, f"checksums in {scope.short(folder)}", "ok", f"{read} chunks were read"
            )


def _wrong(scope: Scope, answer: data.Verified) -> Iterator[Check]:
    for one in answer.findings:
        status: Status = "fail" if one.status == "fail" else "warn"
        yield Check(SECTION, f"checksum of {scope.short(one.path)}", status, one.fact, one.remedy)


def _script(scope: Scope, job: Job) -> str:
    """A job's script, as large an array as it would be submitted in."""
    most = scheduler.largest_array(scope, job)
    return render.render(job, attempt_tasks=range(1, most + 1) if most < job.tasks else None)


def _directives(script: str) -> list[str]:
    """The script's directives, but for the names in which jobs of one shape differ."""
    own = re.compile(r"#(SBATCH --(job-name|output)|PBS -[No] )")
    lines = script.splitlines()
    return [line for line in lines if line.startswith(("#PBS", "#SBATCH")) and not own.match(line)]


def _slurm(transport: Transport, script: str, names: tuple[str, ...], kind: str) -> Iterator[Check]:
    argv = shell(_TEST_ONLY, script)
    answer = ask(transport, [Question("test", argv)]).get("test")
    name = f"submit {names[0]}"
    if answer.returncode == 0:
        start = _START.search(answer.stderr)
        told = f"would be taken; it would start at {start[1]}" if start else "would be taken"
        yield Check(SECTION, name, "ok", told, "", names)
        return
    yield _refused(answer, name, names, kind)


def _pbs(transport: Transport, script: str, names: tuple[str, ...], kind: str) -> Iterator[Check]:
    directives = (line for line in script.splitlines() if line.startswith("#PBS"))
    empty = ["#!/bin/bash", *directives, "exit 0"]
    token = "d" + secrets.token_hex(6)  # a letter first, as PBS's tokens want it
    name, answer, why, left = f"submit {names[0]}", None, "", ("", "")
    with _unstopped():
        try:
            argv = shell(_HELD, "\n".join(empty), token)
            answer = ask(transport, [Question("held", argv)]).get("held")
        except Unreachable as error:
            why = str(error)
        if not _settled(answer):  # nobody knows whether the job is there, or whether it is gone
            left = _sweep(transport, token, kind)
    told = _told(answer)
    if told.get("code") == "0":
        yield Check(SECTION, name, "ok", f"was taken and held as {told['id']}", "", names)
    elif answer is not None and "code" in told:
        refusal = Completed(("qsub",), int(told["code"]), "", answer.stderr)
        yield _refused(refusal, name, names, kind)
    else:
        yield Check(
            SECTION,
            name,
            "silent",
            why or said(answer or Completed((), 1, "", "")),
            "Try again",
            names,
        )
    if left[0]:
        yield Check(SECTION, f"{name}: not deleted", "fail", *left, names)


def _told(answer: Completed | None) -> dict[str, str]:
    lines = (line.partition(" ") for line in (answer.stdout if answer else "").splitlines())
    return {word: rest for word, _, rest in lines if word in ("code", "id", "deleted")}


def _settled(answer: Completed | None) -> bool:
    """Whether nothing can be left: it was refused, or qdel said that it is gone."""
    told = _told(answer)
    return "deleted" in told and (told["code"] != "0" or not told["deleted"])


def _sweep(transport: Transport, token: str, kind: str) -> tuple[str, str]:
    """Deletes the job of a token; what is left and what to do about it, both empty if nothing."""
    server = schedulers.get(kind, "")
    time.sleep(server.adopt_after_s)  # a submission may arrive after its command was given up
    job_id = ""
    try:
        found = server.parse_find(transport.run_all(server.find_argvs()))
        job_id = found.get(token, "")
        argvs = server.cancel_argvs(job_id, None) if job_id else []
        for result in transport.run_all(argvs):
            server.parse_cancel(result)
    except PipelineError as error:
        which = job_id or f"one with PIPELINE_TOKEN={token}"
        remedy = f"qdel {job_id}" if job_id else "qdel it: `qselect -u $USER -h u` lists held jobs"
        return f"{which} may be left, held: {error}", remedy
    return "", ""


def _refused(answer: Completed, name: str, names: tuple[str, ...], kind: str) -> Check:
    """A refusal, with the remedy that the scheduler's own table has for it."""
    try:
        schedulers.get(kind, "").parse_submit(answer)
    except Unreachable as error:
        return Check(SECTION, name, "silent", str(error), "Try again", names)
    except PipelineError as error:
        fact, _, remedy = str(error).partition(". ")
        wanted = "Ask for less, or correct the site file (queue, account, directives)"
        return Check(SECTION, name, "fail", fact, remedy or wanted, names)
    return Check(SECTION, name, "fail", said(answer), "Look at its words", names)


@contextlib.contextmanager
def _unstopped() -> Iterator[None]:
    """Puts Ctrl-C and TERM off until the block has ended: the job in it would be left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    numbers: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM)
    before = {n: signal.signal(n, lambda number, _: caught.append(number)) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if signal.SIGTERM in caught:
        signal.raise_signal(signal.SIGTERM)
    if caught:
        raise KeyboardInterrupt
