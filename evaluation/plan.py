"""What an evaluation consists of: the request for one model, and the parts that it is made of."""

import dataclasses
import functools
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.benchmarks import read_items
from evaluation.config import InputError
from evaluation.files import sha256
from evaluation.groups import GROUPS
from evaluation.models import Backend, fingerprint, model_directory
from evaluation.parts import Outcome, Part
from evaluation.tasks import Notice

if TYPE_CHECKING:
    from evaluation.heldout import HeldOut
    from evaluation.models import LanguageModel

SCORING = {
    "mcq": "lm-eval's acc_bytes: ln p(option | prompt) / UTF-8 bytes of the option; greatest wins",
    "gen": "lm-eval's exact_match: greedy to the end of the line, spaces around it left out",
    "marginal": "mcq with p(option) as the sum over its tokenisations, by importance sampling",
    "heldout": "total nats / ln 2 / UTF-8 bytes; EOD is context and is not predicted",
}
SCORING_VERSION = 2
MARGINAL = 16


@dataclass(frozen=True, slots=True)
class Request:
    """One model and what to do with it; `names` goes into metrics.json (arm, run, title).

    `tokenisations` is k of the marginal score, 0 for none. `share` is (n, of), a task of an array:
    it does benchmarks n, n + of, n + 2 of, ...; what is no benchmark counts as one more.
    """

    model: Path
    output: Path
    benchmarks: Path
    groups: list[str]
    modes: list[str]
    names: dict[str, str]
    eod: int | None = None
    heldout: "HeldOut | None" = None
    seq_length: int = 0
    backend: Backend = field(default_factory=Backend)
    tokenisations: int = MARGINAL
    seed: int = 42
    include: str = ""
    share: tuple[int, int] = (1, 1)


def plan(request: Request) -> list[Part]:
    """All parts of a request, done or not. Reads and digests every input but lm-eval's own data."""
    common = {
        "version": SCORING_VERSION,
        "lm_eval": lm_eval_version(),
        "model": fingerprint(model_directory(request.model)),
        "eod": request.eod,
        "backend": [request.backend.name, request.backend.arguments],
    }
    shares = [_benchmark_parts(request, group, common) for group in request.groups]
    others = [_boundaries_part(request, common)]
    if request.heldout is not None:
        others.insert(0, _held_out_part(request, request.heldout, common))
    return [
        dataclasses.replace(part, share=at)
        for at, parts in enumerate([*shares, others])
        for part in parts
    ]


def _benchmark_parts(request: Request, group: str, common: dict[str, Any]) -> list[Part]:
    """A benchmark's modes, and its marginal score; or one part for a task of lm-eval's library."""
    files = {mode: request.benchmarks / f"{group}_{mode}.jsonl" for mode in request.modes}
    if group not in GROUPS and not any(path.is_file() for path in files.values()):
        return [_library_part(request, group, common)]
    parts = []
    for mode, path in files.items():
        if group not in GROUPS and not path.is_file():
            continue  # a benchmark of one's own may have one mode
        items, inputs = read_items(path), {**common, path.name: sha256(path)}
        rows = len(items) * (4 if mode == "mcq" else 1)
        run = functools.partial(_score_file, (group, mode), path, items)
        parts.append(Part(f"{group}_{mode}", inputs, rows, run))
        if mode == "mcq" and request.tokenisations:
            size = request.tokenisations, request.seed
            run = functools.partial(_score_marginal, group, items, size)
            inputs = {**inputs, "tokenisations": size}
            parts.append(Part(f"{group}_marginal", inputs, rows * (1 + size[0]), run))
    return parts


def _score_file(
    key: tuple[str, str], path: Path, items: list[dict[str, Any]], model: "LanguageModel",
    notice: Notice,
) -> Outcome:  # fmt: skip
    from evaluation.scoring import labelled, records_of, run_tasks, summarise
    from evaluation.tasks import own_task

    (group, mode), task = key, own_task(path, items)
    samples, figures = run_tasks(model, {path.stem: task}, notice)
    records = [labelled(item, record) for item, record in
               zip(items, records_of(task, samples[path.stem]), strict=True)]  # fmt: skip
    metrics = {"benchmarks": {group: {mode: summarise(items, records)}},
               "lm_eval": {"results": figures}}  # fmt: skip
    return Outcome(metrics, {f"samples_{path.stem}.jsonl": records})


