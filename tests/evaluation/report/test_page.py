"""The whole report of planted results: what it holds, that it stands alone, that it is the same."""

import contextlib
import json
import re
import xml.etree.ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluation.analyze import main
from tests.evaluation.planted import write_arm

ARMS = {
    "vanilla": {"affixation": 0.45, "level2": 0.35},
    "patok": {"affixation": 0.65, "level2": 0.6},
}


def write_study(root: Path) -> Path:
    """A run's folder: results with a checkpoint, trainings, receipts, preprocessing's records."""
    arms: dict[str, Any] = {}
    for seed, (arm, shares) in enumerate(ARMS.items()):
        results, training = root / f"results/m-{arm}", root / f"jobs/logs/{arm}"
        write_arm(results, arm, shares, 40, seed)
        write_arm(results / "step_00000050", arm, {}, 40, seed, ("mcq",))
        values = json.loads((results / "metrics.json").read_text())
        values["heldout"] = {"bits_per_byte": 2.1, "heldout_text_sha256": "0" * 64}
        values["boundaries"] = {"tokenizer": {"words": 90, "f1": 0.31}}
        (results / "metrics.json").write_text(json.dumps(values))
        write_training(root, training, arm)
        arms[arm] = {
            "run": arm, "title": f"Arm {arm}", "outputs": [f"results/m-{arm}/metrics.json",
                                                           f"jobs/logs/{arm}"],
            "parameters": {
                "seed": 42, "variant": {"name": arm}, "model": {"seq_length": 128},
                "train": {"data_path": f"data/{arm}/x", "split": [90, 10, 0]},
            },
        }  # fmt: skip
    config = {
        "job": {"study": "s", "profiles": [], "name": "analyze", "kind": "analyze", "arm": ""},
        "paths": {"results": "results", "state": "jobs"},
        "parameters": {"seed": 42, "analyze": {"results_dir": "results", "baseline": "vanilla"}},
        "arms": arms,
        "expectations": [{"arm": "patok", "metric": "pacute.affixation", "range": [60, 70]}],
        "report": {"title": "A title & more", "question": "Does it <help>?", "stages": ["train"]},
    }
    path = root / "analyze.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def write_training(root: Path, folder: Path, arm: str) -> None:
    folder.mkdir(parents=True)
    rows = [
        {"step": s, "time": 1.5, "train/loss": 5 - s / 50, "train/learning_rate": 1e-3}
        for s in (10, 20, 30)
    ]
    rows.append({"step": 30, "val/loss": 4.2})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    status = {"state": "done", "step": 30, "consumed_samples": 480, "torch": "2.13.0"}
    (folder / "status.json").write_text(json.dumps(status))
    data = root / f"data/{arm}"
    data.mkdir(parents=True)
    tokens = 12_000 if arm == "vanilla" else 18_000
    record = {"tokens_with_eod": tokens, "text_bytes": 40_000, "documents": 9, "chunk_sha256": "a"}
    (data / "x_0001.json").write_text(json.dumps(record))
    configs, receipts = root / "jobs/configs", root / f"jobs/receipts/train_{arm}"
    configs.mkdir(parents=True, exist_ok=True)
    receipts.mkdir(parents=True)
    job = {
        "job": {"name": f"train_{arm}", "stage": "train", "kind": "warm", "arm": arm},
        "resources": {"nodes": 1, "gpus": 8, "cpus": 64}, "parameters": {},
    }  # fmt: skip
    (configs / f"train_{arm}.yaml").write_text(yaml.safe_dump(job))
    for name, times in (("1.a.fail-75", (0, 1800)), ("1.b.ok", (2000, 9200))):
        receipt = {"start": times[0], "end": times[1]}
        (receipts / name).write_text(json.dumps(receipt))
    (receipts / "1.c.run").write_text("{}")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its report written once."""
    folder = tmp_path_factory.mktemp("project")
    config = write_study(folder)
    with contextlib.chdir(folder):
        assert main(["--config", str(config)]) == 0
    return folder


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another one, not yet written, and without figures."""
    monkeypatch.chdir(tmp_path)
    for name in ("accuracies", "training"):
        monkeypatch.setattr(f"evaluation.analyze.{name}", lambda *_: [])
    return write_study(tmp_path)


