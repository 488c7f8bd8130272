"""`python -m evaluation.benchmarks`: write the benchmark files, the same bytes for the same seed.

`<group>_mcq.jsonl` and `<group>_gen.jsonl` hold the same questions, each once in every language;
docs/benchmarks.md describes the fields.
"""

import argparse
import json
import sys
from pathlib import Path

from evaluation.config import Config, InputError, Progress, guarded, load_config
from evaluation.files import write_jsonl
from evaluation.generation import MOST_SHOTS, Item, Settings, ask_all, item
from evaluation.groups import GROUPS
from evaluation.makers.question import LANGUAGES

MODES = ("mcq", "gen")


def generate(output: Path, settings: Settings) -> list[Path]:
    """Write the files of the groups, and lm-eval's task files for them; returns the former's paths.

    Raises InputError where the lexicon gives fewer different questions than asked for.
    """
    from evaluation.tasks import write_tasks  # it reads items with this module

    asked = ask_all(settings)
    progress = Progress(total=len(asked) * len(MODES), unit="files")
    written = []
    for group, questions in asked.items():
        for mode in MODES:
            path = output / f"{group}_{mode}.jsonl"
            write_jsonl(path, [item(q, la, mode) for q in questions for la in settings.languages])
            written.append(path)
            progress.advance(1, path.name)
    write_tasks(output)
    return written


def read_items(path: Path) -> list[Item]:
    """The items of a benchmark file; raises InputError for a missing or malformed one."""
    try:
        items = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise InputError(
            f"the benchmark {path} cannot be read ({error.strerror})",
            "Run the benchmarks stage, or scripts/generate_benchmarks.py",
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON Lines ({error})", "Generate it again") from error
    if not items:
        raise InputError(f"{path} is empty", "Generate it again")
    needed = {"id", "task", "group", "language", "prompt", "answer"}
    needed |= {"options"} if path.stem.endswith("_mcq") else set()
    for entry in items:
        if not isinstance(entry, dict) or not needed <= entry.keys():
            raise InputError(
                f"{path} has an item without {', '.join(sorted(needed))}", "Generate it again"
            )
    return items


def part_of(entry: Item) -> str:
    """The category of an item, or `level` and its number, or its group."""
    if "category" in entry:
        return str(entry["category"])
    return f"level{entry['level']}" if "level" in entry else str(entry["group"])


def settings_of(config: Config) -> Settings:
    """What a job's configuration asks for."""
    default = Settings()
    return Settings(
        groups=config.get("benchmark.groups", list),
        seed=config.get("seed", int),
        sizes=config.get("benchmark.sizes", dict, {}),
        languages=config.get("benchmark.languages", list, default.languages),
        shots=config.get("benchmark.shots", int, default.shots),
    )


def main(argv: list[str] | None = None) -> int:
    """The program: the job's configuration, else the defaults; options win over both."""
    default = Settings()
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m evaluation.benchmarks")
    parser.add_argument("--config", type=Path, help="a job's configuration")
    parser.add_argument("--output-dir", type=Path, help="default data/benchmarks")
    parser.add_argument("--groups", nargs="+", metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--languages", nargs="+", metavar="LANG", help=f"of {', '.join(LANGUAGES)}")
    parser.add_argument("--seed", type=int, help=f"default {default.seed}")
    parser.add_argument(
        "--shots", type=int, help=f"examples a prompt, 0 to {MOST_SHOTS}, default {default.shots}"
    )
    parser.add_argument(
        "--size", action="append", default=[], metavar="PART=N", help="questions of a part or group"
    )
    args = parser.parse_args(argv)

    def program() -> int:
        output, settings = chosen(args)
        for path in generate(output, settings):
            print(path)
        return 0

    return guarded(program)


def chosen(args: argparse.Namespace) -> tuple[Path, Settings]:
    """The output directory and the settings that configuration and options give."""
    config = load_config(args.config) if args.config else None
    base = settings_of(config) if config else Settings()
    given = config.get("benchmark.output_dir", str) if config else "data/benchmarks"
    settings = Settings(
        groups=args.groups or base.groups,
        seed=base.seed if args.seed is None else args.seed,
        sizes={**base.sizes, **dict(map(_size, args.size))},
        languages=args.languages or base.languages,
        shots=base.shots if args.shots is None else args.shots,
    )
    return args.output_dir or Path(given), settings


def _size(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isdecimal():
        raise InputError(f"{text!r} is no size", "Write PART=N, such as affixation=280")
    return name, int(number)


if __name__ == "__main__":
    sys.exit(main())
