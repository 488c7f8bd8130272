"""Turn one chunk of the corpus into Megatron's `.bin` and `.idx`, cut as the arm's variant says.

The ids of the variant are what is written. Decoding them to text and tokenising that again would
undo the variant and leave all arms the same corpus. `<prefix>.json`, written last, marks a task as
done and holds the digest of what it was made from; lines that are no documents are listed in
`<prefix>.rejects.jsonl`. Which lines those are does not depend on the variant, so all arms hold the
same documents in the same order.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from corpus.config import Config
from corpus.encode import Counts, Crew, Recipe, Reject
from corpus.errors import CorpusError, Parser, UsageError, run
from corpus.files import PendingFile, new_checksum, read_json, sha256_value, size_of, write_json
from corpus.indexed import Writer, bin_path, dtype_for, idx_path, set_prefix
from corpus.jit import cache_directory
from corpus.lines import read_batches
from corpus.progress import Progress
from corpus.split import INDEX
from corpus.tokenizer import RECORD, prepare_once, request_of
from corpus.vocabulary import load

_log = logging.getLogger(__name__)
_LINE_BYTES = 1 << 24  # a line may have, where the study does not say
_FORMAT = 2  # raised when the same input gives other ids


class Task(msgspec.Struct, frozen=True):
    """One chunk and where its output goes."""

    number: int
    count: int
    chunk: Path
    chunk_checksum: str
    lines: int
    size: int  # bytes
    prefix: Path
    tokenizer: Path
    tokenizer_digest: str
    max_reject_share: float
    max_line_bytes: int
    recipe: Recipe


def output_prefix(config: Config, number: int) -> Path:
    """`set_prefix` with the task's number: `<output_dir>/<arm>/<name>_0001`."""
    prefix = set_prefix(config)
    return prefix.with_name(f"{prefix.name}_{number:04d}")


def read_task(config: Config, number: int) -> Task:
    """Everything about task `number`, from 1. Raises CorpusError if an input is not ready."""
    directory = config.path_parameter("corpus.chunk_dir")
    index = read_json(directory / INDEX)
    if index is None:
        raise CorpusError(f"{directory / INDEX}: no such file. Run the split stage first.")
    chunks, expected = index["chunks"], config.parameter("corpus.chunks", int)
    if len(chunks) != expected:
        raise CorpusError(f"{directory} has {len(chunks)} chunks, but corpus.chunks is {expected}. "
                          "Run the split stage again.")
    if not 1 <= number <= expected:
        raise CorpusError(f"there is no task {number}. Give --task 1 to {expected}.")
    tokenizer = config.path_parameter("tokenizer.path")
    record = read_json(tokenizer / RECORD) or prepare_once(request_of(config))
    for key in ("vocab_size", "eod"):
        if record[key] != config.parameter(f"tokenizer.{key}", int):
            raise CorpusError(f"{tokenizer} was made for {key} {record[key]}, but the study says "
                              f"{config.parameter(f'tokenizer.{key}', int)}. Run the tokenizer "
                              "stage again.")
    chunk = chunks[number - 1]
    return Task(
        number, expected, directory / chunk["file"], chunk["xxh3_128"], chunk["documents"],
        chunk["bytes"], output_prefix(config, number), tokenizer,
        record["digest"], config.parameter("preprocess.max_reject_share", float, 0.0),
        config.parameter("preprocess.max_line_bytes", int, _LINE_BYTES),
        Recipe(config.parameter("variant", dict), record["vocab_size"], record["eod"],
               _seed(config), chunk["first_document"]))


def _seed(config: Config) -> int:
    seed = config.parameter("seed", int)
    if not 0 <= seed < 1 << 64:
        raise config.error("parameters.seed", f"is {seed}. Choose one from 0 to 2**64 - 1")
    return seed


def preprocess(task: Task, workers: int = 1) -> dict[str, Any]:
    """Do `task` unless it is done already; return its sidecar. The result is the same for any
    number of `workers`.

    Raises CorpusError if the chunk is not the one that was split, or if the share of rejected
    lines is above `max_reject_share`; then nothing stands under a final name.
    """
    vocabulary = load(task.tokenizer, cache_directory(task.tokenizer), task.tokenizer_digest)
    if vocabulary.about.slow:
        _log.warning("%s is encoded by its own library, some twenty times slower: %s",
                     vocabulary.path, vocabulary.about.slow)
    crew = Crew(task.recipe, vocabulary, workers)
    variant = {"name": task.recipe.variant["name"]} | crew.encoders[0].variant.describe()
    digest = _input_digest(task, variant)
    sidecar = task.prefix.with_name(task.prefix.name + ".json")
    known = read_json(sidecar)
    if known and known.get("input_digest") == digest and _whole(task.prefix, known):
        return known
    rejects_file = PendingFile(task.prefix.with_name(task.prefix.name + ".rejects.jsonl"))
    for stale in (sidecar, idx_path(task.prefix), bin_path(task.prefix), rejects_file.path):
        stale.unlink(missing_ok=True)
    with Writer(task.prefix, dtype_for(task.recipe.vocab_size)) as writer:
        rejects_file.open()
        try:
            counts, rejects = _encode_chunk(task, crew, writer, rejects_file)
            if rejects:
                rejects_file.publish()
            writer.publish()
        finally:
            rejects_file.discard()
    record = _record(task, counts, rejects, writer) | {
        "variant": variant, "encoder": vocabulary.about.slow or "kernels",
        "histogram_sha256": _histogram_digest(crew), "input_digest": digest}
    write_json(sidecar, record)
    return record


