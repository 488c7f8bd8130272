"""Check data/lexicon/affixed.tsv against the rules and write what is derived from it.

    python scripts/update_lexicon.py                  # check, write morphemes.tsv, print counts
    python scripts/update_lexicon.py --frequencies    # write frequency.tsv too, needs wordfreq

frequency.tsv comes from the `wordfreq` package (pip install wordfreq==3.1.1) and only changes with
its version or with new forms.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from evaluation.affixer import derive, objection, parse_affix  # noqa: E402
from evaluation.config import InputError, guarded  # noqa: E402
from evaluation.files import write_text  # noqa: E402
from evaluation.lexicon import LEXICON, Word, by_root, load_lexicon  # noqa: E402

AFFIXES = ROOT / "data" / "affixes" / "prefix.txt"
MORPHEMES_HEADER = "form\tsegmentation\troot\tstem\tgloss"
NO_BOUNDARY = frozenset({"substitution", "syncope", "metathesis", "irregular"})
# Forms that these would cut otherwise are the commoner affix's: kinakain is k-in-a-kain.
RARE = frozenset({"kina-", "ikina-", "ini-", "maki-", "naki-", "magsi-", "nagsi-"})
LANGUAGE, VERSION = "fil", "3.1.1"


def main(argv: list[str] | None = None) -> int:
    """Run the program; a wrong row is told on stderr and gives the exit code 65."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frequencies", action="store_true", help="write frequency.tsv")
    flags = parser.parse_args(argv)
    return guarded(lambda: update(LEXICON.parent, frequencies=flags.frequencies))


def update(folder: Path, *, frequencies: bool) -> int:
    """Check the lexicon in a folder, write the derived files beside it, print the counts."""
    words = load_lexicon(folder / LEXICON.name)
    check(words)
    rows = morpheme_rows(words)
    _write(folder / "morphemes.tsv", MORPHEMES_HEADER, rows)
    if frequencies:
        _write(folder / "frequency.tsv", "form\tzipf", frequency_rows(words))
    print(f"{len(words)} forms of {len(by_root(words))} roots, {len(rows)} of them segmented")
    for title, counts in (
        ("kind", Counter(word.kind for word in words)),
        ("rule", Counter(rule for word in words for rule in word.rules)),
        ("affix", Counter(word.affix for word in words)),
    ):
        print(f"by {title}: " + ", ".join(f"{name} {n}" for name, n in counts.most_common()))
    return 0


def check(words: Iterable[Word]) -> None:
    """Raises InputError with every row that the rules do not derive as it says."""
    wrong = [
        said
        for word in words
        if (said := objection(word.form, word.root, word.affix, word.segments, word.rules))
    ]
    if wrong:
        raise InputError("the lexicon disagrees with the rules: " + "; ".join(wrong), "Correct it")


def morpheme_rows(words: list[Word]) -> list[tuple[str, ...]]:
    """The words whose boundaries are certain: form, segmentation, root, stem, gloss.

    Left out are words where a letter belongs to two morphemes or is lost, copies of a whole root,
    prefixes that data/affixes does not list, and forms that another affix on the same root cuts
    elsewhere (makakain: maka-kain, ma-ka-kain).
    """
    prefixes = {name.rstrip("-") for name in AFFIXES.read_text(encoding="utf-8").split()} | {"i"}
    cuts = _cuts(words)
    rows: list[tuple[str, ...]] = []
    for word in words:
        affix = parse_affix(word.affix)
        if affix.copy == "R" or not NO_BOUNDARY.isdisjoint(word.rules):
            continue
        if affix.prefix and not _known(affix.prefix, word.segments, prefixes):
            continue
        if len(cuts[word.form]) == 1:
            rows.append((word.form, "-".join(word.segments), word.root, _stem(word), word.gloss))
    return rows


def _known(prefix: str, segments: tuple[str, ...], listed: set[str]) -> bool:
    """Whether the prefix is listed as it is spelled here, whole or in the two that it is cut into.

    An assimilated prefix may be a letter shorter than its name: kasim- of kasing-.
    """
    first = segments[0]
    if first not in listed or first[0] != prefix[0]:
        return False
    return len(first) >= len(prefix) - 1 or prefix[len(first) :] in listed


def _cuts(words: Iterable[Word]) -> dict[str, set[tuple[str, ...]]]:
    """For each form the segmentations that the lexicon's affixes, less the rare, give its root."""
    words = list(words)
    affixes = sorted({word.affix for word in words} - RARE)
    cuts: dict[str, set[tuple[str, ...]]] = {word.form: {word.segments} for word in words}
    for root, forms in by_root(words).items():
        own = {word.form for word in forms}
        for affix in affixes:
            for found in derive(root, affix):
                if found.form in own:
                    cuts[found.form].add(found.segments)
    return cuts


def _stem(word: Word) -> str:
    """The root as it is spelled in the form."""
    for found in derive(word.root, word.affix):
        if (found.form, found.segments) == (word.form, word.segments):
            return found.stem
    return word.root


def frequency_rows(words: list[Word]) -> list[tuple[str, str]]:
    """Form and Zipf frequency of the words that wordfreq's list holds as one entry."""
    try:
        import wordfreq
    except ImportError as error:
        raise InputError(
            "--frequencies needs the package wordfreq", f"pip install wordfreq=={VERSION}"
        ) from error
    known: dict[str, float] = wordfreq.get_frequency_dict(LANGUAGE)
    return [
        (word.form, f"{wordfreq.freq_to_zipf(known[word.form]):.2f}")
        for word in words
        if word.form in known
    ]


def _write(path: Path, header: str, rows: Iterable[tuple[str, ...]]) -> None:
    write_text(path, "".join(line + "\n" for line in (header, *("\t".join(row) for row in rows))))


if __name__ == "__main__":
    sys.exit(main())
