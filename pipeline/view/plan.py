"""`plan`: jobs, times, cost, what trainings do and need, what lies on disk. docs/plan.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from pipeline import estimate, forecast, inputs, limits, memory, quote, recipe, space, timeline
from pipeline.forecast import Forecast
from pipeline.job import Job
from pipeline.plan import Plan
from pipeline.recipe import Recipe
from pipeline.shapes import counts
from pipeline.timeline import Order
from pipeline.validate import format_walltime, parse_size
from pipeline.view.common import print_json
from pipeline.view.drawn import console, table_of

MOST_NAMED = 4  # jobs in a line


class Asked(msgspec.Struct, frozen=True):
    """What the command was asked for."""

    gpus: tuple[int, ...] = ()
    order: Order = "plan"
    schedule: bool = False


def plan(made: Plan, root: Path, asked: Asked, as_json: bool) -> None:
    """The jobs, and the times, sizes and costs that follow from them."""
    if as_json:
        print_json(_json(made, root, asked))
        return
    figures = estimate.figures(made, asked.gpus, asked.order)
    out = console()
    out.print(_jobs(made))
    out.print()
    for line in (*_pairs(figures), *_quote(made), *_disk(made, root), *_brought(made)):
        out.print(line)
    trainings, recipes = forecast.forecasts(made), recipe.recipes(made, root)
    _trainings(out, made, trainings, recipes)
    if asked.schedule:
        _schedules(out, made, asked)
    for warning in dict.fromkeys(one.warning for one in trainings if one.warning):
        names = [one.job for one in trainings if one.warning == warning]
        out.print(Text(f"warning: {', '.join(names)}: {warning}", style="yellow"))


def _json(made: Plan, root: Path, asked: Asked) -> dict[str, Any]:
    jobs = [
        {k: v for k, v in msgspec.to_builtins(job).items() if k != "config"} for job in made.jobs
    ]
    recipes = {one.job: one for one in recipe.recipes(made, root)}
    total = quote.of_jobs(made, made.jobs)
    makespans = timeline.makespans(made.jobs, asked.gpus, asked.order)
    return {
        "study": made.study.name, "site": made.site.site, "jobs": jobs,
        "figures": estimate.figures(made, asked.gpus, asked.order),
        "makespans": makespans,
        "longest_first": timeline.makespans(made.jobs, asked.gpus, "longest"),
        "schedules": {
            gpus: msgspec.to_builtins([
                timeline.schedule(made.jobs, gpus, end, asked.order) for end in (0, 1)
            ])
            for gpus in (makespans if asked.schedule else ())
        },
        "quote": {
            **msgspec.to_builtins(total), "unit": made.site.charge.unit,
            "unstated": [job.name for job in made.jobs if not quote.stated(made, job)],
            "budget": _budget(made), "beyond": _beyond(made, root),
        },
        "disk": {job.name: space.parts(job, space.corpus_bytes(job, root)) for job in made.jobs},
        "parameters": {
            job.name: counts(job.config["parameters"]) for job in made.jobs if job.trains
        },
        "recipes": {name: _recipe_json(one) for name, one in recipes.items()},
        "trainings": [
            {
                **msgspec.to_builtins(one), "warning": one.warning,
                "epochs": recipes[one.job].epochs if one.job in recipes else None,
            }
            for one in forecast.forecasts(made)
        ],
    }  # fmt: skip


def _recipe_json(one: Recipe) -> dict[str, Any]:
    phases = [
        {
            **msgspec.to_builtins(phase), "examples": phase.examples, "tokens": phase.tokens,
            "steps_an_epoch": one.data.steps(phase) if one.data else None,
        }
        for phase in one.phases
    ]  # fmt: skip
    own = {"steps": one.steps, "examples": one.examples, "tokens": one.tokens}
    return {**msgspec.to_builtins(one), **own, "epochs": one.epochs, "phases": phases}


def _jobs(made: Plan) -> Any:
    table = table_of(
        "job", "tasks", "nodes", "GPUs", "cores", "memory", "walltime", "hours", "needs"
    )
    for job in made.jobs:
        r = job.resources
        table.add_row(
            job.name, _tasks(made, job), str(r.nodes), str(r.gpus), str(r.cpus),
            f"{r.mem_bytes / 1e9:.0f} GB", _walltime(job),
            _span(job.hours), ", ".join(u.job for u in job.upstream),
        )  # fmt: skip
    return table


def _tasks(made: Plan, job: Job) -> str:
    """`2000 in 2 arrays` where the site's limit on one asks for several."""
    arrays = len(limits.parts(made.site, job.queue, range(job.tasks)))
    return f"{job.tasks} in {arrays} arrays" if arrays > 1 else str(job.tasks)


def _walltime(job: Job) -> str:
    """`24:00:00`, and of a chain `4 x 24:00:00`."""
    links = f"{job.chain.links} x " if job.chain else ""
    return f"{links}{format_walltime(job.resources.walltime_s)}"


def _pairs(figures: dict[str, str]) -> Iterator[str]:
    for name, text in figures.items():
        yield f"{name}: {text}"


