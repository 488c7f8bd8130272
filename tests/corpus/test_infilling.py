"""Examples for infilling. `test_defect_N` guard against what public code for this method does."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from corpus import masks, sharded
from corpus.errors import CorpusError
from corpus.hierarchy import parse
from corpus.infilling import (
    ANSWER,
    BLANK,
    CONTEXT,
    END,
    SEPARATOR,
    SPECIAL,
    TARGETS,
    Example,
    Vocabulary,
    align,
    build,
    main,
    prepare,
    window,
)
from corpus.levels import SEPARATOR as BETWEEN
from corpus.levels import SPLITS
from corpus.tokenizer import train
from corpus.tokenizers import JsonTokenizer

OFTEN = masks.Settings(examples=16, retries=16, seed=0, document=0.1, paragraph=0.15,
                       sentence=0.15, word=0.25, coin=0.5, longest=8)
TEXT = "She ate leftover pasta for lunch. I don't know, it's 'some' 🙂👍🏽 food!\nBye Ana"
SIGNS = st.sampled_from(list("abt I'.!\n-🙂é"))


def byte_level(path: Path) -> Path:
    """A byte-level BPE as GPT-2's, with few merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    made: Any = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=True)
    made.train_from_iterator([TEXT] * 20, trainers.BpeTrainer(
        vocab_size=340, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"]))
    path.mkdir(parents=True, exist_ok=True)
    made.save(str(path / "tokenizer.json"))
    return path


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> JsonTokenizer:
    return JsonTokenizer(byte_level(tmp_path_factory.mktemp("bpe")) / "tokenizer.json")


def example(tokenizer: JsonTokenizer, text: str, mask: masks.Mask, limit: int = 999,
            turn: int = 0) -> tuple[Example, Counter[str]]:
    counts: Counter[str] = Counter()
    ids, offsets = tokenizer.encode_spans(text)
    vocabulary = Vocabulary.behind(tokenizer.full_size)
    blanks = align(mask, np.array(offsets), counts)
    return build(ids, blanks, vocabulary, limit, turn, counts), counts


def spelled(tokenizer: JsonTokenizer, made: Example) -> str:
    size = tokenizer.full_size
    parts: list[str] = []
    run: list[int] = []
    for token in made.ids:
        if token < size:
            run.append(token)
            continue
        parts += [tokenizer.decode(run), SPECIAL[token - size]]
        run = []
    return "".join([*parts, tokenizer.decode(run)])


def filled(made: Example, vocabulary: Vocabulary) -> list[int]:
    """The text's tokens with the answers put back into their blanks."""
    at = made.kinds.index(SEPARATOR)
    answers: list[list[int]] = [[]]
    for token in made.ids[at + 1 :]:
        if token == vocabulary.end:
            answers.append([])
        else:
            answers[-1].append(token)
    queue: Iterator[list[int]] = iter(answers)
    found: list[int] = []
    for token in made.ids[:at]:
        found += next(queue) if token in vocabulary.blanks else [token]
    return found


def mask_of(text: str, *spans: tuple[str, str]) -> masks.Mask:
    return tuple((masks.KINDS.index(kind), text.index(what), len(what)) for kind, what in spans)


def test_the_format_is_that_of_the_paper(tokenizer: JsonTokenizer) -> None:
    text = "She ate leftover pasta for lunch"
    made, counts = example(tokenizer, text, mask_of(
        text, ("ngram", "leftover pasta"), ("word", "lunch")))
    assert spelled(tokenizer, made) == (
        "She ate<|infill_ngram|> for<|infill_word|><|startofinfill|> leftover pasta<|endofinfill|>"
        " lunch<|endofinfill|>")
    names = [TARGETS[kind] for kind in made.kinds]
    assert names.count("blank") == 2 and names.count("separator") == 1 and names.count("end") == 2
    assert names[names.index("separator") + 1] == "answer" and counts["windowed"] == 0


def test_gpt2_gets_its_seven_ids() -> None:
    vocabulary = Vocabulary.behind(50257)
    assert vocabulary == (50257, 50258, (50259, 50260, 50261, 50262, 50263))
    assert SPECIAL[2:] == ("<|infill_document|>", "<|infill_paragraph|>", "<|infill_sentence|>",
                           "<|infill_ngram|>", "<|infill_word|>")


def test_a_text_without_blanks_has_context_and_a_separator(tokenizer: JsonTokenizer) -> None:
    made, counts = example(tokenizer, "I know", ())
    assert spelled(tokenizer, made) == "I know<|startofinfill|>"
    assert counts["without_blanks"] == 1


@given(st.text(SIGNS, min_size=1, max_size=80).map(str.strip).filter(bool), st.integers(0, 10**6))
def test_answers_put_back_give_the_text(tokenizer: JsonTokenizer, text: str, seed: int) -> None:
    mask = masks.draw(text, parse(text), OFTEN, random.Random(seed))
    made, counts = example(tokenizer, text, mask)
    vocabulary = Vocabulary.behind(tokenizer.full_size)
    assert tokenizer.decode(filled(made, vocabulary)) == text
    assert made.kinds.count(BLANK) == made.kinds.count(END) == (
        len(mask) - counts["spans_swallowed"])
    blanks = [token - vocabulary.blanks[0] for token in made.ids if token in vocabulary.blanks]
    if not counts["spans_swallowed"]:
        assert blanks == [kind for kind, _, _ in mask]
    for token, kind in zip(made.ids, made.kinds, strict=True):
        assert (token in vocabulary.blanks) == (kind == BLANK)
        assert (token == vocabulary.end) == (kind == END)
        assert (token == vocabulary.separator) == (kind == SEPARATOR)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 9)), max_size=6), st.integers(0, 20),
       st.integers(8, 40), st.integers(0, 15))
