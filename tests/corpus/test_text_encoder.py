"""The encoder's ids are those of the tokenizer's own library, whatever the text and the file."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import sentencepiece
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from corpus import vocabulary as vocabulary_module
from corpus.merges import Merges, read_merges
from corpus.text_encoder import TextEncoder
from corpus.vocabulary import Vocabulary, load
from tests.corpus.reference import Bpe, tokenizer_json
from tests.draws import draws

MERGES = ["a b", "ab a", "b a", "a a", "▁ a", "▁a b", "▁ ▁", "▁▁ ▁▁", "b ▁", "> ▁", ">▁ <", "a ▁",
          "< b", "<b >", "ab ab", "aa aa", "ba ba"]
ADDED = ["<b>", "</b>", "<b>>", "▁▁▁", "\n\n", "<ab", "bab<b>", "<eo"]
HARD = [
    "", "a", " ", "  ", "▁", "▁▁", " ▁", "▁ ", "▁ ▁▁ ▁▁▁ ▁▁▁▁", "a▁b ▁c▁ d", "\n", "\r\n", "\t",
    "\n\n\n\n \n\n", "\n \n  \n   \n", "\t\t\ta\t b", " \n\t \r\n x", "a" * 7 + "\n" * 31 + "b",
    "😀", "😀😀😀 😀", "👩‍👩‍👧‍👦 pamilya 👨‍👩‍👦", "🇵🇭🇵🇭 🏴󠁧󠁢󠁷󠁬󠁳󠁿", "👍🏽👍🏿x👍", "❤️‍🔥", "𓀀𓁐 𒀀 🜁 𝕬𝖇",
    "\U0010ffff\U000e0001",
    "é e\u0301 e\u0301\u0302\u0303 ñ n\u0303", "\u0301\u0301 \u0301", "Nagsásalitâ, 1,234.50%!?",
    "漢字かな交じり文。 漢字 漢", "한국어 조선말", "ภาษาไทย ไม่มีช่องว่าง",
    "العربية السلام عليكم", "עִבְרִית שלום",
    "हिन्दी भाषा", "ᜊᜌ᜔ᜊᜌᜒᜈ᜔", "<b>makapal</b><i>pahilis</i>", "<table><tr><td>1</td></tr></table>",
    "x<b>y", "x <b> y", "<b", "b>", "</b", "<<b>>", "<b>>", "<b><b>>", "<ab<ab>", "bab<b>>b",
    "<eos>",
    " <eos> ", "x<eos>y</s><s><pad><unk>", "<start_of_turn>user\nKumusta<end_of_turn>\n",
    "<eo<eos>",
    "<unused5> <unused5", "<unused55>", "<<eos>>", "<eos<eos>", "<0x0A> <0xE6>",
    "<image_soft_token>",
    "[UNK][multimodal]", "x> </y>", "x>▁</y>", ">▁</ > </", "> ▁</", "\x01\x02\x1f\x7f\x80\x9f",
    "\ufeffsimula", "gitna\ufeff", "\u200e\u200f\u202aabc\u202e\u2066",
    "\u00a0\u2003\u3000 \u200b\u2028",
    "".join(map(chr, range(1, 128))), " ".join(map(chr, range(1, 128))), "\ufffd\ufffe\uffff",
    "http://a.b/c?d=e&f=%20g#h", "=" * 70, "-" * 33, "." * 100, "ha" * 40, "ab" * 33, "aba" * 50,
    "a" * 31, "a" * 32, "a" * 33, "a" * 100_000, "abc" * 33_000, "pagkakapantay" * 8_000,
    "".join(chr(0x4E00 + i % 20_000) for i in range(4_000)), "Ma ma MA mA", "0123456789" * 5,
]
HARD += [" " * count + "x" for count in range(1, 71)] + ["x" + " " * 70]
HARD += [chr(byte) for byte in range(1, 128)]
# Lengths about the word memory's 24 bytes and 15 ids, and the 32 symbols of the short merge.
HARD += [space + "qzjxvkwQZJXVKW0123456789~^`|\\{}[]"[:length]
         for length in (7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33) for space in ("", " ")]
HARD += ["é" * length for length in (4, 8, 12, 13, 15, 16)]
HARD += ["\u07ff" * 7 + "x" * extra for extra in (0, 1, 2)]  # 14, 15 and 16 ids of a byte each

Library = Callable[[list[str]], list[list[int]]]
MakeModel = Callable[..., Path]


@cache
def library(path: Path) -> Library:
    """The ids of texts by the package that the file is for."""
    if path.suffix == ".model":
        processor: Any = sentencepiece.SentencePieceProcessor(model_file=str(path))
        return lambda texts: [list(processor.encode(text)) for text in texts]
    inner: Any = tokenizers.Tokenizer.from_file(str(path))
    inner.encode_special_tokens = True
    inner.no_truncation()
    return lambda texts: [one.ids for one in inner.encode_batch(texts, add_special_tokens=False)]


def encode(encoder: TextEncoder, texts: list[str]) -> list[list[int]]:
    ids, bounds = encoder.encode([text.encode() for text in texts])
    assert ids.dtype == np.int32 and bounds[0] == 0 and bounds[-1] == len(ids)
    return [part.tolist() for part in np.split(ids, bounds[1:-1])] if texts else []


def assert_same(vocabulary: Vocabulary, texts: list[str]) -> None:
    wanted = library(vocabulary.path)(texts)
    for text, ours, theirs in zip(texts, encode(TextEncoder(vocabulary), texts), wanted,
                                  strict=True):
        assert ours == theirs, f"{text[:60]!r}: {ours[:20]} and not {theirs[:20]}"


@pytest.fixture(scope="module")
def all_of_sample(root: Path) -> list[str]:
    lines = (root / "data" / "sample" / "filipino.jsonl").read_bytes().splitlines()
    return [json.loads(line)["text"] for line in lines]


@pytest.fixture
def make_model(tmp_path: Path, sample: list[str]) -> MakeModel:
    """`make_model(**settings)` trains a SentencePiece model; without settings, one that fits."""

    def make(**settings: Any) -> Path:
        model = io.BytesIO()
        plain: dict[str, Any] = {
            "model_type": "bpe", "vocab_size": 700, "byte_fallback": True, "minloglevel": 2,
            "normalization_rule_name": "identity", "add_dummy_prefix": False,
            "remove_extra_whitespaces": False, "num_threads": 1}
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sample[:40]), model_writer=model, **plain | settings)
        path = tmp_path / "tokenizer.model"
        path.write_bytes(model.getvalue())
        return path

    return make


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory, one_cache: Path) -> Vocabulary:
    """A small tokenizer where much overlaps: merges across spaces, added tokens in added tokens."""
    path = tmp_path_factory.mktemp("forked") / "tokenizer.json"
    path.write_text(json.dumps(tokenizer_json("▁ab<>/\n", MERGES, ADDED)), encoding="utf-8")
    return load(path, one_cache)


def test_gemma(gemma_vocabulary: Vocabulary, all_of_sample: list[str]) -> None:
    assert gemma_vocabulary.about.slow == ""
    assert gemma_vocabulary.about.vocab_size == 262144
    assert_same(gemma_vocabulary, HARD + all_of_sample)


def test_the_studys_tokenizer(vocabulary: Vocabulary, all_of_sample: list[str]) -> None:
    assert vocabulary.about.slow == ""
    assert_same(vocabulary, HARD + all_of_sample)


def test_the_studys_model(
    sentencepiece_model: Path, one_cache: Path, all_of_sample: list[str]
) -> None:
    model = load(sentencepiece_model, one_cache)
    assert (model.about.slow, model.about.prefix_space) == ("", False)
    assert_same(model, HARD + all_of_sample)


def test_a_model_that_puts_a_space_before_a_text(
    make_model: MakeModel, one_cache: Path, sample: list[str]
) -> None:
    model = load(make_model(add_dummy_prefix=True), one_cache)
    assert (model.about.slow, model.about.prefix_space) == ("", True)
    # A document is never empty: the library puts no space before nothing.
    assert_same(model, [text for text in HARD + sample if text])


def test_what_overlaps(forked: Vocabulary) -> None:
    assert forked.about.slow == ""
    assert_same(forked, HARD)


MODELS: dict[str, tuple[dict[str, Any], str]] = {
    "nfkc": ({"normalization_rule_name": "nmt_nfkc"}, "normalises"),
    "spaces removed": ({"remove_extra_whitespaces": True}, "normalises"),
    "user-defined": ({"user_defined_symbols": ["<b>", "ng", "▁ang"]}, "user-defined"),
    "unigram": ({"model_type": "unigram", "byte_fallback": False}, "no BPE"),
    "no byte fallback": ({"byte_fallback": False}, "lacks tokens for some bytes"),
    "marks behind words": ({"treat_whitespace_as_suffix": True}, "before words"),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_that_the_library_encodes(
    make_model: MakeModel, one_cache: Path, sample: list[str], name: str
) -> None:
    values, reason = MODELS[name]
    model = load(make_model(**values), one_cache)
    assert reason in model.about.slow
    assert_same(model, HARD + sample[:20])


def byte_level(sample: list[str]) -> dict[str, Any]:
    inner: Any = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    inner.train_from_iterator(sample[:20], tokenizers.trainers.BpeTrainer(
        vocab_size=500, show_progress=False, special_tokens=["<|endoftext|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
    made: dict[str, Any] = json.loads(inner.to_str())
    return made


def changed(**values: Any) -> dict[str, Any]:
    """The overlapping tokenizer with settings of another; "model__x" is x of its model."""
    content = tokenizer_json("▁ab<>/\n", MERGES, ADDED)
    for key, value in values.items():
        place, _, inner = key.partition("__")
        if inner:
            content[place][inner] = value
        else:
            content[place] = value
    return content


PREPEND = {"type": "Sequence", "normalizers": [
    {"type": "Prepend", "prepend": "▁"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
SIDES = {"special": False, "single_word": False, "rstrip": False, "normalized": False}
FILES: dict[str, tuple[dict[str, Any], str]] = {
    "ignore_merges": ({"model__ignore_merges": True}, "ignores merges"),
    "prepend": ({"normalizer": PREPEND}, "normalizer is Sequence"),
    "metaspace": ({"normalizer": None, "pre_tokenizer": METASPACE}, "normalizer is none"),
    "digits": ({"pre_tokenizer": {"type": "Digits", "individual_digits": True}}, "is Digits"),
    "no byte fallback": ({"model__byte_fallback": False}, "no byte fallback"),
    "greedy spaces": ({"added_tokens": [{"id": 1, "content": "<eos>", **SIDES, "lstrip": True}]},
                      "what stands around"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_the_library_encodes(tmp_path: Path, one_cache: Path, name: str) -> None:
    values, reason = FILES[name]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(changed(**values)), encoding="utf-8")
    found = load(path, one_cache)
    assert reason in found.about.slow
    assert_same(found, HARD)


def test_a_byte_level_tokenizer(tmp_path: Path, one_cache: Path, sample: list[str]) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(byte_level(sample)), encoding="utf-8")
    found = load(path, one_cache)
    assert found.about.slow == "its normalizer is none, not spaces to ▁"
    assert_same(found, HARD + sample[:20])


def fragments(vocabulary: Vocabulary, random: Random, count: int) -> list[str]:
    """Strings that a text may be made of: tokens, parts and names of tokens, words, characters."""
    size = len(vocabulary.tables.atoms)
    tokens = [vocabulary.spelling(random.randrange(size)).decode() for _ in range(count)]
    cut = [token[random.randrange(len(token) + 1):] for token in tokens if token]
    letters = [chr(random.choice([random.randrange(1, 128), random.randrange(128, 0x3000),
                                  random.randrange(0x3000, 0xD800),
                                  random.randrange(0xE000, 0x110000)])) for _ in range(count // 2)]
    spaces = [" " * random.randrange(1, 9) for _ in range(count // 3)]
    return tokens + cut + letters + spaces + ["\n", "\n\n", "▁", "▁▁", " ▁", "<eos>", "<b>"] * 20


def test_ten_thousand_random_texts_for_gemma(gemma_vocabulary: Vocabulary) -> None:
    random = Random(3)
    parts = fragments(gemma_vocabulary, random, 4000)
    texts = ["".join(random.choices(parts, k=random.randint(1, 15))).replace("\0", "")
             for _ in range(10_000)]
    assert_same(gemma_vocabulary, texts)


def test_random_texts(vocabulary: Vocabulary, forked: Vocabulary) -> None:
    for one in (vocabulary, forked):
        random = Random(4)
        parts = fragments(one, random, 600)
        texts = ["".join(random.choices(parts, k=random.randint(1, 15))).replace("\0", "")
                 for _ in range(3000)]
        assert_same(one, texts)


TEXTS = st.lists(st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
    st.sampled_from([" ", "  ", "▁", "<b>", "<eos>", "</b>", "\n\n", "> </", "ma", "nag", "😀",
                     "é"]),
), max_size=12).map("".join)


@draws(150)
@given(texts=st.lists(TEXTS, max_size=4))
def test_any_text(vocabulary: Vocabulary, forked: Vocabulary, texts: list[str]) -> None:
    assert_same(vocabulary, texts)
    assert_same(forked, texts)


@draws(150)
@given(text=TEXTS)
def test_any_text_for_gemma(gemma_vocabulary: Vocabulary, text: str) -> None:
    assert_same(gemma_vocabulary, [text])


@pytest.mark.parametrize("number", range(12))
def test_random_tokenizers(tmp_path: Path, one_cache: Path, number: int) -> None:
    """Merges drawn at random, across spaces too: kernels, library and reference agree."""
    random, letters = Random(number), "▁abc"
    pieces, merges = list(letters), {}
    while len(merges) < 40:
        left, right = random.choice(pieces), random.choice(pieces)
        if len(left + right) < 9:
            merges[f"{left} {right}"] = None
            pieces.append(left + right)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(tokenizer_json(letters, merges)), encoding="utf-8")
    found, slow = load(path, one_cache), Bpe(path)
    assert found.about.slow == ""
    texts = ["".join(random.choices("  abc▁é", k=random.randint(1, 60))) for _ in range(200)]
    assert_same(found, texts)
    spelled = [text.replace(" ", "▁") for text in texts]
    assert encode(TextEncoder(found), texts) == [slow.tokens(text) for text in spelled]


def test_a_batch_is_its_texts_one_by_one_in_any_order(
    vocabulary: Vocabulary, sample: list[str]
) -> None:
    texts = [text for text in HARD + sample if len(text) < 50_000]
    together = encode(TextEncoder(vocabulary), texts)
    encoder = TextEncoder(vocabulary)
    assert [encode(encoder, [text])[0] for text in texts] == together
    order = list(range(len(texts)))
    Random(5).shuffle(order)
    assert encode(encoder, [texts[place] for place in order]) == [together[i] for i in order]
    assert encode(encoder, []) == []


def test_what_was_encoded_before_does_not_matter(
    vocabulary: Vocabulary, sample: list[str]
) -> None:
    """More words than the memory of words has entries, before and between."""
    encoder, texts = TextEncoder(vocabulary), HARD[:80] + sample
    before = encode(encoder, texts)
    words = [f" {word}{number:x}" for number in range(110_000) for word in ("nag", "ka-")]
    many = "".join(words)
    thrashed = encode(encoder, [many])
    assert thrashed == library(vocabulary.path)([many])
    assert encode(encoder, texts) == before == encode(TextEncoder(vocabulary), texts)
    assert encode(encoder, [many]) == thrashed


def swap_ranks(merges: Merges) -> Merges:
    for column in (merges.left, merges.right, merges.results):
        column[[0, -1]] = column[[-1, 0]]
    return merges


def forget_added(merges: Merges) -> Merges:
    merges.added.clear()
    return merges


def lose_a_letter(merges: Merges) -> Merges:
    token = merges.spellings.index(b"a")
    merges.spellings[token] = "\u0101".encode()
    return merges


@pytest.mark.parametrize("damage", [swap_ranks, forget_added, lose_a_letter])
def test_kernels_that_would_be_wrong_are_not_used(
    forked: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Merges], Merges],
) -> None:
    monkeypatch.setattr(vocabulary_module, "read_merges", lambda path: damage(read_merges(path)))
    wrong = load(forked.path, tmp_path)
    assert "the kernels and the library disagree on" in wrong.about.slow
    assert_same(wrong, HARD)
    assert load(forked.path, tmp_path).about == wrong.about  # as it was kept


def test_a_break_within_a_token_is_seen(
    forked: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tabulate = vocabulary_module.tabulate

    def careless(merges: Merges) -> dict[str, Any]:
        tables = tabulate(merges)
        return tables | {"joined": np.zeros_like(tables["joined"])}

    monkeypatch.setattr(vocabulary_module, "tabulate", careless)
    wrong = load(forked.path, tmp_path)
    assert "disagree" in wrong.about.slow
    assert_same(wrong, HARD)
