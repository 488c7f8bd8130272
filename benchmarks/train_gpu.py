"""Our trainer against transformers' own, on one device: one run, one table.

    python benchmarks/train_gpu.py                      Gemma 3 1B's dimensions, on a GPU
    python benchmarks/train_gpu.py --rows micro loss    some groups of rows only
    python benchmarks/train_gpu.py --ladder             the nine-stage study's lengths, 64 to 2,048
    python benchmarks/train_gpu.py --device cpu --tiny  a minute on a CPU, to see that all rows run

Random weights, packed text of random ids, an update of 32 sequences by accumulation. Each row is a
process of its own, so that none inherits another's memory. Utilisation is model operations (PaLM,
arXiv:2204.02311, appendix B) a second, held against a matrix product that the same run measures.
`pip install accelerate` brings transformers' Trainer, without which its rows say `absent`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from importlib import util
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import train_rows

GIB = 1 << 30
Row = dict[str, Any]
OPTIONS: dict[str, Row] = {
    "recomputed": {"activation_checkpointing": True},
    "compiled": {"compile": True},
    "no resets at a document's end": {"reset_position_ids": False, "reset_attention_mask": False},
    "no resets, compiled": {"reset_position_ids": False, "reset_attention_mask": False}
    | {"compile": True},
}
# Trainer has fused AdamW, bf16, TF32, pinned memory and workers in all rows: these come on top.
THEIRS: dict[str, Row] = {
    "": {},
    "compiled": {"torch_compile": True},
    "liger": {"use_liger_kernel": True},
    "liger, compiled": {"use_liger_kernel": True, "torch_compile": True},
    "recomputed": {"gradient_checkpointing": True},
}
LADDER = ((64, 256), (128, 128), (256, 64), (512, 32), (768, 21), (1024, 16), (1536, 10), (2048, 8))
GROUPS = ("micro", "loss", "options", "trainer", "nemo")
HEADS = ("program", "options", "batch", "loss", "tokens/s", "peak GiB", "utilisation",
         "of data sheet", "waits for data", "x Trainer")  # fmt: skip


def cases(groups: list[str], tiny: bool) -> list[Row]:
    """What is to be measured, each a case for train_rows."""
    sweep, at = ((1, 2), 2) if tiny else ((1, 2, 4, 8), 2)
    common = {"global": 4, "warm": 1, "steps": 2} if tiny else {"global": 32, "warm": 2, "steps": 4}
    found: list[Row] = []

    def add(group: str, program: str, name: str, micro: int, options: Row) -> None:
        if group in groups:
            one = {"program": program, "name": name, "micro": micro, "options": options}
            found.append({**common, **one})

    for micro in sweep:
        add("micro", "ours", "", micro, {})
    for kind in ("plain", "chunked", "liger", "cce"):
        add("loss", "ours", f"loss {kind}", at, {"loss": kind})
    for name, options in OPTIONS.items():
        add("options", "ours", name, at, options)
    for name, options in THEIRS.items():
        for micro in sweep[1:] if name else sweep:
            add("trainer", "Trainer", name, micro, options)
    if "nemo" in groups:
        found.append({"program": "NeMo", "name": "", "micro": at, "options": {}, **common})
    return found


def ladder(tiny: bool) -> list[Row]:
    """The stages of studies/wiki-curriculum.yaml: GPT-2's smallest, an update in one micro-batch
    of each length; of the longest also validation, whose batch is twice as large."""
    common = {"program": "ours", "options": {}, "warm": 2, "steps": 10, "shape": "gpt2"}
    if tiny:
        common |= {"warm": 1, "steps": 2}
    found = []
    for length, batch in LADDER:
        length, batch = (length // 16, max(batch // 4, 1)) if tiny else (length, batch)
        one = {"name": f"{length:,} tokens", "length": length, "global": batch, "micro": batch}
        found.append({**common, **one})
    looks = {"name": f"{length:,} tokens, validation", "validation": 4 if tiny else 16}
    return [*found, {**found[-1], **looks}]


def absent(case: Row) -> str:
    """Why a case cannot be measured here, or where it is measured instead; empty when it can."""
    if case["program"] == "NeMo":
        if not util.find_spec("nemo"):
            return "absent: nemo_toolkit is not installed"
        return "not measured here: training/nemo/run_cpt.py writes its own rows"
    if case["program"] == "Trainer" and not util.find_spec("accelerate"):
        return "absent: accelerate is not installed"
    if case["options"].get("use_liger_kernel") and not util.find_spec("liger_kernel"):
        return "absent: liger-kernel is not installed"
    return ""


def child(case: Row, folder: Path, tiny: bool, device: str) -> Row:
    """A case's measurements, or `failed` with the reason."""
    words = [json.dumps(case), str(folder), device, *(["--tiny"] if tiny else [])]
    done = subprocess.run(
        [sys.executable, __file__, "--one", *words], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
    said = next((line for line in lines if line.startswith("error: ")), lines[-1])
    memory = "OutOfMemory" in said or "out of memory" in said
    return {"failed": "out of memory" if memory else said.removeprefix("error: ")[:160]}


def figures(row: Row, rate: Row) -> Row:
    """Tokens a second, GiB and the two utilisations of a row that was measured."""
    speed = row["tokens"] / row["seconds"]
    work = speed * row["flops"]
    sheet = rate["sheet"]
    return {
        "speed": speed,
        "gib": row["bytes"] / GIB,
        "utilisation": work / rate["rate"],
        "sheet": work / sheet if sheet else None,
    }


def best(rows: list[Row], rate: Row, program: str) -> Row | None:
    """The fastest row of a program, with its figures."""
    found = [
        {**row, **figures(row, rate)}
        for row in rows
        if row["program"] == program and "seconds" in row
    ]
    return max(found, key=lambda row: row["speed"], default=None)


def line(row: Row, rate: Row, reference: Row | None) -> str:
    """One line of the table."""
    head = [row["program"], row["name"], f"{row['micro']} x {row['global'] // row['micro']}"]
    if "seconds" not in row:
        cells = [*head, row["failed"], *[""] * (len(HEADS) - len(head) - 1)]
        return f"| {' | '.join(cells)} |"
    found = figures(row, rate)
    cells = [
        *head, row["loss_kind"], f"{found['speed']:,.0f}", f"{found['gib']:.2f}",
        f"{found['utilisation']:.1%}",
        "" if found["sheet"] is None else f"{found['sheet']:.1%}",
        f"{row['waited']:.2%}" if "waited" in row else "",
        f"{found['speed'] / reference['speed']:.2f}" if reference else "",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def table(rows: list[Row], rate: Row) -> str:
    """All rows, under the rate that they are held against."""
    reference = best(rows, rate, "Trainer")
    reached = f"matrix product {rate['rate'] / 1e12:.4g} TFLOP/s"
    told = f"{rate['device']}, torch {rate['torch']}, {reached}"
    lines = [told, "", f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    return "\n".join([*lines, *(line(row, rate, reference) for row in rows)])


def aims(rows: list[Row], rate: Row) -> list[str]:
    """What was hoped for, and what came: against Trainer's best, the matrix product and 40 GB."""
    ours, theirs = best(rows, rate, "ours"), best(rows, rate, "Trainer")
    said = []
    if ours and theirs:
        said.append(f"{ours['speed'] / theirs['speed']:.2f} of Trainer's best tokens/s; aim 1.3")
    if ours:
        said.append(f"{ours['utilisation']:.1%} of the measured matrix product; aim 50%")
    at_two = [
        row["bytes"] for row in rows
        if row["program"] == "ours" and row["micro"] == 2 and not row["name"] and "bytes" in row
    ]  # fmt: skip
    if at_two:
        said.append(f"{at_two[0] / 1e9:.1f} GB at micro-batch 2; aim below 40")
    return said


def main(argv: list[str]) -> None:
    """Measure and print; `--results` keeps rows, so that a long run may be cut in parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a model of 2 layers, for a CPU")
    parser.add_argument("--rows", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--ladder", action="store_true", help="lengths of a curriculum, no --rows")
    parser.add_argument("--results", type=Path, help="JSON lines: kept, and added to the table")
    args = parser.parse_args(argv)
    kept = args.results.read_text().splitlines() if args.results and args.results.exists() else []
    rows: list[Row] = [json.loads(text) for text in kept]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train_rows.write_corpus(folder, train_rows.size_of(args.ladder, args.tiny))
        rate = child({"program": "rate"}, folder, args.tiny, args.device)
        if "failed" in rate:
            sys.exit(f"error: the matrix product failed: {rate['failed']}")
        if args.device == "cuda" and rate["device"] == "CPU":
            sys.exit("error: torch sees no GPU. Say --device cpu --tiny, or run where one is")
        for case in ladder(args.tiny) if args.ladder else cases(args.rows, args.tiny):
            why = absent(case)
            found = {"failed": why} if why else child(case, folder, args.tiny, args.device)
            rows.append({**case, **found})
            print(line(rows[-1], rate, None), file=sys.stderr, flush=True)
            if args.results:
                with args.results.open("a") as stream:
                    stream.write(json.dumps(rows[-1]) + "\n")
    print(table(rows, rate))
    for said in [] if args.tiny or args.ladder else aims(rows, rate):
        print(said)


def one(argv: list[str]) -> None:
    """In the child: measure a case and print it."""
    from training.contract import ProgramError

    case, folder, device, *tiny = argv
    size = train_rows.size_of(json.loads(case).get("shape") == "gpt2", bool(tiny))
    try:
        print(json.dumps(train_rows.measure(json.loads(case), Path(folder), size, device)))
    except ProgramError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2:])
    else:
        main(sys.argv[1:])
