"""`plan`: what a study asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import click

from pipeline.options import JSON, Context, run_options

if TYPE_CHECKING:
    from pipeline.view.batches import Row

Order = Literal["plan", "longest"]
MOST_GPUS = 100_000  # of `--gpus`


def _numbers(context: click.Context, option: click.Parameter, text: str) -> tuple[int, ...]:
    """`1,2,4` as numbers of GPUs."""
    try:
        found = tuple(int(word) for word in text.split(",")) if text else ()
    except ValueError:
        found = (0,)
    if any(not 0 < number <= MOST_GPUS for number in found):
        raise click.BadParameter(f"{text!r} is no list of numbers; write it like 1,2,4")
    return found


@click.command()
@click.option(
    "--gpus",
    default="",
    metavar="N,N,...",
    callback=_numbers,
    help="How long it takes with so many GPUs, e.g. 1,2,4.",
)
@click.option(
    "--order",
    type=click.Choice(get_args(Order)),
    default="plan",
    show_default=True,
    help="Which of the jobs that might start goes first.",
)
@click.option(
    "--schedule", is_flag=True, help="Also show which job runs on which GPUs from when to when."
)
@click.option(
    "--profiles",
    is_flag=True,
    help="Instead, compare batches, updates and rates of the study's profiles.",
)
@JSON
@run_options
def plan(
    context: Context, gpus: tuple[int, ...], order: Order, schedule: bool, profiles: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Show the study's jobs and what follows: hours, cost, updates, tokens, memory, disk.

    Nothing is written. The serial hours add every job up; the critical path is the shortest time
    with enough machines. docs/plan.md explains every figure.

    \b
    Example:
      pipeline plan --site default
      pipeline plan --gpus 1,2,4 --schedule --order longest
      pipeline plan --study marco-lora --profiles
      pipeline plan --set batch.micro=1 --json
    """
    from pipeline import secret
    from pipeline.view import plan as plan_view

    if profiles:
        from pipeline.view import batches

        batches.show(_by_profile(context), as_json)
        return
    made = context.plan(reference=True)
    secret.refuse(made.jobs)
    plan_view.plan(made, context.root, plan_view.Asked(gpus, order, schedule), as_json)


def _by_profile(context: Context) -> list[Row]:
    """The study's trainings without a profile and under each."""
    from pipeline import plan, recipe, study
    from pipeline.errors import ConfigError
    from pipeline.view import batches

    site, found = context.site(reference=True), []
    for profile in ("", *study.load(context.study_path).document.profiles):
        name = profile or batches.PLAIN
        try:
            chosen = study.load(context.study_path, [profile] if profile else [], context.sets)
            found += batches.rows(name, recipe.recipes(plan.make(chosen, site), context.root))
        except ConfigError as error:
            found.append(batches.Row(name, problem=error.problems[0]))
    return found
