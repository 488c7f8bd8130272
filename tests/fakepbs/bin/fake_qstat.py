"""The fake's qstat and qdel."""

from __future__ import annotations

import getopt
import json
import math
import os
import re
import time
from typing import Any

import fake_nodes
import fake_store as store
from fake_store import FINAL, Job, State, Task

HEAD = """Job id            Name             User              Time Use S Queue
----------------  ---------------- ----------------  -------- - -----"""


def qstat(argv: list[str]) -> None:
    """`qstat [-x] [-t] [-f -F json] [id...]`, `qstat -B -f -F json`, `qstat -Q -f -F json`."""
    try:
        given, ids = getopt.getopt(argv, "BQxtfF:")
    except getopt.GetoptError:
        store.fail(2, "qstat: conflicting options.")
    options = dict(given)
    as_json = options.get("-F") == "json"
    if as_json and "-B" in options:
        return fake_nodes.server()
    if as_json and "-Q" in options:
        return fake_nodes.queues()
    shown: dict[str, Any] = {}
    code, complaints = 0, []
    if os.environ.get("FAKEPBS_DOWN") == "1":
        server = f"qstat: cannot connect to server {store.SERVER} (errno=15010)"
        code, complaints = 255, ["Connection refused", server]
    elif "-x" in options and not store.history():
        # Refused outright, for live jobs as well.
        words = "qstat: PBS is not configured to maintain job history"
        complaints = [f"{words} {job_id}" for job_id in ids or [""]]
    else:
        with store.locked(store.home()) as state:
            store.started(store.home())
            wanted: list[str | None] = [*ids] or [None]
            for job_id in wanted:
                found, problem = answer(state, job_id, options)
                # Of several ids the JSON holds the first that is known.
                if not (as_json and shown and ids):
                    shown.update(found)
                if problem:
                    code = problem[0]
                    complaints.append(problem[1])
    show(shown, as_json)
    store.fail(code, *complaints)


def show(jobs: dict[str, Any], as_json: bool) -> None:
    """Prints them; the JSON has its head without any jobs as well."""
    if as_json:
        page = {
            "timestamp": int(time.time()),
            "pbs_version": "23.06.06",
            "pbs_server": store.SERVER,
        }
        body = {**page, "Jobs": jobs} if jobs else page
        print(json.dumps(body, indent="\t", separators=(",", ":\t")))
    elif jobs:
        print(HEAD)
        for job_id, entry in jobs.items():
            used = entry.get("resources_used", {}).get("walltime", "0")
            print(
                f"{job_id:<17} {entry['Job_Name'][:15]:<16} {entry['Job_Owner'][:4]:<16}"
                f"  {used:>8} {entry['job_state']} {entry['queue']:<16}"
            )


def answer(
    state: State, job_id: str | None, options: dict[str, str]
) -> tuple[dict[str, Any], tuple[int, str] | None]:
    """(jobs to show, (exit code, words) where there is something wrong)."""
    past, wide = "-x" in options, "-t" in options
    if job_id is None:
        found: dict[str, Any] = {}
        for job in state["jobs"].values():
            if past or job["state"] != "F":
                found.update(entries(job, wide, None))
        return found, None
    match = store.ID.fullmatch(job_id)
    if not match:
        return {}, (170, f"qstat: Unknown queue destination {job_id}")
    if match[4] not in (None, store.SERVER):
        return {}, (1, f"qstat: illegally formed job identifier: {job_id}")
    full = job_id if match[4] else f"{job_id}.{store.SERVER}"
    job_, inside = store.find(state, job_id)
    if job_ is None or (inside and inside not in job_["tasks"]):
        return {}, (153, f"qstat: Unknown Job Id {full}")
    if job_["state"] == "F" and not past:
        words = "Job has finished, use -x or -H to obtain historical job information"
        return {}, (35, f"qstat: {full} {words}")
    return entries(job_, wide, inside or None), None


def entries(job: Job, wide: bool, only: str | None) -> dict[str, Any]:
    """A job and, when asked for, its subjobs: those without a record echo the parent."""
    parent = attributes(job, "", job["tasks"].get(""))
    if job["indices"] is None:
        return {job["id"]: parent}
    found = {} if only else {job["id"]: parent}
    for key, task in job["tasks"].items():
        if only == key or (wide and not only):
            started = task["state"] != "Q" and not task["echo"]
            found[store.of(job, key)] = (
                attributes(job, key, task) if started else echo(parent, task)
            )
    return found


def echo(parent: dict[str, Any], task: Task) -> dict[str, Any]:
    """What PBS prints of a subjob without a record: the parent's attributes, its status too."""
    own = ("array", "array_state_count", "array_indices_submitted", "array_indices_remaining",
           "history_timestamp", "project", "Submit_Host")  # fmt: skip
    copied = {key: value for key, value in parent.items() if key not in own}
    copied["job_state"] = task["state"]
    if task["state"] == "Q":
        copied["substate"] = 10
    elif "stime" in parent:
        copied["comment"] = "Subjob finished"
    return copied


