"""Write the benchmark files: the same bytes for the same seed, sizes and lexicon.

<group>_mcq.jsonl and <group>_gen.jsonl hold the same questions, each once in every language.
DATASHEET.md and datasheet.json say what is in them. docs/benchmarks.md describes the fields.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.config import Config, InputError, Progress, guarded, load_config
from evaluation.contamination import Findings, item_of, search
from evaluation.datasheet import summary, write
from evaluation.files import write_jsonl
from evaluation.generation import MOST_SHOTS, Asked, Item, Settings, ask_all, item
from evaluation.groups import GROUPS, SIZES
from evaluation.makers.question import LANGUAGES
from evaluation.rows import read_rows

MODES = ("mcq", "gen")
OUTPUT = Path("data/benchmarks")


@dataclass(frozen=True, slots=True)
class Corpus:
    """A JSON Lines file to search for the items' n-grams, and the key of its texts."""

    path: Path
    text_key: str = "text"


def generate(output: Path, settings: Settings, corpus: Corpus | None = None) -> list[Path]:
    """Write the groups' files, lm-eval's task files, then the datasheet; returns the groups' files.

    Raises InputError where the lexicon gives fewer different questions than asked for, or the
    corpus cannot be read; nothing is written then.
    """
    from evaluation.tasks import write_tasks  # it reads items with this module

    asked = ask_all(settings)
    findings = check(asked, settings.languages, corpus) if corpus else None
    each = len(MODES) * len(settings.languages)
    progress = Progress(total=each * sum(map(len, asked.values())), unit="items")
    written = []
    for group, questions in asked.items():
        for mode in MODES:
            path = output / f"{group}_{mode}.jsonl"
            items = [item(q, la, mode) for q in questions for la in settings.languages]
            write_jsonl(path, items)
            written.append(path)
            progress.advance(len(items), path.name)
    write_tasks(output)
    write(output, summary(settings, asked, written, findings))
    return written


def check(
    asked: Mapping[str, Sequence[Asked]], languages: Sequence[str], corpus: Corpus
) -> Findings:
    """Search the corpus for all questions in all languages."""
    items = [item_of(q, la) for questions in asked.values() for q in questions for la in languages]
    if not corpus.path.is_file():
        raise InputError(
            f"the corpus {corpus.path} is not there", "Correct benchmark.corpus, or leave it empty"
        )
    progress = Progress(total=corpus.path.stat().st_size, unit="bytes")
    return search(
        items, corpus.path, corpus.text_key, lambda size: progress.advance(size, "searching")
    )


def read_items(path: Path) -> list[Item]:
    """The items of a benchmark file; raises InputError for a missing or malformed one."""
    items = read_rows(path, remedy="Run the benchmarks stage, or scripts/generate_benchmarks.py")
    if not items:
        raise InputError(f"{path} is empty", "Generate it again")
    needed = {"id", "task", "group", "language", "prompt", "answer"}
    needed |= {"options"} if path.stem.endswith("_mcq") else set()
    for entry in items:
        if not needed <= entry.keys():
            raise InputError(
                f"{path} has an item without {', '.join(sorted(needed))}", "Generate it again"
            )
    return items


def part_of(entry: Item) -> str:
    """The category of an item, or `level` and its number, or its group."""
    if "category" in entry:
        return str(entry["category"])
    return f"level{entry['level']}" if "level" in entry else str(entry["group"])


@dataclass(frozen=True, slots=True)
class Request:
    """What to write where."""

    output: Path
    settings: Settings
    corpus: Corpus | None


def request_of(config: Config) -> Request:
    """What a job's configuration asks for."""
    default = Settings()
    settings = Settings(
        groups=config.get("benchmark.groups", list),
        seed=config.get("seed", int),
        sizes=config.get("benchmark.sizes", dict, {}),
        languages=config.get("benchmark.languages", list, default.languages),
        shots=config.get("benchmark.shots", int, default.shots),
    )
    corpus = config.get("benchmark.corpus", str, "")
    text_key = config.get("corpus.text_key", str, "text")
    return Request(
        Path(config.get("benchmark.output_dir", str)),
        settings,
        Corpus(Path(corpus), text_key) if corpus else None,
    )


