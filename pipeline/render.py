"""A job as a script, from `job_templates/`: base -> scheduler, with a stage's own part inside.

Decisions are made here, directives and shell stand in the templates. What the result does:
docs/scripts.md. How to change it: docs/templates.md.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import secret
from pipeline.errors import ConfigError
from pipeline.job import HERE, Job
from pipeline.ranges import to_ranges

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).resolve().parent.parent / "job_templates"

_EXTENSIONS = {"pbs": ".pbs", "torque": ".pbs", "slurm": ".sbatch", "local": ".sh"}
_INDEX_NAMES = {
    "pbs": "PBS_ARRAY_INDEX",
    "torque": "PBS_ARRAYID",
    "slurm": "SLURM_ARRAY_TASK_ID",
    "local": "LOCAL_ARRAY_INDEX",
}
# Where a script was submitted from; a scheduler may start a copy of it elsewhere.
_ORIGINS = {
    "pbs": '"${PBS_O_WORKDIR:-$PWD}"',
    "torque": '"${PBS_O_WORKDIR:-$PWD}"',
    "slurm": '"${SLURM_SUBMIT_DIR:-$PWD}"',
    "local": '"$PWD"',
}
_SUBMIT = {"pbs": "qsub", "torque": "qsub", "slurm": "sbatch", "local": "bash"}
_PREFIXES = {"pbs": "#PBS ", "torque": "#PBS ", "slurm": "#SBATCH ", "local": "# "}

_PBS_MISREADS = r"[\"'\\:,^]"
_MISREAD = {
    "pbs": _PBS_MISREADS,
    "torque": _PBS_MISREADS,
    "slurm": r"\\",
}  # in the name of a log file

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_DIRECTIVE_WORD = re.compile(r"[\w@%+=:,./-]*")  # a queue or an account
_PLACEHOLDER = re.compile(r"YOUR_\w*")
# What a template's own expressions raise: `{{ 1 / 0 }}`, `{{ "a" + 1 }}`, one that includes itself.
_FAULTS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_TASK_WORD = re.compile(r"(\{task4?\})")
_LINE = 88  # of argv, wrapped between words


def extension(scheduler: str) -> str:
    """Of a scheduler's scripts, with its dot."""
    return _EXTENSIONS[scheduler]


def render(
    job: Job, *, attempt_tasks: Sequence[int] | None = None, link: int = 1,
    before: Sequence[str] = (), templates: Path | None = None, digest: str = "",
) -> str:  # fmt: skip
    """The script of a job, or of an attempt over some of its tasks, or of a chain's link behind
    those whose ids are in `before`, the newest first.

    One task makes a plain script, several an array 1..k that looks its index up in a map.
    `digest`: the job's `script_digest`, where the caller has it. Raises ConfigError for what no
    script can hold: a secret, a placeholder, a newline in a name.
    """
    tasks = _checked_tasks(job, attempt_tasks)
    folder = templates or TEMPLATES
    digest = digest or script_digest(job, templates=folder)
    text = _fill(job, tasks, digest, folder, link, before)
    _check_text(job, text)
    return text


def script_digest(job: Job, *, templates: Path | None = None) -> str:
    """sha256 of the job's configuration and of its script's body, as receipts carry it.

    Directives, an attempt's index map and a link's place in its chain are left out: they change
    where and which, not what.
    """
    _check(job)
    script = _fill(job, range(1, job.tasks + 1), "", templates or TEMPLATES)
    # Comments at the top, directives among them, end at the first line that does something.
    body = "\n".join(_after_comments(script.splitlines()))
    config = json.dumps(job.config, sort_keys=True, ensure_ascii=False, default=str)
    import hashlib

    return hashlib.sha256(f"{config}\0{body}".encode("utf-8", "surrogateescape")).hexdigest()


def _after_comments(lines: Iterable[str]) -> Iterator[str]:
    started = False
    for line in lines:
        started = started or bool(line and not line.startswith("#"))
        if started:
            yield line


def _checked_tasks(job: Job, attempt_tasks: Sequence[int] | None) -> Sequence[int]:
    if attempt_tasks is None:
        return range(1, job.tasks + 1)
    wrong = [t for t in attempt_tasks if not 1 <= t <= job.tasks]
    if wrong or not attempt_tasks or len(set(attempt_tasks)) < len(attempt_tasks):
        what = f"{to_ranges(wrong)} is none of them" if wrong else "given are none, or one twice"
        raise ConfigError([f"{job.name}: its tasks are 1-{job.tasks}; {what}"])
    return attempt_tasks


def page(name: str, variables: Mapping[str, Any], templates: Path | None = None) -> str:
    """A text of `job_templates/` that is no job's script. Raises ConfigError as `render` does."""
    return _filled(name, variables, templates or TEMPLATES)


def _fill(
    job: Job, tasks: Sequence[int], digest: str, folder: Path, link: int = 1,
    before: Sequence[str] = (),
) -> str:  # fmt: skip
    """The text of a script, unchecked."""
    variables = {**_variables(job, tasks, digest, folder), "link": link, "before": list(before)}
    return _filled(f"{job.scheduler}.sh.j2", variables, folder)


