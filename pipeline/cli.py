"""The `pipeline` command. Only this module and `view` print; only this one exits.

Everything heavier than click is imported inside functions, so that `--help` and completion answer
at once.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline import __version__
from pipeline.commands import bundle, new, planning, record
from pipeline.errors import PipelineError, StateError, plain
from pipeline.options import DRY, JSON, OVER, SCHEDULERS, Context, find_root, run_options
from pipeline.options import complete as _complete
from pipeline.options import names as _names
from pipeline.options import relative as _relative
from pipeline.options import stages as _stages
from pipeline.options import variants as _variants

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from pipeline.job import Job
    from pipeline.report import JobStatus, Report
    from pipeline.submit import Engine

NUMERIC = ("numpy", "matplotlib")  # of the evaluation programs that make reports
DEPENDENCIES = ("jinja2", "msgspec", "rich", "yaml")


def missing(package: str | None) -> str:
    """What to say when a package that pipeline itself needs is not installed."""
    return f"error: {sys.executable} has no {package}. Run: {sys.executable} -m pip install -e ."


class _Group(click.Group):
    """Shows users one line for a mistake of theirs, and keeps the commands in a day's order."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PipelineError as error:
            for line in str(error).splitlines():
                click.echo(f"error: {plain(line)}", err=True)
            ctx.exit(error.exit_code)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in DEPENDENCIES:
                raise
            click.echo(missing(error.name), err=True)
            ctx.exit(2)
        except BrokenPipeError:  # `pipeline status | head`: nobody reads on
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            ctx.exit(0)
        except OSError as error:
            if not error.filename:
                raise
            click.echo(
                f"error: {plain(str(error.filename))}: {error.strerror}. Mend it and try again",
                err=True,
            )
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo(err=True)
            ctx.exit(130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pipeline")
def cli() -> None:
    """Run language-model training studies on PBS, Slurm or this machine.

    A study (studies/*.yaml) says what is compared and how; a site (sites/*.yaml) where it runs.
    Each stage and arm of a study becomes one script that you can read and submit by hand; pipeline
    submits, follows and resubmits them, and says why one failed.

    \b
    A day with it:
      pipeline run --profile demo               all of the study, tiny, on this machine
      pipeline plan                             what the study asks for
      pipeline submit preprocess --variant patok
      pipeline status                           every job, with the evidence
      pipeline why train_patok                  the reason, the log line, the remedy
      pipeline resubmit --failed                only what failed

    Exit codes: 0 all well, 1 failures found, 2 bad usage or configuration, 3 scheduler or host out
    of reach.
    """


cli.add_command(new.new)
cli.add_command(planning.plan)


@cli.command()
@click.option(
    "--claims", "all_claims", is_flag=True, help="Show every claim, not contradictions only."
)
@click.option("--results", is_flag=True, help="Judge what a run left, by expectations and gates.")
@JSON
@run_options
@click.pass_context
def check(
    ctx: click.Context, context: Context, as_json: bool, all_claims: bool, results: bool
) -> None:
    """Check a study against its schema, the site and the figures that its plan claims.

    Reports every problem together, each with file, YAML path, value and remedy; exits 2 on any.
    Computes what the plan claims (docs/ledger.md) and exits 1 where a claim contradicts the study
    and nobody acknowledged it.

    With --results it judges what a run left instead, PASS, FAIL or INCONCLUSIVE with the evidence:
    the study's expectations, and what the gates of its stages found last. Exits 1 on any FAIL.

    \b
    Example:
      pipeline check
      pipeline check --study wiki-curriculum --claims
      pipeline check --study efcamdat-ilm --results
    """
    from pipeline import claims, revisions, secret
    from pipeline.view import study as study_view

    if results:
        ctx.exit(_check_results(context, as_json))
    made = context.plan(reference=True)
    secret.refuse(made.jobs)
    revisions.check(made.study)
    judged = claims.judge(made.study, context.root)
    study_view.check(made, judged, as_json, all_claims)
    ctx.exit(1 if any(one.stands for one in judged) else 0)


def _check_results(context: Context, as_json: bool) -> int:
    """Shows what became of a run's expectations and gates; the exit code."""
    from ledger.checks import Verdict
    from pipeline import outcomes, plan, study
    from pipeline.view import results as results_view

    loaded = study.load(context.study_path, context.profiles, context.sets)
    judged = outcomes.judge(plan.make(loaded, context.looking_site()), context.root)
    results_view.results(judged, as_json)
    return 1 if judged.counts()[Verdict.FAIL] else 0


cli.add_command(record.diff)


@cli.command()
@click.option("--diff", is_flag=True, help="Show the difference to what was last submitted.")
@_variants
@_stages()
@run_options
def render(
    context: Context, stages: tuple[str, ...], variants: tuple[str, ...], diff: bool
) -> None:
    """Write the scripts of some stages, or of all, without submitting them.

    Each runs by hand: `qsub FILE`, `sbatch FILE`, `bash FILE`.

    \b
    Example:
      pipeline render preprocess train
      pipeline render --diff
    """
    from pipeline.view import study as study_view

    engine = context.engine()
    jobs = engine.plan.select(stages, variants)
    if diff:
        study_view.diffs(engine.diffs(jobs))
        return
    for path in engine.render(jobs):
        click.echo(path)


@cli.command()
@click.option("--force", is_flag=True, help="Run what is complete, or of unknown state, again.")
@OVER
@DRY
@_variants
@_stages(required=True)
@run_options
def submit(
    context: Context, stages: tuple[str, ...], variants: tuple[str, ...], dry_run: bool,
    over_budget: bool, force: bool,
) -> None:  # fmt: skip
    """Render and submit the jobs of one or more stages, or of `all`.

    A job that is queued or running is refused, so that nothing runs twice; `all` passes over what
    is complete or active and submits the rest, each job behind those it needs.

    Refused before anything is queued: what needs inputs that are not there, and what the study's
    budget does not hold.

    \b
    Example:
      pipeline submit preprocess --variant patok
      pipeline submit all --dry-run
    """
    from pipeline.view import outcomes as outcomes_view

    engine = context.engine()
    engine.over_budget = over_budget
    jobs = engine.plan.select(stages, variants)
    if not dry_run:
        _bring_up_to_date(engine)
    outcomes_view.outcomes(engine.submit(jobs, force, dry_run, whole="all" in stages))


@cli.command()
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=None,
    metavar="SECONDS",
    help="Time between two looks; default 1 on this machine, 60 on a cluster.",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    metavar="N",
    help="How often a task is run again after a failure that may pass by itself.",
)
@OVER
@run_options
def run(context: Context, interval: float | None, retries: int, over_budget: bool) -> None:
    """Submit everything that is not done yet and follow it to its end.

    A task that failed for a reason that may pass (a node, the network, a preemption) is run again
    by itself, after a minute, two, four; `pipeline why` and docs/causes.md tell which these are.

    Where the site limits how many jobs you may have queued, what had no room follows as others end.

    Ending the command (Ctrl-C, a closed terminal) leaves the jobs running; run it again to go on
    following. What is complete is not run again.

    \b
    Example:
      pipeline run --profile demo
    """
    from pipeline.retry import Retries
    from pipeline.view import run as run_view

    engine = context.engine()
    engine.over_budget = over_budget
    _bring_up_to_date(engine)
    engine.submit(engine.plan.jobs, whole=True, fitting=True)
    report = run_view.follow(engine, interval, Retries(engine, retries))
    run_view.ending(engine, report)
    _exit_for(report)