def chosen(args: argparse.Namespace) -> Request:
    """What configuration and options ask for; an option wins."""
    base = Request(OUTPUT, Settings(), None)
    if args.config:
        base = request_of(load_config(args.config))
    settings = Settings(
        groups=args.groups or base.settings.groups,
        seed=base.settings.seed if args.seed is None else args.seed,
        sizes={**base.settings.sizes, **dict(map(_size, args.size))},
        languages=args.languages or base.settings.languages,
        shots=base.settings.shots if args.shots is None else args.shots,
    )
    corpus = Corpus(args.corpus, args.text_key) if args.corpus else base.corpus
    return Request(args.output_dir or base.output, settings, corpus)


def _size(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isdecimal():
        raise InputError(f"{text!r} is no size", "Write PART=N, such as affixation=280")
    return name, int(number)


def parser() -> argparse.ArgumentParser:
    """The program's options."""
    default = Settings()
    made = argparse.ArgumentParser(
        prog="python -m evaluation.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--config", type=Path, help="a job's configuration; options win over it")
    made.add_argument("--output-dir", type=Path, help=f"default {OUTPUT}")
    made.add_argument("--groups", nargs="+", metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    made.add_argument("--languages", nargs="+", metavar="LANG", help=f"of {', '.join(LANGUAGES)}")
    made.add_argument("--seed", type=int, help=f"default {default.seed}")
    made.add_argument(
        "--shots", type=int, help=f"examples a prompt, 0 to {MOST_SHOTS}, default {default.shots}"
    )
    sizes = ", ".join(f"{name}={size}" for name, size in SIZES.items())
    made.add_argument(
        "--size", action="append", default=[], metavar="PART=N",
        help=f"questions of a part, or of each part of a group; default {sizes}",
    )  # fmt: skip
    made.add_argument(
        "--corpus", type=Path, metavar="FILE", help="JSON Lines to search for the items' n-grams"
    )
    made.add_argument("--text-key", default="text", help="the corpus's key, default text")
    made.add_argument("--dry-run", action="store_true", help="count, and write nothing")
    made.add_argument("--json", action="store_true", help="print datasheet.json's content")
    return made


def main(argv: list[str] | None = None) -> int:
    """The program: a job's configuration, else the defaults; options win over both."""
    args = parser().parse_args(argv)
    return guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Generate, or count, and say what was made."""
    request = chosen(args)
    if args.dry_run:
        asked = ask_all(request.settings)
        told = summary(request.settings, asked, [], None)
    else:
        generate(request.output, request.settings, request.corpus)
        told = json.loads((request.output / "datasheet.json").read_text(encoding="utf-8"))
    if args.json:
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        for line in lines(request, told):
            print(line)
    return 0


def lines(request: Request, told: Mapping[str, Any]) -> list[str]:
    """A line a group, the datasheet's place, and what the corpus held."""
    languages = ", ".join(told["languages"])
    made = []
    for group, about in told["groups"].items():
        parts = {part: own["questions"] for part, own in about["parts"].items()}
        shown = ", ".join(f"{part} {count}" for part, count in parts.items())
        made.append(f"{group}: {sum(parts.values()):,} questions ({shown}) in {languages}")
    if not told["files"]:
        return [*made, f"Nothing was written to {request.output}."]
    made += [str(request.output / name) for name in (*told["files"], "DATASHEET.md")]
    if found := told["contamination"]:
        made.append(
            f"{found['corpus']}: {found['flagged']:,} of {found['items']:,} questions flagged "
            f"in {found['documents']:,} documents"
        )
    return made


if __name__ == "__main__":
    sys.exit(main())
