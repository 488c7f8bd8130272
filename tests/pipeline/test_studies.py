"""The studies that ship: they load, they plan, and they say what their documents say."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from pipeline import claims, plan, revisions, site, study, yamlio

ROOT = Path(__file__).parents[2]
NAMES = ["filipino-cpt", "efcamdat-ilm", "marco-lora", "socratic-t5", "wiki-curriculum"]
SITES = {name: site.load(ROOT, name) for name in ("example-pbs", "example-slurm")}
RAW = {name: yamlio.load(ROOT / f"studies/{name}.yaml") for name in NAMES}
PROFILES = [(name, profile) for name in NAMES for profile in RAW[name]["profiles"]]


@functools.cache
def made(name, *profiles, at="example-pbs", sets=()):
    return plan.make(study.load(ROOT / f"studies/{name}.yaml", profiles, sets), SITES[at])


@functools.cache
def parameters(name, *profiles, arm=""):
    loaded = study.load(ROOT / f"studies/{name}.yaml", profiles)
    return yamlio.flatten(loaded.parameters(arm))


def test_these_are_all():
    assert sorted(NAMES) == sorted(path.stem for path in (ROOT / "studies").glob("*.yaml"))


@pytest.mark.parametrize("at", SITES)
@pytest.mark.parametrize("name", NAMES)
def test_it_plans_on_the_example_sites(name, at):
    jobs = made(name, at=at).jobs
    assert jobs[0].config["job"]["study"] == name
    assert all("${" not in repr((job.config, job.argv, job.outputs)) for job in jobs)


@pytest.mark.parametrize("at", SITES)
@pytest.mark.parametrize(("name", "profile"), PROFILES, ids=[f"{n}@{p}" for n, p in PROFILES])
def test_each_profile_plans_alone_and_says_what_it_is_for(name, profile, at):
    jobs = made(name, profile, at=at).jobs
    assert {job.state_dir for job in jobs} == {f"jobs/{name}@{profile}"}
    assert len(RAW[name]["profiles"][profile]["summary"]) > 10


@pytest.mark.parametrize(("name", "profile"), PROFILES, ids=[f"{n}@{p}" for n, p in PROFILES])
def test_a_profile_changes_exactly_the_keys_it_names(name, profile):
    overlay = RAW[name]["profiles"][profile]
    for arm in ("", *RAW[name].get("arms", {})):
        before, after = parameters(name, arm=arm), parameters(name, profile, arm=arm)
        of_arm = overlay.get("arms", {}).get(arm, {}).get("parameters", {})
        named = yamlio.flatten(yamlio.merge(overlay.get("parameters", {}), of_arm))
        changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
        assert changed <= set(named)
        assert {key: after[key] for key in named} == named


@pytest.mark.parametrize("name", NAMES)
def test_the_demo_fits_a_small_machine(name):
    for job in made(name, "demo").jobs:
        assert (job.resources.gpus, job.resources.cpus, job.resources.nodes) == (0, 1, 1)
        assert job.resources.mem_bytes <= 3 * 10**9


@pytest.mark.parametrize("name", NAMES)
def test_it_says_its_claims_and_decisions_in_full(name):
    judged = claims.judge(study.load(ROOT / f"studies/{name}.yaml"), ROOT)
    assert all(one.claim.line for one in judged)
    assert all({"what", "why"} <= set(d) for d in RAW[name]["decisions"])
    arms = {None, *RAW[name].get("arms", {})}
    expected = RAW[name]["expectations"]
    assert all(e.get("arm") in arms and (e.keys() & {"metric", "file", "matrix"}) for e in expected)


@pytest.mark.parametrize("name", NAMES)
def test_its_revisions_explain_what_differs(name):
    revisions.check(made(name).study)


# 001: the main plan's tables.

PLAN = [
    ("Base model", "model.base", "google/gemma-3-1b-pt"),
    ("Sequence length", "model.seq_length", 2048),
    ("Vocab size", "tokenizer.vocab_size", 262144),
    ("Optimizer", "optimizer.name", "adamw"),
    ("Learning rate", "optimizer.lr", 1e-4),
    ("Min learning rate", "optimizer.min_lr", 1e-5),
    ("Warmup steps", "optimizer.warmup_steps", 500),
    ("Weight decay", "optimizer.weight_decay", 0.1),
    ("Gradient clipping", "optimizer.clip", 1.0),
    ("Precision", "train.precision", "bf16-mixed"),
    ("Global batch size", "batch.global", 256),
    ("Micro batch size", "batch.micro", 2),
    ("Max steps", "train.max_steps", 10000),
    ("Checkpoint interval", "train.checkpoint_every", 1000),
    ("Validation interval", "train.validate_every", 500),
    ("Log interval", "train.log_every", 10),
    ("--language", "corpus.language", "fil"),
    ("--output", "corpus.file", "data/corpora/seapile-v2-filipino.jsonl"),
    ("--output-dir", "corpus.chunk_dir", "data/chunks"),
    ("--num-chunks", "corpus.chunks", 20),
    ("WandB project", "wandb.project", "gemma3-seapile-cpt"),
    ("--benchmarks", "evaluate.benchmarks", ["pacute", "hierarchical"]),
    ("--eval-mode", "evaluate.mode", "both"),
    ("--results-dir", "analyze.results_dir", "results"),
]


@pytest.mark.parametrize(("key", "value"), [c[1:] for c in PLAN], ids=[c[0] for c in PLAN])
@pytest.mark.parametrize("arm", ["vanilla", "stochastok", "patok"])
def test_the_main_study_holds_the_plan_s_table(arm, key, value):
    found = yamlio.flatten(made("filipino-cpt").job(f"train_{arm}").config["parameters"])[key]
    assert found == value
    assert type(found) is type(value)


TOKENIZATION = {
    "vanilla": {"name": "vanilla"},
    "stochastok": {"name": "stochastok", "expand_prop": 0.1},
    "patok": {
        "name": "patok", "contract_prop": 0.9, "expand_prop": 0.1, "affix_awareness": 0.95,
        "affix_awareness_if_overlap": 0.75, "num_toks_to_cont": [2, 3, 4],
        "contract_prob": [0.35, 0.35, 0.3], "affix_dir": "data/affixes",
    },
}  # fmt: skip


@pytest.mark.parametrize("arm", TOKENIZATION)
def test_the_main_study_s_tokenisation_is_the_plan_s(arm):
    config = made("filipino-cpt").job(f"preprocess_{arm}").config["parameters"]
    assert config["variant"] == TOKENIZATION[arm]


OUTPUTS = [
    ("vanilla", "baseline", "/workspace/data/processed/vanilla/seapile"),
    ("stochastok", "stochastok", "/workspace/data/processed/stochastok/seapile"),
    ("patok", "patok", "/workspace/data/processed/patok/seapile"),
]


@pytest.mark.parametrize(("arm", "run", "data"), OUTPUTS, ids=[c[0] for c in OUTPUTS])
def test_the_main_study_s_paths_and_run_names_are_the_plan_s(arm, run, data):
    config = made("filipino-cpt").job(f"train_{arm}").config
    train = config["parameters"]["train"]
    assert train["checkpoint_dir"] == f"/logs/checkpoints/gemma3-1b-{run}"
    assert config["parameters"]["wandb"]["name"] == f"gemma3-1b-{run}"
    assert f"{config['paths']['project']}/{train['data_path']}" == data


def test_the_main_study_s_hardware_is_the_plan_s():
    job = made("filipino-cpt").job("train_patok")
    batch = job.config["parameters"]["batch"]
    assert job.resources.gpus * job.resources.nodes == 8
    assert batch["global"] / (8 * batch["micro"]) == 16


EXPECTED = [
    ("vanilla", [40, 50], [30, 40]),
    ("stochastok", [50, 65], [45, 55]), ("patok", [60, 70], [55, 70]),
]  # fmt: skip


@pytest.mark.parametrize(("arm", "affixation", "level2"), EXPECTED, ids=[c[0] for c in EXPECTED])
def test_the_main_study_expects_what_the_plan_expects(arm, affixation, level2):
    rows = {(e["arm"], e["metric"]): e["range"] for e in RAW["filipino-cpt"]["expectations"]}
    assert rows[arm, "pacute.affixation"] == affixation
    assert rows[arm, "hierarchical.level2"] == level2


# 003: three models, two revisions.

REVISIONS = [
    ("initial", (1e-4, 8, 8, 2, 500, 0.0, "fp32", 5, 0.001, "adamw_torch", False, False)),
    ("", (5e-5, 32, 64, 1, 0, 0.06, "bf16-mixed", 10, 0.0, "adamw_torch_fused", True, True)),
]
KEYS = [
    "optimizer.lr", "batch.train", "batch.eval", "batch.accumulation", "optimizer.warmup_steps",
    "optimizer.warmup_ratio", "train.precision", "train.early_stopping.patience",
    "train.early_stopping.min_delta", "optimizer.name", "train.activation_checkpointing",
    "train.tf32",
]  # fmt: skip


@pytest.mark.parametrize(("profile", "values"), REVISIONS, ids=["initial", "final"])
def test_socratic_s_revisions(profile, values):
    found = parameters("socratic-t5", *filter(None, [profile]), arm="t5-base")
    assert tuple(found[key] for key in KEYS) == values


def test_socratic_s_final_revision_gives_a_reason_for_each_of_its_nine_changes():
    found = revisions.difference(ROOT / "studies/socratic-t5.yaml", "initial", "final")
    assert len(found.changes) == 9
    assert all(change.why for change in found.changes)
    assert set(KEYS) == set(found.keys)


MODELS = [
    ("flan-t5-small", "google/flan-t5-small"), ("flan-t5-base", "google/flan-t5-base"),
    ("t5-base", "t5-base"),
]  # fmt: skip


@pytest.mark.parametrize(("arm", "base"), MODELS, ids=[c[0] for c in MODELS])
def test_socratic_s_models(arm, base):
    found = parameters("socratic-t5", arm=arm)
    assert (found["model.base"], found["lora.r"], found["lora.alpha"]) == (base, 16, 32)
    ffn = {"wi"} if arm == "t5-base" else {"wi_0", "wi_1"}
    assert set(found["lora.target_modules"]) == {"q", "k", "v", "o", "wo", *ffn}


# 004: nine stages.

CURRICULUM = [
    (0, 64, 256, 11.3), (2000, 128, 128, 7.0), (4000, 256, 64, 3.5), (8000, 512, 32, 1.5),
    (12000, 768, 21, 1.0), (18000, 1024, 16, 0.7), (25000, 1536, 10, 0.5), (35000, 2048, 8, 0.4),
    (50000, 2048, 8, 0.3),
]  # fmt: skip


def test_the_curriculum_is_the_plan_s_in_its_own_form():
    found = made("wiki-curriculum").job("train_curriculum").config["parameters"]
    keys = ("step", "seq_len", "batch_size", "lr_scale")
    assert found["curriculum_stages"] == [dict(zip(keys, row, strict=True)) for row in CURRICULUM]
    ends = [row[0] for row in CURRICULUM[1:]] + [found["train"]["max_steps"]]
    examples = sum((end - row[0]) * row[2] for row, end in zip(CURRICULUM, ends, strict=True))
    assert (ends[-1], examples) == (100_000, 2_010_000)
    values = parameters("wiki-curriculum")
    assert values["dataset.train"] + values["dataset.validation"] == values["dataset.articles"]
    assert (values["train.validate_every"], values["train.validation.batch"]) == (2000, 16)
    assert values["train.early_stopping.patience"] == 10


def test_the_curriculum_s_gates():
    checks = made("wiki-curriculum").job("train_curriculum").config["gate"]
    found = [(c["at"], c["below"]) for c in checks if c["key"] == "val/perplexity"]
    assert found == [(12000, 500), (35000, 50), (100000, 25)]
