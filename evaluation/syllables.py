"""Syllables of a Filipino word by its spelling.

After the Komisyon sa Wikang Filipino's orthography (Ortograpiyang Pambansa, 2014, on pagpapantig):
every vowel is the heart of one syllable (ta-o, ka-in); of consonants between two vowels,
one goes to the right (ba-hay); of two, one to each side (buk-sa, sob-re); of three, two to the left
(eks-per-to) unless the first is m or n and the others are bl, br, dr, pl or tr (tim-bre, sen-tro);
of four, two to each side (eks-plo-si-bo). `ng` is one consonant. A hyphen is a boundary. Glottal
stops are not written, so that words which differ only in one (tung-o) cannot be told apart.
"""

import re
from itertools import pairwise

_LETTERS = re.compile(r"ng|.")
_VOWELS = frozenset("aeiou")
_PAIRS = frozenset({"bl", "br", "dr", "pl", "tr"})


def syllables(word: str) -> list[str]:
    """The syllables of a lower-case word, in order; their concatenation is the word less hyphens.

    Raises ValueError for a part without a vowel, which is no syllable.
    """
    return [syllable for part in word.split("-") for syllable in _part(part)]


def _part(part: str) -> list[str]:
    letters: list[str] = _LETTERS.findall(part)
    hearts = [i for i, letter in enumerate(letters) if letter in _VOWELS]
    if not hearts:
        raise ValueError(f"{part!r} has no vowel")
    cuts = [0]
    for left, right in pairwise(hearts):
        cuts.append(left + 1 + _kept_left(letters[left + 1 : right]))
    cuts.append(len(letters))
    return ["".join(letters[a:b]) for a, b in pairwise(cuts)]


def _kept_left(cluster: list[str]) -> int:
    """How many of the consonants between two vowels close the left syllable."""
    if len(cluster) < 3:
        return len(cluster) // 2
    if len(cluster) == 3 and cluster[0] in {"m", "n"} and "".join(cluster[1:]) in _PAIRS:
        return 1
    return 2
