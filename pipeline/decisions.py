"""What a study decided, and what was changed on the way, as Markdown beside the results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ledger.claims import Judged, Verdict
from pipeline import revisions
from pipeline.manifest import Manifest
from pipeline.study import Decision, Loaded

NAME = "decisions.md"


def markdown(run: Loaded, manifest: Manifest | None, claims: Sequence[Judged]) -> str:
    """Decisions, revisions with their differences, remedies that were applied, contradictions that
    are acknowledged. Raises ConfigError where a revision names what is not there."""
    parts = [*_head(run), *_decisions(run), *_revisions(run), *_remedies(manifest)]
    return "\n\n".join([*parts, *_claims(claims)]) + "\n"


def _head(run: Loaded) -> Iterator[str]:
    document = run.document
    yield f"# {_text(document.title or run.name)}: decisions"
    if document.question:
        yield _text(document.question)
    facts = [f"Study `{run.name}`"]
    if run.profiles:
        facts.append(f"profiles {', '.join(f'`{name}`' for name in run.profiles)}")
    if run.revision:
        facts.append(f"revision `{run.revision}`")
    if document.document:
        facts.append(f"plan: {_text(document.document)}")
    yield "; ".join(facts) + ". Written by `pipeline decisions`."


def _decisions(run: Loaded) -> Iterator[str]:
    yield "## What was decided"
    if not run.document.decisions:
        yield "The study names no decision."
    for decision in run.document.decisions:
        yield f"### {_text(decision.what)}"
        yield "\n".join(_decision(decision))


def _decision(decision: Decision) -> Iterator[str]:
    yield f"- Why: {_text(decision.why)}"
    for word, value in (
        ("In place of", decision.replaced),
        ("When", decision.when),
        ("Issue", decision.issue),
    ):
        if value:
            yield f"- {word}: {_text(str(value))}"


def _revisions(run: Loaded) -> Iterator[str]:
    if run.revisions:
        yield "## Revisions"
    for name, revision in run.revisions.items():
        before = f", from `{revision.before}`" if revision.before else ""
        yield f"### `{name}`{before}"
        if revision.summary:
            yield _text(revision.summary)
        if revision.before:
            found = revisions.difference(run.path, revision.before, name)
            rows = [
                (f"`{key}`", *map(_value, pair), _text(change.why) or "*no reason is given*")
                for change in found.changes
                for key, pair in change.keys.items()
            ]
            yield (
                _table(("key", revision.before, name, "why"), rows) if rows else "Nothing differs."
            )


def _remedies(manifest: Manifest | None) -> Iterator[str]:
    """What `resubmit --apply` changed: each patch where it is not that of the attempt before."""
    rows: list[tuple[str, ...]] = []
    for name, entry in manifest.jobs.items() if manifest else ():
        before: list[str] = []
        for attempt in entry.live():
            new = [f"`{item}`" for item in attempt.patch if item not in before]
            if new:
                when = attempt.time.partition(".")[0] + " UTC"
                rows.append((name, str(attempt.attempt), when, ", ".join(new)))
            before = attempt.patch
    yield "## Remedies that were applied"
    if rows:
        yield "Parameters that `pipeline resubmit --apply` changed for a job that had failed."
        yield _table(("job", "from attempt", "when", "changed"), rows)
    else:
        yield "None." if manifest else "None: nothing of this run was submitted yet."


def _claims(claims: Sequence[Judged]) -> Iterator[str]:
    rows = [
        (
            f"`{one.claim.id}`",
            str(one.claim.line or ""),
            *map(_text, (one.claim.says, one.claimed, one.computed, one.claim.acknowledged)),
        )
        for one in claims
        if one.verdict is Verdict.CONTRADICTS and not one.stands
    ]
    if rows:
        yield "## Contradictions of the plan that are acknowledged"
        yield _table(("claim", "line", "the plan says", "claimed", "computed", "why"), rows)


def _value(value: Any) -> str:
    return f"`{revisions.shown(value)}`".replace("|", "\\|")


def _text(text: str) -> str:
    """A study's words on one line; what Markdown would take for a table's border is escaped."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
