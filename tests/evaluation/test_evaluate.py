import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluation import evaluate as module
from evaluation.benchmarks import generate
from evaluation.config import InputError
from evaluation.evaluate import evaluate, main, modes_of, run_models
from evaluation.generation import Settings
from evaluation.groups import GROUPS
from evaluation.models import Backend, LanguageModel
from evaluation.parts import Part, compute
from evaluation.plan import Request
from tests.evaluation.server import completions

Write = Callable[[Path, list[list[int]]], None]
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    sizes = dict.fromkeys(GROUPS["pacute"], 3) | {"hierarchical": 2}
    chosen = ["pacute", "hierarchical"]
    generate(folder, Settings(chosen, seed=1, sizes=sizes, languages=["fil"], shots=0))
    return folder


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def request(model: Path, output: Path, benchmarks: Path, **more: Any) -> Request:
    given: dict[str, Any] = {"groups": ["pacute"], "modes": ["mcq"]}
    given |= {"names": {"arm": output.name, "run": output.name, "title": output.name}}
    given |= {"tokenisations": 0, **more}
    return Request(model=model, output=output, benchmarks=benchmarks, **given)


@pytest.fixture
def job(
    model_dir: Path, benchmarks: Path, tmp_path: Path, texts: list[str], model: LanguageModel,
    write_prefix: Write,
) -> Path:  # fmt: skip
    """A job's configuration for arm patok, with data in two chunks."""
    documents = [[*model.tokenizer.encode(text), 1] for text in texts]
    split = [[t for c in text for t in model.tokenizer.encode(c)] + [1] for text in texts]
    for chunk in (1, 2):
        write_prefix(tmp_path / f"data/vanilla/d_{chunk:04d}", documents)
        write_prefix(tmp_path / f"data/patok/d_{chunk:04d}", split)
    parameters = {
        "corpus": {"chunks": 2},
        "tokenizer": {"eod": 1},
        "model": {"seq_length": 16},
        "train": {"split": [50, 50, 0]},
        "benchmark": {"output_dir": str(benchmarks)},
        "evaluate": {
            "model": str(model_dir),
            "benchmarks": ["pacute", "hierarchical"],
            "mode": "both",
            "reference_data": str(tmp_path / "data/vanilla/d"),
            "arm_data": str(tmp_path / "data/patok/d"),
            "heldout": "validation",
            "tokenisations": 2,
            "output_dir": str(tmp_path / "results/patok"),
        },
    }
    values = {"job": {"arm": "patok", "run": "p"}, "arms": {"patok": {"title": "Patok"}}}
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({**values, "parameters": parameters}))
    return path


def test_a_job_writes_figures_records_and_progress(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIPELINE_PROGRESS", str(job.parent / "progress.json"))
    assert main(["--config", str(job)]) == 0
    folder = job.parent / "results/patok"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["arm"], metrics["run"], metrics["title"]) == ("patok", "p", "Patok")
    for group, modes in metrics["benchmarks"].items():
        assert list(modes) == ["mcq", "gen"]
        for mode, result in modes.items():
            found = records(folder / f"samples_{group}_{mode}.jsonl")
            assert (result["n"], result["correct"]) == (12, sum(r["correct"] for r in found))
            assert result["chance"] == (0.25 if mode == "mcq" else 0)
            assert tuple(result["by"]) == GROUPS[group]
            for part, cell in result["by"].items():
                own = [r["correct"] for r in found if r["part"] == part]
                assert (cell["n"], cell["correct"]) == (len(own), sum(own))
    heldout = metrics["heldout"]
    assert heldout["documents"] == 4 and heldout["own_tokens"] > heldout["tokens"]
    assert len(heldout["heldout_text_sha256"]) == 64
    for group, modes in metrics["marginal"].items():
        found = records(folder / f"samples_{group}_mcq.marginal.jsonl")
        assert modes["mcq"]["correct"] == sum(record["correct"] for record in found)
        assert all(0 <= draws <= 2 for record in found for draws in record["draws"])
    assert metrics["lm_eval"]["backend"] == "hf" and metrics["missing"] == []
    figures = metrics["lm_eval"]["results"]["pacute_mcq"]
    assert figures["acc_bytes,none"] == metrics["benchmarks"]["pacute"]["mcq"]["accuracy"]
    own, vanilla = metrics["boundaries"]["own_tokens"], metrics["boundaries"]["vanilla_tokens"]
    assert own["recall"] == 1.0 and own["fertility"] > vanilla["fertility"]  # cut at each letter
    progress = json.loads((job.parent / "progress.json").read_text())
    assert progress["done"] == progress["total"] and progress["unit"] == "items"
    before = {path: path.read_bytes() for path in folder.rglob("*.json*")}
    capsys.readouterr()
    assert main(["--config", str(job)]) == 0
    assert "unchanged" in capsys.readouterr().out
    assert before == {path: path.read_bytes() for path in folder.rglob("*.json*")}


