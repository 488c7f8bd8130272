"""The report's sections in their order: words, tables and figures of each."""

from dataclasses import dataclass, field
from typing import Any

from evaluation.report import account, content
from evaluation.report.drawing import Figure
from evaluation.report.tables import Table

METHODS = (
    "Shares are of items; intervals are percentile bootstraps over questions (10,000 resamples, "
    "all arms on the same ones), since a question is asked in several languages; Wilson's over "
    "questions where all answers are right or all wrong.",
    "McNemar's test is exact, over questions: had each question's difference between the arms the "
    "other sign as likely, how often would their sum lie as far from zero? With one answer a "
    "question that is McNemar's own. The bootstrap test counts resampled differences that lie as "
    "far from the observed one as that lies from zero. Both are two-sided, both corrected by Holm "
    "within their table. Primary is what the study's expectations name, or else whole benchmarks; "
    "the rest is exploratory.",
)


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what stands under it; what is None is left away."""

    key: str
    title: str
    text: list[str] = field(default_factory=list)
    tables: list[Table | None] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)

    @property
    def shown(self) -> list[Table]:
        """The tables that there are."""
        return [table for table in self.tables if table]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.text or self.shown or self.figures)


@dataclass(frozen=True, slots=True)
class Material:
    """All that a report is made of."""

    comparison: dict[str, Any]
    fairness: dict[str, Any]
    figures: list[Figure]
    cost: Table | None
    provenance: Table
    boundaries: Table | None
    others: list[Table | None]

    def of(self, *keys: str) -> list[Figure]:
        """The figures with these keys, in their order; `matrix_` stands for all that start so."""
        return [
            figure
            for key in keys
            for figure in self.figures
            if figure.key == key or (key.endswith("_") and figure.key.startswith(key))
        ]


def sections(material: Material) -> list[Section]:
    """Those with something in them: first the answer, last what it rests on."""
    m, found = material, material.comparison
    several = len(found["details"]["arms"]) > 1
    made = [
        Section("answer", "What was found", answer(found), [content.expectations(found)],
                m.of("effects", "expected")),
        Section("accuracy", "Accuracy", [], [_accuracy(found)], m.of("categories", "levels")),
        Section("tests", "Tests", [], [content.tests(found, "primary")]),
        Section("levels", "Level 2 and what builds on it", _cascade(found),
                [content.levels(found), content.cascade(found)], m.of("cascade")),
        Section("heldout", "Held-out text and morphemes", [], [m.boundaries],
                m.of("bits_per_byte")),
        Section("runs", "Runs and metrics", [], m.others, m.of("matrix_")),
        Section("checkpoints", "Over training", [], [content.checkpoints(found)],
                m.of("checkpoints_")),
        Section("training", "Training", [], [], m.of("loss", "validation", "learning_rate")),
        Section("fairness", "Fairness", _fairness(m.fairness) if several else [],
                [account.consequences(m.fairness),
                 account.properties(m.fairness) if several else None]),
        Section("cost", "Cost", [], [m.cost]),
        Section("limits", "What the numbers cannot say", found["notes"], [account.sizes(found)]),
        Section("more", "Languages and further tests", [],
                [content.by_language(found), content.tests(found, "exploratory")]),
        Section("provenance", "Provenance", list(METHODS) if _accuracy(found) else [],
                [m.provenance]),
    ]  # fmt: skip
    return [section for section in made if not section.empty]


def _accuracy(comparison: dict[str, Any]) -> Table | None:
    table = content.figures(comparison)
    return table if table.rows else None


def answer(comparison: dict[str, Any]) -> list[str]:
    """A sentence for each primary test, in the words of the table."""
    details = comparison["details"]
    said = {(one["arm"], one["metric"]): one for one in details["expectations"]}
    lines = []
    for test in details["tests"]:
        if test["family"] != "primary":
            continue
        state = "a difference was found" if test["found"] else "no difference was found"
        line = (
            f"{test['arm']} against {details['baseline']} on {content.title(test['metric'])}: "
            f"{test['points']:+.1f} pp, 95 % {content.span(test['interval95'], '+')}; {state} "
            f"(McNemar's exact p {content.probability(test['mcnemar'])}, after Holm "
            f"{content.probability(test['mcnemar_holm'])})."
        )
        if expected := said.get((test["arm"], test["metric"])):
            line += f" The result is {_place(expected['verdict'])} the expected range."
        lines.append(line)
    return lines


def _place(verdict: str) -> str:
    return {"missing": "missing from"}.get(verdict, verdict)


def _cascade(comparison: dict[str, Any]) -> list[str]:
    details = comparison["details"]
    if not details["levels"]:
        return []
    if details["cascade"]:
        return [
            "Conditional accuracy: items at levels 3-5 are split by whether the arm answered all "
            "level-2 items on the same root, in the same language and mode, rightly. It shows "
            "where right answers go together; words that are easy at every level do that too, so "
            "it does not show that one causes the other. Intervals draw roots."
        ]
    return [
        "Too few items at levels 3-5 share a root with level 2 (or the records name no words), so "
        "accuracies of the levels stand side by side instead."
    ]


def _fairness(found: dict[str, Any]) -> list[str]:
    lines = []
    if found["meant"]:
        lines.append(f"The arms are meant to differ in: {', '.join(found['meant'])}.")
    if found["differing"]:
        lines.append(
            "Differences beyond what the study compares, which make the comparison unfair:"
        )
        lines += found["differing"]
    elif found["properties"]:
        lines.append(
            "Nothing that is known differs between the arms beyond what the study compares and "
            "what follows from it."
        )
    if found["equal"]:
        lines.append(f"Held equal between the arms: {found['equal']}.")
    return lines
