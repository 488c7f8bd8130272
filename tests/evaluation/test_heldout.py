"""Held-out figures against a slow computation that knows nothing of spans and batches."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evaluation.config import Config, InputError
from evaluation.heldout import HeldOut, count_windows, load_held_out, measure, windows
from evaluation.models import LanguageModel

Write = Callable[[Path, list[list[int]]], None]
SEQ = 16


def nothing(_: int) -> None:
    """Progress that nobody looks at."""


def slow_bits(model: LanguageModel, documents: list[list[int]], text: list[str]) -> float:
    """Bits a byte, token by token: the context of token i begins at the last multiple of SEQ."""
    nats = 0.0
    for ids in documents:
        sequence = [model.eod, *ids]
        for at in range(1, len(sequence)):
            context = sequence[(at - 1) // SEQ * SEQ : at]
            with torch.no_grad():
                logits = model.lm.model(input_ids=torch.tensor([context])).logits[0, -1].double()
            nats -= float(torch.log_softmax(logits, -1)[sequence[at]])
    return nats / math.log(2) / sum(len(t.encode()) for t in text)


def split_ids(model: LanguageModel, text: str) -> list[int]:
    """Another tokenisation of the same text: each character by itself."""
    return [token for letter in text for token in model.tokenizer.encode(letter)]


def arrays(documents: list[list[int]]) -> list[Any]:
    return [np.array(ids, dtype=np.int64) for ids in documents]


def test_the_figures_equal_the_slow_ones(model: LanguageModel, texts: list[str]) -> None:
    vanilla = [model.tokenizer.encode(text) for text in texts]
    own = [split_ids(model, text) for text in texts]
    data = HeldOut(arrays([[*i, 1] for i in vanilla]), arrays([[*i, 1] for i in own]), 1)
    seen: list[int] = []
    found = measure(model, data, SEQ, seen.append)
    assert found["bits_per_byte"] == pytest.approx(slow_bits(model, vanilla, texts), rel=1e-5)
    assert found["bits_per_byte_own_tokens_upper_bound"] == pytest.approx(
        slow_bits(model, own, texts), rel=1e-5
    )
    counts = Counter(token for ids in vanilla for token in ids)
    tokens, size = sum(map(len, vanilla)), sum(len(text.encode()) for text in texts)
    entropy = -sum(n * math.log2(n / tokens) for n in counts.values())
    assert found["unigram_bits_per_byte"] == pytest.approx(entropy / size)
    assert (found["tokens"], found["own_tokens"]) == (tokens, sum(map(len, own)))
    assert (found["bytes"], found["documents"]) == (size, len(texts))
    assert 0 < sum(seen) <= count_windows(data, SEQ)  # equal windows are scored once


def test_an_arm_with_the_vanilla_tokens_is_measured_once(
    model: LanguageModel, texts: list[str]
) -> None:
    documents = arrays([[*model.tokenizer.encode(text), 1] for text in texts])
    data, seen = HeldOut(documents, documents, 1), list[int]()
    found = measure(model, data, SEQ, seen.append)
    assert found["bits_per_byte"] == found["bits_per_byte_own_tokens_upper_bound"]
    assert count_windows(data, SEQ) == sum(-(-(len(d) - 1) // SEQ) for d in documents)
    assert 0 < sum(seen) <= count_windows(data, SEQ)


@pytest.mark.parametrize("size", [0, 1, SEQ - 1, SEQ, SEQ + 1, 3 * SEQ, 3 * SEQ + 5])
def test_windows_predict_each_token_once(size: int) -> None:
    ids = list(range(10, 10 + size))
    pairs = windows(ids, 1, SEQ)
    assert [token for _, predicted in pairs for token in predicted] == ids
    assert all(len(context) == 1 and len(predicted) <= SEQ for context, predicted in pairs)
    assert [context[0] for context, _ in pairs] == [[1, *ids][i * SEQ] for i in range(len(pairs))]


def test_another_text_in_the_arms_documents_is_refused(model: LanguageModel) -> None:
    vanilla = arrays([[*model.tokenizer.encode("isa dalawa"), 1]])
    other = arrays([[*model.tokenizer.encode("isa tatlo"), 1]])
    for own in (other, vanilla + vanilla):
        with pytest.raises(InputError, match="whose text is not that of the 1 vanilla documents"):
            measure(model, HeldOut(vanilla, own, 1), SEQ, nothing)


def test_documents_must_end_with_eod_and_hold_text(model: LanguageModel) -> None:
    with pytest.raises(InputError, match="document 1 does not end with the end-of-document id 1"):
        HeldOut(arrays([[5, 1], [5]]), [], 1)
    with pytest.raises(InputError, match="are empty"):
        measure(model, HeldOut(arrays([[1]]), arrays([[1]]), 1), SEQ, nothing)


def test_windows_that_a_back_end_would_cut_are_refused(model: LanguageModel) -> None:
    documents = arrays([[*model.tokenizer.encode("isa dalawa"), 1]])
    data = HeldOut(documents, documents, 1)
    measure(model, data, model.context, nothing)
    with pytest.raises(InputError, match="windows of 257 tokens .* do not fit the 257"):
        measure(model, data, model.context + 1, nothing)


def config(folder: Path, **evaluate: Any) -> Config:
    values = {
        "corpus": {"chunks": 2},
        "train": {"split": [80, 20, 0]},
        "evaluate": {
            "reference_data": str(folder / "vanilla/d"),
            "arm_data": str(folder / "patok/d"),
            **evaluate,
        },
    }
    return Config({"parameters": values}, "job.yaml")


def test_both_sets_are_read_by_the_configuration(tmp_path: Path, write_prefix: Write) -> None:
    for arm, shift in (("vanilla", 0), ("patok", 50)):
        for chunk in (1, 2):
            documents = [[100 * chunk + i + shift, 1] for i in range(5)]
            write_prefix(tmp_path / f"{arm}/d_{chunk:04d}", documents)
    data = load_held_out(config(tmp_path), 1)
    assert data is not None
    assert [ids.tolist() for ids in data.vanilla] == [[104], [204]]
    assert [ids.tolist() for ids in data.own] == [[154], [254]]
    assert load_held_out(config(tmp_path, heldout="none"), 1) is None
    with pytest.raises(InputError, match="validation, none"):
        load_held_out(config(tmp_path, heldout="test"), 1)


def test_the_digest_tells_other_documents_apart() -> None:
    def digest(vanilla: list[list[int]], own: list[list[int]]) -> str:
        return HeldOut(arrays(vanilla), arrays(own), 1).digest()

    same = digest([[5, 6, 1]], [[5, 6, 1]])
    assert same == digest([[5, 6, 1]], [[5, 6, 1]])
    assert same != digest([[5, 1], [6, 1]], [[5, 6, 1]])
    assert same != digest([[5, 6, 1]], [[6, 5, 1]])