def test_only_what_is_missing_or_changed_is_done_again(
    model_dir: Path, benchmarks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def count(output: Path, part: Part, *more: Any) -> None:
        done.append(part.name)
        compute(output, part, *more)

    monkeypatch.setattr(module, "compute", count)
    first = request(model_dir, tmp_path / "a", benchmarks)
    both = request(model_dir, tmp_path / "a", benchmarks, modes=["mcq", "gen"])
    assert evaluate(first) and done == ["pacute_mcq", "boundaries"]
    assert not evaluate(first) and len(done) == 2
    assert evaluate(both) and done[2:] == ["pacute_gen"]
    (tmp_path / "a/metrics.json").write_text("{half")
    assert evaluate(both) and len(done) == 3  # put together again from the parts
    (tmp_path / "a/samples_pacute_mcq.jsonl").unlink()
    assert evaluate(both) and done[3:] == ["pacute_mcq"]


def test_the_tasks_of_an_array_share_a_model(job: Path) -> None:
    values = yaml.safe_load(job.read_text())
    values["job"]["tasks"] = 2
    values["parameters"]["evaluate"] |= {"benchmarks": ["pacute"], "mode": "mcq"}
    job.write_text(yaml.safe_dump(values))
    metrics = job.parent / "results/patok/metrics.json"
    assert main(["--config", str(job), "--task", "2"]) == 0
    missing = json.loads(metrics.read_text())["missing"]
    assert missing == ["pacute_mcq", "pacute_marginal"]  # task 2 did what is no benchmark
    assert main(["--config", str(job), "--task", "1"]) == 0
    whole = json.loads(metrics.read_text())
    assert whole["missing"] == [] and {"benchmarks", "marginal", "heldout"} <= whole.keys()


def test_a_server_scores_as_the_model_itself_does(
    model_dir: Path, model: LanguageModel, benchmarks: Path, tmp_path: Path
) -> None:
    small = tmp_path / "b"
    small.mkdir()
    for mode in ("mcq", "gen"):
        lines = (benchmarks / f"pacute_{mode}.jsonl").read_text().splitlines(keepends=True)
        (small / f"pacute_{mode}.jsonl").write_text("".join(lines[:2]))
    more: dict[str, Any] = {"modes": ["mcq", "gen"], "tokenisations": 1}
    assert evaluate(request(model_dir, tmp_path / "hf", small, **more))
    with completions(model) as url:
        backend = Backend("api", {"base_url": url, "num_concurrent": 1})
        assert evaluate(request(model_dir, tmp_path / "api", small, backend=backend, **more))
    for name in ("mcq.jsonl", "mcq.marginal.jsonl", "gen.jsonl"):
        ours, served = (
            records(tmp_path / side / f"samples_pacute_{name}") for side in ("hf", "api")
        )
        for one, other in zip(ours, served, strict=True):
            assert one.get("generated") == other.get("generated")
            assert one.get("nats", []) == pytest.approx(other.get("nats", []), abs=1e-3)


def test_a_task_of_lm_evals_form_is_scored_by_its_name(
    model_dir: Path, tmp_path: Path, benchmarks: Path
) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = [{"q": "Sagot:", "o": ["aso", "pusa", "daga"], "a": at % 3} for at in range(6)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "mine.yaml").write_text(yaml.safe_dump({
        "task": "mine", "dataset_path": "json", "output_type": "multiple_choice",
        "dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")},
                           "cache_dir": str(tmp_path / "cache")},
        "test_split": "test", "doc_to_text": "q", "doc_to_choice": "o", "doc_to_target": "a",
    }))  # fmt: skip
    wanted = request(model_dir, tmp_path / "out", benchmarks, groups=["mine"], include=str(folder))
    assert evaluate(wanted) and not evaluate(wanted)
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    cell = metrics["benchmarks"]["mine"]["mcq"]
    assert cell["n"] == 6 and cell["correct"] == 2 and cell["chance"] == pytest.approx(1 / 3)
    assert metrics["lm_eval"]["results"]["mine"]["acc,none"] == pytest.approx(1 / 3)
    assert len((tmp_path / "out/samples_mine_mcq.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "nowhere"}, "nowhere holds no model"),
        ({"arm_data": "nowhere/d"}, "d_0001.bin, d_0002.bin missing"),
        ({"benchmarks": ["cute"]}, "cute_mcq.jsonl cannot be read"),
        ({"backend": "tpu"}, "back end 'tpu' is not known. Choose from hf, vllm, api"),
        ({"mode": "all"}, "Choose from mcq, gen, both"),
    ],
    ids=["model", "data", "group", "back end", "mode"],
)
def test_bad_input_is_one_line_and_65(
    change: dict[str, Any], message: str, job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = yaml.safe_load(job.read_text())
    values["parameters"]["evaluate"] |= change
    job.write_text(yaml.safe_dump(values))
    assert main(["--config", str(job)]) == 65
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not (job.parent / "results").exists()


def test_out_of_memory_has_its_own_code(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def fail(_: Request) -> bool:
        raise torch.OutOfMemoryError("tried to allocate")

    monkeypatch.setattr(module, "evaluate", fail)
    assert main(["--config", str(job)]) == 71


def test_a_model_that_fails_does_not_stop_the_others(
    model_dir: Path, benchmarks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    wanted = [
        request(broken, tmp_path / "r/broken", benchmarks),
        request(model_dir, tmp_path / "r/good", benchmarks),
    ]
    assert run_models(wanted) == 1
    assert (tmp_path / "r/good/metrics.json").is_file()
    assert not (tmp_path / "r/broken").exists()
    assert str(broken) in capsys.readouterr().err


def test_an_error_that_nobody_foresaw_stops_one_model_alone(
    model_dir: Path, benchmarks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def fail(wanted: Request) -> bool:
        if wanted.output.name == "a":
            raise RuntimeError("the network\nbroke")
        return True

    monkeypatch.setattr(module, "evaluate", fail)
    wanted = [request(model_dir, tmp_path / name, benchmarks) for name in ("a", "b")]
    assert run_models(wanted) == 1
    told = capsys.readouterr()
    assert "could not be scored (RuntimeError: the network broke)" in told.err
    assert "b/metrics.json" in told.out


def test_modes() -> None:
    assert [modes_of(mode) for mode in ("mcq", "gen", "both")] == [["mcq"], ["gen"], ["mcq", "gen"]]
    with pytest.raises(InputError):
        modes_of("mcq gen")


def test_the_plans_three_commands(model_dir: Path, tmp_path: Path) -> None:
    def run(script: str, *argv: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(PROJECT / "scripts" / script), *argv]
        given = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, env=given)

    made = run("generate_benchmarks.py", "--groups", "pacute", "hierarchical", "--shots", "0",
               "--size", "pacute=2", "--size", "hierarchical=1")  # fmt: skip
    assert made.returncode == 0 and len(list((tmp_path / "data/benchmarks").glob("*.jsonl"))) == 4
    scored = run(
        "run_evaluation.py", "--models", str(model_dir), str(tmp_path / "gemma3-1b-patok"),
        "--benchmarks", "pacute", "hierarchical", "--eval-mode", "both", "--tokenisations", "1",
    )  # fmt: skip
    assert scored.returncode == 1 and "gemma3-1b-patok holds no model" in scored.stderr
    assert (tmp_path / "results/gemma3-1b-baseline/metrics.json").is_file()
    compared = run("analyze_inference_results.py", "--results-dir", "results/")
    assert compared.returncode == 0, compared.stderr
    assert "gemma3-1b-baseline (baseline)" in compared.stdout
    assert (tmp_path / "results/report.html").is_file()
    assert (tmp_path / "results/figures/levels.svg").is_file()
