"""Keys: the file they stand in, and each variable by the step that needs it. Names, no values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.doctor.check import Check, Facts, Question, Scope, jobs_text, shell
from pipeline.doctor.host import env_file, places, user
from pipeline.job import Job

SECTION = "keys"
VARIABLES = ("HF_TOKEN", "WANDB_API_KEY", "HF_HUB_OFFLINE")

# The file as jobs read it, by the same function, with nothing set before: names whose value is not
# empty. What the function finds odd, it warns of.
_FILE = r"""
if grep -q $'\r' -- "$1"; then echo dos; fi
env -i PATH="$PATH" bash -c "$2"'
die() { printf "error: %s\n" "$2"; }
ENV_NAMES=()
read_env_file "$1" 2>&1
for name in ${ENV_NAMES[@]+"${ENV_NAMES[@]}"}; do echo "set $name"; done
' doctor "$1"
"""
READER = Path(__file__).resolve().parents[2] / "job_templates/env_file.sh"
# `env`: what a command started from here inherits. `login`: what a login shell alone has, which is
# all that a PBS job sees of it.
_ENVIRONMENT = r"""
look='for name; do [[ -z ${!name:-} ]] || echo "$kind $name"; done'
kind=env; export kind
eval "$look"
env -i kind=login HOME="$HOME" USER="${USER:-}" LOGNAME="${LOGNAME:-}" PATH="$PATH" \
  bash -lc "$look" doctor "$@"
