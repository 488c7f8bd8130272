"""The rows of benchmarks/corpus.py: which processes run, in which order, and what is divided."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.corpus_report import Figure, cost
from corpus.errors import CorpusError

ROOT = Path(__file__).resolve().parents[1]
ARMS: dict[str, dict[str, Any]] = {
    "vanilla": {"name": "vanilla"},
    "stochastok": {"name": "stochastok", "expand_prop": 0.1},
    "patok": {"name": "patok", "affix_dir": str(ROOT / "data" / "affixes")},
}
ROWS = ("table", *ARMS, "start", "workers")
FAST, MEGATRON = "encode_batch_fast", "Megatron fast"
_MANY_ROUNDS = 64  # MB; --scale measures larger inputs once
Runs = dict[str, list[dict[str, Any]]]


class Text(NamedTuple):
    """A corpus to measure on."""

    name: str
    path: Path
    rounds: int


class Bench:
    """Runs jobs, with caches and outputs in `folder`."""

    def __init__(self, folder: Path, tokenizer: Path, flags: Namespace) -> None:
        self.folder, self.tokenizer, self.flags = folder, tokenizer, flags
        self.vocab_size = 0
        self.environment = os.environ | {
            "PIPELINE_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(ROOT),
            "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

    def command(self, *argv: str) -> dict[str, Any]:
        """Run Python with `argv`: wall and CPU seconds, peak memory in bytes, and what it printed.

        Raises CorpusError with the last lines of its stderr where it fails.
        """
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            before = time.perf_counter()
            process = subprocess.Popen([sys.executable, *argv], cwd=ROOT, env=self.environment,
                                       stdout=out, stderr=err)
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - before
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            printed = out.read().decode()
            if process.returncode:
                raise CorpusError(f"{' '.join(argv)[:200]} ended with {process.returncode}: "
                                  f"{err.read().decode()[-2000:]} Correct that and run again.")
        # Linux counts in KiB. It starts from the memory of the process that forked, which is why
        # this one imports no numpy.
        return {"process_wall": wall, "process_cpu": usage.ru_utime + usage.ru_stime,
                "peak": usage.ru_maxrss * 1024, "printed": printed}

    def job(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Do a job of corpus_jobs.py in a process of its own; its answer, and what it took."""
        done = self.command("-m", "benchmarks.corpus_jobs", name, json.dumps(arguments))
        answer: dict[str, Any] = json.loads(done.pop("printed").splitlines()[-1])
        return done | answer

    def generate(self, size: float, seed: int) -> Path:
        """A text of `size` MB, made unless it is in the folder."""
        path = self.folder / f"generated-{size:g}MB-seed{seed}.jsonl"
        if not path.exists():
            self.say(f"generating {size:g} MB")
            self.job("text", file=str(path), size=int(size * 1e6), seed=seed)
        return path

    def prepare(self, texts: Sequence[Path]) -> None:
        """Tokenizer, chunks and configurations."""
        self.say("preparing tokenizer and chunks")
        self.vocab_size = self.job(
            "prepare", tokenizer=str(self.tokenizer), directory=str(self.folder / "tokenizer"),
            corpora=[str(path) for path in texts], eod=self.flags.eod)["vocab_size"]

    def config(self, text: Path, arm: str, kind: str, lane: str = "") -> Path:
        """A job's configuration for all of `text` (`chunks`) or its first document (`first`).

        Jobs that run at the same time need a `lane` each, of outputs.
        """
        parameters = {
            "seed": 42, "variant": ARMS[arm],
            "corpus": {"file": str(text), "chunk_dir": f"{text}.{kind}", "chunks": 1, "name": kind},
            "tokenizer": {"source": str(self.tokenizer), "path": str(self.folder / "tokenizer"),
                          "vocab_size": self.vocab_size, "eod": self.flags.eod},
            "preprocess": {"output_dir": str(self.folder / f"out{lane}" / kind), "workers": 1,
                           "max_reject_share": 1.0}}
        path = self.folder / f"{arm}-{kind}{lane}.yaml"
        path.write_text(json.dumps({"job": {"arm": arm}, "parameters": parameters}))  # is YAML too
        return path

    def ours(self, text: Path, arm: str, workers: int = 1, lane: str = "") -> dict[str, Any]:
        """`corpus.preprocess` on all of `text`."""
        done = self.job("ours", first=str(self.config(text, arm, "first", lane)),
                        config=str(self.config(text, arm, "chunks", lane)), workers=workers)
        if done["work"] <= 0:
            raise CorpusError(f"{text} is too small: encoding it takes no time that can be told "
                              "from opening the tokenizer. Give a text of 1 MB or more.")
        return done

    def peer(self, name: str, text: Path) -> dict[str, Any]:
        """A peer on all of `text`."""
        common = {"tokenizer": str(self.tokenizer), "corpus": str(text)}
        if name == FAST:
            return self.job("tokenizers", **common)
        return self.job("megatron", **common, prefix=str(self.folder / "megatron"),
                        eod=self.flags.eod, vocab_size=self.vocab_size)

    def first_document(self, text: Path, arm: str) -> dict[str, Any]:
        """The command line on one document, from the start of the process to its end."""
        shutil.rmtree(self.folder / "out" / "first", ignore_errors=True)
        return self.command("-m", "corpus.preprocess", "--task", "1", "--workers", "1",
                            "--config", str(self.config(text, arm, "first")))

    def warm(self, text: Path, arms: Sequence[str]) -> dict[str, Any]:
        """Fill empty caches for `arms`; what vanilla, always the first, took is a cold start."""
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        self.say("filling the caches")
        cold, *_ = [self.first_document(text, arm) for arm in dict.fromkeys(["vanilla", *arms])]
        return cold

    def say(self, what: str) -> None:
        """Tell on stderr what is being done."""
        print(f"[{time.strftime('%H:%M:%S')}] {what}", file=sys.stderr, flush=True)


