"""Perplexity of a model on the test texts of each level, over their infilling examples.

Of `evaluate.tasks` tasks, task N takes the N-th of `evaluate.test_levels` and every so many behind
it: with as many tasks as levels, one. Means are over tokens of all examples: of answers with their
ends (`infill`), of answers alone (`infill_textonly`), and of the context, each token predicted from
what is before it. `perplexity` is that of `validate.target`, the one that training watched. Each
level's number stands under the level's name, so that the report sets models beside levels.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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
from evaluation.files import sha256, write_json
from evaluation.models import LOGIT_BYTES, MAX_ROWS

INDEX, SPECIAL = "infilling.json", "infilling_tokens.json"
SPLIT = "test"
TARGETS = ("infill", "infill_textonly", "context")
KINDS = ("pad", "context", "blank", "separator", "answer", "end")
OF = {
    "infill": tuple(map(KINDS.index, ("answer", "end"))),
    "infill_textonly": (KINDS.index("answer"),),
    "context": (KINDS.index("context"),),
}
AGAIN = "Prepare the level's examples again"


@dataclass(frozen=True, slots=True)
class Request:
    """What to evaluate, and where the figures go. `most` examples of a level, 0 for all."""

    model: Path
    levels: tuple[str, ...]
    examples: Path
    output: Path
    target: str
    most: int


@dataclass(frozen=True, slots=True)
class Examples:
    """A level's examples, mapped; example n is the tokens first[n] to before first[n + 1]."""

    ids: np.ndarray[Any, Any]
    kinds: np.ndarray[Any, Any]
    first: np.ndarray[Any, Any]
    index: dict[str, Any]

    def __len__(self) -> int:
        return len(self.first) - 1


def request_of(config: Config, task: int, output: str) -> Request:
    """The task's share of a job; raises InputError for a task that has none."""
    levels = [str(level) for level in config.get("evaluate.test_levels", list)]
    tasks, target = config.get("evaluate.tasks", int), config.get("validate.target", str)
    if not 1 <= task <= tasks <= len(levels):
        raise InputError(
            f"task {task} of {tasks} has no share of {len(levels)} levels",
            "Let evaluate.tasks be at most the number of evaluate.test_levels",
        )
    choose("validate.target", [target], TARGETS)
    return Request(
        Path(config.get("evaluate.model", str)),
        tuple(levels[task - 1 :: tasks]),
        Path(config.get("examples.output_dir", str)),
        Path(output or config.get("evaluate.output_dir", str)) / f"perplexity_{task:04d}.json",
        target,
        config.get("evaluate.examples", int, 0),
    )


