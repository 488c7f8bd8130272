"""New studies: a commented file that plans, checks and runs as it is, filled in with answers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec

from pipeline import plan, site, study, validate
from pipeline.errors import ConfigError
from pipeline.study import NAME
from pipeline.yamlio import quoted

STUDY = Path(__file__).parent / "study.yaml.j2"


class StudyAnswers(msgspec.Struct, frozen=True):
    """What the interview asks; the defaults make a study, too."""

    title: str = ""  # otherwise the name
    question: str = "Is the treatment better than the baseline?"
    arms: tuple[str, ...] = ("baseline", "treatment")
    tasks: int = 4
    gpus: int = 0
    cpus: int = 1
    mem: str = "2GB"
    walltime: str = "01:00:00"


def names(text: str) -> tuple[str, ...]:
    """`a, b` as names of arms. Raises ValueError."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if wrong := [name for name in found if not NAME.fullmatch(name)]:
        raise ValueError(f"{wrong[0]!r} is no name; use letters, digits, '.', '_', '-'")
    if not found or len(set(found)) < len(found):
        raise ValueError("name at least one arm, and each once")
    return found


def size(text: str) -> str:
    """A size as it was typed. Raises ValueError where it is none."""
    validate.parse_size(text)
    return text


def walltime(text: str) -> str:
    """A walltime as it was typed. Raises ValueError where it is none."""
    validate.parse_walltime(text)
    return text


def study_file(name: str, answers: StudyAnswers, root: Path) -> str:
    """The file's text. Raises ConfigError where the answers do not make a study that plans."""
    if not NAME.fullmatch(name):
        raise ConfigError([f"{name!r} is no name; use letters, digits, '.', '_', '-'"])
    text = _filled({"name": name, **msgspec.structs.asdict(answers)})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.yaml"
        path.write_text(text, "utf-8")
        for profiles in ((), ("demo",)):
            plan.make(study.load(path, profiles), site.reference(root))
    return text


def _filled(variables: dict[str, Any]) -> str:
    import jinja2

    environment = jinja2.Environment(  # noqa: S701 - it is YAML: every text goes through `q`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        comment_start_string="{##",
        comment_end_string="##}",
    )
    environment.filters["q"] = quoted
    return environment.from_string(STUDY.read_text("utf-8")).render(variables)
