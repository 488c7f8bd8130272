"""The environments that programs run in: interpreters with their packages, containers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pipeline.doctor import versions
from pipeline.doctor.check import (
    MARK,
    Check,
    Facts,
    Question,
    Scope,
    environment_of,
    login,
    said,
)
from pipeline.job import Job, Runtime

SECTION = "environments"
SETUP = Path(__file__).resolve().parents[2] / "training/nemo/setup/setup_enroot.sh"
EXTRA = {"light": "corpus", "hf": "hf", "nemo": "nemo"}
# Of the core's packages, what programs read their configuration and write their pages with.
_ALSO = {"light": ("pyyaml", "msgspec"), "hf": ("pyyaml", "jinja2"), "nemo": ("pyyaml",)}
_SHOWN = 6  # packages in one message
_OPTIONAL = {"wandb"}  # training goes on without it
_TAG = re.compile(r"nemo[:+_-]v?(\d{2}\.\d{2}(?:\.\d+)?)", re.IGNORECASE | re.ASCII)
_DIST = re.compile(r"(nemo_toolkit|megatron_core)-(\d[^/]*)\.dist-info", re.ASCII)


class Told(msgspec.Struct, frozen=True):
    """What PACKAGES prints."""

    python: str
    packages: dict[str, str | None]


PACKAGES = f"""
import importlib.metadata as metadata, json, sys
found = {{}}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        found[name] = None
print("{MARK}" + json.dumps({{"python": sys.version.split()[0], "packages": found}}))
"""
_ENTER = 'cd -- "$1" || exit 65; shift\n'
_ENROOT = f"""
command -v enroot >/dev/null || {{ echo "{MARK}missing"; exit 0; }}
echo "{MARK}version $(enroot version 2>&1 | head -n 1)"
if [[ -f $1 ]]; then echo "{MARK}there"; else
  enroot list | while IFS= read -r name; do [[ $name != "$1" ]] || echo "{MARK}there"; done
fi
root=${{ENROOT_DATA_PATH:-${{XDG_DATA_HOME:-$HOME/.local/share}}/enroot}}/$1
for packages in "$root"/{{usr/local/lib,usr/lib,opt/venv/lib}}/python3*/{{dist,site}}-packages; do
  for found in "$packages"/{{nemo_toolkit,megatron_core}}-*.dist-info; do
    [[ ! -e $found ]] || echo "{MARK}dist ${{found##*/}}"
  done
