"""Batched scores against a slow recomputation: one sequence, one token at a time, no batch."""

from typing import Any

import numpy as np
import pytest
import torch

from evaluation import models
from evaluation.config import InputError
from evaluation.models import LanguageModel
from evaluation.scoring import (
    Span,
    greedy,
    option_spans,
    score_choices,
    score_generations,
    span_log_likelihoods,
)


def slow(model: LanguageModel, ids: list[int], start: int) -> float:
    """Each token's log-probability from its own forward pass over all that stands before it."""
    total = 0.0
    for at in range(start, len(ids)):
        with torch.no_grad():
            logits = model.network(input_ids=torch.tensor([ids[:at]])).logits[0, -1].double()
        total += float(torch.log_softmax(logits, dim=-1)[ids[at]])
    return total


def nothing(_: int) -> None:
    """Progress that nobody looks at."""


@pytest.mark.parametrize("budget", [1, 40_000, 1 << 30], ids=["one row", "some rows", "all rows"])
def test_spans_equal_the_slow_computation(
    model: LanguageModel, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(models.LOGIT_BYTES, "cpu", budget)
    rng = np.random.default_rng(0)
    spans = [
        Span([model.eod, *rng.integers(4, model.vocab_size, size=size).tolist()], start)
        for size, start in ((3, 1), (25, 20), (12, 12), (1, 1), (25, 1), (9, 3))
    ]
    seen: list[int] = []
    found = span_log_likelihoods(model, spans, seen.append)
    expected = [slow(model, list(span.ids), span.start) for span in spans]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    assert sum(seen) == len(spans)


def test_choices_are_sums_divided_by_the_options_bytes(model: LanguageModel) -> None:
    prompt = 'Tanong: Ano ang salitang-ugat ng "bumili"?\nSagot:'
    options = ["bili", "ñandu", "umili", "b"]
    (record,) = score_choices(
        model, [{"id": "x", "prompt": prompt, "options": options, "answer": 1}], nothing
    )
    alone = model.tokenizer.encode(prompt)
    for option, score in zip(options, record["scores"], strict=True):
        whole = model.tokenizer.encode(f"{prompt} {option}")
        shared = next(i for i, (a, b) in enumerate(zip(alone, whole, strict=False)) if a != b)
        assert shared < len(alone)  # this tokenizer joins "Sagot:" with the space after it
        expected = slow(model, [model.eod, *whole], shared + 1) / len(option.encode())
        assert score == pytest.approx(expected, abs=1e-4)
    assert record["chosen"] == int(np.argmax(record["scores"]))
    assert record["correct"] == (record["chosen"] == 1)


def test_equal_options_fall_to_the_first(model: LanguageModel) -> None:
    item = {"id": "x", "prompt": "Sagot:", "options": ["aso"] * 4, "answer": 0}
    assert score_choices(model, [item], nothing)[0]["chosen"] == 0


def test_a_long_prompt_loses_its_beginning(model: LanguageModel) -> None:
    long = "bahay " * 300
    (span,) = option_spans(model, f"{long}\nSagot:", ["aso"])
    assert len(span.ids) == model.context and span.ids[0] == model.eod
    (short,) = option_spans(model, "\nSagot:", ["aso"])
    kept = len(short.ids) - short.start
    assert list(span.ids[span.start :]) == list(short.ids[short.start :]) and kept > 0


def alone(model: LanguageModel, prompt: list[int], limit: int) -> list[int]:
    """Greedy decoding without cache, padding or batch."""
    ids = list(prompt)
    for _ in range(limit):
        with torch.no_grad():
            token = int(model.network(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        ids.append(token)
        made = ids[len(prompt) :]
        if token == model.eod or "\n" in model.tokenizer.decode(made):
            break
    return ids[len(prompt) :]


def test_batched_greedy_equals_one_prompt_at_a_time(model: LanguageModel) -> None:
    texts = ["a", "Tanong: Ano?\nSagot:", "Kumain ng mangga ang bata sa ilalim ng puno " * 2]
    prompts = [[model.eod, *model.tokenizer.encode(text)] for text in texts]
    assert len({len(prompt) for prompt in prompts}) == 3 and len(prompts[2]) > 8  # the window
    made = greedy(model, prompts, 20)
    assert made == [alone(model, prompt, 20) for prompt in prompts]
    assert len({token for ids in made for token in ids}) > 10  # not one token over and over


class Planted:
    """A network that continues any prompt with given tokens, then with EOD."""

    def __init__(self, tokens: list[int], vocab: int, eod: int) -> None:
        self.tokens, self.vocab, self.eod, self.calls = tokens, vocab, eod, 0

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> Any:
        token = self.tokens[self.calls] if self.calls < len(self.tokens) else self.eod
        self.calls += 1
        logits = torch.zeros((input_ids.shape[0], 1, self.vocab))
        logits[:, :, token] = 1.0
        return type("Out", (), {"logits": logits, "past_key_values": None})


@pytest.mark.parametrize(
    ("text", "answer", "line", "correct"),
    [
        (" bumili", "bumili", "bumili", True),
        (" bumili\nTanong: x", "bumili", "bumili", True),
        (" Bumili", "bumili", "Bumili", False),
        ("\nbumili", "bumili", "", False),
        (" bumili bumili", "bumili", "bumili bumili", False),
    ],
    ids=["eod", "newline", "case", "second line", "more"],
)
def test_an_answer_is_the_first_line(
    model: LanguageModel, text: str, answer: str, line: str, correct: bool
) -> None:
    planted = Planted(model.tokenizer.encode(text), model.vocab_size, model.eod)
    tiny = LanguageModel(planted, model.tokenizer, model.eod, "cpu", model.vocab_size, 256)
    item = {"id": "x", "prompt": "Sagot:", "answer": answer}
    (record,) = score_generations(tiny, [item], nothing)
    assert (record["generated"], record["correct"]) == (line, correct)


def test_an_answer_that_the_limit_cut_off_is_wrong(model: LanguageModel) -> None:
    tokens = model.tokenizer.encode(" " * 8 + "bumili" + " " * 50)
    planted = Planted(tokens, model.vocab_size, model.eod)
    tiny = LanguageModel(planted, model.tokenizer, model.eod, "cpu", model.vocab_size, 256)
    (record,) = score_generations(tiny, [{"id": "x", "prompt": "S:", "answer": "bumili"}], nothing)
    assert record["generated"] == "bumili" and not record["correct"]


def test_an_id_beyond_the_vocabulary_is_refused(model: LanguageModel) -> None:
    with pytest.raises(InputError, match="token id 400 is outside the model's vocabulary of 400"):
        span_log_likelihoods(model, [Span([1, 400], 1)], nothing)
