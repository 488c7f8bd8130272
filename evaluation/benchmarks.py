"""`python -m evaluation.benchmarks`: write the benchmark files, the same bytes for the same seed.

`<group>_mcq.jsonl`: id, group, category or level, prompt, options (4), answer (an index into them).
`<group>_gen.jsonl`: the same without options; answer is a text. A prompt ends at "Sagot:"; an
answer follows after one space. The right option stands at each position equally often in a part.
"""

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

from evaluation.config import InputError, Progress, choose, guarded, load_config
from evaluation.files import write_jsonl
from evaluation.groups import GROUPS, makers
from evaluation.lexicon import LEXICON, load_lexicon
from evaluation.questions import OPTIONS, Maker, Question

MODES = ("mcq", "gen")
GIVE_UP_AFTER = 2000  # draws in a row that bring no new question


def generate(output: Path, groups: list[str], tasks: int, seed: int) -> list[Path]:
    """Write the files of the groups with `tasks` items each; returns their paths.

    Raises InputError for an unknown group, or more tasks than the lexicon gives.
    """
    choose("benchmark group", groups, GROUPS)
    if tasks < max(len(parts) for parts in GROUPS.values()):
        raise InputError(f"{tasks} tasks do not cover every part", "Ask for 6 tasks or more")
    make = makers(load_lexicon(LEXICON))
    progress = Progress(total=len(groups) * len(MODES), unit="items")
    written = []
    for group in groups:
        for mode in MODES:
            path = output / f"{group}_{mode}.jsonl"
            write_jsonl(path, _items(group, mode, make[group], (tasks, seed)))
            written.append(path)
            progress.advance(1, path.name)
    return written


def _items(
    group: str, mode: str, make: dict[str, Maker], size: tuple[int, int]
) -> list[dict[str, Any]]:
    """The items of one file, `size` its tasks and seed; each part draws its own random numbers."""
    tasks, seed = size
    share, extra = divmod(tasks, len(make))
    items = []
    for at, (part, maker) in enumerate(make.items()):
        count = share + (at < extra)
        rng = random.Random(f"{seed}/{group}/{mode}/{part}")
        positions = [i % OPTIONS for i in range(count)]
        rng.shuffle(positions)
        for number, asked in enumerate(_distinct(rng, maker, count, f"{group}.{part}")):
            items.append(_item(f"{group}-{mode}-{part}-{number:04d}", group, part, asked))
            if mode == "mcq":
                options = rng.sample(asked.wrong[: OPTIONS + 2], OPTIONS - 1)
                options.insert(positions[number], asked.answer)
                items[-1] |= {"options": options, "answer": positions[number]}
    return items


def _item(name: str, group: str, part: str, asked: Question) -> dict[str, Any]:
    """The fields that both modes have; a level is a number."""
    place = {"category": part} if group == "pacute" else {"level": int(part.removeprefix("level"))}
    prompt = f"Tanong: {asked.text}\nSagot:"
    return {"id": name, "group": group, **place, "prompt": prompt, "answer": asked.answer}


def _distinct(rng: random.Random, maker: Maker, count: int, name: str) -> list[Question]:
    """Questions with different texts; those without three wrong answers are left out."""
    found: dict[str, Question] = {}
    idle = 0
    while len(found) < count and idle < GIVE_UP_AFTER:
        asked = maker(rng)
        if len(asked.wrong) >= OPTIONS - 1 and asked.text not in found:
            found[asked.text] = asked
            idle = 0
        else:
            idle += 1
    if len(found) < count:
        raise InputError(
            f"the lexicon gives {len(found)} different tasks for {name}, not {count}",
            "Ask for fewer tasks in a group, or add words to data/lexicon/affixed.tsv",
        )
    return list(found.values())


def read_items(path: Path) -> list[dict[str, Any]]:
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
    needed = {"id", "prompt", "answer"} | ({"options"} if path.stem.endswith("_mcq") else set())
    for item in items:
        if not isinstance(item, dict) or not needed <= item.keys():
            raise InputError(
                f"{path} has an item without {', '.join(sorted(needed))}", "Generate it again"
            )
    return items


def part_of(item: dict[str, Any]) -> str:
    """The category of an item, or `level` and its number."""
    return str(item["category"]) if "category" in item else f"level{item['level']}"


def main(argv: list[str] | None = None) -> int:
    """The stage's program: everything from the job's configuration."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m evaluation.benchmarks")
    parser.add_argument("--config", type=Path, required=True, help="the job's configuration")
    parser.add_argument("--output-dir", type=Path, help="instead of benchmark.output_dir")
    args = parser.parse_args(argv)

    def program() -> int:
        config = load_config(args.config)
        return report(
            args.output_dir or Path(config.get("benchmark.output_dir", str)),
            config.get("benchmark.groups", list),
            config.get("benchmark.tasks_per_group", int),
            config.get("seed", int),
        )

    return guarded(program)


def report(output: Path, groups: list[str], tasks: int, seed: int) -> int:
    """Generate, and print the files' names."""
    for path in generate(output, groups, tasks, seed):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
