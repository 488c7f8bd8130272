"""Filipino-like text that never repeats: the benchmarks' input, made anew from a seed.

    python -m benchmarks.corpus_text FILE --size MB [--seed N]

Roots are built of Filipino syllables; affixes of data/affixes, reduplication and infixes make words
of them. Roots and ways to affix them are drawn apart, each by a law like Zipf's, so that new words
keep coming as the text grows: 48 MB hold more than 400,000 distinct ones, more than real text of
that size does, which is hard on every cache of words. The same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

AFFIXES = Path(__file__).resolve().parents[1] / "data" / "affixes"
SHORTEST, LONGEST = 30, 10_000  # words of a document, about 50 and 20,000 tokens of Gemma 3
_PART = 256  # documents made at once
_LANGUAGE_SEED = 1521  # the language is the same for every text
_ROOTS, _ENGLISH_ROOTS = 60_000, 6_000
_VOWELS = "aaaaaiiiuuoe"
_ONSETS = [*"bkdghlmnprstwy", "ng", ""]
_CODAS = [*"bkdglmnprstwy", "ng", *[""] * 14]
_FUNCTION_WORDS = """
    ang ng sa na mga ay at si ni kay ito iyon hindi siya ako ko mo niya namin natin nila sila kami
    tayo ka may mayroon wala para kung dahil pero o din rin lang pa ba nga po opo kapag habang noong
    mula hanggang bawat isa dalawa tatlo lahat iba dito doon ngayon bukas kahapon araw gabi taon
    bahay tao bata babae lalaki salita tubig bayan mundo buhay
"""
_ENGLISH_WORDS = """
    the of and to in is that for it was on with as by at from this have are not but they which one
    school internet computer update government project office meeting phone online budget health
    weekend traffic text email video