def attributes(job: Job, key: str, task: Task | None) -> dict[str, Any]:
    """The attributes of a job or of a subjob with a record of its own, in PBS's order."""
    state = task["state"] if task else job["state"]
    if task and not key and job["state"] == "F":
        state = "F"
    began, ended = (task or job).get("stime"), (task or job).get("end")
    code = task["exit"] if task else job["exit"]
    host, letter = store.SERVER, f"{job['name']}.e{job['seq']}"
    entry: dict[str, Any] = {"Job_Name": job["name"], "Job_Owner": f"{job['user']}@{host}"}
    if task and began:
        span = int((ended or time.time()) - began)
        used = f"{span // 3600:02}:{span // 60 % 60:02}:{span % 60:02}"
        entry["resources_used"] = {"cput": "00:00:00", "ncpus": job["ncpus"], "walltime": used}
    entry.update(job_state=state, queue=job["queue"], server=host, ctime=store.stamp(job["time"]))
    entry["depend"] = depends(job)
    suffix = f".{key or '^array_index^'}" if job["indices"] else ""
    entry["Error_Path"] = f"{host}:{job['workdir']}/{letter}{suffix}"
    if task and began:
        entry.update(exec_host=f"{host}/0", exec_vnode=f"({host}:ncpus={job['ncpus']})")
    entry.update(Hold_Types=None if key else job["hold"], Join_Path="oe" if job["join"] else "n")
    entry.update(Keep_Files=job["keep"], Priority=0)
    entry["Output_Path"] = f"{host}:{os.path.join(job['workdir'], job['output'])}"
    entry.update(qtime=store.stamp(job["time"]), Rerunable="True", Resource_List=job["resources"])
    entry["stime"] = store.stamp(began) if began else None
    entry["obittime"] = store.stamp(ended) if began and ended else None
    entry["substate"] = (task or job)["substate"]
    entry["Variable_List"] = {name: parsed(value) for name, value in job["variables"]}
    entry["comment"] = (task or job)["comment"] or None
    entry["run_count"] = 1 if task and began else None
    entry.update(Stageout_status=(task or {}).get("stageout"), Exit_status=code)
    if key:
        entry.update(array_id=job["id"], array_index=int(key))
    else:
        entry["Submit_arguments"] = job["arguments"]
    if job["indices"] and not key:
        entry.update(array_attributes(job))
    entry["history_timestamp"] = int(ended) if ended else None
    entry.update(project="_pbs_project_default", Submit_Host=host)
    return {name: value for name, value in entry.items() if value is not None}


def array_attributes(job: Job) -> dict[str, Any]:
    states = [task["state"] for task in job["tasks"].values()]
    queued = [int(key) for key, task in job["tasks"].items() if task["state"] == "Q"]
    echoes = sum(task["echo"] and task["substate"] == 91 for task in job["tasks"].values())
    gone = states.count("X") if job["state"] != "F" else echoes
    left = store.condensed(queued)
    return {
        "array": "True",
        "array_state_count": f"Queued:{len(queued)} Running:{states.count('R')} "
        f"Exiting:{states.count('E')} Expired:{gone}",
        "array_indices_submitted": job["indices"],
        "array_indices_remaining": int(left) if left.isdigit() else left,
    }


def depends(job: Job) -> str | None:
    groups: dict[str, list[str]] = {}
    for kind, _, parent in job["depend"]:
        groups.setdefault(kind, []).append(parent)
    for kind, child in job["before"]:
        groups.setdefault(kind, []).append(child)
    text = ",".join(
        f"{kind}:" + ":".join(f"{job_id}@{store.SERVER}" for job_id in ids)
        for kind, ids in groups.items()
    )
    return text or None


def parsed(value: str) -> Any:
    """A variable as PBS prints it: 007 is 7, 1e400 is null, true is a bool, [1,2] is a list."""
    if re.fullmatch(r"-?0\d+", value):
        return int(value)
    try:
        found = json.loads(value)
    except ValueError:
        return value
    infinite = isinstance(found, float) and not math.isfinite(found)
    return value if isinstance(found, str) else None if infinite else found


def qdel(argv: list[str]) -> None:
    """`qdel id...`: returns at once, the daemon does it."""
    if os.environ.get("FAKEPBS_DOWN") == "1":
        store.fail(162, "Connection refused", f"Couldn't connect to cluster: {store.SERVER}")
    code, complaints = 0, []
    with store.locked(store.home()) as state:
        store.started(store.home())
        for job_id in argv:
            problem = delete(state, job_id)
            if problem:
                code = problem[0]
                complaints.append(f"qdel: {problem[1]}")
    store.fail(code, *complaints)


def delete(state: State, job_id: str) -> tuple[int, str] | None:
    match = store.ID.fullmatch(job_id)
    if not match or not re.fullmatch(r"(\d+(-\d+)?)?", match[3] or ""):
        return 1, f"illegally formed job identifier: {job_id}"
    full = job_id if match[4] else f"{job_id}.{store.SERVER}"
    job, inside = store.find(state, job_id)
    if job is None:
        return 153, f"Unknown Job Id {full}"
    if job["state"] == "F":
        return 35, f"Job has finished {full}"
    wanted = [str(i) for i in store.indices(inside)] if inside else list(job["tasks"])
    for key in wanted:
        task = job["tasks"].get(key)
        if task and task["state"] not in FINAL:
            task["kill"] = task["kill"] or "deleted"
        elif task and inside == "" and task["substate"] == 91:
            task["echo"] = True  # recorded: deleting the whole array loses these records
    return None
