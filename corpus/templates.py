"""Find responses that were written to a template: by patterns, and by what many of them share.

A response is one of a template where

- `pattern`: a regular expression of the study is found in it ("This A1-level text shows ...");
- `opening`: its first words are those of too many others (`max_opening_share` of all responses, and
  at least `min_repeats`);
- `skeleton`: too many of its words (`max_shared`) lie in n-grams that stand in at least
  `min_repeats` responses: a text with slots, or a copy;
- `empty`: there is nothing in it.

For openings and skeletons, levels, numbers and words between quotation marks are masked first:
they are what slots hold. Responses that are shorter than the opening are judged by pattern alone,
as are those that humans wrote, if a row says `origin: authentic`.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpus.config import Config
from corpus.errors import CorpusError, Parser, require, run
from corpus.files import sha256_file, write_json
from corpus.rows import Row, read_rows, write_rows

RULES = ("empty", "pattern", "opening", "skeleton")
_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|«[^»]*»|\*\*[^*]+\*\*")
_MASKED = re.compile(r"<x>|\w+")
_LEVEL = re.compile(r"[abc][12]|\d+")
_SHOWN = 10  # openings in the figures

Hashes = NDArray[np.uint64]  # (n-grams,)


@dataclass(frozen=True)
class Limits:
    """From when on something is a template: see the head of this file."""

    patterns: tuple[str, ...]
    opening_words: int = 8
    max_opening_share: float = 0.01
    ngram: int = 8
    max_shared: float = 0.5
    min_repeats: int = 3

    def compiled(self) -> list[re.Pattern[str]]:
        """The patterns; CorpusError for one that is no regular expression."""
        found = []
        for pattern in self.patterns:
            try:
                found.append(re.compile(pattern, re.IGNORECASE))
            except re.error as fault:
                raise CorpusError(f"templates.patterns: {pattern!r} is no regular expression "
                                  f"({fault}). Correct it in the study.") from fault
        return found


def masked_words(text: str) -> list[str]:
    """The words of a text in small letters; what slots hold became `<x>`."""
    words = _MASKED.findall(_QUOTED.sub(" <x> ", text).lower())
    return ["<x>" if _LEVEL.fullmatch(word) else word for word in words]


def ngram_hashes(words: Sequence[str], n: int) -> Hashes:
    """XXH3-64 of each n-gram, in order; empty where there are fewer words."""
    digest = require("xxhash", "xxhash").xxh3_64_intdigest
    return np.array([digest(" ".join(words[i:i + n]).encode())
                     for i in range(len(words) - n + 1)], np.uint64)


def shared_share(hashes: Hashes, repeated: Hashes, words: int, n: int) -> float:
    """The share of `words` words that lie in one of the `repeated` (sorted) n-grams."""
    if not len(hashes) or not len(repeated):
        return 0.0
    at = np.minimum(np.searchsorted(repeated, hashes), len(repeated) - 1)
    covered = np.zeros(words, bool)
    for start in np.flatnonzero(repeated[at] == hashes):
        covered[start:start + n] = True
    return float(covered.mean())


def detect(rows: Sequence[Row], limits: Limits) -> tuple[list[Row], dict[str, Any]]:
    """The rows that are templates, each with its `rule` and `evidence`, and the figures."""
    patterns = limits.compiled()
    words = [masked_words(row["response"]) for row in rows]
    judged = [row.get("origin") != "authentic" and len(own) >= limits.opening_words
              for row, own in zip(rows, words, strict=True)]
    openings = Counter(_opening(own, limits) for own, ok in zip(words, judged, strict=True) if ok)
    most = max(limits.max_opening_share * len(rows), limits.min_repeats - 1)
    hashes = [ngram_hashes(own, limits.ngram) if ok else np.zeros(0, np.uint64)
              for own, ok in zip(words, judged, strict=True)]
    repeated = repeated_ngrams(hashes, limits.min_repeats)
    found: list[Row] = []
    for row, own, ok, grams in zip(rows, words, judged, hashes, strict=True):
        shared = shared_share(grams, repeated, len(own), limits.ngram)
        opening = _opening(own, limits)
        if not row["response"].strip():
            rule, evidence = "empty", ""
        elif hit := next((m for p in patterns if (m := p.search(row["response"]))), None):
            rule, evidence = "pattern", hit[0]
        elif ok and openings[opening] > most:
            rule, evidence = "opening", f"{openings[opening]} begin: {opening}"
        elif shared >= limits.max_shared:
            rule, evidence = "skeleton", f"{100 * shared:.0f} % in shared n-grams"
        else:
            continue
        found.append({"id": row["id"], "level": row["level"], "rule": rule, "evidence": evidence})
    return found, _figures(rows, found, openings, hashes, repeated)


def repeated_ngrams(hashes: Iterable[Hashes], least: int) -> Hashes:
    """The n-grams, sorted, that stand in at least `least` responses; each counts once in one."""
    own = [np.unique(one) for one in hashes]
    every, counts = np.unique(np.concatenate([*own, np.zeros(0, np.uint64)]), return_counts=True)
    repeated: Hashes = every[counts >= least]
    return repeated


def _opening(words: Sequence[str], limits: Limits) -> str:
    return " ".join(words[:limits.opening_words])


def _figures(
    rows: Sequence[Row], found: Sequence[Row], openings: Counter[str],
    hashes: Sequence[Hashes], repeated: Hashes,
) -> dict[str, Any]:
    grams = sum(map(len, hashes))
    shared = sum(int(np.isin(one, repeated).sum()) for one in hashes)
    rules = Counter(row["rule"] for row in found)
    return {
        "version": 1,
        "responses": len(rows),
        "templates": len(found),
        "share": len(found) / max(1, len(rows)),
        "rules": {rule: rules[rule] for rule in RULES},
        "levels": dict(sorted(Counter(row["level"] for row in found).items())),
        "repeated_ngram_share": shared / max(1, grams),
        "distinct_opening_share": len(openings) / max(1, openings.total()),
        "openings": [{"opening": text, "responses": count}
                     for text, count in openings.most_common(_SHOWN) if count > 1],
    }


def response_files(named: Path) -> list[Path]:
    """A JSONL file, or those of a folder whose names begin with `responses_`."""
    if not named.is_dir():
        return [named]
    if not (found := sorted(named.glob("responses_*.jsonl"))):
        raise CorpusError(f"{named} holds no responses_*.jsonl. Run the generation first.")
    return found


def _main(argv: Sequence[str] | None) -> None:
    parser = Parser(prog="corpus.templates", description="Find responses made to a template.")
    parser.add_argument("--config", type=Path, required=True,
                        help="the job's configuration, with a section templates")
    parser.add_argument("--input", type=Path, required=True,
                        help="JSONL with id, level and response, or a folder of responses_*.jsonl")
    parser.add_argument("--output", type=Path, required=True,
                        help="JSON for the figures; the rows go beside it, as .jsonl")
    flags = parser.parse_args(argv)
    limits = _limits(Config.load(flags.config))
    files = response_files(flags.input)
    rows = [row for path in files for row in read_rows(path, ("id", "level", "response"))]
    found, figures = detect(rows, limits)
    write_rows(flags.output.with_suffix(".jsonl"), found)
    write_json(flags.output, figures | {"input_sha256": {p.name: sha256_file(p) for p in files}})
    told = ", ".join(f"{rule} {count}" for rule, count in figures["rules"].items() if count)
    print(f"{flags.output}: {len(found)} of {len(rows)} responses are templates"
          + (f" ({told})" if told else ""))


def _limits(config: Config) -> Limits:
    patterns = config.parameter("templates.patterns", list)
    plain = Limits(())
    return Limits(
        tuple(map(str, patterns)),
        config.parameter("templates.opening_words", int, plain.opening_words),
        config.parameter("templates.max_opening_share", float, plain.max_opening_share),
        config.parameter("templates.ngram", int, plain.ngram),
        config.parameter("templates.max_shared", float, plain.max_shared),
        config.parameter("templates.min_repeats", int, plain.min_repeats),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
