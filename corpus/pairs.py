"""Pairs of prompt and response from tables, as JSON lines, one file a part.

    python -m corpus.pairs --config CONFIG

reads `parameters.data`: `sources` (for each part its CSV, TSV or JSONL files, in order), the names
`prompt_column` and `response_column`, and `output_dir`. Space is made single, as the code of the
first paper on such data does; rows without a prompt or a response and repeated pairs are dropped,
and from the first part, which is for training, every pair that another part holds. `pairs.json`
with counts and digests is written last.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from corpus.config import Config
from corpus.errors import CorpusError, Parser, run
from corpus.files import read_json, sha256_file, write_json
from corpus.rows import placed_rows, write_rows

INDEX = "pairs.json"
Pair = tuple[str, str]
_TABLES = {".csv": ",", ".tsv": "\t"}


def read_table(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each row of a CSV, TSV or JSONL file with the place that an error can name."""
    delimiter = _TABLES.get(path.suffix)
    if not delimiter:
        yield from placed_rows(path)
        return
    csv.field_size_limit(1 << 24)
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, delimiter=delimiter)
        try:
            for row in reader:
                yield f"{path}:{reader.line_num}", row
        except UnicodeDecodeError as fault:
            raise CorpusError(f"{path} is not UTF-8 ({fault.reason}). Convert it.") from fault
        except csv.Error as fault:
            raise CorpusError(f"{path}:{reader.line_num} is no row of a table ({fault}). Repair "
                              "it.") from fault


def single_spaced(value: Any) -> str:
    """A cell's text; nothing for an empty one."""
    return " ".join(str(value or "").split())


def read_pairs(paths: Sequence[Path], prompt: str, response: str) -> tuple[list[Pair], int]:
    """The pairs of some files in order, and how many rows were dropped as empty or repeated."""
    pairs: dict[Pair, None] = {}
    rows = 0
    for path in paths:
        for where, row in read_table(path):
            if missing := [name for name in (prompt, response) if name not in row]:
                raise CorpusError(f"{where} has no column {missing[0]}, only "
                                  f"{', '.join(map(str, row))}. Correct data.prompt_column or "
                                  "data.response_column.")
            rows += 1
            pair = single_spaced(row[prompt]), single_spaced(row[response])
            if all(pair):
                pairs[pair] = None
    return list(pairs), rows - len(pairs)


def prepare(sources: Mapping[str, Sequence[Path]], columns: Pair, target: Path) -> dict[str, Any]:
    """Write `target`/<part>.jsonl for each part, then pairs.json; returns what that holds.

    A second call with the same files does nothing.
    """
    made_of = {
        "columns": list(columns),
        "sources": {part: {str(path): sha256_file(path) for path in paths}
                    for part, paths in sources.items()},
    }  # fmt: skip
    known = read_json(target / INDEX)
    if known and {key: known.get(key) for key in made_of} == made_of:
        return known
    parts = {part: read_pairs(paths, *columns) for part, paths in sources.items()}
    first = next(iter(parts))
    elsewhere = {pair for part, (pairs, _) in parts.items() if part != first for pair in pairs}
    counts: dict[str, Any] = {}
    for part, (pairs, dropped) in parts.items():
        kept = [pair for pair in pairs if part != first or pair not in elsewhere]
        if not kept:
            raise CorpusError(f"the part {part} has no pair left. Look at its files.")
        write_rows(target / f"{part}.jsonl",
                   ({"prompt": prompt, "response": response} for prompt, response in kept))
        counts[part] = {"pairs": len(kept), "dropped": dropped, "elsewhere": len(pairs) - len(kept)}
    facts = {**made_of, "parts": counts}
    write_json(target / INDEX, facts)
    return facts


def sources_of(config: Config) -> dict[str, list[Path]]:
    """The files of each part; CorpusError unless they are lists of names."""
    given = config.parameter("data.sources", dict)
    for part, names in given.items():
        if not (isinstance(names, list) and names and all(isinstance(n, str) for n in names)):
            raise config.error(f"data.sources.{part}", f"is {names!r}, not a list of files")
    return {part: [Path(name) for name in names] for part, names in given.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare the pairs that a configuration names."""
    parser = Parser(description="Pairs of prompt and response from tables.")
    parser.add_argument("--config", type=Path, required=True)
    config = Config.load(parser.parse_args(argv).config)
    columns = (config.parameter("data.prompt_column", str, "prompt"),
               config.parameter("data.response_column", str, "response"))  # fmt: skip
    facts = prepare(sources_of(config), columns, config.path_parameter("data.output_dir"))
    for part, counts in facts["parts"].items():
        print(f"{part}: {counts['pairs']} pairs, {counts['dropped']} empty or repeated, "
              f"{counts['elsewhere']} in another part")


if __name__ == "__main__":
    sys.exit(run(main))
