"""One attempt: made, put into the queue, and found again where its command was interrupted.

The order is the point: the intent (attempt, token, script digest) is on disk before the scheduler
is called, the id after it. What a killed command left between the two is found again by its token.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from pipeline import chain, limits, receipts, render, yamlio
from pipeline.choose import active_ids
from pipeline.errors import NotStarted, Rejected, StateError, Unreachable
from pipeline.job import Job
from pipeline.manifest import Attempt, Entry, Intent, Manifest, Store, now
from pipeline.patches import Patches
from pipeline.plan import Plan
from pipeline.ranges import from_ranges, to_ranges
from pipeline.report import JobStatus, Report
from pipeline.schedulers.base import Scheduler, Submission
from pipeline.schedulers.local import LOCALQ
from pipeline.states import ACTIVE, State
from pipeline.transport import Transport


class Outcome(msgspec.Struct, frozen=True):
    """What became of one job of a submission."""

    job: str
    action: str  # submitted, cancelled; of a dry run: would submit, would cancel
    id: str = ""
    tasks: str = ""
    attempt: int = 0
    patch: tuple[str, ...] = ()
    link: int = 0  # of a chain of `links`
    links: int = 0


class Attempts:
    """A run's way into the queue. Everything here happens under the run's lock."""

    def __init__(
        self, plan: Plan, root: Path, scheduler: Scheduler, transport: Transport, store: Store,
        patches: Patches,
    ) -> None:  # fmt: skip
        self.plan, self.root, self.store = plan, root, store
        self.scheduler, self.transport = scheduler, transport
        self.patches = patches  # of the plan's jobs, for the attempts to remember

    def submit(
        self, manifest: Manifest, job: Job, tasks: list[int], report: Report
    ) -> Iterator[Outcome]:
        parts = self.parts(job, tasks)
        if job.throttle:  # of all the arrays together, as far as whole numbers go
            job = msgspec.structs.replace(job, throttle=max(1, job.throttle // len(parts)))
        for part in parts:
            for link in range(1, links_of(job) + 1) if job.chain else (0,):
                yield self._submit_attempt(manifest, job, part, report, link)

    def parts(self, job: Job, tasks: Sequence[int]) -> list[list[int]]:
        return limits.parts(self.plan.site, job.queue, tasks)

    def lengthen(self, manifest: Manifest, job: Job, report: Report) -> Iterator[Outcome]:
        """The links that a chain under way still lacks, since the command that submitted it was
        interrupted, or the study allows more by now."""
        status, entry = report.jobs[job.name], manifest.jobs.get(job.name)
        links = entry.chain() if entry else []
        if job.chain and links and status.of(*ACTIVE) and links[-1].state == "submitted":
            for link in range(links[-1].link + 1, job.chain.links + 1):
                yield self._submit_attempt(manifest, job, [1], report, link)

    def _submit_attempt(
        self, manifest: Manifest, job: Job, tasks: list[int], report: Report, link: int
    ) -> Outcome:
        entry = manifest.jobs.setdefault(job.name, Entry(job.stage, job.arm, job.tasks))
        entry.tasks = job.tasks
        number = max((a.attempt for a in entry.attempts), default=0) + 1
        whole = len(tasks) == job.tasks
        links = entry.chain() if link > 1 else []
        digest = render.script_digest(job)
        text = render.render(
            job,
            attempt_tasks=None if whole else tasks,
            link=link or 1,
            before=chain.before(links, link),
            digest=digest,
        )
        self.prepare(job)
        name = f"{job.script}{self.scheduler.extension}"
        if whole and link < 2:
            yamlio.write_atomic(self.root / name, text, mode=0o755)
        attempt = Attempt(
            attempt=number,
            token=new_token(),
            tasks=to_ranges(tasks),
            script=f"attempts/{job.name}.{number}{self.scheduler.extension}",
            digest=digest,
            time=now(),
            patch=list(self.patches.get(job.name, ())),
            before=self._by_hand(job, entry),
            link=link,
            chain=links[0].chain if links else number * bool(link),
        )
        intent = Intent(manifest.site, job.name, job.stage, job.arm, job.tasks, attempt)
        self.store.write_intent(intent, text)
        entry.attempts.append(attempt)
        self.store.write(manifest)
        self._call_scheduler(manifest, job, entry, attempt, report, len(tasks))
        return outcome(job.name, "submitted", attempt, links_of(job))

    def _by_hand(self, job: Job, entry: Entry) -> list[str]:
        """The ids in receipts that no attempt is known to have left: runs by hand, all older than
        an attempt that is made now, whatever the clocks of their machines say."""
        known = {attempt.id for attempt in entry.live()}
        found = receipts.scan(receipts.directory(self.store.state_dir, job.name))
        ids = {self.scheduler.owner(r.id)[0] or r.id for own in found.values() for r in own}
        return sorted(ids - known)

    def prepare(self, job: Job) -> None:
        """What a script needs to be there: its configuration and the folders it writes to."""
        text = config_text(job)
        path = self.root / job.config_path
        if not path.exists() or path.read_text() != text:
            yamlio.write_atomic(path, text)
        try:
            for folder in () if job.host else folders(job):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(f"{error.filename}: cannot be made: {error.strerror}") from None

    def _call_scheduler(
        self, manifest: Manifest, job: Job, entry: Entry, attempt: Attempt, report: Report,
        count: int,
    ) -> None:  # fmt: skip
        submission = Submission(
            script=self.transport.there(f"{job.state_dir}/{attempt.script}"),
            name=job.name,
            token=attempt.token,
            attempt=attempt.attempt,
            array=count if count > 1 else None,
            after=tuple(chain.before(entry.chain(), attempt.link)[:1])
            or tuple(_dependencies(job, report)),
        )
        try:
            result = self.transport.launch(
                self.scheduler.submit_argv(submission),
                self._files(job, attempt),
                folders(job),
                attempt.token,
                keep_fd=self.store.lock_fd,
            )
            attempt.id = self.scheduler.parse_submit(result)
        except (Rejected, NotStarted) as error:
            attempt.state, attempt.note = "abandoned", str(error)
            self.store.write(manifest)
            raise type(error)(f"{job.name}: {error}") from None
        except Unreachable as error:
            attempt.note = str(error)
            self.store.write(manifest)
            raise Unreachable(
                f"{job.name}: {error}. It may have been queued all the same: the next command "
                "looks for it and adopts it, so nothing is submitted twice"
            ) from None
        attempt.state = "submitted"
        if attempt.link > 1:
            report.jobs[job.name].waiting.append(attempt.id)
            self.store.write(manifest)
            return
        entry.set_states(
            {**_states(report.jobs[job.name]), **dict.fromkeys(_tasks(attempt), State.QUEUED)}
        )
        for task in _tasks(attempt):
            status = report.jobs[job.name].tasks[task]
            status.state, status.id = State.QUEUED, attempt.id
        self.store.write(manifest)

    def settle(self, manifest: Manifest) -> list[str]:
        """Adopts what interrupted commands left at the scheduler, gives up what never got there."""
        waiting = interrupted(manifest)
        if not waiting:
            return []
        found = self._find()
        if missing := [a.token for _, a in waiting if a.token not in found]:
            time.sleep(self.scheduler.adopt_after_s)
            found |= self._find(missing)
        for name, attempt in waiting:
            job_id = found.get(attempt.token) or self._from_receipts(name, attempt)
            if job_id:
                attempt.id, attempt.state = job_id, "submitted"
                attempt.note = "adopted: the command that submitted it was interrupted"
            else:
                attempt.state = "abandoned"
                attempt.note = "the scheduler does not know it: it was never queued"
        self.store.write(manifest)
        return [name for name, attempt in waiting if attempt.id]

    def _find(self, giving_up: Sequence[str] = ()) -> dict[str, str]:
        argvs = self.scheduler.find_argvs()
        if giving_up:
            return self.scheduler.parse_find(self.transport.ask_after(argvs, giving_up))
        return self.scheduler.parse_find(self.transport.look(argvs))

    def _files(self, job: Job, attempt: Attempt) -> dict[str, Path]:
        """What a submission needs on the scheduler's host: path there -> file here."""
        names = [f"{job.state_dir}/{attempt.script}", job.config_path]
        files = {name: self.root / name for name in names}
        if job.host and job.scheduler == "local":
            files[f"{job.state_dir}/localq.py"] = LOCALQ
        return files

    def _from_receipts(self, job: str, attempt: Attempt) -> str:
        """The id in a receipt that carries the attempt's token: it ran and was forgotten."""
        folder = receipts.directory(self.store.state_dir, job)
        for own in receipts.scan(folder).values():
            for receipt in own:
                if receipts.read(receipt.path).get("token") == attempt.token:
                    return self.scheduler.owner(receipt.id)[0]
        return ""


