"""Real studies and sites with hostile values in them: a plan, or an error that names the file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import estimate, plan, render, site, study
from pipeline.errors import ConfigError
from pipeline.view import plan as plan_view
from pipeline.view import site as site_view
from pipeline.view import study as study_view
from tests.pipeline.hostile.values import (
    HOSTILE,
    ROOT,
    SITES,
    STUDIES,
    fuzz,
    mutated,
    places,
    printed,
    raw_of,
    strict_json,
    text_of,
)

SITE = site.load(ROOT, "example-slurm")
RAW = {path: raw_of(path) for path in (*STUDIES, *SITES)}


def write(path: Path, tree: dict[str, Any]) -> Path:
    path.write_bytes(text_of(tree).encode("utf-8", "surrogatepass"))
    return path


def outcome(path: Path, where: site.Site, profiles: Sequence[str] = (), sets: Any = ()) -> str:
    """`refused` by an error that names the file, or what all commands that only look at a plan do:
    anything else is raised."""
    try:
        made = plan.make(study.load(path, profiles, sets), where)
    except ConfigError as error:
        assert error.problems
        assert all(str(path) in problem or "--set" in problem for problem in error.problems)
        assert len(str(error)) < 200_000
        return "refused"
    assert estimate.figures(made)
    shown = plan_view.Asked(schedule=True)
    check = partial(study_view.check, judged=[], all_claims=True)
    for view in (partial(plan_view.plan, root=ROOT, asked=shown), check):
        for as_json in (True, False):
            with printed() as raw:
                view(made, as_json=as_json)
            if as_json:
                assert strict_json(raw.getvalue())
    return "planned" if not rendered(made) else "rendered"


def rendered(made: plan.Plan) -> int:
    """How many of the first jobs have a script; the others are refused by name."""
    scripts = 0
    for job in made.jobs[:8]:
        try:
            scripts += bool(render.render(job))
        except ConfigError as error:
            assert error.problems
    return scripts


def site_outcome(path: Path) -> str:
    """The same of a site's file, with the main study on it."""
    try:
        found = site.load(path.parent, str(path))
    except ConfigError as error:
        assert all(str(path) in problem for problem in error.problems)
        return "refused"
    with printed():
        site_view.site(found)
        site_view.sites([("s", found)], "s")
    return outcome(ROOT / "studies/filipino-cpt.yaml", found, ["demo"])


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
@fuzz(60)
@given(data=st.data())
def test_a_study_with_hostile_values(tmp_path: Path, path: Path, data: st.DataObject) -> None:
    raw = RAW[path]
    tree = data.draw(mutated(raw))
    profiles = data.draw(st.lists(st.sampled_from([*raw["profiles"]]), max_size=2))
    outcome(write(tmp_path / "s.yaml", tree), SITE, profiles)


@pytest.mark.parametrize("path", SITES, ids=lambda p: p.stem)
@fuzz(80)
@given(data=st.data())
def test_a_site_with_hostile_values(tmp_path: Path, path: Path, data: st.DataObject) -> None:
    site_outcome(write(tmp_path / "s.yaml", data.draw(mutated(RAW[path]))))


KEYS = [".".join(map(str, p)) for p in places(RAW[STUDIES[1]])]


@fuzz(150)
@given(
    st.one_of(st.sampled_from(KEYS), st.text(max_size=30)),
    HOSTILE,
    st.sampled_from([(), ("demo",)]),
)
def test_any_set_of_the_main_study(key: str, odd: Any, profiles: tuple[str, ...]) -> None:
    outcome(STUDIES[1], SITE, profiles, [f"{key}={text_of(odd)}"])
