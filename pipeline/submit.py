"""Puts attempts into the queue so that none is lost and none doubled.

The order is the point: the intent (attempt, token, script digest) is on disk before the scheduler
is called, the id after it. What a killed command left between the two is found again by its token.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from pipeline import chain, limits, receipts, render, yamlio
from pipeline.errors import Damaged, NotStarted, Rejected, StateError, Unreachable
from pipeline.job import Job, Upstream
from pipeline.manifest import Attempt, Entry, Intent, Manifest, Store, now
from pipeline.patches import Patches
from pipeline.plan import Plan
from pipeline.ranges import from_ranges, to_ranges
from pipeline.schedulers.base import Scheduler, Submission
from pipeline.schedulers.local import LOCALQ
from pipeline.states import ACTIVE, RESUBMITTED, State
from pipeline.track import JobStatus, Report, Tracker, made_by_hand
from pipeline.transport import Transport

# What a run that goes on leaves alone.
_KEPT = {State.COMPLETED, State.UNKNOWN, *ACTIVE}


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


class Engine:
    """A run's plan, state, scheduler and transport: what the commands that change it share."""

    def __init__(
        self, plan: Plan, root: Path, scheduler: Scheduler, transport: Transport,
        patches: Patches | None = None,
    ) -> None:  # fmt: skip
        self.plan, self.root = plan, root
        self.patches = patches or {}  # of the plan's jobs, for the attempts to remember
        self.scheduler, self.transport = scheduler, transport
        self.store = Store(root / plan.state_dir)
        self.tracker = Tracker(self.store, plan.jobs, scheduler, transport, plan.site.receipt_grace)

    @property
    def spool(self) -> str:
        """Where the `local` scheduler keeps its jobs; others do not look at it."""
        return self.transport.there(f"{self.plan.state_dir}/local")

    def status(self) -> Report:
        """The run's state, with interrupted submissions settled first."""
        adopted: list[str] = []
        silent: dict[str, str] = {}
        manifest = self._manifest()
        if waiting := _interrupted(manifest):
            try:
                with self.store.locked():
                    adopted = self._settle(self._manifest())
            except (Unreachable, StateError) as error:
                silent = {name: str(error) for name, _ in waiting}
        report = self.tracker.update()
        if self._leftovers(report) and self.store.writable():
            report = self._without_leftovers(report)
        report.adopted = adopted
        report.silent.update(silent)
        return report

    def _without_leftovers(self, found: Report) -> Report:
        """Cancels links that have nothing left to do; the run's state after that."""
        try:
            with self.store.locked():
                manifest = self._manifest()
                report = self.tracker.refresh(manifest)
                dropped = self._drop_leftovers(manifest, report)
        except (Rejected, Unreachable, StateError) as error:
            found.unsaved = f"links that have nothing left to do are still queued: {error}"
            return found
        report.dropped = [f"link {o.link} of {o.job} ({o.id})" for o in dropped]
        return report

    def _leftovers(self, report: Report) -> dict[str, list[str]]:
        """Job -> ids of its chain's queued links, where the chain has ended; none where cancelling
        them would leave their dependents held for ever: they start, see it, and end by themselves.
        """
        active = {name for name, status in report.jobs.items() if status.of(*ACTIVE)}
        waited = {u.job for job in self.plan.jobs if job.name in active for u in job.upstream}
        return {
            name: status.waiting
            for name, status in report.jobs.items()
            if status.waiting
            and chain.over(status.tasks[1].state, status.tasks[1].evidence)
            and (self.scheduler.cancel_releases or name not in waited)
        }

    def _drop_leftovers(self, manifest: Manifest, report: Report) -> list[Outcome]:
        done = []
        for name, ids in self._leftovers(report).items():
            links = {link.id: link for link in manifest.jobs[name].chain()}
            for job_id in reversed(list(ids)):  # one that is gone lets nobody behind it start
                for argv in self.scheduler.cancel_argvs(job_id, None):
                    self.scheduler.parse_cancel(self.transport.run(argv))
                link = links[job_id]
                link.state, link.note = "cancelled", "its chain had ended before it"
                self.store.write(manifest)
                ids.remove(job_id)
                done.append(_outcome(name, "cancelled", link, len(links)))
        return done

    def render(self, jobs: Sequence[Job]) -> list[str]:
        """Writes the scripts and configurations of some jobs; returns the scripts' paths."""
        written = []
        for job in jobs:
            text = render.render(job)
            self._prepare(job)
            name = f"{job.script}{self.scheduler.extension}"
            yamlio.write_atomic(self.root / name, text, mode=0o755)
            written.append(name)
        return written

    def diffs(self, jobs: Sequence[Job]) -> list[tuple[str, str, str]]:
        """(script, what was last submitted whole, what would be now) of some jobs; the first is
        empty where nothing was."""
        manifest = self.store.read()
        found = []
        for job in jobs:
            entry = manifest.jobs.get(job.name) if manifest else None
            last = ""
            for attempt in entry.live() if entry else ():
                path = self.store.state_dir / attempt.script
                if len(_tasks(attempt)) == job.tasks and attempt.link < 2 and path.exists():
                    last = path.read_text()
            found.append((f"{job.script}{self.scheduler.extension}", last, render.render(job)))
        return found

    def submit(
        self, jobs: Sequence[Job], force: bool = False, dry_run: bool = False, whole: bool = False
    ) -> list[Outcome]:
        """Submits jobs in the plan's order. `whole`: goes on where the run stands, over the tasks
        that are neither complete nor active, where a job named alone would be refused. Raises
        StateError before anything is queued."""
        return self._change(
            lambda report: self._new_work(jobs, report, force, whole), dry_run, whole
        )

    def resubmit(
        self, jobs: Sequence[Job], only_failed: bool, dry_run: bool = False
    ) -> list[Outcome]:
        """A new attempt over just the tasks that ended without success, and over the dependents
        that they blocked."""
        states = set(RESUBMITTED) if only_failed else {*RESUBMITTED, State.CANCELLED, State.BLOCKED}
        names = [job.name for job in jobs]
        return self._change(
            lambda report: self._old_work(
                {name: report.jobs[name].of(*states) for name in names}, report
            ),
            dry_run,
        )

    def retry(self, tasks: Mapping[str, Collection[int]]) -> list[Outcome]:
        """A new attempt over those of some jobs' tasks that still stand failed, and over the
        dependents that they blocked."""
        return self._change(
            lambda report: self._old_work(
                {
                    name: [t for t in report.jobs[name].of(*RESUBMITTED) if t in own]
                    for name, own in tasks.items()
                },
                report,
            ),
            dry_run=False,
        )

    def _change(
        self, choose: Callable[[Report], list[tuple[Job, list[int]]]], dry_run: bool,
        whole: bool = False,
    ) -> list[Outcome]:  # fmt: skip
        with self.store.locked():
            manifest = self._manifest()
            self._settle(manifest)
            report = self.tracker.refresh(manifest)
            work = choose(report)
            if refusal := limits.crowded(self.plan.site, work, self._queued(report)):
                raise StateError(refusal)
            if dry_run:
                return [
                    Outcome(j.name, "would submit", tasks=to_ranges(part), links=_links(j))
                    for j, t in work
                    for part in self._parts(j, t)
                ]
            self.store.write(manifest)
            done: list[Outcome] = []
            with _telling(done):
                done += self._drop_leftovers(manifest, report)
                for job in self.plan.jobs if whole else ():
                    done += self._lengthen(manifest, job, report)
                for job, tasks in work:
                    done += self._submit_one(manifest, job, tasks, report)
            return done

    def _queued(self, report: Report) -> dict[str, int]:
        """Tasks of this run that each queue holds."""
        held: dict[str, int] = {}
        for job in self.plan.jobs:
            held[job.queue] = held.get(job.queue, 0) + len(report.jobs[job.name].of(*ACTIVE))
        return held

    def _manifest(self) -> Manifest:
        """The run's manifest, a new one where nothing was submitted yet. Raises StateError where
        it is of another site: there, nobody knows this run's jobs."""
        site = self.plan.site
        manifest = self.store.read() or self._new_manifest()
        # What a killed command did not come to write, or somebody took out by hand, is looked for
        # at the scheduler like every submission of which the end is not known.
        _add_intents(manifest, self.store.intents(lacking=manifest))
        if manifest.scheduler != site.scheduler or manifest.site != site.site:
            raise StateError(
                f"{self.store.path}: this run is on site {manifest.site!r} "
                f"({manifest.scheduler}), not {site.site!r}. Use --site {manifest.site}, or give "
                "the other run a state of its own with a profile"
            )
        return manifest

    def _new_manifest(self) -> Manifest:
        site, study = self.plan.site, self.plan.study
        return Manifest(study.name, site.site, site.scheduler, list(study.profiles))

    def _new_work(
        self, jobs: Sequence[Job], report: Report, force: bool, whole: bool
    ) -> list[tuple[Job, list[int]]]:
        chosen: list[tuple[Job, list[int]]] = []
        names: set[str] = set()
        for job in jobs:
            status = report.jobs[job.name]
            tasks = list(range(1, job.tasks + 1))
            if whole and not force:
                tasks = [t for t in tasks if status.tasks[t].state not in _KEPT]
            elif refusal := self._refusal(job, status, force):
                raise StateError(refusal)
            if not tasks:
                names.add(job.name)
                continue
            others = [u for u in job.upstream if u.job not in names]
            missing = [u.job for u in others if not self._usable(u, report.jobs[u.job])]
            if missing:
                raise StateError(
                    f"{job.name} needs {', '.join(missing)}, which is neither complete nor queued. "
                    f"Submit it first, or everything with `pipeline submit all`"
                )
            names.add(job.name)
            chosen.append((job, tasks))
        return chosen

    def _usable(self, upstream: Upstream, status: JobStatus) -> bool:
        """Whether a dependent may be queued behind a job: every task done, or still to end, or
        all of it done by hand."""
        states = set(status.counts())
        if states == {State.PLANNED}:
            return made_by_hand(upstream, self.transport)
        return states <= {State.COMPLETED, *ACTIVE}

    def _refusal(self, job: Job, status: JobStatus, force: bool) -> str:
        """Why a job is not submitted anew; empty where it may be."""
        active = status.of(*ACTIVE)
        if active:
            what = f"{len(active)} of {job.tasks} tasks" if job.array else "it"
            rest = "`pipeline submit all` queues the others" if status.of(State.PLANNED) else "Wait"
            return (
                f"{job.name} is active: {what} queued or running "
                f"({status.tasks[active[0]].id or status.tasks[active[0]].reason}). "
                f"{rest}, or `pipeline cancel {job.name}`"
            )
        unknown = status.of(State.UNKNOWN)
        if unknown and not force:
            return (
                f"{job.name}: the state of {len(unknown)} tasks is unknown "
                f"({status.tasks[unknown[0]].reason}). Wait until `pipeline status` knows it, or "
                "submit with --force if you are sure that it does not run"
            )
        if force:
            return ""
        if len(status.of(State.COMPLETED)) == job.tasks:
            return f"{job.name} is complete. To run it again: --force"
        ended = status.of(*RESUBMITTED, State.CANCELLED, State.BLOCKED)
        if ended and status.of(State.COMPLETED):
            return (
                f"{job.name}: {len(status.of(State.COMPLETED))} tasks are complete and "
                f"{len(ended)} are not. `pipeline resubmit {job.name}` runs just those; --force "
                "runs all again"
            )
        return ""

    def _old_work(
        self, wanted: Mapping[str, list[int]], report: Report
    ) -> list[tuple[Job, list[int]]]:
        """The wanted tasks of each job; then, down the plan, the dependents they blocked."""
        again: dict[str, list[int]] = {}
        for job in self.plan.jobs:
            status = report.jobs[job.name]
            tasks = wanted.get(job.name, [])
            if any(u.job in again for u in job.upstream) or (
                job.name in wanted and all(_complete(report.jobs[u.job]) for u in job.upstream)
            ):
                tasks = sorted({*tasks, *status.of(State.BLOCKED)})
            if tasks:
                again[job.name] = tasks
        return [(job, again[job.name]) for job in self.plan.jobs if job.name in again]

    def _submit_one(
        self, manifest: Manifest, job: Job, tasks: list[int], report: Report
    ) -> Iterator[Outcome]:
        parts = self._parts(job, tasks)
        if job.throttle:  # of all the arrays together, as far as whole numbers go
            job = msgspec.structs.replace(job, throttle=max(1, job.throttle // len(parts)))
        for part in parts:
            for link in range(1, _links(job) + 1) if job.chain else (0,):
                yield self._submit_attempt(manifest, job, part, report, link)

    def _parts(self, job: Job, tasks: Sequence[int]) -> list[list[int]]:
        return limits.parts(self.plan.site, job.queue, tasks)

    def _lengthen(self, manifest: Manifest, job: Job, report: Report) -> Iterator[Outcome]:
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
        text = render.render(
            job,
            attempt_tasks=None if whole else tasks,
            link=link or 1,
            before=chain.before(links, link),
        )
        self._prepare(job)
        name = f"{job.script}{self.scheduler.extension}"
        if whole and link < 2:
            yamlio.write_atomic(self.root / name, text, mode=0o755)
        attempt = Attempt(
            attempt=number,
            token=new_token(),
            tasks=to_ranges(tasks),
            script=f"attempts/{job.name}.{number}{self.scheduler.extension}",
            digest=render.script_digest(job),
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
        return _outcome(job.name, "submitted", attempt, _links(job))

    def _by_hand(self, job: Job, entry: Entry) -> list[str]:
        """The ids in receipts that no attempt is known to have left: runs by hand, all older than
        an attempt that is made now, whatever the clocks of their machines say."""
        known = {attempt.id for attempt in entry.live()}
        found = receipts.scan(receipts.directory(self.store.state_dir, job.name))
        ids = {self.scheduler.owner(r.id)[0] or r.id for own in found.values() for r in own}
        return sorted(ids - known)

    def _prepare(self, job: Job) -> None:
        """What a script needs to be there: its configuration and the folders it writes to."""
        text = f"# What {job.name} is told; written by pipeline.\n" + yamlio.dump(job.config)
        path = self.root / job.config_path
        if not path.exists() or path.read_text() != text:
            yamlio.write_atomic(path, text)
        try:
            for folder in () if job.host else _folders(job):
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
            spool=self.spool,
        )
        try:
            result = self.transport.launch(
                self.scheduler.submit_argv(submission),
                self._files(job, attempt),
                _folders(job),
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

    def _settle(self, manifest: Manifest) -> list[str]:
        """Adopts what interrupted commands left at the scheduler, gives up what never got there."""
        waiting = _interrupted(manifest)
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
        argvs = self.scheduler.find_argvs(self.spool)
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

    def cancel(
        self, jobs: Sequence[Job], dry_run: bool = False, removed: bool = False
    ) -> list[Outcome]:
        """Cancels jobs and, before them, the dependents that would otherwise start or be held
        for ever; with `removed`, those too that the study has no more. Only ever by recorded
        ids."""
        with self.store.locked():
            manifest = self._manifest()
            self._settle(manifest)
            report = self.tracker.refresh(manifest)
            names = self._with_dependents({job.name for job in jobs})
            done: list[Outcome] = []
            with _telling(done):
                for status in report.removed.values() if removed else ():
                    done += self._cancel_job(manifest, status, dry_run)
                for job in reversed(self.plan.jobs):
                    if job.name in names:
                        done += self._cancel_job(manifest, report.jobs[job.name], dry_run)
            return done

    def _cancel_job(
        self, manifest: Manifest, status: JobStatus, dry_run: bool
    ) -> Iterator[Outcome]:
        entry = manifest.jobs.get(status.name)
        known = {attempt.id: attempt for attempt in entry.live()} if entry else {}
        for job_id, tasks in _active(status).items():
            attempt = known.get(job_id)
            if attempt is None:
                yield Outcome(status.name, "submitted by hand, left alone:", job_id, tasks)
                continue
            if not dry_run:
                for argv in self.scheduler.cancel_argvs(job_id, None):
                    self.scheduler.parse_cancel(self.transport.run(argv))
                attempt.state = "cancelled"
                self.store.write(manifest)
            action = "would cancel" if dry_run else "cancelled"
            yield Outcome(status.name, action, job_id, tasks, attempt.attempt)

    def _with_dependents(self, names: set[str]) -> set[str]:
        for job in self.plan.jobs:
            if any(upstream.job in names for upstream in job.upstream):
                names.add(job.name)
        return names

    def repair(self) -> tuple[Manifest, Path | None]:
        """Rebuilds the manifest from intents, receipts and scheduler; keeps the old file aside."""
        with self.store.locked():
            aside: Path | None = None
            intents = self.store.intents()
            try:
                manifest = self._manifest()
            except Damaged:
                manifest = self._new_manifest()
                self._check_site(intents)
                if self.store.path.exists():
                    aside = self.store.path.with_name(f"manifest.yaml.broken-{int(time.time())}")
                    yamlio.write_atomic(aside, self.store.path.read_bytes())
            _add_intents(manifest, intents)
            # Before anybody is asked: without an answer, the next command goes on from here.
            self.store.write(manifest)
            self._settle(manifest)
            self.tracker.refresh(manifest)
            self.store.write(manifest)
            return manifest, aside

    def _check_site(self, intents: Sequence[Intent]) -> None:
        here = self.plan.site.site
        for intent in intents:
            if intent.site != here:
                raise StateError(
                    f"{self.store.state_dir}/{intent.attempt.script}: was submitted on site "
                    f"{intent.site!r}, not {here!r}. Use --site {intent.site}"
                )


def _add_intents(manifest: Manifest, intents: Sequence[Intent]) -> None:
    for intent in intents:
        entry = manifest.jobs.setdefault(intent.job, Entry(intent.stage, intent.arm, intent.tasks))
        if all(a.token != intent.attempt.token for a in entry.attempts):
            entry.attempts.append(intent.attempt)
            entry.attempts.sort(key=lambda a: a.attempt)


def _folders(job: Job) -> tuple[str, str]:
    """What a script needs to be there; the scheduler does not make the folder of its own logs."""
    return f"{job.state_dir}/receipts/{job.name}", f"{job.log_dir}/scheduler"


def _links(job: Job) -> int:
    return job.chain.links if job.chain else 0


def _outcome(job: str, action: str, attempt: Attempt, links: int) -> Outcome:
    return Outcome(
        job, action, attempt.id, attempt.tasks, attempt.attempt, tuple(attempt.patch),
        attempt.link, links,
    )  # fmt: skip


def new_token() -> str:
    """8 characters, a letter first: PBS's JSON turns what looks like a number into one."""
    return "t" + secrets.token_hex(4)[1:]


def _dependencies(job: Job, report: Report) -> Iterator[str]:
    """The ids that still run of the jobs this one needs, by whomever they were submitted. The gate
    in the script checks their receipts; a dependency on a job that has ended is deleted or ignored,
    by site."""
    for upstream in job.upstream:
        yield from sorted(filter(None, _active(report.jobs[upstream.job])))


@contextlib.contextmanager
def _telling(done: Sequence[Outcome]) -> Iterator[None]:
    """Adds to an error what had been done by then: it is recorded, and stays done."""
    try:
        yield
    except (Rejected, Unreachable) as error:
        if not done:
            raise
        before = ", ".join(f"{outcome.action} {outcome.job} {outcome.id}" for outcome in done)
        raise type(error)(f"{error}. Before that: {before}") from None


def _interrupted(manifest: Manifest) -> list[tuple[str, Attempt]]:
    return [
        (name, attempt)
        for name, entry in manifest.jobs.items()
        for attempt in entry.attempts
        if attempt.state == "submitting"
    ]


def _tasks(attempt: Attempt) -> list[int]:
    return from_ranges(attempt.tasks)


def _active(status: JobStatus) -> dict[str, str]:
    """The scheduler's ids under which tasks may still run, and those tasks; never an id that is
    another job's by now. Of a chain, the last link first."""
    found: dict[str, list[int]] = {job_id: [1] for job_id in reversed(status.waiting)}
    for task in status.of(State.UNKNOWN, *ACTIVE):
        if status.tasks[task].id not in status.strangers:
            found.setdefault(status.tasks[task].id, []).append(task)
    return {job_id: to_ranges(tasks) for job_id, tasks in found.items()}


def _states(status: JobStatus) -> dict[int, State]:
    return {task.task: task.state for task in status.tasks.values()}


def _complete(status: JobStatus) -> bool:
    return all(task.state == State.COMPLETED for task in status.tasks.values())
