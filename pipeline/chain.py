"""Chains: a job longer than its queue allows, cut into links that go on from the last checkpoint.

Each link is an attempt of its own and waits for the one before it. Whether it goes on, has nothing
left to do or ends the chain is decided by its own script (`job_templates/chain/`), so that a chain
goes on with nobody looking; the same rules are here, for `status` to say where it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline import receipts, validate
from pipeline.job import Chain
from pipeline.receipts import Receipt
from pipeline.states import FINAL, State
from pipeline.study import ChainSpec

if TYPE_CHECKING:
    from pipeline.manifest import Attempt

NOTICE_S = 600  # for a checkpoint of some ten gigabytes on a slow disk
PREEMPTED = 75  # stopped by a signal, after a checkpoint


def cut(
    spec: ChainSpec, total_s: int, most_s: int | None, where: str, problems: list[str]
) -> tuple[int, Chain]:
    """Seconds of walltime that a link asks for, and the chain.

    `total_s` is the whole training's, `most_s` the queue's longest where it is known. Of a link,
    all but the notice counts as training. What does not fit goes to `problems`.
    """
    if spec.walltime is not None:
        link_s = validate.parse_walltime(spec.walltime)
    else:
        link_s = total_s if most_s is None else most_s
    link_s = min(link_s, total_s)
    notice_s = spec.notice or max(1, min(NOTICE_S, link_s // 4))
    clock = validate.format_walltime
    if notice_s >= link_s:
        problems.append(
            f"{where}.chain.notice: {notice_s} s are no less than a link's {clock(link_s)}. "
            f"Lower it with --set {where}.chain.notice=..."
        )
        return link_s, Chain(spec.links, notice_s, total_s)
    needed = 1 if total_s <= link_s else -(-total_s // (link_s - notice_s))
    if needed > spec.links:
        problems.append(
            f"{where}.chain.links: {spec.links} of {clock(link_s)} are too few for the walltime of "
            f"{clock(total_s)}, since {notice_s} s of each are for its last checkpoint. "
            f"Use --set {where}.chain.links={needed} or more"
        )
    return link_s, Chain(spec.links, notice_s, total_s)


def current(links: Sequence[Attempt], newest: Mapping[str, Receipt]) -> int:
    """Which link, counted from 0, a chain stands at by its receipts: the first whose end decides,
    or behind which nothing is known yet. `newest` holds the newest receipt by the scheduler's id.
    """
    for i, link in enumerate(links[:-1]):
        receipt = newest.get(link.id)
        if receipt is None or receipt.kind == "run":
            if not any(later.id in newest for later in links[i + 1 :]):
                return i
        elif link.state == "cancelled" or not goes_on(receipt):
            return i
    return len(links) - 1


def goes_on(receipt: Receipt) -> bool:
    """Whether a link that ended so is followed by the next one: preempted, or killed."""
    code = receipt.exit_code or 0
    return code == PREEMPTED or 128 < code <= 192


def stopped(receipt: Receipt) -> str:
    """Why a link's script ended the chain before its program started; empty where it did not."""
    content = receipts.read(receipt.path) if receipt.exit_code == 78 else {}
    return str(content.get("gate", "stopped")) if content.get("stopped") else ""


def verdict(receipt: Receipt, state: State, reason: str) -> tuple[State, str]:
    """The state and the reason that a link's final receipt gives, which is the one its chain stands
    at: none goes on behind it."""
    if text := stopped(receipt):
        return State.FAILED, text
    if state == State.FAILED and receipt.exit_code == PREEMPTED:
        return state, f"{reason}; no link is left to go on from its checkpoint"
    return state, reason


def over(state: State, evidence: str) -> bool:
    """Whether a chain that stands at a link in this state has ended, so that the links behind it
    have nothing left to do."""
    return state in FINAL and evidence == "receipt"


def waiting(links: Sequence[Attempt], at: int, newest: Mapping[str, Receipt]) -> list[str]:
    """The ids of the links behind the current one that have not started."""
    return [
        link.id
        for link in links[at + 1 :]
        if link.id and link.state == "submitted" and link.id not in newest
    ]


def before(links: Sequence[Attempt], link: int) -> list[str]:
    """The scheduler's ids of the links before one, the newest first."""
    return [a.id for a in reversed(links) if a.link < link and a.id]
