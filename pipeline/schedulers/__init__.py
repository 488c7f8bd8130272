"""The schedulers, one module each."""

from pipeline.schedulers.base import (
    Answer,
    Completed,
    Scheduler,
    Submission,
    TaskReport,
)

__all__ = ["Answer", "Completed", "Scheduler", "Submission", "TaskReport"]