def _quote(made: Plan) -> Iterator[Text]:
    """GPU-hours, core-hours and cost, held against the budget."""
    total, budget = quote.of_jobs(made, made.jobs), made.study.document.budget
    charge = made.site.charge
    queues = any(q.charge for q in made.site.queues.values())
    for key in quote.KEYS:
        low, high = getattr(total, key)
        limit = getattr(budget, key)
        if key == "cost" and not (charge.text or queues):
            if limit is not None:
                yield Text(f"cost: unknown; site {made.site.site!r} has no charge", style="yellow")
            continue
        name = quote.NAMES.get(key) or f"cost in {charge.unit}"
        more = f" ({charge.text})" if key == "cost" and charge.text else ""
        yield _held(f"{name}: {_amount(low, high)}{more}", limit, low, high)
    if budget.deadline_hours is not None:
        low, high = timeline.critical_path(made.jobs)
        yield _held(f"deadline: {_amount(low, high)} h", budget.deadline_hours, low, high)
    silent = [job.name for job in made.jobs if not quote.stated(made, job)]
    if silent:
        yield Text(
            f"no hours are stated for {_names(silent)}: 0 at the low end, their walltime at the "
            "high end", style="dim",
        )  # fmt: skip


def _held(text: str, limit: float | None, low: float, high: float) -> Text:
    if limit is None:
        return Text(text)
    word = "within" if high <= limit else "more than" if low > limit else "maybe more than"
    return Text(f"{text}, {word} the budget's {limit:,g}", style="" if high <= limit else "yellow")


def _budget(made: Plan) -> dict[str, Any]:
    found = msgspec.to_builtins(made.study.document.budget)
    return {key: value for key, value in found.items() if value is not None and key != "tables"}


def _beyond(made: Plan, root: Path) -> list[str]:
    """The keys of the budget that the whole plan goes beyond at its high end."""
    total, budget = quote.of_jobs(made, made.jobs), made.study.document.budget
    highs = {key: getattr(total, key)[1] for key in quote.KEYS}
    highs["deadline_hours"] = timeline.critical_path(made.jobs)[1]
    found = [
        key for key, high in highs.items()
        if (limit := getattr(budget, key)) is not None and high > limit
    ]  # fmt: skip
    sizes = space.together([space.parts(j, space.corpus_bytes(j, root)) for j in made.jobs])
    if budget.disk is not None and sum(sizes.values()) > parse_size(budget.disk):
        found.append("disk")
    return found


def _disk(made: Plan, root: Path) -> Iterator[Text]:
    """What will lie there, the largest first."""
    sizes = {job.name: space.parts(job, space.corpus_bytes(job, root)) for job in made.jobs}
    total = space.together(list(sizes.values()))
    unknown = [name for name, one in sizes.items() if None in one.values()]
    listed = sorted(total.items(), key=lambda one: -one[1])
    limit = made.study.document.budget.disk
    whole = sum(total.values())
    text = f"disk: {_bytes(whole)}: " + ", ".join(f"{k} {_bytes(v)}" for k, v in listed)
    if limit is not None:
        over = whole > parse_size(limit)
        yield Text(
            f"{text}; {'more than' if over else 'within'} the budget's {limit}",
            style="yellow" if over else "",
        )
    else:
        yield Text(text)
    if unknown:
        yield Text(f"not counted, of unknown size so far: {_names(unknown)}", style="dim")


def _brought(made: Plan) -> Iterator[Text]:
    """What the user brings; whether it is there, `doctor` looks."""
    wanted = inputs.wanted(made, made.jobs)
    paths = [f"{one.shown} ({_names(one.jobs)})" for one in wanted if not one.hub]
    fetched = [f"{one.hub} ({_names(one.jobs)})" for one in wanted if one.hub]
    if paths:
        yield Text(f"you bring: {', '.join(paths)}; `pipeline doctor` says whether it is there")
    if fetched:
        yield Text(f"fetched by name, unless a folder is called so: {', '.join(fetched)}")


def _trainings(
    out: Console, made: Plan, trainings: Sequence[Forecast], recipes: Sequence[Recipe]
) -> None:
    if recipes:
        out.print()
        out.print(_recipes(made, recipes))
        stated = any(one.data and one.data.source == "stated" for one in recipes)
        if stated:
            out.print("An epoch is as large as the study says: no tokens are counted yet.",
                      style="dim")  # fmt: skip
    for one in recipes:
        if one.staged:
            out.print()
            out.print(f"{one.job}, stage by stage:")
            out.print(_stages(one))
    if trainings:
        out.print()
        out.print(_needs(trainings))
        for line in _parts(trainings):
            out.print(line)
        shares = {one.utilisation for one in trainings if one.hours}
        at = " or ".join("{:.0%} to {:.0%}".format(*share) for share in sorted(shares))
        hours = f"; hours at {at} of the GPUs' peak" if at else ""
        out.print(f"Predicted from the configuration{hours}: docs/training-memory.md", style="dim")


