"""The infilling trainer. `test_defect_N` guard against what public code for this method does."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.infilling_sample import make_examples, write_config
from training.contract import BadInput, Exit, load_config
from training.fit_settings import read_fit
from training.hf import fitting, ilm
from training.hf.guards import Stop
from training.hf.ilm import Infilling, choose, is_answer, main, pad_rows, read_own, token_losses
from training.hf.task import IGNORED, find_place
from training.infilling import ANSWER, CONTEXT, END, Examples

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ilm")
    make_examples(root)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """Examples that a test may change."""
    shutil.copytree(made / "examples", tmp_path / "examples")
    return tmp_path


def task_of(root: Path, **changes: Any) -> Infilling:
    config = load_config(write_config(root, **changes))
    settings = read_fit(config)
    own = read_own(config, settings)
    config.raise_problems()
    return Infilling(own)


def built(root: Path, **changes: Any) -> Infilling:
    task = task_of(root, **changes)
    task.build(find_place("fp32", False, Stop()))
    return task


@torch.no_grad()
def evaluated(task: Infilling) -> dict[str, float]:
    return task.evaluate(find_place("fp32", False, Stop()))


def train(root: Path, **changes: Any) -> Exit:
    return main(["--config", str(write_config(root, **changes))])


def rows(root: Path, run: str = "run") -> list[dict[str, float]]:
    text = (root / run / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def numbers(root: Path, run: str = "run") -> list[dict[str, float]]:
    left_out = ("time", "train/examples_per_second", "train/memory_bytes")
    return [{key: value for key, value in row.items() if key not in left_out}
            for row in rows(root, run)]


def test_training_lowers_both_terms_and_keeps_what_the_study_names(root: Path) -> None:
    assert train(root, train={"max_steps": 60, "validate_every": 20, "checkpoint_every": 20}) == 0
    held = rows(root)
    losses = [row["train/loss"] for row in held if "train/loss" in row]
    assert losses[-1] < 0.8 * losses[0]
    logged = next(row for row in held if "train/loss" in row)
    assert logged["train/loss"] == pytest.approx(
        logged["train/infill_loss"] + logged["train/context_loss"], abs=1e-5)
    assert {"train/learning_rate", "train/grad_norm", "train/grad_norm_clipped",
            "train/examples_per_second", "train/memory_bytes"} <= logged.keys()
    judged = [row for row in held if "val/perplexity" in row]
    assert [row["step"] for row in judged] == [20, 40, 60]
    assert judged[-1]["val/perplexity"] < judged[0]["val/perplexity"]
    status = json.loads((root / "run" / "status.json").read_text())
    assert status["state"] == "done" and status["level"] == "A1"
    for folder in ("best", "final", "step_00000060"):
        files = {path.name for path in (root / "run" / folder).iterdir()}
        assert {"model.safetensors", "config.json", "tokenizer.json", "infilling_tokens.json",
                "manifest.json"} <= files
    assert (root / "run" / "step_00000060" / "optimizer.safetensors").is_file()


def reference_loss(task: Infilling, numbers: list[int]) -> float:
    """The two means, from the definition, over examples one by one."""
    nats: dict[str, list[float]] = {"infill": [], "context": []}
    for number in numbers:
        ids, kinds = task.data.row(number)
        with torch.no_grad():
            logits = task.model(input_ids=torch.from_numpy(ids)[None]).logits[0].log_softmax(-1)
        for at in range(1, len(ids)):
            if kinds[at] in (ANSWER, END):
                nats["infill"].append(-float(logits[at - 1, ids[at]]))
            elif kinds[at] == CONTEXT:
                nats["context"].append(-float(logits[at - 1, ids[at]]))
    return sum(sum(values) / len(values) for values in nats.values())


@pytest.mark.parametrize("train", [8, 4, 2, 1])
def test_the_loss_is_one_mean_a_term_whatever_the_accumulation(root: Path, train: int) -> None:
    task = built(root, batch={"train": train, "accumulation": 8 // train})
    order = list(task.order(0))
    for place in (0, 8):
        update = [int(n) for n in order[place : place + 8]]
        batches = [task.collate(update[at : at + train], 0) for at in range(0, 8, train)]
        assert sum(task.count(batch) for batch in batches) == pytest.approx(1)
        total = sum(task.loss(batch).total.item() for batch in batches)
        assert total == pytest.approx(reference_loss(task, update), rel=1e-4)


def test_the_short_last_update_of_an_epoch_is_weighed_by_itself(root: Path) -> None:
    task = built(root, batch={"train": 7})
    left = len(task.data) % 7
    assert left
    update = [int(n) for n in list(task.order(1))[-left:]]
    batch = task.collate(update, 1)
    assert float(batch["share"]) == 1
    assert task.loss(batch).total.item() == pytest.approx(reference_loss(task, update), rel=1e-4)


def test_minimal_supervision_leaves_the_context_out(root: Path) -> None:
    task = built(root, train={"terms": ["infill"]})
    update = [int(n) for n in list(task.order(0))[:8]]
    batch = task.collate(update, 0)
    weights, kinds = batch["weights"], batch["kinds"][:, 1:]
    assert float(weights[kinds == CONTEXT].sum()) == 0
    assert float(weights[is_answer(kinds)].sum()) == pytest.approx(1)


def test_blanks_separator_and_padding_are_never_targets(root: Path) -> None:
    task = built(root)
    batch = task.collate([int(n) for n in list(task.order(0))[:8]], 0)
    targets = is_answer(batch["kinds"][:, 1:]) | (batch["kinds"][:, 1:] == CONTEXT)
    assert float(batch["weights"][~targets].sum()) == 0 and (batch["weights"][targets] > 0).all()
    losses = token_losses(task.model, batch)
    assert losses[~targets].abs().sum().item() == 0
    special = set(task.index["special"].values()) - {task.index["special"]["<|endofinfill|>"]}
    assert not special & set(batch["ids"][:, 1:][targets].tolist())


def test_padding_changes_no_loss(root: Path) -> None:
    task = built(root)
    short, long = np.argsort(np.diff(task.data.first))[[0, -1]].tolist()
    together, alone = pad_rows(task.data, [short, long]), pad_rows(task.data, [short])
    length = alone["ids"].shape[1] - 1
    with torch.no_grad():
        a, b = token_losses(task.model, together)[0], token_losses(task.model, alone)[0]
    assert torch.allclose(a[:length], b, atol=1e-5) and float(a[length:].abs().sum()) == 0


def test_an_evaluation_is_a_mean_over_tokens_of_the_same_examples(root: Path) -> None:
    task = built(root, batch={"eval": 3})
    values = evaluated(task)
    nats: dict[str, list[float]] = {name: [] for name in ilm.TARGETS}
    for number in task.chosen.tolist():
        batch = pad_rows(task.held_out, [number])
        losses = token_losses(task.model, batch)[0].tolist()
        kinds = batch["kinds"][0, 1:].tolist()
        for loss, kind in zip(losses, kinds, strict=True):
            nats["infill"] += [loss] * (kind in (ANSWER, END))
            nats["infill_textonly"] += [loss] * (kind == ANSWER)
            nats["context"] += [loss] * (kind == CONTEXT)
    for name, each in nats.items():
        mean = sum(each) / len(each)
        assert values[f"val/{name}_loss"] == pytest.approx(mean, rel=1e-5)
        assert values[f"val/{name}_perplexity"] == pytest.approx(math.exp(mean), rel=1e-5)
    assert values["val/loss"] == values["val/infill_loss"]
    assert values == evaluated(task)


@pytest.mark.parametrize("target", ilm.TARGETS)
def test_the_study_names_what_stops_a_run(root: Path, target: str) -> None:
    task = built(root, validate={"target": target})
    values = evaluated(task)
    assert values["val/perplexity"] == values[f"val/{target}_perplexity"]


def test_new_rows_are_the_mean_of_the_others_and_the_head_stays_tied(root: Path) -> None:
    task = built(root)
    model, size = task.model, task.vocab_size
    before = model.get_input_embeddings().weight.detach().clone()
    ilm.add_rows(model, size + 7)
    weight = model.get_input_embeddings().weight
    assert torch.equal(weight[:size], before) and model.config.vocab_size == size + 7
    for row in weight[size:]:
        assert torch.allclose(row, before.mean(0))
    assert model.get_output_embeddings().weight is weight


def saved_base(root: Path, vocabulary: int, positions: int = 64) -> Path:
    import transformers
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=vocabulary, n_embd=16, n_layer=1, n_head=2,
                                     n_positions=positions, bos_token_id=None, eos_token_id=None)
    transformers.GPT2LMHeadModel(config).save_pretrained(root / "base")
    return root / "base"


def weights(root: Path) -> dict[str, Any]:
    return {"base": str(root / "base"), "init": "weights"}


def test_pretrained_weights_get_seven_rows(root: Path) -> None:
    size = json.loads((root / "examples" / "A1" / "infilling.json").read_text())["vocab_size"]
    saved_base(root, size)
    assert train(root, model=weights(root)) == 0
    config = json.loads((root / "run" / "final" / "config.json").read_text())
    assert config["vocab_size"] == size + 7
    status = json.loads((root / "run" / "status.json").read_text())
    assert status["initialised_from"] == str(root / "base")


@pytest.mark.parametrize(("extra", "positions", "message"), [
    (1, 64, "has a vocabulary of"), (0, 32, "the model reads 32 tokens")])
def test_weights_that_do_not_fit_are_refused(
    root: Path, extra: int, positions: int, message: str
) -> None:
    size = json.loads((root / "examples" / "A1" / "infilling.json").read_text())["vocab_size"]
    saved_base(root, size + extra, positions)
    with pytest.raises(BadInput, match=message):
        train(root, model=weights(root))


def test_a_run_goes_on_from_another_runs_model(root: Path) -> None:
    assert train(root) == 0
    first = root / "run" / "best"
    second = {"checkpoint_dir": str(root / "second"), "validate_first": True}
    assert train(root, model={"init_from": str(first)}, train=second) == 0
    best = min(row["val/perplexity"] for row in rows(root) if "val/perplexity" in row)
    assert rows(root, "second")[0]["val/perplexity"] == pytest.approx(best, rel=1e-5)
    status = json.loads((root / "second" / "status.json").read_text())
    assert status["initialised_from"] == str(first)


def test_init_from_refuses_what_is_no_infilling_model(root: Path) -> None:
    with pytest.raises(BadInput, match="model.init_from names its folder"):
        train(root, model={"init_from": str(root / "nowhere")})
    size = json.loads((root / "examples" / "A1" / "infilling.json").read_text())["vocab_size"]
    saved_base(root, size + 7)
    with pytest.raises(BadInput, match="is no infilling model"):
        train(root, model={"init_from": str(root / "base")})
    (root / "base" / "infilling_tokens.json").write_text('{"<|startofinfill|>": 1}')
    with pytest.raises(BadInput, match="other special tokens"):
        train(root, model={"init_from": str(root / "base")})


def test_init_from_refuses_a_model_of_another_tokenizer(root: Path) -> None:
    """As many tokens and the same special ones, but a pair of them exchanged."""
    assert train(root) == 0
    first, apart = root / "run" / "best", {"checkpoint_dir": str(root / "second")}
    own = first / "tokenizer.json"
    table = json.loads(own.read_text())
    pieces = list(table["model"]["vocab"])[-2:]
    one, other = (table["model"]["vocab"][piece] for piece in pieces)
    table["model"]["vocab"].update({pieces[0]: other, pieces[1]: one})
    own.write_text(json.dumps(table))
    with pytest.raises(BadInput, match="another tokenizer than the examples"):
        train(root, model={"init_from": str(first)}, train=apart)
    own.unlink()
    with pytest.raises(BadInput, match="tokenizer.json is no tokenizer: FileNotFoundError"):
        train(root, model={"init_from": str(first)}, train=apart)


@pytest.mark.parametrize(("changes", "message"), [
    ({"train": {"terms": ["all"]}}, "train.terms is"),
    ({"validate": {"target": "infil"}}, "validate.target is 'infil', not one of infill"),
    ({"validate": {"examples": 0}}, "validate.examples is 0"),
    ({"model": {"init": "weights"}}, "model.base names none"),
    ({"batch": {"seq_length": 32}}, "examples of 48 tokens, and batch.seq_length is 32"),
    ({"level": {"name": "C9"}}, "infilling.json cannot be read"),
    ({"train": {"early_stopping": {"metric": "val/rouge", "patience": 1}}}, "val/rouge"),
], ids=range(7))
def test_a_mistake_in_the_study_is_named(
    root: Path, changes: dict[str, dict[str, Any]], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        train(root, **changes)


def test_damaged_examples_are_refused(root: Path) -> None:
    path = root / "examples" / "A1" / "train" / "ids.npy"
    np.save(path, np.load(path)[:-1])
    with pytest.raises(BadInput, match="holds other examples than infilling.json says"):
        train(root)
    path.write_bytes(b"not an array")
    with pytest.raises(BadInput, match="ids.npy cannot be read"):
        train(root)


def test_early_stopping_ends_a_run_that_no_longer_gains(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([5.0, 4.0, 4.5, 4.2, 4.1, 9.9])
    true = Infilling.evaluate
    monkeypatch.setattr(Infilling, "evaluate",
                        lambda self, place: true(self, place) | {"val/perplexity": next(values)})
    stopping = {"metric": "val/perplexity", "mode": "min", "patience": 3}
    assert train(root, train={"max_steps": 80, "early_stopping": stopping}) == 0
    status = json.loads((root / "run" / "status.json").read_text())
    assert status["step"] == 20 and "3 evaluations without a better val/perplexity" in (
        status["reason"])
    manifest = json.loads((root / "run" / "final" / "manifest.json").read_text())
    assert manifest["best_step"] == 8
    best, final = (root / "run" / name / "model.safetensors" for name in ("best", "final"))
    assert best.read_bytes() == final.read_bytes()


# ---- defects of public code that must not come back --------------------------------------------


def test_defect_1_patience_is_kept_over_a_resume(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = Infilling.evaluate
    worse: Callable[..., Any] = lambda self, place: true(self, place) | {  # noqa: E731
        "val/perplexity": 100.0 if self.calls.append(0) or len(self.calls) > 1 else 50.0}
    monkeypatch.setattr(Infilling, "calls", [], raising=False)
    monkeypatch.setattr(Infilling, "evaluate", worse)
    stopping = {"early_stopping": {"metric": "val/perplexity", "patience": 3}}
    assert train(root, train={"max_steps": 8, **stopping}) == 0
    assert train(root, train={"max_steps": 80, **stopping}) == 0
    status = json.loads((root / "run" / "status.json").read_text())
    assert status["step"] == 16  # one better at 4, then 8, 12 and 16


def test_defect_2_the_last_step_is_evaluated_and_saved_each_step_once(root: Path) -> None:
    assert train(root, train={"max_steps": 7, "validate_every": 3, "checkpoint_every": 5}) == 0
    assert [row["step"] for row in rows(root) if "val/loss" in row] == [3, 6, 7]
    assert (root / "run" / "step_00000007").is_dir() and (root / "run" / "final").is_dir()


def test_defect_3_an_epoch_is_every_example_once(root: Path) -> None:
    task = task_of(root)
    assert task.examples == len(task.data) > 3 * 24  # 24 documents
    for epoch in (0, 1):
        assert sorted(np.asarray(task.order(epoch)).tolist()) == list(range(task.examples))
    assert list(task.order(0)) != list(task.order(1))
    assert train(root, train={"epochs": 1, "max_steps": 0}) == 0
    status = json.loads((root / "run" / "status.json").read_text())
    assert status["step"] == math.ceil(task.examples / 8)
    assert status["consumed_samples"] == task.examples


def test_defect_4_a_killed_run_gives_the_numbers_of_an_unbroken_one(root: Path) -> None:
    whole = {"max_steps": 12, "checkpoint_dir": str(root / "whole")}
    assert train(root, train=whole) == 0

    class Killed(Exception):
        pass

    true, count = fitting.learn, [0]

    def kill(run: Any) -> Any:
        count[0] += 1
        if count[0] == 10:
            raise Killed
        return true(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "learn", kill)
        with pytest.raises(Killed):
            train(root)
    assert train(root) == 0
    assert numbers(root) == numbers(root, "whole")
    same = [(root / run / "final" / "model.safetensors").read_bytes() for run in ("run", "whole")]
    assert same[0] == same[1]


def test_defect_5_a_resume_leaves_the_checkpoint_that_it_came_from_whole(root: Path) -> None:
    assert train(root, train={"max_steps": 4}) == 0
    before = (root / "run" / "step_00000004" / "model.safetensors").read_bytes()
    assert train(root, train={"max_steps": 8}) == 0
    assert (root / "run" / "step_00000004" / "model.safetensors").read_bytes() == before
    assert len(before) > 10_000


def test_defects_6_and_7_the_program_runs_with_the_packages_of_today(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "training" / "hf" / "ilm.py"), "--config",
         str(write_config(root, train={"max_steps": 2}))],
        cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "step 2/2" in done.stdout


def test_defect_10_an_update_without_answers_has_a_loss_that_is_a_number(root: Path) -> None:
    task = built(root)
    only = np.array([n for n in range(len(task.data)) if not task.data.targets[n, 0]][:3])
    assert len(only)
    task.places = (0, np.concatenate([only] * 3)[:8], np.zeros(task.examples, np.int64))
    batch = task.collate(only.tolist(), 0)
    loss = task.loss(batch).total
    assert math.isfinite(loss.item()) and loss.item() > 0
    terms = task_of(root, train={"terms": ["infill"]})
    terms.model, terms.places = task.model, task.places
    loss = terms.loss(terms.collate(only.tolist(), 0)).total
    loss.backward()
    assert loss.item() == 0
    assert all(torch.isfinite(p.grad).all() for p in task.model.parameters() if p.grad is not None)


def test_defect_10_a_run_over_texts_without_answers_is_no_nan(root: Path) -> None:
    directory = root / "examples" / "A1"
    targets, kinds = (np.load(directory / "train" / f"{name}.npy") for name in ("targets", "kinds"))
    kinds[np.isin(kinds, (ANSWER, END))] = 0
    targets[:, 0] = 0
    np.save(directory / "train" / "targets.npy", targets)
    np.save(directory / "train" / "kinds.npy", kinds)
    assert train(root) == 0
    assert all(math.isfinite(value) for row in rows(root) for value in row.values())


@pytest.mark.parametrize(("wanted", "given"), [(10_000, None), (1, 1), (7, 7)],
                         ids=["more than there are", "one", "less than a batch"])
def test_defect_15_any_number_of_evaluation_examples_will_do(
    root: Path, wanted: int, given: int | None
) -> None:
    assert len(choose(30, wanted, 1)) == min(wanted, 30)
    assert choose(30, wanted, 1).tolist() == choose(30, wanted, 1).tolist()
    task = task_of(root)
    answered = int(np.flatnonzero(task.held_out.targets.all(1))[0])
    task = built(root, validate={"examples": max(wanted, 7)})
    assert len(task.chosen) == min(max(wanted, 7), len(task.held_out))
    task.chosen = task.chosen[:given] if wanted != 1 else np.array([answered])
    values = evaluated(task)
    assert all(math.isfinite(value) for value in values.values())


def test_defect_15_evaluation_examples_without_answers_are_refused(root: Path) -> None:
    directory = root / "examples" / "A1" / "valid"
    targets = np.load(directory / "targets.npy")
    targets[:, 0] = 0
    np.save(directory / "targets.npy", targets)
    with pytest.raises(BadInput, match="evaluation examples of .* have no answers"):
        train(root)


def test_defect_16_reading_an_example_twice_gives_the_same(root: Path) -> None:
    data: Examples = task_of(root).data
    first = [part.tolist() for part in data.row(0)]
    ids, _ = data.row(0)
    ids[0] = IGNORED
    assert [part.tolist() for part in data.row(0)] == first


def test_defect_17_examples_stay_on_disk(root: Path) -> None:
    data = task_of(root).data
    assert isinstance(data.ids, np.memmap) and isinstance(data.kinds, np.memmap)
    assert data.ids.itemsize == 2


def test_a_signal_ends_with_a_checkpoint_and_the_next_attempt_goes_on(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = fitting.learn

    def interrupted(run: Any) -> Any:
        result = true(run)
        if run.step == 6:
            signal.raise_signal(signal.SIGTERM)
        return result

    monkeypatch.setattr(fitting, "learn", interrupted)
    assert train(root) == Exit.PREEMPTED
    assert (root / "run" / "step_00000006").is_dir()
    assert train(root) == 0
    assert json.loads((root / "run" / "status.json").read_text())["step"] == 12


def test_defect_18_what_the_project_asks_for_is_what_runs_here() -> None:
    from importlib.metadata import version

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [Requirement(text) for text in project["optional-dependencies"]["hf"]]
    assert {"numpy", "torch", "transformers"} <= {one.name for one in wanted}
    wrong = [str(one) for one in wanted if not one.specifier.contains(version(one.name))]
    assert not wrong
