"""What differs between arms beyond what the study compares and what follows: must be nothing."""

import re
from collections.abc import Sequence
from typing import Any

from evaluation.files import text_digest
from evaluation.report.runs import Run
from evaluation.results import Arm

TREATMENT = ("variant",)  # what arms are meant to differ in where a study does not say
OF_LENGTH = ("updates", "samples")  # these follow from the tokenisation where text is held equal


def flat(values: Any, name: str = "") -> dict[str, Any]:
    """Nested mappings under dotted names; lists stay values."""
    if not isinstance(values, dict) or not values:
        return {name: values} if name else {}
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{name}.{key}" if name else str(key))
    return found


def nameless(value: Any, names: dict[str, str]) -> Any:
    """A value with names in its texts, as whole words, replaced: two paths that differ in the arm's
    name only become the same. `names`: name -> what stands for it."""
    if isinstance(value, list):
        return [nameless(one, names) for one in value]
    if not isinstance(value, str):
        return value
    for name in sorted((n for n in names if n), key=len, reverse=True):
        pattern = rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])"
        value = re.sub(pattern, names[name], value)
    return value


def changed(
    one: tuple[dict[str, Any], dict[str, str]], other: tuple[dict[str, Any], dict[str, str]]
) -> dict[str, tuple[Any, Any]]:
    """Key -> its two values, where they differ, and still do with names left out of account.

    Each side: parameters, and the names (name -> what stands for it) that its texts may hold.
    """
    (mine, my_names), (theirs, their_names) = one, other
    a, b = flat(mine), flat(theirs)
    keys = [*a, *(key for key in b if key not in a)]
    return {
        key: (a.get(key), b.get(key))
        for key in keys
        if a.get(key) != b.get(key)
        and nameless(a.get(key), my_names) != nameless(b.get(key), their_names)
    }


def names_of(run: Run) -> dict[str, str]:
    """The words that stand for an arm in its paths and titles."""
    return {run.arm: "<arm>", run.run: "<arm>"}


def treatment_of(key: str, treatment: Sequence[str]) -> str:
    """Which of the parameters or sections that the arms are meant to differ in holds a key; empty
    where none does."""
    return next((one for one in treatment if key == one or key.startswith(f"{one}.")), "")


def properties(run: Run, arm: Arm | None) -> dict[str, Any]:
    """What must be the same of two arms, by name; None where it is not known."""
    made = arm.made if arm else {}
    model = made.get("lm_eval") or {}
    return {
        "seed": run.parameters.get("seed"),
        "seed of the preprocessing": run.data.get("seed"),
        "documents": run.data.get("documents"),
        "text (digest of the chunks)": _short(run.data.get("text")),
        "bytes of text": run.data.get("bytes"),
        "examples (digest)": _short(
            run.identity.get("data.train") or run.identity.get("examples")
        ),
        "tokenizer (digest)": _short(run.data.get("tokenizer")),
        "updates": run.status.get("step"),
        "samples": run.status.get("consumed_samples"),
        "end of training": run.status.get("state"),
        "parameters of the model": run.status.get("parameters"),
        "precision": run.status.get("precision"),
        "device": run.status.get("device"),
        "torch": run.status.get("torch"),
        "items (digest of their ids)": _items(arm),
        "scoring (digest)": _short(text_digest(str(made["scoring"])) if "scoring" in made else ""),
        "lm-eval": model.get("version") if isinstance(model, dict) else None,
        "held-out text (digest)": _short((arm.heldout if arm else {}).get("heldout_text_sha256")),
    }


def consequences(run: Run) -> dict[str, float | None]:
    """What follows from the tokenisation, at the number of tokens that each arm learned from."""
    tokens, size = run.data.get("tokens"), run.data.get("bytes")
    return {
        "tokens learned from": run.tokens,
        "tokens in the corpus": tokens,
        "tokens a byte of text": tokens / size if tokens and size else None,
        "epochs": run.epochs,
        "bytes of text read": run.text_bytes,
    }


def _items(arm: Arm | None) -> str | None:
    if arm is None or not arm.answers:
        return None
    ids = {name: own.ids for name, own in arm.answers.items() if "@" not in name}
    return text_digest(str(sorted(ids.items())))[:12]


def _short(digest: Any) -> str | None:
    return str(digest)[:12] if digest else None


def fairness(
    runs: list[Run], arms: list[Arm], baseline: str, treatment: Sequence[str] = TREATMENT
) -> dict[str, Any]:
    """`differing`: what differs and should not, in words, which must be empty; `meant`: the
    parameters that are compared (`treatment` names them or their sections); `equal`: what the arms
    read the same of, tokens or text, and `budget`, what they were to read the same of;
    `properties` and `consequences` by arm."""
    results = {arm.id: arm for arm in arms}
    base = next((run for run in runs if run.arm == baseline), runs[0]) if runs else None
    budget = budget_of(base) if base else ""
    found: dict[str, Any] = {
        "differing": [], "meant": [], "budget": budget,
        "properties": {run.arm: properties(run, results.get(run.arm)) for run in runs},
        "consequences": {run.arm: consequences(run) for run in runs},
    }  # fmt: skip
    for run in runs:
        if base is not None and run is not base:
            differing, meant = _against(run, base, found["properties"], treatment)
            found["differing"] += differing
            found["meant"] = list(dict.fromkeys([*found["meant"], *meant]))
    found["equal"] = _equal(runs)
    if found["equal"] and found["equal"] != budget:
        found["differing"].append(
            f"the study holds {budget} equal, but {found['equal']} are equal between the runs"
        )
    return found


def _against(
    run: Run, base: Run, known: dict[str, dict[str, Any]], treatment: Sequence[str]
) -> tuple[list[str], list[str]]:
    """What differs between an arm and the baseline and should not, and what is meant to."""
    differing, meant = [], []
    mine, theirs = (run.parameters, names_of(run)), (base.parameters, names_of(base))
    for key, (own, other) in changed(mine, theirs).items():
        if treatment_of(key, treatment):
            meant.append(key)
        else:
            differing.append(f"{key}: {run.arm} {own!r}, {base.arm} {other!r}")
    for name, own in known[run.arm].items():
        other = known[base.arm][name]
        follows = budget_of(base) == "text" and name in OF_LENGTH
        if own is not None and other is not None and own != other and not follows:
            differing.append(f"{name}: {run.arm} {own}, {base.arm} {other}")
    return differing, meant


def budget_of(run: Run) -> str:
    """What the study holds equal between its arms: tokens or text."""
    return str((run.parameters.get("train") or {}).get("budget", "tokens"))


def _equal(runs: list[Run]) -> str:
    """What the arms read the same of: tokens; text, to a hundredth; empty where neither is known
    to be equal."""
    tokens = [run.tokens for run in runs if run.tokens is not None]
    read = [run.text_bytes for run in runs if run.text_bytes is not None]
    if len(runs) < 2:
        return ""
    if len(tokens) == len(runs) and len(set(tokens)) == 1:
        return "tokens"
    return "text" if len(read) == len(runs) and max(read) <= 1.01 * min(read) else ""