@cli.command()
@click.argument("job", required=False, shell_complete=_complete("job"))
@click.option("--watch", is_flag=True, help="Look again and again until all has ended.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=None,
    metavar="SECONDS",
    help="Time between two looks with --watch; default 1 here, 60 on a cluster.",
)
@JSON
@run_options
def status(
    context: Context, job: str | None, watch: bool, interval: float | None, as_json: bool
) -> None:
    """Show every job, or the tasks of one, each with the evidence for its state.

    Evidence is a receipt that the task's own script wrote, or the scheduler's word. COMPLETED only
    ever rests on a receipt; without any answer a state is UNKNOWN.

    \b
    Example:
      pipeline status --profile demo
      pipeline status preprocess_patok
      pipeline status --json | jq .summary
    """
    from pipeline.view import status as status_view

    engine = context.engine()
    if watch and not as_json:
        from pipeline.view import run as run_view

        _exit_for(run_view.follow(engine, interval))
        return
    report = engine.status()
    only = engine.plan.job(job) if job else None
    status_view.status(engine, report, only, as_json)
    _exit_for(report)


@cli.command()
@click.argument("job", shell_complete=_complete("job"))
@click.argument("task", type=click.IntRange(min=1), required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on printing what is added.")
@click.option("--failed", is_flag=True, help="The logs of the tasks that failed.")
@click.option("-n", "--lines", type=click.IntRange(min=1), help="Only the last lines.")
@run_options
def logs(
    context: Context, job: str, task: int | None, follow: bool, failed: bool, lines: int | None
) -> None:
    """Print a job's log, or one task's.

    \b
    Example:
      pipeline logs train_patok -f
      pipeline logs preprocess_patok 7
      pipeline logs preprocess_patok --failed -n 20
    """
    from pipeline.remote import Remote
    from pipeline.view import tasks as tasks_view

    engine = context.engine()
    found = engine.plan.job(job)
    tasks = _log_tasks(engine, found, task, failed)
    if isinstance(engine.transport, Remote):
        tasks_view.remote_logs(found, engine.transport, tasks, follow, lines)
    else:
        tasks_view.logs(found, engine.root, tasks, follow, lines)


def _log_tasks(engine: Engine, job: Job, task: int | None, failed: bool) -> list[int]:
    from pipeline.states import RESUBMITTED, State

    if task is not None and task > job.tasks:
        raise StateError(f"{job.name} has tasks 1 to {job.tasks}, not {task}")
    if failed:
        wanted = engine.status().jobs[job.name].of(*RESUBMITTED, State.BLOCKED)
        if not wanted:
            raise StateError(f"{job.name}: no task failed")
        return wanted
    return [task] if task else list(range(1, job.tasks + 1))


@cli.command()
@click.argument("job", shell_complete=_complete("job"))
@click.argument("task", type=click.IntRange(min=1), required=False)
@JSON
@run_options
def why(context: Context, job: str, task: int | None, as_json: bool) -> None:
    """Say why a job, or one of its tasks, is in its state, and what to do about it.

    \b
    Example:
      pipeline why train_patok
      pipeline why preprocess_patok 7
    """
    from pipeline import diagnose
    from pipeline.view import tasks as tasks_view

    engine = context.engine()
    found = engine.plan.job(job)
    report = engine.status().jobs[found.name]
    tasks = [task] if task else _worth_explaining(report)
    if task and task > found.tasks:
        raise StateError(f"{found.name} has tasks 1 to {found.tasks}, not {task}")
    engine.transport.bring_logs(found.name, tasks)
    tasks_view.why([diagnose.why(found, report.tasks[t], engine.root) for t in tasks], as_json)


def _worth_explaining(status: JobStatus) -> list[int]:
    from pipeline.states import State

    fine = (State.COMPLETED, State.RUNNING, State.PLANNED)
    bad = [t.task for t in status.worst_first() if t.state not in fine]
    return bad[:5] or [next(iter(status.tasks))]


@cli.command()
@click.argument("jobs", nargs=-1, shell_complete=_complete("job"), metavar="[JOB]...")
@click.option(
    "--failed", is_flag=True, help="Only what failed, ran out of time or memory, or was lost."
)
@click.option(
    "--apply",
    "patched",
    is_flag=True,
    help="Change what the remedy of each failed job says, as `pipeline why` shows it.",
)
@OVER
@DRY
@run_options
def resubmit(
    context: Context, jobs: tuple[str, ...], failed: bool, patched: bool, dry_run: bool,
    over_budget: bool,
) -> None:  # fmt: skip
    """Submit again just the tasks that ended without success, and the jobs that they blocked.

    With --apply a job that failed runs with the parameters that its remedy changes: after an
    out-of-memory error, half the micro batch. Its later attempts keep them; --set stands over them.

    \b
    Example:
      pipeline resubmit --failed --dry-run
      pipeline resubmit preprocess_patok
      pipeline resubmit train_patok --apply
    """
    from pipeline.view import outcomes as outcomes_view

    engine = context.engine()
    chosen = [engine.plan.job(name) for name in jobs] or list(engine.plan.jobs)
    if patched:
        engine = context.engine(patches=_remedied(engine, [job.name for job in chosen]))
        chosen = [engine.plan.job(job.name) for job in chosen]
    engine.over_budget = over_budget
    if not dry_run:
        _bring_up_to_date(engine)
    done = engine.resubmit(chosen, failed or patched, dry_run)
    outcomes_view.outcomes(done, nothing="Nothing to resubmit.")
    if failed and not done:
        outcomes_view.closed(chosen, engine.status())


def _remedied(engine: Engine, names: list[str]) -> dict[str, tuple[str, ...]]:
    """The engine's patches, and over them what the failed tasks of some jobs call for."""
    from pipeline import causes, diagnose, patches
    from pipeline.states import RESUBMITTED

    report, rows = engine.status(), causes.load(engine.root)
    found = dict(engine.patches)
    for name in names:
        job, status = engine.plan.job(name), report.jobs[name]
        for task in status.of(*RESUBMITTED):
            why = diagnose.why(job, status.tasks[task], engine.root, rows)
            if why.changes:
                found[name] = patches.extended(found.get(name, ()), why.changes)
                click.echo(f"{name}: {why.cause}: {'; '.join(map(str, why.changes))}")
                break
        else:
            if status.of(*RESUBMITTED):
                click.echo(f"{name}: no parameter is known that would help; it runs as before")
    return found


@cli.command()
@click.argument("jobs", nargs=-1, shell_complete=_complete("job"), metavar="[JOB]...")
@click.option("--all", "everything", is_flag=True, help="Every job of the study.")
@DRY
@run_options
def cancel(context: Context, jobs: tuple[str, ...], everything: bool, dry_run: bool) -> None:
    """Cancel jobs by their recorded ids, their waiting dependents first.

    \b
    Example:
      pipeline cancel train_patok
      pipeline cancel --all --profile demo
    """
    from pipeline.view import outcomes as outcomes_view

    if bool(jobs) == everything:
        raise click.UsageError("Name the jobs to cancel, or give --all.")
    if "all" in jobs:
        raise click.UsageError("Every job of the study: pipeline cancel --all")
    engine = context.engine()
    chosen = [engine.plan.job(name) for name in jobs] or list(engine.plan.jobs)
    done = engine.cancel(chosen, dry_run, removed=everything)
    outcomes_view.outcomes(done, nothing="Nothing is queued or running.")


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PREFIX]... [OPTION]...")
@_variants
@run_options
def inspect(context: Context, variants: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    """Look at preprocessed data: figures, documents with their token boundaries, morphology.

    PREFIX is a chunk (.../seapile_0001), a merged set, or a set of chunks (.../seapile). In its
    place --variant names an arm of the study. docs/inspect.md explains every figure.

    \b
    More options:
      --compare         two sets: the same text? which boundaries differ? (1 where texts differ)
      --morphology      agreement of token and morpheme boundaries, affixes that are tokens
      --tokenizer DIR   the set's tokenizer, if it is not found; alone, with --morphology
      --sample N        documents to show, default 3; --seed S chooses others
      --document I      show all of one document, counted from 0
      --lexicon FILE    annotated words; --affixes DIR, lists of affixes
      --json            print JSON

    \b
    Example:
      pipeline inspect --profile demo --variant patok
      pipeline inspect data/processed/patok/seapile_0001 --document 17
      pipeline inspect --compare data/processed/vanilla/seapile data/processed/patok/seapile
      pipeline inspect --compare --profile demo --variant vanilla --variant patok
      pipeline inspect --morphology --tokenizer data/tokenizer
    """
    words = [word for job in _preprocessing(context, variants) for word in _dataset(context, job)]
    needed = ("numpy", "tokenizers")
    sys.exit(_run_program("corpus.inspect", [*words, *arguments], needed, "corpus"))


def _preprocessing(context: Context, variants: tuple[str, ...]) -> list[Job]:
    """The jobs that write the named arms' data, in the order of the names."""
    if not variants:
        return []
    from pipeline import plan, study

    loaded = study.load(context.study_path, context.profiles, context.sets)
    made = plan.make(loaded, context.looking_site())
    jobs = {job.arm: job for job in made.jobs if job.kind == "preprocess"}
    arms = [made.study.arm_id(name) for name in variants]
    if lacking := [arm for arm in arms if arm not in jobs]:
        raise StateError(f"{', '.join(lacking)}: no preprocess stage. Give the data's prefix")
    return [jobs[arm] for arm in arms]


def _dataset(context: Context, job: Job) -> tuple[str, ...]:
    """What tells `corpus.inspect` of the data that a job writes; later words take precedence."""
    from pipeline.job import host_path

    parameters = job.config["parameters"]
    output, tokenizer = (
        _relative(context.root / host_path(job, path))
        for path in (parameters["preprocess"]["output_dir"], parameters["tokenizer"]["path"])
    )
    prefix = output / job.arm / parameters["corpus"]["name"]
    return str(prefix), "--tokenizer", str(tokenizer)


def _run_program(
    module: str, arguments: Sequence[str], needed: Sequence[str], extra: str, folder: str = ""
) -> int:
    """Run a program of another package, in `folder` or here, and return its exit code.

    A process of its own: this package starts at once and never needs numpy.
    """
    from importlib.util import find_spec

    if lacking := [name for name in needed if find_spec(name) is None]:
        raise StateError(
            f"{sys.executable} has no {' and no '.join(lacking)}. "
            f"Run: pip install 'pipeline-studies[{extra}]'"
        )
    import subprocess

    project = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (project, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, env=environment, cwd=folder or None).returncode


@cli.command()
@click.option("--output", default="", metavar="DIR", help="Where to; default: the results folder.")
@run_options
def report(context: Context, output: str) -> None:
    """Write the report of a study's results: one HTML page, Markdown, LaTeX tables, figures.

    Intervals, paired tests against the baseline, the study's expectations, what it cost, what
    differed between the arms. docs/report.md explains every figure. Of a study with programs of its
    own: its runs and their metrics, rows of a paper, gains, cross matrices. Beside it, what
    `pipeline decisions` tells.

    \b
    Example:
      pipeline report --profile demo
      pipeline report --study socratic-t5 --output /tmp/report
    """
    from pipeline import decisions, results, study, yamlio

    loaded = study.load(context.study_path, context.profiles, context.sets)
    config = results.configuration(loaded, context.looking_site(), context.root)
    folder = Path(output).absolute() if output else results.folder(config, context.root)
    yamlio.write_atomic(folder / decisions.NAME, record.told(context, loaded))
    config["report"]["decisions"] = decisions.NAME
    path = results.write(context.root, loaded.directory("state"), "report", config)
    words = ["--output", str(Path(output).absolute())] if output else []
    arguments = ["--config", path, *words]
    sys.exit(_run_program("evaluation.analyze", arguments, NUMERIC, "hf", str(context.root)))


cli.add_command(record.decisions)
cli.add_command(bundle.export)


@cli.command()
@click.argument("one", metavar="A", shell_complete=_complete("arm"))
@click.argument("other", metavar="B", shell_complete=_complete("arm"))
@JSON
@run_options
def compare(context: Context, one: str, other: str, as_json: bool) -> None:
    """Compare two runs: in what they were made differently, and what came of it.

    A and B are arms, or STUDY[@PROFILE+...]:ARM for a run of another study or profile; without
    :ARM it is the one run of a study that has no arms. Exits 1 where the difference has no single
    cause: more than one parameter was changed, or other data or another seed were used.

    \b
    Example:
      pipeline compare vanilla patok
      pipeline compare patok filipino-cpt@a100x8:patok --json
      pipeline compare marco-lora@l4 marco-lora@l4+conservative
    """
    from pipeline import results

    config = results.pair([_side(context, name) for name in (one, other)])
    path = results.write(context.root, results.state_of(config), "compare", config)
    arguments = ["--config", path, *(["--json"] if as_json else [])]
    sys.exit(_run_program("evaluation.compare", arguments, NUMERIC, "hf", str(context.root)))


def _side(context: Context, name: str) -> tuple[str, dict[str, Any]]:
    """An arm and the configuration of its run, of `ARM` or `STUDY[@PROFILE+...]:ARM`; a study
    without arms is one run, by its own name."""
    from pipeline import results, study

    run, colon, arm = name.rpartition(":")
    if not colon and ("@" in name or (context.root / f"studies/{name}.yaml").is_file()):
        run, arm = name, ""
    if run:
        named, _, profiles = run.partition("@")
        chosen = tuple(filter(None, profiles.split("+")))
        context = Context(named, context.site_name, chosen, context.sets)
    loaded = study.load(context.study_path, context.profiles, context.sets)
    config = results.configuration(loaded, context.looking_site(), context.root)
    alone = not loaded.arms and arm in ("", loaded.name)
    return loaded.name if alone else loaded.arm_id(arm), config


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTION]...")
@run_options
def benchmarks(context: Context, arguments: tuple[str, ...]) -> None:
    """Write the study's benchmark files and their datasheet here and now, without a job.

    What the study's `benchmark` section asks for, where its stage would write it. The same seed,
    sizes and lexicon give the same bytes. `pipeline submit benchmarks` does it as a job.
    docs/benchmarks.md describes the files.

    \b
    More options:
      --groups GROUP...     of pacute, hierarchical, cute, langgame, addition
      --languages LANG...   of fil, en
      --seed N, --shots K   another seed; examples before each question, 0 to 8
      --size PART=N         questions of a part or a group's parts; repeatable
      --output-dir DIR      write there instead
      --corpus FILE         JSON Lines to search for the items' n-grams
      --dry-run, --json     count and write nothing; print the datasheet as JSON

    \b
    Example:
      pipeline benchmarks
      pipeline benchmarks --profile demo --dry-run
      pipeline benchmarks --groups pacute --languages en --size affixation=500 --output-dir /tmp/b
    """
    words = [*_benchmark_words(context), *arguments]
    sys.exit(_run_program("evaluation.benchmarks", words, (), ""))


