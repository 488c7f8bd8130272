"""A tokenizer as arrays, for the kernels: what `corpus.kernels` knows of a vocabulary.

Strings are *spellings*: a space is one byte, 0x20, in place of the tokenizer's mark (U+2581), all
else is UTF-8. Pairs that merge, with their order, come from the file itself: the merges of a
tokenizer.json, or all pairs of pieces that spell a piece of a SentencePiece BPE model, which merges
the pair whose piece has the best score. Whether the kernels' ids are the library's is not taken on
trust: the file's settings must be the ones that `corpus.kernels.encode` is right for, and a few
hundred hard texts must give the same ids. Where not, `slow` says why.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from corpus import jit
from corpus.errors import CorpusError
from corpus.files import atomic, sha256_file
from corpus.merges import Merges, read_merges
from corpus.tokenizers import Tokenizer, load_tokenizer, tokenizer_file

_log = logging.getLogger(__name__)
_VERSION = 2  # raised when the tables of the same file become others
_MOST_TOKENS, _MOST_RANKS = 1 << 20, (1 << 24) - 1
_ONES = np.iinfo(np.uint64).max


class About(msgspec.Struct, frozen=True):
    """What is no array: how spaces are marked, and why the library has to encode, or ""."""

    mark: str
    slow: str
    prefix_space: bool  # a text is encoded as if a space stood before it
    vocab_size: int
    full_size: int


class Vocabulary(msgspec.Struct, frozen=True):
    """`tables` is a `corpus.kernels.tables.Tables`."""

    about: About
    tables: Any
    path: Path

    def spelling(self, token: int) -> bytes:
        """The spelling of a token."""
        starts = self.tables.piece_starts
        return bytes(self.tables.piece_bytes[starts[token] : starts[token + 1]].tobytes())

    def find(self, spellings: set[bytes]) -> NDArray[np.uint8]:
        """Mark the tokens, atoms left out, that are spelled like one of these: shape (V,)."""
        starts, blob = self.tables.piece_starts, self.tables.piece_bytes
        lengths = np.diff(starts)
        found = np.zeros(len(lengths), np.uint8)
        for length in {len(spelling) for spelling in spellings if spelling}:
            tokens = np.flatnonzero((lengths == length) & (self.tables.atoms == 0))
            places = starts[tokens][:, None] + np.arange(length)
            rows = blob[places].view(f"S{length}").ravel()
            wanted = [spelling for spelling in spellings if len(spelling) == length]
            found[tokens[np.isin(rows, np.array(wanted, f"S{length}"))]] = 1
        return found


def load(path: Path, directory: Path, digest: str = "") -> Vocabulary:
    """The vocabulary of a tokenizer file or directory, from `directory` if it is kept there.

    `digest` is the file's SHA-256 where it is known. Raises CorpusError if there is no tokenizer or
    its vocabulary is beyond what the tables hold (2**20 tokens).
    """
    jit.use(directory)
    path = tokenizer_file(path)
    kept = directory / f"tables-{(digest or sha256_file(path))[:24]}-v{_VERSION}.npy"
    found = _read(kept)
    if found is None:
        with jit.one_at_a_time():  # of many tasks one builds, and compiles what that needs
            found = _read(kept)
            if found is None:
                vocabulary = build(path)
                _keep(vocabulary, kept)
                return vocabulary
    about, arrays = found
    return Vocabulary(about, _tables(arrays), path)


def build(path: Path) -> Vocabulary:
    """Read a tokenizer file and check its kernels against its library."""
    merges = read_merges(path)
    library = load_tokenizer(path)
    tables = _with_stable(_tables(tabulate(merges)))
    about = About(merges.mark, merges.slow, merges.prefix_space, library.vocab_size,
                  library.full_size)
    vocabulary = Vocabulary(about, tables, path)
    if about.slow or not (fault := _differs(vocabulary, library)):
        return vocabulary
    slow = f"the kernels and the library disagree on {fault!r}"
    return Vocabulary(msgspec.structs.replace(about, slow=slow), tables, path)


def tabulate(merges: Merges) -> dict[str, NDArray[Any]]:
    """All arrays of `Tables` but `characters`, of which only the code points and ids are kept."""
    from corpus.kernels.tables import NO_RANK, fill_pairs

    size = len(merges.spellings)
    if size > _MOST_TOKENS or len(merges.results) > _MOST_RANKS:
        raise CorpusError(f"the vocabulary has {size} tokens and {len(merges.results)} merges; at "
                          f"most {_MOST_TOKENS} and {_MOST_RANKS} are supported.")
    lengths = np.fromiter(map(len, merges.spellings), np.int64, size)
    points, ids = _characters(merges)
    bits = max(int(len(merges.left) * 1.9).bit_length(), 8)
    pairs = np.full(1 << bits, _ONES, np.uint64)
    if not fill_pairs(pairs, merges.left, merges.right, merges.ranks):
        raise CorpusError("the tokenizer lists a pair of its merges twice. Fetch it again.")
    assert NO_RANK > _MOST_RANKS - 1
    atoms = np.zeros(size, np.uint8)
    atoms[list(merges.atoms)] = 1
    atoms[_unspellable(merges, points)] = 1
    added = np.zeros(size, np.uint8)
    added[[token for token in merges.added.values() if token >= 0]] = 1
    return {
        "points": points, "point_ids": ids, "byte_ids": merges.byte_ids,
        "ascii_pairs": _ascii_pairs(merges, points, ids), "pairs": pairs,
        "merged": merges.results,
        "piece_starts": np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        "piece_bytes": np.frombuffer(b"".join(merges.spellings), np.uint8).copy(),
        "atoms": atoms, "added": added, "stable": np.zeros(size, np.uint8),
        **_splits(merges, atoms), **_trie(merges), **_places(merges),
    }


def _tables(arrays: dict[str, NDArray[Any]]) -> Any:
    from corpus.kernels.tables import Tables

    characters = np.full(0x110000, -1, np.int32)
    characters[arrays["points"]] = arrays["point_ids"]
    return Tables(characters, *(arrays[name] for name in Tables._fields[1:]))


def _with_stable(tables: Any) -> Any:
    from corpus.kernels.bpe import mark_stable
    from corpus.kernels.tables import new_scratch

    longest = int(np.diff(tables.piece_starts).max(initial=0))
    mark_stable(tables, new_scratch(longest + 1), tables.stable, np.empty(longest + 1, np.int32))
    return tables


def _keep(vocabulary: Vocabulary, path: Path) -> None:
    """Write all arrays to one file, as numpy's `.npy` one after another from multiples of 64 on."""
    arrays = vocabulary.tables._asdict()
    characters = arrays.pop("characters")
    points = np.flatnonzero(characters >= 0)
    about = np.frombuffer(msgspec.json.encode(vocabulary.about), np.uint8)
    try:
        with atomic(path) as file:
            for array in (about, points, characters[points], *arrays.values()):
                np.lib.format.write_array(file, array, (1, 0), allow_pickle=False)
                file.write(bytes(-file.tell() % 64))
    except OSError as fault:  # a full disk or quota: only the next task is slower for it
        _log.warning("%s: the tables are not kept (%s)", path.parent, fault.strerror)


