"""A tokenizer's arrays say what its file says, and are kept safely."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from corpus.errors import CorpusError
from corpus.tokenizers import Tokenizer, load_tokenizer
from corpus.vocabulary import Vocabulary, build, load
from tests.corpus.reference import Bpe, tokenizer_json


def ways(vocabulary: Vocabulary) -> dict[int, list[tuple[int, int]]]:
    """The expansion table: token to the pairs that it can be split into."""
    tables = vocabulary.tables
    found = {}
    for token in np.flatnonzero(np.diff(tables.split_starts)).tolist():
        start, stop = tables.split_starts[token], tables.split_starts[token + 1]
        found[token] = list(zip(tables.split_left[start:stop].tolist(),
                                tables.split_right[start:stop].tolist(), strict=True))
    return found


def assert_equal(one: Vocabulary, other: Vocabulary) -> None:
    assert one.about == other.about
    for name, ours, theirs in zip(one.tables._fields, one.tables, other.tables, strict=True):
        assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs), name


@pytest.fixture(params=["json", "sentencepiece"])
def either(request: pytest.FixtureRequest, vocabulary: Vocabulary, sentencepiece_model: Path,
           one_cache: Path) -> Vocabulary:
    return vocabulary if request.param == "json" else load(sentencepiece_model, one_cache)


def test_expansions_spell_their_token_and_spare_atoms(either: Vocabulary) -> None:
    library = load_tokenizer(either.path)
    found = ways(either)
    assert len(found) > 500
    for token, pairs in found.items():
        for left, right in pairs:
            assert library.pieces[left] + library.pieces[right] == library.pieces[token]
            assert library.atoms.isdisjoint({token, left, right})


def test_both_files_give_the_same_tables(
    vocabulary: Vocabulary, sentencepiece_model: Path, one_cache: Path
) -> None:
    model = load(sentencepiece_model, one_cache)
    ours, theirs = ways(vocabulary), ways(model)
    assert {token: sorted(pairs) for token, pairs in ours.items()} == {
        token: sorted(pairs) for token, pairs in theirs.items()}
    for name in ("characters", "byte_ids", "piece_bytes", "piece_starts", "atoms"):
        assert np.array_equal(getattr(vocabulary.tables, name), getattr(model.tables, name)), name


def test_expansions_are_the_merges_of_the_file(vocabulary: Vocabulary) -> None:
    slow = Bpe(vocabulary.path)
    assert ways(vocabulary) == slow.ways
    assert set(np.flatnonzero(vocabulary.tables.atoms).tolist()) == slow.atoms


def test_gemmas_expansions_are_the_merges_of_its_file(
    gemma: Path, gemma_vocabulary: Vocabulary
) -> None:
    slow = Bpe(gemma)
    found = ways(gemma_vocabulary)
    assert found == slow.ways
    assert (len(found), sum(map(len, found.values()))) == (236_339, 514_906)
    about = gemma_vocabulary.about
    assert (about.mark, about.slow, about.vocab_size, about.full_size) == ("▁", "", 262144, 262145)
    assert set(np.flatnonzero(gemma_vocabulary.tables.atoms).tolist()) == slow.atoms


def test_a_token_with_a_character_that_is_no_token_is_an_atom(
    tmp_path: Path, one_cache: Path
) -> None:
    content = tokenizer_json("▁ab", ["a b"])
    content["model"]["vocab"] |= {"aé": 264, "éé": 265}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    found = load(path, one_cache)
    assert found.tables.atoms[[261, 263, 264, 265]].tolist() == [0, 0, 1, 1]
    assert ways(found) == {263: [(261, 262)]}
    assert found.spelling(264) == "aé".encode()


def test_spellings_write_a_space_as_a_space(either: Vocabulary, tokenizer: Tokenizer) -> None:
    for token, piece in enumerate(tokenizer.pieces):
        assert either.spelling(token) == piece.replace("▁", " ").encode()


def test_stable_tokens_are_what_their_spelling_becomes(vocabulary: Vocabulary) -> None:
    slow = Bpe(vocabulary.path)
    for token, piece in slow.pieces.items():
        stable = token not in slow.atoms and slow.tokens(piece) == [token]
        assert vocabulary.tables.stable[token] == stable, piece


def test_find_marks_tokens_by_spelling(vocabulary: Vocabulary, tokenizer: Tokenizer) -> None:
    wanted = {b" ma", b"a", "ñ".encode(), b"<eos>", b"qqqq", b""}
    found = np.flatnonzero(vocabulary.find(wanted)).tolist()
    assert {tokenizer.pieces[token] for token in found} <= {"▁ma", "a", "ñ"}
    assert {"▁ma", "a"} <= {tokenizer.pieces[token] for token in found}


def test_kept_tables_are_those_that_were_built(either: Vocabulary, tmp_path: Path) -> None:
    fresh = build(either.path)
    first = load(either.path, tmp_path)
    (kept,) = tmp_path.glob("tables-*.npy")
    before = kept.stat().st_mtime_ns
    second = load(either.path, tmp_path)
    assert kept.stat().st_mtime_ns == before
    for one in (first, second, either):
        assert_equal(fresh, one)


def test_kept_tables_of_gemma_are_those_that_were_built(
    gemma: Path, gemma_vocabulary: Vocabulary
) -> None:
    assert_equal(build(gemma), gemma_vocabulary)


def test_another_file_has_other_tables(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    sizes = []
    for merges in (["a b"], ["a b", "ab a"]):
        path.write_text(json.dumps(tokenizer_json("▁ab", merges)), encoding="utf-8")
        sizes.append(load(path, tmp_path / "cache").about.vocab_size)
    assert sizes == [264, 265]
    assert len(list((tmp_path / "cache").glob("tables-*.npy"))) == 2


FILL = """
import sys
from pathlib import Path
from corpus.text_encoder import TextEncoder
from corpus.vocabulary import load
vocabulary = load(Path(sys.argv[1]), Path(sys.argv[2]))
print(TextEncoder(vocabulary).encode([b"Magandang umaga"])[0].tolist(), vocabulary.about)
"""


def test_processes_that_fill_one_cache_at_once(
    vocabulary: Vocabulary, one_cache: Path, root: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", FILL, str(vocabulary.path), str(tmp_path / "cache")]
    environment = os.environ | {"PYTHONPATH": str(root)}
    (tmp_path / "cache").mkdir()  # with compiled kernels: what is raced for is the tables' file
    for compiled in one_cache.glob("jit-*"):
        (tmp_path / "cache" / compiled.name).symlink_to(compiled)
    running = [subprocess.Popen(command, env=environment, cwd=root, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    results = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], results
    assert len({output for output, _ in results}) == 1
    files = [path for path in (tmp_path / "cache").iterdir() if not path.is_symlink()]
    assert [path.suffix for path in files] == [".npy"]
    assert_equal(load(vocabulary.path, tmp_path / "cache"), build(vocabulary.path))


@pytest.mark.parametrize("damage", ["empty", "half", "quarter", "short", "longer", "text"])
def test_a_damaged_file_of_tables_is_made_anew(
    vocabulary: Vocabulary, tmp_path: Path, damage: str
) -> None:
    load(vocabulary.path, tmp_path)
    (kept,) = tmp_path.glob("tables-*.npy")
    whole = kept.read_bytes()
    kept.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "longer": whole + whole[:640],
                      "quarter": whole[: len(whole) // 4], "short": whole[:-64],
                      "text": b"no tables"}[damage])
    assert_equal(load(vocabulary.path, tmp_path), vocabulary)
    assert kept.read_bytes() == whole


def test_a_directory_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="Run the tokenizer stage first"):
        load(tmp_path, tmp_path)


def test_a_pair_that_merges_twice_is_refused(tmp_path: Path, one_cache: Path) -> None:
    content = tokenizer_json("▁ab", ["a b"])
    content["model"]["merges"] *= 2
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CorpusError, match="a pair of its merges twice"):
        load(path, one_cache)


@pytest.mark.parametrize("merge", ["a c", "b b", "a  b"])
def test_a_merge_that_makes_no_token_is_refused(
    tmp_path: Path, one_cache: Path, merge: str
) -> None:
    content = tokenizer_json("▁ab", ["a b"])
    content["model"]["merges"].append(merge)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CorpusError):
        load(path, one_cache)
