#!/usr/bin/env python
"""Score several models on the benchmarks; results go to <results-dir>/<model's name>/.

A model is a directory that holds config.json, or whose hf/ does. Held-out loss needs a study's
configuration and is measured by the evaluate stage alone.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluation.benchmarks import MODES
from evaluation.config import InputError, guarded
from evaluation.evaluate import Request, modes_of, run_models
from evaluation.groups import GROUPS


def requests(args: argparse.Namespace) -> list[Request]:
    """One request a model; raises InputError where two models would share a folder of results."""
    made: dict[str, Request] = {}
    for model in args.models:
        path = model.resolve()
        name = path.parent.name if path.name == "hf" else path.name
        if name in made:
            raise InputError(
                f"two models are called {name}", "Evaluate them into two --results-dir"
            )
        made[name] = Request(
            model=model,
            output=args.results_dir / name,
            benchmarks=args.benchmark_dir,
            groups=args.benchmarks,
            modes=modes_of(args.eval_mode),
            names={"arm": name, "run": name, "title": name},
        )
    return list(made.values())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--benchmarks", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--eval-mode", choices=[*MODES, "both"], default="both")
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    parser.add_argument("--benchmark-dir", type=Path, default=Path("data/benchmarks"))
    args = parser.parse_args()
    sys.exit(guarded(lambda: run_models(requests(args))))
