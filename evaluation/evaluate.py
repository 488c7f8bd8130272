"""`python -m evaluation.evaluate`: score a model on benchmarks and held-out documents.

Writes files of records, `parts/<name>.json` for what is done, and `metrics.json` with all of it and
a digest of what it was made from; a second run does what is missing or changed. docs/evaluation.md
tells how scores are made.
"""

import argparse
import os
import sys
import traceback
from pathlib import Path

from evaluation.benchmarks import MODES
from evaluation.config import (
    OUT_OF_MEMORY,
    Config,
    InputError,
    Progress,
    choose,
    complain,
    guarded,
    load_config,
)
from evaluation.models import BACKENDS, Backend, model_directory
from evaluation.parts import Part, compute, gather, stored
from evaluation.plan import MARGINAL, SCORING, Request, lm_eval_version, plan

# Before lm-eval is imported; what is set already holds.
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def evaluate(request: Request) -> bool:
    """Score one model; False where all was there, made from the same inputs.

    Raises InputError for a benchmark, a model or data that cannot be used.
    """
    from evaluation.models import load_model, release

    parts = plan(request)
    number, of = request.share
    own = [part for part in parts if part.share % of == number - 1]
    missing = [part for part in own if stored(request.output, part) is None]
    directory = model_directory(request.model)
    if missing:
        progress = Progress(sum(part.size for part in missing), "items")
        progress.advance(0, "loading the model")
        model = load_model(directory, request.eod, request.backend)
        for part in missing:
            step = _Step(progress, part)
            compute(request.output, part, model, step.notice)
            step.finish()
        release(model)
    about = {**request.names, "model": str(directory), "scoring": SCORING}
    about["lm_eval"] = {"version": lm_eval_version(), "backend": request.backend.name}
    return gather(request.output, parts, about) or bool(missing)


class _Step:
    """Counts a part's rows for the progress file; a part ends at its size, whatever it told."""

    def __init__(self, progress: Progress, part: Part) -> None:
        self.progress, self.part, self.left = progress, part, part.size

    def notice(self, rows: int) -> None:
        """Some rows more are done."""
        rows = min(rows, self.left)
        self.left -= rows
        self.progress.advance(rows, self.part.name)

    def finish(self) -> None:
        """All are done: lm-eval scores equal rows once, so that fewer may have been told."""
        self.notice(self.left)


def modes_of(mode: str) -> list[str]:
    """mcq, gen or both as a list; raises InputError for another word."""
    choose("evaluation mode", [mode], (*MODES, "both"))
    return list(MODES) if mode == "both" else [mode]


def request_of(config: Config, task: int = 1) -> Request:
    """What a job's configuration asks of one of its tasks; reads the held-out documents."""
    from evaluation.heldout import load_held_out

    eod = config.get("tokenizer.eod", int)
    arm = config.top("job.arm", str, "")
    return Request(
        model=Path(config.get("evaluate.model", str)),
        output=Path(config.get("evaluate.output_dir", str)),
        benchmarks=Path(config.get("benchmark.output_dir", str)),
        groups=config.get("evaluate.benchmarks", list),
        modes=modes_of(config.get("evaluate.mode", str, "both")),
        names={
            "arm": arm,
            "run": config.top("job.run", str, arm),
            "title": config.top(f"arms.{arm}.title", str, arm) if arm else "",
        },
        eod=eod,
        heldout=load_held_out(config, eod),
        seq_length=config.get("model.seq_length", int),
        backend=Backend(
            choose("back end", [config.get("evaluate.backend", str, "hf")], BACKENDS)[0],
            config.get("evaluate.backend_args", dict, {}),
        ),
        tokenisations=config.get("evaluate.tokenisations", int, MARGINAL),
        seed=config.get("seed", int, 42),
        include=config.get("evaluate.include_path", str, ""),
        share=(task, config.top("job.tasks", int, 1)),
    )


def run_models(requests: list[Request]) -> int:
    """Score each model; one that fails does not stop the others. 1 where any failed."""
    quiet()
    failed = 0
    for request in requests:
        try:
            tell(request, evaluate(request))
        except InputError as error:
            complain(error)
            failed += 1
        except Exception as error:  # a model's own code raises what it likes; the others go on
            traceback.print_exc()
            complain(_failure(request, error))
            failed += 1
    return 1 if failed else 0


def _failure(request: Request, error: Exception) -> InputError:
    fact = " ".join(str(error).split())[:300]
    return InputError(
        f"{request.model} could not be scored ({type(error).__name__}: {fact})",
        "Run it again: what is done already is kept",
    )


def quiet() -> None:
    """Keep lm-eval and what it loads from the network, and from drawing bars into logs."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def tell(request: Request, fresh: bool) -> None:
    """One line a model on stdout."""
    state = "written" if fresh else "unchanged, made from the same inputs"
    print(f"{request.output / 'metrics.json'}: {state}", flush=True)


def run_job(path: Path, task: int = 1) -> int:
    """A task of a job: one model, or a share of it; running out of memory has its own exit code."""
    quiet()
    import torch

    request = request_of(load_config(path), task)
    try:
        tell(request, evaluate(request))
    except (torch.OutOfMemoryError, MemoryError) as error:
        complain(InputError(f"out of memory ({error})", "Ask for more memory or a larger GPU"))
        return OUT_OF_MEMORY
    return 0


def main(argv: list[str] | None = None) -> int:
    """The stage's program."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m evaluation.evaluate")
    parser.add_argument("--config", type=Path, required=True, help="the job's configuration")
    parser.add_argument(
        "--task", type=int, default=1,
        help="this task's number in the job's array; its tasks share the model's benchmarks",
    )  # fmt: skip
    args = parser.parse_args(argv)
    return guarded(lambda: run_job(args.config, args.task))


if __name__ == "__main__":
    sys.exit(main())