def _score_marginal(
    group: str, items: list[dict[str, Any]], size: tuple[int, int], model: "LanguageModel",
    notice: Notice,
) -> Outcome:  # fmt: skip
    from evaluation.scoring import score_marginal, summarise

    records = score_marginal(model, items, size, notice)
    metrics = {"marginal": {group: {"mcq": summarise(items, records)}}}
    return Outcome(metrics, {f"samples_{group}_mcq.marginal.jsonl": records})


def _library_part(request: Request, name: str, common: dict[str, Any]) -> Part:
    files = sorted(Path(request.include).rglob("*.yaml")) if request.include else []
    inputs = {**common, "task": name, "include": [sha256(path) for path in files]}
    return Part(name, inputs, 1, functools.partial(_score_library, name, request.include))


def _score_library(name: str, include: str, model: "LanguageModel", notice: Notice) -> Outcome:
    """A task, or a group of tasks, that is no benchmark file; each task is a part in its records.

    Figures that are no shares of right answers stand under `lm_eval.results` alone.
    """
    from evaluation.scoring import labelled, records_of, run_tasks, summarise
    from evaluation.tasks import library_tasks

    tasks = library_tasks(name, include)
    samples, figures = run_tasks(model, tasks, notice)
    found: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
    for key, task in tasks.items():
        mode = "mcq" if task.OUTPUT_TYPE == "multiple_choice" else "gen"
        items, records = found.setdefault(mode, ([], []))
        for sample, record in zip(samples[key], records_of(task, samples[key]), strict=False):
            item = {"id": f"{key}-{sample['doc_id']}", "group": name, "category": key}
            if mode == "mcq":
                item["options"] = task.doc_to_choice(sample["doc"])
            items.append(item)
            records.append(labelled(item, record))
    scored = {mode: pair for mode, pair in found.items() if pair[1]}
    cells = {mode: summarise(*pair) for mode, pair in scored.items()}
    metrics = {"lm_eval": {"results": figures}, "benchmarks": {name: cells} if cells else {}}
    return Outcome(metrics, {f"samples_{name}_{mode}.jsonl": pair[1]
                             for mode, pair in scored.items()})  # fmt: skip


def _held_out_part(request: Request, data: "HeldOut", common: dict[str, Any]) -> Part:
    from evaluation.heldout import count_windows, measure

    def run(model: "LanguageModel", notice: Notice) -> Outcome:
        return Outcome({"heldout": measure(model, data, request.seq_length, notice)})

    inputs = {**common, "heldout": data.digest(), "seq_length": request.seq_length}
    return Part("heldout", inputs, count_windows(data, request.seq_length), run)


def _boundaries_part(request: Request, common: dict[str, Any]) -> Part:
    from evaluation.boundaries import (
        MORPHEMES,
        load_morphemes,
        text_boundaries,
        tokenizer_boundaries,
    )

    def run(model: "LanguageModel", _: Notice) -> Outcome:
        words = load_morphemes()
        found = {"tokenizer": tokenizer_boundaries(model.tokenizer, words)}
        if data := request.heldout:
            found["vanilla_tokens"] = text_boundaries(model.tokenizer, data.vanilla, words)
            found["own_tokens"] = text_boundaries(model.tokenizer, data.own, words)
        return Outcome({"boundaries": found})

    held_out = request.heldout.digest() if request.heldout else None
    inputs = {**common, "morphemes": sha256(MORPHEMES), "heldout": held_out}
    return Part("boundaries", inputs, 0, run)


def lm_eval_version() -> str:
    """The installed version, without importing it."""
    try:
        return version("lm_eval")
    except PackageNotFoundError as error:
        raise InputError("scoring needs lm-eval, which is not installed here",
                         "pip install 'pipeline-studies[eval]'") from error  # fmt: skip
