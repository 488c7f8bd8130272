from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

from corpus.errors import CorpusError
from corpus.spelling import END, Spelling, printable
from corpus.tokenizers import Tokenizer, load_tokenizer

EOD = 1
HARD = ["", " ", "  dalawa  ", "a\n\n\tb\r\n", "<eos> at </s> <0x0A>", "漢字 😀 é", "\x01\x7f"]


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory, sample: list[str]) -> Tokenizer:
    """A tokenizer of GPT-2's kind, whose pieces are written in the byte-level alphabet."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<pad>", "<eos>"], show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(sample, trainer)
    path = tmp_path_factory.mktemp("bytes") / "tokenizer.json"
    made.save(str(path))
    return load_tokenizer(path)


@pytest.mark.parametrize("kind", ["json", "sentencepiece", "byte level"])
def test_tokens_spell_the_text(
    tokenizer: Tokenizer, sentencepiece_model: Path, byte_level: Tokenizer, sample: list[str],
    kind: str,
) -> None:
    chosen = {"json": tokenizer, "sentencepiece": load_tokenizer(sentencepiece_model),
              "byte level": byte_level}[kind]
    spelling = Spelling(chosen, EOD)
    for text in sample[:20] + HARD:
        ids = [*chosen.encode(text).tolist(), EOD]
        cut = spelling.cut(np.array(ids))
        assert cut.text == text.encode() + END
        ends = list(accumulate(len(spelling.tokens[token]) for token in ids[:-1]))
        assert cut.boundaries.tolist() == ends[:-1]


def test_boundaries_lie_inside_documents(tokenizer: Tokenizer) -> None:
    spelling = Spelling(tokenizer, EOD)
    one, two = (tokenizer.encode(text).tolist() for text in ("Kumain siya.", "Umulan"))
    cut = spelling.cut(np.array([EOD, *one, EOD, EOD, *two, EOD], np.uint16))
    assert cut.text == b"\x00Kumain siya.\x00\x00Umulan\x00"
    alone = [spelling.cut(np.array([*ids, EOD])).boundaries.tolist() for ids in (one, two)]
    assert cut.boundaries.tolist() == [1 + at for at in alone[0]] + [15 + at for at in alone[1]]
    assert len(one) > 1 < len(two)
    assert spelling.cut(np.zeros(0, np.uint16)).boundaries.tolist() == []


def test_characters_of_a_token(tokenizer: Tokenizer) -> None:
    spelling = Spelling(tokenizer, EOD)
    byte, word = map(tokenizer.pieces.index, ("<0xE6>", "▁ng"))
    assert spelling.characters[[byte, word]].tolist() == [-1, 3]
    assert spelling.tokens[byte] == b"\xe6" and spelling.tokens[word] == b" ng"


def test_what_is_not_of_this_tokenizer_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(CorpusError, match="EOD 99999 is no token"):
        Spelling(tokenizer, 99999)
    with pytest.raises(CorpusError, match="an id is 60000"):
        Spelling(tokenizer, EOD).cut(np.array([5, 60000], np.uint16))
    with pytest.raises(CorpusError, match="an id is"):
        Spelling(tokenizer, EOD).cut(np.array([5, -1], np.int32))


@pytest.mark.parametrize(
    ("token", "shown"),
    [(b" ng", " ng"), ("漢".encode(), "漢"), (b"\xe6\xbc", "<E6><BC>"), (b"\xff", "<FF>"),
     (b"\x1b[31m", "<U+001B>[31m"), ("\u202ea".encode(), "<U+202E>a"),
     ("👩\u200d🌾".encode(), "👩\u200d🌾"), (b"", "")])
def test_printable(token: bytes, shown: str) -> None:
    assert printable(token) == shown