def _benchmark_words(context: Context) -> list[str]:
    """The options of `evaluation.benchmarks` that say what the study's stage does."""
    from pipeline import plan, site, study
    from pipeline.job import host_path

    local = context.chosen_site() == "local"
    made = plan.make(
        study.load(context.study_path, context.profiles, context.sets),
        site.reference(context.root) if local else context.site(),
    )
    job = next((job for job in made.jobs if job.kind == "benchmarks"), None)
    if job is None:
        raise StateError(f"{made.study.name} has no benchmarks stage. Name a study that has one")
    asked = job.config["parameters"]["benchmark"]
    output = _relative(context.root / host_path(job, asked["output_dir"]))
    words = ["--output-dir", str(output), "--seed", str(job.config["parameters"]["seed"])]
    for key in ("groups", "languages"):
        words += [f"--{key}", *asked[key]] if key in asked else []
    words += ["--shots", str(asked["shots"])] if "shots" in asked else []
    for part, size in asked.get("sizes", {}).items():
        words += ["--size", f"{part}={size}"]
    if asked.get("corpus"):
        corpus = context.root / host_path(job, asked["corpus"])
        if corpus.is_file():
            words += ["--corpus", str(_relative(corpus))]
        else:
            click.echo(f"{_relative(corpus)} is not there: contamination is not checked.", err=True)
    return words


