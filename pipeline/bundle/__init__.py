"""A run as a folder that needs no pipeline: scripts, configurations, programs, data, a README.

The scripts work wherever the folder is: each takes the folder that it was submitted from for the
project. Logs and checkpoints stay inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from pipeline import attempts, inputs, plan, secret, sync
from pipeline.bundle import order, readme, requirements
from pipeline.bundle.archive import SUMS, File, pack, sums
from pipeline.bundle.order import Step
from pipeline.bundle.programs import Project, needed
from pipeline.errors import StateError
from pipeline.job import HERE, Job
from pipeline.plan import Plan
from pipeline.site import Environment, Site
from pipeline.study import Loaded


class Bundle(msgspec.Struct, frozen=True):
    """What goes into the archive, and what could not."""

    name: str
    files: dict[str, File]
    folders: tuple[str, ...]  # that are empty
    bring: tuple[readme.Missing, ...]

    def packed(self) -> bytes:
        """The archive."""
        return pack(self.name, {**self.files, SUMS: sums(self.files)}, self.folders)


def portable(site: Site, python: str = "") -> Site:
    """A site as a bundle sees it: the project is where a script is submitted. `python`: the
    interpreter of all environments that are no container."""
    environments = {
        name: found if found.container or not python else _with_python(found, python)
        for name, found in site.environments.items()
    }
    return msgspec.structs.replace(
        site, project_dir=HERE, log_dir="", host="", environments=environments
    )


def _with_python(environment: Environment, python: str) -> Environment:
    return msgspec.structs.replace(environment, python=python)


def make(
    study: Loaded, site: Site, root: Path, stages: Sequence[str] = (), arms: Sequence[str] = (),
    more: Mapping[str, str] | None = None,
) -> Bundle:  # fmt: skip
    """The bundle of some stages (none: all) and arms (none: all) on a `portable` site. `more`:
    texts that go along, by their paths.

    Raises ConfigError for what cannot be planned or rendered, StateError for a file that holds a
    secret.
    """
    made = plan.make(study, site)
    jobs = made.select(stages, arms)
    steps = order.steps(made, jobs)
    project = Project(
        root, (f for f in sync.files(root) if not sync.may_hold_secrets(f, site.env_file))
    )
    scripts = {step.file: step.text for step in steps}
    wanted = needed(project, jobs, scripts) | _to_read(project, study)
    large = {path for path in wanted if (root / path).stat().st_size > sync.LARGEST}
    files = {path: _read(root / path) for path in wanted - large}
    packages = requirements.files(made, jobs, scripts, {p.split("/")[0] for p in files}, root)
    bring = tuple(_bring(made, jobs, project, wanted - large, large))
    shown = readme.Shown(made, jobs, steps, tuple(sorted(wanted - large)), packages, bring)
    texts = {
        **{job.config_path: attempts.config_text(job) for job in jobs},
        **packages, **(more or {}), **readme.texts(shown),
    }  # fmt: skip
    files |= {path: File(text.encode("utf-8", "surrogateescape")) for path, text in texts.items()}
    files |= _scripts(steps)
    files["submit_all.sh"] = msgspec.structs.replace(files["submit_all.sh"], executable=True)
    _refuse_secrets(files, jobs[0], root)
    folders = {folder for job in jobs for folder in attempts.folders(job)}
    return Bundle(study.run_name, files, tuple(sorted(folders)), bring)


def _scripts(steps: Sequence[Step]) -> dict[str, File]:
    """A link that lacks the ids of those before it is a template of a script."""
    return {
        step.file + (".in" if step.before else ""): File(
            step.text.encode("utf-8", "surrogateescape"), executable=not step.before
        )
        for step in steps
    }


def _to_read(project: Project, study: Loaded) -> set[str]:
    """What no job needs and people do: the study, the licence, what a script does."""
    path = study.path.resolve()
    inside = path.is_relative_to(project.root)
    name = path.relative_to(project.root).as_posix() if inside else ""
    return {name, "LICENSE", "docs/scripts.md"} & project.files


def _read(path: Path) -> File:
    return File(path.read_bytes(), bool(path.stat().st_mode & 0o100))


def _bring(
    made: Plan, jobs: Sequence[Job], project: Project, there: set[str], large: set[str]
) -> list[readme.Missing]:  # fmt: skip
    """What the jobs need and the bundle does not hold: inputs, what jobs left out would write, and
    files that are too large."""
    found = [readme.Missing(path, "too large for the bundle") for path in sorted(large)]
    for one in inputs.wanted(made, jobs):
        if one.hub:
            found.append(readme.Missing(one.hub, "fetched by its name, if the node may"))
        elif not there & set(project.matching(one.path)):
            found.append(readme.Missing(one.shown, f"for {', '.join(one.jobs)}"))
    names = {job.name for job in jobs}
    for upstream in {u.job: u for job in jobs for u in job.upstream if u.job not in names}.values():
        outputs = ", ".join(path.replace("{task4}", "*") for path in upstream.outputs)
        found.append(
            readme.Missing(outputs or upstream.job, f"what job {upstream.job}, not in here, writes")
        )
    return found


def _refuse_secrets(files: Mapping[str, File], job: Job, root: Path) -> None:
    here = msgspec.structs.replace(job, project_dir=str(root))
    known = [(name, value.encode()) for name, value in secret.known(here)]
    for path, file in files.items():
        if name := next((name for name, value in known if value in file.content), ""):
            raise StateError(
                f"{path}: holds the value of {name}, so no bundle is written. Take it out of there"
            )