class Addresses(HTMLParser):
    """What a page would fetch, and the text of its headings and cells."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: dict[str, int] = {}
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        if tag not in ("meta", "img"):
            self.open.append(tag)
        for key, value in attrs:
            if key in ("src", "href", "srcset", "data", "action") and value:
                self.fetched.append(value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone(root: Path) -> None:
    page = (root / "results/report.html").read_text()
    found = Addresses()
    found.feed(page)
    assert found.open == []
    assert all(one.startswith(("data:image/svg+xml;base64,", "#")) for one in found.fetched)
    assert "script" not in found.tags and "link" not in found.tags and "@import" not in page
    assert found.tags["img"] == len(list((root / "results/figures").glob("*.svg"))) >= 8
    assert "A title &amp; more" in page and "Does it &lt;help&gt;?" in page
    assert re.findall(r'<section id="(\w+)">', page) == [
        "answer", "accuracy", "tests", "levels", "heldout", "checkpoints", "training", "fairness",
        "cost", "limits", "more", "provenance",
    ]  # fmt: skip


def test_two_runs_write_the_same_bytes(root: Path) -> None:
    def files() -> dict[str, bytes]:
        own = [*(root / "results").glob("*.*"), *(root / "results/figures").iterdir()]
        return {str(path): path.read_bytes() for path in own}

    first = files()
    with contextlib.chdir(root):
        main(["--config", "analyze.yaml"])
    assert first == files()
    kinds = {".html", ".md", ".tex", ".json", ".svg", ".pdf"}
    assert {Path(name).suffix for name in first} == kinds
    svgs = [data for name, data in first.items() if name.endswith(".svg")]
    assert all(xml.etree.ElementTree.fromstring(data) is not None for data in svgs)


def test_what_was_read_and_what_it_cost(root: Path) -> None:
    text = (root / "results/comparison.md").read_text()
    # 480 samples x 128 tokens; of 12,000 and 18,000 tokens 90 % are trained on.
    assert re.search(r"\| tokens learned from +\| 61,440 +\| 61,440 +\|", text)
    assert re.search(r"\| epochs +\| 5\.689 +\| 3\.793 +\|", text)
    assert re.search(r"\| bytes of text read +\| 204,800 +\| 136,533 +\|", text)
    # An attempt of half an hour that failed and one of two hours, on eight GPUs.
    assert re.search(r"\| train +\| patok +\| 2 +\| 1 +\| 2\.50 +\| 20\.00 +\| 160\.00 +\|", text)
    assert "Held equal between the arms: tokens." in text
    assert "Nothing that is known differs between the arms" in text


def test_a_difference_beyond_the_treatment_is_told(study: Path) -> None:
    values = yaml.safe_load(study.read_text())
    values["arms"]["patok"]["parameters"]["seed"] = 43
    values["arms"]["patok"]["parameters"]["optimizer"] = {"lr": 1e-3}
    study.write_text(yaml.safe_dump(values, sort_keys=False))
    main(["--config", str(study)])
    text = Path("results/comparison.md").read_text()
    assert "- optimizer.lr: patok 0.001, vanilla None" in text
    assert "- seed: patok 43, vanilla 42" in text and "Nothing that is known" not in text


def test_latex_tables_are_whole(root: Path) -> None:
    text = (root / "results/tables.tex").read_text()
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") >= 10
    labels = re.findall(r"\\label\{tab:([\w-]+)\}", text)
    assert len(set(labels)) == len(labels)
    tabular = r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}"
    for columns, body in re.findall(tabular, text, re.DOTALL):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(columns) - 1}
    assert not re.search(r"(?<!\\)[_%#]", text.split("\n", 1)[1])


def test_without_records_there_are_no_tests_but_a_report(study: Path) -> None:
    for path in Path("results").rglob("samples_*.jsonl"):
        path.unlink()
    assert main(["--config", str(study)]) == 0
    text = Path("results/comparison.md").read_text()
    assert "there are no per-sample records" in text and "McNemar p" not in text
