"""How a Filipino (Tagalog) root takes an affix: every spelling that the rules allow.

An affix is written as the lexicon shows it, its parts apart by spaces, in this order: a prefix
(`mag-`), an infix (`-um-`), a copy of the root (`CV-` its first consonant and vowel, `R-` the whole
root), a suffix (`-an`). So `-um- CV-` makes kumakain, `ka- -an` kabataan, `i- -in-` isinulat.

Rules, and the names by which the lexicon's rows tell which of them changed a letter:

- A prefix that ends in a consonant takes a hyphen before a vowel: mag-aral [O].
- An infix stands before the first vowel: k-um-ain, um-alis. In a borrowed root that starts with two
  consonants it may stand between them too: gr-um-aduwet, g-um-raduwet (`cluster`) [S, R].
- The copy is the first consonant and the first vowel; stress plays no part in spelling. Of two
  consonants at the root's start the first is copied, or both: nagta-trabaho, nagtra-trabaho
  (`cluster`) [O, S].
- `assimilation`: the ng of pang-, mang-, kasing- and the like is m before b and p, n before d, l,
  r, s and t: pambansa, panlinis [O, S]; elsewhere it stays: panggamot, pang-araw.
- `substitution`: after pang-, mang- and nang- the nasal may also take the place of the root's first
  consonant, m that of b and p, n that of d, s and t, ng that of k and of the unwritten glottal stop
  of a vowel: pamili, manulat, panguha, mangisda. Each root chooses [S, R]. The copy is made
  afterwards: mamimili, mangingisda.
- `d-r`: d between vowels may become r: marami, bayaran, dumarating; madilim keeps it [O, S].
- `o-u`, `e-i`: a suffix raises the o of the root's last syllable (tanungin), and may raise an e at
  its end (kababaihan) [O]. A double o may stay: kalooban.
- -han, -hin and -nan, -nin follow a vowel only. Whether -an or -han follows a vowel depends on an
  unwritten glottal stop (basâ: basain; bása: basahin), so both affixes attach [S].
- `final-vowel`: -ero, -era and -ista, from Spanish, take the place of a final vowel: basurero.

What single roots do, and no rule foretells (`exceptions`): `o-kept`, a borrowed root keeps its o:
lokohin, paboran. `syncope`, the root's last vowel is lost before a suffix: dalhin, buksan; n that
comes to stand before g is spelled ng (dinig: dinggin). `metathesis`, the consonants that then meet
change places: tamnan (tanim) [S, R]. `irregular` stands for the few forms that even these do not
reach: kunin (kuha).

Sources: [O] Komisyon sa Wikang Filipino, Ortograpiyang Pambansa (2014); [S] Schachter and Otanes,
Tagalog Reference Grammar (1972); [R] Ramos, Tagalog Structures (1971). Where they differ, all
spellings are given.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Literal, get_args

Kind = Literal["prefix", "infix", "suffix", "circumfix", "reduplication"]
KINDS: tuple[Kind, ...] = get_args(Kind)
RULES = (
    "assimilation",
    "substitution",
    "cluster",
    "d-r",
    "o-u",
    "e-i",
    "final-vowel",
    "o-kept",
    "syncope",
    "metathesis",
    "irregular",
)
EXCEPTIONS = frozenset({"o-kept", "syncope", "metathesis", "irregular"})
VOWELS = frozenset("aeiou")

_LETTER = re.compile("ng|.")
_FUSED = {"p": "m", "b": "m", "t": "n", "d": "n", "s": "n", "k": "ng"}
_SUBSTITUTING = frozenset(
    {
        "pang",
        "mang",
        "nang",
        "ipang",
        "ipinang",
        "pinang",
        "mapang",
        "napang",
        "makapang",
        "nakapang",
        "tagapang",
    }
)
_ASSIMILATING = _SUBSTITUTING | {"kasing", "magkasing", "sing", "sang", "labing"}
_SPANISH = frozenset({"ero", "era", "ista"})
# Prefixes that hold an infix or are two: cut further where a word is segmented.
_CUTS = {
    "ipina": ("i", "p", "in", "a"),
    "ipinag": ("i", "p", "in", "ag"),
    "pangka": ("pang", "ka"),
    "pina": ("p", "in", "a"),
    "pinag": ("p", "in", "ag"),
    "pinakama": ("pinaka", "ma"),
    "palaka": ("pala", "ka"),
    "sangka": ("sang", "ka"),
}


@dataclass(frozen=True, slots=True)
class Affix:
    """An affix's parts without hyphens, each empty where it has none; `copy` is CV, R or empty."""

    prefix: str = ""
    infix: str = ""
    copy: str = ""
    suffix: str = ""

    @property
    def kind(self) -> Kind:
        """Reduplication where it copies; circumfix where parts stand in two places."""
        if self.copy:
            return "reduplication"
        if sum(map(bool, (self.prefix, self.infix, self.suffix))) > 1:
            return "circumfix"
        return "prefix" if self.prefix else "infix" if self.infix else "suffix"


