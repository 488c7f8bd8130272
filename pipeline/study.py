"""The study file: what is compared, with which parameters, through which stages.

`load` gives a frozen, checked `Study` with profiles and `--set` applied, or one ConfigError with
every problem. Precedence of a value: `--set` > profiles > stage > study > the site's `defaults`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from ledger import checks_file, claims_file
from pipeline import validate, yamlio
from pipeline.errors import ConfigError
from pipeline.kinds import KINDS
from pipeline.sections import SECTIONS
from pipeline.yamlio import flatten, merge, nearest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
MAX_STAGES = 500
MAX_JOBS = 5000  # stages x arms
MAX_WORDS = 20  # of a key that --set names
PLAIN = "study"  # what revisions call the study without profiles
OVERLAID = ("parameters", "stages", "arms", "resources")  # what profiles and --set may change

Hours = float | tuple[float, float]


class Arm(msgspec.Struct, frozen=True):
    """One of the things compared."""

    title: str = ""
    aliases: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}


class ResourceSpec(msgspec.Struct, frozen=True):
    """What a stage asks for, per node; None leaves it to the next layer."""

    nodes: int | None = None
    gpus: int | None = None
    cpus: int | None = None
    mem: str | int | None = None
    walltime: str | int | None = None
    queue: str | None = None

    def __post_init__(self) -> None:
        for key, least in (("nodes", 1), ("gpus", 0), ("cpus", 1)):
            value = getattr(self, key)
            if value is not None and value < least:
                raise ValueError(f"{key} is {value}. It must be at least {least}")
        if self.mem is not None:
            validate.parse_size(self.mem)
        if self.walltime is not None:
            validate.parse_walltime(self.walltime)


class Array(msgspec.Struct, frozen=True):
    """A job over `count` tasks, numbered from 1."""

    over: Literal["chunks", "shards", "levels", "arms", "benchmarks"]
    count: int | str  # a number, or a `${...}` that gives one
    # Tasks at a time, 0 for as many as the scheduler likes.
    throttle: Annotated[int, msgspec.Meta(ge=0)] = 0


class ChainSpec(msgspec.Struct, frozen=True):
    """A stage that is longer than one job may be: links that go on from its last checkpoint."""

    links: Annotated[int, msgspec.Meta(ge=1, le=1000)]  # the most
    # Seconds before a link's walltime is over at which it is told; Slurm counts them in 16 bits.
    notice: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    walltime: str | int | None = None  # of a link; otherwise the queue's longest

    def __post_init__(self) -> None:
        if self.walltime is not None:
            validate.parse_walltime(self.walltime)


class Stage(msgspec.Struct, frozen=True):
    """One step of a study; stage x arm is a job."""

    kind: str
    run: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    arms: Literal["all", "none"] | tuple[str, ...] = "none"
    array: Array | None = None
    chain: ChainSpec | None = None
    resources: ResourceSpec = ResourceSpec()
    inputs: tuple[str, ...] = ()  # what the user brings
    outputs: tuple[str, ...] = ()
    gate: tuple[dict[str, Any], ...] = ()
    env: Literal["", "light", "hf", "nemo"] = ""
    script: str = ""
    hours: Hours | dict[str, Hours] | None = None  # None: nobody says
    disk: dict[str, str | int] = {}  # what a job leaves there, by what it is
    reads: tuple[str, ...] = ()  # parameter sections that a `command` reads from its config file

    def needed(self) -> list[tuple[str, str]]:
        """(stage, arm) of each need: `train` is (train, ""), `preprocess:vanilla` names an arm."""
        return [(stage, arm) for stage, _, arm in (need.partition(":") for need in self.needs)]


class Profile(msgspec.Struct, frozen=True):
    """A named overlay: it changes exactly the keys that it names."""

    summary: str = ""
    resources: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    stages: dict[str, Any] = {}
    arms: dict[str, Any] = {}


class Report(msgspec.Struct, frozen=True):
    """What the report shows beside the benchmarks; docs/report.md."""

    baseline: str = ""
    metrics: tuple[str, ...] = ()
    lower: tuple[str, ...] = ()
    external: str | dict[str, dict[str, float | None]] = {}  # rows of a paper, or a file of them
    matrices: tuple[str, ...] = ()
    treatment: tuple[str, ...] = ()  # the parameters or sections that the arms are to differ in


class Budget(msgspec.Struct, frozen=True):
    """What a run may take in all; None: as much as it takes."""

    gpu_hours: float | None = None
    core_hours: float | None = None
    cost: float | None = None  # in the unit of the site's `charge`
    disk: str | int | None = None
    deadline_hours: float | None = None  # from the first submission to the last job's end
    tables: dict[str, Any] = {}  # of the study's document, free form

    def __post_init__(self) -> None:
        for key in ("gpu_hours", "core_hours", "cost", "deadline_hours"):
            value = getattr(self, key)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{key} is {value:g}. It must be 0 or more")
        if self.disk is not None:
            validate.parse_size(self.disk)


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that the plan left open, or in which the study leaves it."""

    what: str
    why: str
    replaced: str = ""  # what it took the place of
    when: str = ""
    issue: str | int = ""  # where it was talked over


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a revision changes a key, or several; one that holds others stands for all of them."""

    key: str | tuple[str, ...]
    why: str

    @property
    def keys(self) -> tuple[str, ...]:
        """The key or keys."""
        return (self.key,) if isinstance(self.key, str) else self.key


class Revision(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"before": "from"}
):  # fmt: skip
    """A configuration with a name, and why it is not the one before it."""

    summary: str = ""
    profile: str = ""  # `a+b`, or `study` for none; otherwise the profile of the revision's name
    before: str = ""  # another revision, a profile, or `study`
    changes: tuple[Reason, ...] = ()


class Study(msgspec.Struct, frozen=True):
    """A study with its overlays applied. `overlay` holds what profiles and `--set` changed."""

    study: str
    stages: dict[str, Any]
    title: str = ""
    question: str = ""
    document: str = ""
    state_dir: str = ""
    data_dir: str = ""
    results_dir: str = ""
    arms: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    resources: dict[str, Any] = {}
    profiles: dict[str, Any] = {}
    claims: tuple[dict[str, Any], ...] = ()
    expectations: tuple[dict[str, Any], ...] = ()
    decisions: tuple[Decision, ...] = ()
    revisions: dict[str, Any] = {}
    budget: Budget = Budget()
    report: Report = Report()


class Loaded(msgspec.Struct, frozen=True):
    """A checked study: what `plan` works from."""

    path: Path
    document: Study
    arms: dict[str, Arm]
    stages: dict[str, Stage]
    profiles: tuple[str, ...]
    overlay: dict[str, Any]
    revisions: dict[str, Revision] = {}

    @property
    def name(self) -> str:
        """The study's name."""
        return self.document.study

    @property
    def run_name(self) -> str:
        """The name of this run: the study's, with its profiles: `filipino-cpt@demo`."""
        return f"{self.name}@{'+'.join(self.profiles)}" if self.profiles else self.name

    @property
    def revision(self) -> str:
        """The name of this configuration in `revisions`; empty where it has none."""
        return next((n for n in self.revisions if self.profiles_of(n) == self.profiles), "")

    def profiles_of(self, name: str) -> tuple[str, ...]:
        """The profiles of a configuration: of a revision, of `a+b`, none of `study` or nothing."""
        own = self.revisions.get(name)
        words = own.profile or name if own else name
        return () if words == PLAIN else tuple(filter(None, words.split("+")))

    def directory(self, which: Literal["state", "data", "results"]) -> str:
        """A run's folder, relative to the project; one of its own under profiles."""
        top = {"state": "jobs", "data": "data", "results": "results"}[which]
        given: str = getattr(self.document, f"{which}_dir")
        if self.profiles or not given:
            return f"{top}/{self.run_name}"
        return given.rstrip("/")

    def parameters(self, arm: str) -> dict[str, Any]:
        """The parameters as an arm sees them, `${...}` not yet replaced."""
        changed = self.overlay.get("arms", {}).get(arm, {}).get("parameters", {})
        own = self.arms[arm].parameters if arm else {}
        return merge(self.document.parameters, own, self.overlay.get("parameters", {}), changed)

    def arm_id(self, name: str) -> str:
        """The id of an arm given by id or alias. Raises ConfigError with the valid names."""
        for arm_id, arm in self.arms.items():
            if name == arm_id or name in arm.aliases:
                return arm_id
        names = [n for arm_id, arm in self.arms.items() for n in (arm_id, *arm.aliases)]
        raise ConfigError([f"{self.path}: no arm is called {name!r}; {nearest(name, names)}"])

    def run_of(self, arm: str) -> str:
        """The name under which an arm's run goes: its first alias, else its id."""
        return (*self.arms[arm].aliases, arm)[0] if arm else ""

    def stage_arms(self, stage: Stage) -> tuple[str, ...]:
        """The arms of a stage's jobs; one empty name where the stage has none."""
        return _arms_of(stage, self.arms) if stage.arms != "none" else ("",)


