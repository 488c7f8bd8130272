"""Syllables of a Filipino word by its spelling.

After the Komisyon sa Wikang Filipino's orthography (Ortograpiyang Pambansa, 2014, on pagpapantig):

- Every vowel is the heart of one syllable: ta-o, ka-in, a-la-a-la.
- Of consonants between two vowels, one goes to the right (ba-hay); of two, one to each side
  (buk-sa, sob-re, lib-ro); of three, two to the left (eks-per-to, trans-por-tas-yon), unless the
  last two can start a syllable, as they do in tem-plo, sen-tro and tim-bre: then one stays; of four
  and more, all but two to the left (eks-plo-si-bo, eks-tra).
- What can start a syllable is a stop or f with l or r behind it, and ts. The orthography names bl,
  br, dr, pl and tr after m and n only; the others follow dictionaries (kom-pro-mi-so, mi-nis-tro,
  in-dus-tri-ya, mar-tsa) and let a prefix stand apart from a root (mag-tra-ba-ho).
- `ng` is one consonant, as are ñ and every other letter: pang-li-nis, ka-ngi-ti-an.
- A hyphen is a boundary: mag-a-ral, a-raw-a-raw.

Stress is not written and plays no part. Nor are glottal stops written, so that words which differ
only in one (tung-o) cannot be told apart; nor what a cluster at a root's start does between vowels
(`shows_syllables`).
"""

import re
from itertools import pairwise

_LETTERS = re.compile(r"ng|.")
_VOWELS = frozenset("aeiou")
_ONSETS = frozenset(
    {first + second for first in "bdfgkpt" for second in "lr"} - {"dl", "tl"} | {"ts"}
)


def syllables(word: str) -> list[str]:
    """The syllables of a lower-case word, in order; their concatenation is the word less hyphens.

    Raises ValueError for a part without a vowel, which is no syllable.
    """
    return [syllable for part in word.split("-") for syllable in _part(part)]


def shows_syllables(form: str, root: str) -> bool:
    """Whether `syllables` can be trusted with a form of this root.

    Not where two consonants start the root and stand behind a vowel: of nagtatrabaho the rules of
    spelling make nag-tat-ra-ba-ho, though the root stays whole in speech.
    """
    cluster = re.match(r"(?:ng|[^aeiou]){2,}", root)
    if not cluster or re.fullmatch(r"ng", cluster.group()):
        return True
    at = form.find(cluster.group(), 1)
    return at < 0 or form[at - 1] not in _VOWELS


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
    if len(cluster) == 3 and "".join(cluster[1:]) not in _ONSETS:
        return 2
    return len(cluster) - 2
