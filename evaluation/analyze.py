"""`python -m evaluation.analyze`: the report of a study's results.

Writes report.html, comparison.md, tables.tex, figures/, and comparison.json last, into the results
folder; prints what was found.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluation.config import Config, InputError, guarded, load_config
from evaluation.files import write_json
from evaluation.report import account, content, others, page
from evaluation.report.curves import matrix, training
from evaluation.report.drawing import styled
from evaluation.report.expected import others_judged
from evaluation.report.fairness import fairness
from evaluation.report.figures import accuracies
from evaluation.report.findings import Question, compare
from evaluation.report.runs import job_configs, read_curves, read_runs, training_folder
from evaluation.report.sections import Material, answer, sections
from evaluation.report.spent import spent
from evaluation.report.tables import markdown
from evaluation.results import Arm, read_arm, read_json, read_values
from ledger.results import result_files

BASELINE_NAMES = ("vanilla", "baseline")
CAUTION = (
    "This is the study's demo: tiny models on a small sample. It shows that everything works, and "
    "says nothing about the question."
)


def arms_of(config: Config, root: Path) -> list[Arm]:
    """Every arm of the study from the results that its jobs write.

    Raises one InputError that names all the arms without results.
    """
    arms, faults = [], []
    for name, told in config.top("arms", dict).items():
        try:
            arms.append(arm_of(name, told, config, root))
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError(" ".join(faults), "The comparison needs all arms")
    if not arms:
        raise InputError(f"{config.origin} names no arms", "Add arms to the study")
    return arms


def arm_of(name: str, told: dict[str, Any], config: Config, root: Path) -> Arm:
    """One arm: of this package's evaluation from its metrics.json, of a study with programs of its
    own from all the JSON files that it writes to the results, and the last of its metrics.jsonl."""
    aliases = tuple(str(told[key]) for key in ("run",) if told.get(key))
    title = str(told.get("title") or name)
    results = config.top("paths.results", str, "results")
    files = [Path(path) for path in result_files(told, results)]
    for path in files:
        if path.name == "metrics.json" and _benchmarked(root / path, name):
            return replace(read_arm(root / path, name, aliases), title=title)
    found = [one for path in files for one in sorted(root.glob(str(path)))]
    folder = training_folder(root, told)
    curves = read_curves(folder / "metrics.jsonl") if folder else {}
    if not found and not curves:
        looked = ", ".join(map(str, files)) or "its jobs name no JSON file under the results"
        raise InputError(f"arm {name} has no results ({looked})", "Run the stages that write them")
    arm = read_values(name, title, found, aliases)
    return replace(arm, values={**{k: rows[-1][1] for k, rows in curves.items()}, **arm.values})


def _benchmarked(path: Path, name: str) -> bool:
    return "benchmarks" in read_json(path, name)


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


def report(config: Config, arms: list[Arm], folder: Path, baseline: str) -> int:
    """Compare, draw, write into `folder`, and print what was found."""
    root = Path()
    demo = "demo" in config.top("job.profiles", list, [])
    expectations = config.top("expectations", list, [])
    seed = config.get("seed", int, 0)
    comparison = compare(arms, Question(baseline, expectations, demo, seed))
    base = comparison["details"]["baseline"]
    comparison["details"]["checks"] = others_judged(config, root)
    jobs, asked = job_configs(config, root), others.read_asked(config.top("report", dict, {}), root)
    others.shorten(comparison, arms, asked)
    runs = read_runs(config, root, jobs)
    fair = fairness(runs, arms, base, asked.treatment)
    cost = account.cost(spent(config, root, jobs), runs, config.top("report.stages", list, []))
    crossed = others.matrices(arms, asked)
    with styled():
        figures = [*accuracies(comparison), *training(runs), *map(matrix, crossed)]
    material = Material(
        comparison, fair, figures, cost, account.provenance(runs, arms, root, jobs),
        content.boundaries(arms),
        [others.overview(arms, asked), others.gains(arms, base, asked),
         *map(others.matrix_table, crossed)],
    )  # fmt: skip
    made = sections(material)
    page.write(folder, heading(config, demo), made)
    comparison["details"]["fairness"] = fair
    write_json(folder / "comparison.json", comparison)
    _tell(comparison, material, folder)
    return 0


def heading(config: Config, demo: bool) -> page.Heading:
    """Title and question of the study; a folder of results has neither."""
    study = config.top("job.study", str, "")
    profiles = config.top("job.profiles", list, [])
    told = f"study {study}" + (f", profile {' + '.join(profiles)}" if profiles else "")
    return page.Heading(
        config.top("report.title", str, study) or "Comparison of the arms",
        config.top("report.question", str, ""),
        told if study else "A folder of results, without a study's expectations.",
        CAUTION if demo else "",
        config.top("report.decisions", str, ""),
    )


def _tell(comparison: dict[str, Any], material: Material, folder: Path) -> None:
    """On the terminal: the figures, the answer, the notes, where the rest is."""
    tables = [content.figures(comparison), content.expectations(comparison)]
    shown = [t for t in (*tables, *material.others) if t and t.rows]
    for table in shown:
        print(f"{table.caption}\n\n{markdown(table)}\n")
    for line in [*answer(comparison), *comparison["notes"]]:
        print(f"- {line}")
    print(f"\nreport: {folder / 'report.html'}")


def run_job(path: Path, output: Path | None = None) -> int:
    """A job: arms, expectations and baseline from its configuration."""
    config = load_config(path)
    arms = arms_of(config, Path())
    own = config.top("paths.results", str, "results")
    folder = output or Path(config.get("analyze.results_dir", str, own))
    named = config.top("report.baseline", str, "") or config.get("analyze.baseline", str, "")
    return report(config, arms, folder, named or guess_baseline(arms))


def run_folder(results: Path, baseline: str | None) -> int:
    """All results in a folder, without a study's expectations."""
    arms = arms_in(results)
    config = Config({"parameters": {}}, str(results))
    return report(config, arms, results, baseline or guess_baseline(arms))


def main(argv: list[str] | None = None) -> int:
    """The stage's program."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m evaluation.analyze")
    parser.add_argument("--config", type=Path, required=True, help="the job's configuration")
    parser.add_argument("--output", type=Path, help="folder for the report; default: the results")
    args = parser.parse_args(argv)
    return guarded(lambda: run_job(args.config, args.output))


if __name__ == "__main__":
    sys.exit(main())
