import functools
import json
import shutil
from pathlib import Path

import pytest
import yaml

from evaluation.benchmarks import generate, read_items
from evaluation.config import InputError
from evaluation.generation import Settings
from evaluation.models import LanguageModel
from evaluation.scoring import records_of, run_tasks
from evaluation.tasks import library_tasks, own_task, require, task_config, write_tasks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small benchmark, generated, and moved afterwards as a whole."""
    made = tmp_path_factory.mktemp("made") / "benchmarks"
    generate(made, Settings(["pacute"], sizes={"pacute": 2}, languages=["fil", "en"], shots=0))
    return Path(shutil.move(made, tmp_path_factory.mktemp("moved")))


def test_each_file_has_its_task(folder: Path) -> None:
    found = sorted(path.name for path in (folder / "lm_eval").iterdir())
    assert found == ["items.py", "pacute_gen.yaml", "pacute_mcq.yaml"]
    again = write_tasks(folder)
    assert [path.name for path in again] == ["pacute_mcq.yaml", "pacute_gen.yaml"]
    assert write_tasks(folder / "lm_eval") == []  # no benchmark files, no task files


def test_lm_evals_own_reading_of_the_files_gives_our_records(
    folder: Path, model: LanguageModel
) -> None:
    manager = require("lm_eval.tasks").TaskManager(
        include_path=str(folder / "lm_eval"), include_defaults=False
    )
    for mode in ("mcq", "gen"):
        name = f"pacute_{mode}"
        path = folder / f"{name}.jsonl"
        theirs = manager.load([name])["tasks"][name]
        found, figures = run_tasks(model, {name: theirs}, lambda rows: None)
        ours, own_figures = run_tasks(model, {name: own_task(path, read_items(path))}, print)
        assert records_of(theirs, found[name]) == records_of(theirs, ours[name])
        assert figures == own_figures
        wanted = "acc_bytes,none" if mode == "mcq" else "exact_match,none"
        assert wanted in figures[name]


def test_no_answer_can_be_cut_off_to_a_right_one() -> None:
    items = [{"answer": "aso"}, {"answer": "ñandu"}]
    given = task_config(Path("x_gen.jsonl"), items)["generation_kwargs"]
    assert given["max_gen_toks"] > len("ñandu".encode()) and given["until"] == ["\n"]


def test_a_task_of_ones_own_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"q": "Sagot:", "a": "aso"}) + "\n")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({
        "task": "mine", "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")},
                           "cache_dir": str(tmp_path / "cache")},
        "test_split": "test", "output_type": "generate_until", "doc_to_text": "q",
        "doc_to_target": "a",
    }))  # fmt: skip
    assert list(library_tasks("mine", str(tmp_path))) == ["mine"]
    tasks = require("lm_eval.tasks")  # whose own library takes many seconds to index
    monkeypatch.setattr(
        tasks, "TaskManager", functools.partial(tasks.TaskManager, include_defaults=False)
    )
    with pytest.raises(InputError, match="'yours' is neither a benchmark file nor a task"):
        library_tasks("yours", str(tmp_path))


def test_a_task_whose_data_cannot_be_had_says_so(tmp_path: Path) -> None:
    (tmp_path / "lost.yaml").write_text(yaml.safe_dump({
        "task": "lost", "dataset_path": "json", "test_split": "test", "doc_to_text": "q",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "nowhere.jsonl")}},
    }))  # fmt: skip
    with pytest.raises(InputError, match=r"task 'lost' cannot be loaded .*HF_HUB_OFFLINE=0"):
        library_tasks("lost", str(tmp_path))


def test_what_is_not_installed_is_named() -> None:
    with pytest.raises(InputError, match=r"pip install 'pipeline-studies\[eval\]'"):
        require("lm_eval_that_is_not_there")
