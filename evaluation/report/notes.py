"""What a reader must know before comparing, and what the numbers cannot say."""

from typing import Any

from evaluation.results import Arm


def notes(arms: list[Arm], details: dict[str, Any], demo: bool) -> list[str]:
    """One sentence or two each; those that hold for these results only."""
    found: list[str] = []
    if any(arm.cells for arm in arms):
        found += _accuracies(arms, details)
    if any(arm.heldout for arm in arms):
        found.append(
            "Bits per byte are lower when better. Of an arm's own tokens they are an upper bound, "
            "for a text has many tokenisations: compare arms by those of the vanilla tokens."
        )
    if len({arm.heldout.get("heldout_text_sha256") for arm in arms if arm.heldout}) > 1:
        found.append("The arms hold out different texts: their bits per byte are not comparable.")
    choices = _choices(details)
    apart = sum(not _at_chance(figures) for figures in choices)
    if details["expectations"] and (demo or (choices and not apart)):
        found.append(
            "These models are tiny or at chance: inside, below and above compare numbers, and say "
            "nothing about the study's claims."
        )
    return found


def _accuracies(arms: list[Arm], details: dict[str, Any]) -> list[str]:
    every = [f for arm in details["arms"].values() for f in arm["metrics"].values()]
    drawn = any(figures["by"] == "bootstrap" for figures in every)
    kind = (
        "Intervals at 95 % are bootstrapped over questions"
        if drawn
        else "Intervals at 95 % are Wilson's, for there are no per-sample records, and so no tests"
    )
    found = [
        "Accuracies are per cent; without a suffix of multiple choice (chance 25), with .gen of "
        f"free answers. {kind}. One training run an arm: they cover the choice of items, not the "
        "chance of training. Another seed can move an arm by more than they show."
    ]
    choices = _choices(details)
    if choices:
        apart = sum(not _at_chance(figures) for figures in choices)
        found.append(
            f"{apart} of {len(choices)} multiple-choice figures have an interval without the "
            f"chance level; about {0.05 * len(choices):.0f} would by chance alone."
        )
    left = [arm.id for arm in arms if arm.answers and _uneven(arm, arms)]
    if left:
        found.append(
            f"{', '.join(left)}: not the same items as the others; tests use the common ones only."
        )
    return found


def _choices(details: dict[str, Any]) -> list[dict[str, Any]]:
    """The multiple-choice figures of all languages together."""
    return [
        figures
        for arm in details["arms"].values()
        for name, figures in arm["metrics"].items()
        if figures["chance"] and "@" not in name
    ]


def _at_chance(figures: dict[str, Any]) -> bool:
    low, high = figures["interval95"]
    return bool(low <= figures["chance"] <= high)


def _uneven(arm: Arm, arms: list[Arm]) -> bool:
    first = next(a for a in arms if a.answers)
    return any(
        set(own.ids) != set(first.answers[name].ids)
        for name, own in arm.answers.items()
        if name in first.answers
    )
