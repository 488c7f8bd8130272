"""The fake's server, queues and node, as `qstat -B`, `qstat -Q` and `pbsnodes -av` show them.

Recorded: tests/recordings/openpbs/04-qstat-B, 05-qstat-Q-json, 06-pbsnodes-json.
"""

from __future__ import annotations

import getopt
import json
import os
import time
from typing import Any

import fake_store as store
from fake_qsub import QUEUES


def page(**more: Any) -> str:
    """A page of JSON with the head that every one has."""
    head = {"timestamp": int(time.time()), "pbs_version": "23.06.06", "pbs_server": store.SERVER}
    return json.dumps({**head, **more}, indent="\t", separators=(",", ":\t"))


def down(command: str) -> None:
    """Ends the command where nobody answers."""
    if os.environ.get("FAKEPBS_DOWN") == "1":
        if command == "qstat":
            print(page())
        server = f"{command}: cannot connect to server {store.SERVER} (errno=15010)"
        store.fail(255 if command == "qstat" else 1, "Connection refused", server)


def server() -> None:
    """`qstat -B -f -F json`."""
    down("qstat")
    about = {
        "server_state": "Active", "server_host": store.SERVER, "scheduling": "True",
        "default_queue": "workq", "max_array_size": int(store.setting("MAX_ARRAY", 10_000)),
    }  # fmt: skip
    if store.history():  # where it never was configured there is no such line
        about |= {"job_history_enable": "True", "job_history_duration": "24:00:00"}
    print(page(Server={store.SERVER: about}))


def queues() -> None:
    """`qstat -Q -f -F json`."""
    down("qstat")
    found: dict[str, Any] = {}
    for name, limits in QUEUES.items():
        found[name] = {"queue_type": "Execution", "total_jobs": 0}
        if "walltime" in limits:
            hours, rest = divmod(limits["walltime"], 3600)
            found[name]["resources_max"] = {
                "walltime": f"{hours:02}:{rest // 60:02}:{rest % 60:02}"
            }
        found[name] |= {"enabled": "False" if "disabled" in limits else "True", "started": "True"}
    print(page(Queue=found))


def pbsnodes(argv: list[str]) -> None:
    """`pbsnodes -av -F json`."""
    try:
        options = dict(getopt.getopt(argv, "avF:")[0])
    except getopt.GetoptError:
        options = {}
    if "-a" not in options or options.get("-F") != "json":
        store.fail(2, "pbsnodes: this fake knows -av -F json only")
    down("pbsnodes")
    resources = {
        "arch": "linux", "host": store.SERVER, "mem": "64gb",
        "ncpus": int(store.setting("NCPUS", 128)), "ngpus": 8, "vnode": store.SERVER,
    }  # fmt: skip
    node = {
        "Mom": store.SERVER, "ntype": "PBS", "state": "free", "pcpus": 2,
        "resources_available": resources, "sharing": "default_shared",
    }  # fmt: skip
    print(page(nodes={store.SERVER: node}))
