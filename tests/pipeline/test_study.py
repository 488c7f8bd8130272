"""Study files: overlays and their precedence, --set, and what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from pipeline import plan, site, study, yamlio
from pipeline.errors import ConfigError

ROOT = Path(__file__).parents[2]
MAIN = ROOT / "studies/filipino-cpt.yaml"
SITE = site.load(ROOT, "example-pbs")

SMALL = {
    "study": "small",
    "arms": {
        "a": {"aliases": ["first"], "parameters": {"thing": {"x": 10}}},
        "b": {"parameters": {"own": {"only": 1}}},
    },
    "parameters": {"thing": {"x": 1, "y": 2, "deep": {"z": 3}}, "own": {}},
    "stages": {
        "one": {"kind": "command", "run": ["true"], "reads": ["thing", "own"]},
        "two": {"kind": "command", "run": ["true"], "needs": ["one"], "arms": "all"},
    },
    "profiles": {
        "p": {"parameters": {"thing": {"x": 5}}},
        "q": {"parameters": {"thing": {"y": 6, "deep": {"z": 7}}}},
        "r": {"parameters": {"thing": {"x": 8}}},
        "same": {"parameters": {"thing": {"x": 5}}},
        "arm": {"arms": {"a": {"parameters": {"thing": {"x": 9}}}}},
        "stage": {"stages": {"two": {"resources": {"gpus": 2}}}},
        "all": {"resources": {"gpus": 1, "mem": "1GB"}},
        "leaf": {"parameters": {"thing": {"deep": 4}}},
    },
}


def write(path, changes=(), base=SMALL):
    """A study file: `base` with the values at some dotted paths replaced (`...`: removed)."""
    raw = yamlio.parse(yamlio.dump(base), "x")
    for key, value in dict(changes).items():
        *words, last = key.split(".")
        node = raw
        for word in words:
            node = node.setdefault(word, {})
        if value is ...:
            del node[last]
        else:
            node[last] = value
    file = path / "s.yaml"
    file.write_text(yamlio.dump(raw), "utf-8")
    return file


def load(path, changes=(), profiles=(), sets=()):
    return study.load(write(path, changes), profiles, sets)


def test_the_main_study_loads():
    loaded = study.load(MAIN)
    assert loaded.name == loaded.run_name == "filipino-cpt"
    assert list(loaded.arms) == ["vanilla", "stochastok", "patok"]


# Precedence.

LAYERS = [
    ("study", "", [], [], {"x": 1, "y": 2, "deep": {"z": 3}}),
    ("arm", "a", [], [], {"x": 10, "y": 2, "deep": {"z": 3}}),
    ("other-arm", "b", [], [], {"x": 1, "y": 2, "deep": {"z": 3}}),
    ("profile", "", ["p"], [], {"x": 5, "y": 2, "deep": {"z": 3}}),
    ("profile-over-arm", "a", ["p"], [], {"x": 5, "y": 2, "deep": {"z": 3}}),
    ("profile-s-arm", "a", ["arm"], [], {"x": 9, "y": 2, "deep": {"z": 3}}),
    ("profile-s-arm-spares-others", "b", ["arm"], [], {"x": 1, "y": 2, "deep": {"z": 3}}),
    ("profile-s-arm-over-profile", "a", ["p", "arm"], [], {"x": 9, "y": 2, "deep": {"z": 3}}),
    ("two-profiles", "", ["p", "q"], [], {"x": 5, "y": 6, "deep": {"z": 7}}),
    ("set-over-profile", "a", ["p"], ["thing.x=0"], {"x": 0, "y": 2, "deep": {"z": 3}}),
    ("set-of-an-arm", "a", [], ["arms.a.parameters.thing.x=0"], {"x": 0, "y": 2, "deep": {"z": 3}}),
    ("last-set-wins", "", [], ["thing.x=0", "thing.x=-1"], {"x": -1, "y": 2, "deep": {"z": 3}}),
    ("set-a-mapping", "", [], ["thing.deep={z: 1}"], {"x": 1, "y": 2, "deep": {"z": 1}}),
    ("long-form", "", [], ["parameters.thing.y=0"], {"x": 1, "y": 0, "deep": {"z": 3}}),
]


@pytest.mark.parametrize(
    ("arm", "profiles", "sets", "expected"), [c[1:] for c in LAYERS], ids=[c[0] for c in LAYERS]
)
def test_parameters_come_from_the_highest_layer(tmp_path, arm, profiles, sets, expected):
    assert load(tmp_path, (), profiles, sets).parameters(arm)["thing"] == expected


RESOURCES = [
    ("site", {}, [], [], 8),
    ("study-over-site", {"resources.gpus": 4}, [], [], 4),
    ("stage-over-study", {"resources.gpus": 4, "stages.two.resources.gpus": 3}, [], [], 3),
    ("profile-over-stage", {"stages.two.resources.gpus": 3}, ["all"], [], 1),
    ("profile-s-stage-over-profile", {}, ["all", "stage"], [], 2),
    ("set", {}, ["all", "stage"], ["stages.two.resources.gpus=6"], 6),
    ("set-for-all", {"stages.two.resources.gpus": 3}, ["all"], ["resources.gpus=7"], 7),
]


@pytest.mark.parametrize(
    ("changes", "profiles", "sets", "gpus"),
    [c[1:] for c in RESOURCES],
    ids=[c[0] for c in RESOURCES],
)
def test_resources_come_from_the_highest_layer(tmp_path, changes, profiles, sets, gpus):
    made = plan.make(load(tmp_path, changes, profiles, sets), SITE)
    assert made.job("two_a").resources.gpus == gpus


@pytest.mark.parametrize("order", list(itertools.permutations(["p", "q", "all"])))
def test_profiles_that_agree_compose_in_any_order(tmp_path, order):
    loaded = load(tmp_path, (), order)
    assert loaded.parameters("")["thing"] == {"x": 5, "y": 6, "deep": {"z": 7}}
    assert loaded.run_name == f"small@{'+'.join(order)}"


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [("p", "r", "parameters.thing.x"), ("r", "p", "parameters.thing.x"),
     ("q", "leaf", "parameters.thing.deep"), ("leaf", "q", "parameters.thing.deep.z")],
)  # fmt: skip
def test_profiles_that_conflict_are_both_named(tmp_path, first, second, key):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, (), [first, second])
    (problem,) = caught.value.problems
    assert f"profiles {first!r} and {second!r} both set {key}: " in problem
    assert f"--set {key}=" in problem


def test_profiles_that_set_the_same_value_do_not_conflict(tmp_path):
    assert load(tmp_path, (), ["p", "same"]).parameters("")["thing"]["x"] == 5


@pytest.mark.parametrize("profiles", [["p", "r"], ["r", "p"]])
def test_set_decides_between_two_profiles(tmp_path, profiles):
    loaded = load(tmp_path, (), profiles, ["thing.x=0"])
    assert loaded.parameters("")["thing"]["x"] == 0


def test_set_decides_nothing_but_its_own_key(tmp_path):
    with pytest.raises(ConfigError, match="both set"):
        load(tmp_path, (), ["p", "r"], ["thing.y=0"])


def test_a_profile_named_twice(tmp_path):
    with pytest.raises(ConfigError, match="'p' is named twice"):
        load(tmp_path, (), ["p", "p"])


def test_a_profile_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="no profile is called 'stag'; did you mean 'stage'"):
        load(tmp_path, (), ["stag"])


# --set.

SET_WRONG = [
    ("no-value", "thing.x", "write it as key=value"),
    ("no-key", "=5", "write it as key=value"),
    ("empty-word", "thing..x=5", "write it as key=value"),
    ("unknown-section", "thnig.x=5", "the study has no such key; did you mean 'thing.x'"),
    ("unknown-leaf", "thing.w=5", "the study has no such key"),
    ("below-a-leaf", "thing.x.y=5", "the study has no such key"),
    ("unknown-stage", "stages.tow.resources.gpus=1", "did you mean 'stages.two'"),
    ("stage-key", "stages.two.resorces.gpus=1", "stages.two.resorces: unknown key"),
    ("stage-resource", "stages.two.resources.gpu=1", "stages.two.resources.gpu: unknown key"),
    ("resource", "resources.gpu=1", "resources.gpu: unknown key"),
    ("resource-value", "resources.gpus=many", "resources.gpus: expected"),
    ("unknown-arm", "arms.c.parameters.thing.x=1", "the study has no such key"),
    ("arm-leaf", "arms.a.parameters.thing.w=1", "the study has no such key"),
    ("whole-parameters", "parameters=5", "Name a key in it"),
    ("whole-arms", "arms=3", "Name a key in it"),
    ("whole-stages", "stages={}", "Name a key in it"),
    ("whole-arm", "arms.a=3", "the study has no such key"),
    ("arm-s-parameters", "arms.a.parameters=3", "arms.a.parameters: expected `object`"),
    ("whole-stage", "stages.two=3", "the study has no such key"),
    ("bad-yaml", "thing.x=[1", "--set thing.x:"),
]


@pytest.mark.parametrize(
    ("item", "words"), [c[1:] for c in SET_WRONG], ids=[c[0] for c in SET_WRONG]
)
def test_a_bad_set_is_refused(tmp_path, item, words):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, sets=[item])
    assert words in str(caught.value)


SET_RIGHT = [
    ("float", "thing.x=1e-4", 0.0001), ("text", "thing.x=48:00:00", "48:00:00"),
    ("list", "thing.x=[1, 2]", [1, 2]), ("null", "thing.x=", None), ("spaces", "thing.x= 5 ", 5),
    ("equals", "thing.x=a=b", "a=b"), ("reference", "thing.x=${seed}", "${seed}"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("item", "value"), [c[1:] for c in SET_RIGHT], ids=[c[0] for c in SET_RIGHT]
)
def test_set_reads_its_value_as_yaml(tmp_path, item, value):
    found = load(tmp_path, sets=[item]).parameters("")["thing"]["x"]
    assert found == value
    assert type(found) is type(value)


MAIN_SETS = [
    "batch.micro=1", "stages.train.resources.gpus=4", "stages.train.resources.walltime=24:00:00",
    "preprocess.workers=32", "wandb.mode=offline", "train.keep_checkpoints=1", "seed=7",
    "model.config={hidden_size: 64}", "variant.expand_prop=0.2", "corpus.chunks=40",
    "arms.patok.parameters.variant.affix_awareness=0.5", "evaluate.heldout=validation",
]  # fmt: skip


@pytest.mark.parametrize("item", MAIN_SETS)
def test_what_one_may_want_to_set_of_the_main_study(item):
    plan.make(study.load(MAIN, sets=[item]), SITE)


@pytest.mark.parametrize(
    "item", ["batch.mirco=1", "trian.max_steps=5", "stages.train.resource.gpus=4", "optimizer.LR=1"]
)
def test_a_slip_in_a_set_of_the_main_study_is_found(item):
    with pytest.raises(ConfigError):
        plan.make(study.load(MAIN, sets=[item]), SITE)


# What a study file may not hold.

WRONG = [
    ("name", {"study": ...}, "study: missing"),
    ("name-type", {"study": 5}, "study: expected `str`"),
    ("name-slash", {"study": "a/b"}, "study: 'a/b' is no name"),
    ("no-stages", {"stages": ...}, "stages: missing"),
    ("empty-stages", {"stages": {}, "profiles": {}}, "stages: a study needs at least one stage"),
    ("stages-list", {"stages": ["one"]}, "stages: expected `object`"),
    ("stages-null", {"stages": None}, "stages: expected `object`"),
    ("stage-null", {"stages.one": None}, "stages.one: expected a mapping"),
    ("top-key", {"stagse": {}}, "stagse: unknown key; did you mean 'stages'"),
    ("stage-key", {"stages.one.kindd": 1}, "stages.one.kindd: unknown key; did you mean 'kind'"),
    ("resource-key", {"stages.one.resources": {"gpu": 1}}, "stages.one.resources.gpu: unknown key"),
    ("array-key", {"stages.one.array": {"over": "chunks", "count": 1, "x": 1}}, "one.array.x: unk"),
    ("arm-key", {"arms.a.titel": "x"}, "arms.a.titel: unknown key; did you mean 'title'"),
    ("profile-key", {"profiles.p.params": {}}, "profiles.p.params: unknown key"),
    ("profile-stage", {"profiles.p.stages": {"tow": {}}}, "p.stages.tow: the study has none"),
    ("profile-arm", {"profiles.p.arms": {"c": {}}}, "profiles.p.arms.c: the study has none"),
    ("profile-scalar", {"profiles.p.stages": {"one": 3}}, "p.stages.one: expected a mapping"),
    ("profiles-list", {"profiles": ["p"]}, "profiles: expected `object`"),
    ("kind", {"stages.one.kind": "comand"}, "kind: 'comand' is no kind; did you mean 'command'"),
    ("kind-missing", {"stages.one.kind": ...}, "stages.one.kind: missing"),
    ("run-missing", {"stages.one.run": ...}, "stages.one.run: missing"),
    ("run-text", {"stages.one.run": "python x.py"}, "stages.one.run: expected `array`"),
    ("run-number", {"stages.one.run": ["sleep", 5]}, "stages.one.run[1]: expected `str`"),
    ("needs", {"stages.two.needs": ["oen"]}, "no stage is called 'oen'; did you mean 'one'"),
    ("arms-unknown", {"stages.two.arms": ["a", "c"]}, "stages.two.arms: no arm is called 'c'"),
    ("arms-alias", {"stages.two.arms": ["first"]}, "stages.two.arms: no arm is called 'first'"),
    ("arms-word", {"stages.two.arms": "some"}, "stages.two.arms: "),
    ("arms-twice", {"stages.two.arms": ["a", "a"]}, "name at least one arm, and each once"),
    ("arms-empty", {"stages.two.arms": []}, "name at least one arm, and each once"),
    ("no-arms", {"arms": {}, "profiles": {}}, "stages.two.arms: the study has no arms"),
    ("env", {"stages.one.env": "torch"}, "stages.one.env: invalid enum value 'torch'"),
    ("over", {"stages.one.array": {"over": "files", "count": 2}}, "stages.one.array.over: invalid"),
    ("throttle", {"stages.one.array": {"over": "chunks", "count": 2, "throttle": -1}}, "throttle"),
    ("hours-arm", {"stages.two.hours": {"c": 4}}, "stages.two.hours: no arm is called 'c'"),
    ("hours-three", {"stages.two.hours": [1, 2, 3]}, "stages.two.hours: "),
    ("hours-back", {"stages.two.hours": [48, 24]}, "stages.two.hours: (48.0, 24.0) is no time"),
    ("hours-negative", {"stages.two.hours": {"a": -1}}, "stages.two.hours: -1.0 is no time"),
    ("hours-nan", {"stages.two.hours": float("nan")}, "stages.two.hours: nan is no time"),
    ("nodes", {"stages.one.resources": {"nodes": 0}}, "stages.one.resources: nodes is 0"),
    ("gpus", {"resources": {"gpus": -1}}, "resources: gpus is -1"),
    ("gpus-float", {"resources": {"gpus": 1.5}}, "resources.gpus: expected"),
    ("mem", {"stages.one.resources": {"mem": "3 gigs"}}, "'3 gigs' is no size"),
    ("mem-negative", {"stages.one.resources": {"mem": -3}}, "-3 is no"),
    ("walltime", {"stages.one.resources": {"walltime": "2 days"}}, "'2 days' is no walltime"),
    ("walltime-zero", {"stages.one.resources": {"walltime": 0}}, "0 is no time at all"),
    ("alias-is-arm", {"arms.b.aliases": ["a"]}, "arms.b: 'a' already names arm 'a'"),
    ("alias-twice", {"arms.b.aliases": ["first"]}, "arms.b: 'first' already names arm 'a'"),
    ("arm-name", {"arms.x y": {}}, "arms.x y: a name is made of letters"),
    ("stage-name", {"stages./etc": {"kind": "command", "run": ["x"]}}, "stages./etc: a name"),
    ("state-dir", {"state_dir": "/tmp/x"}, "state_dir: '/tmp/x' leaves the project"),
    ("data-dir", {"data_dir": "../data"}, "data_dir: '../data' leaves the project"),
    ("results-dir", {"results_dir": "a/../../b"}, "results_dir: 'a/../../b' leaves the project"),
    ("itself", {"stages.one.needs": ["one"]}, "goes round in a circle: one -> one"),
    ("circle", {"stages.one.needs": ["two"]}, "goes round in a circle: one -> two -> one"),
    ("claims", {"claims": {"id": 1}}, "claims: expected `array`"),
    ("expectation", {"expectations": ["x"]}, "expectations[0]: expected `object`"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), [c[1:] for c in WRONG], ids=[c[0] for c in WRONG])
def test_a_bad_study_is_refused_under_its_path(tmp_path, changes, words):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, changes)
    assert words in str(caught.value)
    assert all(p.startswith(str(tmp_path / "s.yaml")) for p in caught.value.problems)


def test_all_problems_come_together(tmp_path):
    changes = {
        "stages.one.kind": "comand", "stages.two.needs": ["oen"], "stages.two.arms": ["c"],
        "state_dir": "/x", "arms.b.aliases": ["first"],
    }  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, changes)
    assert len(caught.value.problems) == 5


def test_problems_of_form_come_together_too(tmp_path):
    changes = {
        "zzz": 1,
        "stages.one.zzz": 1,
        "stages.two.zzz": 1,
        "arms.a.zzz": 1,
        "profiles.p.zzz": 1,
    }
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, changes, ["nothing"], ["thing.w=1"])
    assert len(caught.value.problems) >= 6


def test_a_profile_without_the_part_it_changes(tmp_path):
    bare = {"arms": ..., "stages.two": ..., "profiles.stage": ..., "profiles.arm": ...}
    with pytest.raises(ConfigError, match="the study has none; Valid: none"):
        load(tmp_path, {**bare, "profiles.p.arms": {"a": {}}})


@pytest.mark.parametrize("changes", [{"stages.two.resources": None}, {"arms.a.parameters": None}])
def test_an_overlay_does_not_hide_what_is_wrong_below_it(tmp_path, changes):
    profiles = ["stage"] if "stages.two.resources" in changes else ["arm"]
    with pytest.raises(ConfigError, match="expected `object`, got `null`"):
        load(tmp_path, changes, profiles)


def test_too_many_stages(tmp_path):
    one = {"kind": "command", "run": ["true"]}
    stages = {f"s{n}": {**one, "needs": [f"s{n + 1}"]} for n in range(600)}
    with pytest.raises(ConfigError, match="too many"):
        load(tmp_path, {"stages": {**stages, "s600": one}, "profiles": {}})


def test_a_long_chain_of_stages(tmp_path):
    one = {"kind": "command", "run": ["true"]}
    stages = {f"s{n}": {**one, "needs": [f"s{n + 1}"]} for n in range(study.MAX_STAGES - 1)}
    stages[f"s{study.MAX_STAGES - 1}"] = {**one, "reads": ["thing", "own"]}
    made = plan.make(load(tmp_path, {"stages": stages, "profiles": {}}), SITE)
    assert len(made.jobs) == study.MAX_STAGES
    assert made.jobs[-1].name == "s0"


# Arms and their names.


@pytest.mark.parametrize(("name", "arm"), [("a", "a"), ("first", "a"), ("b", "b")])
def test_an_arm_by_its_id_or_alias(tmp_path, name, arm):
    assert load(tmp_path).arm_id(name) == arm


def test_an_arm_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="no arm is called 'frist'; did you mean 'first'"):
        load(tmp_path).arm_id("frist")


def test_a_run_goes_by_its_first_alias():
    loaded = study.load(MAIN)
    assert [loaded.run_of(a) for a in loaded.arms] == ["baseline", "stochastok", "patok"]
    assert loaded.arm_id("baseline") == "vanilla"


DIRECTORIES = [
    ("own", {}, [], ("jobs/small", "data/small", "results/small")),
    ("profiled", {}, ["p", "q"], ("jobs/small@p+q", "data/small@p+q", "results/small@p+q")),
    ("named", {"state_dir": "jobs/", "data_dir": "d", "results_dir": "r/x"}, [],
     ("jobs", "d", "r/x")),
    ("named-and-profiled", {"state_dir": "jobs"}, ["p"],
     ("jobs/small@p", "data/small@p", "results/small@p")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "profiles", "expected"),
    [c[1:] for c in DIRECTORIES],
    ids=[c[0] for c in DIRECTORIES],
)
def test_a_run_s_folders(tmp_path, changes, profiles, expected):
    loaded = load(tmp_path, changes, profiles)
    assert tuple(map(loaded.directory, ("state", "data", "results"))) == expected


def test_set_reaches_a_command_s_own_keys_in_a_section_of_a_known_name() -> None:
    loaded = study.load(ROOT / "studies/marco-lora.yaml", sets=["batch.train=1"])
    assert loaded.parameters("")["batch"]["train"] == 1
    with pytest.raises(ConfigError, match="the study has no such key"):
        study.load(ROOT / "studies/marco-lora.yaml", sets=["batch.trian=1"])
