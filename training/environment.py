"""Whether the installed packages are new enough for a study, before any of its jobs needs them.

    python -m training.environment --config CONFIG

reads `parameters.environment`: `minimum` (a list: torch>=2.6.0), `gpus` (whether torch must see
CUDA) and `cuda_index` (the wheel index that torch is installed from, where one is named). Packages
are asked for their metadata and none but torch is imported. What is wrong is told together, with
the pip of this interpreter's own environment: the system's refuses (PEP 668). The versions go to
`report`, which is written last.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import sysconfig
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from training.contract import BadInput, Exit, Section, load_config, run_program, write_atomic

# The CUDA versions that each torch has wheels for (download.pytorch.org/whl), newest torch last.
CUDA_WHEELS = {
    (2, 4): ("cu118", "cu121", "cu124"),
    (2, 5): ("cu118", "cu121", "cu124"),
    (2, 6): ("cu118", "cu124", "cu126"),
    (2, 7): ("cu118", "cu126", "cu128"),
    (2, 8): ("cu126", "cu128", "cu129"),
}


def numbers(version: str) -> tuple[int, ...]:
    """A version's leading numbers, without trailing zeros: 2.6.0+cu124 is (2, 6)."""
    found = [int(word) for word in re.findall(r"\d+", re.split(r"[+a-zA-Z-]", version)[0])]
    while found and not found[-1]:
        found.pop()
    return tuple(found)


def installed(names: list[str]) -> dict[str, str]:
    """The version of each package that is installed."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def package_problems(minimum: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Each package that is missing or too old."""
    problems = []
    for name, least in minimum.items():
        if name not in found:
            problems.append(f"{name} is not installed (needs {least})")
        elif numbers(found[name]) < numbers(least):
            problems.append(f"{name} is {found[name]}, older than {least}")
    return problems


def index_problem(index: str, least: str) -> str:
    """Why no torch of at least this version comes from an index such as .../whl/cu121, or ''."""
    wanted = re.search(r"cu\d+", index)
    major, minor, *_ = (*numbers(least), 0, 0)
    known = CUDA_WHEELS.get((major, minor))
    if not wanted or known is None or wanted[0] in known:
        return ""
    return (
        f"torch {least} has no wheels for {wanted[0]} ({index}): there are {', '.join(known)}"
    )


def pip_command() -> str:
    """How packages get into this interpreter's environment.

    In a venv its own pip; outside one, where PEP 668's marker forbids pip, the way to make one.
    """
    if sys.prefix != sys.base_prefix:
        return f"{sys.prefix}/bin/pip install --upgrade"
    if Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists():
        return "python3 -m venv .venv && .venv/bin/pip install --upgrade"
    return f"{sys.executable} -m pip install --upgrade"


def cuda_problem() -> str:
    """Why torch cannot use a GPU, or ''."""
    import torch

    if torch.cuda.is_available():
        return ""
    built = torch.version.cuda
    return f"torch {torch.__version__} sees no GPU (" + (
        f"built for CUDA {built}: is the driver older?)" if built else "a build without CUDA)"
    )


def read_minimum(config: Section) -> dict[str, str]:
    """The packages and their least versions; problems stay in `config`."""
    key = "environment.minimum"
    given = config.mapping("parameters.environment").get("minimum", [])
    minimum = {}
    for entry in given if isinstance(given, list) else [given]:
        found = re.fullmatch(r"([\w.-]+)>=([\d.]+)", str(entry))
        config.check(found is not None, f"parameters.{key} holds {entry!r}, not name>=version")
        if found:
            minimum[found[1]] = found[2]
    return minimum


def check(config: Section) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """What is needed, the versions found, and all problems."""
    p = "parameters.environment."
    minimum = read_minimum(config)
    index = config.get(p + "cuda_index", str, "")
    gpus = config.get(p + "gpus", bool, False)
    config.raise_problems()
    found = installed(list(minimum))
    problems = package_problems(minimum, found)
    if told := index_problem(index, minimum.get("torch", "0")):
        problems.append(told)
    if gpus and "torch" in found and (told := cuda_problem()):
        problems.append(told)
    return minimum, found, problems


def main(argv: list[str]) -> Exit:
    """Print what is installed, or refuse with all that is wrong."""
    parser = argparse.ArgumentParser(description="Check installed versions against a study's.")
    parser.add_argument("--config", required=True, help="the job's resolved configuration")
    config = load_config(Path(parser.parse_args(argv).config))
    minimum, found, problems = check(config)
    if problems:
        names = " ".join(f"'{name}>={least}'" for name, least in minimum.items())
        raise BadInput("; ".join(problems), f"Install: {pip_command()} {names}")
    for name, version in found.items():
        print(f"{name} {version}")
    report = config.get("parameters.environment.report", str, "")
    if report:
        python = sys.version.split()[0]
        write_atomic(Path(report), json.dumps({"python": python, **found}, indent=1) + "\n")
    return Exit.OK


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
