"""`python -m evaluation.analyze`: compare the arms' metrics.json files.

Writes comparison.md, plots, and comparison.json last, into analyze.results_dir; prints the table.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from evaluation.compare import compare
from evaluation.config import Config, InputError, guarded, load_config
from evaluation.files import write_json, write_text
from evaluation.plots import draw
from evaluation.report import markdown
from evaluation.results import Arm, read_arm

BASELINE_NAMES = ("vanilla", "baseline")


def arms_of(config: Config) -> list[Arm]:
    """Every arm of the study from its own evaluate.output_dir.

    Raises one InputError that names all the arms without results.
    """
    arms, faults = [], []
    for name, values in config.top("arms", dict).items():
        folder = Path(config.arm(name).get("evaluate.output_dir", str))
        run = values.get("run")
        try:
            arms.append(read_arm(folder / "metrics.json", name, (run,) if run else ()))
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError(" ".join(faults), "The comparison needs all arms")
    if not arms:
        raise InputError(f"{config.origin} names no arms", "Add arms to the study")
    return arms


def arms_in(results: Path) -> list[Arm]:
    """The arm of every <results>/*/metrics.json; raises InputError for none, or a name twice."""
    arms = [read_arm(path) for path in sorted(results.glob("*/metrics.json"))]
    if not arms:
        raise InputError(f"{results} holds no */metrics.json", "Run scripts/run_evaluation.py")
    sources: dict[str, str] = {}
    for arm in arms:
        if arm.id in sources:
            raise InputError(
                f"{arm.source} and {sources[arm.id]} are both of arm {arm.id}", "Move one away"
            )
        sources[arm.id] = arm.source
    return arms


def guess_baseline(arms: list[Arm]) -> str:
    """The arm called vanilla or baseline, by its whole name or its end; else the first."""
    for name in BASELINE_NAMES:
        for arm in arms:
            if arm.id == name or arm.id.endswith(f"-{name}"):
                return arm.id
    return arms[0].id


def analyze(
    arms: list[Arm], folder: Path, baseline: str, study: tuple[list[dict[str, Any]], bool]
) -> int:
    """Compare and write; `study` is its expectations and whether this is its demo."""
    comparison = compare(arms, baseline, *study)
    text = markdown(comparison)
    draw(comparison, folder)
    write_text(folder / "comparison.md", text)
    write_json(folder / "comparison.json", comparison)
    print(text, end="")
    return 0


def run_job(path: Path) -> int:
    """A job: arms, expectations and baseline from its configuration."""
    config = load_config(path)
    return analyze(
        arms_of(config),
        Path(config.get("analyze.results_dir", str)),
        config.get("analyze.baseline", str),
        (config.top("expectations", list, []), "demo" in config.top("job.profiles", list, [])),
    )


def run_folder(results: Path, baseline: str | None) -> int:
    """All results in a folder, without a study's expectations."""
    arms = arms_in(results)
    return analyze(arms, results, baseline or guess_baseline(arms), ([], False))


def main(argv: list[str] | None = None) -> int:
    """The stage's program."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m evaluation.analyze")
    parser.add_argument("--config", type=Path, required=True, help="the job's configuration")
    args = parser.parse_args(argv)
    return guarded(lambda: run_job(args.config))


if __name__ == "__main__":
    sys.exit(main())
