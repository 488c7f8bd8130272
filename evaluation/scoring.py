"""Log-likelihoods of spans of tokens, and greedy continuations, in batches.

Multiple choice: an option's score is ln p(option | EOD, prompt), summed over its tokens and divided
by the bytes of the option's UTF-8 text (without the space before it). Division by bytes, as
in lm-evaluation-harness's `acc_norm`, keeps long options from losing by their length, and does
not depend on how a tokenizer cuts them. The option with the greatest score is the answer; of equal
ones, the first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from evaluation.config import InputError
from evaluation.models import LanguageModel

MAX_GENERATION_ROWS = 64
ANSWER_SLACK = 8  # tokens: a continuation may be this much longer than the longest right answer
Notice = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens of which `ids[start:]` are scored, each given all before it; start >= 1."""

    ids: Sequence[int]
    start: int


def span_log_likelihoods(
    model: LanguageModel, spans: Sequence[Span], notice: Notice
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """For each span the sum of ln p(token | tokens before it) over its scored tokens, in nats.

    Batches hold spans of similar length, padded on the right: attention is causal, so what is
    padded cannot reach the tokens before it and no mask is needed. `notice` gets the number of
    spans done after each batch. Raises InputError for an id outside the model's vocabulary.
    """
    _check_ids(model, [span.ids for span in spans])
    totals = np.zeros(len(spans))
    order = sorted(range(len(spans)), key=lambda i: -len(spans[i].ids))
    at = 0
    while at < len(order):
        batch = order[at : at + model.rows(len(spans[order[at]].ids))]
        totals[batch] = _score_batch(model, [spans[i] for i in batch])
        at += len(batch)
        notice(len(batch))
    return totals


@torch.inference_mode()
def _score_batch(model: LanguageModel, spans: list[Span]) -> Any:
    """The sums of one batch; its first span is the longest."""
    width = len(spans[0].ids)
    ids = torch.full((len(spans), width), model.eod, dtype=torch.long)
    scored = torch.zeros((len(spans), width - 1), dtype=torch.bool)
    for row, span in enumerate(spans):
        ids[row, : len(span.ids)] = torch.as_tensor(np.asarray(span.ids, dtype=np.int64))
        scored[row, span.start - 1 : len(span.ids) - 1] = True
    ids, scored = ids.to(model.device), scored.to(model.device)
    logits = model.network(input_ids=ids[:, :-1], use_cache=False).logits
    nats = torch.nn.functional.cross_entropy(
        logits[scored].float(), ids[:, 1:][scored], reduction="none"
    )
    sums = torch.zeros(len(spans), dtype=torch.float64, device=model.device)
    sums.index_add_(0, scored.nonzero()[:, 0], nats.double())
    return -sums.cpu().numpy()


def option_spans(model: LanguageModel, prompt: str, options: Sequence[str]) -> list[Span]:
    """One span an option: EOD, the prompt, a space, the option; scored is what follows the prompt.

    Prompt and option are encoded together. Where a tokenizer joins the prompt's last characters
    with the option's first ones, the scored tokens begin at the first that differs from the
    prompt's own. A prompt too long for the model loses its beginning.
    """
    alone = model.tokenizer.encode(prompt)
    spans = []
    for option in options:
        whole = model.tokenizer.encode(f"{prompt} {option}")
        shared = 0
        while shared < min(len(alone), len(whole) - 1) and alone[shared] == whole[shared]:
            shared += 1
        lost = max(0, len(whole) + 1 - model.context)
        ids = [model.eod, *whole[lost:]]
        spans.append(Span(ids, max(1, 1 + shared - lost)))
    return spans


def score_choices(
    model: LanguageModel, items: Sequence[dict[str, Any]], notice: Notice
) -> list[dict[str, Any]]:
    """A record for each item: id, the options' scores in nats a byte, chosen, answer, correct."""
    spans, sizes = list[Span](), list[int]()
    for item in items:
        spans += option_spans(model, item["prompt"], item["options"])
        sizes += [len(option.encode()) for option in item["options"]]
    scores = span_log_likelihoods(model, spans, notice) / np.array(sizes)
    records, at = [], 0
    for item in items:
        own = scores[at : at + len(item["options"])]
        at += len(own)
        chosen = int(own.argmax())
        records.append(
            {
                "id": item["id"],
                "scores": [round(float(score), 6) for score in own],
                "chosen": chosen,
                "answer": item["answer"],
                "correct": chosen == item["answer"],
            }
        )
    return records


def score_generations(
    model: LanguageModel, items: Sequence[dict[str, Any]], notice: Notice
) -> list[dict[str, Any]]:
    """A record for each item: id, the first line generated, answer, correct (they are equal).

    Every item of a file may generate as many tokens as the longest answer takes, plus 8. A line
    that this limit cut off is wrong even where what is left of it equals the answer.
    """
    limit = ANSWER_SLACK + max(len(model.tokenizer.encode(f" {i['answer']}")) for i in items)
    room = max(1, model.context - limit - 1)
    prompts = [[model.eod, *model.tokenizer.encode(item["prompt"])[-room:]] for item in items]
    _check_ids(model, prompts)
    order = sorted(range(len(items)), key=lambda i: len(prompts[i]))
    lines: dict[int, tuple[str, bool]] = {}
    for at in range(0, len(order), MAX_GENERATION_ROWS):
        batch = order[at : at + MAX_GENERATION_ROWS]
        for index, ids in zip(
            batch, greedy(model, [prompts[i] for i in batch], limit), strict=True
        ):
            lines[index] = first_line(model, ids)
        notice(len(batch))
    records = []
    for index, item in enumerate(items):
        line, ended = lines[index]
        right = ended and line == item["answer"]
        records.append(
            {"id": item["id"], "generated": line, "answer": item["answer"], "correct": right}
        )
    return records


def first_line(model: LanguageModel, ids: list[int]) -> tuple[str, bool]:
    """The first line of a continuation without outer spaces, and whether it came to an end."""
    ended = model.eod in ids
    text = model.tokenizer.decode(ids[: ids.index(model.eod)] if ended else ids)
    return text.split("\n", 1)[0].strip(), ended or "\n" in text


@torch.inference_mode()
def greedy(model: LanguageModel, prompts: list[list[int]], limit: int) -> list[list[int]]:
    """The most probable continuation of each prompt, token by token, at most `limit` tokens.

    Prompts are padded on the left and masked: with the padding between a prompt and its
    continuation, the distances that a sliding window counts in the cache would be wrong. A
    row ends with EOD or a newline; the batch ends with its last row.
    """
    width, rows = max(map(len, prompts)), len(prompts)
    ids = torch.full((rows, width), model.eod, dtype=torch.long)
    mask = torch.zeros((rows, width), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    current, mask = ids.to(model.device), mask.to(model.device)
    made: list[list[int]] = [[] for _ in prompts]
    open_rows, cache = set(range(rows)), None
    for _ in range(limit):
        places = (mask.cumsum(1) - 1).clamp(min=0)[:, -current.shape[1] :]
        out = model.network(
            input_ids=current,
            attention_mask=mask,
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache, current = out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)
        mask = torch.cat([mask, mask.new_ones((rows, 1))], dim=1)
        for row, token in enumerate(current[:, 0].tolist()):
            if row in open_rows:
                made[row].append(token)
                if token == model.eod or "\n" in model.tokenizer.decode(made[row]):
                    open_rows.discard(row)
        if not open_rows:
            break
    return made


def _check_ids(model: LanguageModel, sequences: Sequence[Sequence[int]]) -> None:
    """An id beyond the embedding would end in an index error on a CPU, in a hung GPU there."""
    top = max((int(np.max(ids)) for ids in sequences), default=0)
    if top >= model.vocab_size:
        raise InputError(
            f"token id {top} is outside the model's vocabulary of {model.vocab_size}",
            "Use the tokenizer and the data that the model was trained with",
        )
