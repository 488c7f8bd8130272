"""What the user brings: found on the host before anything is queued, or named."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from pipeline import inputs, plan, study
from pipeline.doctor import brought
from pipeline.doctor.check import Scope
from pipeline.errors import ConfigError, StateError
from pipeline.job import Input
from pipeline.plan import Plan
from pipeline.remote import Remote
from pipeline.transport import Here
from tests.pipeline.doctored import asked, bad, by_name, facts, said
from tests.pipeline.world import World
from tests.ssh.fixture import Sshd

STUDY = """
study: small
state_dir: jobs/small
arms: {a: {}, b: {parameters: {weights: {base: none}}}}
parameters:
  seed: 1
  corpus: {source: data/corpora/mine, parts: 3, files: ["in/x.txt", "in/y.txt"]}
  weights: {base: someone/model}
stages:
  make:
    {kind: command, run: [echo], reads: [corpus], inputs: ["${corpus.source}", "notes/*.txt"],
     outputs: ["${data}/made", "${data}/parts/p_${task}.txt"], array: {over: chunks, count: 3}}
  fit:
    {kind: command, arms: all, needs: [make], run: [echo], reads: [weights],
     inputs: ["hub:${weights.base}", "${data}/made/a.txt", "${data}/parts",
              "${data}/parts/p_*.txt"]}
  score:
    {kind: command, run: [echo], inputs: ["${corpus.files}", "levels/level_${task}.txt"],
     array: {over: levels, count: 12}}
profiles:
  demo: {stages: {make: {inputs: [data/samples/mine]}}}
resources: {gpus: 0, cpus: 1, mem: 1GB, walltime: "01:00:00"}
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    found = World(tmp_path / "project of 'mine'", STUDY)
    found.engine.transport = Here(str(found.root))
    return found


def with_profile(world: World, *profiles: str) -> Plan:
    loaded = study.load(world.root / "studies/small.yaml", profiles)
    return plan.make(loaded, world.plan.site)


def refusal(world: World, *stages: str) -> list[str]:
    """What a submission of some stages says."""
    with pytest.raises(StateError) as caught:
        world.engine.submit(world.plan.select(stages), whole="all" in stages)
    assert not world.scheduler.submitted
    return str(caught.value).splitlines()


def put(world: World, *paths: str) -> None:
    for path in paths:
        (world.root / path).parent.mkdir(parents=True, exist_ok=True)
        (world.root / path).write_text("x")


def test_every_missing_one_is_named_with_its_stage_and_remedy(world: World) -> None:
    assert refusal(world, "all") == [
        "stages.make.inputs: data/corpora/mine is not there; make needs it. Put it there, or name "
        "another with --set corpus.source=...",
        "stages.make.inputs: notes/*.txt is not there; make needs it. Put it there, or correct "
        "stages.make.inputs",
        "stages.score.inputs: in/x.txt is not there; score needs it. Put it there, or name "
        "another with --set corpus.files=...",
        "stages.score.inputs: in/y.txt is not there; score needs it. Put it there, or name "
        "another with --set corpus.files=...",
        "stages.score.inputs: levels/level_${task}.txt is not there for 12 of 12 tasks "
        "(level_0001.txt ...); score needs it. Put it there, or correct stages.score.inputs",
    ]


def test_what_is_there_is_enough(world: World) -> None:
    put(world, "data/corpora/mine/a", "notes/of today.txt", "in/x.txt", "in/y.txt")
    put(world, *(f"levels/level_{n:04d}.txt" for n in range(1, 12)))
    [line] = refusal(world, "all")
    assert "is not there for 1 of 12 tasks (level_0012.txt ...)" in line
    put(world, "levels/level_0012.txt")
    made = inputs.wanted(world.plan, world.plan.jobs)
    assert inputs.refuse_missing(world.plan, world.plan.jobs, Here(str(world.root))) is None
    assert len(made) == 6


def test_only_the_stages_that_are_submitted_count(world: World) -> None:
    assert {line.partition(":")[0] for line in refusal(world, "score")} == {"stages.score.inputs"}


def test_what_a_job_before_it_makes_is_not_asked_for(world: World) -> None:
    wanted = inputs.wanted(world.plan, world.plan.select(["fit"]))
    assert [(one.hub, one.jobs) for one in wanted] == [("someone/model", ("fit_a",))]
    loose = msgspec.structs.replace(world.plan.job("fit_a"), upstream=())
    paths = [one.given.path for one in inputs.wanted(world.plan, [loose])]
    assert paths[1:] == [path.path for path in loose.inputs[1:]]