def test_a_window_fits_holds_whole_spans_and_answers(
    pairs: list[tuple[int, int]], behind: int, limit: int, turn: int
) -> None:
    blanks, at = [], 0
    for gap, length in pairs:
        blanks.append((4, at + gap, at + gap + length))
        at += gap + length
    tokens = max(at + behind, 1)
    counts: Counter[str] = Counter()
    vocabulary = Vocabulary.behind(1000)
    made = build(list(range(tokens)), blanks, vocabulary, limit, turn, counts)
    low, high = window(blanks, tokens, limit, turn)
    assert len(made.ids) == len(made.kinds) <= limit and 0 <= low < high <= tokens
    if not counts["answers_cut"]:
        assert filled(made, vocabulary) == list(range(low, high))
    if blanks:
        chosen = blanks[turn % len(blanks)]
        assert (low, high) == (0, tokens) or (low <= chosen[1] and chosen[2] <= high)
        assert made.kinds.count(ANSWER) > 0
        assert counts["answers_cut"] == (chosen[2] - chosen[1] + 3 > limit)
    if (low, high) != (0, tokens):
        assert tokens + 2 * len(blanks) + 1 > limit


def test_masks_of_a_long_text_take_turns() -> None:
    blanks = [(4, at, at + 2) for at in range(10, 200, 20)]
    windows = {window(blanks, 210, 32, turn) for turn in range(16)}
    assert len(windows) == 10
    assert {window([], 210, 32, turn) for turn in range(16)} != {window([], 210, 32, 0)}


def study(tmp_path: Path, count: int = 30) -> tuple[Path, Path]:
    texts, masked = tmp_path / "texts" / "A1", tmp_path / "masks" / "A1"
    texts.mkdir(parents=True)
    for split in SPLITS:
        drawn = [f"{split} {n}. " + "I don't know. " * (n % 9) + TEXT for n in range(count)]
        (texts / f"{split}.txt").write_text(BETWEEN.join(drawn), encoding="utf-8")
    masks.mask(texts, masked, OFTEN, 1)
    return texts, masked


def rows(directory: Path, split: str) -> list[tuple[list[int], list[int], tuple[int, int]]]:
    arrays = {name: np.load(directory / split / f"{name}.npy", mmap_mode="r")
              for name in ("ids", "kinds", "examples", "targets")}
    ends = arrays["examples"].tolist()
    return [(arrays["ids"][first:last].tolist(), arrays["kinds"][first:last].tolist(),
             tuple(arrays["targets"][n].tolist()))
            for n, (first, last) in enumerate(pairwise(ends))]