@cli.command()
@run_options
def repair(context: Context) -> None:
    """Rebuild the manifest from intents, receipts and scheduler.

    For a manifest that was damaged or deleted. The old file is kept beside the new one.

    \b
    Example:
      pipeline repair --profile demo
    """
    engine = context.engine()
    manifest, aside = engine.repair()
    if aside:
        click.echo(f"The damaged manifest was kept as {aside}.")
    attempts = sum(len(entry.attempts) for entry in manifest.jobs.values())
    click.echo(f"{engine.store.path}: {len(manifest.jobs)} jobs, {attempts} attempts.")


@cli.command()
@click.option("--close", is_flag=True, help="End the connection that stays.")
@click.argument("name", required=False, shell_complete=_complete("site"))
def connect(name: str | None, close: bool) -> None:
    """Open one SSH connection to a site's host that stays; all other commands go through it.

    The only command that lets ssh ask: for a password, a code, whether a new host key is right.
    It runs your own ssh, with your ~/.ssh/config. NAME is a site, by default the chosen one.

    \b
    Example:
      pipeline connect mycluster
      pipeline connect mycluster --close
    """
    from pipeline import site
    from pipeline.ssh import Host

    root = find_root()
    where = site.load(root, name or site.default_name(root))
    if not where.host:
        raise StateError(f"site {where.site!r} has no host: its scheduler is on this machine")
    host = Host(where.host)
    if close:
        ended = host.disconnect()
        click.echo(f"{where.host}: {'disconnected' if ended else 'there was no connection'}")
    elif host.connected():
        click.echo(f"{where.host}: connected already")
    else:
        host.connect()
        click.echo(f"{where.host}: connected")


