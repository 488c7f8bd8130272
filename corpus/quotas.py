"""Join authentic and generated conversations under exact quotas by level and by origin.

The authentic ones are all taken, unchanged. Of each level the generated ones follow in the order of
the questions, without those that the template detector named, until the level's quota is full.
Nothing is written unless every quota is met; what is short is named.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus.config import Config
from corpus.errors import CorpusError, Parser, run
from corpus.files import read_json, sha256_file, sha256_value, write_json
from corpus.rows import Row, read_rows, write_rows

AUTHENTIC, GENERATED = "authentic", "generated"
_KEPT = ("id", "level", "source", "question", "response")


@dataclass(frozen=True)
class Quotas:
    """Conversations by level and by origin; both add up to the same number."""

    levels: Mapping[str, int]
    origins: Mapping[str, int]

    def check(self) -> None:
        """Raise CorpusError unless the two agree."""
        by_level, by_origin = sum(self.levels.values()), sum(self.origins.values())
        if set(self.origins) != {AUTHENTIC, GENERATED}:
            raise CorpusError(f"mix.origins names {', '.join(self.origins)}. It must name "
                              f"{AUTHENTIC} and {GENERATED}.")
        if by_level != by_origin:
            raise CorpusError(f"the levels add up to {by_level} and the origins to {by_origin}. "
                              "Correct mix.levels or mix.origins.")


def mix(
    authentic: Sequence[Row], generated: Sequence[Row], rejected: set[str], quotas: Quotas
) -> list[Row]:
    """The conversations, by level, authentic ones first.

    Raises CorpusError that names every level and origin that is short or over its quota.
    """
    quotas.check()
    problems = _unknown([*authentic, *generated], quotas)
    if len(authentic) != quotas.origins[AUTHENTIC]:
        problems.append(f"there are {len(authentic)} authentic conversations, not "
                        f"{quotas.origins[AUTHENTIC]}")
    if twice := [i for i, n in Counter(r["id"] for r in [*authentic, *generated]).items() if n > 1]:
        problems.append(f"{twice[0]} stands there twice")
    made: list[Row] = []
    for level, quota in quotas.levels.items():
        human = [row for row in authentic if row["level"] == level]
        own = [row for row in generated if row["level"] == level]
        usable = [row for row in own if row["id"] not in rejected]
        need = quota - len(human)
        if len(usable) < need:
            problems.append(f"{level} needs {need} generated responses and has {len(usable)} "
                            f"({len(own)} less {len(own) - len(usable)} rejected)")
        if need < 0:
            problems.append(f"{level} has {len(human)} authentic conversations and may have "
                            f"{quota}")
        made += [_row(row, AUTHENTIC) for row in human]
        made += [_row(row, GENERATED) for row in usable[:max(0, need)]]
    if problems:
        raise CorpusError(f"the quotas are not met: {'; '.join(problems)}. Add questions "
                          "(questions.reserve) and generate their responses, or change the quotas.")
    return made


def _unknown(rows: Sequence[Row], quotas: Quotas) -> list[str]:
    strange = [row for row in rows if row["level"] not in quotas.levels]
    return [f"{strange[0]['id']} has the level {strange[0]['level']!r}, which has no quota"] \
        if strange else []


def _row(row: Row, origin: str) -> Row:
    made = {key: row[key] for key in _KEPT} | {"origin": origin}
    if origin == GENERATED:
        made |= {"model": row["model"], "finished": row["params"].get("finished", True)}
    return made


def figures(rows: Sequence[Row], quotas: Quotas, dropped: int) -> dict[str, Any]:
    """Counts and shares (in per cent) of what was made."""
    levels = Counter(row["level"] for row in rows)
    origins = Counter(row["origin"] for row in rows)
    return {
        "version": 1,
        "conversations": len(rows),
        "levels": {level: levels[level] for level in quotas.levels},
        "origins": {origin: origins[origin] for origin in quotas.origins},
        "sources": dict(sorted(Counter(row["source"] for row in rows).items())),
        "level_share": {level: 100 * levels[level] / len(rows) for level in quotas.levels},
        "origin_share": {origin: 100 * origins[origin] / len(rows) for origin in quotas.origins},
        "generated_by": sorted({row["model"] for row in rows if "model" in row}),
        "cut_short": sum(not row.get("finished", True) for row in rows),
        "rejected": dropped,
        "authentic_sha256": sha256_value(
            {row["id"]: row["response"] for row in rows if row["origin"] == AUTHENTIC}),
    }


def read_shards(directory: Path, shards: int) -> list[Row]:
    """The rows of all shards, in the order of the questions: those were dealt out in turn.

    Raises CorpusError that names the shards that are missing.
    """
    paths = [directory / f"responses_{number:04d}.jsonl" for number in range(1, shards + 1)]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise CorpusError(f"{directory} lacks {', '.join(missing)}. Run those tasks of the "
                          "generation.")
    rows = [row for path in paths for row in read_rows(path, (*_KEPT, "model"))]
    return sorted(rows, key=lambda row: int(row["number"]))


def write(config: Config) -> dict[str, Any]:
    """Join what a configuration names, write it, and return the figures."""
    quotas = Quotas(_counts(config, "mix.levels"), _counts(config, "mix.origins"))
    questions = config.path_parameter("questions.output_dir")
    authentic = read_rows(questions / "authentic.jsonl", _KEPT, "Run the questions stage first.")
    drawn = read_json(questions / "questions.json") or {}
    if drawn.get("authentic_sha256") != sha256_value({r["id"]: r["response"] for r in authentic}):
        raise CorpusError(f"{questions}/authentic.jsonl is not as it was drawn. Run the questions "
                          "stage again.")
    responses = config.path_parameter("generate.output_dir")
    generated = read_shards(responses, config.parameter("generate.shards", int))
    rejects = config.path_parameter("mix.rejected")
    rejected = {row["id"] for row in read_rows(rejects, ("id",), "Run the detector first.")}
    rows = mix(authentic, generated, rejected, quotas)
    directory = config.path_parameter("mix.output_dir")
    write_rows(directory / "conversations.jsonl", rows)
    made = figures(rows, quotas, len(rejected))
    made["sha256"] = sha256_file(directory / "conversations.jsonl")
    write_json(directory / "quotas.json", made)
    return made


def _counts(config: Config, key: str) -> dict[str, int]:
    return {name: config.parameter(f"{key}.{name}", int) for name in config.parameter(key, dict)}


def _main(argv: Sequence[str] | None) -> None:
    parser = Parser(prog="corpus.quotas",
                    description="Join authentic and generated conversations under exact quotas.")
    parser.add_argument("--config", type=Path, required=True, help="the job's configuration")
    made = write(Config.load(parser.parse_args(argv).config))
    told = ", ".join(f"{level} {count}" for level, count in made["levels"].items())
    print(f"{made['conversations']} conversations: {told}; "
          f"{made['origins'][AUTHENTIC]} authentic, {made['origins'][GENERATED]} generated")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