"""
_PRODUCTIVE = "ma na mag nag pag pa ka um in an han hin nang pinaka maka syllable"
_ENGLISH_ENDINGS = ["", "", "", "s", "ed", "ing", "er", "tion", "ly", "ness"]
_RARE = [
    "😀", "🎉", "🇵🇭", "👩‍👩‍👧", "❤️", "ᜃᜓᜋᜓᜐ᜔ᜆ", "日本語", "한국어", "Ελλάδα", "Москва", "مرحبا",
    "नमस्ते", "café", "Peñafrancia", "jalapeño", "naïve", "ñ", "é", "²", "½", "€", "₱", "→", "≤",
    "∑", "“", "”", "…", "—", "\t", "\u00a0", "\u200b", "\u2581", "\U00020000", "𝔘", "\u0301",
    "<b>", "</b>", "&amp;", "#pinas", "@juan_dc", "http://balita.ph/", "C:\\bahay", "{}", "[0]"]
# What follows a word, and how often. A sentence ends with those of `_ENDS`.
_SEPARATORS = [
    " ", ", ", ". ", "? ", "! ", ".\n", ".\n\n", "; ", ": ", " - ", "-", '" ', " (", ") "]
_SHARES = [0.8655, 0.05, 0.045, 0.006, 0.005, 0.006, 0.005, 0.003, 0.003, 0.003, 0.0015, 0.003,
           0.002, 0.002]
_ENDS = [2, 3, 4, 5, 6]
# Kinds of word, and how often: Filipino, function word, English, number, rare.
_KIND_SHARES = [0.555, 0.345, 0.085, 0.013, 0.002]

Codes = NDArray[np.int64]


class Pattern(NamedTuple):
    """One way to make a word of a root."""

    prefix: str = ""
    infix: str = ""
    doubling: str = ""  # "syllable": the first consonant and vowel; "root": all of it; or neither
    suffix: str = ""

    def apply(self, root: str) -> str:
        """The word: `mag` and `aral` are `mag-aral`, `um` and `takbo` `tumakbo`."""
        vowel = next((place for place, letter in enumerate(root) if letter in "aeiou"), 0)
        stem = root
        if self.doubling == "syllable":
            stem = root[: vowel + 1] + root
        elif self.doubling == "root":
            stem = f"{root}-{root}"
        if self.infix:
            stem = stem[:vowel] + self.infix + stem[vowel:]
        if self.suffix:
            stem += ("h" if stem[-1] in "aeiou" and self.suffix[0] in "aeiou" else "") + self.suffix
        if self.prefix:
            hyphen = "-" if vowel == 0 and self.prefix[-1] not in "aeiou-" else ""
            stem = self.prefix + hyphen + stem
        return stem


class Language:
    """Roots, patterns and their frequencies: the same whatever the text's seed is."""

    def __init__(self, affixes: Path = AFFIXES) -> None:
        random = np.random.Generator(np.random.PCG64(_LANGUAGE_SEED))
        self.roots = _distinct_roots(random, _ROOTS)
        self.english = _distinct_roots(random, _ENGLISH_ROOTS)
        self.patterns = _patterns(random, affixes)
        self.root_law = _zipf(len(self.roots), 8.0, 1.2)
        self.english_law = _zipf(len(self.english), 3.0, 1.0)
        self.function_words = _FUNCTION_WORDS.split()
        self.english_words = _ENGLISH_WORDS.split()
        self.function_law = _zipf(len(self.function_words), 2.0, 1.0)
        self.pattern_law = _zipf(len(self.patterns), 0.3, 1.55)

    def draw(self, random: np.random.Generator, count: int) -> Codes:
        """Codes of `count` words, shape (count,): the kind, then what it is of that kind."""
        kind = _pick(random, np.cumsum(_KIND_SHARES), count)
        codes = np.zeros(count, np.int64)
        for number, draw in enumerate(
                (self._filipino, self._function, self._english, _number, _rare)):
            where = np.flatnonzero(kind == number)
            codes[where] = number << 56 | draw(random, len(where))
        return codes

    def _filipino(self, random: np.random.Generator, count: int) -> Codes:
        pattern = _pick(random, self.pattern_law, count)
        return pattern << 32 | _pick(random, self.root_law, count)

    def _function(self, random: np.random.Generator, count: int) -> Codes:
        return _pick(random, self.function_law, count)

    def _english(self, random: np.random.Generator, count: int) -> Codes:
        root = _pick(random, self.english_law, count)
        return root << 8 | random.integers(0, len(_ENGLISH_ENDINGS), count)

    def word(self, code: int) -> str:
        """The word of a code of `draw`."""
        kind, value = code >> 56, code & (1 << 56) - 1
        if kind == 0:
            return self.patterns[value >> 32].apply(self.roots[value & 0xFFFFFFFF])
        if kind == 1:
            return self.function_words[value]
        if kind == 2:
            root = value >> 8
            if root < len(self.english_words):
                return self.english_words[root]
            return self.english[root] + _ENGLISH_ENDINGS[value & 255]
        if kind == 3:
            return _written(value)
        return _RARE[value]