def _read(path: Path) -> tuple[About, dict[str, NDArray[Any]]] | None:
    """Map what `_keep` wrote; None where it is missing or not whole."""
    try:
        return _map(path)
    except (OSError, ValueError, msgspec.DecodeError):
        return None


def _map(path: Path) -> tuple[About, dict[str, NDArray[Any]]]:
    from corpus.kernels.tables import Tables

    found, at = [], 0
    with path.open("rb") as file:
        # Private: to numba, arrays that cannot be written are of another type.
        data = np.asarray(np.memmap(file, np.uint8, "c"))
        while at < len(data):
            file.seek(at)
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            start, size = file.tell(), dtype.itemsize * int(np.prod(shape))
            if start + size > len(data):
                raise ValueError(f"{path} is cut off")
            found.append(data[start : start + size].view(dtype))
            at = start + size + -(start + size) % 64
    names = ("points", "point_ids", *Tables._fields[1:])
    arrays = dict(zip(names, found[1:], strict=True))
    # The one that is read at random is copied, to memory that comes in large pages.
    arrays["pairs"] = np.array(arrays["pairs"])
    return msgspec.json.decode(found[0].tobytes(), type=About), arrays


def _characters(merges: Merges) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Code points that are tokens by themselves, and these tokens."""
    found = {}
    for token, spelling in enumerate(merges.spellings):
        if len(spelling) <= 4 and token not in merges.atoms:
            text = spelling.decode()
            if len(text) == 1:
                found[ord(text)] = token
    points = np.fromiter(found, np.int64, len(found))
    return points, np.fromiter(found.values(), np.int32, len(found))


def _unspellable(merges: Merges, points: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tokens with a character that is no token: no merge makes them, and no cut of them is one."""
    text = b"".join(merges.spellings).decode()
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    sizes = np.fromiter((len(spelling.decode()) for spelling in merges.spellings), np.int64,
                        len(merges.spellings))
    known = np.zeros(0x110000, bool)
    known[points] = True
    tokens = np.repeat(np.arange(len(sizes)), sizes)
    return np.unique(tokens[~known[codes]])