@pytest.mark.parametrize(
    ("path", "output", "same"),
    [
        ("/p/a", "/p/a", True), ("/p/a", "/p/a/b/c", True), ("/p/a/b", "/p/a", True),
        ("/p/ab", "/p/a", False), ("/p/a/b", "/p/a/c", False),
        ("/p/x_0012.txt", "/p/x_{task4}.txt", True), ("/p/x_y.txt", "/p/x_{task4}.txt", False),
        ("/p/x_{task4}.txt", "/p/x_{task4}.txt", True), ("/p/x_*", "/p/x_{task4}.txt", True),
    ],
)  # fmt: skip
def test_which_outputs_are_an_input(path: str, output: str, same: bool) -> None:
    assert inputs._within(path, output) is same


@pytest.mark.parametrize(
    ("path", "hub"),
    [
        ("hub:org/name", "org/name"), ("hub:gpt2", "gpt2"), ("hub:/weights/gpt2", ""),
        ("hub:./weights", ""), ("org/name", ""), ("hf://org/data", "hf://org/data"),
    ],
)  # fmt: skip
def test_names_that_a_node_fetches(path: str, hub: str) -> None:
    assert inputs.Wanted(Input(path, "stages.fit.inputs"), "/p", ("fit",), 1).hub == hub


def test_a_profile_brings_other_inputs(world: World) -> None:
    job = with_profile(world, "demo").job("make")
    assert [one.path for one in job.inputs] == ["data/samples/mine"]
    assert [one.key for one in world.plan.job("make").inputs] == ["corpus.source", ""]


def test_what_is_no_path_is_a_problem(world: World) -> None:
    path = world.root / "studies/small.yaml"
    path.write_text(STUDY.replace('"${corpus.source}"', '"${corpus.parts}"'))
    with pytest.raises(ConfigError, match=r"stages\.make\.inputs: .* is 3, which is no path"):
        plan.make(study.load(path), world.plan.site)


def test_doctor_tells_of_each(world: World) -> None:
    scope = Scope(world.plan, world.plan.jobs)
    put(world, "data/corpora/mine", "in/x.txt")
    found = by_name(brought.checks(scope, asked(brought.questions(scope), world.root)))
    assert found["data/corpora/mine"].status == found["in/x.txt"].status == "ok"
    assert found["someone/model"].fact == (
        "someone/model is fetched on the node, so it was not looked at"
    )
    assert found["someone/model"].needed_by == ("fit_a",)
    assert found["in/y.txt"].status == found["notes/*.txt"].status == "fail"
    assert found["in/y.txt"].remedy == "Put it there, or name another with --set corpus.files=..."


def test_a_folder_of_a_hub_name_is_used(world: World) -> None:
    scope = Scope(world.plan, tuple(world.plan.select(["fit"])))
    put(world, "someone/model/config.json")
    found = by_name(brought.checks(scope, asked(brought.questions(scope), world.root)))
    assert found["someone/model"].fact == "is there"


def test_without_an_answer_nothing_is_claimed(world: World) -> None:
    scope = Scope(world.plan, tuple(world.plan.select(["make"])))
    found = bad(brought.checks(scope, facts(inputs=said(code=124))))
    assert found == [
        f"warn {name}: not looked at: no answer within 25 s"
        for name in ("data/corpora/mine", "notes/*.txt")
    ]


def test_a_study_without_inputs_asks_nothing(tmp_path: Path) -> None:
    of = World(tmp_path / "project")
    inputs.refuse_missing(of.plan, of.plan.jobs, of.transport)
    assert of.transport.calls == 0
    assert not list(brought.questions(Scope(of.plan, of.plan.jobs)))


def test_over_ssh_it_is_one_round_trip(
    world: World, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sshd.env.items():
        monkeypatch.setenv(name, value)
    there = tmp_path / "it's there"
    (there / "data/corpora/mine").mkdir(parents=True)
    jobs = [
        msgspec.structs.replace(job, project_dir=str(there)) for job in world.plan.select(["make"])
    ]
    remote = Remote("cluster", str(there), tmp_path / "near", "jobs/x", "jobs/x/logs")
    with pytest.raises(StateError, match=r"^stages\.make\.inputs: notes/\*\.txt is not there"):
        inputs.refuse_missing(world.plan, jobs, remote)
    assert remote.calls == 1


def test_the_plan_tells_of_them(world: World) -> None:
    made = msgspec.to_builtins(world.plan.job("make"))
    assert json.loads(json.dumps(made["inputs"]))[0] == {
        "path": "data/corpora/mine", "where": "stages.make.inputs", "key": "corpus.source",
    }  # fmt: skip