def load(path: Path, profiles: Sequence[str] = (), sets: Sequence[str] = ()) -> Loaded:
    """Reads, overlays and checks a study file. Raises ConfigError with every problem."""
    raw = yamlio.load(path)
    problems: list[str] = []
    base = validate.build(Study, raw, "$", problems)
    known = _profiles(raw, problems)
    decided = _sets(sets, raw, problems)
    overlay = merge(_overlay(known, profiles, flatten(decided), problems), decided)
    own = {part: _mapping(raw.get(part)) for part in ("arms", "stages")}
    merged = merge(own, _only(overlay, *own))
    for part, kind in (("arms", Arm), ("stages", Stage)):
        if overlay.get(part):  # an overlay must not hide what is wrong below it
            _children(kind, own[part], part, problems)
    arms = _children(Arm, merged["arms"], "arms", problems)
    stages = _children(Stage, merged["stages"], "stages", problems)
    revisions = _children(Revision, raw.get("revisions"), "revisions", problems)
    validate.build(ResourceSpec, overlay.get("resources", {}), "resources", problems)
    validate.build(ResourceSpec, _mapping(raw.get("resources")), "resources", problems)
    if base and not problems:
        _check(base, arms, stages, problems)
    if base and base.claims:
        problems += claims_file.read(base.claims)[1]
    if base and base.expectations:
        problems += checks_file.read(base.expectations, "expectations")[1]
    validate.finish(_tidy(problems), str(path))
    if base is None:
        raise AssertionError("validate.finish raises when there are problems")
    return Loaded(path, base, arms, stages, tuple(profiles), overlay, revisions)