@dataclass(frozen=True, slots=True)
class Derivation:
    """One spelling of a root with an affix.

    `segments` spell the form less its hyphens; `stem` is the segment (or, around an infix, the
    segments) that stands for the root, as it is spelled here; `rules` are those that changed a
    letter, in the order of RULES. A nasal that two segments share is cut with the prefix: mam-ili,
    and with the stem as well where the copy has it: mam-i-mili.
    """

    form: str
    segments: tuple[str, ...]
    stem: str
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Stem:
    """A root as it is spelled before its suffix."""

    text: str
    rules: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Body:
    """Segments from behind the prefix up to the root's end."""

    segments: tuple[str, ...]
    stem: str
    rules: frozenset[str]


@cache
def parse_affix(text: str) -> Affix:
    """The parts of an affix as the lexicon writes it; raises ValueError for any other text."""
    parts = {"prefix": "", "infix": "", "copy": "", "suffix": ""}
    order = list(parts)
    last = -1
    for part in text.split(" "):
        name, bare = _part(part)
        if order.index(name) <= last or not bare:
            raise ValueError(f"{text!r} is no affix")
        last = order.index(name)
        parts[name] = bare
    return Affix(**parts)


def _part(text: str) -> tuple[str, str]:
    if text in {"CV-", "R-"}:
        return "copy", text[:-1]
    bare = text.strip("-")
    if not re.fullmatch("[a-z]+", bare) or text not in {f"{bare}-", f"-{bare}-", f"-{bare}"}:
        raise ValueError(f"{text!r} is no affix")
    if not text.startswith("-"):
        return "prefix", bare
    return ("infix" if text.endswith("-") else "suffix"), bare


def kind_of(affix: str) -> Kind:
    """The kind that an affix's parts show."""
    return parse_affix(affix).kind


def attach(root: str, affix: str) -> tuple[str, ...]:
    """Every spelling of root plus affix that the rules allow; one root uses only some of them.

    None where the affix cannot follow: -han after a consonant.
    """
    return tuple(dict.fromkeys(found.form for found in derive(root, affix)))


def derive(root: str, affix: str) -> list[Derivation]:
    """The spellings that `attach` gives, each with its segments and the rules that made it."""
    parts = parse_affix(affix)
    return list(_assemble(root, _stems(root, parts.suffix), parts))


def exceptions(root: str, affix: str) -> list[Derivation]:
    """The spellings by o-kept, syncope and metathesis, whether or not the root has them."""
    parts = parse_affix(affix)
    return list(_assemble(root, _irregular(root, parts.suffix), parts)) if parts.suffix else []


def explain(root: str, affix: str, form: str) -> list[Derivation]:
    """How a form comes from a root and an affix: by the rules, else as an exception."""
    regular = [found for found in derive(root, affix) if found.form == form]
    return regular or [found for found in exceptions(root, affix) if found.form == form]


