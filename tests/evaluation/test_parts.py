import json
from pathlib import Path
from typing import Any

from evaluation import files
from evaluation import parts as module
from evaluation.parts import Outcome, Part, compute, gather, stored


def part(name: str, inputs: int = 1, **metrics: Any) -> Part:
    records = {f"samples_{name}.jsonl": [{"id": name}]}
    return Part(name, {"x": inputs}, 1, lambda model, notice: Outcome(metrics, records))


def nothing(_: int) -> None:
    """Progress that nobody looks at."""


MODEL: Any = None
A = part("a", figures={"one": 1})
B = part("b", figures={"two": 2})


def read(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "metrics.json").read_text()))


def test_a_part_is_kept_until_an_input_changes_or_a_record_is_gone(tmp_path: Path) -> None:
    assert stored(tmp_path, A) is None
    compute(tmp_path, A, MODEL, nothing)
    found = stored(tmp_path, A)
    assert found and found["metrics"] == {"figures": {"one": 1}}
    assert stored(tmp_path, part("a", inputs=2)) is None
    (tmp_path / "samples_a.jsonl").unlink()
    assert stored(tmp_path, A) is None
    compute(tmp_path, A, MODEL, nothing)
    (tmp_path / "parts/a.json").write_text("{half")
    assert stored(tmp_path, A) is None


def test_the_metrics_are_merged_and_say_what_is_missing(tmp_path: Path) -> None:
    compute(tmp_path, A, MODEL, nothing)
    assert gather(tmp_path, [A, B], {"arm": "patok"})
    found = read(tmp_path)
    assert found["figures"] == {"one": 1} and found["missing"] == ["b"]
    compute(tmp_path, B, MODEL, nothing)
    assert gather(tmp_path, [A, B], {"arm": "patok"})
    found = read(tmp_path)
    assert found["figures"] == {"one": 1, "two": 2} and found["missing"] == []
    assert not gather(tmp_path, [A, B], {"arm": "patok"})
    assert gather(tmp_path, [A, B], {"arm": "other"})


def test_figures_join_what_is_said_about_the_model(tmp_path: Path) -> None:
    about = {"lm_eval": {"version": "1"}}
    results = part("c", lm_eval={"results": {"x": 1}})
    compute(tmp_path, results, MODEL, nothing)
    assert gather(tmp_path, [results], about)
    assert read(tmp_path)["lm_eval"] == {"version": "1", "results": {"x": 1}}
    assert about == {"lm_eval": {"version": "1"}}
    assert not gather(tmp_path, [results], about)


def test_what_another_task_finished_meanwhile_is_not_lost(
    tmp_path: Path, monkeypatch: Any
) -> None:
    compute(tmp_path, A, MODEL, nothing)
    write = files.write_json

    def late(path: Path, value: Any) -> None:
        """The other task's part appears after this one read the parts, before it writes."""
        if path.name == "metrics.json" and stored(tmp_path, B) is None:
            compute(tmp_path, B, MODEL, nothing)
        write(path, value)

    monkeypatch.setattr(module, "write_json", late)
    gather(tmp_path, [A, B], {})
    assert read(tmp_path)["missing"] == [] and read(tmp_path)["figures"] == {"one": 1, "two": 2}
