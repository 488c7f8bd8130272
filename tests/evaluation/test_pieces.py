import itertools
import math
import random
from collections import Counter

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from evaluation.models import LanguageModel
from evaluation.pieces import Lattice, Pieces, lattice, log_sum


def cuts(text: bytes) -> list[tuple[bytes, ...]]:
    """Every way to cut some bytes, by taking each set of places."""
    found = []
    for size in range(len(text)):
        for places in itertools.combinations(range(1, len(text)), size):
            ends = [0, *places, len(text)]
            found.append(tuple(text[a:b] for a, b in itertools.pairwise(ends)))
    return found


@pytest.mark.parametrize("text", [" bumili", " aso", " Ñandu", "k", "x", " ka-an"])
def test_the_lattice_holds_every_tokenisation_once(model: LanguageModel, text: str) -> None:
    pieces = model.tokenizer.pieces
    ways = lattice(pieces, text.encode(), 1.0)
    found = list(ways.all())
    assert len(found) == len(set(found)) == ways.size > 0
    assert {pieces.text(tokens) for tokens in found} == {text.encode()}
    written = [piece for piece in model.tokenizer.fast.get_vocab() if not piece.startswith("<")]
    vocabulary = {piece.replace("▁", " ").encode() for piece in written}
    if set(text) <= set(" abiklmnosu-"):  # every letter is a piece: no byte token has a place
        spelled = [cut for cut in cuts(text.encode()) if vocabulary.issuperset(cut)]
        assert sorted(spelled) == sorted(tuple(map(pieces.spell, tokens)) for tokens in found)
    assert tuple(model.tokenizer.encode(text)) in found


def test_an_ordinary_piece_leaves_no_way_to_its_bytes(model: LanguageModel) -> None:
    tokenizer = model.tokenizer
    spelled = tokenizer.fast.token_to_id("<0x61>")
    assert tokenizer.pieces.spell(spelled) == b"a"
    assert all(spelled not in tokens for tokens in lattice(tokenizer.pieces, b"ab", 1.0).all())


def test_special_tokens_spell_nothing(model: LanguageModel) -> None:
    pieces = model.tokenizer.pieces
    assert [pieces.spell(token) for token in range(4)] == [b""] * 4
    assert lattice(pieces, b"<eos>", 1.0).size > 1  # its letters, not the token
    assert all(1 not in tokens for tokens in lattice(pieces, b"<eos>", 1.0).all())


def test_a_byte_level_vocabulary_is_spelled_in_bytes() -> None:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    fast = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    pieces = Pieces(fast)
    for text in (" aso", "ñ — “x”", "\n"):
        assert pieces.text(fast.encode(text).ids) == text.encode()
        assert lattice(pieces, text.encode(), 1.0).size == 1


def test_draws_follow_q(model: LanguageModel) -> None:
    ways = lattice(model.tokenizer.pieces, b" bumili", 0.7)
    shares = {tokens: math.exp(ways.log_q(tokens)) for tokens in ways.all()}
    assert sum(shares.values()) == pytest.approx(1)
    weights = {tokens: math.exp(-0.7 * len(tokens)) for tokens in shares}
    for tokens, share in shares.items():
        assert share == pytest.approx(weights[tokens] / sum(weights.values()))
    rng, n = random.Random(0), 20_000
    met = Counter(ways.draw(rng) for _ in range(n))
    assert set(met) <= set(shares)
    chi = sum((met[t] - n * share) ** 2 / (n * share) for t, share in shares.items())
    assert chi < len(shares) + 5 * math.sqrt(2 * len(shares))  # five standard deviations


def test_what_cannot_be_spelled_has_no_tokenisation() -> None:
    fast = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")]))
    assert lattice(Pieces(fast), b"abc", 1.0).size == 0
    assert [lattice(Pieces(fast), text, 1.0).size for text in (b"ab", b"abab", b"")] == [2, 4, 1]


def test_a_long_text_is_counted_without_listing_it() -> None:
    fast = Tokenizer(models.BPE(vocab={"a": 0, "aa": 1}, merges=[("a", "a")]))
    ways = lattice(Pieces(fast), b"a" * 400, 2.0)
    assert isinstance(ways, Lattice) and ways.size > 10**80
    assert log_sum([ways.log_q(ways.draw(random.Random(1)))]) < 0


def test_the_logarithm_of_no_sum() -> None:
    assert log_sum([]) == -math.inf and log_sum([-math.inf, 0.0]) == 0.0
    assert log_sum([-1000.0, -1000.0]) == pytest.approx(-1000 + math.log(2))