[[ ! -f $HOME/.netrc ]] || ! grep -q 'api\.wandb\.ai' "$HOME/.netrc" || echo "netrc WANDB_API_KEY"
"""
# Weights that were fetched before need no token.
_CACHED = r"""
hub=${HF_HUB_CACHE:-${HF_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/huggingface}/hub}
for name; do
  for found in "$hub/models--${name//\//--}"/snapshots/*/; do
    [[ ! -e $found ]] || { echo "$name"; break; }
  done
done
exit 0
"""


def questions(scope: Scope) -> Iterator[Question]:
    """The file's names, the environment's names, which weights are cached."""
    if path := env_file(scope):
        yield Question("env_file", shell(_FILE, path, READER.read_text(encoding="utf-8")))
    yield Question("variables", shell(_ENVIRONMENT, *VARIABLES))
    if models := sorted({_model(job) for job in scope.jobs} - {""}):
        yield Question("cached", shell(_CACHED, *models))


def checks(scope: Scope, facts: Facts) -> Iterator[Check]:
    """The file, then the variables."""
    yield from _file(scope, facts)
    known = _known(scope, facts)
    inherited = _words(facts, "variables", "env")
    yield from _hub(scope, facts, known, inherited)
    online = tuple(
        job.name for job in scope.jobs
        if job.kind == "train" and _parameters(job, "wandb").get("mode") == "online"
    )  # fmt: skip
    known |= _words(facts, "variables", "netrc")
    if online and "WANDB_API_KEY" in known:
        yield Check(SECTION, "WANDB_API_KEY", "ok", "set", "", online)
    elif online:
        yield Check(
            SECTION, "WANDB_API_KEY", "warn",
            f"not set{_unseen('WANDB_API_KEY', inherited)}; {jobs_text(online)} will log offline",
            f"Add WANDB_API_KEY=... to {_file_name(scope)}, or --set wandb.mode=offline", online,
        )  # fmt: skip


def _file(scope: Scope, facts: Facts) -> Iterator[Check]:
    path = env_file(scope)
    place = places(scope, facts).get(path)
    if not path or place is None or place.kind == "missing":
        return
    name = scope.plan.site.env_file
    private = place["mode"] in ("600", "400")  # as the scripts want it
    yield Check(
        SECTION, name, "ok" if private else "fail", f"mode {place['mode']:0>4}",
        "" if private else f"chmod 600 {path}", scope.names(),
    )  # fmt: skip
    if place["owner"] != user(facts):
        yield Check(
            SECTION, f"{name} owner", "fail", f"belongs to user {place['owner']}, not to you",
            f"Copy it to a file of your own, mode 0600, and name that as env_file: {path}",
            scope.names(),
        )  # fmt: skip
    odd = re.findall(r"^warning: line (\d+) of ", facts.text("env_file"), re.MULTILINE)
    if "dos" in facts.text("env_file").split():
        yield Check(
            SECTION, f"{name} line ends", "fail", "has DOS line ends, which become part of a key",
            f"sed -i 's/\\r$//' {path}", scope.names(),
        )  # fmt: skip
    elif odd:
        yield Check(
            SECTION, f"{name} lines", "warn", f"no KEY=VALUE in line {', '.join(odd[:5])}",
            "Correct them; jobs pass over them", scope.names(),
        )  # fmt: skip


def _hub(scope: Scope, facts: Facts, known: set[str], inherited: set[str]) -> Iterator[Check]:
    cached = set(facts.text("cached").splitlines())
    reasons = {job.name: why for job in scope.jobs if (why := _fetches(job, cached))}
    if not reasons:
        return
    names = tuple(reasons)
    if "HF_TOKEN" in known:
        yield Check(SECTION, "HF_TOKEN", "ok", "set", "", names)
    else:
        job, why = next(iter(reasons.items()))
        yield Check(
            SECTION, "HF_TOKEN", "fail",
            f"not set{_unseen('HF_TOKEN', inherited)}; {job} {why}",
            f"Add HF_TOKEN=... to {_file_name(scope)} (https://huggingface.co/settings/tokens)",
            names,
        )  # fmt: skip
    if "HF_HUB_OFFLINE" in known:
        yield Check(
            SECTION, "HF_HUB_OFFLINE", "warn", f"is set, and {jobs_text(names)} must fetch",
            "Unset it for these jobs", names,
        )  # fmt: skip


def _known(scope: Scope, facts: Facts) -> set[str]:
    """The names that a job will find set. Only sbatch hands the environment on: qsub does not, and
    the local queue keeps no key."""
    found = _words(facts, "variables", "login") | _words(facts, "env_file", "set")
    handed_on = scope.plan.site.scheduler == "slurm" or scope.reference
    return found | _words(facts, "variables", "env") if handed_on else found


def _unseen(name: str, inherited: set[str]) -> str:
    """What to say where the user has set a variable that no job will see."""
    return " for jobs (your shell's does not reach them)" if name in inherited else ""


def _file_name(scope: Scope) -> str:
    return scope.plan.site.env_file or "an env_file of the site, mode 0600"


def _words(facts: Facts, key: str, kind: str) -> set[str]:
    lines = (line.partition(" ") for line in facts.text(key).splitlines())
    return {name for word, _, name in lines if word == kind}


def _fetches(job: Job, cached: set[str]) -> str:
    """What a job must fetch from the hub; empty where nothing."""
    source = str(_parameters(job, "corpus").get("source", ""))
    if job.kind == "download" and source.startswith("hf://"):
        return f"downloads {source}"
    tokenizer = str(_parameters(job, "tokenizer").get("source", ""))
    if job.kind == "tokenizer" and tokenizer != "train" and _is_hub_name(tokenizer):
        return f"fetches the tokenizer of {tokenizer}"
    model = _model(job)
    return f"fetches the weights of {model}" if model and model not in cached else ""


def _model(job: Job) -> str:
    model = _parameters(job, "model")
    base = str(model.get("base", ""))
    wanted = job.kind == "train" and model.get("init") == "weights" and _is_hub_name(base)
    return base if wanted else ""


def _is_hub_name(text: str) -> bool:
    """`google/gemma-3-1b-pt` and no path."""
    return text.count("/") == 1 and not text.startswith((".", "/", "~")) and "." not in text[-6:]


def _parameters(job: Job, section: str) -> dict[str, object]:
    found = job.config["parameters"].get(section)
    return found if isinstance(found, dict) else {}
