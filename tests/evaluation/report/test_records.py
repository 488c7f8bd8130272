import json
from pathlib import Path

import pytest

from evaluation.config import InputError
from evaluation.report.records import joined, read_answers


def write(folder: Path, name: str, *records: dict[str, object]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))


def record(item: str, right: bool, **more: object) -> dict[str, object]:
    return {"id": item, "correct": right, "part": "affixation", **more}


def test_older_records_without_tasks_and_languages_are_read(tmp_path: Path) -> None:
    scores = [-1.0, -2.0, -1.5, -3.0]
    write(tmp_path, "samples_pacute_mcq.jsonl", record("a", True, scores=scores),
          record("b", False, scores=scores))  # fmt: skip
    found = read_answers(tmp_path)
    assert list(found) == ["pacute", "pacute.affixation"]
    assert found["pacute"].tasks == ("a", "b") and found["pacute"].chance == 0.25


def test_files_give_metrics_by_group_mode_and_scoring(tmp_path: Path) -> None:
    both = [
        record(f"{task}-{language}", True, task=task, language=language)
        for task in "ab"
        for language in ("fil", "en")
    ]
    write(tmp_path, "samples_pacute_gen.jsonl", *both)
    write(tmp_path, "samples_lang_game_mcq.marginal.jsonl", record("x", True, part="lang_game"))
    found = read_answers(tmp_path)
    assert list(found) == [
        "lang_game.marginal", "pacute.gen", "pacute.gen@fil", "pacute.gen@en",
        "pacute.affixation.gen", "pacute.affixation.gen@fil", "pacute.affixation.gen@en",
    ]  # fmt: skip
    assert found["pacute.gen@fil"].ids == ("a-fil", "b-fil")


@pytest.mark.parametrize(
    "text",
    ["{", '{"id": "a"}\n', '{"id": "a", "correct": 1}\n', "",
     '{"id": "a", "correct": true}\n{"id": "a", "correct": true}\n'],
    ids=["cut", "no answer", "no truth", "empty", "twice"],
)  # fmt: skip
def test_what_is_no_record_is_refused_with_its_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "samples_pacute_mcq.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=str(path)):
        read_answers(tmp_path)


def test_common_items_are_joined_by_id_whatever_their_order(tmp_path: Path) -> None:
    write(tmp_path / "one", "samples_g_gen.jsonl", record("a", True), record("b", False),
          record("c", True))  # fmt: skip
    write(tmp_path / "two", "samples_g_gen.jsonl", record("c", False), record("a", True))
    answers = {arm: read_answers(tmp_path / arm)["g.gen"] for arm in ("one", "two")}
    joint = joined(answers)
    assert joint is not None and joint.answers.ids == ("a", "c") and joint.left_out == 1
    assert joint.correct.tolist() == [[True, True], [True, False]]
    assert joined({}) is None
