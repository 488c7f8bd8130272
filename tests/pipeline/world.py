"""A run in a temporary project, over a scheduler that lives in a dictionary.

The fake scheduler knows what a test tells it to know; it never runs anything. Receipts are written
by the tests, as a task's script would.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import plan, site, study
from pipeline.errors import Rejected, Unreachable
from pipeline.schedulers.base import Answer, Completed, Submission, TaskReport
from pipeline.states import State
from pipeline.submit import Engine
from pipeline.transport import Here

ROOT = Path(__file__).parents[2]
STUDY = """
study: small
state_dir: jobs/small
arms: {a: {aliases: [first]}, b: {}}
stages:
  make: {kind: command, run: [echo, make], outputs: [made]}
  cut: {kind: command, arms: all, needs: [make], run: [echo, "{task}"],
        array: {over: chunks, count: 6}, outputs: ["out/${arm}_${task}.txt"]}
  fit: {kind: command, arms: all, needs: [cut], run: [echo, fit]}
  tell: {kind: command, needs: [fit], run: [echo, tell]}
resources: {gpus: 0, cpus: 1, mem: 1GB, walltime: "01:00:00"}
"""


class FakeScheduler:
    """Ids F1, F2, ...; a task's own id is F1_3. `jobs` is what it would answer."""

    name = "slurm"
    extension = ".sbatch"
    cancel_releases = True
    adopt_after_s = 0.0

    def __init__(self) -> None:
        self.jobs: dict[str, dict[int, TaskReport]] = {}
        self.past: dict[str, dict[int, TaskReport]] = {}
        self.submitted: list[Submission] = []
        self.cancelled: list[str] = []
        self.tokens: dict[str, str] = {}
        self.down = False
        self.reject = ""
        self.cancels = -1  # how many before it goes down; -1: it stays up
        self.lose_answer = False  # accept a job but let the answer get lost

    def submit_argv(self, submission: Submission) -> list[str]:
        self._pending = submission
        return ["submit"]

    def parse_submit(self, result: Completed) -> str:
        if self.down:
            raise Unreachable("no answer")
        if self.reject:
            raise Rejected(self.reject)
        self.submitted.append(self._pending)
        job_id = f"F{len(self.submitted)}"
        indices = range(1, self._pending.array + 1) if self._pending.array else [0]
        self.jobs[job_id] = {i: TaskReport(State.QUEUED) for i in indices}
        self.tokens[self._pending.token] = job_id
        if self.lose_answer:
            raise Unreachable("the answer got lost")
        return job_id

    def query_argvs(self, ids: Sequence[str]) -> list[list[str]]:
        return [["query"]]

    def parse_query(self, ids: Sequence[str], results: Sequence[Completed]) -> Answer:
        if self.down:
            raise Unreachable("no answer")
        return Answer({i: self.jobs[i] for i in ids if i in self.jobs})

    def history_argvs(self, ids: Sequence[str]) -> list[list[str]]:
        return [["history"]]

    def parse_history(self, ids: Sequence[str], results: Sequence[Completed]) -> Answer:
        return Answer({i: self.past[i] for i in ids if i in self.past})

    def find_argvs(self) -> list[list[str]]:
        return [["find"]]

    def parse_find(self, results: Sequence[Completed]) -> dict[str, str]:
        if self.down:
            raise Unreachable("no answer")
        return dict(self.tokens)

    def cancel_argvs(self, job_id: str, indices: Sequence[int] | None) -> list[list[str]]:
        return [["cancel", job_id]]

    def parse_cancel(self, result: Completed) -> None:
        if self.cancels == 0:
            raise Unreachable("no answer")
        self.cancels -= 1
        self.cancelled.append(result.argv[1])
        self.jobs.pop(result.argv[1], None)

    def owner(self, receipt_id: str) -> tuple[str, int]:
        job, _, index = receipt_id.partition("_")
        return (job, int(index or 0)) if job.startswith("F") else ("", 0)


class FakeTransport(Here):
    """Runs nothing; counts the calls."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.log: list[str] = []

    def run(self, argv: Sequence[str], keep_fd: int | None = None) -> Completed:
        self.calls += 1
        self.log.append(argv[0])
        return Completed(tuple(argv), 0, "", "")


class World:
    """A project folder with one small study."""

    def __init__(self, folder: Path, text: str = STUDY) -> None:
        self.root = folder
        (folder / "studies").mkdir(parents=True)
        shutil.copytree(ROOT / "job_templates", folder / "job_templates")
        (folder / "studies/small.yaml").write_text(text)
        self.scheduler = FakeScheduler()
        self.transport = FakeTransport(folder)
        loaded = study.load(folder / "studies/small.yaml")
        here = site.Environment()
        where = site.Site(
            site="here", scheduler="slurm", project_dir=str(folder),
            environments={"light": here, "hf": here, "nemo": here},
        )  # fmt: skip
        self.plan = plan.make(loaded, where)
        self.engine = self.new_engine()

    def new_engine(self) -> Engine:
        """What a second command would start with."""
        return Engine(self.plan, self.root, self.scheduler, self.transport)

    @property
    def state_dir(self) -> Path:
        return self.root / self.plan.state_dir

    def receipt(
        self,
        job: str,
        task: int,
        job_id: str,
        kind: str,
        at: float | None = None,
        **content: Any,
    ) -> Path:
        """Writes a receipt as a script would; `at` sets its time."""
        folder = self.state_dir / "receipts" / job
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{task}.{job_id}.{kind}"
        path.write_text(json.dumps({"job": job, "task": task, "id": job_id, **content}))
        if at is not None:
            os.utime(path, (at, at))
        return path

    def finish(self, job: str, kind: str = "ok") -> None:
        """Every task of a job's last attempt ends, and the scheduler forgets it."""
        from pipeline.ranges import from_ranges

        manifest = self.engine.store.read()
        assert manifest is not None
        attempt = manifest.jobs[job].attempts[-1]
        tasks = from_ranges(attempt.tasks)
        for index, task in enumerate(tasks, 1):
            own = attempt.id if len(tasks) == 1 else f"{attempt.id}_{index}"
            self.receipt(job, task, own, kind)
        self.scheduler.jobs.pop(attempt.id, None)

    def states(self, job: str) -> dict[str, str]:
        """State -> ranges of a job's tasks, as a fresh status finds them."""
        from pipeline.ranges import to_ranges

        found = self.engine.status().jobs[job]
        return {str(s): to_ranges(found.of(s)) for s in State if found.of(s)}
