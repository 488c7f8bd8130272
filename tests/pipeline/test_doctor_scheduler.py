"""The scheduler's answers, its queues, and nodes that hold what jobs ask for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.doctor import nodes, scheduler
from pipeline.doctor.check import Facts, Scope
from pipeline.study import ResourceSpec
from tests.pipeline.doctored import bad, by_name, facts, said, scope

RECORDINGS = Path(__file__).parents[1] / "recordings/openpbs"
GIB = 2**30


def recorded(name: str) -> str:
    """What a real server printed."""
    text = (RECORDINGS / f"{name}.txt").read_text().partition("--- stdout\n")[2]
    return text.partition("--- stderr\n")[0]


# --- texts -> nodes and queues

ROW = "gpu|up|2-00:00:00|4|64|256000|idle|gpu:a100:8|(null)"


@pytest.mark.parametrize(
    ("row", "node"),
    [
        (ROW, nodes.Node(4, 64, 256000 * 2**20, 8, "a100", 0, ("gpu",))),
        (
            ROW.replace("gpu:a100:8", "(null)"),
            nodes.Node(4, 64, 256000 * 2**20, 0, "", 0, ("gpu",)),
        ),
        (
            ROW.replace("gpu:a100:8", "gpu:8(S:0-1),fs:1"),
            nodes.Node(4, 64, 256000 * 2**20, 8, "", 0, ("gpu",)),
        ),
        (
            ROW.replace("gpu:a100:8", "craynetwork:4,gpu:a100:4(S:0),gpu:v100:2(S:1)"),
            nodes.Node(4, 64, 256000 * 2**20, 6, "a100", 0, ("gpu",)),
        ),
        (
            ROW.replace("gpu:a100:8", "gpu:a100_80gb:8"),
            nodes.Node(4, 64, 256000 * 2**20, 8, "a100_80gb", 80 * GIB, ("gpu",)),
        ),
        (
            ROW.replace("(null)", "skylake,mem512g,x|40g"),
            nodes.Node(4, 64, 256000 * 2**20, 8, "a100", 0, ("gpu",)),
        ),
        (
            ROW.replace("(null)", "skylake,a100-40gb"),
            nodes.Node(4, 64, 256000 * 2**20, 8, "a100", 40 * GIB, ("gpu",)),
        ),
        (
            ROW.replace("idle", "down*"),
            nodes.Node(4, 64, 256000 * 2**20, 8, "a100", 0, ("gpu",), up=False),
        ),
        (ROW.replace("64|", "128+|"), nodes.Node(4, 128, 256000 * 2**20, 8, "a100", 0, ("gpu",))),
    ],
    ids=["typed", "none", "untyped", "two types", "memory in the type", "odd feature",
         "memory in a feature", "down", "plus"],
)  # fmt: skip
def test_a_row_of_sinfo(row: str, node: nodes.Node) -> None:
    assert nodes.slurm(row + "\n") == ([node], {"gpu": nodes.Queue("gpu", True, "", 172800)})


@pytest.mark.parametrize("state", ["drain", "drng", "fail", "maint", "idle*", "mix$", "boot"])
def test_nodes_that_take_no_job(state: str) -> None:
    assert not nodes.slurm(ROW.replace("idle", state))[0][0].up


@pytest.mark.parametrize("state", ["mix", "alloc", "idle~", "comp", "resv", "plnd"])
def test_nodes_that_will_take_one(state: str) -> None:
    assert nodes.slurm(ROW.replace("idle", state))[0][0].up


@pytest.mark.parametrize(
    "text", ["", "\n\n", "sinfo: error", "a|b|c", "|||||||||||", "p|up|inf|x|y|z|q|r|s"]
)
def test_rows_of_anything_else_do_no_harm(text: str) -> None:
    found, _ = nodes.slurm(text)
    assert all(node.gpus == 0 and node.count == 0 for node in found)


def test_a_recorded_pbs() -> None:
    [node] = nodes.pbs(recorded("06-pbsnodes-json"))
    assert (node.cpus, node.gpus, node.mem_bytes, node.up) == (8, 8, 64 * GIB, True)
    assert nodes.pbs_queues(recorded("05-qstat-Q-json")) == {"workq": nodes.Queue("workq", True)}


def vnode(**resources: Any) -> dict[str, Any]:
    return {"state": "free", "resources_available": {"host": "n1", "mem": "100gb", **resources}}


def test_vnodes_of_a_host_are_one_node() -> None:
    half = vnode(ncpus=32, ngpus=4, gpu_mem="40gb", Qlist="gpu,long")
    text = json.dumps({"nodes": {"n1[0]": half, "n1[1]": half | {"state": "offline"}}})
    [node] = nodes.pbs(text)
    assert (node.cpus, node.gpus, node.mem_bytes) == (64, 8, 200 * GIB)
    assert (node.gpu_bytes, node.queues, node.up) == (40 * GIB, ("gpu", "long"), True)


@pytest.mark.parametrize(
    "text",
    ["{}", '{"nodes": 3}', '{"nodes": {"a": 3}}', '{"nodes": {"a": {}}}',
     '{"nodes": {"a": {"resources_available": {"ncpus": "many", "mem": "-1", "ngpus": null}}}}'],
)  # fmt: skip
def test_pbsnodes_of_anything_else_do_no_harm(text: str) -> None:
    assert all(node.cpus == node.gpus == node.mem_bytes == 0 for node in nodes.pbs(text))


@pytest.mark.parametrize(
    ("text", "size"),
    [("64gb", 64 * GIB), ("8388608kb", 8 * GIB), ("1TB", 2**40), ("512", 512), ("12b", 12),
     ("", 0), ("-5gb", 0), ("much", 0), ("1.5gb", 0)],
)  # fmt: skip
def test_sizes_of_pbs(text: str, size: int) -> None:
    assert nodes.size(text) == size


def test_this_machine() -> None:
    text = "Tesla T4, 15360\nTesla T4, 15109\n[N/A], [N/A]\n"
    node = nodes.local(text, "16", "65536000")
    assert (node.gpus, node.gpu, node.gpu_bytes) == (2, "Tesla T4", 15109 * 2**20)
    assert (node.cpus, node.mem_bytes) == (16, 65536000 * 1024)
    assert nodes.local("NVIDIA-SMI has failed", "", "").gpus == 0


# --- checks


def slurm_scope(*stages: str, queue: str = "gpu", **of_site: Any) -> Scope:
    asked = ResourceSpec(gpus=8, cpus=64, mem="200GB", walltime="48:00:00", queue=queue)
    return scope(*stages, scheduler="slurm", defaults=asked, **of_site)


def slurm(rows: str = ROW, config: str = "MaxArraySize = 1001\nSLURM_VERSION = 24.05.1") -> Facts:
    return facts(nodes=rows, server=config)


def test_slurm_as_it_should_be() -> None:
    found = by_name(scheduler.checks(slurm_scope("train"), slurm()))
    assert bad(found.values()) == []
    assert found["answer"].fact == "Slurm 24.05.1"
    assert found["GPU memory"].fact.startswith("unknown")
    assert "8 a100, 64 cores" in found["nodes for 8 GPUs, 64 cores, 186 GiB"].fact


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (ROW.replace("2-00", "1-00"), "fail queue gpu: gives 24:00:00, asked is 48:00:00"),
        (ROW.replace("up", "drain"), "warn queue gpu: is drain"),
        (ROW.replace("gpu|", "cpu|"), "fail queue gpu: the scheduler has cpu"),
        (ROW.replace("a100:8", "a100:4"), "fail nodes for 8 GPUs, 64 cores, 186 GiB: 0 of 1"),
        (ROW.replace("|64|", "|32|"), "fail nodes for 8 GPUs, 64 cores, 186 GiB: 0 of 1"),
        (ROW.replace("256000", "128000"), "fail nodes for 8 GPUs, 64 cores, 186 GiB: 0 of 1"),
        (ROW.replace("idle", "drain"), "warn nodes for 8 GPUs, 64 cores, 186 GiB: held by 4, of"),
        (ROW.replace("a100:8", "t4_10gb:8"), "fail GPU memory: 10 GiB; the loss alone"),
    ],
    ids=["walltime", "closed", "no queue", "GPUs", "cores", "memory", "down", "GPU memory"],
)
def test_slurm_as_it_should_not_be(rows: str, expected: str) -> None:
    found = bad(scheduler.checks(slurm_scope("train"), slurm(rows)))
    assert any(line.startswith(expected) for line in found), found


def test_an_array_that_is_too_large() -> None:
    of = slurm_scope("preprocess", sets=("corpus.chunks=2000",))
    found = by_name(scheduler.checks(of, slurm()))
    assert found["array size"].fact == "an array of 2000 tasks; MaxArraySize allows 1000"
    of = slurm_scope("preprocess", sets=("corpus.chunks=2000",), max_array=1000)
    assert "array size" not in by_name(scheduler.checks(of, slurm()))


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (said(code=1, error="Unable to contact slurm controller"), "silent"),
        (said(code=124), "silent"),
        (said(code=127), "fail"),
    ],
)
def test_a_scheduler_that_does_not_answer(answer: Any, status: str) -> None:
    found = list(scheduler.checks(slurm_scope("train"), facts(nodes=answer)))
    assert [check.status for check in found] == [status]


def pbs(**changed: Any) -> Facts:
    answers = {
        "server": recorded("04-qstat-B").partition("\n")[2], "queues": recorded("05-qstat-Q-json"),
        "nodes": recorded("06-pbsnodes-json"),
    }  # fmt: skip
    return facts(**(answers | changed))


def pbs_scope(*stages: str, queue: str = "workq", **asked: Any) -> Scope:
    wanted = {"gpus": 8, "cpus": 8, "mem": "60GB", "walltime": "48:00:00", "queue": queue, **asked}
    return scope(*stages, scheduler="pbs", defaults=ResourceSpec(**wanted))


def test_a_recorded_pbs_holds_a_training() -> None:
    found = by_name(scheduler.checks(pbs_scope("train"), pbs()))
    assert bad(found.values()) == []
    assert found["answer"].fact == "PBS 23.06.06, Active"


@pytest.mark.parametrize(
    ("asked", "changed", "expected"),
    [
        ({"cpus": 16}, {}, "fail nodes for 8 GPUs, 16 cores, 56 GiB: 0 of 1 nodes"),
        ({"queue": "gpu"}, {}, "fail queue gpu: the scheduler has workq"),
        ({}, {"nodes": said(code=1, error="pbsnodes: Unauthorized")}, "warn nodes: not told"),
        ({}, {"nodes": "not json"}, "warn nodes: the answer cannot be read"),
        ({}, {"queues": ""}, "warn queues: the answer cannot be read"),
        ({}, {"server": "{"}, "silent answer"),
        ({}, {"server": said(code=255, error="cannot connect to server")}, "silent answer"),
        (
            {},
            {"queues": '{"Queue": {"workq": {"enabled": "False", "started": "True"}}}'},
            "warn queue workq: takes no jobs now",
        ),
        (
            {},
            {"queues": '{"Queue": {"workq": {"resources_max": {"walltime": "24:00:00"}}}}'},
            "fail queue workq: gives 24:00:00",
        ),
        ({}, {"server": '{"Server": {"a": {"server_state": "Terminating"}}}'}, "warn answer"),
    ],
)  # fmt: skip
def test_pbs_as_it_should_not_be(
    asked: dict[str, Any], changed: dict[str, Any], expected: str
) -> None:
    found = bad(scheduler.checks(pbs_scope("train", **asked), pbs(**changed)))
    assert any(line.startswith(expected) for line in found), found


def test_torque_says_what_it_did_not_look_at() -> None:
    of = scope("train", scheduler="torque")
    found = by_name(scheduler.checks(of, facts(server="Server Max Tot\n")))
    assert found["nodes"].status == "warn"


def test_this_machine_and_no_site() -> None:
    of = scope("split", scheduler="local")
    found = by_name(scheduler.checks(of, facts(machine="256\nMemTotal:  999999999 kB\n")))
    assert bad(found.values()) == []
    of = Scope(of.plan, of.jobs, reference=True)
    assert not list(scheduler.questions(of))
    assert bad(scheduler.checks(of, facts())) == [
        "warn site: none is chosen, so no scheduler was asked"
    ]
