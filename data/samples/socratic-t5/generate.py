"""Writes the files beside it: made-up thoughts, a question of one of five Socratic kinds to each,
and a tokenizer of their words. The same seed gives the same bytes.

    python data/samples/socratic-t5/generate.py [DIRECTORY]
"""

from __future__ import annotations

import csv
import json
import random
import re
import sys
from pathlib import Path

SEED = 42
PARTS = {"train.csv": 480, "valid.csv": 48, "test.csv": 48}
WHO = ["schools", "parents", "farmers", "doctors", "drivers", "artists", "cities", "banks",
       "students", "editors"]  # fmt: skip
WHAT = ["close early", "share profits", "use fewer machines", "teach chess",
        "publish every mistake", "ban plastic", "work from home", "plant more trees",
        "speak two languages", "charge less"]  # fmt: skip
WHY = ["people are tired", "costs keep rising", "trust is low", "children copy adults",
       "the climate changes", "nobody asked them", "old habits fail", "time is short"]  # fmt: skip
# The kinds are those of Socratic questioning; each has one wording here.
ASK = {
    "clarity": "What do you mean when you say that {who} should {what}?",
    "assumptions": "Why do you assume that {why}?",
    "reasons_evidence": "What evidence do you have that {why}?",
    "implication_consequences": "What would follow if all {who} were to {what}?",
    "alternate_viewpoints_perspectives":
        "How would someone answer who thinks {who} must not {what}?",
}  # fmt: skip
THOUGHT = "I think {who} should {what} because {why}."
SPECIAL = ["<pad>", "</s>", "<unk>"]


def rows(chance: random.Random) -> list[tuple[str, str]]:
    """Every input (kind: thought) with its question, in an order by chance."""
    made = []
    for kind, question in ASK.items():
        for who in WHO:
            for what in WHAT:
                for why in WHY:
                    filled = {"who": who, "what": what, "why": why}
                    made.append((f"{kind}: {THOUGHT.format(**filled)}", question.format(**filled)))
    chance.shuffle(made)
    return made


def tokenizer(texts: list[str]) -> dict[str, object]:
    """A tokenizer.json of whole words and signs, the end-of-text id after each text."""
    words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]+", text)})
    added = [
        {"id": number, "content": word, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for number, word in enumerate(SPECIAL)
    ]  # fmt: skip
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": None, "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                     {"Sequence": {"id": "B", "type_id": 0}},
                     {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
        },
        "decoder": None,
        "model": {"type": "WordLevel", "unk_token": "<unk>",
                  "vocab": {word: number for number, word in enumerate([*SPECIAL, *words])}},
    }  # fmt: skip


def write(directory: Path) -> None:
    """All files."""
    made = rows(random.Random(SEED))
    first = 0
    for name, count in PARTS.items():
        with (directory / name).open("w", encoding="utf-8", newline="") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(["", "input", "target"])
            table.writerows([i, *row] for i, row in enumerate(made[first : first + count]))
        first += count
    folder = directory / "tokenizer"
    folder.mkdir(exist_ok=True)
    texts = [text for row in made for text in row]
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512,
                "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}  # fmt: skip
    for name, values in (("tokenizer.json", tokenizer(texts)), ("tokenizer_config.json", settings)):
        (folder / name).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
