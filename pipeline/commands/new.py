"""`new study`, `new site`: a commented file from a skeleton and an interview."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipeline.errors import StateError
from pipeline.options import SCHEDULERS, find_root, relative

if TYPE_CHECKING:
    import msgspec

F = TypeVar("F", bound=Callable[..., Any])

DEFAULTS = click.option("--defaults", is_flag=True, help="Ask nothing: take what is not given.")


class _Checked(click.ParamType):  # type: ignore[type-arg]  # generic in new versions only
    """A text that a function of another module, imported when it is needed, takes."""

    def __init__(self, name: str, word: str) -> None:
        self.name, self.word = word, name

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:  # fmt: skip
        from pipeline import skeletons

        if not isinstance(value, str):
            return value
        try:
            return getattr(skeletons, self.word)(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


NAMES, SIZE, TIME = _Checked("names", "a,b"), _Checked("size", "size"), _Checked("walltime", "time")
COUNT = click.IntRange(min=0)
SOME = click.IntRange(min=1)

# (key of the answers, option's type, question)
Questions = tuple[tuple[str, Any, str], ...]
STUDY: Questions = (
    ("title", str, "Title"),
    ("question", str, "The question it asks"),
    ("arms", NAMES, "Its arms, what is compared (a,b)"),
    ("tasks", SOME, "Parts of the data, each a task"),
    ("gpus", COUNT, "GPUs of a training, per node"),
    ("cpus", SOME, "Its cores, per node"),
    ("mem", SIZE, "Its memory, per node"),
    ("walltime", TIME, "Its walltime"),
)
SITE: Questions = (
    ("scheduler", click.Choice(SCHEDULERS), "Scheduler"),
    ("project_dir", str, "This project's folder there"),
    ("log_dir", str, "Folder for logs and checkpoints"),
    ("account", str, "Account that jobs are charged to"),
    ("queue", str, "Queue of jobs with GPUs"),
    ("cpu_queue", str, "Queue of jobs without GPUs"),
    ("nodes", SOME, "Nodes that a job may have"),
    ("gpus", COUNT, "GPUs of a node"),
    ("cpus", SOME, "Cores of a node"),
    ("mem", SIZE, "Memory of a node"),
    ("walltime", TIME, "The longest walltime"),
    ("gpu", str, "The GPU's name (a100-40)"),
    ("gpu_memory", str, "The GPU's memory (40GiB)"),
    ("python", str, "Interpreter of the programs"),
    ("container", click.Choice(["", "enroot", "apptainer"]), "Container of NeMo"),
    ("image", str, "Its image"),
)
OF_A_SCHEDULER = ("account", "queue", "cpu_queue", "nodes", "container", "image")


def _options(questions: Questions) -> Callable[[F], F]:
    """A flag for each question."""

    def add(function: F) -> F:
        for key, kind, text in reversed(questions):
            function = click.option(f"--{key.replace('_', '-')}", key, type=kind, help=f"{text}.")(
                function
            )
        return function

    return add


def _interview(
    questions: Questions, given: dict[str, Any], start: msgspec.Struct, quiet: bool,
    skip: Callable[[str, dict[str, Any]], bool] = lambda key, told: False,
) -> dict[str, Any]:  # fmt: skip
    """The answers: those given, and for the others what is asked, or `start`'s where all is quiet.

    `skip`: of a question's key and the answers so far, whether it makes no sense.
    """
    told: dict[str, Any] = {}
    for key, kind, text in questions:
        default = getattr(start, key)
        if given.get(key) is not None:
            told[key] = given[key]
        elif quiet or skip(key, told):
            told[key] = default
        else:
            shown = ",".join(default) if isinstance(default, tuple) else default
            told[key] = click.prompt(text, shown, type=kind, err=True, show_choices=True)
    return told


@click.group(subcommand_metavar="study|site NAME")
def new() -> None:
    """Start a study or a site: a commented file from a few questions.

    What it writes loads, plans and runs as it is; every key that is not there yet stands in it as a
    comment. Each question is a flag too; --defaults asks nothing. No file is ever replaced.

    \b
    Example:
      pipeline new study mine
      pipeline new study mine --arms small,large --gpus 1 --defaults
      pipeline new site cluster --scheduler slurm
    """


@new.command("study")
@click.argument("name")
@DEFAULTS
@_options(STUDY)
def new_study(name: str, defaults: bool, **given: Any) -> None:
    """Write studies/NAME.yaml: arms, parameters, four stages with stand-ins for programs, a demo.

    \b
    Example:
      pipeline new study mine
      pipeline new study mine --arms small,large --gpus 1 --mem 60GB --defaults
    """
    from pipeline import skeletons

    root, path = _place("studies", name)
    start = skeletons.StudyAnswers(title=name)
    answers = skeletons.StudyAnswers(**_interview(STUDY, given, start, defaults))
    _write(path, skeletons.study_file(name, answers, root))
    click.echo("Its programs are stand-ins; it runs all the same. Next:")
    click.echo(f"  pipeline run --study {name} --profile demo")


@new.command("site")
@click.argument("name")
@click.option("--host", default="", help="A cluster behind ssh: `sites add` asks it instead.")
@DEFAULTS
@_options(SITE)
def new_site(name: str, host: str, defaults: bool, **given: Any) -> None:
    """Write sites/NAME.yaml by hand, from answers: nobody is asked but you.

    Where the cluster itself can be asked, here or by ssh, `pipeline sites add` is the better way:
    it finds queues and limits by itself.

    \b
    Example:
      pipeline new site mine --defaults
      pipeline new site cluster --scheduler slurm --queue gpu --gpus 4 --mem 250GiB
    """
    from pipeline import probe, site, yamlio
    from pipeline.probe import by_hand

    probe.check_name(name)
    if host:
        raise StateError(
            f"{host} can be asked itself, which finds its queues and limits: "
            f"pipeline sites add {name} --host {host}"
        )
    root, path = _place("sites", name)
    start = by_hand.SiteAnswers(project_dir=str(root), **_machine())
    told = _interview(SITE, given, start, defaults, _senseless)
    text = by_hand.site_file(name, by_hand.SiteAnswers(**told))
    site.read(yamlio.parse(text, str(path)), str(path), root)
    _write(path, text)
    click.echo(f"  pipeline plan --site {name}")


def _senseless(key: str, told: dict[str, Any]) -> bool:
    """Whether a site of these answers has no such thing."""
    if told.get("scheduler") == "local" and key in OF_A_SCHEDULER:
        return True
    if key in ("gpu", "gpu_memory"):
        return not told.get("gpus") or (key == "gpu_memory" and not told.get("gpu"))
    return key == "image" and not told.get("container")


def _machine() -> dict[str, Any]:
    """This machine's own figures, as a start."""
    from pipeline import site

    here = site.local()
    return {
        "cpus": here.max_cpus,
        "gpus": max(0, here.max_gpus),
        "mem": f"{max(1, here.max_mem // 2**30)}GiB",
        "python": here.environments["light"].python,
    }


def _place(folder: str, name: str) -> tuple[Path, Path]:
    """The project and the new file's path. Raises StateError where there is one."""
    root = find_root()
    path = root / folder / f"{name}.yaml"
    if path.exists():
        raise StateError(f"{relative(path)}: is there already. Use another name")
    return root, path


def _write(path: Path, text: str) -> None:
    from pipeline import yamlio

    yamlio.write_atomic(path, text)
    click.echo(f"{relative(path)}: written. Read it, then change what is not yours.")