def _ascii_pairs(merges: Merges, points: NDArray[np.int64],
                 ids: NDArray[np.int32]) -> NDArray[np.int32]:
    from corpus.kernels.tables import NO_RANK

    letters = np.full(len(merges.spellings), -1, np.int64)
    letters[ids[points < 128]] = points[points < 128]
    left, right = letters[merges.left], letters[merges.right]
    both = (left >= 0) & (right >= 0)
    ranks = np.full(128 * 128, NO_RANK, np.int32)
    ranks[left[both] << 7 | right[both]] = merges.ranks[both]
    return ranks


def _splits(merges: Merges, atoms: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """For each token the pairs that make it, in the order of their ranks; atoms take no part."""
    made = merges.results[merges.ranks]
    kept = np.flatnonzero((atoms[merges.left] | atoms[merges.right] | atoms[made]) == 0)
    kept = kept[np.argsort(made[kept], kind="stable")]
    counts = np.bincount(made[kept], minlength=len(atoms))
    return {"split_starts": np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
            "split_left": merges.left[kept], "split_right": merges.right[kept]}


def _trie(merges: Merges) -> dict[str, NDArray[Any]]:
    child, sibling, byte, token = [-1], [-1], [0], [-1]
    for content, added in merges.added.items():
        node = 0
        for value in content.encode():
            found = child[node]
            while found >= 0 and byte[found] != value:
                found = sibling[found]
            if found < 0:
                found = len(child)
                child.append(-1)
                sibling.append(child[node])
                byte.append(value)
                token.append(-1)
                child[node] = found
            node = found
        token[node] = added
    return {"trie_child": np.array(child, np.int32), "trie_next": np.array(sibling, np.int32),
            "trie_byte": np.array(byte, np.uint8), "trie_token": np.array(token, np.int32)}


def _places(merges: Merges) -> dict[str, NDArray[Any]]:
    """Which bytes may begin a word or an added token, and after which no word may begin."""
    classes, joined = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
    mark = np.frombuffer(merges.mark.encode(), np.uint8).copy()
    if merges.mark:
        classes[0x20], classes[mark[0]] = 1, 2
        for spelling in merges.spellings:
            at = spelling.find(b" ", 1)
            while at > 0:
                joined[spelling[at - 1]] = 1
                at = spelling.find(b" ", at + 1)
        joined[mark[-1]] |= joined[0x20]  # the same character, as it may stand in a text
    for content in merges.added:
        classes[content.encode()[0]] = 2
    return {"classes": classes, "joined": joined, "mark": mark}


def _differs(vocabulary: Vocabulary, library: Tokenizer) -> str:
    """A text that the kernels encode otherwise than the library, or ""."""
    from corpus.text_encoder import TextEncoder

    encoder = TextEncoder(vocabulary)
    for text in _probes(vocabulary):
        if not np.array_equal(encoder.encode([text.encode()])[0], library.encode(text)):
            return text[:80]
    return ""


def _probes(vocabulary: Vocabulary) -> Iterator[str]:
    yield from ("a", " ", "  a  b ", "\n\n\n a\t\tb\r\n", "▁", "a▁ ▁▁b", "x> </y>",
                "漢字 😀é\u0301", "<eos> <s></s><0x0A>[UNK]", "\x01\x7f\u2028\ufeff", "aaaa" * 300,
                "ab " * 300, "Nagsásalitâ, 1,234.50%!?", "́́", "=" * 70)
    random, spell = Random(0), vocabulary.spelling
    size = len(vocabulary.tables.atoms)
    for _ in range(400):
        tokens = [random.randrange(size) for _ in range(random.randint(1, 12))]
        text = b"".join(map(spell, tokens)).decode()
        yield text if text else " "
