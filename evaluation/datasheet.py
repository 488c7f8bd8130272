"""The datasheet beside the benchmark files: DATASHEET.md for people, datasheet.json for programs.

Its questions are those of Gebru and others, Datasheets for Datasets (2021), as far as items
that a program made from a word list can answer them. Neither file holds a time or a path of the
machine: the same settings and lexicon give the same bytes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.contamination import LONGEST, Findings
from evaluation.files import sha256, write_json, write_text
from evaluation.generation import RESERVED, Asked, Settings, divide
from evaluation.groups import LEVEL_TITLES
from evaluation.lexicon import load_lexicon
from evaluation.makers.question import OPTIONS

FORMAT = 2
SOURCES = {
    "pacute": "Categories and sizes follow PACUTE (Montalan and others, 2026, arXiv:2606.15144; "
    "1,040 tasks in the repository of this study when its plan was written).",
    "hierarchical": "Six levels after the same repository's hierarchical benchmark, about 200 "
    "tasks a level.",
    "cute": "Tasks after CUTE (Edman, Schmid and Fraser, EMNLP 2024). Word tasks run over rows of "
    "roots, not sentences; yes-or-no questions became choices among four; the task on meanings is "
    "left out.",
    "langgame": "Six kinds after LangGame of StochasTok (Sims and others, 2025, arXiv:2506.01687) "
    "on Filipino words, and two children's games, syllables reversed and G-language.",
    "addition": "Multi-digit addition after StochasTok, two to five digits.",
}
LICENCE = "CC0 1.0 (public domain dedication), as the lexicon that they are made from"
LIMITS = (
    "No native speaker has reviewed the prompts or the lexicon; it was written from general "
    "knowledge of the language.",
    "Items are this project's own: figures are not comparable with those that other item sets of "
    "the same names gave.",
    "Items share words and roots, so that they are not independent: `word` is there to draw whole "
    "words in a bootstrap.",
    "A question's two languages and two modes are one task asked four times.",
    "A form is asked for only where the rules give it one spelling: words with d and r, with a "
    "nasal that takes a consonant's place or with a lost vowel are asked for their roots alone. An "
    "affix with a variant (-han, pam-) is no answer, and no word is divided whose division depends "
    "on convention.",
)


def summary(
    settings: Settings,
    asked: Mapping[str, Sequence[Asked]],
    files: Sequence[Path],
    findings: Findings | None,
) -> dict[str, Any]:
    """What datasheet.json holds."""
    lexicon = load_lexicon(settings.lexicon)
    examples = {word.root for word in divide(lexicon)[1]}
    return {
        "format": FORMAT,
        "seed": settings.seed,
        "languages": settings.languages,
        "shots": settings.shots,
        "licence": LICENCE,
        "lexicon": {
            "file": settings.lexicon.name,
            "sha256": sha256(settings.lexicon),
            "words": len(lexicon),
            "roots": len({word.root for word in lexicon}),
            "roots_in_examples_only": len(examples),
        },
        "files": {path.name: sha256(path) for path in files},
        "groups": {
            group: {"source": SOURCES[group], "parts": _parts(questions)}
            for group, questions in asked.items()
        },
        "contamination": None if findings is None else _contamination(findings),
    }


def _parts(questions: Sequence[Asked]) -> dict[str, dict[str, Any]]:
    """Of each part its questions, kinds, different words, and how often each place is right."""
    parts: dict[str, list[Asked]] = {}
    for asked in questions:
        parts.setdefault(asked.part, []).append(asked)
    return {
        part: {
            "questions": len(own),
            "kinds": dict(Counter(asked.kind for asked in own)),
            "words": len({asked.question.word for asked in own} - {""}),
            "positions": [sum(a.position == place for a in own) for place in range(OPTIONS)],
        }
        for part, own in parts.items()
    }


def _contamination(findings: Findings) -> dict[str, Any]:
    return {
        "corpus": findings.corpus,
        "sha256": findings.sha256,
        "documents": findings.documents,
        "words": findings.words,
        "longest_ngram": LONGEST,
        "items": findings.items,
        "flagged": len(findings.flagged),
        "by_kind": findings.by_kind(),
        "flagged_items": findings.flagged,
    }


def write(output: Path, told: Mapping[str, Any]) -> list[Path]:
    """Write both files; returns their paths."""
    paths = [output / "DATASHEET.md", output / "datasheet.json"]
    write_text(paths[0], page(told))
    write_json(paths[1], told)
    return paths


def page(told: Mapping[str, Any]) -> str:
    """DATASHEET.md."""
    lexicon, languages = told["lexicon"], told["languages"]
    per = len(languages) * 2
    total = sum(p["questions"] for g in told["groups"].values() for p in g["parts"].values())
    lines = [
        "# Datasheet of the benchmarks",
        "",
        f"{total:,} questions, each asked in {' and '.join(languages)}, as multiple choice "
        f"(`<group>_mcq.jsonl`, four options) and to be answered freely (`<group>_gen.jsonl`): "
        f"{total * per:,} items. `python -m evaluation.benchmarks` made them from "
        f"`{lexicon['file']}` with seed {told['seed']}; the same seed, sizes and lexicon give the "
        "same bytes. `docs/benchmarks.md` describes the fields.",
        "",
        "## Counts",
        "",
        "| group | part | questions | kinds | words | right option at 1, 2, 3, 4 |",
        "|---|---|--:|---|--:|---|",
    ]
    for group, about in told["groups"].items():
        for part, own in about["parts"].items():
            kinds = ", ".join(f"{kind} {count}" for kind, count in own["kinds"].items())
            name = f"{part} ({LEVEL_TITLES[part]})" if part in LEVEL_TITLES else part
            places = ", ".join(map(str, own["positions"]))
            cells = (group, name, own["questions"], kinds, own["words"] or "", places)
            lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "## Sources", ""]
    lines += [f"- {group}: {about['source']}" for group, about in told["groups"].items()]
    lines += [
        f"- Words: `{lexicon['file']}`, {lexicon['words']:,} affixed words of {lexicon['roots']:,} "
        f"roots, SHA-256 `{lexicon['sha256']}`.",
        "",
        "## How the items were made",
        "",
        "- A program wrote question, answer and wrong options by rule; no text was collected and "
        "no person is described.",
        f"- {told['shots']} examples of the same kind and language stand before each question. "
        f"Their roots, {lexicon['roots_in_examples_only']} of {lexicon['roots']:,} (about "
        f"{RESERVED:.0%}), are asked about nowhere.",
        "- Wrong options are other words of the root, misplaced affixes, neighbouring letters, "
        "cuts moved by one letter; none is another right answer (evaluation/makers says how).",
        "",
        "## Licence",
        "",
        f"{told['licence']}.",
        "",
        "## Contamination",
        "",
        *_contamination_lines(told["contamination"]),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in LIMITS),
        "",
        "## Files",
        "",
        "| file | SHA-256 |",
        "|---|---|",
        *(f"| {name} | `{digest}` |" for name, digest in told["files"].items()),
    ]
    return "\n".join(lines) + "\n"


def _contamination_lines(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return ["Not checked: no training corpus was given (`benchmark.corpus`, `--corpus`)."]
    kinds = "; ".join(f"{kind}: {count}" for kind, count in found["by_kind"].items())
    return [
        f"`{found['corpus']}` ({found['documents']:,} documents, {found['words']:,} words, SHA-256 "
        f"`{found['sha256']}`) was searched for each question in each language: for its content, "
        "which is what it has in quotation marks and then its answer, as one n-gram of words "
        f"(n up to {found['longest_ngram']}; lower-case, without punctuation), and for the "
        "question verbatim. The template's words are no part of the content.",
        "",
        f"{found['flagged']:,} of {found['items']:,} flagged"
        + (f" ({kinds})" if kinds else "")
        + ". An n of 2 or 3 can stand in a text by chance. datasheet.json names the items. None "
        "was taken out.",
    ]
