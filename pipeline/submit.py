"""A run and the commands that change it: submit, resubmit, cancel, repair."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline import chain, choose, inputs, limits, quote, render, yamlio
from pipeline.attempts import Attempts, Outcome, interrupted, links_of, outcome
from pipeline.errors import Damaged, OverBudget, Rejected, StateError, Unreachable
from pipeline.job import Job
from pipeline.manifest import Entry, Intent, Manifest, Store
from pipeline.patches import Patches
from pipeline.plan import Plan
from pipeline.ranges import from_ranges, to_ranges
from pipeline.report import JobStatus, Report
from pipeline.schedulers.base import Scheduler
from pipeline.states import ACTIVE, RESUBMITTED, State
from pipeline.track import Tracker
from pipeline.transport import Transport


class Engine:
    """A run's plan, state, scheduler and transport: what the commands that change it share."""

    def __init__(
        self, plan: Plan, root: Path, scheduler: Scheduler, transport: Transport,
        patches: Patches | None = None,
    ) -> None:  # fmt: skip
        self.plan, self.root = plan, root
        self.patches = patches or {}  # of the plan's jobs, for the attempts to remember
        self.scheduler, self.transport = scheduler, transport
        self.over_budget = False  # go beyond the study's budget
        self.store = Store(root / plan.state_dir)
        self.attempts = Attempts(plan, root, scheduler, transport, self.store, self.patches)
        self.tracker = Tracker(self.store, plan.jobs, scheduler, transport, plan.site.receipt_grace)

    def status(self) -> Report:
        """The run's state, with interrupted submissions settled first."""
        adopted: list[str] = []
        silent: dict[str, str] = {}
        manifest = self._manifest()
        if waiting := interrupted(manifest):
            try:
                with self.store.locked():
                    adopted = self.attempts.settle(self._manifest())
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
                done.append(outcome(name, "cancelled", link, len(links)))
        return done

    def render(self, jobs: Sequence[Job]) -> list[str]:
        """Writes the scripts and configurations of some jobs; returns the scripts' paths."""
        written = []
        for job in jobs:
            text = render.render(job)
            self.attempts.prepare(job)
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
                if (
                    len(from_ranges(attempt.tasks)) == job.tasks
                    and attempt.link < 2
                    and path.exists()
                ):
                    last = path.read_text()
            found.append((f"{job.script}{self.scheduler.extension}", last, render.render(job)))
        return found

    def submit(
        self, jobs: Sequence[Job], force: bool = False, dry_run: bool = False,
        whole: bool = False, fitting: bool = False,
    ) -> list[Outcome]:  # fmt: skip
        """Submits jobs in the plan's order. `whole`: goes on where the run stands, over the tasks
        that are neither complete nor active, where a job named alone would be refused. `fitting`:
        only as much as the user's limits leave room for. Raises StateError before anything is
        queued."""
        return self._change(
            lambda report: choose.new_work(jobs, report, self.transport, force, whole),
            dry_run,
            whole,
            fitting,
        )

    def resubmit(
        self, jobs: Sequence[Job], only_failed: bool, dry_run: bool = False
    ) -> list[Outcome]:
        """A new attempt over just the tasks that ended without success, and over the dependents
        that they blocked."""
        states = set(RESUBMITTED) if only_failed else {*RESUBMITTED, State.CANCELLED, State.BLOCKED}
        names = [job.name for job in jobs]
        return self._change(
            lambda report: choose.old_work(
                self.plan.jobs, {name: report.jobs[name].of(*states) for name in names}, report
            ),
            dry_run,
        )

    def retry(self, tasks: Mapping[str, Collection[int]]) -> list[Outcome]:
        """A new attempt over those of some jobs' tasks that still stand failed, and over the
        dependents that they blocked."""
        return self._change(
            lambda report: choose.old_work(
                self.plan.jobs,
                {
                    name: [t for t in report.jobs[name].of(*RESUBMITTED) if t in own]
                    for name, own in tasks.items()
                },
                report,
            ),
            dry_run=False,
        )

    def _change(
        self, wanted: Callable[[Report], choose.Work], dry_run: bool,
        whole: bool = False, fitting: bool = False,
    ) -> list[Outcome]:  # fmt: skip
        with self.store.locked():
            manifest = self._manifest()
            self.attempts.settle(manifest)
            report = self.tracker.refresh(manifest)
            work = wanted(report)
            overtaken = choose.overtaken(work, report)
            queued = self._queued(report, overtaken)
            if not self.over_budget:
                self._within_budget(manifest, report, work)
            if fitting:
                work = limits.fitting(self.plan.site, work, queued)
            elif refusal := limits.crowded(self.plan.site, work, queued):
                raise StateError(refusal)
            inputs.refuse_missing(self.plan, [job for job, _ in work], self.transport)
            if dry_run:
                return [
                    *self._withdraw(manifest, report, overtaken, dry_run),
                    *(
                        Outcome(j.name, "would submit", tasks=to_ranges(part), links=links_of(j))
                        for j, t in work
                        for part in self.attempts.parts(j, t)
                    ),
                ]
            self.store.write(manifest)
            done: list[Outcome] = []
            with _telling(done):
                done += self._drop_leftovers(manifest, report)
                done += self._withdraw(manifest, report, overtaken)
                for job in self.plan.jobs if whole else ():
                    done += self.attempts.lengthen(manifest, job, report)
                for job, tasks in work:
                    done += self.attempts.submit(manifest, job, tasks, report)
            return done

    def _withdraw(
        self, manifest: Manifest, report: Report, names: Collection[str], dry_run: bool = False
    ) -> Iterator[Outcome]:
        """Cancels queued jobs that wait for attempts which failed, dependents first."""
        for job in reversed(self.plan.jobs):
            if job.name in names:
                status = report.jobs[job.name]
                yield from self._cancel_job(manifest, status, dry_run)
                if not dry_run:
                    status.waiting.clear()

    def _within_budget(self, manifest: Manifest, report: Report, work: choose.Work) -> None:
        """Raises OverBudget where the study has a budget that does not hold this."""
        if not work or not quote.limited(self.plan):
            return
        found = quote.account(self.plan, self.root, report, manifest, work)
        if told := quote.beyond(self.plan, found):
            raise OverBudget(
                "\n".join([*told, "Submit less, raise the budget in the study, or insist with "
                           "--over-budget"])
            )  # fmt: skip

    def _queued(self, report: Report, without: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """Tasks of this run that each queue holds, but for some that will leave it."""
        held: dict[str, int] = {}
        for job in self.plan.jobs:
            own = len(report.jobs[job.name].of(*ACTIVE)) - len(without.get(job.name, ()))
            held[job.queue] = held.get(job.queue, 0) + own
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
        return Manifest(
            study.name, site.site, site.scheduler, list(study.profiles), revision=study.revision
        )

    def cancel(
        self, jobs: Sequence[Job], dry_run: bool = False, removed: bool = False
    ) -> list[Outcome]:
        """Cancels jobs and, before them, the dependents that would otherwise start or be held
        for ever; with `removed`, those too that the study has no more. Only ever by recorded
        ids."""
        with self.store.locked():
            manifest = self._manifest()
            self.attempts.settle(manifest)
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
        for job_id, tasks in choose.active_ids(status).items():
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
            self.attempts.settle(manifest)
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


def _add_intents(manifest: Manifest, intents: Sequence[Intent]) -> None:
    for intent in intents:
        entry = manifest.jobs.setdefault(intent.job, Entry(intent.stage, intent.arm, intent.tasks))
        if all(a.token != intent.attempt.token for a in entry.attempts):
            entry.attempts.append(intent.attempt)
            entry.attempts.sort(key=lambda a: a.attempt)
