"""What one measured process does, for benchmarks/corpus.py, which starts it.

    python -m benchmarks.corpus_jobs JOB '{"argument": ...}'

A job prints one JSON object on its last line. CPU seconds are of this process, all its threads and
ended children, user and system; `start` is what was spent before the first document was done.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from corpus.errors import require
from corpus.files import sha256_file

_BATCH = 256  # documents that the tokenizers library is given at once: memory, not speed


def cpu() -> float:
    """CPU seconds of this process so far."""
    return sum(usage.ru_utime + usage.ru_stime for usage in map(
        resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def text(file: str, size: int, seed: int) -> dict[str, Any]:
    """Write generated text."""
    from benchmarks.corpus_text import write_text

    return write_text(Path(file), size, seed)


def prepare(tokenizer: str, directory: str, corpora: list[str], eod: int) -> dict[str, Any]:
    """Put the tokenizer into `directory`; beside each corpus, `<corpus>.chunks/` with all of it and
    `<corpus>.first/` with its first document."""
    from corpus.split import split
    from corpus.tokenizer import Request, prepare
    from corpus.tokenizers import load_tokenizer

    for corpus in corpora:
        first = Path(corpus + ".first.jsonl")
        with open(corpus, "rb") as stream:
            first.write_bytes(stream.readline())
        split(Path(corpus), Path(corpus + ".chunks"), 1)
        split(first, Path(corpus + ".first"), 1)
    size = load_tokenizer(Path(tokenizer)).vocab_size
    record = prepare(Request(tokenizer, Path(directory), size, eod, Path(corpora[0])))
    return {"vocab_size": record["vocab_size"]}


def ours(first: str, config: str, workers: int) -> dict[str, Any]:
    """`corpus.preprocess`: a task of one document, which is the start, then the one to measure.

    A task opens the tokenizer's tables anew, which a peer's start-up holds; so the small task is
    done a second time, and what it costs then is taken off. `tokens` are those of the vanilla arm:
    what went in, the same for every arm and peer.
    """
    _preprocess(first, workers)
    start = cpu()
    small = _preprocess(first, workers)
    whole = _preprocess(config, workers)
    record = whole["record"]
    return {
        "start": start, "work": whole["cpu"] - small["cpu"], "opening": small["cpu"],
        "wall": whole["wall"] - small["wall"],
        "documents": record["documents"], "written_tokens": record["tokens"],
        "tokens": record["vanilla_tokens"], "rejected": record["rejected"],
        "files": _digests(whole["prefix"])}


def _preprocess(config: str, workers: int) -> dict[str, Any]:
    """Do the task of a configuration, done before or not: its record, CPU and wall seconds."""
    from corpus.config import Config
    from corpus.preprocess import preprocess, read_task

    before, clock = cpu(), time.perf_counter()
    task = read_task(Config.load(Path(config)), 1)
    shutil.rmtree(task.prefix.parent, ignore_errors=True)
    record = preprocess(task, workers)
    return {"record": record, "prefix": str(task.prefix), "cpu": cpu() - before,
            "wall": time.perf_counter() - clock}


def tokenizers(tokenizer: str, corpus: str) -> dict[str, Any]:
    """Hugging Face `tokenizers`: only the encoding is counted, not reading, parsing or writing."""
    library = require("tokenizers", "tokenizers").Tokenizer.from_file(tokenizer)
    library.encode_batch_fast(["Magandang araw."], add_special_tokens=False)
    start, spent, tokens, documents = cpu(), 0.0, 0, 0
    for batch in _batches(Path(corpus)):
        before = cpu()
        encoded = library.encode_batch_fast(batch, add_special_tokens=False)
        spent += cpu() - before
        tokens += sum(map(len, encoded))
        documents += len(batch)
    return {"start": start, "work": spent, "documents": documents, "tokens": tokens}


def _batches(corpus: Path) -> Iterator[list[str]]:
    batch: list[str] = []
    with corpus.open("rb") as stream:
        for line in stream:
            batch.append(json.loads(line)["text"])
            if len(batch) == _BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


def megatron(tokenizer: str, corpus: str, prefix: str, eod: int, vocab_size: int) -> dict[str, Any]:
    """The body of Megatron-LM's tools/preprocess_data_fast.py, with --append-eod.

    gigatoken reads and encodes the JSONL file in one call, awkward appends the EOD to all documents
    in one, and megatron-core's IndexedDatasetBuilder writes document by document, as the released
    versions do. Left out: the tokenizer's wrapper, which adds only start-up, and the process for
    each JSON key (in which gigatoken keeps to one thread, as here).
    """
    import numpy

    awkward, gigatoken = require("awkward", "awkward"), require("gigatoken", "gigatoken")
    indexed = require("megatron.core.datasets.indexed_dataset", "megatron-core")
    library = gigatoken.Tokenizer(tokenizer)
    library.encode_batch(["Magandang araw."], parallel=False)
    start = cpu()
    source = gigatoken.JsonlFileSource([corpus], field="text")
    documents = library.encode_files(source, parallel=False)
    ends = awkward.Array(numpy.full((len(documents), 1), eod, numpy.uint32))
    ended = awkward.concatenate([documents, awkward.from_regular(ends, axis=1)], axis=1)
    dtype = indexed.DType.optimal_dtype(vocab_size)
    builder = indexed.IndexedDatasetBuilder(prefix + ".bin", dtype=dtype)
    for document in ended:
        builder.add_document(document, [len(document)])
    builder.finalize(prefix + ".idx")
    spent = cpu() - start
    return {
        "start": start, "work": spent, "documents": len(documents),
        "tokens": int(awkward.count(documents)), "files": _digests(prefix)}


def _digests(prefix: str) -> dict[str, str]:
    """SHA-256 of `<prefix>.bin` and `<prefix>.idx`."""
    return {kind: sha256_file(Path(prefix + kind)) for kind in (".bin", ".idx")}


def expansion_table(tokenizer: str, cache: str, warm: bool) -> dict[str, Any]:
    """The tokenizer's tables. `warm`: `cache` holds them, and only loading them is measured.

    Cold, `table` is the arrays alone (expansions among them), from the merges and the kernels
    loaded; `load` is all of it: parsing tokenizer.json, the arrays, the check against the library.
    """
    from corpus.merges import read_merges
    from corpus.vocabulary import load, tabulate

    path, digest = Path(tokenizer), sha256_file(Path(tokenizer))
    load(path, Path(cache), digest)  # the modules and the compiled code
    if warm:
        before = cpu()
        load(path, Path(cache), digest)
        return {"load": cpu() - before}
    merges = read_merges(path)
    before = cpu()
    tabulate(merges)
    table = cpu() - before
    for kept in Path(cache).glob("*.npz"):
        kept.unlink()
    before = cpu()
    load(path, Path(cache), digest)
    return {"table": table, "load": cpu() - before}


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    job.__name__: job for job in (text, prepare, ours, tokenizers, megatron, expansion_table)}


def main() -> None:
    """Does the job that the command line names."""
    done = JOBS[sys.argv[1]](**json.loads(sys.argv[2]))
    print(json.dumps(done))


if __name__ == "__main__":
    main()
