"""lm-eval's figures against a slow recomputation: one sequence, one token at a time, no batch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from evaluation import models
from evaluation.benchmarks import read_items
from evaluation.evaluate import quiet
from evaluation.models import LanguageModel, load_model
from evaluation.pieces import lattice
from evaluation.scoring import labelled, records_of, run_tasks, score_marginal, summarise
from evaluation.tasks import own_task

MCQ = [
    {"prompt": 'Tanong: Ano ang salitang-ugat ng "bumili"?\nSagot:',
     "options": ["bili", "ñandu", "umili", "b"], "answer": 1},
    {"prompt": "Question: Which?\nAnswer:", "options": ["aso", "aso", "aso", "aso"], "answer": 0},
    {"prompt": "Kumain ng mangga ang bata sa ilalim ng puno. " * 4 + "\nSagot:",
     "options": ["kumakain", "kain", "um", "in-"], "answer": 2},
]  # fmt: skip
GEN = [
    {"prompt": "Sagot:", "answer": "bumili"},
    {"prompt": "Tanong: Ano?\nSagot:", "answer": "aso"},
]


Items = list[dict[str, Any]]


def write(folder: Path, mode: str, given: Items) -> tuple[Path, Items]:
    """A benchmark file of such items, and the items as they are read back."""
    path = folder / f"small_{mode}.jsonl"
    about = {"task": "t", "group": "small", "language": "fil", "word": "w"}
    lines = [json.dumps({"id": f"i{at}", **about, **item}) for at, item in enumerate(given)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path, read_items(path)


def nothing(_: int) -> None:
    """Progress that nobody looks at."""


def slow(model: LanguageModel, ids: list[int], start: int) -> float:
    """Each token's log-probability from its own forward pass over all that stands before it."""
    total = 0.0
    for at in range(start, len(ids)):
        with torch.no_grad():
            logits = model.lm.model(torch.tensor([ids[:at]])).logits[0, -1].double()
        total += float(torch.log_softmax(logits, dim=-1)[ids[at]])
    return total


def slow_option(model: LanguageModel, prompt: str, option: str) -> float:
    """ln p(option | EOD, prompt) from the texts alone."""
    before = [model.eod, *model.tokenizer.encode(prompt)]
    return slow(model, [*before, *model.tokenizer.encode(f" {option}")], len(before))


def slow_line(model: LanguageModel, prompt: str, limit: int) -> str:
    """The first line of the most probable continuation, found one whole forward pass a token."""
    ids = [model.eod, *model.tokenizer.encode(prompt)]
    made: list[int] = []
    while len(made) < limit:
        with torch.no_grad():
            made.append(int(model.lm.model(torch.tensor([[*ids, *made]])).logits[0, -1].argmax()))
        text = model.tokenizer.fast.decode(made)
        if made[-1] == model.eod or "\n" in text:
            break
    return str(model.tokenizer.fast.decode(made)).split("\n")[0].strip()


def save(network: Any, source: Path, folder: Path) -> LanguageModel:
    """A network with the tiny tokenizer beside it, loaded as any model is."""
    network.save_pretrained(folder)
    for name in ("tokenizer.json", "source.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    return load_model(folder)


@pytest.fixture(scope="module", params=["gemma3", "gpt2", "llama"])
def tiny(
    request: pytest.FixtureRequest, model: LanguageModel, model_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> LanguageModel:  # fmt: skip
    """Three architectures, with random weights far from a uniform distribution."""
    if request.param == "gemma3":
        return model
    quiet()
    torch.manual_seed(1)
    common: dict[str, Any] = {"vocab_size": 400, "eos_token_id": 1, "bos_token_id": 2,
                              "initializer_range": 0.5}  # fmt: skip
    network: Any
    if request.param == "gpt2":
        network = GPT2LMHeadModel(
            GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=256, **common)
        )
    else:
        network = LlamaForCausalLM(
            LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                        num_attention_heads=2, max_position_embeddings=256, **common)
        )  # fmt: skip
    return save(network, model_dir / "hf", tmp_path_factory.mktemp(request.param))


def test_log_likelihoods_and_figures_equal_the_slow_ones(
    tiny: LanguageModel, tmp_path: Path
) -> None:
    path, items = write(tmp_path, "mcq", MCQ)
    task = own_task(path, items)
    seen: list[int] = []
    samples, figures = run_tasks(tiny, {"small_mcq": task}, seen.append)
    records = records_of(task, samples["small_mcq"])
    right = {"acc": 0, "acc_bytes": 0}
    for item, record in zip(items, records, strict=True):
        nats = np.array([slow_option(tiny, item["prompt"], o) for o in item["options"]])
        scores = nats / [len(option.encode()) for option in item["options"]]
        assert record["nats"] == pytest.approx(nats.tolist(), rel=1e-5, abs=1e-4)
        assert record["scores"] == pytest.approx(scores.tolist(), rel=1e-5, abs=1e-4)
        assert record["chosen"] == int(scores.argmax())
        assert record["correct"] == (record["chosen"] == item["answer"])
        right["acc"] += int(nats.argmax()) == item["answer"]
        right["acc_bytes"] += int(scores.argmax()) == item["answer"]
    for metric, count in right.items():
        assert figures["small_mcq"][f"{metric},none"] == pytest.approx(count / len(items))
    assert sum(seen) > 0