def _recipes(made: Plan, recipes: Sequence[Recipe]) -> Any:
    """A row a training: what it does."""
    table = table_of(
        "training", "updates", "batch", "examples", "tokens", "an epoch", "epochs",
        "evaluations", "checkpoints", "on disk",
    )  # fmt: skip
    for one in recipes:
        size = space.together([dict(space.checkpoints(made.job(one.job)))])
        table.add_row(
            one.job, f"{one.steps:,}" if one.steps else "",
            _alike([f"{phase.batch:,}" for phase in one.phases]),
            f"{one.examples:,}" if one.steps else "",
            f"{one.tokens / 1e6:,.4g} M" if one.steps else "",
            _alike([f"{one.data.steps(phase):,}" for phase in one.phases]) if one.data else "",
            f"{one.epochs:.3g}" if one.epochs else "",
            str(one.evaluations or ""),
            f"{one.checkpoints}, {one.kept} kept" if one.checkpoints else "",
            _bytes(sum(size.values())) if size else "",
        )  # fmt: skip
    return table


def _stages(one: Recipe) -> Any:
    """A row a stage of a training that has several."""
    table = table_of(
        "stage", "updates", "length", "batch", "rate", "examples", "so far", "tokens",
        "an update", "an epoch",
    )  # fmt: skip
    done = 0
    for number, phase in enumerate(one.phases, 1):
        done += phase.examples
        rate = f"{one.rate * phase.scale:.4g}" if one.rate else f"x {phase.scale:g}"
        table.add_row(
            str(number), f"{phase.first:,}-{phase.first + phase.steps:,}", f"{phase.length:,}",
            f"{phase.batch:,}", rate, f"{phase.examples:,}", f"{done:,}",
            f"{phase.tokens / 1e6:,.6g} M", f"{phase.step_tokens:,} tokens",
            f"{one.data.steps(phase):,} updates" if one.data else "",
        )  # fmt: skip
    return table


def _needs(found: Sequence[Forecast]) -> Any:
    """A row a training: what it takes."""
    table = table_of("training", "parameters", "batch", "tokens", "memory", "hours",
                     "the study says")  # fmt: skip
    for one in found:
        claim = _span(one.claimed) if one.claimed[1] else ""
        if one.claim_needs:
            low, high = (100 * share for share in one.claim_needs)
            claim += f" (at {low:.0f}-{high:.0f}%)"
        room = f" of {one.of / memory.GIB:.0f} GiB" if one.of else " GiB"
        length = f"{one.length:,}" + (f" + {one.target:,}" if one.target else "")
        learnt = f", {one.trainable / 1e6:,.3g} M trained" if one.trainable is not None else ""
        table.add_row(
            one.job, f"{one.parameters / 1e6:,.0f} M{learnt}",
            f"{one.sequences} x {length} tokens x {one.accumulation}",
            f"{one.tokens / 1e6:,.4g} M" if one.tokens else "",
            forecast.span(one.memory["total"]).removesuffix(" GiB") + room,
            "{:.3g}-{:.3g}".format(*one.hours) if one.hours else "", claim,
        )  # fmt: skip
    return table


def _parts(found: Sequence[Forecast]) -> Iterator[Text]:
    """The components of a GPU's memory, once for trainings that are alike."""
    alike: dict[str, list[str]] = {}
    for one in found:
        parts = [
            f"{name} {forecast.span(size)}"
            for name, size in one.memory.items()
            if name != "total" and size.high >= memory.GIB / 20
        ]
        alike.setdefault(", ".join(parts), []).append(one.job)
    for text, names in alike.items():
        where = "memory" if len(alike) == 1 else f"memory of {_names(names)}"
        if text:
            yield Text(f"{where}: {text}")


def _schedules(out: Console, made: Plan, asked: Asked) -> None:
    """Which job on which GPUs from when to when, with the least hours and with the most."""
    for gpus in timeline.makespans(made.jobs, asked.gpus, asked.order):
        out.print()
        title = f"on {gpus} GPU{'s' if gpus > 1 else ''}"
        ends = ("GPU", "from", "to h, at least", "GPU ", "from ", "to h, at most")
        table = table_of(title, *ends)
        least, most = (timeline.schedule(made.jobs, gpus, end, asked.order) for end in (0, 1))
        late = {slot.job: slot for slot in most}
        for slot in least:
            other = late[slot.job]
            table.add_row(slot.job, *_cells(slot), *_cells(other))
        out.print(table)


def _cells(slot: timeline.Slot) -> tuple[str, str, str]:
    own = f"{slot.gpus[0]}-{slot.gpus[-1]}" if len(slot.gpus) > 1 else "".join(map(str, slot.gpus))
    return own, f"{slot.start:.4g}", f"{slot.end:.4g}"


def _alike(texts: Sequence[str]) -> str:
    """`8`, or `8-256` of several."""
    first, last = texts[0], texts[-1]
    return first if len(set(texts)) == 1 else f"{first} ... {last}"


def _span(hours: tuple[float, float]) -> str:
    low, high = (f"{h:g}" for h in hours)
    return low if low == high else f"{low}-{high}"


def _amount(low: float, high: float) -> str:
    ends = [f"{round(end, 1):,g}" if end < 1e5 else f"{end:,.4g}" for end in (low, high)]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]}-{ends[1]}"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _bytes(size: float) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"
