"""Masks of texts. Tests `test_defect_N` guard against what public code for this method does."""

from __future__ import annotations

import json
import pickle
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from corpus import masks, sharded
from corpus.config import Config
from corpus.errors import CorpusError
from corpus.hierarchy import parse
from corpus.levels import SEPARATOR, SPLITS
from corpus.masks import (
    DOCUMENT,
    KINDS,
    NGRAM,
    PARAGRAPH,
    SENTENCE,
    WORD,
    Settings,
    draw,
    draw_all,
    expected_rate,
    locate,
    main,
    mask,
    settings_of,
)
from tests.draws import draws

PLAN = Settings(examples=16, retries=16, seed=0, document=0.03, paragraph=0.03, sentence=0.03,
                word=0.03, coin=0.5, longest=8)
OFTEN = PLAN._replace(document=0.1, paragraph=0.2, sentence=0.2, word=0.3)
LETTER = "Hi Ana,\nI don't like it! Do you? My dog 🙂👍🏽 eats.\n\nBye\n"
SIGNS = st.sampled_from("ab .!\n'-🙂é")
TEXTS = st.text(SIGNS, min_size=1, max_size=120).map(str.strip).filter(bool)


def texts(directory: Path, count: int = 60) -> Path:
    for n, split in enumerate(SPLITS):
        directory.mkdir(parents=True, exist_ok=True)
        drawn = [f"Text {k} of {split}. " + "This is a short one, é. " * (k % 7) + LETTER.strip()
                 for k in range(count - 10 * n)]
        (directory / f"{split}.txt").write_text(SEPARATOR.join(drawn), encoding="utf-8")
    return directory


def rows(directory: Path, split: str) -> list[list[list[tuple[int, int, int]]]]:
    """Documents, their masks, their spans."""
    arrays = {name: np.load(directory / split / f"{name}.npy", mmap_mode="r")
              for name in ("documents", "masks", "spans")}
    spans: Any = [tuple(map(int, span)) for span in arrays["spans"]]
    ends, of = arrays["masks"].tolist(), arrays["documents"].tolist()
    return [[spans[ends[m] : ends[m + 1]] for m in range(of[d], of[d + 1])]
            for d in range(len(of) - 1)]


@draws(200)
@given(TEXTS, st.integers(0, 10**6))
def test_spans_are_disjoint_in_order_inside_the_text_and_whole(text: str, seed: int) -> None:
    tree = parse(text)
    mask = draw(text, tree, OFTEN, random.Random(seed))
    edges = [(start, start + length) for _, start, length in mask]
    assert all(before[1] <= after[0] for before, after in pairwise(edges))
    allowed = {DOCUMENT: {(tree[0].span[0], tree[-1].span[1])},
               PARAGRAPH: {paragraph.span for paragraph in tree},
               SENTENCE: {one.span for paragraph in tree for one in paragraph.sentences}}
    starts = {word[0] for paragraph in tree for one in paragraph.sentences for word in one.words}
    for (kind, _, _), (start, end) in zip(mask, edges, strict=True):
        assert 0 <= start < end <= len(text) and text[start:end] == text[start:end].strip()
        if kind in allowed:
            assert (start, end) in allowed[kind]
        else:
            inside = [one for paragraph in tree for one in paragraph.sentences
                      if one.span[0] <= start and end <= one.span[1]]
            words = [word for word in inside[0].words if start <= word[0] and word[1] <= end]
            assert start in starts and words[-1][1] == end
            assert len(words) == 1 if kind == WORD else 1 <= len(words) <= OFTEN.longest


@given(TEXTS, st.integers(0, 10**6))
def test_masks_of_a_document_differ(text: str, seed: int) -> None:
    counts: Counter[str] = Counter()
    found = draw_all(text, PLAN, random.Random(seed), counts)
    assert 1 <= len(found) <= 16 and len(set(found)) == len(found)
    assert found.count(()) <= 1
    assert len(found) + counts["given_up"] == 16


def test_a_short_text_has_fewer_masks_and_the_causes_are_counted() -> None:
    counts: Counter[str] = Counter()
    found = draw_all("Hi", PLAN, random.Random(1), counts)
    # nothing, the text, the paragraph, the sentence, the word, and it as an n-gram of one
    assert len(found) <= 6 and counts["given_up"] == 16 - len(found) > 0
    assert counts["retries_empty_again"] > 100 and counts["retries_same_spans"] >= 1
    assert counts["retries_empty_again"] + counts["retries_same_spans"] >= 17 * counts["given_up"]


