from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from evaluation import perplexity
from evaluation.config import Config, InputError
from evaluation.models import LOGIT_BYTES
from evaluation.perplexity import Examples, batches, figures, main, open_examples, request_of
from tests.training.infilling_sample import make_examples


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two levels' examples and a random model that knows their tokens."""
    import transformers
    root = tmp_path_factory.mktemp("perplexity")
    for level in ("A1", "B1"):
        make_examples(root, 12, 48, level)
    index = json.loads((root / "examples" / "A1" / "infilling.json").read_text())
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=index["vocab_size_with_special"], n_embd=16,
                                     n_layer=1, n_head=2, n_positions=64, bos_token_id=None,
                                     eos_token_id=None)
    transformers.GPT2LMHeadModel(config).save_pretrained(root / "model")
    (root / "model" / "infilling_tokens.json").write_text(json.dumps(index["special"]))
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    for name in ("examples", "model"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


def config(root: Path, **evaluate: Any) -> Path:
    path = root / "c.yaml"
    path.write_text(yaml.safe_dump({"parameters": {
        "examples": {"output_dir": str(root / "examples")}, "validate": {"target": "infill"},
        "evaluate": {"test_levels": ["A1", "B1"], "tasks": 2, "model": str(root / "model"),
                     "output_dir": str(root / "out"), **evaluate}}}))
    return path


def run(root: Path, task: int, **evaluate: Any) -> int:
    return main(["--config", str(config(root, **evaluate)), "--task", str(task)])


def told(root: Path, task: int) -> dict[str, Any]:
    path = root / "out" / f"perplexity_{task:04d}.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_means_are_over_tokens_example_by_example(root: Path) -> None:
    import transformers
    assert run(root, 2) == 0
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(root / "model").eval()
    data = open_examples(root / "examples" / "B1")
    nats: dict[str, list[float]] = {name: [] for name in perplexity.TARGETS}
    for n in range(len(data)):
        ids = data.ids[data.first[n] : data.first[n + 1]].astype(np.int64)
        kinds = [perplexity.KINDS[k] for k in data.kinds[data.first[n] : data.first[n + 1]]]
        with torch.no_grad():
            logits = model(input_ids=torch.from_numpy(ids)[None]).logits[0].log_softmax(-1)
        for at in range(1, len(ids)):
            loss = -logits[at - 1, ids[at]].item()
            nats["infill"] += [loss] * (kinds[at] in ("answer", "end"))
            nats["infill_textonly"] += [loss] * (kinds[at] == "answer")
            nats["context"] += [loss] * (kinds[at] == "context")
    found = told(root, 2)
    for name, values in nats.items():
        assert found[f"{name}_loss"]["B1"] == pytest.approx(sum(values) / len(values), rel=1e-5)
        assert found[f"{name}_tokens"]["B1"] == len(values)
    assert found["perplexity"]["B1"] == pytest.approx(math.exp(found["infill_loss"]["B1"]))


def test_tasks_share_the_levels(root: Path) -> None:
    for task in (1, 2):
        assert run(root, task) == 0
    assert list(told(root, 1)["perplexity"]) == ["A1"]
    assert list(told(root, 2)["perplexity"]) == ["B1"]
    apart = told(root, 1)["perplexity"] | told(root, 2)["perplexity"]
    assert run(root, 1, tasks=1) == 0
    assert told(root, 1)["perplexity"] == pytest.approx(apart)


def test_batches_hold_every_example_once_within_their_bound(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Model:
        class config:
            vocab_size = 347
        device = torch.device("cpu")

    data = open_examples(root / "examples" / "A1")
    monkeypatch.setitem(LOGIT_BYTES, "cpu", 347 * 4 * 100)
    found = list(batches(data, len(data), Model))
    assert sorted(n for rows in found for n in rows) == list(range(len(data)))
    lengths = np.diff(data.first)
    assert all(len(rows) == 1 or len(rows) * lengths[rows].max() <= 100 for rows in found)
    assert len(list(batches(data, 3, Model))) <= 3


def test_a_second_run_does_nothing_until_something_changes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(root, 1) == 0
    first = told(root, 1)
    monkeypatch.setattr(perplexity, "measure", lambda *given: pytest.fail("measured again"))
    assert run(root, 1) == 0 and told(root, 1) == first
    monkeypatch.undo()
    assert run(root, 1, examples=2) == 0
    assert told(root, 1)["made_from"] != first["made_from"]
    assert told(root, 1)["infill_tokens"]["A1"] < first["infill_tokens"]["A1"]


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda root: (root / "model" / "infilling_tokens.json").write_text("{}"),
     "other special tokens"),
    (lambda root: (root / "model" / "infilling_tokens.json").unlink(), "trained for infilling"),
    (lambda root: (root / "model" / "config.json").unlink(), "is no model"),
    (lambda root: (root / "examples" / "A1" / "infilling.json").unlink(), "cannot be read"),
    (lambda root: (root / "examples" / "A1" / "test" / "ids.npy").write_bytes(b""),
     "ids.npy cannot be read"),
], ids=["other tokens", "no tokens", "no model", "no examples", "damaged"])
def test_what_is_missing_is_named(
    root: Path, capsys: pytest.CaptureFixture[str], spoil: Any, message: str
) -> None:
    spoil(root)
    assert run(root, 1) == 65
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert not (root / "out").exists()


@pytest.mark.parametrize(("task", "tasks"), [(0, 2), (3, 2), (1, 3)])
def test_a_task_without_a_share_is_refused(root: Path, task: int, tasks: int) -> None:
    values = yaml.safe_load(config(root, tasks=tasks).read_text())
    with pytest.raises(InputError, match="has no share of 2 levels"):
        request_of(Config(values, "c.yaml"), task, "")


def test_a_level_without_answers_has_no_perplexity(root: Path) -> None:
    values = yaml.safe_load(config(root).read_text())
    request = request_of(Config(values, "c.yaml"), 1, "")
    sums = {"A1": {"infill": (0.0, 0), "infill_textonly": (0.0, 0), "context": (1.0, 1)}}
    with pytest.raises(InputError, match="has no infill token"):
        figures(request, sums)


def test_examples_are_mapped(root: Path) -> None:
    data: Examples = open_examples(root / "examples" / "A1")
    assert isinstance(data.ids, np.memmap) and len(data) == data.index["splits"]["test"]["examples"]
