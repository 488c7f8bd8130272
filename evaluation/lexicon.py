"""The lexicon of affixed Filipino words, loaded and indexed.

The columns are described in data/lexicon/README.md. That each row follows the rules of
evaluation/affixer.py is for `affixer.objection` to say: scripts/update_lexicon.py asks it of all
rows, loading does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from evaluation.affixer import EXCEPTIONS, KINDS, RULES, Kind, kind_of
from evaluation.config import InputError
from evaluation.syllables import shows_syllables

HEADER = ["form", "root", "affix", "kind", "segmentation", "rules", "gloss"]
NO_RULE = "-"
LEXICON = Path(__file__).resolve().parent.parent / "data" / "lexicon" / "affixed.tsv"
FREQUENCY_HEADER = ["form", "zipf"]


@dataclass(frozen=True, slots=True)
class Word:
    """One affixed word.

    `affix` as it is shown: mag-, -um-, -an, ka- -an, -um- CV-; `gloss` the root's; `segments`
    spell the form less its hyphens; `rules` are those of affixer.RULES that changed a letter;
    `zipf` is log10 of occurrences in a thousand million words, None where the frequency list has
    not the word.
    """

    form: str
    root: str
    affix: str
    kind: Kind
    gloss: str
    segments: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    zipf: float | None = None

    @property
    def regular(self) -> bool:
        """Whether the rules alone give the form: no syncope, nothing irregular."""
        return EXCEPTIONS.isdisjoint(self.rules)

    @property
    def splittable(self) -> bool:
        """Whether the form's spelling alone shows its syllables."""
        return shows_syllables(self.form, self.root)


def load_lexicon(path: Path = LEXICON) -> list[Word]:
    """The words in the file's order, with frequencies where frequency.tsv lies beside it.

    Raises InputError for a missing file, a row of another shape, segments that do not spell the
    form, or a form that stands twice (its root would be ambiguous).
    """
    frequencies = load_frequencies(path.with_name("frequency.tsv"))
    words, seen = [], set[str]()
    for number, line in enumerate(_rows(path, HEADER), start=2):
        word = _parse(line, f"{path}:{number}", frequencies)
        if word.form in seen:
            raise InputError(f"{path}:{number}: {word.form} stands twice", "Keep one analysis")
        seen.add(word.form)
        words.append(word)
    return words


def load_frequencies(path: Path) -> dict[str, float]:
    """Zipf frequencies by form; none where there is no such file. Raises InputError as above."""
    if not path.exists():
        return {}
    found = {}
    for number, line in enumerate(_rows(path, FREQUENCY_HEADER), start=2):
        form, _, value = line.partition("\t")
        try:
            found[form] = float(value)
        except ValueError as error:
            raise InputError(f"{path}:{number}: {value!r} is no number", "Restore it") from error
    return found


def _rows(path: Path, header: list[str]) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(
            f"the lexicon {path} cannot be read ({error.strerror})", "Restore it from the project"
        ) from error
    if not lines or lines[0].split("\t") != header:
        raise InputError(f"{path} lacks its heading {' '.join(header)}", "Restore it")
    return lines[1:]


def _parse(line: str, where: str, frequencies: dict[str, float]) -> Word:
    cells = line.split("\t")
    if len(cells) != len(HEADER) or not all(cells):
        raise InputError(f"{where}: {len(cells)} columns, not {len(HEADER)}", "Correct the row")
    form, root, affix, kind, segmentation, named, gloss = cells
    try:
        right = kind_of(affix)
    except ValueError as error:
        raise InputError(f"{where}: {error}", "Write it as the README says") from error
    if kind != right:
        raise InputError(f"{where}: {affix} is no {kind}", f"Kinds are {', '.join(KINDS)}")
    segments = tuple(segmentation.split("-"))
    rules = () if named == NO_RULE else tuple(named.split(","))
    if "".join(segments) != form.replace("-", ""):
        raise InputError(f"{where}: {segmentation} does not spell {form}", "Correct the row")
    if unknown := [rule for rule in rules if rule not in RULES]:
        raise InputError(f"{where}: {unknown[0]} is no rule", f"Rules are {', '.join(RULES)}")
    return Word(form, root, affix, right, gloss, segments, rules, frequencies.get(form))


def by_root(words: Iterable[Word]) -> dict[str, list[Word]]:
    """The words of each root, both in the lexicon's order."""
    table: dict[str, list[Word]] = {}
    for word in words:
        table.setdefault(word.root, []).append(word)
    return table
