"""Scores of predictions, samples, and a BERTScore that is there or said to be absent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluation import seq2seq
from evaluation.bertscore import bert_score, f1, load_encoder
from evaluation.config import InputError, guarded

ROWS = [
    {"prompt": "p1", "response": "why do you think so ?", "told": "why do you think so ?"},
    {"prompt": "p2", "response": "what is meant ?", "told": "what do you mean ?"},
    {"prompt": "p3", "response": "how so ?", "told": ""},
]


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., list[str]]:
    def make(rows: Any = ROWS, **values: Any) -> list[str]:
        source = tmp_path / "predictions.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        parameters = {"predict": {"output": str(source)},
                      "evaluate": {"output_dir": str(tmp_path / "out"), **values}}  # fmt: skip
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump({"parameters": parameters}))
        return ["--config", str(path)]

    return make


def score(words: list[str]) -> int:
    return guarded(lambda: seq2seq.main(words))


def metrics(tmp_path: Path) -> dict[str, Any]:
    return dict(json.loads((tmp_path / "out" / "metrics.json").read_text()))


def test_scores_and_samples(job: Callable[..., list[str]], tmp_path: Path) -> None:
    assert score(job(metrics=["rougeL", "bleu4"], samples=2)) == 0
    found = metrics(tmp_path)
    assert found["rougeL"] == pytest.approx((1 + 2 / 7 + 0) / 3) and 0 < found["bleu4"] < 1
    assert found["answers"] == 3 and len(found["predictions"]["sha256"]) == 64
    text = (tmp_path / "out" / "samples.md").read_text()
    assert "1. p1" in text and "2. p2" in text and "p3" not in text


def test_a_bertscore_that_cannot_be_had_is_said_to_be_absent(
    job: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(job()) == 0
    found = metrics(tmp_path)
    assert "bertscore" not in found and "names no model" in found["absent"]["bertscore"]
    assert "warning: no bertscore" in capsys.readouterr().err
    assert score(job(bertscore={"model": str(tmp_path / "none"), "layer": 1})) == 0
    assert "cannot be loaded" in metrics(tmp_path)["absent"]["bertscore"]


@pytest.mark.parametrize(
    ("rows", "values", "told"),
    [
        ([], {}, "holds no answer"),
        ([{"prompt": "p", "response": "r"}], {}, "predictions.jsonl:1 has no text under 'told'"),
        (ROWS, {"metrics": ["meteor"]}, "metric 'meteor' is not known"),
    ],
)
def test_what_is_refused(
    job: Callable[..., list[str]], rows: Any, values: Any, told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert score(job(rows, **values)) == 65
    assert told in capsys.readouterr().err


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with random weights and a tokenizer of whole words."""
    import tokenizers
    import torch
    import transformers
    from tokenizers import models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "why", "do", "you", "think", "so", "?", "what",
             "is", "meant", "mean", "how"]  # fmt: skip
    made = tokenizers.Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    )
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def by_hand(encoder: Any, told: str, reference: str) -> float:
    """The paper's formula, a word at a time, each text encoded alone."""
    import torch

    sides = []
    for text in (told, reference):
        ids = encoder.tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            states = encoder.model(**ids, output_hidden_states=True).hidden_states[encoder.layer][0]
        sides.append([row / row.norm() for row in states])
    best = [
        [max(float(word @ other) for other in sides[1 - side]) for word in sides[side][1:-1]]
        for side in (0, 1)
    ]
    precision, recall = (sum(values) / len(values) for values in best)
    return 2 * precision * recall / (precision + recall)


def test_bertscore_is_the_formula(encoder: Path) -> None:
    loaded = load_encoder(str(encoder), 1)
    told = ["what do you mean ?", "why do you think so ?", "how ?"]
    references = ["what is meant ?", "why do you think so ?", "why do you think so ?"]
    expected = [by_hand(loaded, *pair) for pair in zip(told, references, strict=True)]
    assert expected[1] == pytest.approx(1)
    assert bert_score(loaded, told, references, 2) == pytest.approx(sum(expected) / 3, abs=1e-5)
    assert bert_score(loaded, [""], ["why"]) == 0 and bert_score(loaded, [], []) == 0
    assert f1.__doc__


def test_bertscore_is_scored_where_its_model_is(
    encoder: Path, job: Callable[..., list[str]], tmp_path: Path
) -> None:
    assert score(job(ROWS[:2], bertscore={"model": str(encoder), "layer": 2})) == 0
    assert 0.5 < metrics(tmp_path)["bertscore"] <= 1


def test_a_layer_that_is_not_there(encoder: Path) -> None:
    with pytest.raises(InputError, match="has 2 layers and no layer 17"):
        load_encoder(str(encoder), 17)


def test_line_separators_within_a_text_end_no_row(
    job: Callable[..., list[str]], tmp_path: Path
) -> None:
    text = "why?\u2028and how?"
    row = {"prompt": "p", "response": text, "told": text}
    words = job([row], metrics=["rougeL"])
    (tmp_path / "predictions.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", "utf-8")
    assert score(words) == 0
    assert metrics(tmp_path)["rougeL"] == 1.0