def interrupted(manifest: Manifest) -> list[tuple[str, Attempt]]:
    """Job and attempt, of every submission of which the end is not known."""
    return [
        (name, attempt)
        for name, entry in manifest.jobs.items()
        for attempt in entry.attempts
        if attempt.state == "submitting"
    ]


def config_text(job: Job) -> str:
    """The file that a job's program reads."""
    return f"# What {job.name} is told; written by pipeline.\n" + yamlio.dump(job.config)


def folders(job: Job) -> tuple[str, str]:
    """What a script needs to be there; the scheduler does not make the folder of its own logs."""
    return f"{job.state_dir}/receipts/{job.name}", f"{job.log_dir}/scheduler"


def links_of(job: Job) -> int:
    """How many links a job's chain has; 0: it is none."""
    return job.chain.links if job.chain else 0


def outcome(job: str, action: str, attempt: Attempt, links: int) -> Outcome:
    """What became of an attempt."""
    return Outcome(
        job, action, attempt.id, attempt.tasks, attempt.attempt, tuple(attempt.patch),
        attempt.link, links,
    )  # fmt: skip


def new_token() -> str:
    """8 characters, a letter first: PBS's JSON turns what looks like a number into one."""
    return "t" + os.urandom(4).hex()[1:]


def _dependencies(job: Job, report: Report) -> Iterator[str]:
    """The ids that still run of the jobs this one needs, by whomever they were submitted. The gate
    in the script checks their receipts; a dependency on a job that has ended is deleted or ignored,
    by site."""
    for upstream in job.upstream:
        yield from sorted(filter(None, active_ids(report.jobs[upstream.job])))


def _tasks(attempt: Attempt) -> list[int]:
    return from_ranges(attempt.tasks)


def _states(status: JobStatus) -> dict[int, State]:
    return {task.task: task.state for task in status.tasks.values()}