def _distinct_roots(random: np.random.Generator, count: int) -> list[str]:
    """`count` roots of one to four syllables, mostly two; the frequent ones are short."""
    found: dict[str, None] = {}
    while len(found) < count:
        batch = 4096
        syllables = 1 + _pick(random, np.array([0.02, 0.62, 0.94, 1.0]), batch)
        onset = random.integers(0, len(_ONSETS), (batch, 4)).tolist()
        vowel = random.integers(0, len(_VOWELS), (batch, 4)).tolist()
        coda = random.integers(0, len(_CODAS), (batch, 4)).tolist()
        for row, number in enumerate(syllables.tolist()):
            root = "".join(_ONSETS[onset[row][place]] + _VOWELS[vowel[row][place]]
                           + _CODAS[coda[row][place]] for place in range(number))
            if len(root) > 2:
                found[root] = None
    roots = list(found)[:count]
    short = set(sorted(roots, key=len)[: count // 40])
    return sorted(roots, key=lambda root: root not in short)


def _patterns(random: np.random.Generator, affixes: Path) -> list[Pattern]:
    """All patterns, the likeliest first: few affixes before many, productive before rare."""
    prefix, infix, suffix = ((affixes / f"{kind}.txt").read_text(encoding="utf-8").split()
                             for kind in ("prefix", "infix", "suffix"))
    every = [Pattern(first, middle, doubling, last)
             for first in ["", *prefix] for middle in ["", *infix]
             for doubling in ("", "syllable", "root") for last in ["", *suffix]
             if not (first and middle)]
    order = random.permutation(len(every)).tolist()
    productive = _PRODUCTIVE.split()
    return sorted((every[place] for place in order), key=lambda one: sum(
        1 if part in productive else 2 for part in one if part))


def _zipf(count: int, shift: float, exponent: float) -> NDArray[np.float64]:
    """Cumulative probabilities of ranks 0 ... count - 1, each as (rank + shift)**-exponent."""
    weights = (np.arange(count) + shift) ** -exponent
    return np.cumsum(weights / weights.sum())


def _pick(random: np.random.Generator, cumulative: NDArray[np.float64], count: int) -> Codes:
    """`count` ranks by their cumulative probabilities, shape (count,)."""
    ranks = np.searchsorted(cumulative, random.random(count), "right")
    return np.minimum(ranks, len(cumulative) - 1).astype(np.int64)


def _number(random: np.random.Generator, count: int) -> Codes:
    size: Codes = np.exp(random.random(count) * np.log(1e6)).astype(np.int64)
    return size << 2 | random.integers(0, 4, count)


def _written(value: int) -> str:
    number, style = value >> 2, value & 3
    if style == 0 or number < 10:
        return str(number)
    if style == 1:
        return f"{number:,}"
    return f"₱{number / 100:,.2f}" if style == 2 else f"ika-{number}"


def _rare(random: np.random.Generator, count: int) -> Codes:
    return random.integers(0, len(_RARE), count)


def documents(language: Language, seed: int, part: int) -> Iterator[str]:
    """The 256 documents of part `part` of the text of `seed`; each part is drawn by itself."""
    random = np.random.Generator(np.random.PCG64([seed, part]))
    lengths = np.exp(np.log(SHORTEST) + random.random(_PART) * np.log(LONGEST / SHORTEST))
    ends = np.cumsum(lengths.astype(np.int64))
    total = int(ends[-1])
    codes = language.draw(random, total)
    separators = _pick(random, np.cumsum(_SHARES), total)
    separators[ends - 1] = 2  # a document ends with a full stop
    capital = np.zeros(total, bool)
    capital[0] = True
    capital[1:] = np.isin(separators[:-1], _ENDS)
    capital |= random.random(total) < 0.03  # names
    keys, place = np.unique(codes << 1 | capital, return_inverse=True)
    words = [_cased(language.word(key >> 1), key & 1) for key in keys.tolist()]
    pieces = [""] * (2 * total)
    pieces[0::2] = [words[index] for index in place.tolist()]
    pieces[1::2] = [_SEPARATORS[index] for index in separators.tolist()]
    start = 0
    for end in ends.tolist():
        yield "".join(pieces[2 * start : 2 * end]).rstrip()
        start = end


def _cased(word: str, capital: int) -> str:
    return word[:1].upper() + word[1:] if capital else word


def write_text(path: Path, size: int, seed: int) -> dict[str, Any]:
    """Write at least `size` bytes of JSONL to `path`, to the end of a document; say what it holds.

    The answer has bytes, documents and sha256. An interrupted run leaves nothing at `path`.
    """
    language, written, count, digest, part = Language(), 0, 0, hashlib.sha256(), 0
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as stream:
        while written < size:
            for text in documents(language, seed, part):
                line = json.dumps({"text": text}, ensure_ascii=False).encode() + b"\n"
                stream.write(line)
                digest.update(line)
                written, count = written + len(line), count + 1
                if written >= size:
                    break
            part += 1
    os.replace(temporary, path)
    return {"bytes": written, "documents": count, "sha256": digest.hexdigest()}


def main() -> None:
    """Writes a text and prints what it holds."""
    parser = argparse.ArgumentParser(description="Write Filipino-like text as JSONL.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--size", type=float, default=48, help="MB of 10**6 bytes (default: 48)")
    parser.add_argument("--seed", type=int, default=1)
    flags = parser.parse_args()
    print(json.dumps(write_text(flags.file, int(flags.size * 1e6), flags.seed)))


if __name__ == "__main__":
    main()