done
"""
_APPTAINER = f"""
command -v apptainer >/dev/null || {{ echo "{MARK}missing"; exit 0; }}
echo "{MARK}version $(apptainer --version 2>&1 | head -n 1)"
[[ $1 != *://* && ! -e $1 ]] || echo "{MARK}there"
[[ ! -e $1 ]] || echo "{MARK}labels $(apptainer inspect --json "$1" 2>/dev/null | tr -d '\\n')"
"""


def questions(scope: Scope) -> Iterator[Question]:
    """One process an environment, after the site's own shell lines, as in a job."""
    for env, jobs in _used(scope).items():
        runtime = jobs[0].runtime
        before = _ENTER + "".join(f"{line}\n" for line in runtime.activate)
        project = jobs[0].project_dir
        if runtime.container:
            look = _ENROOT if runtime.container == "enroot" else _APPTAINER
            yield Question(f"environment {env}", login(before + look, project, runtime.image))
            continue
        argv = (runtime.python, "-c", PACKAGES, *_wanted(scope, env, jobs))
        yield Question(f"environment {env}", login(before + 'exec "$@"', project, *argv))


def checks(scope: Scope, facts: Facts) -> Iterator[Check]:
    """Each environment that a job needs."""
    for env, jobs in _used(scope).items():
        if jobs[0].runtime.container:
            yield from _container(scope, env, jobs[0].runtime, facts)
        else:
            yield from _packages(scope, env, jobs, facts)


def _told(facts: Facts, env: str) -> Told | None:
    """What an environment's interpreter printed; None where it printed nothing of the kind."""
    for line in facts.marked(f"environment {env}"):
        with contextlib.suppress(msgspec.MsgspecError):
            return msgspec.json.decode(line, type=Told)
    return None


def _used(scope: Scope) -> dict[str, list[Job]]:
    used: dict[str, list[Job]] = {}
    for job in scope.jobs:
        used.setdefault(environment_of(scope.plan, job), []).append(job)
    return used


def _wanted(scope: Scope, env: str, jobs: list[Job]) -> dict[str, str]:
    """Package -> version; nothing where only programs of the study's own run."""
    kinds = {job.kind for job in jobs}
    if kinds == {"command"}:
        return {}
    core = versions.requirements("")
    found = {name: core[name] for name in _ALSO[env] if name in core}
    found |= versions.requirements(EXTRA[env])
    return found | (versions.requirements("hub") if _fetches(jobs) else {})


def _fetches(jobs: list[Job]) -> bool:
    return any(
        job.kind == "download"
        and str(job.config["parameters"]["corpus"]["source"]).startswith("hf://")
        for job in jobs
    )


def _packages(scope: Scope, env: str, jobs: list[Job], facts: Facts) -> Iterator[Check]:
    names, runtime = tuple(job.name for job in jobs), jobs[0].runtime
    name = f"{env}: python"
    answer = facts.get(f"environment {env}")
    told = _told(facts, env)
    if told is None:
        yield Check(
            SECTION, name, "fail", f"{runtime.python} does not run: {said(answer)}",
            f"Correct environments.{env} in the site file (python, activate)", names,
        )  # fmt: skip
        return
    oldest = versions.oldest_python()
    old = versions.release(told.python) < oldest
    yield Check(
        SECTION, name, "fail" if old else "ok", f"{runtime.python}: Python {told.python}",
        f"Make the environment anew with Python {'.'.join(map(str, oldest))} or newer"
        if old else "",
        names,
    )  # fmt: skip
    yield from _versions(env, runtime, _wanted(scope, env, jobs), told.packages, names)


def _versions(
    env: str, runtime: Runtime, wanted: dict[str, str], found: dict[str, str | None],
    names: tuple[str, ...],
) -> Iterator[Check]:  # fmt: skip
    bad: list[str] = []
    odd: list[str] = []
    for package, want in wanted.items():
        version = found.get(package)
        if version is not None and versions.satisfies(version, want):
            continue
        mild = version is None and package in _OPTIONAL
        mild = mild or (version is not None and versions.nearly(version, want))
        (odd if mild else bad).append(f"{package}{want} is {version or 'missing'}")
    install = f"{runtime.python} -m pip install -e '.[{EXTRA[env]}]'"
    name = f"{env}: packages"
    if bad:
        yield Check(SECTION, name, "fail", _few(bad), install, names)
    if odd:
        yield Check(SECTION, name, "warn", _few(odd), install, names)
    if wanted and not bad and not odd:
        fact = f"all {len(wanted)} as pyproject.toml asks for"
        yield Check(SECTION, name, "ok", fact, "", names)


def _few(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more


def _container(scope: Scope, env: str, runtime: Runtime, facts: Facts) -> Iterator[Check]:
    names = tuple(job.name for job in _used(scope)[env])
    told = facts.marked(f"environment {env}")
    name, kind = f"{env}: {runtime.container}", runtime.container
    version = next((line.removeprefix("version ") for line in told if line[:8] == "version "), "")
    if "missing" in told or not told:
        why = "not on PATH" if told else said(facts.get(f"environment {env}"))
        # Many sites have it on compute nodes only; a job looks again, before anything else.
        elsewhere = bool(told) and scope.plan.site.scheduler != "local"
        yield Check(
            SECTION, name, "warn" if elsewhere else "fail",
            why + (" here; compute nodes may have it" if elsewhere else ""),
            f"Load its module in environments.{env}.activate, or look on a compute node", names,
        )  # fmt: skip
        return
    yield Check(SECTION, name, "ok", version, "", names)
    if "there" not in told:
        remedy = (
            "bash training/nemo/setup/setup_enroot.sh" if kind == "enroot"
            else f"apptainer build {runtime.image} docker://nvcr.io/{pinned_image()}"
        )  # fmt: skip
        fact = f"{runtime.image} is not there"
        yield Check(SECTION, f"{env}: image", "fail", fact, remedy, names)
        return
    yield _image(env, runtime, told, names)


def _image(env: str, runtime: Runtime, told: list[str], names: tuple[str, ...]) -> Check:
    """The image's release, by its packages where they can be seen, else by its tag."""
    packages = [match for line in told if (match := _DIST.search(line))]
    pins = versions.requirements("nemo")
    for match in packages:
        package, version = match[1].replace("_core", "-core"), match[2]
        want = pins.get(package, "")
        if not versions.satisfies(version, want) and not versions.nearly(version, want):
            return Check(
                SECTION, f"{env}: image", "fail", f"{runtime.image} has {package} {version}; "
                f"asked for is {want}", f"Use {pinned_image()}", names,
            )  # fmt: skip
    labels = " ".join(line for line in told if line.startswith("labels "))
    tag = _TAG.search(runtime.image) or _TAG.search(labels)
    pin = _TAG.search(pinned_image())
    if not packages and tag and pin and tag[1] != pin[1]:
        return Check(
            SECTION, f"{env}: image", "warn", f"{runtime.image} is NeMo {tag[1]}; this project is "
            f"written for {pin[1]}", f"Use {pinned_image()}", names,
        )  # fmt: skip
    seen = ", ".join(f"{match[1]} {match[2]}" for match in packages) or (tag[0] if tag else "")
    fact = f"{runtime.image}: {seen or 'its version is not told; training looks at it first'}"
    return Check(SECTION, f"{env}: image", "ok", fact, "", names)


def pinned_image() -> str:
    """The image that the set-up script fetches."""
    try:
        match = re.search(r"NEMO_IMAGE:-([^}]+)}", SETUP.read_text("utf-8"))
    except OSError:
        match = None
    return match[1] if match else "nvidia/nemo"
