"""Join the files of an array, P_0001, P_0002, ... into P.bin, P.idx and P.json."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from corpus.config import Config
from corpus.errors import CorpusError, Parser, UsageError, run
from corpus.files import BLOCK, read_json, sha256_value, size_of, write_json
from corpus.indexed import Reader, Writer, bin_path, idx_path, set_prefix
from corpus.progress import Progress

_SUMS = ("documents", "text_bytes", "tokens", "vanilla_tokens", "tokens_with_eod", "attempted",
         "achieved", "contractions_attempted", "contractions_achieved", "lines", "rejected")
_SAME = ("tasks", "dtype", "eod", "seed", "vocab_size", "variant", "tokenizer_digest")


def members(prefix: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The complete set of `prefix`'s parts with their sidecars, in order.

    Raises CorpusError naming the parts that are missing, or one that was made otherwise.
    """
    first = read_json(_part(prefix, 1).with_name(_part(prefix, 1).name + ".json"))
    if first is None:
        raise CorpusError(f"{_part(prefix, 1)}.json: no such file. Run the preprocess stage first.")
    found, missing = [], []
    for number in range(1, int(first["tasks"]) + 1):
        part = _part(prefix, number)
        record = read_json(part.with_name(part.name + ".json"))
        if record is None or size_of(idx_path(part)) is None or size_of(bin_path(part)) is None:
            missing.append(number)
            continue
        if differing := [key for key in _SAME if record[key] != first[key]]:
            raise CorpusError(f"{part} differs from part 1 in {', '.join(differing)}. Run the "
                              "preprocess stage again.")
        found.append((part, record))
    if missing:
        raise CorpusError(f"{prefix} lacks parts {', '.join(map(str, missing))} of "
                          f"{first['tasks']}. Run these tasks of the preprocess stage.")
    return found


def merge(prefix: Path) -> dict[str, Any]:
    """Write the joined dataset and return its sidecar; a second call changes nothing."""
    parts = members(prefix)
    digest = sha256_value([record["input_digest"] for _, record in parts])
    sidecar = prefix.with_name(prefix.name + ".json")
    known = read_json(sidecar)
    if (known and known.get("input_digest") == digest
            and size_of(bin_path(prefix)) == known["bin_bytes"]
            and size_of(idx_path(prefix)) == known["idx_bytes"]):
        return known
    sidecar.unlink(missing_ok=True)
    progress = Progress(sum(record["tokens_with_eod"] for _, record in parts), "tokens", "merging")
    with Writer(prefix, Reader(parts[0][0]).dtype) as writer:
        for part, _ in parts:
            reader = Reader(part)
            nothing = np.zeros(0, np.int32)
            for start in range(0, len(reader.ids), BLOCK):
                writer.add(reader.ids[start : start + BLOCK], nothing)
                progress.update(writer.tokens)
            writer.add(nothing, reader.lengths)
        writer.publish()
    progress.finish(writer.tokens)
    first = parts[0][1]
    record = {"version": 1, **{key: first[key] for key in _SAME},
              **{key: sum(part[key] for _, part in parts) for key in _SUMS},
              "tokenizer": first["tokenizer"],
              "rejects": dict(sorted(sum((Counter(part["rejects"]) for _, part in parts),
                                         Counter()).items())),
              "bin_bytes": size_of(bin_path(prefix)), "idx_bytes": size_of(idx_path(prefix)),
              "input_digest": digest}
    write_json(sidecar, record)
    return record


def _part(prefix: Path, number: int) -> Path:
    return prefix.with_name(f"{prefix.name}_{number:04d}")


def _main(argv: Sequence[str] | None) -> None:
    parser = Parser(prog="corpus.merge", description="Join P_0001 ... into P.bin and P.idx.")
    parser.add_argument("--config", type=Path, help="the job's configuration")
    parser.add_argument("--prefix", type=Path, help="P, without a suffix")
    flags = parser.parse_args(argv)
    if (flags.config is None) == (flags.prefix is None):
        raise UsageError("give --config or --prefix P.")
    prefix = flags.prefix or set_prefix(Config.load(flags.config))
    record = merge(prefix)
    print(f"{prefix}: {record['documents']} documents, {record['tokens_with_eod']} ids")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