def test_files_hold_every_mask_as_an_example(tmp_path: Path, tokenizer: JsonTokenizer) -> None:
    texts, masked = study(tmp_path)
    index = prepare(texts, masked, tokenizer.path.parent, tmp_path / "out", 64, 1)
    vocabulary = Vocabulary.behind(tokenizer.full_size)
    drawn = json.loads((masked / masks.INDEX).read_text())["splits"]
    for split in SPLITS:
        held, told = rows(tmp_path / "out", split), index["splits"][split]
        assert len(held) == told["examples"] == drawn[split]["masks"]
        documents = (texts / f"{split}.txt").read_text(encoding="utf-8").split(BETWEEN)
        for ids, kinds, (answers, context) in held:
            assert len(ids) == len(kinds) <= 64
            assert answers == sum(kind in (ANSWER, END) for kind in kinds)
            assert context == sum(kind == CONTEXT for kind in kinds[1:])
            if END in kinds or BLANK not in kinds:
                part = tokenizer.decode(filled(Example(ids, kinds), vocabulary))
                assert any(part in text for text in documents)
        assert told["windowed"] > 0 and told["tokens"] == sum(len(ids) for ids, _, _ in held)
        assert told["answer_targets"] == sum(answers for _, _, (answers, _) in held)
    assert index["vocab_size_with_special"] == tokenizer.full_size + 7


def test_the_tokenizer_beside_the_examples_knows_the_seven_tokens(
    tmp_path: Path, tokenizer: JsonTokenizer
) -> None:
    texts, masked = study(tmp_path, 3)
    index = prepare(texts, masked, tokenizer.path, tmp_path / "out", 64, 1)
    extended = JsonTokenizer(tmp_path / "out" / "tokenizer.json")
    assert {name: extended.piece_to_id(name) for name in SPECIAL} == index["special"]
    assert extended.encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()


def test_any_bpe_that_keeps_every_character_will_do(tmp_path: Path) -> None:
    made = tmp_path / "tokenizer.json"
    made.write_text(train(iter([TEXT] * 20), 300, 1), encoding="utf-8")
    bytes_behind = JsonTokenizer(made)
    for seed in range(200):
        mask = masks.draw(TEXT, parse(TEXT), OFTEN, random.Random(seed))
        built, counts = example(bytes_behind, TEXT, mask)
        whole = filled(built, Vocabulary.behind(bytes_behind.full_size))
        assert bytes_behind.decode(whole) == TEXT
        assert built.kinds.count(BLANK) == len(mask) - counts["spans_swallowed"]


