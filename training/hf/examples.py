"""Examples of prompt and response from a JSONL file, as ids: for LoRA of both kinds of model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from training.contract import BadInput, Section, file_digest
from training.hf.adapters import CAUSAL
from training.hf.task import IGNORED
from training.rows import placed_rows

FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Examples:
    """Where rows lie, how they become text, and where text is cut.

    `prompt` and `response` hold a row's fields in braces. In tokens: a causal example has at most
    `max_length` in all, a seq2seq one `max_input` and `max_target`. With `chat` a causal prompt is
    a turn of the chat template. `group` is a row's field by which the loss is told apart.
    """

    train: Path
    validation: Path
    prompt: str
    response: str
    max_length: int
    max_input: int
    max_target: int
    most_validation: int
    chat: bool = False
    group: str = ""

    def identity(self) -> dict[str, Any]:
        """For a run that is resumed."""
        return {
            "data.train": file_digest(self.train),
            "data.prompt": self.prompt,
            "data.response": self.response,
            "data.max_length": self.max_length,
            "data.chat": self.chat,
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
        chat=config.get(p + "chat", bool, False),
        group=config.get(p + "group", str, ""),
    )


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
    causal model both are of one length. `reference` is the response's text without added tokens,
    `group` what the row has under data.group."""

    ids: list[int]
    labels: list[int]
    prompt: list[int]
    reference: str
    group: str = ""


def encode(
    path: Path, examples: Examples, tokenizer: Any, task: str, most: int = 0
) -> list[Encoded]:
    """All examples of a file, or the first `most`."""
    rows = list(placed_rows(path, "Prepare the data first, or correct data.train"))
    made = []
    for where, row in rows[:most] if most else rows:
        prompt, response = (fill(t, row, where) for t in (examples.prompt, examples.response))
        if task == CAUSAL:
            ended = row.get("finished") is not False
            one = causal(prompt, response, examples, tokenizer, ended)
        else:
            one = seq2seq(prompt, response, examples, tokenizer)
        if examples.group:
            one = replace(one, group=fill(f"{{{examples.group}}}", row, where))
        made.append(one)
    return made


def as_turn(prompt: str, tokenizer: Any) -> str:
    """A prompt as the user's turn in the tokenizer's chat template; BadInput where it has none."""
    if not getattr(tokenizer, "chat_template", None):
        raise BadInput("data.chat is true, and the tokenizer has no chat template", "Set it false")
    turn = [{"role": "user", "content": prompt}]
    return str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))


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


def causal(
    prompt: str, response: str, examples: Examples, tokenizer: Any, ended: bool = True
) -> Encoded:
    """Prompt and response in one; only the response and its end are to be learned, the end not
    where the response was cut short (`ended`).

    The response gets the ids that it has behind the prompt in one text, where the prompt's stay
    what they are alone: after those a model is asked to go on. Otherwise it gets those of its own.
    The prompt is cut on the left where both are too long: what stands next to the answer stays. A
    response that alone is too long is cut on the right.
    """
    end, special = tokenizer.eos_token_id, not examples.chat  # a chat template has its own
    prompt = as_turn(prompt, tokenizer) if examples.chat else prompt
    head, whole = (
        open_ended(tokenizer(text, add_special_tokens=special)["input_ids"], end)
        for text in (prompt, prompt + response)
    )
    if whole[: len(head)] == head:
        tail = whole[len(head) :]
    else:
        tail = tokenizer(response, add_special_tokens=False)["input_ids"]
    tail = [*tail, *[end] * ended][: examples.max_length]
    room = examples.max_length - len(tail)
    head = head[len(head) - room :] if len(head) > room else head
    labels = [*[IGNORED] * len(head), *tail]
    return Encoded([*head, *tail], labels, head, without_added(response, tokenizer))


def open_ended(ids: list[int], end: int) -> list[int]:
    """Without the end that some tokenizers put behind every text."""
    return ids[:-1] if ids and ids[-1] == end else ids
