"""What all tests share: a clean environment, and a cluster for those that ask for one."""

from __future__ import annotations

import os
import signal

from tests import draws
from tests.cluster.fixture import slurm
from tests.ssh.fixture import sshd

__all__ = ["draws", "slurm", "sshd"]

# A developer's own settings must decide nothing here; PIPELINE_TEST_* are about the tests.
for _name in list(os.environ):
    if _name.startswith(("PIPELINE_", "LOCALQ_")) and not _name.startswith("PIPELINE_TEST_"):
        del os.environ[_name]

# A shell that starts its jobs in the background has them ignore Ctrl-C, and so would all that the
# tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