@cli.command()
@click.option("--overwrite", is_flag=True, help="Also what was changed on the host since.")
@DRY
@JSON
@run_options
def sync(context: Context, overwrite: bool, dry_run: bool, as_json: bool) -> None:
    """Put the project's code and small data on the site's host: what changed since the last time.

    What git tracks or would track; never .env or keys, what runs write, or files over 16 MiB.
    Nothing that it did not put there is deleted; a file that was changed there stops it.
    `submit`, `run` and `resubmit` do the same first.

    \b
    Example:
      pipeline sync --dry-run
      pipeline sync --site mycluster
    """
    from pipeline import sync as copying
    from pipeline.view import site as site_view

    engine = context.engine()
    copy = copying.of(engine.plan, engine.transport, engine.root)
    if copy is None:
        raise StateError(f"site {engine.plan.site.site!r} has no host: the project is here")
    found = copy.compare()
    if not dry_run:
        if not overwrite:
            copy.refuse(found)
        copy.apply(found, overwrite)
    site_view.sync(found, dry_run, as_json)


def _bring_up_to_date(engine: Engine) -> None:
    """The project's copy on the site's host, before anything is queued there."""
    if not engine.transport.host:
        return
    from pipeline import sync as copying

    copy = copying.of(engine.plan, engine.transport, engine.root)
    if count := copy.bring_up_to_date() if copy else 0:
        click.echo(f"{engine.transport.host}: {count} files brought up to date", err=True)


