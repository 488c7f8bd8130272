"""Items checked by a solver that reads their prompts and shares no code with their makers."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from evaluation.benchmarks import generate, main, part_of, read_items
from evaluation.config import InputError
from evaluation.generation import Settings, divide
from evaluation.groups import GROUPS, SIZES
from evaluation.lexicon import load_lexicon
from tests.evaluation.solver import judge, pieces

Items = dict[str, list[dict[str, Any]]]
SMALL = {"pacute": 12, "hierarchical": 9, "cute": 3, "langgame": 16, "addition": 8}
FILES = [f"{group}_{mode}" for group in GROUPS for mode in ("mcq", "gen")]


def read(paths: list[Path]) -> Items:
    return {
        path.stem: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in paths
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Items:
    return read(generate(tmp_path_factory.mktemp("benchmarks"), Settings()))


@pytest.mark.parametrize("name", FILES)
def test_every_answer_follows_from_its_prompt_and_no_other_option_passes(
    name: str, made: Items
) -> None:
    for item in made[name]:
        _, question = pieces(item["prompt"], item["language"])
        verdict = judge(question, item["language"])
        if name.endswith("_gen"):
            assert item["answer"] == verdict.answer, item
            assert "options" not in item
            continue
        options = item["options"]
        assert len(set(options)) == 4 and all(options)
        assert options[item["answer"]] == verdict.answer, item
        assert [verdict.passes(option) for option in options].count(True) == 1, item


@pytest.mark.parametrize("name", FILES)
def test_the_examples_are_right_and_share_no_root_with_the_items(name: str, made: Items) -> None:
    shown_roots = {word.root for word in divide(load_lexicon())[1]}
    asked_roots = {word.root for word in divide(load_lexicon())[0]}
    assert not shown_roots & asked_roots and len(shown_roots) > 10
    for item in made[name]:
        examples, question = pieces(item["prompt"], item["language"])
        assert len(examples) == len({asked for asked, _ in examples}) == 4
        assert question not in {asked for asked, _ in examples}
    for item in {(i["kind"], i["language"]): i for i in made[name]}.values():
        for question, answer in pieces(item["prompt"], item["language"])[0]:
            assert judge(question, item["language"]).answer == answer


def test_the_plans_sizes(made: Items) -> None:
    for name, items in made.items():
        group = name.split("_")[0]
        for language in ("fil", "en"):
            parts = Counter(part_of(i) for i in items if i["language"] == language)
            assert parts == {p: SIZES.get(p) or SIZES[group] for p in GROUPS[group]}
    assert Counter(part_of(i) for i in made["pacute_mcq"]) == {
        "affixation": 560, "composition": 560, "manipulation": 640, "syllabification": 320,
    }  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
def test_a_task_is_one_question_in_every_language_and_mode(group: str, made: Items) -> None:
    tasks: dict[str, list[dict[str, Any]]] = {}
    for item in made[f"{group}_mcq"] + made[f"{group}_gen"]:
        tasks.setdefault(item["task"], []).append(item)
    for items in tasks.values():
        assert len(items) == 4
        assert len({(i["language"], "options" in i) for i in items}) == 4
        assert len({(i["word"], i["kind"], part_of(i)) for i in items}) == 1
        texts = {i["options"][i["answer"]] if "options" in i else i["answer"] for i in items}
        assert len(texts) == 1
    names = [i["id"] for i in made[f"{group}_mcq"] + made[f"{group}_gen"]]
    assert len(set(names)) == len(names) == 4 * len(tasks)
    for language in ("fil", "en"):
        asked = [i["prompt"] for i in made[f"{group}_gen"] if i["language"] == language]
        assert len(set(asked)) >= 0.98 * len(asked)  # two kinds may ask one thing alike


def test_words_are_the_lexicons(made: Items) -> None:
    words = load_lexicon()
    known = {word.form for word in words} | {word.root for word in words}
    for name, items in made.items():
        for item in items:
            assert item["word"] in known or (item["word"] == "" and name.startswith("addition"))


@pytest.mark.parametrize("group", GROUPS)
def test_right_options_stand_at_each_place_equally_often(group: str, made: Items) -> None:
    for part in GROUPS[group]:
        for language in ("fil", "en"):
            places = Counter(
                i["answer"]
                for i in made[f"{group}_mcq"]
                if part_of(i) == part and i["language"] == language
            )
            assert max(places.values()) - min(places.values()) <= 1 and len(places) == 4


def test_a_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    def run(name: str, seed: int) -> list[bytes]:
        paths = generate(tmp_path / name, Settings(seed=seed, sizes=SMALL))
        return [path.read_bytes() for path in paths]

    first, again, other = run("a", 7), run("b", 7), run("c", 8)
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": {**SMALL, "composition": 5}},
        {"sizes": {**SMALL, "level2": 20}},
        {"languages": ["en"]},
        {"groups": ["hierarchical", "pacute"]},
    ],
    ids=["smaller part", "larger part", "one language", "fewer groups"],
)
def test_what_stays_asked_for_stays_the_same(change: dict[str, Any], tmp_path: Path) -> None:
    before = read(generate(tmp_path / "a", Settings(sizes=SMALL)))
    after = read(generate(tmp_path / "b", Settings(**{"sizes": SMALL, **change})))
    kept = {item["id"]: item for items in before.values() for item in items}
    found = [item for items in after.values() for item in items if item["id"] in kept]
    assert len(found) > 100
    assert all(item == kept[item["id"]] for item in found)


def test_more_examples_change_the_prompts_beginning_alone(tmp_path: Path) -> None:
    none, two = (
        read(generate(tmp_path / str(shots), Settings(["pacute"], 42, SMALL, shots=shots)))[
            "pacute_mcq"
        ]
        for shots in (0, 2)
    )
    for bare, longer in zip(none, two, strict=True):
        assert longer["prompt"].endswith(bare["prompt"]) and "\n\n" not in bare["prompt"]
        assert len(pieces(longer["prompt"], longer["language"])[0]) == 2
        assert {**bare, "prompt": ""} == {**longer, "prompt": ""}


def test_too_many_questions_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no more than \d+ different questions for pacute\.affix"):
        generate(tmp_path, Settings(["pacute"], sizes={"affixation": 20000}))
    assert not list(tmp_path.iterdir())


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"groups": ["cut"]}, "'cut' is not known. Choose from pacute, hierarchical, cute"),
    ({"groups": []}, "no group"),
    ({"languages": ["tl"]}, "'tl' is not known. Choose from fil, en"),
    ({"sizes": {"level6": 3}}, "'level6' is not known"),
    ({"sizes": {"cute": 0}}, "cute has size 0"),
    ({"sizes": {"cute": "9"}}, "cute has size '9'"),
    ({"shots": 9}, "0 to 8"),
    ({"shots": -1}, "0 to 8"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[str(change) for change, _ in WRONG])
def test_settings_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Settings(**change)


def test_the_program_reads_its_configuration_and_options_win(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    config = tmp_path / "job.yaml"
    config.write_text(
        f"parameters: {{seed: 1, benchmark: {{output_dir: {output}, groups: [pacute], shots: 1, "
        "sizes: {affixation: 3, composition: 4, manipulation: 6, syllabification: 3}}}\n"
    )
    assert main(["--config", str(config)]) == 0
    assert len(read_items(output / "pacute_mcq.jsonl")) == 32
    assert sorted(path.name for path in output.glob("*.jsonl")) == [
        "pacute_gen.jsonl",
        "pacute_mcq.jsonl",
    ]
    other = tmp_path / "other"
    given = ["--output-dir", str(other), "--languages", "en", "--size", "affixation=5"]
    assert main(["--config", str(config), *given]) == 0
    assert len(read_items(other / "pacute_mcq.jsonl")) == 18
    capsys.readouterr()
    assert main(["--config", str(config), "--size", "affixation"]) == 65
    assert "PART=N" in capsys.readouterr().err
    config.write_text("parameters: {seed: 1}\n")
    assert main(["--config", str(config)]) == 65
    assert "has no parameters.benchmark.groups" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "", "{\n", '{"id": 1}\n'])
def test_a_broken_benchmark_file_is_refused(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "pacute_mcq.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError):
        read_items(path)
