"""What would take for ever, or all memory, is refused at once."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import causes, plan, site, study, yamlio
from pipeline.errors import ConfigError
from pipeline.job import Job
from pipeline.ranges import from_ranges
from tests.golden.cases import make_job
from tests.pipeline.hostile.values import ROOT

SITE = site.load(ROOT, "example-slurm")
STUDY = """
study: small
stages:
  cut: {kind: command, run: [echo, "{task}"], array: {over: chunks, count: COUNT}}
resources: {gpus: 0, cpus: 1, mem: 1GB, walltime: "01:00:00"}
"""


def refused(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        plan.make(study.load(path), SITE)
    assert len(str(error.value)) < 100_000
    return str(error.value)


@pytest.mark.parametrize("count", [100_001, 10**9, 2**63 - 1])
def test_more_tasks_than_any_scheduler_takes(tmp_path: Path, count: int) -> None:
    said = refused(tmp_path / "s.yaml", STUDY.replace("COUNT", str(count)))
    assert f"stages.cut.array.count: {count} tasks are too many" in said


def test_more_jobs_than_anyone_reads(tmp_path: Path) -> None:
    arms = ", ".join(f"a{i}: {{}}" for i in range(600))
    stages = ", ".join(f"s{i}: {{kind: command, run: [x], arms: all}}" for i in range(10))
    text = f"study: s\narms: {{{arms}}}\nstages: {{{stages}}}\n"
    assert "6000 jobs are too many" in refused(tmp_path / "s.yaml", text)


def test_a_thousand_mistakes_are_one_page(tmp_path: Path) -> None:
    odd = ", ".join(f"k{i}: 1" for i in range(5000))
    text = STUDY.replace("COUNT", "1") + f"parameters: {{a: [{odd}]}}\n"
    for more in (f"{{{odd}}}", "[" + "'${nothing}', " * 20_000 + "]"):
        said = refused(tmp_path / "s.yaml", text.replace(f"[{odd}]", more))
        assert len(said.splitlines()) <= 101
    lines = odd.replace(", ", "\n")
    said = refused(tmp_path / "s.yaml", STUDY.replace("COUNT", "1") + lines)
    assert "more unknown keys" in said


def test_names_of_a_megabyte_are_not_compared(tmp_path: Path) -> None:
    name = "ab" * 400_000
    text = STUDY.replace("COUNT", "1").replace("cut:", f"? {name}x\n  :")
    assert len(refused(tmp_path / "s.yaml", text + f"needs: [{name}]\n")) < 50_000
    assert len(yamlio.nearest(name, [name + "x", name + "y"])) < 1000
    assert "and 940 more" in yamlio.nearest("zz", map(str, range(1000)))


@pytest.mark.parametrize(
    "key", ["resources" + ".a" * 2000, "stages.train" + ".a" * 2000, ".".join("a" * 2000)]
)
def test_a_key_of_a_thousand_words(key: str) -> None:
    with pytest.raises(ConfigError, match="write it as key=value"):
        study.load(ROOT / "studies/filipino-cpt.yaml", sets=[f"{key}=1"])


@pytest.mark.parametrize(
    "text", ["1-1000000,1-1000000", "1-999999," * 50_000, ",".join(["1-500001", "500001-1000000"])]
)
def test_ranges_beyond_a_million(text: str) -> None:
    with pytest.raises(ValueError, match="more than 1000000 numbers"):
        from_ranges(text)


@pytest.mark.parametrize(
    "text",
    ["[" * 1_000_000, "{a: " * 500_000, "- " * 1_000_000, "[" + "[],"*900_000 + "]", "? " * 900_000,
     "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
         f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n"
         for a, b in zip("abcdefghi", "bcdefghij", strict=True)),
     "a: 0x" + "f" * 100_000, "a: " + "9" * 100_000],
    ids=["lists", "maps", "items", "many", "keys", "aliases", "hex", "digits"],
)  # fmt: skip
def test_a_bomb_costs_little_memory(tmp_path: Path, text: str) -> None:
    """In a process that may not have more than 700 MB of address space, nor 30 s of a processor."""
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    code = (
        "import sys; from pathlib import Path; from pipeline import yamlio, errors\n"
        "try: yamlio.load(Path(sys.argv[1]))\n"
        "except errors.ConfigError as error: print(error)\n"
        "else: sys.exit('it was taken')"
    )

    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20))
        resource.setrlimit(resource.RLIMIT_CPU, (30, 30))

    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True,
        preexec_fn=limits,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(path) in done.stdout and len(done.stdout) < 1000


def job() -> Job:
    return make_job(config={"parameters": {"batch": {"micro": 2**62, "rate": 1e300}}})


@pytest.mark.parametrize("word", ["x" + "9" * 400, "x" + "9" * 308])
@pytest.mark.parametrize("key", ["batch.micro", "batch.rate"])
def test_a_patch_beyond_all_numbers_changes_nothing(word: str, key: str) -> None:
    row = causes.Cause(name="n", cause="c", advice="a", exits=(1,), patch={key: word})
    assert causes.changes(row, job()) == []


@pytest.mark.parametrize("log", ["a{99999999999}", "(" * 5000 + ")" * 5000, "(?P<a", "[a"])
def test_a_pattern_that_is_none(tmp_path: Path, log: str) -> None:
    row = {"name": "n", "cause": "c", "advice": "a", "log": log}
    (tmp_path / "causes.yaml").write_text(yamlio.dump({"causes": [row]}))
    with pytest.raises(ConfigError, match="causes.yaml: causes"):
        causes.load(tmp_path)
