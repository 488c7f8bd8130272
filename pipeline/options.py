"""The options that commands share, and what they lead to: study, site, plan, engine.

Everything heavier than click is imported inside functions, so that `--help` and completion answer
at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipeline.errors import PipelineError, StateError

if TYPE_CHECKING:
    from pipeline.plan import Plan
    from pipeline.site import Site
    from pipeline.submit import Engine

F = TypeVar("F", bound=Callable[..., Any])

SCHEDULERS = ("pbs", "torque", "slurm", "local")
STUDY_HELP = "Study: a name in studies/ or a file. Default: PIPELINE_STUDY, else filipino-cpt."
SITE_HELP = "Site: a name in sites/ or a file. Default: PIPELINE_SITE, else default, else local."


class Context:
    """The options that every command takes, and what they lead to, each made when asked for."""

    def __init__(
        self, study: str, site: str, profile: tuple[str, ...], sets: tuple[str, ...]
    ) -> None:
        self.study_name, self.site_name = study, site
        self.profiles, self.sets = profile, sets
        self.root = find_root()

    @property
    def study_path(self) -> Path:
        name = self.study_name or os.environ.get("PIPELINE_STUDY", "") or "filipino-cpt"
        if name.endswith((".yaml", ".yml")) or "/" in name:
            return Path(name)
        path = self.root / "studies" / f"{name}.yaml"
        if not path.exists():
            from pipeline.errors import ConfigError
            from pipeline.yamlio import nearest

            known = nearest(name, _studies(self.root))
            raise ConfigError([f"no study is called {name!r}; {known}"])
        return relative(path)

    def chosen_site(self) -> str:
        """The site's name: given, or from the environment, or the default one."""
        from pipeline import site

        return self.site_name or site.default_name(self.root)

    def site(self, reference: bool = False) -> Site:
        """The site. `reference`: where none is chosen, a node that holds any study, since looking
        at a plan should not need a cluster."""
        from pipeline import site

        name = self.chosen_site()
        if reference and name == "local" and not self.site_name and not self.profiles:
            click.echo(
                "No site is chosen: shown for one node of 8 GPUs. Choose with --site or "
                "`bash job_templates/setup_jobs.sh`.", err=True,
            )  # fmt: skip
            return site.reference(self.root)
        return site.load(self.root, name)

    def looking_site(self) -> Site:
        """The site, or any where none is chosen: where results lie does not depend on its size."""
        from pipeline import site

        return site.reference(self.root) if self.chosen_site() == "local" else self.site()

    def plan(self, reference: bool = False, patch: Sequence[str] = ()) -> Plan:
        """The plan of the chosen study on the chosen site; --set stands over a remedy's patch."""
        from pipeline import plan, study

        sets = [*patch, *self.sets]
        return plan.make(study.load(self.study_path, self.profiles, sets), self.site(reference))

    def engine(self, patches: Mapping[str, tuple[str, ...]] | None = None) -> Engine:
        """The plan with its state, scheduler and transport, and with what remedies changed:
        `patches`, or else what the run's attempts remember."""
        from pipeline import patches as remedies
        from pipeline import schedulers, transport
        from pipeline.manifest import Store
        from pipeline.submit import Engine

        made = self.plan()
        if patches is None:
            patches = remedies.recorded(Store(self.root / made.state_dir))
        made = remedies.apply(made, patches, lambda patch: self.plan(patch=patch))
        to = transport.for_run(made, self.root)
        localq = to.there(f"{made.state_dir}/localq.py") if to.host else ""
        spool = to.there(f"{made.state_dir}/local")
        scheduler = schedulers.get(made.site.scheduler, spool, localq, made.site.slots)
        return Engine(made, self.root, scheduler, to, patches)


def find_root() -> Path:
    """The project: the nearest folder upwards that holds studies/ and job_templates/."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "studies").is_dir() and (folder / "job_templates").is_dir():
            return folder
    raise StateError(
        f"{here}: neither this folder nor one above it holds studies/ and job_templates/. "
        "Change to the project's folder"
    )


def relative(path: Path) -> Path:
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


def _studies(root: Path) -> list[str]:
    return sorted(p.stem for p in (root / "studies").glob("*.yaml"))


def complete(kind: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Completes names of studies, sites, profiles, stages, arms or jobs; silent when it cannot."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        try:
            known = names(ctx, kind)
        except (PipelineError, OSError):
            return []
        return [name for name in known if name.startswith(incomplete)]

    return complete


def names(ctx: click.Context, kind: str) -> list[str]:
    from pipeline import site, study

    root = find_root()
    if kind == "study":
        return _studies(root)
    if kind == "site":
        return site.names(root)
    given = ctx.params
    context = Context(
        given.get("study") or "", given.get("site") or "", tuple(given.get("profile") or ()), ()
    )
    loaded = study.load(context.study_path)
    if kind == "profile":
        return list(loaded.document.profiles)
    if kind == "configuration":
        return list(dict.fromkeys((*loaded.revisions, *loaded.document.profiles, "study")))
    if kind == "stage":
        return [*loaded.stages, "all"]
    if kind == "arm":
        return [n for arm, a in loaded.arms.items() for n in (arm, *a.aliases)]
    return [
        f"{name}_{arm}" if arm else name
        for name, stage in loaded.stages.items()
        for arm in loaded.stage_arms(stage)
    ]


def run_options(function: F) -> F:
    """--study, --site, --profile, --set, in one `context` argument."""

    def wrapped(
        study: str, site: str, profile: tuple[str, ...], sets: tuple[str, ...], **rest: Any
    ) -> Any:
        return function(Context(study, site, profile, sets), **rest)

    wrapped.__name__, wrapped.__doc__ = function.__name__, function.__doc__
    wrapped.__dict__.update(function.__dict__)
    for option in (
        click.option("--set", "sets", multiple=True, metavar="KEY=VALUE",
                     help="Override one value, e.g. batch.micro=1. Repeatable."),
        click.option("--profile", multiple=True, shell_complete=complete("profile"),
                     help="Lay a profile of the study over it, e.g. demo. Repeatable."),
        click.option("--site", default="", shell_complete=complete("site"), help=SITE_HELP),
        click.option("--study", default="", shell_complete=complete("study"), help=STUDY_HELP),
    ):  # fmt: skip
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def stages(required: bool = False) -> Callable[[F], F]:
    return click.argument(
        "stages", nargs=-1, required=required, shell_complete=complete("stage"),
        metavar="STAGE..." if required else "[STAGE]...",
    )  # fmt: skip


def variants(function: F) -> F:
    return click.option(
        "--variant", "variants", multiple=True, shell_complete=complete("arm"),
        help="Only this arm, by id or alias. Repeatable.",
    )(function)  # fmt: skip


JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/status.md).")
OVER = click.option("--over-budget", is_flag=True, help="Go on beyond the study's budget.")
DRY = click.option("--dry-run", is_flag=True, help="Say what would be done and do nothing.")
