"""`new study`, `new site`: what they write holds, whatever is answered; nothing is replaced."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from pipeline import plan, revisions, site, study, yamlio
from pipeline.cli import cli
from tests.pipeline.clusters import ROOT


@pytest.fixture
def root(tmp_path, monkeypatch):
    for name in ("studies", "sites"):
        (tmp_path / name).mkdir()
    (tmp_path / "job_templates").symlink_to(ROOT / "job_templates")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new(*words, answers="", code=0):
    result = CliRunner().invoke(cli, ["new", *words], input=answers)
    assert result.exit_code == code, result.output
    return result.output


ANSWERS = [
    (),
    ("--arms", "one"),
    ("--arms", "a, b-2,c_3", "--tasks", "1", "--cpus", "8"),
    ("--gpus", "4", "--mem", "60GiB", "--walltime", "2-00:00:00"),
    ("--title", 'It\'s "quoted": {yes} #no ${x} {{ y }} é', "--question", "- why?\n? [a"),
]


@pytest.mark.parametrize("words", ANSWERS, ids=["none", "arm", "arms", "gpus", "hostile"])
def test_the_skeleton_checks_clean_plans_and_renders(root, words):
    new("study", "mine", "--defaults", *words)
    for profile in ((), ("--profile", "demo")):
        result = CliRunner().invoke(cli, ["check", "--study", "mine", *profile])
        assert result.exit_code == 0, result.output
    loaded = study.load(root / "studies/mine.yaml")
    revisions.check(loaded)
    made = plan.make(loaded, site.reference(root))
    assert {job.stage for job in made.jobs} == {"prepare", "train", "evaluate", "compare"}
    out = CliRunner().invoke(cli, ["render", "--study", "mine", "--profile", "demo"])
    assert out.exit_code == 0 and len(out.output.split()) == len(made.jobs)
    text = (root / "studies/mine.yaml").read_text("utf-8")
    assert max(len(line) for line in text.splitlines() if "title" not in line) <= 100


def test_what_is_answered_stands_in_the_study(root):
    new("study", "mine", *ANSWERS[4], "--arms", "x,y", "--gpus", "2", "--defaults")
    loaded = study.load(root / "studies/mine.yaml")
    assert (loaded.document.title, loaded.document.question) == (ANSWERS[4][1], ANSWERS[4][3])
    assert list(loaded.arms) == ["x", "y"]
    job = plan.make(loaded, site.reference(root)).job("train_x")
    assert job.resources.gpus == 2
    assert loaded.stages["train"].env == "hf"


def test_the_interview_asks_what_no_flag_gives_and_asks_again_after_a_mistake(root):
    out = new("study", "mine", "--gpus", "1", answers="A title\n\na,a\nsmall,large\n3\n\n\n\n")
    assert "Its arms, what is compared (a,b) [baseline,treatment]" in out
    assert "name at least one arm, and each once" in out
    assert "GPUs of a training" not in out
    loaded = study.load(root / "studies/mine.yaml")
    assert list(loaded.arms) == ["small", "large"]
    assert loaded.document.title == "A title"
    assert loaded.parameters("")["data"]["parts"] == 3


BAD = [
    (("study", "mine", "--arms", "a b"), "'a b' is no name"),
    (("study", "mine", "--mem", "much"), "'much' is no size"),
    (("study", "mine", "--walltime", "soon"), "'soon' is no walltime"),
    (("study", "mine", "--tasks", "0"), "0 is not in the range"),
    (("study", "../mine"), "is no name"),
    (("site", "local"), "is no name for a site"),
    (("site", "a/b"), "is no name for a site"),
    (("site", "far", "--host", "login.far"), "pipeline sites add far --host login.far"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[" ".join(b[0][:3]) for b in BAD])
def test_what_makes_no_file_is_refused(root, words, message):
    out = new(*words, "--defaults", code=2)
    assert message in out and "Traceback" not in out
    assert not [*root.glob("studies/*"), *root.glob("sites/*"), *root.glob("*.yaml")]


@pytest.mark.parametrize("kind", ["study", "site"])
def test_no_file_is_replaced(root, kind):
    folder = {"study": "studies", "site": "sites"}[kind]
    path = root / folder / "mine.yaml"
    path.write_text("kept\n")
    assert "is there already" in new(kind, "mine", "--defaults", code=2)
    assert path.read_text() == "kept\n"


CLUSTER = (
    "--queue", "gpu", "--cpu-queue", "cpu", "--nodes", "4", "--gpus", "8", "--cpus", "64",
    "--mem", "480GB", "--walltime", "48:00:00", "--gpu", "a100-40", "--gpu-memory", "40GiB",
    "--container", "enroot", "--image", "nemo_framework", "--account", "my-project",
    "--python", ".venv/bin/python",
)  # fmt: skip


@pytest.mark.parametrize("scheduler", ["pbs", "torque", "slurm"])
def test_a_site_holds_its_answers_and_takes_the_main_study(root, scheduler):
    new("site", "far", "--scheduler", scheduler, *CLUSTER, "--defaults")
    far = site.load(root, "far")
    assert (far.scheduler, far.account, far.cpu_queue) == (scheduler, "my-project", "cpu")
    assert far.queues["gpu"].limit("max_mem") == 480 * 10**9
    assert (far.queues["gpu"].max_nodes, far.queues["cpu"].max_gpus) == (4, 0)
    assert far.gpu is not None and far.gpu.bytes == 40 * 2**30
    assert far.environments["nemo"].container == "enroot"
    made = plan.make(study.load(ROOT / "studies/filipino-cpt.yaml"), far)
    assert made.job("train_patok").queue == "gpu" and made.job("split").queue == "cpu"


def test_a_site_of_this_machine_runs_the_new_study_to_its_end(root, monkeypatch):
    new("site", "here", "--defaults")
    new("study", "mine", "--defaults")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    words = ["--study", "mine", "--site", "here", "--profile", "demo"]
    result = CliRunner().invoke(cli, ["run", "--interval", "0.2", *words])
    assert result.exit_code == 0, result.output
    score = json.loads((root / "results/mine@demo/treatment/metrics.json").read_text())
    assert score == {"score": 2 * 3 * 2}
    assert "treatment" in (root / "results/mine@demo/comparison.txt").read_text()


def test_the_site_s_interview_leaves_out_what_it_has_not(root):
    out = new("site", "here", answers="local\n" + "\n" * 9)
    assert "Queue of jobs" not in out and "The GPU's name" not in out
    assert "Folder for logs" in out
    out = new("site", "far", answers="slurm\n" + "\n" * 3 + "gpu\n" + "\n" * 20)
    assert "Queue of jobs without GPUs" in out
    assert site.load(root, "far").defaults.queue == "gpu"


@pytest.mark.parametrize("value", ["yes", "a: b", "#x", "{", "é & co"])
def test_an_answer_is_text_whatever_yaml_would_make_of_it(root, value):
    new("site", "far", "--scheduler", "pbs", "--account", value, "--defaults")
    assert yamlio.load(root / "sites/far.yaml")["account"] == value