def objection(
    form: str, root: str, affix: str, segments: tuple[str, ...], rules: tuple[str, ...]
) -> str | None:
    """What the rules have against an analysis of a form; None where they derive it as it is said.

    What is said to be irregular passes, unless the rules derive the form after all.
    """
    found = explain(root, affix, form)
    if not found:
        if rules == ("irregular",):
            return None
        allowed = " or ".join(attach(root, affix)) or "nothing"
        return f"{affix} + {root} gives {allowed}, not {form}"
    if any((one.segments, one.rules) == (segments, rules) for one in found):
        return None
    return f"{form} is {'-'.join(found[0].segments)} by {', '.join(found[0].rules) or 'no rule'}"


def first_vowel(word: str) -> int:
    """The index of a word's first vowel; its length where it has none."""
    return next((at for at, letter in enumerate(word) if letter in VOWELS), len(word))


def copies(root: str) -> tuple[str, ...]:
    """The copies that CV- makes of a root: one, or two where it starts with two consonants."""
    at = first_vowel(root)
    onset, vowel = _LETTER.findall(root[:at]), root[at : at + 1]
    return tuple(dict.fromkeys(("".join(onset[:1]) + vowel, "".join(onset) + vowel)))


def _assemble(root: str, stems: Iterator[_Stem], parts: Affix) -> Iterator[Derivation]:
    """Put what stands before the stem's end on each stem, then the suffix."""
    for stem in stems:
        if parts.copy == "R":
            twice = _Body((root, stem.text), stem.text, stem.rules)
            yield from _prefixed(parts, twice, "-")
            continue
        for body in _bodies(stem, parts):
            yield from _prefixed(parts, body)
        if parts.prefix in _SUBSTITUTING and not parts.infix:
            yield from _substituted(parts, stem)


def _stems(root: str, suffix: str) -> Iterator[_Stem]:
    """The regular spellings of a root before a suffix; none where the suffix cannot follow."""
    if not suffix:
        yield _Stem(root)
    elif suffix in _SPANISH:
        short = root[-1] in VOWELS
        yield _Stem(root[:-1] if short else root, frozenset({"final-vowel"} if short else ()))
    elif suffix[0] in VOWELS or root[-1] in VOWELS:
        for raised in _raised(root):
            yield from _softened(raised)


def _raised(root: str) -> Iterator[_Stem]:
    """With the o of the last syllable raised, and an e at the end as it is and raised."""
    at = max((i for i, letter in enumerate(root) if letter in VOWELS), default=-1)
    start = at - 1 if root[at - 1 : at + 1] == "oo" else at
    if at >= 0 and root[at] == "o":
        yield _Stem(root[:start] + root[start:].replace("o", "u"), frozenset({"o-u"}))
    if at < 0 or root[at] != "o" or start < at:
        yield _Stem(root)
    if root.endswith("e"):
        yield _Stem(f"{root[:-1]}i", frozenset({"e-i"}))


def _softened(stem: _Stem) -> Iterator[_Stem]:
    """As it is, and with a final d that stands between vowels as r."""
    yield stem
    if stem.text.endswith("d") and stem.text[-2:-1] in VOWELS:
        yield _Stem(f"{stem.text[:-1]}r", stem.rules | {"d-r"})


def _irregular(root: str, suffix: str) -> Iterator[_Stem]:
    """The root with its o unraised; without its last vowel; and with the consonants around that
    exchanged."""
    at = max((i for i, letter in enumerate(root) if letter in VOWELS), default=0)
    left, right = root[:at], root[at + 1 :]
    if root[at] == "o" and (suffix[0] in VOWELS or not right):
        yield _Stem(root, frozenset({"o-kept"}))
    if not left or left[-1] in VOWELS or first_vowel(left) == len(left):
        return
    if suffix[0] not in VOWELS and right:
        return
    joined = f"{left}g{right}" if left[-1] == "n" and right[:1] == "g" else left + right
    yield _Stem(joined, frozenset({"syncope"}))
    if right and left[-1] != right and not left.endswith("ng"):
        swapped = f"{left[:-1]}{right}{left[-1]}"
        yield _Stem(swapped, frozenset({"syncope", "metathesis"}))


