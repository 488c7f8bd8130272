"""The three training jobs of the main study, rendered, against the plan's own tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import estimate, plan, site, study
from pipeline.job import Job
from training.config import load_settings, parse_arguments
from training.contract import ConfigLoader
from training.nemo.plan import PARAMETERS, check_supported, dry_run
from training.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "studies" / "filipino-cpt.yaml"
TABLES: dict[str, Any] = yaml.load(
    (Path(__file__).parent / "plan_tables.yaml").read_text(), Loader=ConfigLoader
)
ARMS = tuple(TABLES["runs"])
SITES = ("example-pbs", "example-slurm")


def jobs(at: str) -> dict[str, Job]:
    """The training jobs by arm, as `render` would write them for a site."""
    made = plan.make(study.load(STUDY, (), ()), site.load(ROOT, at))
    return {job.arm: job for job in made.jobs if job.kind == "train"}


@pytest.fixture(scope="module", params=SITES)
def rendered(request: pytest.FixtureRequest) -> dict[str, Job]:
    return jobs(request.param)


def settings(job: Job, tmp_path: Path) -> Settings:
    """What the program makes of a job's configuration and of its own command line."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(job.config))
    flags = list(job.argv[job.argv.index("--config") + 2 :])
    return load_settings(parse_arguments(["--config", str(path), *flags], "test"))


@pytest.mark.parametrize("arm", ARMS)
def test_every_value_of_the_tables(rendered: dict[str, Job], arm: str, tmp_path: Path) -> None:
    got = settings(rendered[arm], tmp_path)
    check_supported(got)
    o, batch, train, wanted = got.optimizer, got.batch, got.train, TABLES["optimizer"]
    assert got.backend == "nemo" and got.model.init == "weights"
    assert {k: getattr(got.model, k) for k in ("base", "seq_length", "vocab_size")} == {
        k: TABLES["model"][k] for k in ("base", "seq_length", "vocab_size")
    }
    assert round(PARAMETERS, -9) == TABLES["model"]["parameters"]
    assert {k: getattr(o, k) for k in ("lr", "min_lr", "warmup_steps", "weight_decay", "clip")} == {
        k: wanted[k] for k in ("lr", "min_lr", "warmup_steps", "weight_decay", "clip")
    }
    assert rendered[arm].config["parameters"]["optimizer"]["name"] == wanted["name"]
    assert train.precision == wanted["precision"]
    sizes = {"global": batch.global_size, "gpus": batch.world, "micro": batch.micro}
    assert sizes | {"accumulation": batch.accumulation} == TABLES["batch"]
    assert {k: getattr(train, k) for k in TABLES["duration"]} == TABLES["duration"]
    assert got.wandb.project == TABLES["wandb"]["project"]
    assert got.wandb.name == TABLES["runs"][arm]["name"]
    assert str(train.checkpoint_dir) == TABLES["runs"][arm]["directory"]
    assert got.data.chunks == TABLES["chunks"]
    assert str(got.data.path).endswith(f"data/processed/{arm}/seapile")


@pytest.mark.parametrize("arm", ARMS)
def test_what_follows_from_the_tables(rendered: dict[str, Job], arm: str, tmp_path: Path) -> None:
    got = settings(rendered[arm], tmp_path)
    rates = TABLES["learning_rate_at"]
    assert {step: got.schedule(step) for step in rates} == pytest.approx(rates, abs=0)
    told = dry_run(got)
    keys = ("tokens_per_step", "total_tokens", "logits_bytes_fp32")
    assert {k: told[k] for k in keys} == {k: TABLES[k] for k in keys}
    assert told["learning_rate_at"] == {str(step): rate for step, rate in rates.items()}
    assert (told["checkpoints"], told["validations"], told["log_points"]) == (10, 20, 1000)
    parallel = (told["tensor_parallel"], told["pipeline_parallel"])
    assert parallel == (TABLES["parallel"]["tensor"], TABLES["parallel"]["pipeline"])


def flat(values: Any, where: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {where: values}
    return {k: v for key, part in values.items() for k, v in flat(part, f"{where}.{key}").items()}


def test_the_arms_differ_in_the_variant_and_in_names_only(rendered: dict[str, Job]) -> None:
    own = {arm: flat(job.config["parameters"]) for arm, job in rendered.items()}
    keys = set().union(*own.values())
    differing = {k for k in keys if len({repr(values.get(k)) for values in own.values()}) > 1}
    names = {".train.data_path", ".train.checkpoint_dir", ".wandb.name"}
    names |= {k for k in differing if k.startswith((".evaluate.", ".preprocess."))}
    for key in names & differing:  # paths that hold the arm's or the run's name, else the same
        words = {arm: TABLES["runs"][arm]["name"].removeprefix("gemma3-1b-") for arm in ARMS}
        bare = {str(own[arm][key]).replace(words[arm], "*").replace(arm, "*") for arm in ARMS}
        assert len(bare) == 1, key
    assert {k for k in differing if not k.startswith(".variant.")} <= names
    resources = {repr(job.resources) for job in rendered.values()}
    assert len(resources) == 1


def test_check_shows_the_variant_only() -> None:
    told = estimate.differing(study.load(STUDY, (), ()))
    assert told and all(key.startswith("variant") for key in told)