def test_generations_equal_the_slow_ones(tiny: LanguageModel, tmp_path: Path) -> None:
    path, _ = write(tmp_path, "gen", GEN)
    first = slow_line(tiny, GEN[0]["prompt"], 64)
    path, items = write(tmp_path, "gen", [{**GEN[0], "answer": first}, GEN[1]])
    limit = len(first.encode()) + 8
    task = own_task(path, items)
    assert task.config.generation_kwargs["max_gen_toks"] == max(limit, 11)
    samples, figures = run_tasks(tiny, {"small_gen": task}, nothing)
    records = records_of(task, samples["small_gen"])
    for item, record in zip(items, records, strict=True):
        assert record["generated"] == slow_line(tiny, item["prompt"], limit)
        assert record["correct"] == (record["generated"] == item["answer"])
    share = sum(record["correct"] for record in records) / len(records)
    assert figures["small_gen"]["exact_match,none"] == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "answer", "line", "correct"),
    [
        (" bumili", "bumili", "bumili", True),
        (" bumili\nTanong: x", "bumili", "bumili", True),
        (" bumili  ", "bumili", "bumili", True),
        (" Bumili", "bumili", "Bumili", False),
        ("\nbumili", "bumili", "", False),
        (" bumili bumili", "bumili", "bumili bumili", False),
        (" bumilihan" * 3, "bumili", None, False),
    ],
    ids=["eod", "newline", "spaces", "case", "second line", "more", "cut off"],
)
def test_an_answer_is_the_first_line(
    model: LanguageModel, text: str, answer: str, line: str | None, correct: bool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path, items = write(tmp_path, "gen", [{"prompt": "Sagot:", "answer": answer}])
    planted = [*model.tokenizer.encode(text), model.eod]

    def generate(context: torch.Tensor, max_length: int, **_: Any) -> torch.Tensor:
        more = torch.tensor([planted] * len(context))
        return torch.cat([context, more], dim=1)[:, :max_length]

    monkeypatch.setattr(model.lm, "_model_generate", generate)
    task = own_task(path, items)
    samples, _ = run_tasks(model, {"small_gen": task}, nothing)
    (record,) = records_of(task, samples["small_gen"])
    assert record["correct"] == correct
    assert record["generated"] == line or line is None


def test_batches_change_nothing(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for budget in (1, 40_000, 1 << 30):
        monkeypatch.setitem(models.LOGIT_BYTES, "cpu", budget)
        path, items = write(tmp_path, "mcq", MCQ)
        task = own_task(path, items)
        samples, _ = run_tasks(model, {"small_mcq": task}, nothing)
        found.append([record["nats"] for record in records_of(task, samples["small_mcq"])])
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-5, atol=1e-4)


def test_the_marginal_score_is_the_exact_sum_where_all_are_taken(
    model: LanguageModel, tmp_path: Path
) -> None:
    _, items = write(tmp_path, "mcq", [{**MCQ[0], "options": ["aso", "b", "ñ", "um"]}])
    (record,) = score_marginal(model, items, (10_000, 1), nothing)
    pieces = model.tokenizer.pieces
    before = [model.eod, *model.tokenizer.encode(items[0]["prompt"])]
    for at, option in enumerate(items[0]["options"]):
        every = list(lattice(pieces, f" {option}".encode(), 0.0).all())
        nats = [slow(model, [*before, *tokens], len(before)) for tokens in every]
        total = float(np.logaddexp.reduce(nats))
        assert record["nats"][at] == pytest.approx(total, abs=1e-4)
        assert record["scores"][at] == pytest.approx(total / len(option.encode()), abs=1e-4)
        assert record["tokenisations"][at] == len(every) and record["draws"][at] == 0
    assert (record["id"], record["part"], record["language"]) == ("i0", "small", "fil")


def test_draws_depend_on_the_seed_and_the_item_alone(model: LanguageModel, tmp_path: Path) -> None:
    _, items = write(tmp_path, "mcq", MCQ)
    whole = score_marginal(model, items, (2, 1), nothing)
    alone = score_marginal(model, items[2:], (2, 1), nothing)
    assert alone[0]["nats"] == pytest.approx(whole[2]["nats"], abs=1e-5)
    assert whole[2]["draws"][0] == 2 and whole[2]["effective"][0] >= 1
    other = score_marginal(model, items[2:], (2, 2), nothing)
    assert other[0]["nats"] != pytest.approx(alone[0]["nats"], abs=1e-5)


def test_a_record_begins_with_what_it_needs_of_its_item() -> None:
    item = {"id": "a", "level": 2, "group": "hierarchical", "language": "en", "prompt": "?"}
    assert list(labelled(item, {"correct": True}).items()) == [
        ("id", "a"), ("group", "hierarchical"), ("part", "level2"), ("language", "en"),
        ("correct", True),
    ]  # fmt: skip


def test_a_summary_counts_by_part_and_language_and_averages_chance() -> None:
    items = [
        {"category": "a", "language": "fil", "options": [1, 2]},
        {"category": "b", "language": "fil", "options": [1, 2, 3, 4]},
        {"category": "b", "language": "en", "options": [1, 2, 3, 4]},
    ]
    found = summarise(items, [{"correct": True}, {"correct": True}, {"correct": False}])
    assert found["correct"] == 2 and found["chance"] == pytest.approx(1 / 3)
    assert found["by"]["b"] == {"n": 2, "correct": 1, "accuracy": 0.5, "chance": 0.25}
    assert found["by_language"]["fil"]["n"] == 2 and found["by_language"]["en"]["correct"] == 0
    assert found["by_part_language"]["b@fil"]["correct"] == 1
    plain = summarise([{"category": "a"}], [{"correct": True}])
    assert "by_language" not in plain and plain["chance"] == 0