def test_an_ngram_is_no_trial_of_its_own() -> None:
    """After a word's trial succeeds, a coin decides, and k is uniform from 1 to 8."""
    text = "word " * 100
    tree, rng, longs, kinds = parse(text), random.Random(3), Counter[int](), Counter[int]()
    settings = PLAN._replace(document=0, paragraph=0, sentence=0)
    trials = 3000
    for _ in range(trials):
        for kind, _, length in draw(text, tree, settings, rng):
            kinds[kind] += 1
            if kind == NGRAM:
                longs[(length + 1) // 5] += 1
    # a renewal process: spans begin at p / (1 - p + p m) of the words, m = 2.75 their mean length
    starts = trials * 100 * 0.03 / (0.97 + 0.03 * 2.75)
    assert abs(kinds.total() - starts) < 5 * starts**0.5
    assert abs(kinds[NGRAM] / kinds.total() - 0.5) < 0.03
    assert set(longs) == set(range(1, 9))
    early = [longs[k] / longs.total() for k in range(1, 9)]
    assert max(early) - min(early) < 0.05


def test_the_mask_rate_is_what_theory_says() -> None:
    assert expected_rate(PLAN) == pytest.approx(0.159, abs=0.0005)
    assert expected_rate(PLAN._replace(document=1.0)) == 1
    assert expected_rate(PLAN._replace(document=0, paragraph=0, sentence=0, word=0)) == 0
    text = ". ".join(" ".join(["w"] * 60) for _ in range(5))
    tree, rng, masked, trials = parse(text), random.Random(1), 0, 4000
    for _ in range(trials):
        masked += sum(text[start : start + length].count("w")
                      for _, start, length in draw(text, tree, PLAN, rng))
    # five standard errors: the text and its paragraph are masked as a whole
    assert abs(masked / (trials * 300) - 0.159) < 5 * (0.06 / trials) ** 0.5


def test_files_hold_the_masks_of_each_document(tmp_path: Path) -> None:
    source = texts(tmp_path / "A1")
    index = mask(source, tmp_path / "masks", PLAN, 1)
    for split in SPLITS:
        documents = (source / f"{split}.txt").read_text(encoding="utf-8").split(SEPARATOR)
        held, told = rows(tmp_path / "masks", split), index["splits"][split]
        counts: Counter[str] = Counter()
        expected = [draw_all(text, PLAN, random.Random(f"0:{n}"), counts)
                    for n, text in enumerate(documents)]
        assert [[tuple(spans) for spans in masks] for masks in held] == expected
        assert told["documents"] == len(documents) and told["masks"] == sum(map(len, held))
        assert told["spans"] == sum(told[kind] for kind in KINDS)
        assert told["masks_per_document"] == told["masks"] / told["documents"] <= 16
        assert told["mask_rate"] == counts["masked_words"] / counts["words"]
        assert told["retries_empty_again"] == counts["retries_empty_again"] > 0


def test_documents_are_located_by_bytes(tmp_path: Path) -> None:
    documents = ["é🙂", "a\n\nb", "c"]
    (tmp_path / "x.txt").write_text(SEPARATOR.join(documents), encoding="utf-8")
    raw = (tmp_path / "x.txt").read_bytes()
    found = [raw[start : start + size].decode() for start, size in locate(tmp_path / "x.txt")]
    assert found == documents
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(CorpusError, match="is empty"):
        locate(tmp_path / "x.txt")


def test_workers_and_parts_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = texts(tmp_path / "A1", 40)
    whole = mask(source, tmp_path / "one", PLAN, 1)
    monkeypatch.setattr(sharded, "PART", 35)
    parts = mask(source, tmp_path / "two", PLAN, 2)
    assert whole["splits"] == parts["splits"]
    for split in SPLITS:
        for name in ("texts", "documents", "masks", "spans"):
            one, two = (tmp_path / run / split / f"{name}.npy" for run in ("one", "two"))
            assert one.read_bytes() == two.read_bytes()
    assert not list((tmp_path / "two").rglob(".parts*"))


def test_a_killed_run_goes_on_behind_the_parts_it_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = texts(tmp_path / "A1")
    monkeypatch.setattr(sharded, "PART", 10)
    drawn: list[str] = []

    def count(text: str, *rest: Any) -> Any:
        drawn.append(text)
        if len(drawn) == 35:
            raise KeyboardInterrupt
        return draw_all(text, *rest)

    monkeypatch.setattr(masks, "draw_all", count)
    with pytest.raises(KeyboardInterrupt):
        mask(source, tmp_path / "masks", PLAN, 1)
    mask(source, tmp_path / "masks", PLAN, 1)
    assert len(drawn) == 35 + (60 - 30) + 50 + 40  # three parts of ten were kept
    monkeypatch.setattr(masks, "draw_all", draw_all)
    mask(source, tmp_path / "unbroken", PLAN, 1)
    for split in SPLITS:
        assert rows(tmp_path / "masks", split) == rows(tmp_path / "unbroken", split)


def test_a_second_run_does_nothing_and_other_settings_do(tmp_path: Path) -> None:
    source = texts(tmp_path / "A1")
    first = mask(source, tmp_path / "masks", PLAN, 1)
    stamp = (tmp_path / "masks" / "train" / "spans.npy").stat().st_mtime_ns
    assert mask(source, tmp_path / "masks", PLAN, 1) == first
    assert (tmp_path / "masks" / "train" / "spans.npy").stat().st_mtime_ns == stamp
    other = mask(source, tmp_path / "masks", PLAN._replace(seed=1), 1)
    assert other["input_digest"] != first["input_digest"]


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    (texts(tmp_path / "A1") / "valid.txt").unlink()
    with pytest.raises(CorpusError, match="valid.txt: no such file. Extract the levels first."):
        mask(tmp_path / "A1", tmp_path / "masks", PLAN, 1)


def section(**changes: Any) -> dict[str, Any]:
    return {"examples_per_document": 16, "retries": 16, "seed": 0,
            "probability": dict.fromkeys(("document", "paragraph", "sentence", "word"), 0.03),
            "ngram": {"coin": 0.5, "max_words": 8}, **changes}


@pytest.mark.parametrize(("changes", "message"), [
    ({"ngram": {"coin": 2, "max_words": 8}}, "mask.ngram.coin is 2"),
    ({"examples_per_document": 0}, "fewer than one"), ({"retries": -1}, "fewer than one"),
    ({"probability": {"document": 0.1}}, "mask.probability.paragraph is missing"),
], ids=["a coin above 1", "no masks", "retries", "a level without"])
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        settings_of(Config({"parameters": {"mask": section(**changes)}}, Path("c.yaml")))


def test_the_command_tells_counts_causes_and_rates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts(tmp_path / "texts" / "A1")
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump({"resources": {"cpus": 1}, "parameters": {
        "level": {"name": "A1"}, "corpus": {"output_dir": str(tmp_path / "texts")},
        "mask": section(output_dir=str(tmp_path / "masks"))}}))
    assert main(["--config", str(config)]) == 0
    told = capsys.readouterr().out
    assert "A1 train: 60 documents, " in told and "of 16 a document" in told
    assert "expected 15.9 %" in told and "for a second empty mask" in told
    assert json.loads((tmp_path / "masks" / "A1" / "masks.json").read_text())["splits"]["test"]


