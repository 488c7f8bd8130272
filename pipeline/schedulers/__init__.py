"""The schedulers: a module each, and a row each in the table here."""

from __future__ import annotations

from pipeline.schedulers.base import Answer, Completed, Scheduler, Submission, TaskReport


def get(name: str, spool: str, localq: str = "", slots: int = 0) -> Scheduler:
    """The scheduler of a site. `spool`: where the `local` one keeps its state; `localq`: where its
    program is on another host, which needs no more than a Python of its own; `slots`: the cores
    that its tasks may use together, 0 for all."""
    if name == "pbs":
        from pipeline.schedulers.pbs import PBS

        return PBS()
    if name == "torque":
        from pipeline.schedulers.torque import Torque

        return Torque()
    if name == "slurm":
        from pipeline.schedulers.slurm import Slurm

        return Slurm()
    from pipeline.schedulers.local import Local

    if localq:
        return Local(spool, "python3", localq, slots)
    return Local(spool, slots=slots)


__all__ = ["Answer", "Completed", "Scheduler", "Submission", "TaskReport", "get"]
