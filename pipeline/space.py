"""What jobs leave on disk, by component: the one truth that `plan`, `doctor` and budgets use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline import recipe
from pipeline.job import Job, seen
from pipeline.shapes import at, shape_of, trained

# Bytes of text a token, the fewest that a vocabulary of some thousand entries gives.
TEXT_BYTES_A_TOKEN = 3.5
GROWTH = {"vanilla": 1.0, "stochastok": 1.1, "patok": 1.5}  # tokens, against vanilla
WEIGHT_BYTES = {"hf": 4, "nemo": 6}  # a parameter in a checkpoint: fp32; NeMo's bf16 besides
STATE_BYTES = 8  # Adam's two moments
EXPORT_BYTES = 4
ROW_BYTES = 300  # of metrics.jsonl, as the trainers write it
LOG_BYTES = 20_000  # of a task's own log: assumed


def corpora(job: Job) -> list[str]:
    """The files whose size tells a job's: the corpus, or where it is taken from on this host."""
    corpus = job.config["parameters"].get("corpus")
    if not isinstance(corpus, dict) or job.kind not in ("download", "split", "preprocess", "merge"):
        return []
    source = str(corpus["source"])
    return [str(corpus["file"]), *([] if "://" in source or "*" in source else [source])]


def corpus_bytes(job: Job, root: Path) -> int | None:
    """The size of a job's corpus as far as it can be seen from here."""
    for path in corpora(job):
        place = seen(job, root, path)
        if os.path.isfile(place):  # Path.is_file raises where a name is too long for one
            return place.stat().st_size
    return None


def parts(job: Job, corpus: int | None) -> dict[str, int | None]:
    """Bytes that a job leaves there, by what they are, within a fifth or so and rather too many;
    None where its input's size (`corpus`) is not known yet. What its study says itself under `disk`
    stands beside what follows from the configuration, or in its place where it has its name."""
    found: dict[str, int | None] = {}
    if job.kind in ("download", "split"):
        found["corpus" if job.kind == "download" else "chunks"] = corpus
    elif job.kind in ("preprocess", "merge"):
        found["token files"] = None if corpus is None else _token_bytes(job, corpus)
    elif job.kind == "export":
        found["exported weights"] = _of_weights(job, EXPORT_BYTES)
    elif job.trains:
        found.update(checkpoints(job))
        if not found:
            found["checkpoints"] = None
    found["logs"] = LOG_BYTES * job.tasks + _row_bytes(job)
    if "checkpoints" in job.disk:
        found = {name: size for name, size in found.items() if not name.startswith("checkpoints")}
    return {**found, **job.disk}


def written(job: Job, corpus: int | None) -> int | None:
    """All of it; None where a part is not known yet."""
    sizes = list(parts(job, corpus).values())
    return None if None in sizes else sum(filter(None, sizes))


def checkpoints(job: Job) -> dict[str, int]:
    """Of a training whose model is known: those that are kept and one more, since the oldest goes
    when the newest is whole. With adapters only what is trained; with NeMo the imported weights."""
    p = job.config["parameters"]
    shape, known = shape_of(p), recipe.recipe(job) if job.trains else None
    if shape is None or known is None:
        return {}
    backend = "nemo" if at(p, "train.backend", str) == "nemo" else "hf"
    adapters = trained(p, shape)
    learnt = (shape.parameters if adapters is None else adapters) * (known.kept + 1)
    found = {
        "checkpoints: weights": WEIGHT_BYTES[backend] * learnt,
        "checkpoints: optimizer": STATE_BYTES * learnt,
    }
    if backend == "nemo":
        found["imported weights"] = EXPORT_BYTES * shape.parameters
    return found


def together(sizes: Sequence[dict[str, int | None]]) -> dict[str, int]:
    """Component -> bytes of several jobs, what is not known left out."""
    total: dict[str, int] = {}
    for one in sizes:
        for name, size in one.items():
            total[name] = total.get(name, 0) + (size or 0)
    return {name: size for name, size in total.items() if size}


def _token_bytes(job: Job, corpus: int) -> int:
    p = job.config["parameters"]
    width = 2 if p["tokenizer"]["vocab_size"] < 65500 else 4
    return round(corpus / TEXT_BYTES_A_TOKEN * GROWTH[p["variant"]["name"]] * width)


def _of_weights(job: Job, each: int) -> int | None:
    shape = shape_of(job.config["parameters"])
    return each * shape.parameters if shape else None


def _row_bytes(job: Job) -> int:
    known = recipe.recipe(job) if job.trains else None
    return ROW_BYTES * (known.log_rows + known.evaluations) if known else 0
