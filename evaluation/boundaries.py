"""How the tokens of a tokenizer, and those that an arm was trained on, agree with morphemes.

Of a word let M be the boundaries between its morphemes, as numbers of letters before them, and T
those between its tokens; a hyphen is no letter. Summed over all occurrences of listed words:
precision = |T & M| / |T|, recall = |T & M| / |M|, f1 = 2 |T & M| / (|T| + |M|); `kept` is the share
of occurrences where T holds all of M, `fertility` tokens a word. A word that is one token has no
boundary, and counts as missed. (Boundaries as units: Kurimo et al., "Unsupervised segmentation of
words into morphemes", 2006.)
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from evaluation.config import InputError
from evaluation.documents import Ids as Array
from evaluation.tokenizer import Tokenizer

MORPHEMES = Path(__file__).resolve().parent.parent / "data" / "lexicon" / "morphemes.tsv"
Ids = Sequence[int] | Array
_WORD = re.compile(rb"(?<![\w\x80-\xff])[a-z]+(?:-[a-z]+)*(?![\w\x80-\xff])")


def load_morphemes(path: Path = MORPHEMES) -> dict[str, frozenset[int]]:
    """The morpheme boundaries of each listed word, as numbers of letters before them.

    Raises InputError for a missing file, and for segments that do not spell their form.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(
            f"the morphemes {path} cannot be read ({error.strerror})", "Restore the file"
        ) from error
    heading = lines[0].split("\t") if lines else []
    if not {"form", "segmentation"} <= set(heading):
        raise InputError(f"{path} has no columns form and segmentation", "Restore the file")
    words = {}
    for number, line in enumerate(lines[1:], start=2):
        row = dict(zip(heading, line.split("\t"), strict=False))
        form, segments = row["form"], row.get("segmentation", "").split("-")
        if "".join(segments) != form.replace("-", ""):
            raise InputError(f"{path}:{number}: the segments do not spell {form}", "Correct them")
        words[form] = frozenset(itertools.accumulate(map(len, segments[:-1])))
    return words


def tokenizer_boundaries(tokenizer: Tokenizer, words: dict[str, frozenset[int]]) -> dict[str, Any]:
    """The module's figures for each listed word once, as it stands behind a space."""
    return _figures(_occurrences(tokenizer, (tokenizer.encode(f"a {word}") for word in words),
                                 words))  # fmt: skip


def text_boundaries(
    tokenizer: Tokenizer, documents: Iterable[Ids], words: dict[str, frozenset[int]]
) -> dict[str, Any]:
    """The module's figures for the listed words in documents, cut as the documents' ids are."""
    return _figures(_occurrences(tokenizer, documents, words))


Occurrence = tuple[str, frozenset[int], frozenset[int], int]  # form, M, T, tokens


def _occurrences(
    tokenizer: Tokenizer, documents: Iterable[Ids], words: dict[str, frozenset[int]]
) -> Iterable[Occurrence]:
    for ids in documents:
        spelled = [tokenizer.pieces.spell(int(token)) for token in ids]
        text = b"".join(spelled)
        ends = set(itertools.accumulate(map(len, spelled)))
        for found in _WORD.finditer(text.lower()):
            form = found[0].decode()
            if form in words:
                start, stop = found.span()
                places = [at - start for at in range(start + 1, stop) if at in ends]
                letters = frozenset(len(form[:place].replace("-", "")) for place in places)
                yield form, words[form], letters, len(places) + 1


def _figures(occurrences: Iterable[Occurrence]) -> dict[str, Any]:
    """Sums over all occurrences; None where there is nothing to divide by."""
    met: set[str] = set()
    count = hits = cuts = morphemes = kept = tokens = 0
    for form, wanted, found, pieces in occurrences:
        met.add(form)
        count += 1
        hits += len(found & wanted)
        cuts += len(found)
        morphemes += len(wanted)
        kept += wanted <= found
        tokens += pieces

    def share(part: int, whole: int) -> float | None:
        return round(part / whole, 6) if whole else None

    return {
        "words": len(met),
        "occurrences": count,
        "precision": share(hits, cuts),
        "recall": share(hits, morphemes),
        "f1": share(2 * hits, cuts + morphemes),
        "kept": share(kept, count),
        "fertility": share(tokens, count),
    }
