"""Items checked by a solver that reads their Filipino prompts and shares no code with them."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from evaluation.benchmarks import generate, main, part_of, read_items
from evaluation.config import InputError
from evaluation.groups import GROUPS
from evaluation.lexicon import Word, by_root, load_lexicon
from evaluation.morphemes import Morphemes
from evaluation.questions import question

ROWS = [
    line.split("\t")
    for line in (Path(__file__).parents[2] / "data/lexicon/affixed.tsv")
    .read_text()
    .splitlines()[1:]
]
FORM = {(root, affix): form for form, root, affix, _, _ in ROWS}
ROOT = {form: root for form, root, *_ in ROWS}
ORDINAL = {
    "unang": 0, "ikalawang": 1, "ikatlong": 2, "ikaapat na": 3, "ikalimang": 4,
    "ikaanim na": 5, "ikapitong": 6,
}  # fmt: skip
NTH = f"({'|'.join(ORDINAL)})"


def split(word: str) -> str:
    """Syllables by regular expressions: a vowel, its onset, and what cannot begin another."""
    word = word.replace("ng", "N")
    while (new := re.sub(r"([aeiou])([aeiou])", r"\1-\2", word)) != word:
        word = new
    word = re.sub(r"(?<=[aeiou])([mn])((?:bl|br|dr|pl|tr)[aeiou])", r"\1-\2", word)
    word = re.sub(r"(?<=[aeiou])([^aeiou-]{2})([^aeiou-]{1,2})(?=[aeiou])", r"\1-\2", word)
    word = re.sub(r"(?<=[aeiou])([^aeiou-])([^aeiou-])(?=[aeiou])", r"\1-\2", word)
    word = re.sub(r"(?<=[aeiou])([^aeiou-])(?=[aeiou])", r"-\1", word)
    return word.replace("N", "ng")


def exchange(word: str, i: int, j: int) -> str:
    letters = list(word)
    letters[i], letters[j] = letters[j], letters[i]
    return "".join(letters)


def spellings(root: str, affix: str) -> set[str]:
    """Root + affix by the rules, loosely: d or r, with and without h, hyphen as it must be."""
    before, _, after = affix.partition(" ")
    if affix.startswith("-") and affix.endswith("-"):
        return {re.sub(r"^([^aeiou]*)", rf"\1{affix.strip('-')}", root, count=1)}
    if affix.startswith("-"):
        before, after = "", affix
    stems = {root}
    if after:
        stem = re.sub(r"o([^aeiou]*)$", r"u\1", root)
        bases = {stem, re.sub("d$", "r", stem)}
        stems = {base + h + after.strip("-").removeprefix("h") for base in bases for h in ("", "h")}
    prefix = before.strip("-")
    if not prefix:
        return stems
    if prefix[-1] in "aeiou":
        return {prefix + s for stem in stems for s in (stem, re.sub("^d", "r", stem))}
    return {f"{prefix}-{stem}" if stem[0] in "aeiou" else prefix + stem for stem in stems}


def cut(word: str, at: int, width: int, letter: str = "") -> str:
    return word[:at] + letter + word[at + width :]


SOLVERS: list[tuple[str, Callable[..., str]]] = [
    (rf'Ano ang {NTH} titik ng salitang "(\w+)"\?', lambda n, w: w[ORDINAL[n]]),
    (rf'Alisin ang {NTH} titik ng salitang "(\w+)"\.', lambda n, w: cut(w, ORDINAL[n], 1)),
    (
        rf'Palitan ng "(\w)" ang {NTH} titik ng salitang "(\w+)"\.',
        lambda c, n, w: cut(w, ORDINAL[n], 1, c),
    ),
    (
        rf'Isingit ang "(\w)" pagkatapos ng {NTH} titik ng salitang "(\w+)"\.',
        lambda c, n, w: cut(w, ORDINAL[n] + 1, 0, c),
    ),
    (
        rf'Pagpalitin ang {NTH} titik at {NTH} titik ng "(\w+)"\.',
        lambda a, b, w: exchange(w, ORDINAL[a], ORDINAL[b]),
    ),
    (
        r"Anong salita ang nabubuo ng mga titik na ([\w, ]+) sa ganitong ayos\?",
        lambda letters: letters.replace(", ", ""),
    ),
    (
        r'Ilang beses lumitaw ang titik na "(\w)" sa salitang "(\w+)"\?',
        lambda c, w: str(w.count(c)),
    ),
    (
        r'Pantigin ang salitang "(\w+)"\. Lagyan ng gitling ang pagitan ng mga pantig\.',
        split,
    ),
    (
        r'Ilang pantig mayroon ang salitang "(\w+)"\?',
        lambda w: str(len(re.findall("[aeiou]", w))),
    ),
    (
        r'Ikabit ang panlaping "([^"]+)" \(\w+\) sa salitang-ugat na "(\w+)"\.',
        lambda affix, root: FORM[root, affix],
    ),
    (
        r'Anong salita ang mabubuo mula sa salitang-ugat na "(\w+)" at panlaping "([^"]+)"\?',
        lambda root, affix: FORM[root, affix],
    ),
    (r'Ano ang salitang-ugat ng "([^"]+)"\?', lambda form: ROOT[form]),
    (
        r'Anong panlapi ang ikinabit sa "(\w+)" upang mabuo ang "([^"]+)"\?',
        lambda root, form: next(a for (r, a), f in FORM.items() if (r, f) == (root, form)),
    ),
    (
        r'Palitan ng panlaping "([^"]+)" ang panlaping "[^"]+" ng salitang "([^"]+)"\.',
        lambda affix, form: FORM[ROOT[form], affix],
    ),
    (
        r'Palitan ng panlaping "([^"]+)" ang panlapi ng salitang "([^"]+)", '
        r"saka pantigin ang bagong salita\.",
        lambda affix, form: split(FORM[ROOT[form], affix]),
    ),
    (
        r'Kunin ang salitang-ugat ng "([^"]+)" at isulat ito nang pabaligtad\.',
        lambda form: ROOT[form][::-1],
    ),
]


def solve(prompt: str) -> str:
    """The answer, from the prompt alone."""
    text = re.fullmatch(r"Tanong: (.+)\nSagot:", prompt)
    assert text, prompt
    found = [
        answer(*match.groups())
        for shape, answer in SOLVERS
        if (match := re.fullmatch(shape, text.group(1)))
    ]
    assert len(found) == 1, prompt
    return found[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("benchmarks")
    return {
        path.stem: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in generate(folder, list(GROUPS), 200, 42)
    }


def test_the_solver_knows_its_own_syllables() -> None:
    words = {"kaguluhan": "ka-gu-lu-han", "timbangan": "tim-ba-ngan", "makain": "ma-ka-in"}
    assert {word: split(word) for word in words} == words
    assert [split("tao"), split("trabaho"), split("ngumiti")] == ["ta-o", "tra-ba-ho", "ngu-mi-ti"]


def test_files_and_sizes(made: dict[str, list[dict[str, Any]]]) -> None:
    assert list(made) == ["pacute_mcq", "pacute_gen", "hierarchical_mcq", "hierarchical_gen"]
    assert {name: len(items) for name, items in made.items()} == dict.fromkeys(made, 200)
    for name, items in made.items():
        parts = Counter(map(part_of, items))
        assert tuple(parts) == GROUPS[name.split("_")[0]]
        assert max(parts.values()) - min(parts.values()) <= 1
        assert len({item["prompt"] for item in items}) >= 190  # parts may ask one thing alike
        assert len({item["id"] for item in items}) == 200


@pytest.mark.parametrize("group", GROUPS)
def test_exactly_one_option_is_right(group: str, made: dict[str, list[dict[str, Any]]]) -> None:
    for item in made[f"{group}_mcq"]:
        options = item["options"]
        assert len(set(options)) == 4 and all(options)
        assert [option == solve(item["prompt"]) for option in options].index(True) == item["answer"]


@pytest.mark.parametrize("group", GROUPS)
def test_a_free_answer_is_the_right_one(group: str, made: dict[str, list[dict[str, Any]]]) -> None:
    for item in made[f"{group}_gen"]:
        assert item["answer"] == solve(item["prompt"])
        assert "options" not in item


def test_no_wrong_option_is_another_spelling_of_the_right_word(
    made: dict[str, list[dict[str, Any]]],
) -> None:
    checked = 0
    for item in made["pacute_mcq"] + made["hierarchical_mcq"]:
        named = re.findall(r'"([^"]+)"', item["prompt"])
        part = part_of(item)
        if part not in {"affixation", "level3", "level4"}:
            continue
        affix = named[1] if part == "level4" else named[0]
        root = {"affixation": named[-1], "level4": named[0]}.get(part) or ROOT[named[2]]
        wrong = [o for i, o in enumerate(item["options"]) if i != item["answer"]]
        assert not spellings(root, affix) & set(wrong), item
        assert item["options"][item["answer"]] in spellings(root, affix)
        checked += 1
    assert checked > 100


def test_no_wrong_affix_could_make_the_word(made: dict[str, list[dict[str, Any]]]) -> None:
    asked = [i for i in made["hierarchical_mcq"] if "Anong panlapi" in i["prompt"]]
    assert len(asked) > 10
    for item in asked:
        root, form = re.findall(r'"([^"]+)"', item["prompt"])
        right = [affix for affix in item["options"] if form in spellings(root, affix)]
        assert right == [item["options"][item["answer"]]]


@pytest.mark.parametrize("kind", ["attach_affix", "compose", "exchange_affix", "find_affix"])
def test_every_word_of_the_lexicon_gets_wrong_answers_that_are_wrong(kind: str) -> None:
    morphemes = Morphemes(by_root(load_lexicon()))
    for word in load_lexicon():
        if kind == "exchange_affix" and not morphemes.partners(word):
            continue
        asked = getattr(morphemes, kind)(Random(word.form), word)
        if kind == "find_affix":
            assert asked.answer == word.affix
            assert not [a for a in asked.wrong if word.form in spellings(word.root, a)]
        else:
            affix = re.findall(r'"([^"]+)"', asked.text)[kind == "compose"]
            assert asked.answer == FORM[word.root, affix]
            assert not spellings(word.root, affix) & set(asked.wrong), asked


def test_an_affix_that_makes_the_same_word_is_no_wrong_answer() -> None:
    words = [
        Word("iako", "ako", "-i-", "infix", "I"),
        Word("iuwi", "uwi", "i-", "prefix", "go home"),
        Word("mag-uwi", "uwi", "mag-", "prefix", "go home"),
    ]
    asked = Morphemes(by_root(words)).find_affix(Random(0), words[0])
    assert asked.wrong == ("mag-",)


def test_a_question_drops_the_answer_and_doubles_from_its_wrong_ones() -> None:
    assert question("?", "a", ["b", "a", "", "b", "c"]).wrong == ("b", "c")


@pytest.mark.parametrize("group", GROUPS)
def test_right_options_stand_at_each_place_equally_often(
    group: str, made: dict[str, list[dict[str, Any]]]
) -> None:
    for part in GROUPS[group]:
        places = Counter(i["answer"] for i in made[f"{group}_mcq"] if part_of(i) == part)
        assert max(places.values()) - min(places.values()) <= 1 and len(places) == 4


def test_a_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in generate(tmp_path / "a", list(GROUPS), 40, 7)]
    again = [path.read_bytes() for path in generate(tmp_path / "b", list(GROUPS), 40, 7)]
    other = [path.read_bytes() for path in generate(tmp_path / "c", list(GROUPS), 40, 8)]
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_too_many_tasks_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"different tasks for pacute\.\w+, not 5000"):
        generate(tmp_path, ["pacute"], 20000, 42)
    assert not list(tmp_path.iterdir())


def test_too_few_tasks_and_unknown_groups_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="do not cover"):
        generate(tmp_path, ["pacute"], 3, 42)
    with pytest.raises(InputError, match="pacute, hierarchical"):
        generate(tmp_path, ["cute"], 40, 42)


def test_the_program_reads_its_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    config = tmp_path / "job.yaml"
    config.write_text(
        f"parameters: {{seed: 1, benchmark: {{output_dir: {output}, groups: [pacute], "
        "tasks_per_group: 8}}\n"
    )
    assert main(["--config", str(config)]) == 0
    assert sorted(path.name for path in output.iterdir()) == [
        "pacute_gen.jsonl",
        "pacute_mcq.jsonl",
    ]
    assert len(read_items(output / "pacute_mcq.jsonl")) == 8
    config.write_text("parameters: {seed: 1}\n")
    assert main(["--config", str(config)]) == 65
    assert "has no parameters.benchmark.output_dir" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "", "{\n", '{"id": 1}\n'])
def test_a_broken_benchmark_file_is_refused(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "pacute_mcq.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError):
        read_items(path)
