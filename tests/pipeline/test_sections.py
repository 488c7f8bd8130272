"""The typed parameters: what the plan gives is taken, what it cannot mean is refused."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest

from pipeline import plan, sections, site, study, validate
from pipeline.errors import ConfigError

ROOT = Path(__file__).parents[2]
MAIN = ROOT / "studies/filipino-cpt.yaml"
LOADED = study.load(MAIN)
SITE = site.load(ROOT, "example-pbs")
CONFIG = plan.make(LOADED, SITE).job("train_patok").config["parameters"]
NAN, INF = math.nan, math.inf


def built(section, **changes):
    problems = []
    raw = {**copy.deepcopy(CONFIG[section]), **changes}
    raw = {key: value for key, value in raw.items() if value is not ...}
    kind = sections.SECTIONS[section]
    return validate.build(kind, raw, f"parameters.{section}", problems), problems


def test_equal_text_needs_to_know_whose_tokens_count():
    found, problems = built("train", budget="text", reference_data="")
    assert found is None and "budget is text" in problems[0]
    assert built("train", budget="text")[1] == []


@pytest.mark.parametrize("section", list(sections.SECTIONS))
def test_the_plan_s_own_values_are_taken(section):
    assert built(section)[1] == []


WRONG = {
    "corpus": [
        ("chunks", 0), ("chunks", -1), ("chunks", 2.5), ("chunks", "20"), ("chunks", True),
        ("source", 5), ("file", None), ("text_key", 1), ("name", ...), ("chunk_dir", ...),
    ],
    "tokenizer": [
        ("vocab_size", 0), ("vocab_size", 262144.0), ("eod", -1), ("eod", "1"), ("eod", ...),
        ("source", ...), ("path", []),
    ],
    "variant": [
        ("name", "patoc"), ("name", ...), ("expand_prop", 1.1), ("expand_prop", -0.1),
        ("expand_prop", NAN), ("expand_prop", "0.1"), ("contract_prop", 2),
        ("contract_prop", ...), ("expand_prop", ...), ("affix_dir", ...), ("affix_awareness", ...),
        ("affix_awareness", 95), ("affix_awareness_if_overlap", -1),
        ("num_toks_to_cont", [2, 3]), ("num_toks_to_cont", [1, 2, 3]), ("num_toks_to_cont", 3),
        ("num_toks_to_cont", ...), ("contract_prob", ...), ("contract_prob", [0.35, 0.35, 0.2]),
        ("contract_prob", [0.5, 0.5]), ("contract_prob", [0.35, 0.35, 0.3001]),
        ("contract_prob", [1.0, 0.5, -0.5]), ("contract_prob", [NAN, 0.5, 0.5]),
        ("contract_prob", [0.25, 0.25, 0.25, 0.25]), ("affix_dir", 1),
    ],
    "preprocess": [
        ("workers", 0), ("workers", -8), ("workers", 1.5), ("max_reject_share", 1.01),
        ("max_reject_share", -0.1), ("output_dir", ...),
    ],
    "model": [
        ("architecture", "gemma2"), ("init", "none"), ("seq_length", 0), ("vocab_size", 0),
        ("seq_length", "2048"), ("config", 3), ("base", ...),
    ],
    "optimizer": [
        ("name", "sgd"), ("lr", 0), ("lr", -1e-4), ("lr", NAN), ("lr", INF), ("lr", "1e-4"),
        ("min_lr", 1e-3), ("min_lr", -1), ("min_lr", NAN), ("warmup_steps", -1),
        ("warmup_steps", 0.05), ("decay", "cosign"), ("weight_decay", -0.1),
        ("weight_decay", INF), ("clip", -1), ("clip", NAN), ("betas", [0.9]), ("betas", [0.9, 1.0]),
        ("betas", [0.9, 1.1]), ("betas", 0.9), ("eps", 0), ("eps", -1e-8), ("lr", ...),
        ("decay", ...), ("warmup_steps", ...), ("weight_decay", ...), ("clip", ...),
    ],
    "batch": [
        ("global", 0), ("global", -256), ("global", 256.0), ("micro", 0), ("micro", ...),
        ("global", ...), ("accumulation", 16),
    ],
    "train": [
        ("backend", "megatron"), ("max_steps", 0), ("max_steps", 1e4), ("checkpoint_every", 0),
        ("checkpoint_every", 750), ("validate_every", 300), ("validate_every", 0),
        ("log_every", 0), ("precision", "bf16"), ("precision", "int8"), ("split", [98, 2]),
        ("split", [0, 1, 1]), ("split", [99, 0, 1]), ("split", [98, 1, -1]), ("split", "98,1,1"),
        ("keep_checkpoints", 0), ("tensor_parallel", 2), ("pipeline_parallel", 2),
        ("tensor_parallel", 0), ("validate_batches", -1), ("data_path", ...), ("max_steps", ...),
        ("budget", "bytes"),
    ],
    "wandb": [("mode", "on"), ("project", ...), ("name", 5), ("dir", 1)],
    "benchmark": [
        ("sizes", {"cute": 0}), ("sizes", {"level2": 5}), ("sizes", 200), ("groups", "pacute"),
        ("groups", ["cut"]), ("languages", ["tl"]), ("shots", -1), ("shots", 9),
        ("output_dir", ...),
    ],
    "evaluate": [("mode", "mcqa"), ("benchmarks", "pacute"), ("heldout", "test"), ("model", ...)],
    "analyze": [("baseline", ...), ("results_dir", 1)],
}  # fmt: skip
TABLE = [(section, key, value) for section, rows in WRONG.items() for key, value in rows]
IDS = [f"{s}.{k}={'missing' if v is ... else v}" for s, k, v in TABLE]


@pytest.mark.parametrize(("section", "key", "value"), TABLE, ids=IDS)
def test_a_bad_value_is_refused_under_its_path(section, key, value):
    found, problems = built(section, **{key: value})
    assert found is None
    assert len(problems) == 1
    assert problems[0].startswith(f"parameters.{section}")
    assert key in problems[0]


@pytest.mark.parametrize("section", list(sections.SECTIONS))
def test_an_unknown_key_is_refused(section):
    _, problems = built(section, zzz=1)
    assert problems[0].startswith(f"parameters.{section}.zzz: unknown key; ")


RIGHT = [
    ("variant", {"contract_prob": [0.1] * 10, "num_toks_to_cont": [2] * 10}),
    ("variant", {"contract_prob": [1.0, 0.0, 0.0]}),
    ("variant", {"expand_prop": 0}),
    ("variant", {"affix_awareness_if_overlap": ...}),
    ("optimizer", {"min_lr": 1e-4}),
    ("optimizer", {"warmup_steps": 0, "weight_decay": 0, "clip": 0}),
    ("train", {"checkpoint_every": 500}),
    ("train", {"split": [90, 10, 0]}),
    ("train", {"precision": "auto"}),
]


@pytest.mark.parametrize(("section", "changes"), RIGHT, ids=[str(c) for c in RIGHT])
def test_an_edge_is_taken(section, changes):
    assert built(section, **changes)[1] == []


@pytest.mark.parametrize("name", ["vanilla", "stochastok", "patok"])
def test_a_variant_needs_its_own_parameters(name):
    problems = []
    validate.build(sections.Variant, {"name": name}, "v", problems)
    assert bool(problems) == (name != "vanilla")


BATCHES = [
    # global, micro, GPUs a node, nodes, accumulation or None where it does not divide
    (256, 2, 8, 1, 16), (256, 1, 8, 1, 32), (256, 4, 8, 1, 8), (256, 2, 8, 2, 8),
    (256, 2, 4, 1, 32), (256, 2, 1, 1, 128), (256, 32, 8, 1, 1),
    (256, 3, 8, 1, None), (256, 64, 8, 1, None), (256, 2, 6, 1, None), (250, 2, 8, 1, None),
    (8, 2, 8, 1, None), (256, 2, 8, 3, None),
]  # fmt: skip


@pytest.mark.parametrize(("size", "micro", "gpus", "nodes", "steps"), BATCHES)
def test_the_global_batch_divides_into_micro_batches_and_gpus(size, micro, gpus, nodes, steps):
    sets = [
        f"batch.global={size}", f"batch.micro={micro}",
        f"stages.train.resources.gpus={gpus}", f"stages.train.resources.nodes={nodes}",
    ]  # fmt: skip
    loaded = study.load(MAIN, sets=sets)
    if steps is None:
        with pytest.raises(ConfigError, match="not divisible by micro x GPUs") as caught:
            plan.make(loaded, SITE)
        assert f"{micro} x {gpus * nodes}" in str(caught.value)
        return
    job = plan.make(loaded, SITE).job("train_patok")
    batch, asked = job.config["parameters"]["batch"], job.resources
    assert batch["global"] == steps * batch["micro"] * asked.gpus * asked.nodes


@pytest.mark.parametrize("count", [True, 0, -1, 1.5, "x", "${nothing}", None, [1]])
def test_a_study_with_a_bad_number_of_chunks_is_refused(count):
    with pytest.raises(ConfigError):
        plan.make(study.load(MAIN, sets=[f"corpus.chunks={count}"]), SITE)