def _encode_chunk(task: Task, crew: Crew, writer: Writer,
                  rejects_file: PendingFile) -> tuple[Counts, Counter[str]]:
    counts, rejects, first = Counts(), Counter[str](), None
    digest = new_checksum()
    progress = Progress(task.lines, "documents", f"task {task.number}")
    batches = read_batches(task.chunk, task.max_line_bytes, digest)
    for encoded in crew.encode(batches):
        writer.add(encoded.ids, encoded.lengths)
        counts.add(encoded.counts)
        for reject in encoded.rejects:
            first = first or reject
            rejects[reject.reason] += 1
            rejects_file.stream.write(msgspec.json.encode(reject) + b"\n")
        progress.update(counts.documents + rejects.total(), tokens=counts.tokens)
    if digest.hexdigest() != task.chunk_checksum:
        raise CorpusError(f"{task.chunk} is not the chunk that chunks.json describes. Run the "
                          "split stage again.")
    _accept(task, rejects, first)
    progress.finish(task.lines, tokens=counts.tokens)
    return counts, rejects


def _accept(task: Task, rejects: Counter[str], first: Reject | None) -> None:
    share = rejects.total() / max(task.lines, 1)
    if first is None or share <= task.max_reject_share:
        return
    reasons = ", ".join(f"{reason}: {count}" for reason, count in rejects.most_common())
    raise CorpusError(
        f"{task.chunk}: {rejects.total()} of {task.lines} lines are no documents ({reasons}; the "
        f"first is line {first.line}: {first.excerpt[:60]!r}), above preprocess.max_reject_share "
        f"{task.max_reject_share}. Repair the corpus or raise the share.")


def _histogram_digest(crew: Crew) -> str:
    """SHA-256 of how often each id was written, as little-endian 64-bit numbers in id order."""
    return hashlib.sha256(crew.histogram().astype("<i8").tobytes()).hexdigest()


def _input_digest(task: Task, variant: dict[str, Any]) -> str:
    recipe = task.recipe
    return sha256_value({
        "format": _FORMAT, "chunk": task.chunk_checksum, "first_document": recipe.first_document,
        "tokenizer": task.tokenizer_digest, "vocab_size": recipe.vocab_size, "eod": recipe.eod,
        "variant": variant, "seed": recipe.seed, "max_reject_share": task.max_reject_share,
        "max_line_bytes": task.max_line_bytes})


def _whole(prefix: Path, record: dict[str, Any]) -> bool:
    sizes = (size_of(bin_path(prefix)), size_of(idx_path(prefix)))
    return sizes == (record["bin_bytes"], record["idx_bytes"])


def _record(task: Task, counts: Counts, rejects: Counter[str],
            writer: Writer) -> dict[str, Any]:
    done = msgspec.structs.asdict(counts)
    return {
        "version": 1, "task": task.number, "tasks": task.count, **done,
        "tokens_with_eod": writer.tokens,
        "growth": round(counts.tokens / max(counts.vanilla_tokens, 1), 6),
        "achieved_share": round(counts.achieved / max(counts.attempted, 1), 6),
        "lines": task.lines, "rejected": rejects.total(), "rejects": dict(sorted(rejects.items())),
        "dtype": writer.dtype.__name__, "eod": task.recipe.eod, "seed": task.recipe.seed,
        "vocab_size": task.recipe.vocab_size,
        "first_document": task.recipe.first_document, "chunk": task.chunk.name,
        "chunk_xxh3_128": task.chunk_checksum, "tokenizer": str(task.tokenizer),
        "tokenizer_digest": task.tokenizer_digest,
        "bin_bytes": size_of(bin_path(task.prefix)), "idx_bytes": size_of(idx_path(task.prefix)),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("numpy", "numba", "tokenizers", "sentencepiece"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _main(argv: Sequence[str] | None) -> None:
    parser = Parser(prog="corpus.preprocess", description="Tokenise one chunk for one arm.")
    parser.add_argument("--config", type=Path, required=True, help="the job's configuration")
    parser.add_argument("--task", type=int, help="number of the chunk, from 1")
    parser.add_argument("--workers", type=int, help="threads (default: preprocess.workers)")
    parser.add_argument("--chunk-dir", help="the chunks to read (default: corpus.chunk_dir)")
    parser.add_argument("--chunks", type=int, help="how many there are (default: corpus.chunks)")
    parser.add_argument("--name", help="of the files that are written (default: corpus.name)")
    flags = parser.parse_args(argv)
    config = Config.load(flags.config)
    corpus = config.parameter("corpus", dict)
    for key in ("chunk_dir", "chunks", "name"):
        if (given := getattr(flags, key)) is not None:
            corpus[key] = given
    if flags.task is None:
        raise UsageError("preprocess does one chunk at a time. Give --task N, from 1 to "
                         f"{config.parameter('corpus.chunks', int)}.")
    workers = flags.workers
    if workers is None:
        workers = config.parameter("preprocess.workers", int, 1)
    if workers < 1:
        raise UsageError(f"--workers is {workers}. Give 1 or more.")
    task = read_task(config, flags.task)
    record = preprocess(task, workers)
    print(f"{task.prefix}: {json.dumps({key: record[key] for key in _SHOWN})}")


_SHOWN = ("documents", "tokens", "growth", "attempted", "achieved", "rejected")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