# ---- defects of public code that must not come back --------------------------------------------


def test_defect_8_sentences_need_no_downloaded_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "nltk", None)
    assert len(parse("One. Two! three? Four")[0].sentences) == 4


def test_defect_9_a_run_without_a_seed_of_its_own_is_not_random() -> None:
    drawn = [draw_all(LETTER.strip(), PLAN, random.Random("0:7"), Counter()) for _ in range(2)]
    assert drawn[0] == drawn[1]


def test_defect_12_emoji_and_contractions_lose_no_mask() -> None:
    for text in ("I don't, she's and we'll 🙂👍🏽!", "🙂👍🏽", "it's 'some' o’clock"):
        tree = parse(text)
        for seed in range(200):
            for _, start, length in draw(text, tree, OFTEN, random.Random(seed)):
                assert text[start : start + length].strip()
        assert len(draw_all(text, OFTEN, random.Random(1), Counter())) >= 5


def _broken(job: Any) -> None:
    raise CorpusError(f"{job.target.name} cannot be made. Do something.")


def test_defect_13_what_a_worker_raises_is_raised_here(tmp_path: Path) -> None:
    source = texts(tmp_path / "A1") / "train.txt"
    jobs = [masks._Job(source, tmp_path / f"{n}.npz", locate(source)[n : n + 1], n, PLAN)
            for n in range(3)]
    assert pickle.loads(pickle.dumps(jobs[0])).target == jobs[0].target
    with pytest.raises(CorpusError, match="0.npz cannot be made"):
        sharded.work(jobs, _broken, 2, "working")


def test_defect_17_masks_are_mapped_and_small(tmp_path: Path) -> None:
    source = texts(tmp_path / "A1")
    told = mask(source, tmp_path / "masks", PLAN, 1)["splits"]["train"]
    spans = np.load(tmp_path / "masks" / "train" / "spans.npy", mmap_mode="r")
    assert isinstance(spans, np.memmap) and spans.dtype.itemsize == 9
    assert len(spans) == told["spans"]
    for path in (tmp_path / "masks").rglob("*.npy"):
        np.load(path, allow_pickle=False)
