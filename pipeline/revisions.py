"""Named configurations of a study: in what two of them differ, and why.

The values are those of the two resolved configurations; a study's `revisions` hold reasons only, so
that no value is typed twice. Keys are written as `--set` takes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pipeline import study
from pipeline.errors import ConfigError
from pipeline.study import PLAIN, Loaded, Reason
from pipeline.yamlio import flatten, merge, nearest

UNSET = msgspec.UNSET  # where a key is on one side only
Pair = tuple[Any, Any]


class Change(msgspec.Struct, frozen=True):
    """Keys that differ for one reason: both values of each. `why` is empty where none is given."""

    keys: dict[str, Pair]
    why: str = ""


class Difference(msgspec.Struct, frozen=True):
    """Two configurations of one study, by the names that they were asked for."""

    study: str
    one: str
    other: str
    changes: tuple[Change, ...]

    @property
    def keys(self) -> dict[str, Pair]:
        """Every key that differs."""
        return {key: pair for change in self.changes for key, pair in change.keys.items()}


def difference(path: Path, one: str, other: str) -> Difference:
    """All that differs from one configuration of a study to another, with the reasons that lie
    between them. A name is a revision, a profile (or `a+b`), or `study`. Raises ConfigError."""
    plain = study.load(path)
    sides = [load(plain, name) for name in (one, other)]
    pairs = pairs_of(*sides)
    steps = _between(plain, sides[0].profiles, sides[1].profiles)
    return Difference(plain.name, one or PLAIN, other or PLAIN, tuple(_explained(pairs, steps)))


def load(plain: Loaded, name: str) -> Loaded:
    """A configuration by its name. Raises ConfigError with the valid names."""
    profiles, existing = plain.profiles_of(name), plain.document.profiles
    if unknown := [profile for profile in profiles if profile not in existing]:
        known = (*plain.revisions, *existing, PLAIN)
        raise ConfigError(
            [f"{plain.path}: no revision or profile is called {unknown[0]!r}; "
             f"{nearest(unknown[0], known)}"]
        )  # fmt: skip
    return study.load(plain.path, profiles) if profiles else plain


def check(plain: Loaded) -> None:
    """Raises ConfigError with every reason that explains nothing, and every name that is none.

    What the file says counts, under whatever profiles it was loaded."""
    problems: list[str] = []
    plain = study.load(plain.path)
    for name, revision in plain.revisions.items():
        where = f"{plain.path}: revisions.{name}"
        try:
            after = load(plain, name)
            before = load(plain, revision.before) if revision.before else None
        except ConfigError as error:
            problems += [f"{where}: {problem}" for problem in error.problems]
            continue
        if before is None:
            if revision.changes:
                problems.append(f"{where}.from: missing. Say what `changes` changed")
            continue
        pairs = pairs_of(before, after)
        taken = {owner for key in pairs if (owner := _owner(key, revision.changes))}
        problems += [
            f"{where}.changes[{i}].key: {key!r} does not differ between {revision.before} and "
            f"{name}; {nearest(key, pairs)}. Correct it or remove it"
            for i, reason in enumerate(revision.changes)
            for key in reason.keys
            if (i, key) not in taken
        ]
    if problems:
        raise ConfigError(problems)


def pairs_of(one: Loaded, other: Loaded) -> dict[str, Pair]:
    """Key -> both values, of every key that differs. What differs alike for all arms, or all
    stages, stands once."""
    arms = dict.fromkeys(("", *one.arms, *other.arms))
    found = _apart("", "arms.{}.parameters.", arms, lambda s, arm: _parameters(s, arm), one, other)
    stages = dict.fromkeys(("", *one.stages, *other.stages))
    found |= _apart("resources.", "stages.{}.resources.", stages, _resources, one, other)
    rest = [flatten(_rest(side)) for side in (one, other)]
    return found | _differing(*rest)


def shown(value: Any) -> str:
    """A value as it may stand in a study, on one line."""
    if value is UNSET:
        return "(none)"
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _parameters(side: Loaded, arm: str) -> Mapping[str, Any]:
    return side.parameters(arm if arm in side.arms else "")


def _resources(side: Loaded, stage: str) -> Mapping[str, Any]:
    """What a stage asks for by the study, or any that says nothing itself."""
    overlay = side.overlay
    own = side.document.stages.get(stage, {}).get("resources", {})
    over = overlay.get("stages", {}).get(stage, {}).get("resources", {})
    return merge(side.document.resources, own, overlay.get("resources", {}), over)


def _rest(side: Loaded) -> dict[str, Any]:
    """All of arms and stages but parameters and resources."""
    overlay = side.overlay
    kept: dict[str, Any] = {}
    for part, without in (("arms", "parameters"), ("stages", "resources")):
        merged = merge(getattr(side.document, part), overlay.get(part, {}))
        kept[part] = {
            name: {key: value for key, value in child.items() if key != without}
            for name, child in merged.items()
        }
    return kept


def _apart(
    general: str, particular: str, owners: Mapping[str, None], view: Any, one: Loaded, other: Loaded
) -> dict[str, Pair]:  # fmt: skip
    """Differences of one mapping a side and owner; an owner's only where they are its own."""
    common: dict[str, Pair] = {}
    found: dict[str, Pair] = {}
    for owner in owners:
        pairs = _differing(flatten(view(one, owner)), flatten(view(other, owner)))
        if not owner:
            common = pairs
        prefix = particular.format(owner) if owner else general
        found |= {f"{prefix}{k}": p for k, p in pairs.items() if not owner or common.get(k) != p}
    return found


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Pair]:
    keys = dict.fromkeys((*one, *other))
    pairs = {key: (one.get(key, UNSET), other.get(key, UNSET)) for key in keys}
    return {key: (a, b) for key, (a, b) in pairs.items() if type(a) is not type(b) or a != b}