@cli.command()
@click.option(
    "--deep",
    is_flag=True,
    help="Also ask the scheduler whether it would take each job (PBS: a held job, deleted at once; "
    "Slurm: --test-only), and read all chunks against their checksums.",
)
@JSON
@_stages()
@run_options
def doctor(context: Context, stages: tuple[str, ...], as_json: bool, deep: bool) -> None:
    """Check that this study, or some of its stages, can run on this site before anything is queued.

    Host, scheduler and nodes, keys, environments and their versions, data, checkpoints, disk and
    quota. Each failing check comes with its remedy; exits 1 on any, 3 where host or scheduler do
    not answer. docs/doctor.md lists all of them.

    \b
    Example:
      pipeline doctor --profile demo
      pipeline doctor train --site default --deep
    """
    from pipeline import doctor as checks
    from pipeline import transport
    from pipeline.view import site as site_view

    made = context.plan(reference=True)
    to = transport.connect(made.site.host, made.site.project_dir, context.root)
    with site_view.progress() as say:
        found = checks.examine(made, to, stages, deep, say)
    site_view.doctor(found, as_json)
    sys.exit(checks.exit_code(found))


class _Sites(click.Group):
    """`sites NAME` shows a site; what is no command of the group is taken for a name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            return "show", self.commands["show"], args
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        try:
            names = _names(ctx, "site")
        except (PipelineError, OSError):
            names = []
        found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return [*super().shell_complete(ctx, incomplete), *found]


@cli.group(cls=_Sites, invoke_without_command=True, subcommand_metavar="[NAME | add NAME]")
@click.pass_context
def sites(ctx: click.Context) -> None:
    """List the sites that can be named, show one with its limits, or add one.

    \b
    Example:
      pipeline sites
      pipeline sites example-pbs
      pipeline sites add leonardo --host login.leonardo
    """
    if ctx.invoked_subcommand is None:
        from pipeline import site
        from pipeline.view import site as site_view

        root = find_root()
        site_view.sites(
            [(n, site.load(root, n)) for n in site.names(root)], site.default_name(root)
        )


@sites.command("show", hidden=True)
@click.argument("name", shell_complete=_complete("site"))
def sites_show(name: str) -> None:
    """Show one site with all its values.

    \b
    Example:
      pipeline sites example-pbs
    """
    from pipeline import site
    from pipeline.view import site as site_view

    site_view.site(site.load(find_root(), name))


@sites.command("add")
@click.argument("name")
@click.option("--host", default="", help="Ask over ssh, by the name in ~/.ssh/config.")
@click.option("--project-dir", default="", help="This project's folder there; else looked for.")
@click.option("--scheduler", type=click.Choice(SCHEDULERS), help="Else found by its commands.")
@click.option("--force", is_flag=True, help="Replace a site file that is there.")
@click.option("--dry-run", is_flag=True, help="Print the file and write nothing.")
def sites_add(
    name: str, host: str, project_dir: str, scheduler: str | None, force: bool, dry_run: bool
) -> None:  # fmt: skip
    """Ask a cluster for its queues and limits and write sites/NAME.yaml.

    One round trip: scheduler, queues, nodes, containers, modules, disks. Every value in the file
    carries a comment that says where it comes from.

    \b
    Example:
      pipeline sites add mine
      pipeline sites add leonardo --host login.leonardo --dry-run
    """
    from datetime import date

    from pipeline import probe, site, transport, yamlio

    root = find_root()
    probe.check_name(name)
    path = root / "sites" / f"{name}.yaml"
    if path.exists() and not force and not dry_run:
        raise StateError(f"{path}: is there already. Use --force to replace it, or another name")
    request = probe.Request(name, host, project_dir, scheduler or "")
    text = probe.ask(
        request, transport.connect(host, project_dir, root), root, date.today().isoformat()
    )
    raw = yamlio.parse(text, str(path))
    found = site.read(raw, str(path), root)
    if dry_run:
        click.echo(text, nl=False)
        return
    yamlio.write_atomic(path, text)
    click.echo(f"{path}: {found.scheduler}, {len(found.queues)} queues. Read it, then use it with:")
    click.echo(f"  pipeline plan --site {name}")
    if "project_dir" not in raw:
        click.echo("No project was found there: put in project_dir, or use --project-dir", err=True)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the shell's completion script: commands, stages, arms, profiles, sites, jobs.

    \b
    Example:
      eval "$(pipeline completion bash)"
      pipeline completion fish > ~/.config/fish/completions/pipeline.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise StateError(f"click {click.__version__} has no completion for {shell}. Use another")
    click.echo(kind(cli, {}, "pipeline", "_PIPELINE_COMPLETE").source())


def _exit_for(report: Report) -> None:
    """0 all well, 1 failures found, 3 the scheduler did not answer."""
    from pipeline.states import RESUBMITTED, State

    if report.silent:
        sys.exit(3)
    bad = {*RESUBMITTED, State.BLOCKED, State.CANCELLED}
    sys.exit(1 if bad & set(report.counts()) else 0)


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):  # a name may hold what no terminal shows
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Ten thousand tasks are many objects and no garbage: looking for some took 40 ms a command.
    gc.set_threshold(200_000)
    cli(prog_name="pipeline")


if __name__ == "__main__":
    main()
