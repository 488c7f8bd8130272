import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.benchmarks import Corpus, generate, main
from evaluation.generation import Settings
from evaluation.lexicon import LEXICON, load_lexicon

SIZES = {"pacute": 8, "hierarchical": 4, "cute": 4, "langgame": 8, "addition": 4}
GIVEN = [word for part, size in SIZES.items() for word in ("--size", f"{part}={size}")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"text": "Isang dokumento."}\n')
    generate(tmp_path / "out", Settings(seed=3, sizes=SIZES, shots=2), Corpus(corpus))
    return tmp_path / "out"


def told(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "datasheet.json").read_text())
    return read


def test_it_says_what_lies_beside_it(folder: Path) -> None:
    sheet = told(folder)
    files = sorted(path for path in folder.iterdir() if path.suffix == ".jsonl")
    assert sheet["files"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
    assert len(files) == 10
    for group, about in sheet["groups"].items():
        lines = (folder / f"{group}_mcq.jsonl").read_text().splitlines()
        counted = sum(own["questions"] for own in about["parts"].values())
        assert counted * 2 == len(lines)
        for own in about["parts"].values():
            assert sum(own["kinds"].values()) == sum(own["positions"]) == own["questions"]
            assert max(own["positions"]) - min(own["positions"]) == 0
    assert (sheet["seed"], sheet["shots"], sheet["languages"]) == (3, 2, ["fil", "en"])
    assert sheet["lexicon"]["sha256"] == hashlib.sha256(LEXICON.read_bytes()).hexdigest()
    assert sheet["lexicon"]["words"] == len(load_lexicon())
    assert sheet["contamination"]["documents"] == 1


def test_the_page_holds_the_same_figures(folder: Path) -> None:
    page, sheet = (folder / "DATASHEET.md").read_text(), told(folder)
    for text in ("seed 3", "CC0", sheet["lexicon"]["sha256"], "0 of 240 flagged", *sheet["files"]):
        assert text in page
    for about in sheet["groups"].values():
        for part, own in about["parts"].items():
            assert f"| {part} " in page and f"| {own['questions']} |" in page
    assert "2 examples of the same kind" in page


def test_the_same_settings_give_the_same_datasheet(tmp_path: Path) -> None:
    for name in ("a", "b"):
        generate(tmp_path / name, Settings(sizes=SIZES))
    for file in ("DATASHEET.md", "datasheet.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert "Not checked" in (tmp_path / "a" / "DATASHEET.md").read_text()


def test_json_prints_the_datasheet_and_a_dry_run_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output-dir", str(tmp_path / "out"), *GIVEN]
    assert main([*output, "--dry-run"]) == 0
    assert "pacute: 32 questions (affixation 8" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert main([*output, "--dry-run", "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert main([*output, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told(tmp_path / "out")
    assert counted["groups"] == told(tmp_path / "out")["groups"]