def expansion_table(bench: Bench, rounds: int) -> list[Figure]:
    """The table of the tokenizer: built, and from cache."""
    found = defaultdict(list)
    for turn in range(rounds):
        bench.say(f"table, round {turn + 1}")
        cache = str(bench.folder / "table-cache")
        cold = bench.job("expansion_table", tokenizer=str(bench.tokenizer), cache=cache, warm=False)
        warm = bench.job("expansion_table", tokenizer=str(bench.tokenizer), cache=cache, warm=True)
        found["table"].append(cold["table"])
        found["load"].append(cold["load"])
        found["warm"].append(warm["load"])
    return [Figure("table, built", "", found["table"], "s"),
            Figure("table, from cache", "", found["warm"], "s"),
            Figure("all tables, from the file", "", found["load"], "s", "parsing, table and check")]


def compare(bench: Bench, text: Text, arms: Sequence[str], peers: Sequence[str]) -> Runs:
    """All rounds of ours and the peers on `text`; every other round goes backwards."""
    runs: Runs = defaultdict(list)
    # A peer stands between two arms of ours, so that what is compared ran close together.
    names = [name for pair in zip_longest(arms, peers) for name in pair if name]
    for turn in range(text.rounds):
        for name in names[::-1] if turn % 2 else names:
            bench.say(f"{text.name}, round {turn + 1}: {name}")
            done = bench.ours(text.path, name) if name in ARMS else bench.peer(name, text.path)
            runs[name].append(done)
    return {name: runs[name] for name in (*arms, *peers)}


def ratios(runs: Runs, text: Text) -> list[Figure]:
    """CPU seconds of peers over ours, round by round, and whether they did the same."""
    figures = []
    for arm in ARMS:
        for peer in (FAST, MEGATRON) if arm == "vanilla" else (FAST,):
            if arm not in runs or peer not in runs:
                continue
            pairs = list(zip(runs[peer], runs[arm], strict=True))
            what, key = "SHA-256 of .bin and .idx", "files"
            if peer == FAST:
                what, key = "number of tokens", "tokens"
            same = all(theirs[key] == own[key] for theirs, own in pairs)
            figures.append(Figure(
                f"{arm} / {peer}", text.name,
                [theirs["work"] / own["work"] for theirs, own in pairs], "x",
                f"{what} {'identical' if same else 'DIFFER'}"))
    return figures


def start(bench: Bench, text: Text, rounds: int, cold: dict[str, Any]) -> list[Figure]:
    """From the start of the process to the end of its only document, caches warm; and cold."""
    found = defaultdict(list)
    for turn in range(rounds):
        bench.say(f"start, round {turn + 1}")
        for arm in ARMS:
            done = bench.first_document(text.path, arm)
            found[arm].append(done["process_cpu"])
            found[arm + " wall"].append(done["process_wall"])
    figures = [Figure(f"start, {arm}", "", found[arm], "s",
                      f"CPU; wall {min(found[arm + ' wall']):.2f} s at best") for arm in ARMS]
    return [*figures, Figure("start, caches cold", "", [cold["process_cpu"]], "s",
                             f"CPU, vanilla, once; wall {cold['process_wall']:.2f} s")]


def workers(bench: Bench, text: Text, cores: list[int]) -> list[Figure]:
    """Wall seconds of one worker over two; and what two processes at once gain, which share nothing
    but the machine: cores that share caches or a clock do not give two."""
    if len(cores) < 2:
        bench.say("two workers / one is left out: this process may use one core only")
        return []
    os.sched_setaffinity(0, cores[-2:])
    load, inner, whole, ceiling = os.getloadavg()[0], [], [], []
    for turn in range(text.rounds):
        bench.say(f"workers, round {turn + 1}; load {load:.2f}")
        one, two = (bench.ours(text.path, "vanilla", count) for count in (1, 2))
        inner.append(one["wall"] / two["wall"])
        whole.append(one["process_wall"] / two["process_wall"])
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(bench.ours, text.path, "vanilla", 1, lane) for lane in "ab"]
        ceiling.append(2 * one["wall"] / max(done.result()["wall"] for done in both))
    os.sched_setaffinity(0, cores[-1:])
    return [Figure("two workers / one", text.name, inner, "x",
                   f"wall; load before {load:.2f} on {os.cpu_count()} cores"),
            Figure("two workers / one, whole process", text.name, whole, "x", "wall"),
            Figure("two processes / one", text.name, ceiling, "x", "wall; what the machine gives")]


def scale(bench: Bench, arms: Sequence[str]) -> list[dict[str, Any]]:
    """Rate, memory and cost as the input grows; each size is a text of its own seed."""
    points = []
    for number, size in enumerate(bench.flags.sizes):
        path = bench.generate(size, bench.flags.seed + 1 + number)
        bench.prepare([path])
        if number == 0:
            bench.warm(path, arms)
        rounds = bench.flags.rounds if size <= _MANY_ROUNDS else 1
        for arm, runs in compare(bench, Text(f"{size:g} MB", path, rounds), arms, []).items():
            best = sorted(runs, key=lambda one: one["start"] + one["work"])[len(runs) // 2]
            points.append({
                "mb": size, "arm": arm, "tokens": best["tokens"], "peak": best["peak"],
                "rate": best["tokens"] / best["work"],
                "rate_with_start": best["tokens"] / (best["start"] + best["work"]),
                "usd_per_million": cost(best, bench.flags.price), "runs": runs})
        for left in bench.folder.glob(path.name + "*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    return points