def open_examples(directory: Path) -> Examples:
    """Map a level's test examples; raises InputError where they are missing or cut short."""
    index = read_json(directory / INDEX, AGAIN)
    arrays = {}
    for name in ("ids", "kinds", "examples"):
        path = directory / SPLIT / f"{name}.npy"
        try:
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path} cannot be read ({error})", AGAIN) from error
    found = Examples(arrays["ids"], arrays["kinds"], arrays["examples"], index)
    if index.get("targets") != list(KINDS) or len(found.ids) != index["splits"][SPLIT]["tokens"]:
        raise InputError(f"{directory} is not what its {INDEX} says", AGAIN)
    return found


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """An object; raises InputError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error})", remedy) from error
    return dict(value)


def evaluate(request: Request) -> dict[str, Any]:
    """The figures, from the output where it is of the same model and examples."""
    data = {level: open_examples(request.examples / level) for level in request.levels}
    special = read_json(request.model / SPECIAL, "Name a model that was trained for infilling")
    for level, examples in data.items():
        if special != examples.index["special"]:
            raise InputError(
                f"{request.model} has other special tokens than {request.examples / level}",
                "Prepare the examples with the model's tokenizer",
            )
    made_from = {
        "model": sha256(request.model / "model.safetensors"),
        "examples": {level: examples.index["input_digest"] for level, examples in data.items()},
        "most": request.most,
        "target": request.target,
    }
    if request.output.is_file():
        known = read_json(request.output, "Delete it and run again")
        if known.get("made_from") == made_from:
            return known
    model = open_model(request.model)
    sums = {level: measure(model, examples, request.most) for level, examples in data.items()}
    told = {**figures(request, sums), "made_from": made_from}
    write_json(request.output, told)
    return told


def figures(request: Request, sums: dict[str, dict[str, tuple[float, int]]]) -> dict[str, Any]:
    """What the file holds. Raises InputError where a level has no token to judge by."""
    told: dict[str, Any] = {"model": str(request.model), "target": request.target}
    for name in TARGETS:
        for level, own in sums.items():
            nats, count = own[name]
            if not count:
                raise InputError(f"{request.examples / level} has no {name} token", AGAIN)
            told.setdefault(f"{name}_loss", {})[level] = nats / count
            told.setdefault(f"{name}_perplexity", {})[level] = math.exp(min(nats / count, 700.0))
            told.setdefault(f"{name}_tokens", {})[level] = count
    return {"perplexity": told[f"{request.target}_perplexity"], **told}


def open_model(directory: Path) -> Any:
    """The model in fp32, in evaluation mode, on the GPU if there is one."""
    import torch
    import transformers

    library: Any = transformers
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()
    try:
        model, report = library.AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        fact = " ".join(str(error).split())[:200]
        raise InputError(f"{directory} is no model ({fact})", "Train it first") from error
    if report["missing_keys"]:
        raise InputError(f"{directory} lacks weights", "Train it again")
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def measure(model: Any, data: Examples, most: int) -> dict[str, tuple[float, int]]:
    """Nats and tokens of each target, over the first `most` examples or all."""
    import torch

    count = min(most or len(data), len(data))
    sums = dict.fromkeys(TARGETS, (0.0, 0))
    progress = Progress(count, "items")
    with torch.inference_mode():
        for numbers in batches(data, count, model):
            ids, kinds = pad(data, numbers)
            logits = model(input_ids=torch.from_numpy(ids).to(model.device)).logits[:, :-1]
            labels = torch.from_numpy(ids[:, 1:]).to(model.device)
            nats = torch.nn.functional.cross_entropy(
                logits.flatten(0, -2).float(), labels.flatten(), reduction="none"
            )
            losses = nats.double().cpu().numpy().reshape(kinds[:, 1:].shape)
            for name, codes in OF.items():
                among = np.isin(kinds[:, 1:], codes)
                before, seen = sums[name]
                sums[name] = (before + float(losses[among].sum()), seen + int(among.sum()))
            progress.advance(len(numbers), f"test examples of {len(data)}")
    return sums


def batches(data: Examples, count: int, model: Any) -> Iterator[list[int]]:
    """The first `count` examples, those of like length together, as many as the logits allow."""
    lengths = np.diff(data.first[: count + 1])
    order = np.argsort(lengths, kind="stable")
    room = LOGIT_BYTES.get(model.device.type, LOGIT_BYTES["cpu"])
    at = 0
    while at < count:
        rows = MAX_ROWS
        while rows > 1:  # the last one of a batch is its longest
            longest = int(lengths[order[min(at + rows, count) - 1]])
            if rows * longest * model.config.vocab_size * 4 <= room:
                break
            rows //= 2
        yield order[at : at + rows].tolist()
        at += rows


def pad(
    data: Examples, numbers: list[int]
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.uint8]]]:
    """Ids and kinds of some examples, (examples, longest), filled up with 0 on the right."""
    spans = [(int(data.first[n]), int(data.first[n + 1])) for n in numbers]
    shape = (len(spans), max(stop - start for start, stop in spans))
    ids, kinds = np.zeros(shape, np.int64), np.zeros(shape, np.uint8)
    for row, (start, stop) in enumerate(spans):
        ids[row, : stop - start] = data.ids[start:stop]
        kinds[row, : stop - start] = data.kinds[start:stop]
    return ids, kinds


def run(path: Path, task: int, output: str) -> int:
    """Evaluate the task's levels and say what came out."""
    import torch

    request = request_of(load_config(path), task, output)
    try:
        told = evaluate(request)
    except (torch.OutOfMemoryError, MemoryError) as error:
        complain(InputError(f"out of memory ({error})", "Ask for more memory or a larger GPU"))
        return OUT_OF_MEMORY
    for level, value in told["perplexity"].items():
        print(f"{request.model} on {level}: {request.target} perplexity {value:.2f}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="evaluation.perplexity", description="Perplexity of a model on the levels' test texts."
    )
    parser.add_argument("--config", type=Path, required=True, help="the job's configuration")
    parser.add_argument("--task", type=int, required=True, help="the task's number, from 1")
    parser.add_argument("--output-dir", default="", help="in place of evaluate.output_dir")
    flags = parser.parse_args(argv)
    return guarded(lambda: run(flags.config, flags.task, flags.output_dir))


if __name__ == "__main__":
    sys.exit(main())
