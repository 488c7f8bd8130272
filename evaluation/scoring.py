"""Records of scored items: by lm-evaluation-harness, and over several tokenisations.

Multiple choice: an option's score is ln p(option | prompt), summed over its tokens and divided by
the bytes of the option's UTF-8 text (without the space before it): lm-eval's `acc_bytes`. It keeps
long options from losing by their length, and does not depend on how a tokenizer cuts them. The
option with the greatest score is the answer; of equal ones, the first.

Generation: greedy, to the end of the line; it is right where it equals the answer, but for spaces
around it.
"""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluation.benchmarks import part_of
from evaluation.config import InputError
from evaluation.marginal import COST, Draws, Estimate, Tokens, draw, estimate
from evaluation.models import LanguageModel
from evaluation.pieces import lattice
from evaluation.tasks import Notice, correct_of, require

KEPT = ("id", "task", "group", "part", "language", "word")
DIGITS = 6


def run_tasks(
    model: LanguageModel, tasks: dict[str, Any], notice: Notice
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict[str, float]]]:
    """lm-eval's samples of each task in the order of its items, and its own figures of each."""
    model.tell(notice)
    found = require("lm_eval.evaluator").evaluate(model.lm, {"tasks": tasks}, bootstrap_iters=0)
    samples = {}
    for name, given in found["samples"].items():
        first = given[0]["filter"] if given else None  # a task may look at each answer twice
        own = [sample for sample in given if sample["filter"] == first]
        samples[name] = sorted(own, key=lambda sample: int(sample["doc_id"]))
    figures = {
        name: {key: float(value) for key, value in values.items()
               if isinstance(value, int | float | np.floating)}
        for name, values in found["results"].items()
    }  # fmt: skip
    return samples, figures


def records_of(task: Any, samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Our records of lm-eval's samples; none for a task whose answers are not right or wrong."""
    choice = task.OUTPUT_TYPE == "multiple_choice"
    records = []
    for sample in samples:
        correct = correct_of(sample)
        if correct is None or not (choice or task.OUTPUT_TYPE == "generate_until"):
            return []
        if choice:
            options = task.doc_to_choice(sample["doc"])
            nats = [float(answer[0]) for answer in sample["filtered_resps"][: len(options)]]
            records.append(_choice(nats, options, sample["target"]) | {"correct": correct})
        else:
            text = str(sample["filtered_resps"][0]).strip()
            records.append({"generated": text, "answer": sample["target"], "correct": correct})
    return records


def labelled(item: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """A record with what it needs of its item in front."""
    own = {**item, "part": part_of(item)}
    return {key: own[key] for key in KEPT if key in own} | record


def score_marginal(
    model: LanguageModel, items: Sequence[dict[str, Any]], size: tuple[int, int], notice: Notice
) -> list[dict[str, Any]]:
    """Records of multiple-choice items with ln p(option) summed over tokenisations.

    `size` is k, how many tokenisations of an option are scored besides its own, and the seed of
    their draws; the draws of an option do not depend on the model or on other items. Estimator:
    evaluation/marginal.py. Raises InputError for a tokenizer whose pieces do not spell the text.
    """
    contexts = [list(model.lm.tok_encode(item["prompt"])) for item in items]
    plans = [[_draws(model, item, number, size) for number in range(len(item["options"]))]
             for item in items]  # fmt: skip
    asked = [(at, number, tokens) for at, plan in enumerate(plans)
             for number, draws in enumerate(plan) for tokens in draws.needed()]  # fmt: skip
    nats = model.log_likelihoods([(contexts[at], tokens) for at, _, tokens in asked], notice)
    table: dict[tuple[int, int], dict[Tokens, float]] = {}
    for (at, number, tokens), value in zip(asked, nats, strict=True):
        table.setdefault((at, number), {})[tokens] = value
    records = []
    for at, (item, plan) in enumerate(zip(items, plans, strict=True)):
        found = [estimate(draws, table[at, number].__getitem__)
                 for number, draws in enumerate(plan)]  # fmt: skip
        records.append(_marginal_record(item, found))
    return records


def _draws(model: LanguageModel, item: dict[str, Any], number: int, size: tuple[int, int]) -> Draws:
    """What to score of one option. Its own tokens are those that follow the prompt's."""
    k, seed = size
    text, option = item["prompt"], f" {item['options'][number]}"
    own = model.tokenizer.encode(text + option)[len(model.tokenizer.encode(text)) :]
    pieces = model.tokenizer.pieces
    if pieces.text(own) != option.encode():
        raise InputError(
            f"the tokenizer spells {option!r} as {pieces.text(own)!r}, so its other tokenisations "
            "are not known",
            "Set evaluate.tokenisations to 0",
        )
    rng = random.Random(f"{seed}/{item['id']}/{number}")
    return draw(lattice(pieces, option.encode(), COST), tuple(own), k, rng)


def _marginal_record(item: dict[str, Any], found: list[Estimate]) -> dict[str, Any]:
    record = _choice([one.nats for one in found], item["options"], item["answer"])
    record["correct"] = record["chosen"] == item["answer"]
    return labelled(item, record) | {
        "tokenisations": [one.size for one in found],
        "draws": [one.draws for one in found],
        "effective": [None if one.effective is None else round(one.effective, 2) for one in found],
        "error": [round(one.error, DIGITS) for one in found],
    }


def _choice(nats: list[float], options: Sequence[str], answer: Any) -> dict[str, Any]:
    """Scores in nats a byte, and the option with the greatest."""
    scores = np.array(nats) / np.array([len(option.encode()) for option in options])
    return {
        "scores": [round(float(score), DIGITS) for score in scores],
        "chosen": int(scores.argmax()),
        "answer": answer,
        "nats": [round(value, DIGITS) for value in nats],
    }


def summarise(items: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """n, correct, accuracy and chance of a file, and the same `by` part and by language.

    Chance is the mean of 1/options; it is 0 for free answers.
    """

    def counts(chosen: list[int]) -> dict[str, Any]:
        correct = sum(records[i]["correct"] for i in chosen)
        chance = sum(1 / len(items[i]["options"]) if "options" in items[i] else 0 for i in chosen)
        n = len(chosen)
        return {"n": n, "correct": correct, "accuracy": correct / n, "chance": chance / n}

    def cells(names: list[str]) -> dict[str, dict[str, Any]]:
        members: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            members.setdefault(name, []).append(index)
        return {name: counts(chosen) for name, chosen in members.items()}

    parts = [part_of(item) for item in items]
    languages = [str(item.get("language", "")) for item in items]
    both = [f"{part}@{language}" for part, language in zip(parts, languages, strict=True)]
    found = {**counts(list(range(len(items)))), "by": cells(parts)}
    if any(languages):
        found |= {"by_language": cells(languages), "by_part_language": cells(both)}
    return found