def test_workers_and_parts_change_nothing(
    tmp_path: Path, tokenizer: JsonTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, masked = study(tmp_path)
    whole = prepare(texts, masked, tokenizer.path, tmp_path / "one", 64, 1)
    monkeypatch.setattr(sharded, "PART", 7)
    assert prepare(texts, masked, tokenizer.path, tmp_path / "two", 64, 1) == whole
    for path in (tmp_path / "one").rglob("*.npy"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")
                                     ).read_bytes()
    assert not list((tmp_path / "two").rglob(".parts*"))


def test_masks_of_other_texts_are_refused(tmp_path: Path, tokenizer: JsonTokenizer) -> None:
    texts, masked = study(tmp_path, 3)
    (texts / "valid.txt").write_text("Another text.")
    with pytest.raises(CorpusError, match="is not what its masks were drawn for"):
        prepare(texts, masked, tokenizer.path, tmp_path / "out", 64, 1)
    with pytest.raises(CorpusError, match="Draw the masks first"):
        prepare(texts, tmp_path / "nowhere", tokenizer.path, tmp_path / "out", 64, 1)


def test_a_tokenizer_that_loses_text_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    texts, masked = study(tmp_path, 3)
    lossy: Any = Tokenizer(models.BPE(unk_token="?"))
    lossy.pre_tokenizer = pre_tokenizers.Whitespace()
    lossy.train_from_iterator(["abc"], trainers.BpeTrainer(special_tokens=["?"]))
    lossy.save(str(tmp_path / "lossy.json"))
    with pytest.raises(CorpusError, match="does not give its text back"):
        prepare(texts, masked, tmp_path / "lossy.json", tmp_path / "out", 64, 1)
    assert not (tmp_path / "out" / "infilling.json").exists()


def test_a_tokenizer_that_has_the_special_tokens_is_refused(
    tmp_path: Path, tokenizer: JsonTokenizer
) -> None:
    texts, masked = study(tmp_path, 3)
    prepare(texts, masked, tokenizer.path, tmp_path / "out", 64, 1)
    with pytest.raises(CorpusError, match="has <|startofinfill|> already"):
        prepare(texts, masked, tmp_path / "out" / "tokenizer.json", tmp_path / "twice", 64, 1)


def test_a_second_run_does_nothing_and_another_length_does(
    tmp_path: Path, tokenizer: JsonTokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    study(tmp_path, 4)
    config = tmp_path / "c.yaml"

    def command(limit: int) -> int:
        config.write_text(yaml.safe_dump({"resources": {"cpus": 1}, "parameters": {
            "level": {"name": "A1"}, "corpus": {"output_dir": str(tmp_path / "texts")},
            "mask": {"output_dir": str(tmp_path / "masks")},
            "tokenizer": {"path": str(tokenizer.path.parent)}, "batch": {"seq_length": limit},
            "examples": {"output_dir": str(tmp_path / "examples")}}}))
        return main(["--config", str(config)])

    ids = tmp_path / "examples" / "A1" / "train" / "ids.npy"
    assert command(64) == 0
    stamp = ids.stat().st_mtime_ns
    assert command(64) == 0 and ids.stat().st_mtime_ns == stamp
    assert command(32) == 0 and ids.stat().st_mtime_ns != stamp
    assert "A1 train: " in capsys.readouterr().out
    assert command(4) == 65 and "batch.seq_length is 4" in capsys.readouterr().err


# ---- defects of public code that must not come back --------------------------------------------


def test_defect_11_a_context_too_long_does_not_push_the_answers_out(
    tokenizer: JsonTokenizer,
) -> None:
    text = "I don't know. " * 60 + "She ate pasta"
    mask = mask_of(text, ("word", "pasta"))
    made, counts = example(tokenizer, text, mask, limit=64)
    assert counts["windowed"] == 1 and len(made.ids) == 64
    assert spelled(tokenizer, made).endswith(
        "<|infill_word|><|startofinfill|> pasta<|endofinfill|>")


def test_defect_11_an_answer_too_long_by_itself_is_cut_and_counted(
    tokenizer: JsonTokenizer,
) -> None:
    text = "I don't know. " * 60
    made, counts = example(tokenizer, text, ((masks.DOCUMENT, 0, len(text) - 1),), limit=32)
    assert counts["answers_cut"] == 1 and made.kinds == [BLANK, SEPARATOR, *[ANSWER] * 30]


def test_defect_12_no_mask_is_lost_to_emoji_contractions_or_shared_tokens(
    tokenizer: JsonTokenizer,
) -> None:
    text = "'some' I don't 🙂👍🏽 it's"
    for seed in range(300):
        mask = masks.draw(text, parse(text), OFTEN, random.Random(seed))
        made, counts = example(tokenizer, text, mask)
        assert made.kinds.count(BLANK) == len(mask) - counts["spans_swallowed"]
        assert tokenizer.decode(filled(made, Vocabulary.behind(tokenizer.full_size))) == text
    # the quote and the s behind it are one token of GPT-2's kind of BPE
    made, counts = example(tokenizer, text, mask_of(text, ("word", "'"), ("word", "some")))
    assert counts["spans_trimmed"] + counts["spans_swallowed"] <= 2
    assert made.kinds.count(BLANK) >= 1


def test_defect_14_spans_and_answers_keep_their_order(tokenizer: JsonTokenizer) -> None:
    text = "She ate leftover pasta for lunch"
    made, _ = example(tokenizer, text, mask_of(
        text, ("word", "She"), ("ngram", "leftover pasta"), ("word", "lunch")))
    vocabulary = Vocabulary.behind(tokenizer.full_size)
    kinds = [vocabulary.blanks.index(token) for token in made.ids if token in vocabulary.blanks]
    assert kinds == [masks.WORD, masks.NGRAM, masks.WORD]
    assert spelled(tokenizer, made).split("<|startofinfill|>")[1] == (
        "She<|endofinfill|> leftover pasta<|endofinfill|> lunch<|endofinfill|>")


def test_defect_16_tokenising_twice_gives_the_same(tokenizer: JsonTokenizer) -> None:
    first = tokenizer.encode_spans(TEXT)
    tokenizer.with_special(list(SPECIAL))
    assert tokenizer.encode_spans(TEXT) == first
    assert tokenizer.piece_to_id(SPECIAL[0]) is None


def test_defect_17_examples_are_mapped_and_three_bytes_a_token(
    tmp_path: Path, tokenizer: JsonTokenizer
) -> None:
    texts, masked = study(tmp_path, 5)
    prepare(texts, masked, tokenizer.path, tmp_path / "out", 64, 1)
    ids = np.load(tmp_path / "out" / "train" / "ids.npy", mmap_mode="r", allow_pickle=False)
    kinds = np.load(tmp_path / "out" / "train" / "kinds.npy", mmap_mode="r", allow_pickle=False)
    assert isinstance(ids, np.memmap) and ids.itemsize + kinds.itemsize == 3
