"""`python -m evaluation.evaluate`: score a model on the benchmarks and the held-out documents.

Writes `samples_<group>_<mode>.jsonl` and, last, `metrics.json` with a digest of all it was made
from; a second run with the same digest does nothing.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.benchmarks import MODES, part_of, read_items
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
from evaluation.files import sha256, write_json, write_jsonl
from evaluation.groups import GROUPS

if TYPE_CHECKING:
    from evaluation.heldout import HeldOut
    from evaluation.models import LanguageModel

SCORING = {
    "version": 1,
    "mcq": "ln p(option | EOD, prompt) / UTF-8 bytes of the option; the greatest wins",
    "gen": "greedy; the first line equals the answer",
    "heldout": "total nats / ln 2 / UTF-8 bytes; EOD is context and is not predicted",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One model and what to do with it; `names` goes into metrics.json (arm, run, title)."""

    model: Path
    output: Path
    benchmarks: Path
    groups: list[str]
    modes: list[str]
    names: dict[str, str]
    eod: int | None = None
    heldout: "HeldOut | None" = None
    seq_length: int = 0


def evaluate(request: Request) -> bool:
    """Score one model; False where its metrics.json was already made from the same inputs.

    Raises InputError for a benchmark, a model or data that cannot be used.
    """
    from evaluation.heldout import count_windows, measure
    from evaluation.models import fingerprint, load_model, model_directory

    started = time.monotonic()
    files = {
        (group, mode): request.benchmarks / f"{group}_{mode}.jsonl"
        for group in request.groups
        for mode in request.modes
    }
    items = {key: read_items(path) for key, path in files.items()}
    directory = model_directory(request.model)
    made_from = _digest(request, list(files.values()), fingerprint(directory))
    if _made_from(request.output / "metrics.json") == made_from:
        return False
    total = sum(len(i) * (4 if mode == "mcq" else 1) for (_, mode), i in items.items())
    progress = Progress(total + count_windows(request.heldout, request.seq_length), "items")
    progress.advance(0, "loading the model")
    model = load_model(directory, request.eod)
    metrics: dict[str, Any] = {**request.names, "model": str(directory), "made_from": made_from}
    metrics |= {
        "scoring": SCORING,
        "benchmarks": _score_all(model, items, request.output, progress),
    }
    if request.heldout is not None:
        told = _teller(progress, "held-out documents")
        metrics["heldout"] = measure(model, request.heldout, request.seq_length, told)
    metrics["seconds"] = round(time.monotonic() - started, 2)
    write_json(request.output / "metrics.json", metrics)
    return True


def _score_all(
    model: "LanguageModel",
    items: dict[tuple[str, str], list[dict[str, Any]]],
    output: Path,
    progress: Progress,
) -> dict[str, dict[str, Any]]:
    """The results of all benchmark files by group and mode; writes their records as it goes."""
    from evaluation.scoring import score_choices, score_generations

    results: dict[str, dict[str, Any]] = {}
    for (group, mode), asked in items.items():
        score = score_choices if mode == "mcq" else score_generations
        records = score(model, asked, _teller(progress, f"{group} {mode}"))
        for record, item in zip(records, asked, strict=True):
            record["part"] = part_of(item)
        write_jsonl(output / f"samples_{group}_{mode}.jsonl", records)
        results.setdefault(group, {})[mode] = summarise(asked, records)
    return results


def summarise(items: list[dict[str, Any]], records: list[dict[str, Any]]) -> dict[str, Any]:
    """n, correct, accuracy and chance of a file, and the same `by` category or level.

    Chance is the mean of 1/options; it is 0 for free answers.
    """

    def counts(chosen: list[int]) -> dict[str, Any]:
        correct = sum(records[i]["correct"] for i in chosen)
        chance = sum(1 / len(items[i]["options"]) if "options" in items[i] else 0 for i in chosen)
        n = len(chosen)
        return {"n": n, "correct": correct, "accuracy": correct / n, "chance": chance / n}

    parts: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        parts.setdefault(part_of(item), []).append(index)
    by = {part: counts(chosen) for part, chosen in parts.items()}
    return {**counts(list(range(len(items)))), "by": by}


def _teller(progress: Progress, message: str) -> Callable[[int], None]:
    return lambda count: progress.advance(count, message)


def _digest(request: Request, files: list[Path], model: dict[str, str]) -> str:
    """The SHA-256 of everything that the figures depend on."""
    parts = {
        "scoring": SCORING,
        "names": request.names,
        "benchmarks": {path.name: sha256(path) for path in files},
        "model": model,
        "eod": request.eod,
        "heldout": request.heldout.digest() if request.heldout else None,
        "seq_length": request.seq_length,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _made_from(path: Path) -> str | None:
    """The digest in an earlier metrics.json; None where there is none that can be read."""
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None  # a file that something else wrote or broke: it will be replaced
    return values.get("made_from") if isinstance(values, dict) else None


def modes_of(mode: str) -> list[str]:
    """mcq, gen or both as a list; raises InputError for another word."""
    choose("evaluation mode", [mode], (*MODES, "both"))
    return list(MODES) if mode == "both" else [mode]


def request_of(config: Config) -> Request:
    """What a job's configuration asks for; reads the held-out documents."""
    from evaluation.heldout import load_held_out

    eod = config.get("tokenizer.eod", int)
    arm = config.top("job.arm", str, "")
    return Request(
        model=Path(config.get("evaluate.model", str)),
        output=Path(config.get("evaluate.output_dir", str)),
        benchmarks=Path(config.get("benchmark.output_dir", str)),
        groups=choose("benchmark", config.get("evaluate.benchmarks", list), GROUPS),
        modes=modes_of(config.get("evaluate.mode", str, "both")),
        names={
            "arm": arm,
            "run": config.top("job.run", str, arm),
            "title": config.top(f"arms.{arm}.title", str, arm) if arm else "",
        },
        eod=eod,
        heldout=load_held_out(config, eod),
        seq_length=config.get("model.seq_length", int),
    )


def run_models(requests: list[Request]) -> int:
    """Score each model; one that fails does not stop the others. 1 where any failed."""
    failed = 0
    for request in requests:
        try:
            tell(request, evaluate(request))
        except InputError as error:
            complain(error)
            failed += 1
    return 1 if failed else 0


def tell(request: Request, fresh: bool) -> None:
    """One line a model on stdout."""
    state = "written" if fresh else "unchanged, made from the same inputs"
    print(f"{request.output / 'metrics.json'}: {state}", flush=True)


def run_job(path: Path) -> int:
    """A job: one model, from its configuration; running out of memory has its own exit code."""
    import torch

    request = request_of(load_config(path))
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
    args = parser.parse_args(argv)
    return guarded(lambda: run_job(args.config))


if __name__ == "__main__":
    sys.exit(main())