def _between(
    plain: Loaded, one: tuple[str, ...], other: tuple[str, ...]
) -> list[Sequence[Reason]]:  # fmt: skip
    """The reasons of each revision on the way from one configuration to the other, or back."""
    for start, end in ((one, other), (other, one)):
        steps: list[Sequence[Reason]] = []
        seen: set[tuple[str, ...]] = set()
        while end != start and end not in seen:
            seen.add(end)
            own = (r for n, r in plain.revisions.items() if plain.profiles_of(n) == end)
            revision = next(own, None)
            if revision is None or not revision.before:
                break
            steps.insert(0, revision.changes)
            end = plain.profiles_of(revision.before)
        if end == start:
            return steps
    return []


def _explained(
    pairs: Mapping[str, Pair], steps: Sequence[Sequence[Reason]]
) -> Iterator[Change]:  # fmt: skip
    """The differences by their reasons, in the reasons' order; those without any together, last.
    Of several steps a key has the reasons of each."""
    groups: dict[tuple[tuple[int, int], ...], dict[str, Pair]] = {}
    for key, pair in pairs.items():
        owners = [(step, _owner(key, reasons)) for step, reasons in enumerate(steps)]
        group = tuple((step, owner[0]) for step, owner in owners if owner)
        groups.setdefault(group, {})[key] = pair
    for group in sorted(filter(None, groups)):
        why = "; then: ".join(steps[step][reason].why for step, reason in group)
        yield Change(groups[group], why)
    if () in groups:
        yield Change(groups[()])


def _owner(key: str, reasons: Sequence[Reason]) -> tuple[int, str] | None:
    """The reason that names a key most closely: its place, and the name that it is given there.
    A parameter of an arm also goes by the parameter's own name."""
    names = [key]
    if key.startswith("arms.") and ".parameters." in key:
        names.append(key.partition(".parameters.")[2])
    found = [
        (len(name) - len(given), i, given)
        for i, reason in enumerate(reasons)
        for given in reason.keys
        for name in names
        if name == given or name.startswith(f"{given}.")
    ]
    return min(found)[1:] if found else None
