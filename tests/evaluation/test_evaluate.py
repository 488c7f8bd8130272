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
from evaluation.evaluate import Request, evaluate, main, modes_of, run_models, summarise
from evaluation.generation import Settings
from evaluation.groups import GROUPS
from evaluation.models import LanguageModel

Write = Callable[[Path, list[list[int]]], None]
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    sizes = dict.fromkeys(GROUPS["pacute"], 3) | {"hierarchical": 2}
    chosen = ["pacute", "hierarchical"]
    generate(folder, Settings(chosen, seed=1, sizes=sizes, languages=["fil"], shots=0))
    return folder


def request(model: Path, output: Path, benchmarks: Path, **more: Any) -> Request:
    given: dict[str, Any] = {"groups": ["pacute"], "modes": ["mcq"]}
    given |= {"names": {"arm": output.name, "run": output.name, "title": output.name}, **more}
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
            lines = (folder / f"samples_{group}_{mode}.jsonl").read_text().splitlines()
            records = [json.loads(line) for line in lines]
            assert (result["n"], result["correct"]) == (12, sum(r["correct"] for r in records))
            assert result["chance"] == (0.25 if mode == "mcq" else 0)
            assert tuple(result["by"]) == GROUPS[group]
            for part, cell in result["by"].items():
                own = [r["correct"] for r in records if r["part"] == part]
                assert (cell["n"], cell["correct"]) == (len(own), sum(own))
    heldout = metrics["heldout"]
    assert heldout["documents"] == 4 and heldout["own_tokens"] > heldout["tokens"]
    assert len(heldout["heldout_text_sha256"]) == 64
    progress = json.loads((job.parent / "progress.json").read_text())
    assert progress["done"] == progress["total"] and progress["unit"] == "items"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    capsys.readouterr()
    assert main(["--config", str(job)]) == 0
    assert "unchanged" in capsys.readouterr().out
    assert before == {path: path.read_bytes() for path in folder.iterdir()}


def test_changed_inputs_are_evaluated_again(
    model_dir: Path, benchmarks: Path, tmp_path: Path
) -> None:
    first = request(model_dir, tmp_path / "a", benchmarks)
    assert evaluate(first)
    assert not evaluate(first)
    assert evaluate(request(model_dir, tmp_path / "a", benchmarks, modes=["mcq", "gen"]))
    (tmp_path / "a" / "metrics.json").write_text("{half")
    assert evaluate(first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "nowhere"}, "nowhere holds no model"),
        ({"arm_data": "nowhere/d"}, "d_0001.bin, d_0002.bin missing"),
        ({"benchmarks": ["cut"]}, "benchmark 'cut' is not known. Choose from pacute"),
        ({"mode": "all"}, "Choose from mcq, gen, both"),
    ],
    ids=["model", "data", "group", "mode"],
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


def test_modes() -> None:
    assert [modes_of(mode) for mode in ("mcq", "gen", "both")] == [["mcq"], ["gen"], ["mcq", "gen"]]
    with pytest.raises(InputError):
        modes_of("mcq gen")


def test_a_summary_counts_by_part_and_averages_chance() -> None:
    items = [
        {"category": "a", "options": [1, 2]},
        {"category": "b", "options": [1, 2, 3, 4]},
        {"category": "b", "options": [1, 2, 3, 4]},
    ]
    found = summarise(items, [{"correct": True}, {"correct": True}, {"correct": False}])
    assert found["correct"] == 2 and found["chance"] == pytest.approx(1 / 3)
    assert found["by"]["b"] == {"n": 2, "correct": 1, "accuracy": 0.5, "chance": 0.25}


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
        "--benchmarks", "pacute", "hierarchical", "--eval-mode", "both",
    )  # fmt: skip
    assert scored.returncode == 1 and "gemma3-1b-patok holds no model" in scored.stderr
    assert (tmp_path / "results/gemma3-1b-baseline/metrics.json").is_file()
    compared = run("analyze_inference_results.py", "--results-dir", "results/")
    assert compared.returncode == 0, compared.stderr
    assert "gemma3-1b-baseline (baseline)" in compared.stdout
    assert (tmp_path / "results/comparison_levels.svg").is_file()
