"""Examples of prompt and response from a JSONL file, as ids: for LoRA of both kinds of model."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.contract import BadInput, Section, file_digest
from training.hf.adapters import CAUSAL
from training.hf.task import IGNORED

FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Examples:
    """Where rows lie, how they become text, and where text is cut.

    `prompt` and `response` hold a row's fields in braces. In tokens: a causal example has at most
    `max_length` in all, a seq2seq one `max_input` and `max_target`.
    """

    train: Path
    validation: Path
    prompt: str
    response: str
    max_length: int
    max_input: int
    max_target: int
    most_validation: int

    def identity(self) -> dict[str, Any]:
        """For a run that is resumed."""
        return {
            "data.train": file_digest(self.train),
            "data.prompt": self.prompt,
            "data.response": self.response,
            "data.max_length": self.max_length,
            "data.max_input_length": self.max_input,
            "data.max_target_length": self.max_target,
        }


def read_examples(config: Section, task: str) -> Examples:
    """The section `data`; problems stay in `config`."""
    p = "parameters.data."
    causal = task == CAUSAL
    return Examples(
        train=Path(config.get(p + "train", str)),
        validation=Path(config.get(p + "validation", str)),
        prompt=config.get(p + "prompt", str, "{prompt}"),
        response=config.get(p + "response", str, "{response}"),
        max_length=config.positive(p + "max_length") if causal else 0,
        max_input=0 if causal else config.positive(p + "max_input_length"),
        max_target=0 if causal else config.positive(p + "max_target_length"),
        most_validation=config.get(p + "max_validation", int, 0),
    )


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file; BadInput naming the line that is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path} cannot be read", "Prepare the data first, or correct data.train"
        ) from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise BadInput(f"{path} line {number} is no JSON object", "Prepare the data again")
        rows.append(row)
    return rows


def fill(template: str, row: Mapping[str, Any], where: str) -> str:
    """The template with the row's fields in place of their names in braces."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in row:
            raise BadInput(
                f"{where} has no field {found[1]}, only {', '.join(row)}",
                "Correct data.prompt or data.response",
            )
        return str(row[found[1]])

    return FIELD.sub(value, template)


@dataclass(frozen=True)
class Encoded:
    """One example: ids that go in, and labels (IGNORED where nothing is to be learned); for a
    causal model both are of one length. `reference` is the response's text without added tokens."""

    ids: list[int]
    labels: list[int]
    prompt: list[int]
    reference: str


def encode(
    path: Path, examples: Examples, tokenizer: Any, task: str, most: int = 0
) -> list[Encoded]:
    """All examples of a file, or the first `most`."""
    rows = read_rows(path)
    made = []
    for number, row in enumerate(rows[:most] if most else rows, 1):
        where = f"{path} line {number}"
        prompt, response = (fill(t, row, where) for t in (examples.prompt, examples.response))
        one = causal if task == CAUSAL else seq2seq
        made.append(one(prompt, response, examples, tokenizer))
    return made


def without_added(text: str, tokenizer: Any) -> str:
    """A reference as generated text is decoded: without the tokens that were added."""
    for token in tokenizer.get_added_vocab():
        text = text.replace(token, "")
    return text.strip()


def seq2seq(prompt: str, response: str, examples: Examples, tokenizer: Any) -> Encoded:
    """Input and target, each with the tokenizer's end; both cut on the right, the end kept."""
    ids = tokenizer(prompt, truncation=True, max_length=examples.max_input)["input_ids"]
    labels = tokenizer(response, truncation=True, max_length=examples.max_target)["input_ids"]
    return Encoded(ids, labels, ids, without_added(response, tokenizer))


def causal(prompt: str, response: str, examples: Examples, tokenizer: Any) -> Encoded:
    """Prompt and response in one; only the response and its end are to be learned.

    The prompt is cut on the left where both are too long: what stands next to the answer stays. A
    response that alone is too long is cut on the right.
    """
    head = tokenizer(prompt)["input_ids"]
    tail = tokenizer(response, add_special_tokens=False)["input_ids"]
    tail = [*tail, tokenizer.eos_token_id][: examples.max_length]
    room = examples.max_length - len(tail)
    head = head[len(head) - room :] if len(head) > room else head
    labels = [*[IGNORED] * len(head), *tail]
    return Encoded([*head, *tail], labels, head, without_added(response, tokenizer))