def under(study: Loaded, *profiles: str) -> Loaded:
    """The same study under other profiles, or none, and without `--set`. Raises ConfigError."""
    document, problems = study.document, list[str]()
    known = _profiles(msgspec.structs.asdict(document), problems)
    overlay = _overlay(known, profiles, {}, problems)
    own = {"arms": document.arms, "stages": document.stages}
    merged = merge(own, _only(overlay, *own))
    arms = _children(Arm, merged["arms"], "arms", problems)
    stages = _children(Stage, merged["stages"], "stages", problems)
    validate.finish(problems, str(study.path))
    return Loaded(study.path, document, arms, stages, profiles, overlay)


def _tidy(problems: list[str]) -> list[str]:
    return [p.removeprefix("$.").removeprefix("$: ") for p in problems]


def _only(mapping: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {k: mapping[k] for k in keys if k in mapping}


def _children(kind: type[Any], raw: Any, path: str, problems: list[str]) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for name, value in raw.items() if isinstance(raw, Mapping) else ():
        if not NAME.fullmatch(name):
            problems.append(
                f"{path}.{name}: a name is made of letters, digits, '.', '_' and '-'. Rename it"
            )
        child = validate.build(kind, value, f"{path}.{name}", problems)
        if child is not None:
            built[name] = child
    return built


def _profiles(raw: Mapping[str, Any], problems: list[str]) -> dict[str, Profile]:
    profiles = _children(Profile, raw.get("profiles", {}), "profiles", problems)
    for name, profile in profiles.items():
        for part in ("stages", "arms"):
            for child, overlay in getattr(profile, part).items():
                where = f"profiles.{name}.{part}.{child}"
                if child not in _mapping(raw.get(part)):
                    valid = nearest(child, _mapping(raw.get(part)))
                    problems.append(f"{where}: the study has none; {valid}")
                elif not isinstance(overlay, Mapping):
                    problems.append(f"{where}: expected a mapping of keys")
    return profiles


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _overlay(
    known: Mapping[str, Profile],
    names: Sequence[str],
    decided: Mapping[str, Any],
    problems: list[str],
) -> dict[str, Any]:
    """The chosen profiles, one over the other; a key that two set differently is a problem,
    unless --set decided it."""
    overlay: dict[str, Any] = {}
    setter: dict[str, tuple[str, Any]] = {}
    for name in names:
        if name not in known:
            problems.append(f"profiles: no profile is called {name!r}; {nearest(name, known)}")
            continue
        if names.count(name) > 1:
            problems.append(f"profiles: {name!r} is named twice. Name it once")
        changes = {key: getattr(known[name], key) for key in OVERLAID}
        for key, value in flatten({k: v for k, v in changes.items() if v}).items():
            for one, (other, before) in setter.items():
                apart = one != key and not _inside(one, key) and not _inside(key, one)
                if apart or (one == key and before == value) or _settled(one, key, decided):
                    continue
                problems.append(
                    f"profiles {other!r} and {name!r} both set {key}: {before!r} and {value!r}. "
                    f"Use one of them, or decide with --set {key}=..."
                )
            setter[key] = (name, value)
        overlay = merge(overlay, changes)
    return overlay


def _inside(key: str, other: str) -> bool:
    return key.startswith(f"{other}.")


def _settled(one: str, other: str, decided: Mapping[str, Any]) -> bool:
    """Whether --set gives the key that two profiles fight over, or all that it holds."""
    return any(key in (one, other) or _inside(one, key) for key in decided)


def _sets(sets: Sequence[str], raw: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """`--set batch.micro=1` as an overlay; a first word that is no study key is a section."""
    overlay: dict[str, Any] = {}
    for item in sets:
        key, equals, text = item.partition("=")
        words = key.strip().split(".")
        if not equals or not all(words) or len(words) > MAX_WORDS:
            problems.append(f"--set {item}: write it as key=value, e.g. --set batch.micro=1")
            continue
        if words[0] not in OVERLAID:
            words = ["parameters", *words]
        if len(words) < 2:
            problems.append(f"--set {item}: names a whole part of the study. Name a key in it")
            continue
        try:
            value: Any = yamlio.parse(text, f"--set {key}")
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        if words[0] != "resources" and not _has(raw, words):
            valid = _settable(raw, words)
            problems.append(f"--set {key}: the study has no such key; {nearest(key, valid)}")
            continue
        for word in reversed(words):
            value = {word: value}
        overlay = merge(overlay, value)
    return overlay


def _has(raw: Mapping[str, Any], words: Sequence[str]) -> bool:
    """Whether a --set names something: a key of the study, of an arm or of a profile, an option
    of a section that a built-in stage reads, or any key of a stage, which is checked later."""
    if words[0] == "stages":
        return len(words) > 2 and words[1] in _mapping(raw.get("stages"))
    if words[0] == "arms":
        known = len(words) > 2 and words[1] in _mapping(raw.get("arms"))
        if not known or words[2] != "parameters" or len(words) < 4:
            return known
        words = words[2:]
    section = SECTIONS.get(words[1])
    if section and len(words) > 2:
        fields = {field.encode_name for field in msgspec.structs.fields(section)}
        if words[2] in fields and words[1] in _settable_sections(raw):
            return True  # a command's own section of that name may have other keys, too
    return any(_found(place, words[1:]) for place in _parameter_maps(raw))


def _found(place: Any, words: Sequence[str]) -> bool:
    for word in words:
        if not isinstance(place, Mapping) or word not in place:
            return False
        place = place[word]
    return True


def _parameter_maps(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    owners = [raw]
    for part in ("arms", "profiles"):
        owners += [_mapping(child) for child in _mapping(raw.get(part)).values()]
    return [_mapping(owner.get("parameters")) for owner in owners]


def _settable_sections(raw: Mapping[str, Any]) -> set[str]:
    return {section for place in _parameter_maps(raw) for section in place}


def _settable(raw: Mapping[str, Any], words: Sequence[str]) -> set[str]:
    """The names to offer where a --set named none."""
    if words[0] == "stages" or (words[0] == "arms" and len(words) < 4):
        return {f"{words[0]}.{child}" for child in _mapping(raw.get(words[0]))}
    return {key for place in _parameter_maps(raw) for key in flatten(place)}


def _check(
    study: Study, arms: Mapping[str, Arm], stages: Mapping[str, Stage], problems: list[str]
) -> None:
    if not NAME.fullmatch(study.study):
        problems.append(f"study: {study.study!r} is no name; use letters, digits, '.', '_', '-'")
    if not stages:
        problems.append("stages: a study needs at least one stage")
    owner: dict[str, str] = {}
    for arm_id, arm in arms.items():
        for name in (arm_id, *arm.aliases):
            if name in owner:
                problems.append(f"arms.{arm_id}: {name!r} already names arm {owner[name]!r}")
            owner[name] = arm_id
        for name in arm.aliases:
            if not NAME.fullmatch(name):
                problems.append(
                    f"arms.{arm_id}.aliases: {name!r} is no name; use letters, digits and '._-'"
                )
    for directory in ("state_dir", "data_dir", "results_dir"):
        text = getattr(study, directory)
        if text.startswith("/") or ".." in Path(text).parts:
            problems.append(f"{directory}: {text!r} leaves the project. Give a path inside it")
    for name, stage in stages.items():
        _check_stage(name, stage, arms, stages, problems)
    if len(stages) > MAX_STAGES:
        problems.append(f"stages: {len(stages)} are too many; a study has at most {MAX_STAGES}")
    else:
        _check_cycles(stages, problems)
    jobs = sum(max(1, len(_arms_of(stage, arms))) for stage in stages.values())
    if jobs > MAX_JOBS:
        problems.append(f"stages: {jobs} jobs are too many; a study has at most {MAX_JOBS}")


def _check_stage(
    name: str,
    stage: Stage,
    arms: Mapping[str, Arm],
    stages: Mapping[str, Stage],
    problems: list[str],
) -> None:
    where = f"stages.{name}"
    if stage.kind not in KINDS:
        problems.append(f"{where}.kind: {stage.kind!r} is no kind; {nearest(stage.kind, KINDS)}")
    elif stage.kind == "command" and not stage.run:
        problems.append(f"{where}.run: missing. A command needs its argv, e.g. [python, x.py]")
    elif stage.kind == "gate" and (stage.run or not stage.gate):
        problems.append(f"{where}: a gate has checks under `gate`, and no program under `run`")
    if stage.chain:
        _check_chain(stage, where, problems)
    problems += checks_file.read(stage.gate, f"{where}.gate")[1]
    for need, arm in stage.needed():
        if need not in stages:
            problems.append(f"{where}.needs: no stage is called {need!r}; {nearest(need, stages)}")
        elif arm and arm not in _arms_of(stages[need], arms):
            valid = nearest(arm, _arms_of(stages[need], arms))
            problems.append(f"{where}.needs: stage {need!r} has no arm {arm!r}; {valid}")
    if isinstance(stage.arms, tuple):
        if not stage.arms or len(set(stage.arms)) < len(stage.arms):
            problems.append(f"{where}.arms: name at least one arm, and each once")
        for arm in stage.arms:
            if arm not in arms:
                problems.append(f"{where}.arms: no arm is called {arm!r}; {nearest(arm, arms)}")
    elif stage.arms == "all" and not arms:
        problems.append(f"{where}.arms: the study has no arms. Name some under `arms`")
    for hours in _hours_of(stage):
        low, high = hours if isinstance(hours, tuple) else (hours, hours)
        if not 0 <= low <= high < math.inf:
            problems.append(f"{where}.hours: {hours!r} is no time; give 2, or [2, 3], in hours")
    if isinstance(stage.hours, dict):
        for arm in stage.hours:
            if arm not in arms:
                problems.append(f"{where}.hours: no arm is called {arm!r}; {nearest(arm, arms)}")


def _hours_of(stage: Stage) -> list[Hours]:
    """All that a stage says of its time."""
    if stage.hours is None:
        return []
    return list(stage.hours.values()) if isinstance(stage.hours, dict) else [stage.hours]


def _check_chain(stage: Stage, where: str, problems: list[str]) -> None:
    if stage.array:
        problems.append(
            f"{where}.chain: an array is no chain, since its tasks end at different times. Remove "
            "chain or array; each task of an array may be an arm of its own"
        )
    if stage.kind in KINDS and not KINDS[stage.kind].resumes:
        kinds = ", ".join(name for name, kind in KINDS.items() if kind.resumes)
        problems.append(
            f"{where}.chain: {stage.kind} does not go on from a checkpoint, so it is no chain "
            f"(these are: {kinds}). Remove chain"
        )


def _arms_of(stage: Stage, arms: Mapping[str, Arm]) -> tuple[str, ...]:
    """The ids of a stage's arms."""
    if stage.arms == "none":
        return ()
    return tuple(arms) if stage.arms == "all" else tuple(stage.arms)


def _check_cycles(stages: Mapping[str, Stage], problems: list[str]) -> None:
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            circle = " -> ".join([*trail[trail.index(name) :], name])
            problems.append(f"stages.{name}.needs: goes round in a circle: {circle}")
        elif name not in done and name in stages:
            for need, _ in stages[name].needed():
                visit(need, (*trail, name))
            done.add(name)

    for name in stages:
        visit(name, ())
