"""How much of a reference a generated text repeats: ROUGE-L and BLEU-4, each from 0 to 1.

Pure functions of text, and so the one module of this package that a trainer uses as well, to stop
by what the model writes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

ORDERS = 4


def rouge_words(text: str) -> list[str]:
    """Lower-case runs of a-z and 0-9, as ROUGE's reference implementation cuts text, without its
    optional stemmer."""
    return re.findall(r"[a-z0-9]+", text.lower())


def common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, a bit for each word of `one` at a time (Hyyro,
    Bit-parallel LCS-length computation revisited, 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(one)) - 1
    row = full
    for word in other:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & full
    return len(one) - row.bit_count()


def rouge_l(told: str, reference: str, cut: Callable[[str], list[str]] = rouge_words) -> float:
    """F1 of the longest common subsequence (Lin 2004, section 3, of sentences); 0 for no words.
    `cut` makes words: the reference's way drops letters with accents."""
    one, other = cut(told), cut(reference)
    common = common_subsequence(one, other)
    return 2 * common / (len(one) + len(other)) if common else 0.0


def mean_rouge_l(told: Sequence[str], references: Sequence[str]) -> float:
    """The mean of rouge_l over pairs; 0 without any."""
    scores = [rouge_l(one, other) for one, other in zip(told, references, strict=True)]
    return sum(scores) / len(scores) if scores else 0.0


_APART = (
    (re.compile(r"([{-~\[-` -&(-+:-@/])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),  # no part of a number
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
_NAMED = {"&quot;": '"', "&amp;": "&", "&lt;": "<", "&gt;": ">"}


def bleu_words(text: str) -> list[str]:
    """Words as the WMT's mteval-v13a cuts them: punctuation apart, case kept."""
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for name, sign in _NAMED.items():
        text = text.replace(name, sign)
    text = f" {text} "
    for pattern, apart in _APART:
        text = pattern.sub(apart, text)
    return text.split()


def ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    """How often each run of `order` words occurs."""
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))


def corpus_bleu(told: Sequence[str], references: Sequence[str]) -> float:
    """BLEU with up to four words over a whole corpus, a reference each (Papineni et al. 2002).

    An order without any match counts as 1/2, then 1/4 ... of one match, as mteval-v13a does (Chen
    and Cherry 2014, method 3); without a single word in common it is 0.
    """
    matches, totals = [0] * ORDERS, [0] * ORDERS
    length = reference_length = 0
    for one, other in zip(told, references, strict=True):
        words, wanted = bleu_words(one), bleu_words(other)
        length, reference_length = length + len(words), reference_length + len(wanted)
        for order in range(ORDERS):
            have, known = ngrams(words, order + 1), ngrams(wanted, order + 1)
            matches[order] += sum((have & known).values())
            totals[order] += sum(have.values())
    if not any(matches) or not all(totals):
        return 0.0
    logs, halved = 0.0, 1
    for matched, total in zip(matches, totals, strict=True):
        if not matched:
            halved *= 2
        logs += math.log(matched / total if matched else 1 / (halved * total))
    brevity = min(1.0, math.exp(1 - reference_length / length))
    return brevity * math.exp(logs / ORDERS)
