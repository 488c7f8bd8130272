"""Site files, the built-in local site, and what they refuse."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import limits, plan, site, study, yamlio
from pipeline.errors import ConfigError

ROOT = Path(__file__).parents[2]
MAIN = ROOT / "studies/filipino-cpt.yaml"
EXAMPLES = ["example-pbs", "example-slurm"]

SMALL: dict[str, Any] = {
    "site": "mine",
    "scheduler": "pbs",
    "defaults": {"gpus": 8, "cpus": 4, "mem": "10GB", "walltime": "01:00:00", "queue": "gpu"},
    "environments": {"light": {}, "hf": {}, "nemo": {}},
}


def write(root, changes=None, name="mine"):
    (root / "sites").mkdir(exist_ok=True)
    text = yamlio.dump({**SMALL, **(changes or {})})
    (root / f"sites/{name}.yaml").write_text(text, "utf-8")


def load(root, changes=None):
    write(root, changes)
    return site.load(root, "mine")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_loads(name):
    found = site.load(ROOT, name)
    assert found.site == name
    assert found.scheduler == name.removeprefix("example-")
    assert set(found.environments) == {"light", "hf", "nemo"}
    assert found.environments["nemo"].container == "enroot"
    assert (found.defaults.gpus, found.defaults.queue) == (8, "gpu")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_shows_every_key(name):
    raw = yamlio.load(ROOT / f"sites/{name}.yaml")
    assert set(raw) == set(site.Site.__struct_fields__)
    assert set(raw["defaults"]) == set(study.ResourceSpec.__struct_fields__)
    assert set(raw["queues"]["gpu"]) == set(site.Queue.__struct_fields__)
    assert set(raw["gpu"]) == set(site.Gpu.__struct_fields__)
    shown = {key for env in raw["environments"].values() for key in env}
    assert shown == set(site.Environment.__struct_fields__)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_apptainer_lines_of_an_example_hold(tmp_path, name):
    text = (ROOT / f"sites/{name}.yaml").read_text("utf-8")
    enroot, apptainer = text.split("  nemo:\n", 1)[0], text.split("instead of enroot:\n", 1)[1]
    path = tmp_path / "a.yaml"
    path.write_text(enroot + apptainer.replace("  # ", "  "), "utf-8")
    assert site.load(tmp_path, str(path)).environments["nemo"].container == "apptainer"


WRONG = [
    ("scheduler", {"scheduler": "lsf"}, "scheduler: invalid enum value 'lsf'"),
    ("unknown-key", {"quues": {}}, "quues: unknown key; did you mean 'queues'?"),
    ("site-type", {"site": 5}, "site: expected `str`"),
    ("queue-key", {"queues": {"gpu": {"max_wall": 1}}}, "queues.gpu.max_wall: unknown key"),
    ("queue-time", {"queues": {"gpu": {"max_walltime": "2d"}}}, "queues.gpu: '2d' is no walltime"),
    ("queue-type", {"queues": {"gpu": 4}}, "queues.gpu: expected a mapping"),
    ("queues-type", {"queues": [1]}, "queues: expected `object`, got `array`"),
    (
        "env-name",
        {"environments": {"torch": {}}},
        "environments.torch: no environment is called so",
    ),
    ("env-key", {"environments": {"hf": {"pyton": "x"}}}, "hf.pyton: unknown key; did you mean"),
    (
        "env-activate",
        {"environments": {"hf": {"activate": "module load"}}},
        "hf.activate: expected",
    ),
    ("container", {"environments": {"nemo": {"container": "docker"}}}, "nemo.container: invalid"),
    ("no-image", {"environments": {"nemo": {"container": "enroot"}}}, "without an image"),
    ("default-gpus", {"defaults": {"gpus": -1}}, "defaults: gpus is -1"),
    ("default-mem", {"defaults": {"mem": "lots"}}, "defaults: 'lots' is no size"),
    ("default-time", {"defaults": {"walltime": "48h"}}, "defaults: '48h' is no walltime"),
    ("default-key", {"defaults": {"ngpus": 8}}, "defaults.ngpus: unknown key"),
    ("gpu-memory", {"gpu": {"name": "a100", "memory": "much"}}, "gpu: 'much' is no size"),
    ("gpu-name", {"gpu": {"memory": "40GB"}}, "gpu.name: missing"),
    ("gpu-key", {"gpu": {"name": "a", "memory": 1, "count": 8}}, "gpu.count: unknown key"),
    ("directives", {"directives": "-l x"}, "directives: expected `array`"),
    ("throttle", {"throttle": "many"}, "throttle: expected `int`"),
    ("negative", {"receipt_grace": -1}, "receipt_grace is -1. It must be 0 or more"),
    ("no-array", {"max_array": 0}, "max_array is 0. It must be 1 or more"),
    ("queue-array", {"queues": {"q": {"max_array": -2}}}, "queues.q: max_array is -2. It must be"),
    ("queue-count", {"queues": {"q": {"max_nodes": -1}}}, "queues.q: max_nodes is -1. It must be"),
]


@pytest.mark.parametrize(("changes", "words"), [c[1:] for c in WRONG], ids=[c[0] for c in WRONG])
def test_a_bad_site_is_refused_under_its_path(tmp_path, changes, words):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, changes)
    assert len(caught.value.problems) == 1, caught.value
    assert words in str(caught.value)
    assert "sites/mine.yaml: " in str(caught.value)


def test_a_site_s_gpu(tmp_path):
    assert load(tmp_path).gpu is None
    found = load(tmp_path, {"gpu": {"name": "a100-40", "memory": "40GiB"}}).gpu
    assert found is not None
    assert (found.name, found.bytes) == ("a100-40", 40 * 2**30)


def test_all_problems_of_a_site_come_together(tmp_path):
    changes = {
        "scheduler": "lsf", "zzz": 1, "queues": {"q": {"max_wall": 1}},
        "environments": {"hf": {"pyton": "x"}, "torch": {}}, "defaults": {"gpus": -1},
    }  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, changes)
    assert len(caught.value.problems) == 6


@pytest.mark.parametrize("key", ["site", "scheduler"])
def test_a_key_that_every_site_needs(tmp_path, key):
    (tmp_path / "sites").mkdir()
    raw = {k: v for k, v in SMALL.items() if k != key}
    (tmp_path / "sites/mine.yaml").write_text(yamlio.dump(raw))
    with pytest.raises(ConfigError, match=f"{key}: missing"):
        site.load(tmp_path, "mine")


def test_a_site_that_is_not_there_names_those_that_are(tmp_path):
    write(tmp_path, name="leonardo")
    with pytest.raises(ConfigError, match="did you mean 'leonardo'\\? Valid: leonardo, local"):
        site.load(tmp_path, "leonardi")


def test_a_site_by_the_path_of_its_file(tmp_path):
    write(tmp_path)
    assert site.load(Path("/"), str(tmp_path / "sites/mine.yaml")).site == "mine"


def test_the_project_is_where_the_site_s_root_is_unless_it_says(tmp_path):
    assert load(tmp_path).project_dir == str(tmp_path)
    assert load(tmp_path, {"project_dir": "/scratch/p"}).project_dir == "/scratch/p"


def test_the_default_site(tmp_path, monkeypatch):
    monkeypatch.delenv("PIPELINE_SITE", raising=False)
    assert site.default_name(tmp_path) == "local"
    write(tmp_path, name="default")
    assert site.default_name(tmp_path) == "default"
    monkeypatch.setenv("PIPELINE_SITE", "mine")
    assert site.default_name(tmp_path) == "mine"


def test_local_is_this_machine():
    found = site.load(Path("/nowhere"), "local")
    cores = len(os.sched_getaffinity(0))
    assert (found.scheduler, found.slots, found.max_cpus) == ("local", cores, cores)
    assert found.max_mem > 10**8
    assert set(found.environments) == {"light", "hf", "nemo"}


def test_a_local_site_file_completes_what_it_leaves_open(tmp_path):
    found = load(tmp_path, {"scheduler": "local", "max_gpus": 1, "environments": {}})
    assert load(tmp_path, {"scheduler": "local"}).max_gpus >= 0
    assert (found.max_gpus, found.max_cpus) == (1, len(os.sched_getaffinity(0)))
    assert set(found.environments) == {"light", "hf", "nemo"}
    assert load(tmp_path, {"scheduler": "local", "slots": 3, "max_cpus": 5}).max_cpus == 5


# Limits.

LOCAL = msgspec.structs.replace(
    site.load(Path("/nowhere"), "local"), max_cpus=2, max_gpus=0, max_mem=4 * 10**9, slots=2
)
BEYOND = [
    ("gpus", "stages.train.resources.gpus=1", "stages.train.resources.gpus: 1 is more than"),
    ("cpus", "stages.split.resources.cpus=3", "stages.split.resources.cpus: 3 is more than"),
    ("mem", "stages.train.resources.mem=5GB", "stages.train.resources.mem: 5000000000 is more"),
    ("nodes", "stages.train.resources.nodes=2", "stages.train.resources.nodes: 2 is more than"),
]


@pytest.mark.parametrize(("sets", "words"), [c[1:] for c in BEYOND], ids=[c[0] for c in BEYOND])
def test_local_refuses_what_the_machine_has_not_and_names_the_demo(sets, words):
    with pytest.raises(ConfigError) as caught:
        plan.make(study.load(MAIN, ["demo"], [sets]), LOCAL)
    assert words in str(caught.value)
    assert "--profile demo" in str(caught.value)
    assert "--site" in str(caught.value)


def test_local_refuses_the_real_study_and_takes_the_demo():
    with pytest.raises(ConfigError, match=r"NeMo back end needs GPUs.*--profile demo"):
        plan.make(study.load(MAIN), LOCAL)
    assert plan.make(study.load(MAIN, ["demo"]), LOCAL).jobs


OVER = [
    ("walltime", "48:00:01", "48:00:01 is over queue 'gpu''s 48:00:00"),
    ("nodes", "5", "5 is over queue 'gpu''s 4"),
    ("gpus", "16", "16 is over queue 'gpu''s 8"),
    ("cpus", "65", "65 is over queue 'gpu''s 64"),
]


@pytest.mark.parametrize(("key", "value", "words"), OVER, ids=[c[0] for c in OVER])
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_queue_s_limits_refuse(name, key, value, words):
    sets = [f"stages.train.resources.{key}={value}", "batch.global=640"]
    with pytest.raises(ConfigError) as caught:
        plan.make(study.load(MAIN, sets=sets), site.load(ROOT, name))
    assert f"stages.train.resources.{key}: {words}" in str(caught.value)
    assert f"--set stages.train.resources.{key}=" in str(caught.value)


def test_more_tasks_than_one_array_takes_are_no_mistake():
    where = msgspec.structs.replace(site.load(ROOT, "example-slurm"), max_array=7)
    job = plan.make(study.load(MAIN), where).job("preprocess_patok")
    assert job.tasks == 20 and len(limits.parts(where, job.queue, range(20))) == 3


def test_jobs_without_gpus_go_to_the_cpu_queue():
    jobs = plan.make(study.load(MAIN), site.load(ROOT, "example-pbs")).jobs
    assert {j.queue for j in jobs if j.resources.gpus == 0} == {"cpu"}
    assert {j.queue for j in jobs if j.resources.gpus} == {"gpu"}


def test_a_stage_that_names_its_queue_keeps_it():
    sets = ["stages.split.resources.queue=express"]
    jobs = plan.make(study.load(MAIN, sets=sets), site.load(ROOT, "example-pbs"))
    assert jobs.job("split").queue == "express"


def test_an_environment_that_the_site_lacks_is_named(tmp_path):
    changes = {"environments": {"light": {}, "hf": {}}}
    with pytest.raises(ConfigError, match=r"stages\.train: needs the environment 'nemo'.*Add"):
        plan.make(study.load(MAIN), load(tmp_path, changes))


@pytest.mark.parametrize("key", ["gpus", "cpus", "mem", "walltime"])
def test_a_resource_that_nobody_gives_is_named(tmp_path, key):
    defaults = {k: v for k, v in SMALL["defaults"].items() if k != key}
    with pytest.raises(ConfigError, match=rf"train\.resources\.{key}: neither the study nor site"):
        plan.make(study.load(MAIN), load(tmp_path, {"defaults": defaults}))


def test_a_host_without_a_scheduler_is_not_taken_for_this_machine(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sites/mine.yaml: max_mem: missing. box is not asked"):
        load(tmp_path, {"scheduler": "local", "host": "box", "max_cpus": 4})
    keys = {"scheduler": "local", "host": "box", "max_cpus": 4, "max_mem": 8 * 10**9}
    found = load(tmp_path, {**keys, "environments": {"light": {"python": "py"}}})
    assert (found.slots, found.max_cpus, found.max_gpus) == (0, 4, 0)
    assert list(found.environments) == ["light"]