def _bodies(stem: _Stem, parts: Affix) -> Iterator[_Body]:
    """The stem with its infix, or with its copy and an infix in that."""
    text = stem.text
    cluster = {"cluster"} if len(_LETTER.findall(text[: first_vowel(text)])) > 1 else set()
    if not parts.copy:
        for pieces in _infixed(text, parts.infix):
            rules = stem.rules | (cluster if parts.infix else set())
            yield _Body(pieces, text, rules)
        return
    for copy, (spelled, soft) in product(copies(text), _onsets(text)):
        for pieces in _infixed(copy, parts.infix):
            yield _Body((*pieces, spelled), spelled, stem.rules | cluster | soft)


def _infixed(text: str, infix: str) -> Iterator[tuple[str, ...]]:
    """The pieces around an infix, before the first vowel and between two first consonants."""
    if not infix:
        yield (text,)
        return
    onset = _LETTER.findall(text[: first_vowel(text)])
    for kept in dict.fromkeys((len(onset), min(1, len(onset)))):
        before = "".join(onset[:kept])
        yield tuple(piece for piece in (before, infix, text[len(before) :]) if piece)


def _onsets(text: str) -> Iterator[tuple[str, frozenset[str]]]:
    """A text behind a vowel: as it is, and with r for its first d."""
    yield text, frozenset()
    if text[0] == "d" and text[1:2] in VOWELS:
        yield f"r{text[1:]}", frozenset({"d-r"})


def _prefixed(parts: Affix, body: _Body, between: str = "") -> Iterator[Derivation]:
    """The prefix and the suffix put on; `between` is written before the body's last segment."""
    prefix = parts.prefix
    if not prefix:
        yield _finished((), "", body, parts.suffix, between)
    elif prefix[-1] in VOWELS:
        yield _finished(_cut(prefix), "", body, parts.suffix, between)
        for spelled, soft in list(_onsets(body.segments[0]))[1:]:
            if parts.copy == "CV" and body.stem[0] == "d":
                continue  # the copy does not change alone
            stem = spelled if len(body.segments) == 1 else body.stem
            changed = _Body((spelled, *body.segments[1:]), stem, body.rules | soft)
            yield _finished(_cut(prefix), "", changed, parts.suffix, between)
    else:
        spelled = _assimilated(prefix, body.segments[0][0]) if prefix in _ASSIMILATING else prefix
        rules = body.rules | ({"assimilation"} if spelled != prefix else set())
        hyphen = "-" if body.segments[0][0] in VOWELS else ""
        body = _Body(body.segments, body.stem, rules)
        yield _finished(_cut(spelled), hyphen, body, parts.suffix, between)


def _substituted(parts: Affix, stem: _Stem) -> Iterator[Derivation]:
    """The prefix's nasal in the place of the stem's first consonant, or of its glottal stop."""
    first = stem.text[0]
    if first in VOWELS:
        nasal, rest = "ng", stem.text
    elif first in _FUSED and stem.text[1:2] in VOWELS:
        nasal, rest = _FUSED[first], stem.text[1:]
    else:
        return
    prefix = parts.prefix[:-2] + nasal
    segments = (rest[0], nasal + rest) if parts.copy else (rest,)
    body = _Body(segments, segments[-1], stem.rules | {"substitution"})
    yield _finished((prefix,), "", body, parts.suffix)


def _assimilated(prefix: str, first: str) -> str:
    nasal = "m" if first in {"b", "p"} else "n" if first in {"d", "l", "r", "s", "t"} else "ng"
    return prefix[:-2] + nasal


def _cut(prefix: str) -> tuple[str, ...]:
    return _CUTS.get(prefix, (prefix,))


def _finished(
    prefix: tuple[str, ...], hyphen: str, body: _Body, suffix: str, between: str = ""
) -> Derivation:
    segments = (*prefix, *body.segments, *((suffix,) if suffix else ()))
    inner = "".join(body.segments[:-1]) + between + body.segments[-1]
    form = "".join(prefix) + hyphen + inner + suffix
    rules = tuple(rule for rule in RULES if rule in body.rules)
    return Derivation(form, segments, body.stem, rules)
