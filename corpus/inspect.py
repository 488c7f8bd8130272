"""Look at what preprocessing wrote: its figures, its documents with their token boundaries.

Nothing is loaded whole: the index and the ids are mapped, and what concerns all tokens is counted
block by block.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from corpus.compare import Comparison, Side, compare
from corpus.dataset import Dataset
from corpus.errors import CorpusError, Parser, UsageError, run
from corpus.figures import Morphology, choose, corpus_alignment, report, samples
from corpus.morphology import (
    AFFIXES,
    MORPHEMES,
    affix_coverage,
    load_morphemes,
    tokenizer_alignment,
)
from corpus.spelling import Spelling
from corpus.tokenizers import load_tokenizer

_PROGRAM = "pipeline inspect"  # which runs this module, see pipeline/cli.py


class TextsDiffer(CorpusError):
    """Two sets that should hold the same text do not."""

    exit_code = 1


def _main(argv: Sequence[str] | None) -> None:
    flags = _parser().parse_intermixed_args(argv)
    if flags.sample < 0:
        raise UsageError(f"--sample is {flags.sample}. Give 0 or more.")
    if flags.compare:
        _compare(flags)
    elif flags.morphology:
        _morphology(flags)
    else:
        _report(flags)


def _report(flags: Any) -> None:
    side = _side(_prefixes(flags, 1)[0], flags)
    wanted = _documents(len(side.dataset), flags)
    found = report(*side)
    if flags.json:
        _print_json({**msgspec.to_builtins(found, str_keys=True),
                     "samples": msgspec.to_builtins(samples(side, wanted))})
        return
    from corpus import excerpts, view

    view.report(found)
    excerpts.show([side], wanted, whole=flags.document is not None)


def _compare(flags: Any) -> None:
    a, b = (_side(prefix, flags) for prefix in _prefixes(flags, 2))
    if flags.morphology:
        raise UsageError("--compare tells the morphological figures of both. Leave --morphology "
                         "away.")
    common = min(len(a.dataset), len(b.dataset))
    wanted = _documents(common, flags)
    found = compare(a, b, load_morphemes(flags.lexicon))
    if found.difference and flags.document is None:
        wanted = [found.difference.document] if found.difference.document < common else []
    if flags.json:
        _print_json({**msgspec.to_builtins(found),
                     "samples_a": msgspec.to_builtins(samples(a, wanted)),
                     "samples_b": msgspec.to_builtins(samples(b, wanted))})
    else:
        from corpus import excerpts, view

        view.comparison(found)
        excerpts.show([a, b], wanted, whole=flags.document is not None)
    if found.difference:
        raise TextsDiffer(_what_differs(found))


def _what_differs(found: Comparison) -> str:
    assert found.difference
    return (f"{found.a} and {found.b} do not hold the same text; the first difference is in "
            f"document {found.difference.document}. Make both from the same chunks.")


def _morphology(flags: Any) -> None:
    prefixes = _prefixes(flags, 0 if flags.tokenizer and not flags.prefixes else 1)
    lexicon = load_morphemes(flags.lexicon)
    if prefixes:
        dataset, spelling = _side(prefixes[0], flags)
        of_set = corpus_alignment(dataset, spelling, lexicon)
    else:
        tokenizer = load_tokenizer(flags.tokenizer)
        spelling, of_set = Spelling(tokenizer), None
    found = Morphology(
        str(flags.lexicon), len(lexicon.words), tokenizer_alignment(lexicon, spelling), of_set,
        affix_coverage(flags.affixes, spelling.tokenizer))
    if flags.json:
        _print_json(msgspec.to_builtins(found))
        return
    from corpus import view

    view.morphology(found)


def _side(prefix: Path, flags: Any) -> Side:
    dataset = Dataset(prefix)
    return Side(dataset, dataset.spelling(flags.tokenizer))


def _prefixes(flags: Any, count: int) -> list[Path]:
    """The prefixes, which must be `count`; a .bin or .idx that the shell completed is its set."""
    if len(flags.prefixes) != count:
        wanted = ("no prefix", "one prefix", "two prefixes, A and B")[count]
        raise UsageError(f"Give {wanted}, not {len(flags.prefixes)}. See `{_PROGRAM} --help`.")
    return [prefix.with_suffix("") if prefix.suffix in (".bin", ".idx", ".json") else prefix
            for prefix in flags.prefixes]


def _documents(count: int, flags: Any) -> list[int]:
    if flags.document is None:
        return choose(count, flags.sample, flags.seed)
    if not 0 <= flags.document < count:
        raise UsageError(f"there is no document {flags.document}; there are {count}, counted from "
                         "0. Give one of these with --document.")
    return [flags.document]


def _print_json(value: dict[str, Any]) -> None:
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _parser() -> Parser:
    parser = Parser(prog=_PROGRAM, description="Look at a preprocessed set.")
    parser.add_argument("prefixes", nargs="*", type=Path, metavar="PREFIX",
                        help="a chunk, a merged set or a set of chunks, without .bin")
    parser.add_argument("--compare", action="store_true", help="compare two sets, A and B")
    parser.add_argument("--morphology", action="store_true",
                        help="agreement with morpheme boundaries")
    parser.add_argument("--tokenizer", type=Path, metavar="DIR",
                        help="the tokenizer (default: what the sidecar names, or one nearby)")
    parser.add_argument("--sample", type=int, default=3, metavar="N",
                        help="documents to show (default: 3)")
    parser.add_argument("--document", type=int, metavar="I",
                        help="show all of this document, from 0, instead")
    parser.add_argument("--seed", type=int, default=0, metavar="S",
                        help="chooses the documents (default: 0)")
    parser.add_argument("--lexicon", type=Path, default=MORPHEMES, metavar="FILE",
                        help="annotated words (default: data/lexicon/morphemes.tsv)")
    parser.add_argument("--affixes", type=Path, default=AFFIXES, metavar="DIR",
                        help="lists of affixes (default: data/affixes)")
    parser.add_argument("--json", action="store_true", help="print JSON (docs/inspect.md)")
    return parser


def _print(argv: Sequence[str] | None) -> None:
    try:
        _main(argv)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(_print, argv)


if __name__ == "__main__":
    sys.exit(main())