def _filled(name: str, variables: Mapping[str, Any], folder: Path) -> str:
    import jinja2

    try:
        return _environment(folder).get_template(name).render(variables)
    except (jinja2.TemplateError, *_FAULTS) as error:
        raise ConfigError([_template_problem(error, folder, name)]) from None


@functools.cache
def _environment(folder: Path) -> jinja2.Environment:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def load(name: str) -> tuple[str, str, Callable[[], bool]]:
        text, path, fresh = files.get_source(environment, name)
        if not Path(path).resolve().is_relative_to(folder.resolve()):  # by a link
            raise jinja2.TemplateNotFound(name)
        return text, path, fresh

    from pipeline.compiled import Templates

    files = jinja2.FileSystemLoader(folder)
    # A template fills in text: it calls nothing of Python's and changes nothing of the job.
    environment = ImmutableSandboxedEnvironment(
        loader=jinja2.FunctionLoader(load),
        bytecode_cache=Templates(),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # it is shell, not HTML: every value goes through `q`
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["q"] = literal
    environment.filters["d"] = directive_word
    return environment


def _template_problem(error: Exception, folder: Path, name: str) -> str:
    import jinja2

    if isinstance(error, jinja2.TemplateNotFound):
        return f"{folder / str(error.name)}: there is no such template. {name} includes it"
    where, line = str(folder / name), 0
    if isinstance(error, jinja2.TemplateSyntaxError):
        where, line = error.filename or where, error.lineno
    trace = error.__traceback__
    while trace:  # jinja2 puts its templates into the traceback
        if trace.tb_frame.f_code.co_filename.startswith(str(folder)):
            where, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next
    said = getattr(error, "message", None) or str(error) or type(error).__name__
    return f"{where}:{line}: {said}. docs/templates.md lists what a template may use"


def _variables(job: Job, tasks: Sequence[int], digest: str, folder: Path) -> dict[str, Any]:
    """What templates may use: docs/templates.md."""
    count, resources = len(tasks), job.resources
    whole = count == job.tasks
    stage = f"stages/{job.kind}.sh.j2"
    logs = absolute(job, job.log_dir).rstrip("/") + "/scheduler"  # its own; the task's is beside
    ranks = max(1, resources.gpus) if job.launcher else 1
    return {
        "job": job,
        "title": _title(job, tasks),
        "by_hand": _by_hand(job, count),
        "digest": digest,
        "portable": job.project_dir == HERE,
        "project_dir": _project_dir(job),
        "tasks": count,
        "task": tasks[0],
        "index_map": [] if whole or count == 1 else list(tasks),
        "index_name": _INDEX_NAMES[job.scheduler],
        "argv": argv_lines(job.argv),
        "checks": argv_lines(_checks(job)),
        "threads": max(1, resources.cpus // ranks),
        "workdir": "/workspace" if job.runtime.container else "$PROJECT_DIR",
        "stage_template": stage if (folder / stage).is_file() else "stages/default.sh.j2",
        "launcher_template": f"launchers/{job.launcher}.sh.j2",
        "container_template": f"containers/{job.runtime.container}.sh.j2",
        "log_dir_host": absolute(job, job.site_log_dir),
        # Slurm takes a % in a file name for the start of a pattern.
        "log_dir": logs.replace("%", "%%") if job.scheduler == "slurm" else logs,
        "short_name": _short_name(job.name, job.name_length),
        "mem_mib": max(1, resources.mem_bytes // 2**20),
        "walltime": _clock(resources.walltime_s),
        # Programs that ship go on where they stopped; of any other command nobody knows.
        "requeue": job.kind != "command",
        # PBS may put two chunks on one host; a site's own `place` line says it otherwise.
        "scatter": resources.nodes > 1 and not any("place=" in line for line in job.directives),
        "directives": [_directive(job.scheduler, line) for line in job.directives],
    }


def _project_dir(job: Job) -> str:
    """The project as a word of shell."""
    return _ORIGINS[job.scheduler] if job.project_dir == HERE else literal(job.project_dir)


def _checks(job: Job) -> tuple[str, ...]:
    """The command that makes the checks of the stage's gate; none where it has none."""
    config = ("--config", job.config_path, "--task", "{task}")
    return (job.runtime.python, "-m", "ledger.gate", *config) if job.config.get("gate") else ()


def _title(job: Job, tasks: Sequence[int]) -> str:
    if len(tasks) == job.tasks:
        return f"{job.name}, {job.tasks} tasks" if job.tasks > 1 else job.name
    ranges = to_ranges(tasks)
    which = ranges if len(ranges) <= 60 else f"{len(tasks)} from {tasks[0]} on"
    return f"{job.name}, an attempt over {'task' if len(tasks) == 1 else 'tasks'} {which}"


def _by_hand(job: Job, count: int) -> str:
    file = quote(job.script + extension(job.scheduler)) if count == job.tasks else "FILE"
    index = "LOCAL_ARRAY_INDEX=1 " if job.scheduler == "local" and count > 1 else ""
    return f"{index}{_SUBMIT[job.scheduler]} {file}"


def literal(text: object) -> str:
    """One word of shell, always in quotes: `X=ls` would look like a command that lost its $()."""
    return "'" + str(text).replace("'", "'\"'\"'") + "'"


def quote(text: str) -> str:
    """One word of shell, in quotes where it needs some; also where it reads like an assignment
    or like a list that lost its spaces."""
    word = shlex.quote(text)
    return literal(text) if word == text and re.search("[,=]", text) else word


def directive_word(text: str) -> str:
    """A value in a directive: qsub and sbatch know double quotes."""
    return text if _DIRECTIVE_WORD.fullmatch(text) else '"' + text.replace('"', '\\"') + '"'


def argv_lines(argv: Sequence[str]) -> list[str]:
    """The words of a command, quoted; an option and its value stand on one line."""
    lines: list[str] = []
    previous_is_option = False
    for word in argv:
        text = _task_word(word)
        if previous_is_option and not word.startswith("-") and len(lines[-1]) < _LINE:
            lines[-1] += f" {text}"
        else:
            lines.append(text)
        previous_is_option = word.startswith("-")
    return lines


def _task_word(word: str) -> str:
    """`{task}` becomes the shell's variable, all around it stays quoted."""
    variables = {"{task}": '"$TASK"', "{task4}": '"$TASK4"'}
    parts = [variables.get(part) or quote(part) for part in _TASK_WORD.split(word) if part]
    return "".join(parts) or "''"


def absolute(job: Job, path: str) -> str:
    """A path of the plan on the host: relative ones are under the project."""
    if path.startswith("/") or job.project_dir == HERE:
        return path
    return f"{job.project_dir.rstrip('/')}/{path}"


def _short_name(name: str, length: int) -> str:
    """A job's name as every scheduler takes it: a letter first, no more characters than that."""
    word = re.sub(r"[^A-Za-z0-9_.+-]", "_", name)
    return (word if word[:1].isalpha() else f"j{word}")[:length]


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _directive(scheduler: str, line: str) -> str:
    prefix = _PREFIXES[scheduler]
    return line if line.startswith(prefix.strip()) else prefix + line


def _check(job: Job) -> None:
    """Raises ConfigError with all that no script could hold."""
    problems = [
        f"{job.name!r}: {where} {value!r} holds a newline or another control character. Remove it"
        for where, value in _texts(job)
        if _CONTROL.search(value)
    ]
    problems += [f"{job.name!r}: an argument holds a NUL character" for w in job.argv if "\0" in w]
    for where, value in (("queue", job.queue), ("account", job.account)):
        if not _DIRECTIVE_WORD.fullmatch(value) or value.startswith("-"):
            problems.append(f"{where}: {value!r} is no name that a scheduler takes. Correct it")
    for name in (job.name, *(upstream.job for upstream in job.upstream)):
        if "/" in name or name.startswith((".", "-")) or not name:
            problems.append(f"{name!r}: a job's name starts with a letter and holds no '/'")
    problems += _check_paths(job)
    if job.launcher and job.resources.nodes > 1 and job.scheduler not in ("slurm", "pbs"):
        problems.append(
            f"{job.name}: {job.launcher} over {job.resources.nodes} nodes is there for Slurm and "
            "PBS Pro only. Ask for one node (resources.nodes: 1)"
        )
    if problems:
        raise ConfigError(problems)


def _texts(job: Job) -> Iterator[tuple[str, str]]:
    """What stands in comments, directives and names of files."""
    for field in (
        "name", "stage", "kind", "arm", "script", "config_path", "state_dir", "log_dir", "queue",
        "account", "project_dir", "site_log_dir", "network_interface", "env_file",
    ):  # fmt: skip
        yield field, getattr(job, field)
    yield from (("directive", line) for line in job.directives)
    yield from (("upstream", upstream.job) for upstream in job.upstream)
    yield from (("image", job.runtime.image), ("python", job.runtime.python))


def _check_paths(job: Job) -> list[str]:
    problems = []
    if not job.project_dir.startswith("/") and job.project_dir != HERE:
        problems.append(f"project_dir: {job.project_dir!r} is no absolute path. Give one")
    logs = absolute(job, job.log_dir)
    bad = re.search(_MISREAD.get(job.scheduler, "$^"), logs)
    if bad:
        problems.append(
            f"log_dir: {logs!r} holds a {bad[0]}, which {_SUBMIT[job.scheduler]} misreads in the "
            "name of a log. Rename it, or give log_dir in the site file"
        )
    mounted = (job.project_dir, absolute(job, job.site_log_dir)) if job.runtime.container else ()
    for path in mounted:
        if re.search(r"[\s:,]", path):
            problems.append(
                f"{path!r}: {job.runtime.container} mounts no path with a space, ':' or ','. Move "
                "it, or name it by a link without them (project_dir, log_dir)"
            )
    return problems


def _check_text(job: Job, text: str) -> None:
    problems = [
        f"{job.name}: the placeholder {found} is left in the script. Set it in the site file"
        for found in sorted(set(_PLACEHOLDER.findall(text)))
    ]
    if problems:
        raise ConfigError(problems)
    secret.refuse([job], text)
