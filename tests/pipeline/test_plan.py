"""Study x site -> jobs: names, dependencies, folders, figures; and nothing but ConfigError."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from pipeline import plan, site, study, yamlio
from pipeline.errors import ConfigError
from tests.draws import draws

ROOT = Path(__file__).parents[2]
MAIN = ROOT / "studies/filipino-cpt.yaml"
PBS, SLURM = (site.load(ROOT, f"example-{name}") for name in ("pbs", "slurm"))
ARMS = ["vanilla", "stochastok", "patok"]
MADE = plan.make(study.load(MAIN), PBS)
DEMO = plan.make(study.load(MAIN, ["demo"]), PBS)
ALL = [job.name for job in MADE.jobs]

SCRIPTS = [
    ("preprocess_vanilla", "jobs/preprocess_data_vanilla"),
    ("preprocess_stochastok", "jobs/preprocess_data_stochastok"),
    ("preprocess_patok", "jobs/preprocess_data_patok"),
    ("train_vanilla", "jobs/run_cpt_baseline"),
    ("train_stochastok", "jobs/run_cpt_stochastok"),
    ("train_patok", "jobs/run_cpt_patok"),
]


@pytest.mark.parametrize(("job", "script"), SCRIPTS, ids=[c[0] for c in SCRIPTS])
def test_the_six_scripts_have_the_plan_s_names(job, script):
    assert MADE.job(job).script == script
    assert MADE.job(script) is MADE.job(script.removeprefix("jobs/")) is MADE.job(job)


def test_the_six_stand_alone_under_jobs_and_the_rest_under_scripts():
    straight = [job.script for job in MADE.jobs if job.script.count("/") == 1]
    assert straight == [script for _, script in SCRIPTS]
    others = {job.script for job in MADE.jobs} - set(straight)
    assert others == {f"jobs/scripts/{n}" for n in set(ALL) - {job for job, _ in SCRIPTS}}


def test_the_jobs_are_the_plan_s_steps():
    stages = ["preprocess", "train", "export"]
    names = ["download", "tokenizer", "split", *(f"{s}_{a}" for s in stages for a in ARMS)]
    evaluations = [f"evaluate_{a}" for a in ARMS]
    assert [*names, "benchmarks", *evaluations, "analyze"] == ALL


NEEDS = [
    ("download", []),
    ("split", [("download", 1), ("tokenizer", 1)]),
    ("tokenizer", [("download", 1)]),
    *[(f"preprocess_{a}", [("split", 1)]) for a in ARMS],
    *[(f"train_{a}", [(f"preprocess_{a}", 20)]) for a in ARMS],
    *[(f"export_{a}", [(f"train_{a}", 1)]) for a in ARMS],
    ("benchmarks", [("download", 1)]),
    ("analyze", [(f"evaluate_{a}", 2) for a in ARMS]),
]


@pytest.mark.parametrize(("name", "needs"), NEEDS, ids=[c[0] for c in NEEDS])
def test_a_job_waits_for_its_own_arm_s_jobs(name, needs):
    assert [(up.job, up.tasks) for up in MADE.job(name).upstream] == needs


@pytest.mark.parametrize("arm", ARMS)
def test_evaluation_waits_for_its_export_and_the_benchmarks(arm):
    needs = {up.job for up in MADE.job(f"evaluate_{arm}").upstream}
    assert {f"export_{arm}", "benchmarks"} <= needs


@pytest.mark.parametrize("made", [MADE, DEMO], ids=["real", "demo"])
def test_every_job_stands_after_those_it_needs(made):
    seen = set()
    for job in made.jobs:
        assert {up.job for up in job.upstream} <= seen
        seen.add(job.name)


def test_a_stage_written_before_the_one_it_needs_comes_after_it(tmp_path):
    raw = yamlio.load(MAIN)
    raw["stages"] = dict(reversed(raw["stages"].items()))
    (tmp_path / "s.yaml").write_text(yamlio.dump(raw))
    made = plan.make(study.load(tmp_path / "s.yaml"), PBS)
    test_every_job_stands_after_those_it_needs(made)
    assert {job.name for job in made.jobs} == set(ALL)


TASKS = [("preprocess_patok", 20, True), ("train_patok", 1, False), ("split", 1, False)]


@pytest.mark.parametrize(("name", "tasks", "array"), TASKS, ids=[c[0] for c in TASKS])
def test_tasks(name, tasks, array):
    job = MADE.job(name)
    assert (job.tasks, job.array, job.config["job"]["tasks"]) == (tasks, array, tasks)


def test_an_array_of_one_is_a_plain_job():
    made = plan.make(study.load(MAIN, sets=["corpus.chunks=1"]), PBS)
    assert not made.job("preprocess_patok").array


def test_the_command_of_a_training_is_the_plan_s():
    assert MADE.job("train_vanilla").argv == (
        "python", "training/nemo/run_cpt.py", "--config", "jobs/configs/train_vanilla.yaml",
        "--data-path", "data/processed/vanilla/seapile",
        "--checkpoint-dir", "/logs/checkpoints/gemma3-1b-baseline",
        "--wandb-name", "gemma3-1b-baseline", "--max-steps", "10000",
    )  # fmt: skip


def test_the_command_of_a_preprocessing_task():
    assert MADE.job("preprocess_patok").argv == (
        "/scratch/me/pipeline/.venv/bin/python", "-m", "corpus.preprocess", "--config",
        "jobs/configs/preprocess_patok.yaml", "--task", "{task}", "--workers", "8",
    )  # fmt: skip


def test_outputs_carry_the_task_s_four_digits():
    expected = "data/processed/patok/seapile_{task4}.idx"
    assert MADE.job("preprocess_patok").outputs == (expected,)


@pytest.mark.parametrize("sets", [[], ["stages.train.resources.gpus=1", "batch.micro=2"]])
def test_several_gpus_are_started_by_torchrun(sets):
    made = plan.make(study.load(MAIN, sets=sets), PBS)
    assert made.job("train_patok").launcher == ("" if sets else "torchrun")
    assert made.job("split").launcher == ""


def test_runtime_comes_from_the_stage_s_environment():
    assert MADE.job("train_patok").runtime.container == "enroot"
    assert MADE.job("train_patok").runtime.image == "nemo_framework"
    assert MADE.job("split").runtime.container == ""
    assert MADE.job("evaluate_patok").runtime.activate == ("module load cuda/12.4",)
    assert DEMO.job("train_patok").runtime.container == ""


def test_resources_of_the_training():
    asked = MADE.job("train_patok").resources
    assert (asked.nodes, asked.gpus, asked.cpus) == (1, 8, 64)
    assert (asked.mem_bytes, asked.walltime_s) == (480 * 10**9, 48 * 3600)


HOURS = [
    ("download", (2, 2)), ("split", (0.5, 0.5)), ("preprocess_vanilla", (4, 4)),
    ("preprocess_stochastok", (6, 6)), ("preprocess_patok", (8, 8)), ("train_vanilla", (24, 48)),
    ("train_patok", (24, 48)), ("benchmarks", (0.17, 0.17)), ("analyze", (0.5, 0.5)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "hours"), HOURS, ids=[c[0] for c in HOURS])
def test_hours_are_the_plan_s(name, hours):
    assert MADE.job(name).hours == hours


def total(stages, end):
    return sum(job.hours[end] for job in MADE.jobs if job.stage in stages)


def test_hours_add_up_to_the_plan_s():
    assert total(["download", "split", "preprocess"], 0) == 20.5
    assert (total(["train"], 0), total(["train"], 1)) == (72, 144)
    assert total(["evaluate"], 0) == pytest.approx(4, abs=0.02)
    assert total(["evaluate"], 1) == pytest.approx(8, abs=0.02)


FIGURES = [([], 16), (["batch.micro=1"], 32), (["batch.micro=4"], 8)]


@pytest.mark.parametrize(("sets", "accumulation"), FIGURES, ids=["plan", "oom-remedy", "larger"])
def test_accumulation_follows_from_batch_and_gpus(sets, accumulation):
    job = plan.make(study.load(MAIN, sets=sets), PBS).job("train_patok")
    batch = job.config["parameters"]["batch"]
    ranks = job.resources.gpus * job.resources.nodes
    assert batch["global"] == 256
    assert batch["global"] // (batch["micro"] * ranks) == accumulation


# Folders.

FOLDERS = [
    ([], {"state": "jobs", "data": "data", "results": "results"}),
    (["demo"], {k: f"{v}/filipino-cpt@demo" for k, v in
                {"state": "jobs", "data": "data", "results": "results"}.items()}),
]  # fmt: skip


@pytest.mark.parametrize(("profiles", "folders"), FOLDERS, ids=["plain", "demo"])
def test_a_run_under_profiles_has_folders_of_its_own(profiles, folders):
    for job in plan.make(study.load(MAIN, profiles), PBS).jobs:
        assert {k: job.config["paths"][k] for k in folders} == folders
        assert job.script.startswith(folders["state"] + "/")
        assert job.config_path == f"{folders['state']}/configs/{job.name}.yaml"
        assert job.state_dir == folders["state"]


def written(made):
    names = {job.script for job in made.jobs} | {job.config_path for job in made.jobs}
    return (
        names | {out for job in made.jobs for out in job.outputs} | {j.log_dir for j in made.jobs}
    )


def test_a_demo_writes_nothing_that_the_real_run_writes():
    local = site.load(ROOT, "local")
    for one in (DEMO, plan.make(study.load(MAIN, ["demo"]), local)):
        assert not written(one) & written(MADE)


def test_logs_of_the_two_runs_are_apart():
    assert MADE.job("split").log_dir == "/scratch/me/logs/jobs/split"
    assert DEMO.job("split").log_dir == "/scratch/me/logs/filipino-cpt@demo/jobs/split"
    local = plan.make(study.load(MAIN, ["demo"]), site.load(ROOT, "local"))
    assert local.job("split").log_dir == "jobs/filipino-cpt@demo/logs/jobs/split"


def test_paths_inside_a_container_and_outside_it():
    assert MADE.job("train_patok").config["paths"]["project"] == "/workspace"
    assert MADE.job("train_patok").config["paths"]["logs"] == "/logs"
    assert MADE.job("evaluate_patok").config["paths"]["logs"] == "/scratch/me/logs"
    assert MADE.job("evaluate_patok").config["paths"]["project"] == "."


# The three arms differ in their variant, and in names and paths made of their own.


NAMES = {
    "job.name", "job.arm", "job.run", "parameters.wandb.name", "parameters.train.data_path",
    "parameters.train.checkpoint_dir", "parameters.evaluate.model",
    "parameters.evaluate.arm_data", "parameters.evaluate.output_dir",
}  # fmt: skip


@pytest.mark.parametrize("stage", ["preprocess", "train", "export", "evaluate"])
@pytest.mark.parametrize("made", [MADE, DEMO], ids=["real", "demo"])
@pytest.mark.parametrize("arm", ARMS[1:])
def test_the_configurations_of_the_arms_differ_in_the_variant_only(made, stage, arm):
    own, other = (yamlio.flatten(made.job(f"{stage}_{a}").config) for a in (arm, "vanilla"))
    differ = {key for key in {*own, *other} if own.get(key) != other.get(key)}
    assert {key for key in differ if not key.startswith("parameters.variant.")} == NAMES
    for key in NAMES:
        renamed = other[key].replace("vanilla", arm).replace("baseline", arm)
        assert own[key] == renamed
    assert own["parameters.variant.name"] == own["job.arm"] == own["job.run"] == arm


def test_a_gate_looks_as_long_as_a_file_system_may_lag():
    loaded = study.load(MAIN, ["demo"])
    sites = PBS, site.load(ROOT, "local")  # one machine sees its own files at once
    assert [plan.make(loaded, where).jobs[-1].gate_wait for where in sites] == [60, 1]


def test_the_two_schedulers_differ_in_the_scheduler_only():
    for one, other in zip(MADE.jobs, plan.make(study.load(MAIN), SLURM).jobs, strict=True):
        assert one.config == other.config
        assert (one.argv, one.outputs, one.script) == (other.argv, other.outputs, other.script)
        assert (one.scheduler, other.scheduler) == ("pbs", "slurm")


def test_what_belongs_to_no_arm_is_told_of_all():
    arms = MADE.job("analyze").config["arms"]
    assert [arms[a]["run"] for a in ARMS] == ["baseline", "stochastok", "patok"]
    assert arms["patok"]["parameters"]["evaluate"]["output_dir"] == "results/gemma3-1b-patok"
    assert len(MADE.job("analyze").config["expectations"]) == 6
    assert MADE.job("train_patok").config["arms"] == {}


@pytest.mark.parametrize("made", [MADE, DEMO], ids=["real", "demo"])
def test_no_reference_is_left(made):
    for job in made.jobs:
        assert "${" not in repr((job.config, job.argv, job.outputs, job.script))


def test_planning_twice_gives_the_same():
    assert plan.make(study.load(MAIN), PBS).jobs == MADE.jobs


# Selection.

SELECTIONS = [
    (["preprocess"], [], [f"preprocess_{a}" for a in ARMS]),
    (["preprocess"], ["patok"], ["preprocess_patok"]),
    (["train"], ["baseline"], ["train_vanilla"]),
    (["train"], ["vanilla"], ["train_vanilla"]),
    (["split", "train"], [], ["split", *(f"train_{a}" for a in ARMS)]),
    (["all"], ["patok"], [n for n in ALL if n.endswith("_patok")]),
    ([], [], ALL),
]


@pytest.mark.parametrize(("stages", "arms", "names"), SELECTIONS)
def test_select(stages, arms, names):
    assert [job.name for job in MADE.select(stages, arms)] == names


UNKNOWN = [
    (["preproces"], [], "no stage is called 'preproces'; did you mean 'preprocess'"),
    (["train"], ["patoc"], "no arm is called 'patoc'; did you mean 'patok'"),
    (["split"], ["patok"], "stage split has no arms"),
]


@pytest.mark.parametrize(("stages", "arms", "words"), UNKNOWN)
def test_select_refuses(stages, arms, words):
    with pytest.raises(ConfigError) as caught:
        MADE.select(stages, arms)
    assert words in str(caught.value)


def test_a_job_that_is_not_there():
    with pytest.raises(ConfigError, match="did you mean 'train_patok'"):
        MADE.job("trian_patok")


# What a plan refuses.


def changed(tmp_path, changes, sets=()):
    raw = yamlio.load(MAIN)
    for key, value in changes.items():
        *words, last = key.split("/")
        node = raw
        for word in words:
            node = node.setdefault(word, {})
        if value is ...:
            del node[last]
        else:
            node[last] = value
    (tmp_path / "s.yaml").write_text(yamlio.dump(raw), "utf-8")
    return plan.make(study.load(tmp_path / "s.yaml", sets=sets), PBS)


COMMAND = {"kind": "command", "run": ["true"]}
WRONG = [
    ("section-missing", {"parameters/model": ...}, "parameters.model: missing. Stage 'train'"),
    ("section-misspelt", {"parameters/wanbd": {"x": 1}}, "parameters.wanbd: no stage reads it"),
    ("arm-s-section", {"arms/patok/parameters/vairant": {}}, "vairant: no stage reads it"),
    ("section-type", {"parameters/batch": 5}, "parameters.batch: expected a mapping"),
    ("reference", {"stages/split/outputs": ["${corpus.fiel}"]}, "did you mean 'corpus.file'"),
    ("unclosed", {"stages/split/outputs": ["${corpus.file"]}, "opens a ${ that no } closes"),
    ("circle", {"parameters/corpus/name": "${corpus.name}"}, "refers to itself"),
    ("count", {"stages/preprocess/array/count": 0}, "array.count: 0 is no number of tasks"),
    ("count-text", {"stages/preprocess/array/count": "many"}, "'many' is no number of tasks"),
    ("count-bool", {"stages/preprocess/array/count": "${x.y}", "parameters/x": {"y": True}},
     "True is no number of tasks"),
    ("script", {"stages/train/script": "run"}, "would both be jobs/run. Put ${arm} or ${run}"),
    ("script-up", {"stages/split/script": "../../x"}, "'jobs/../../x' leaves the project"),
    ("twins", {"stages/train_x": {**COMMAND, "arms": ["patok"]}, "stages/train": ...,
               "stages/train_x_patok": COMMAND, "stages/export/needs": []}, "Rename a stage or"),
    ("gate", {"stages/split/gate": [{"id": "a", "value": 1, "below": "${no.thing}"}]},
     "stages.split.gate[0].below"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), [c[1:] for c in WRONG], ids=[c[0] for c in WRONG])
def test_a_plan_is_refused(tmp_path, changes, words):
    if "stages/train" in changes and changes["stages/train"] is ...:
        changes = {**changes, "profiles": {}}
    with pytest.raises(ConfigError) as caught:
        changed(tmp_path, changes)
    assert words in str(caught.value)


def test_all_problems_come_together(tmp_path):
    changes = {
        "parameters/wanbd": {"x": 1}, "parameters/optimizer/decay": "cosign",
        "parameters/train/validate_every": 300, "parameters/corpus/chunks": 0,
        "stages/split/outputs": ["${nothing}"],
    }  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        changed(tmp_path, changes)
    found = str(caught.value)
    for words in ("wanbd", "optimizer.decay", "validate_every", "corpus.chunks", "'nothing'"):
        assert words in found
    assert len(set(caught.value.problems)) == len(caught.value.problems)


def test_a_variant_without_arms_is_checked_too(tmp_path):
    bad = {"name": "patok", "expand_prop": 7}
    changes = {"stages/extra": {"kind": "preprocess"}, "parameters/variant": bad}
    with pytest.raises(ConfigError, match=r"variant\.expand_prop"):
        changed(tmp_path, changes)


def test_a_gate_reaches_its_job(tmp_path):
    gate = [{"id": "a", "file": "${arm}/${task}.json", "key": "x", "below": "${optimizer.lr}"}]
    made = changed(tmp_path, {"stages/preprocess/gate": gate})
    assert made.job("preprocess_patok").config["gate"] == [
        {"id": "a", "file": "patok/{task4}.json", "key": "x", "below": 1e-4}
    ]
    assert "gate" not in MADE.job("preprocess_patok").config


def test_expectations_are_resolved(tmp_path):
    wanted = [{"arm": "patok", "metric": "loss", "below": "${optimizer.lr}"}]
    made = changed(tmp_path, {"expectations": wanted})
    assert made.job("analyze").config["expectations"] == [{**wanted[0], "below": 1e-4}]


# Anything at all instead of a study.

RAW = yamlio.load(MAIN)
ODD = [
    None, True, 0, -1, 1.5, float("nan"), float("inf"), 10**30, "", "x", "${arm}", "${x", "${a.b}",
    "${corpus}", "../..", "/", "a" * 300, [], [None], ["x", 1], [[]], {}, {"x": None}, {"kind": 3},
    {"a": {"b": "${corpus}"}},
]  # fmt: skip


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in items:
        if isinstance(child, dict | list):
            yield from places(child, (*path, key))
        else:
            yield (*path, key)


PLACES = [p for p in places(RAW) if p]


def mutate(raw, place, action, odd):
    """Replaces, drops or joins something at a place; a place that is gone is left."""
    node = raw
    for key in place[:-1]:
        try:
            node = node[key]
        except (KeyError, IndexError, TypeError):
            return
    try:
        if action == "drop":
            del node[place[-1]]
        elif action == "add":
            node[place[-1]]["added"] = odd
        elif action == "copy":
            node["copy"] = copy.deepcopy(node[place[-1]])
        else:
            node[place[-1]] = copy.deepcopy(odd)
    except (KeyError, IndexError, TypeError):
        return


def only_config_errors(path, raw, profiles, sets=()):
    path.write_text(yamlio.dump(raw), "utf-8")
    try:
        made = plan.make(study.load(path, profiles, sets), PBS)
    except ConfigError as error:
        assert error.problems
        assert all(p.startswith(str(path)) for p in error.problems)
    else:
        assert made.jobs


@draws(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(PLACES), st.sampled_from(["put", "drop", "add", "copy"]),
            st.sampled_from(ODD),
        ),
        min_size=1, max_size=3,
    ),
    st.sampled_from([(), ("demo",)]),
)  # fmt: skip
def test_a_mutated_study_gives_a_plan_or_config_errors(tmp_path, changes, profiles):
    raw = copy.deepcopy(RAW)
    for place, action, odd in changes:
        mutate(raw, place, action, odd)
    only_config_errors(tmp_path / "s.yaml", raw, profiles)


@pytest.mark.parametrize("odd", ODD[::4], ids=[repr(o)[:16] for o in ODD[::4]])
def test_a_top_level_key_with_anything_under_it(tmp_path, odd):
    for key in study.Study.__struct_fields__:
        only_config_errors(tmp_path / "s.yaml", {**RAW, key: odd}, ["demo"])


@draws(50)
@given(st.sampled_from(PLACES), st.sampled_from(ODD))
def test_any_set_gives_a_plan_or_config_errors(place, odd):
    item = ".".join(map(str, place)) + "=" + yamlio.dump(odd).strip().removesuffix("\n...")
    try:
        assert plan.make(study.load(MAIN, ["demo"], [item]), PBS).jobs
    except ConfigError as error:
        assert error.problems


def test_the_fuzz_reaches_plans_as_well_as_refusals(tmp_path):
    outcomes = set()
    pick = random.Random(7)
    for _ in range(30):
        raw = copy.deepcopy(RAW)
        mutate(raw, pick.choice(PLACES), "put", pick.choice(ODD))
        (tmp_path / "s.yaml").write_text(yamlio.dump(raw), "utf-8")
        try:
            plan.make(study.load(tmp_path / "s.yaml"), PBS)
            outcomes.add("plan")
        except ConfigError:
            outcomes.add("refusal")
    assert outcomes == {"plan", "refusal"}


def test_a_need_may_name_another_arm(tmp_path: Path) -> None:
    made = plan.make(study.load(ROOT / "studies/filipino-cpt.yaml"), site.reference(ROOT))
    needs = [u.job for u in made.job("evaluate_patok").upstream]
    assert needs == ["export_patok", "benchmarks", "preprocess_vanilla"]
    path = tmp_path / "s.yaml"
    text = (ROOT / "studies/filipino-cpt.yaml").read_text()
    path.write_text(text.replace("preprocess:vanilla", "preprocess:vanila"))
    with pytest.raises(ConfigError, match="no arm 'vanila'; did you mean 'vanilla'"):
        study.load(path)
