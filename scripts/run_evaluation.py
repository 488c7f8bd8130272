#!/usr/bin/env python
"""Score several models on the benchmarks; results go to <results-dir>/<model's name>/.

A model is a directory that holds config.json, or whose hf/ does. A model that cannot be scored is
named, the others go on, and the exit code is 1. What is there already is not done again. Held-out
loss needs a study's configuration and is measured by the evaluate stage alone.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluation.benchmarks import MODES
from evaluation.config import InputError, guarded
from evaluation.evaluate import modes_of, run_models
from evaluation.groups import GROUPS
from evaluation.models import BACKENDS, Backend
from evaluation.plan import MARGINAL, Request


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
            backend=Backend(args.backend, dict(map(argument, args.backend_arg))),
            tokenisations=args.tokenisations,
            include=args.include_path,
        )
    return list(made.values())


def argument(text: str) -> tuple[str, object]:
    """A name and a value, which is read as YAML: a number, true, a word."""
    import yaml

    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--backend-arg {text!r} has no =", "Write NAME=VALUE")
    return name, yaml.safe_load(value)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument(
        "--benchmarks", nargs="+", default=list(GROUPS), metavar="NAME",
        help=f"{', '.join(GROUPS)}, or any task that lm-eval knows; default: these five",
    )  # fmt: skip
    parser.add_argument("--eval-mode", choices=[*MODES, "both"], default="both")
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    parser.add_argument("--benchmark-dir", type=Path, default=Path("data/benchmarks"))
    parser.add_argument(
        "--backend", choices=BACKENDS, default="hf",
        help="transformers, vLLM, or an OpenAI-compatible server",
    )  # fmt: skip
    parser.add_argument(
        "--backend-arg", action="append", default=[], metavar="NAME=VALUE",
        help="an argument of lm-eval's model: dtype=bfloat16, base_url=http://node:8000/...",
    )  # fmt: skip
    parser.add_argument(
        "--tokenisations", type=int, default=MARGINAL, metavar="K",
        help="tokenisations of an option that are drawn for the marginal score, 0 for none; "
             f"default {MARGINAL}",
    )  # fmt: skip
    parser.add_argument(
        "--include-path", default="", metavar="DIR", help="a folder of lm-eval task files"
    )
    args = parser.parse_args()
    sys.exit(guarded(lambda: run_models(requests(args))))
