"""Schedules on so many GPUs: against hand-made ones, and what must hold of any."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import plan, site, study, timeline
from pipeline.errors import ConfigError
from pipeline.job import Job, Upstream
from pipeline.timeline import Slot

ROOT = Path(__file__).parents[2]
ONE = plan.make(study.load(ROOT / "studies/efcamdat-ilm.yaml"), site.reference(ROOT)).job("extract")
# Six trainings, from the smallest text to the largest, and their hours.
HOURS = {"C1": (2, 3), "B2": (4, 5), "B1": (6, 8), "A2": (8, 10), "A1": (10, 12),
         "GENERAL": (12, 14.4)}  # fmt: skip


def job(name: str, hours: tuple[float, float], gpus: int = 1, needs: tuple[str, ...] = ()) -> Job:
    resources = msgspec.structs.replace(ONE.resources, gpus=gpus, nodes=1)
    upstream = tuple(Upstream(need, 1) for need in needs)
    return msgspec.structs.replace(
        ONE, name=name, hours=hours, resources=resources, upstream=upstream
    )


SIX = [job(name, hours) for name, hours in HOURS.items()]
FIVE = SIX[:5]


@pytest.mark.parametrize(
    ("jobs", "gpus", "order", "hours"),
    [
        (FIVE, 1, "plan", (30, 38)), (SIX, 1, "plan", (42, 52.4)), (SIX, 1, "longest", (42, 52.4)),
        (FIVE, 4, "plan", (12, 15)), (SIX, 4, "plan", (16, 19.4)), (SIX, 4, "longest", (12, 14.4)),
        (SIX, 2, "plan", (24, 29.4)), (SIX, 2, "longest", (22, 27)),
        (SIX, 6, "plan", (12, 14.4)), (SIX, 100, "plan", (12, 14.4)),
    ],
)  # fmt: skip
def test_makespans_of_six_trainings(
    jobs: list[Job], gpus: int, order: timeline.Order, hours: tuple[float, float]
) -> None:
    assert timeline.makespans(jobs, [gpus], order) == {gpus: hours}


def test_the_schedule_itself() -> None:
    slots = timeline.schedule(SIX, 4, 0)
    # A1 on the first GPU behind C1, GENERAL on the second one behind B2.
    assert slots == [
        Slot("C1", (1,), 0, 2), Slot("B2", (2,), 0, 4), Slot("B1", (3,), 0, 6),
        Slot("A2", (4,), 0, 8), Slot("A1", (1,), 2, 12), Slot("GENERAL", (2,), 4, 16),
    ]  # fmt: skip
    longest = timeline.schedule(SIX, 4, 0, "longest")
    assert [slot.job for slot in longest] == ["GENERAL", "A1", "A2", "B1", "B2", "C1"]


def test_gates_leave_nothing_to_do_side_by_side() -> None:
    chained = [FIVE[0]]
    for one in SIX[1:]:
        needs = (Upstream(chained[-1].name, 1),)
        chained.append(msgspec.structs.replace(one, upstream=needs))
    assert timeline.makespans(chained, [4])[4] == timeline.critical_path(chained) == (42, 52.4)


def test_what_other_jobs_wait_for_goes_before_what_is_longer_itself() -> None:
    jobs = [job("long", (5, 5)), job("first", (1, 1)), job("after", (9, 9), 1, ("first",))]
    assert timeline.makespans(jobs, [1], "plan") == {1: (15, 15)}
    assert timeline.makespans(jobs, [2], "longest") == {2: (10, 10)}
    assert timeline.schedule(jobs, 1, 0, "longest")[0].job == "first"


def test_jobs_without_gpus_wait_for_nobody() -> None:
    jobs = [job("a", (3, 3), 0), job("b", (2, 2), 0), job("c", (1, 1), 1, ("a",))]
    assert timeline.makespans(jobs) == {1: (4, 4), 2: (4, 4), 4: (4, 4)}
    assert timeline.makespans(jobs[:2]) == {}


def test_a_smaller_job_may_run_beside_one_that_waits_for_more_gpus() -> None:
    jobs = [job("a", (2, 2), 3), job("big", (2, 2), 4), job("small", (1, 1), 1)]
    slots = {slot.job: slot for slot in timeline.schedule(jobs, 4, 0)}
    assert (slots["small"].start, slots["big"].start) == (0, 2)
    assert slots["big"].gpus == (1, 2, 3, 4)


def test_a_job_that_never_fits_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"big needs 4 GPUs, more than 2\. Give --gpus 4"):
        timeline.makespans([job("a", (1, 1)), job("big", (1, 1), 4)], [2])


JOBS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 3), st.lists(st.integers(1, 12), max_size=3)),
    max_size=12,
)


@given(JOBS, st.integers(3, 6), st.sampled_from(["plan", "longest"]))
def test_no_gpu_is_given_twice_and_nothing_starts_too_early(
    drawn: list[tuple[int, int, list[int]]], gpus: int, order: timeline.Order
) -> None:
    jobs = [
        job(str(n), (h, h), g, tuple(str(n - back) for back in needs if n - back >= 0))
        for n, (h, g, needs) in enumerate(drawn)
    ]
    slots = timeline.schedule(jobs, gpus, 0, order)
    ends = {slot.job: slot.end for slot in slots}
    assert sorted(ends) == sorted(one.name for one in jobs)
    by_name = {one.name: one for one in jobs}
    for slot in slots:
        one = by_name[slot.job]
        assert len(slot.gpus) == one.resources.gpus
        assert all(slot.start >= ends[u.job] for u in one.upstream)
        for other in slots:
            if other is not slot and set(slot.gpus) & set(other.gpus):
                assert slot.end <= other.start or other.end <= slot.start
    whole = max(ends.values(), default=0)
    assert whole >= timeline.critical_path(jobs)[0]
    assert whole <= sum(one.hours[0] for one in jobs)
