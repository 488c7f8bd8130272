"""The lexicon of affixed Filipino words, and the spelling rules by which a root takes an affix.

Rules after the Komisyon sa Wikang Filipino's orthography (Ortograpiyang Pambansa, 2014):
a prefix that ends in a consonant takes a hyphen before a vowel (mag-aral); d between vowels may
become r (ma- + dami: marami, but ma- + dilim: madilim); a suffix turns the o of a root's last
syllable into u (tanong + -in: tanungin) and may turn its final d into r (bayad + -an: bayaran); an
infix stands before the root's first vowel (k-um-ain, ng-um-iti, um-alis). Roots whose suffixed
form loses a vowel (dala + -hin: dalhin, bukas + -an: buksan) are outside these rules and
outside the lexicon.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from evaluation.config import InputError

Kind = Literal["prefix", "infix", "suffix", "circumfix"]
KINDS: tuple[Kind, ...] = get_args(Kind)
VOWELS = frozenset("aeiou")
HEADER = ["form", "root", "affix", "kind", "gloss"]
LEXICON = Path(__file__).resolve().parent.parent / "data" / "lexicon" / "affixed.tsv"


@dataclass(frozen=True, slots=True)
class Word:
    """One affixed word: `affix` as it is shown, mag-, -um-, -an or ka- -an; `gloss` the root's."""

    form: str
    root: str
    affix: str
    kind: Kind
    gloss: str


def kind_of(affix: str) -> Kind:
    """The kind that an affix's hyphens show."""
    if " " in affix:
        return "circumfix"
    if affix.startswith("-"):
        return "infix" if affix.endswith("-") else "suffix"
    return "prefix"


def attach(root: str, affix: str) -> tuple[str, ...]:
    """Every spelling of root plus affix that the rules allow; some roots use only one of them."""
    kind = kind_of(affix)
    if kind == "circumfix":
        before, after = affix.split(" ")
        return tuple(
            form for stem in attach(root, after) for form in _prefixed(stem, before.rstrip("-"))
        )
    if kind == "prefix":
        return _prefixed(root, affix.rstrip("-"))
    if kind == "suffix":
        return _suffixed(root, affix.lstrip("-"))
    at = first_vowel(root)
    return (root[:at] + affix.strip("-") + root[at:],)


def first_vowel(root: str) -> int:
    """The index of a word's first vowel; its length where it has none."""
    return next((i for i, letter in enumerate(root) if letter in VOWELS), len(root))


def _prefixed(root: str, prefix: str) -> tuple[str, ...]:
    if prefix[-1] not in VOWELS:
        return (f"{prefix}-{root}" if root[0] in VOWELS else prefix + root,)
    if root[0] == "d":
        return (prefix + root, f"{prefix}r{root[1:]}")
    return (prefix + root,)


def _suffixed(root: str, suffix: str) -> tuple[str, ...]:
    at = max(i for i, letter in enumerate(root) if letter in VOWELS)
    stem = f"{root[:at]}u{root[at + 1 :]}" if root[at] == "o" else root
    if stem.endswith("d"):
        return (stem + suffix, f"{stem[:-1]}r{suffix}")
    return (stem + suffix,)


def load_lexicon(path: Path = LEXICON) -> list[Word]:
    """The words in the file's order.

    Raises InputError for a missing file, a row of another shape, a form that the rules of `attach`
    do not allow, or a form that stands twice (its root would be ambiguous).
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(
            f"the lexicon {path} cannot be read ({error.strerror})", "Restore it from the project"
        ) from error
    if not lines or lines[0].split("\t") != HEADER:
        raise InputError(f"{path} lacks its heading {' '.join(HEADER)}", "Restore it")
    words, seen = [], set[str]()
    for number, line in enumerate(lines[1:], start=2):
        word = _parse(line, f"{path}:{number}")
        if word.form in seen:
            raise InputError(f"{path}:{number}: {word.form} stands twice", "Keep one analysis")
        seen.add(word.form)
        words.append(word)
    return words


def _parse(line: str, where: str) -> Word:
    cells = line.split("\t")
    if len(cells) != len(HEADER) or not all(cells):
        raise InputError(f"{where}: {len(cells)} columns, not {len(HEADER)}", "Correct the row")
    form, root, affix, kind, gloss = cells
    if kind not in KINDS or kind_of(affix) != kind:
        raise InputError(f"{where}: {affix} is no {kind}", f"Kinds are {', '.join(KINDS)}")
    if form not in attach(root, affix):
        allowed = " or ".join(attach(root, affix))
        raise InputError(f"{where}: {affix} + {root} gives {allowed}, not {form}", "Correct it")
    return Word(form, root, affix, kind_of(affix), gloss)


def by_root(words: Iterable[Word]) -> dict[str, list[Word]]:
    """The words of each root, both in the lexicon's order."""
    table: dict[str, list[Word]] = {}
    for word in words:
        table.setdefault(word.root, []).append(word)
    return table
