"""`sites add`: from what schedulers and machines print to a site file that loads."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.shell_completion import ShellComplete
from hypothesis import given
from hypothesis import strategies as st

from pipeline import forecast, plan, probe, site, study, transport, yamlio
from pipeline.cli import cli
from pipeline.errors import ConfigError, PipelineError, Unreachable
from pipeline.probe import cards, facts, machine, pbs, slurm, write
from pipeline.schedulers.base import Completed
from pipeline.view import site as site_view
from tests.cluster.fixture import Slurm
from tests.draws import draws
from tests.pipeline.clusters import ROOT, Project, site_yaml
from tests.pipeline.schedulers import recorded

GIB = 2**30
DAY = "2026-11-21"

MACHINE = """
Welcome! == maintenance on Friday ==

@@pipeline user
ana
@@pipeline groups
ana users physics
@@pipeline host
login1.example.org
@@pipeline project
/home/ana/pipeline
@@pipeline venvs
.venv
@@pipeline python
/usr/bin/python3
Python 3.6.8
@@pipeline cores
16
@@pipeline memory
65969148
@@pipeline net
eth0
ib0
ib1
lo
@@pipeline tool apptainer
apptainer version 1.4.1
@@pipeline images
@@pipeline missing
@@pipeline disks
/home/ana\tfs1:/home nfs4 1000000000 1 500000000 50% /home
/scratch\t10.0.0.1@tcp:/s lustre 9000000000 1 2000000000 78% /scratch
@@pipeline gpus
@@pipeline modules
cuda/12.4
python/3.11.7
/opt/modules:
@@pipeline end
"""
NONE = Completed((), 127, "", "timeout: failed to run command: No such file or directory")
PBS_VERSION = Completed(("qstat",), 0, "pbs_version = 23.06.06\n", "")
TORQUE_VERSION = Completed(("qstat",), 0, "", "Version: 6.1.2\nCommit: 661e092\n")
SLURM_VERSION = Completed(("sbatch",), 0, "slurm-wlm 22.05.8\n", "")


def ok(text: str) -> Completed:
    return Completed((), 0, text, "")


def answers(**given: Completed) -> dict[str, Completed]:
    """Answers to all questions: what is not given is not installed."""
    keys = [*probe.VERSIONS, *slurm.QUESTIONS, *pbs.QUESTIONS]
    return {**dict.fromkeys(keys, NONE), "machine": ok(MACHINE), **given}


def pbs_answers(which: str = "", nodes: str = "from-manual-pbsnodes-av") -> dict[str, Completed]:
    return answers(
        qstat=PBS_VERSION,
        server=recorded.load("openpbs", f"from-manual-qstat-Bf{which}"),
        queues=recorded.load("openpbs", f"from-manual-qstat-Qf{which}"),
        pbsnodes=recorded.load("openpbs", nodes),
    )


def torque_answers() -> dict[str, Completed]:
    return answers(
        qstat=TORQUE_VERSION,
        server=recorded.load("torque", "from-manual-qstat-Bf"),
        queues=recorded.load("torque", "from-manual-qstat-Qf"),
        pbsnodes=recorded.load("torque", "from-manual-pbsnodes-a"),
    )


def slurm_answers(**given: Completed) -> dict[str, Completed]:
    found = answers(
        sbatch=SLURM_VERSION,
        config=recorded.load("slurm", "scontrol-show-config"),
        partitions=recorded.load("slurm", "probe-partitions"),
        nodes=recorded.load("slurm", "probe-nodes"),
        assoc=recorded.load("slurm", "probe-assoc"),
        default_account=recorded.load("slurm", "probe-default-account"),
        qos=recorded.load("slurm", "probe-qos"),
    )
    return {**found, **given}


def text_of(given: Mapping[str, Completed], **asked: str) -> str:
    return probe.site_file(probe.Request("mine", **asked), given, DAY)


def load(text: str) -> site.Site:
    return site.read(yamlio.parse(text, "mine"), "mine", Path("/nowhere"))


def flat(text: str) -> str:
    """The text with its comments' line breaks taken out."""
    return " ".join(text.replace("\n", " ").replace(" # ", " ").split())


CASES: dict[str, Mapping[str, Completed]] = {
    "slurm": slurm_answers(),
    "pbs": pbs_answers(),
    "pbs-as-installed": pbs_answers("-plain", "110-final-node"),
    "torque": torque_answers(),
    "local": answers(),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_loads_and_says_where_each_value_comes_from(name: str) -> None:
    text = text_of(CASES[name])
    found = load(text)
    assert found.site == "mine" and found.scheduler == name.partition("-")[0]
    assert found.project_dir == "/home/ana/pipeline" and found.network_interface == "ib0"
    assert found.environments["light"].python == ".venv/bin/python"
    assert all(len(line) <= 100 for line in text.splitlines())
    raw = yamlio.parse(text, "mine")
    assert set(raw) <= set(site.Site.__struct_fields__)
    for queue in raw.get("queues", {}):
        assert queue in found.queues
    limits = [line for line in text.splitlines() if line.strip().startswith(("max_", "min_"))]
    lines = text.splitlines()
    for line in limits:
        assert "  # " in line or lines[lines.index(line) - 1].strip().startswith("#"), line


@pytest.mark.parametrize("name", ["slurm", "pbs"])
def test_the_study_that_ships_fits_what_a_large_enough_cluster_says(name: str) -> None:
    found = load(text_of(CASES[name]))
    small = site.Environment()
    full = {"light": small, "hf": small, "nemo": small}
    made = plan.make(
        study.load(ROOT / "studies/filipino-cpt.yaml"),
        msgspec.structs.replace(found, environments=full),
    )
    assert {job.scheduler for job in made.jobs} == {name}


# --- Slurm


def test_slurm_as_recorded() -> None:
    found = load(text_of(slurm_answers()))
    assert (found.max_array, found.history, found.max_jobs) == (100000, True, None)
    assert found.defaults.queue == "main" and found.defaults.walltime == "48:00:00"
    assert (found.defaults.gpus, found.defaults.cpus, found.defaults.mem) == (8, 64, "250GiB")
    main, short = found.queues["main"], found.queues["short"]
    assert (main.max_nodes, main.max_gpus, main.max_cpus) == (4, 8, 64)
    assert main.limit("max_walltime") == 7 * 86400 and short.limit("max_walltime") == 600
    assert main.limit("max_mem") == 250 * GIB
    assert found.cpu_queue == ""  # none is without GPUs


def test_of_queues_on_the_same_nodes_jobs_go_to_the_one_they_fit_in() -> None:
    text = recorded.load("slurm", "probe-partitions").stdout
    other = text.replace("Default=YES", "Default=?").replace("Default=NO", "Default=YES")
    assert load(text_of(slurm_answers(partitions=ok(other)))).defaults.queue == "main"
    same = other.replace("MaxTime=00:10:00", "MaxTime=7-00:00:00")
    found = load(text_of(slurm_answers(partitions=ok(same))))
    assert found.defaults.queue == "short"  # the default one


CONFIG = """Configuration data as of 2026-11-21T02:26:26
AccountingStorageEnforce = associations,limits,qos
AccountingStorageType   = accounting_storage/slurmdbd
MaxArraySize            = 1001
MinJobAge               = 300 sec
SchedulerParameters     = bf_interval=1,max_array_tasks=600
SLURM_VERSION           = 24.05.4
"""
EVERYBODY = "AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL"
PARTITIONS = f"""\
PartitionName=gpu {EVERYBODY} Default=NO QoS=gpuqos MaxNodes=8 MaxTime=4-00:00:00 MinNodes=2 \
MaxCPUsPerNode=48 State=UP TotalNodes=3 MaxMemPerNode=UNLIMITED TRES=cpu=9
PartitionName=cpu {EVERYBODY} Default=YES QoS=N/A MaxNodes=UNLIMITED MaxTime=UNLIMITED State=UP \
TotalNodes=9 MaxMemPerNode=100000
PartitionName=chem AllowGroups=ALL AllowAccounts=chem,bio AllowQos=ALL MaxTime=1:00:00 State=UP
PartitionName=drained {EVERYBODY} Default=NO MaxTime=1-00:00:00 State=DRAIN TotalNodes=1
PartitionName=staff AllowGroups=admins AllowAccounts=ALL AllowQos=ALL MaxTime=1:00:00 State=UP
PartitionName=debug AllowGroups=ALL AllowAccounts=ALL AllowQos=normal MaxTime=00:30:00 State=DOWN
"""
NODES = """\
64|515000|gpu:a100:4(S:0-1),gpu:v100:2(S:1)|g1|gpu
64|515000|gpu:a100:4(S:0-1)|g2|gpu
48|250000|gpu:2|g3|gpu
128|256000|(null)|c1|cpu
128|512000|shard:8,license:2|c2|cpu
16|64000|gpu:nvidia_a100_3g.20gb:7(S:0)|d1|debug
"""
ASSOC = "phys||normal,long|normal|500|| 2-00:00:00\nastro||normal|normal|50||\n".replace(
    "| 2", "|2"
)
QOS = "normal|3-00:00:00|300||\ngpuqos|1-00:00:00|40|8|\nlong||10||\n"


def strict_slurm(**given: Completed) -> dict[str, Completed]:
    parts = {
        "config": ok(CONFIG), "partitions": ok(PARTITIONS), "nodes": ok(NODES),
        "assoc": ok(ASSOC), "qos": ok(QOS), "default_account": ok("phys\n"),
    }  # fmt: skip
    return slurm_answers(**{**parts, **given})


def test_slurm_s_accounts_and_qos_limit_where_they_are_enforced() -> None:
    text = text_of(strict_slurm())
    found = load(text)
    assert found.max_array == 600  # max_array_tasks is below MaxArraySize
    assert found.max_jobs == 300  # of the default QOS, below the default account's 500
    assert "you have astro, phys; empty is your default, phys" in text
    gpu, cpu = found.queues["gpu"], found.queues["cpu"]
    assert gpu.limit("max_walltime") == 86400  # the partition's QOS, below its own MaxTime
    assert (gpu.max_queued, gpu.max_nodes, gpu.min_nodes, gpu.max_cpus) == (40, 3, 2, 48)
    assert gpu.max_gpus == 6
    assert cpu.limit("max_walltime") == 3 * 86400  # one account sets none, so the QOS's holds
    assert cpu.limit("max_mem") == 100000 * 2**20
    assert (found.cpu_queue, found.defaults.queue) == ("cpu", "gpu")
    assert found.queues["debug"].max_gpus == 7


def test_slurm_s_limits_that_are_not_enforced_are_not_written() -> None:
    config = CONFIG.replace("associations,limits,qos", "none")
    found = load(text_of(strict_slurm(config=ok(config))))
    assert found.max_jobs is None and found.queues["gpu"].max_queued is None
    assert found.queues["gpu"].limit("max_walltime") == 4 * 86400


@pytest.mark.parametrize(
    ("name", "why"),
    [("chem", "AllowAccounts=chem,bio"), ("drained", "State=DRAIN"), ("staff", "AllowGroups")],
)
def test_a_partition_that_is_closed_is_a_comment_with_the_reason(name: str, why: str) -> None:
    text = text_of(strict_slurm())
    assert name not in load(text).queues
    assert f"# {name}: not for you. {why}" in text


GRES = [
    ("none", "(null)", (0, "")),
    ("count", "gpu:8", (8, "")),
    ("type", "gpu:a100:8(S:0-1)", (8, "a100")),
    ("two-types", "gpu:a100:8(S:0,2),gpu:v100:2", (10, "a100+v100")),
    ("mig", "gpu:nvidia_a100_3g.20gb:7", (7, "nvidia_a100_3g.20gb")),
    ("others", "shard:16,craynetwork:4", (0, "")),
    ("behind-others", "craynetwork:4,gpu:h100:4", (4, "h100")),
]


@pytest.mark.parametrize(("text", "expected"), [g[1:] for g in GRES], ids=[g[0] for g in GRES])
def test_gpus_of_a_node(text: str, expected: tuple[int, str]) -> None:
    assert slurm.parse_gres(text) == expected


def test_slurm_without_nodes_or_accounts_still_gives_a_file() -> None:
    text = text_of(strict_slurm(nodes=NONE, assoc=NONE, qos=NONE, default_account=NONE))
    found = load(text)
    assert found.queues["gpu"].max_gpus is None and found.defaults.gpus is None
    assert found.queues["gpu"].limit("max_walltime") == 4 * 86400
    assert "no answer to `sinfo" in text and "# gpus, cpus, mem: not told" in text


def test_arrays_that_are_off() -> None:
    config = ok(CONFIG.replace("= 1001", "= 0"))
    assert load(text_of(strict_slurm(config=config))).max_array == 1


# --- PBS


def test_pbs_in_the_manual_s_form() -> None:
    text = text_of(pbs_answers())
    found = load(text)
    assert (found.max_array, found.history) == (10000, True)
    assert found.max_jobs == 2500  # ana's own, not everybody's 2000
    gpu, cpu, long = (found.queues[name] for name in ("gpu", "cpu", "long"))
    assert (gpu.max_nodes, gpu.max_gpus, gpu.max_cpus) == (3, 8, 64)
    assert (gpu.max_queued, gpu.min_gpus, gpu.min_nodes) == (200, 1, None)
    assert gpu.limit("max_walltime") == 86400 and long.limit("max_walltime") == 96 * 3600
    assert gpu.limit("max_mem") == 2 * 263842692 * 1024 // 2**20 * 2**20  # in whole MiB
    assert (cpu.max_gpus, cpu.max_cpus, cpu.max_array) == (0, 128, 5000)
    assert found.cpu_queue == "cpu"
    # `workq` routes to them: what one of them takes, it takes.
    workq = found.queues["workq"]
    assert workq.limit("max_walltime") == 96 * 3600 and workq.max_gpus == 8
    assert found.defaults.queue == "workq"
    assert found.queues["friends"].limit("max_walltime") == 12 * 3600
    assert "max_run = [u:PBS_GENERIC=20]" in text


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("bigjobs", "from_route_only"), ("chem", "acl_groups = analytical,biochem"),
        ("old", "enabled = False"),
    ],
)  # fmt: skip
def test_a_queue_that_is_closed_is_a_comment_with_the_reason(name: str, why: str) -> None:
    text = text_of(pbs_answers())
    assert name not in load(text).queues
    assert f"{name}: not for you. {why}" in flat(text)


def test_pbs_as_it_is_installed_has_no_history() -> None:
    text = text_of(pbs_answers("-plain", "110-final-node"))
    found = load(text)
    assert found.history is False and "job_history_enable is not set, so it is off" in text
    assert found.queues["workq"].limit("max_walltime") is None
    assert found.queues["workq"].limit("max_mem") == 64 * GIB
    assert (found.defaults.gpus, found.defaults.cpus, found.defaults.mem) == (8, 8, "64GiB")
    assert found.defaults.walltime == "24:00:00"


def test_pbs_attributes_that_are_folded_or_stand_twice() -> None:
    blocks = pbs.parse_blocks(recorded.load("openpbs", "from-manual-qstat-Qf").stdout, "Queue")
    assert blocks["chem"]["acl_groups"][0].endswith("analytical,biochem")
    assert blocks["gpu"]["comment"] == [
        "Nodes with 8 x A100 = the best that we have, ask us before you use more than 4 of them"
    ]
    assert blocks["gpu"]["max_queued"] == ["[p:PBS_GENERIC=300]", "[u:PBS_GENERIC=200]"]


@pytest.mark.parametrize(
    ("text", "word", "recording", "path"),
    [
        ("from-manual-qstat-Bf-plain", "Server", "04-qstat-B", ("Server", "vm")),
        ("from-manual-qstat-Qf-plain", "Queue", "05-qstat-Q-json", ("Queue", "workq")),
    ],
    ids=["server", "queue"],
)
def test_the_text_form_names_what_the_recorded_json_names(
    text: str, word: str, recording: str, path: tuple[str, str]
) -> None:
    """The text is the manual's form; its attributes and their values are a real server's."""
    printed = recorded.load("openpbs", recording).stdout
    real = json.loads(printed[printed.index("{") :])[path[0]][path[1]]
    names = {key: str(value).strip() for key, value in yamlio.flatten(real).items()}
    block = pbs.parse_blocks(recorded.load("openpbs", text).stdout, word)[path[1]]
    changing = ("state_count", "total_jobs")
    assert len(block) > 6
    for name in block:
        assert name in names, name
        assert name in changing or pbs.first(block, name) == names[name]


SIZES = [("64gb", 64 * GIB), ("8388608kb", 8 * GIB), ("512", 512), ("1024mw", 8 * GIB), ("", 0),
         ("lots", 0), ("1tb", 1024 * GIB), ("100b", 100)]  # fmt: skip


@pytest.mark.parametrize(("text", "size"), SIZES, ids=[s[0] or "empty" for s in SIZES])
def test_pbs_sizes(text: str, size: int) -> None:
    assert pbs.parse_size(text) == size


def test_the_nodes_of_a_queue_may_be_its_own() -> None:
    text = "a\n     resources_available.ncpus = 4\n     queue = own\n"
    text += "b\n     resources_available.ncpus = 8\n"
    queues = "Queue: own\n    queue_type = Execution\nQueue: rest\n    queue_type = Execution\n"
    given = {**pbs_answers("-plain"), "pbsnodes": ok(text), "queues": ok(queues)}
    found = load(text_of(given))
    assert (found.queues["own"].max_cpus, found.queues["rest"].max_cpus) == (4, 8)
    assert (found.queues["own"].max_nodes, found.queues["rest"].max_nodes) == (1, 1)


def test_torque_in_the_manual_s_form() -> None:
    text = text_of(torque_answers())
    found = load(text)
    assert "never tried" in text
    assert (found.max_array, found.history) == (5000, True)
    batch, gpu = found.queues["batch"], found.queues["gpu"]
    assert (batch.max_nodes, batch.max_queued) == (2, 30)  # there are two nodes
    assert (gpu.max_nodes, gpu.max_gpus, gpu.max_cpus, gpu.max_queued) == (1, 4, 24, 100)
    assert gpu.limit("max_walltime") == 3600


# --- which scheduler


def test_both_schedulers_ask_for_a_choice_and_take_it() -> None:
    both = {**slurm_answers(), "qstat": PBS_VERSION}
    with pytest.raises(ConfigError, match="both Slurm and pbs are here.*--scheduler"):
        text_of(both)
    assert load(text_of(both, scheduler="slurm")).scheduler == "slurm"


def test_slurm_s_own_wrapper_of_qstat_is_no_second_scheduler() -> None:
    wrapper = Completed(("qstat",), 2, "", "Unknown option: version\nUsage:\n    qstat [-f]\n")
    assert load(text_of(slurm_answers(qstat=wrapper))).scheduler == "slurm"


def test_a_qstat_of_another_kind_is_not_guessed_at() -> None:
    with pytest.raises(ConfigError, match="neither PBS nor Torque .*unknown option"):
        text_of(answers(qstat=Completed(("qstat",), 1, "", "error: unknown option --version\n")))


@pytest.mark.parametrize("key", ["config", "partitions"])
def test_a_scheduler_that_does_not_answer_is_said_so(key: str) -> None:
    down = Completed((), 1, "", "scontrol: error: Unable to contact slurm controller\n")
    with pytest.raises(Unreachable, match="slurm does not answer `scontrol .*Unable to contact"):
        text_of(slurm_answers(**{key: down}))


def test_a_scheduler_that_hangs_is_said_so() -> None:
    with pytest.raises(Unreachable, match="no answer within 20 s"):
        text_of({**pbs_answers(), "queues": Completed((), 124, "", "")})


@pytest.mark.parametrize("text", ["", "\n", "PartitionName=", "garbage"])
def test_an_answer_without_a_queue_writes_nothing(text: str) -> None:
    with pytest.raises(Unreachable, match="named no queue"):
        text_of(slurm_answers(partitions=ok(text)))


def test_no_shell_no_file() -> None:
    with pytest.raises(Unreachable, match="no shell answers"):
        text_of({**slurm_answers(), "machine": NONE})


# --- the machine


def test_a_machine() -> None:
    found = machine.parse(MACHINE)
    assert (found.user, found.cores, found.interface) == ("ana", 16, "ib0")
    assert found.groups == ("ana", "users", "physics")
    assert found.tools == {"apptainer": "apptainer version 1.4.1"}
    assert found.modules == ("cuda/12.4", "python/3.11.7")
    assert [(disk.place, disk.kind) for disk in found.disks] == [
        ("/home/ana", "nfs4"), ("/scratch", "lustre"),
    ]  # fmt: skip
    assert found.disks[1].free == 2000000000 * 1024


def test_a_python_that_is_too_old_is_said_so() -> None:
    given = answers(machine=ok(MACHINE.replace(".venv\n", "")))
    assert "Python 3.6.8: too old, 3.11 is needed" in text_of(given)


def test_containers_that_are_there_are_written_down() -> None:
    text = MACHINE.replace("tool apptainer\napptainer version 1.4.1", "tool enroot\n3.4.1")
    text = text.replace("@@pipeline images\n", "@@pipeline images\nnemo_framework\n")
    found = load(text_of(slurm_answers(machine=ok(text))))
    assert found.environments["nemo"].container == "enroot"
    assert found.environments["nemo"].image == "nemo_framework"
    assert "nemo" not in load(text_of(slurm_answers())).environments


def test_a_project_that_is_not_found_is_a_comment() -> None:
    lost = answers(machine=ok(MACHINE.replace("/home/ana/pipeline\n", "")))
    assert "# project_dir: /path/there" in text_of(lost)
    assert load(text_of(lost, project_dir="/p/here")).project_dir == "/p/here"


def test_a_host_without_a_scheduler() -> None:
    cards = "".join(f"GPU {i}: NVIDIA A100 (UUID: GPU-{i})\n" for i in range(4))
    text = MACHINE.replace("@@pipeline gpus\n", f"@@pipeline gpus\n{cards}")
    found = load(text_of(answers(machine=ok(text))))
    assert (found.slots, found.max_cpus, found.max_gpus) == (16, 16, 4)
    assert found.max_mem == 65969148 * 1024
    assert (found.defaults.gpus, found.defaults.cpus) == (4, 16)
    assert found.gpu == site.Gpu("NVIDIA A100", "40GiB")
    assert set(found.environments) == {"light", "hf", "nemo"}


def test_the_machine_s_script_is_good_shell_and_answers(tmp_path: Path) -> None:
    checked = subprocess.run(["bash", "-n"], input=machine.SCRIPT, text=True, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    done = transport.Here(str(tmp_path)).run(machine.argv(str(ROOT), ""))
    found = machine.parse(done.stdout)
    assert found.cores > 0 and found.mem_bytes > 0 and found.user
    assert found.project == str(ROOT)
    assert found.disks[0].place == str(ROOT) and found.disks[0].free > 0


# --- which GPU

CARDS = [
    ("a100", (), ("a100", 40)),
    ("a100", ("ib", "gpu80"), ("a100", 80)),
    ("a100", ("GPU_MEM:80GB", "rack40", "256gb"), ("a100", 80)),
    ("a100-80", (), ("a100-80", 80)),
    ("a100_80gb", ("gpu40",), ("a100_80gb", 80)),
    ("nvidia_h100_80gb_hbm3", (), ("nvidia_h100_80gb_hbm3", 80)),
    ("NVIDIA H100 NVL", (), ("NVIDIA H100 NVL", 94)),
    ("tesla_v100", ("mem:32g",), ("tesla_v100", 32)),
    ("h200", (), ("h200", 141)),
    ("mi250x_64gb", (), ("mi250x_64gb", 64)),
    ("k80", ("gpu80",), None),
    ("nvidia_a100_3g.20gb", (), None),
    ("", ("a100",), None),
]


@pytest.mark.parametrize(
    ("name", "hints", "expected"), CARDS, ids=[" ".join([c[0], *c[1]]) for c in CARDS]
)
def test_a_gpu_by_what_is_said_of_it(
    name: str, hints: tuple[str, ...], expected: tuple[str, int] | None
) -> None:
    found = cards.card(name, hints)
    assert (found and (found.name, found.memory)) == expected


def test_the_forecast_knows_the_speed_of_what_sites_add_knows_the_size_of() -> None:
    assert list(cards.SIZES) == list(forecast.PEAKS)
    for name in cards.SIZES:
        assert forecast.peak(name) == forecast.PEAKS[name] and cards.model(name) == name


def test_slurm_names_its_gpus() -> None:
    text = text_of(slurm_answers())
    assert load(text).gpu == site.Gpu("a100", "40GiB")
    assert "40 or 64 or 80 GiB, and nobody tells which" in flat(text)
    features = ok("".join(f"n{i}|intel,gpu80,ib\n" for i in range(1, 5)))
    text = text_of(slurm_answers(features=features))
    assert load(text).gpu == site.Gpu("a100", "80GiB")
    assert "memory: its node's words say it" in flat(text)


def test_of_several_kinds_the_smallest_counts() -> None:
    assert load(text_of(strict_slurm())).gpu == site.Gpu("v100", "16GiB")
    features = ok("g1|v100_32gb\ng2|(null)\ng3|h100\n")  # g3's gres has no type
    nodes = NODES.replace("gpu:a100:4(S:0-1),gpu:v100:2(S:1)", "gpu:a100_80g:4")
    found = load(text_of(strict_slurm(features=features, nodes=ok(nodes))))
    assert found.gpu == site.Gpu("a100", "40GiB")
    [only] = [line for line in NODES.splitlines() if "|g3|" in line]
    found = load(text_of(strict_slurm(features=features, nodes=ok(only))))
    assert found.gpu == site.Gpu("h100", "80GiB")


def test_gpus_that_nobody_names_are_a_comment() -> None:
    nodes = recorded.load("slurm", "probe-nodes").stdout.replace(":a100", "")
    text = text_of(slurm_answers(nodes=ok(nodes)))
    assert load(text).gpu is None and "# gpu: not told; with {name: a100-40" in text
    assert load(text_of(pbs_answers())).gpu is None
    text = text_of(answers())  # there are none
    assert "gpu:" not in text


PBS_CARDS = [
    ("gpu_model = a100", "", ("a100", "40GiB")),
    ("gpu_type = A100-SXM4-80GB", "", ("A100-SXM4-80GB", "80GiB")),
    ("accelerator_model = NVIDIA A100", "accelerator_memory = 80gb", ("NVIDIA A100", "80GiB")),
    ("h100 = True", "", ("h100", "80GiB")),
    ("gpu_model = tesla_v100", "gpu_mem = 33554432kb", ("tesla_v100", "32GiB")),
]


@pytest.mark.parametrize(("what", "more", "expected"), PBS_CARDS, ids=[c[0] for c in PBS_CARDS])
def test_pbs_names_its_gpus_by_resources_of_the_site(
    what: str, more: str, expected: tuple[str, str]
) -> None:
    recording = recorded.load("openpbs", "110-final-node").stdout
    count = "     resources_available.ngpus = 8\n"
    assert count in recording
    lines = "".join(f"     resources_available.{line}\n" for line in (what, more) if line)
    given = {**pbs_answers("-plain"), "pbsnodes": ok(recording.replace(count, count + lines))}
    found = load(text_of(given))
    assert found.gpu == site.Gpu(*expected) and found.defaults.gpus == 8


def test_torque_names_its_gpus_by_properties_or_by_their_status() -> None:
    recording = recorded.load("torque", "from-manual-pbsnodes-a").stdout
    for old, new, name in (
        ("gpunode,haswell", "gpunode,v100,haswell", "v100"),
        ("gpu_id=0000:02:00.0;", "gpu_id=0000:02:00.0;gpu_product_name=Tesla V100;", "Tesla V100"),
    ):
        given = {**torque_answers(), "pbsnodes": ok(recording.replace(old, new))}
        assert load(text_of(given)).gpu == site.Gpu(name, "16GiB")


# --- hostile text

NAMES = [
    "yes",
    "1",
    "a b",
    "q: x",
    "#odd",
    "'",
    '"',
    "{}",
    "naïve",
    "- a",
    "null",
    "&a",
    "|",
    "a|b",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_partition_s_name_comes_through_whole(name: str) -> None:
    partitions = f"PartitionName={name} AllowGroups=ALL MaxTime=01:00:00 Default=YES State=UP"
    nodes = f"64|1000|gpu:2|n1|{name}\n"
    text = text_of(slurm_answers(partitions=ok(partitions), nodes=ok(nodes)))
    found = load(text)
    assert list(found.queues) == [name] and found.defaults.queue == name
    assert found.queues[name].max_gpus == 2


def test_a_name_that_cannot_be_written_is_left_out_and_counted() -> None:
    partitions = PARTITIONS + "PartitionName=a\x1b[31mb MaxTime=01:00:00 State=UP\n"
    text = text_of(slurm_answers(partitions=ok(partitions)))
    assert "1 more have names that cannot be written" in text and "\x1b" not in text
    assert "gpu" in load(text).queues


def test_a_partition_that_denies_nobody_is_open_to_an_association_without_an_account() -> None:
    """As sacctmgr prints an association whose account is gone: nothing before the bar."""
    given = slurm_answers(assoc=ok("||normal||||\n"))
    assert "main" in load(text_of(given)).queues


def test_a_folder_s_name_that_yaml_cannot_hold_as_it_is_is_escaped() -> None:
    odd = "/home/a\x7fna/pipeline"
    text = text_of(slurm_answers(machine=ok(MACHINE.replace("/home/ana/pipeline", odd))))
    assert load(text).project_dir == odd


def test_numbers_that_no_file_can_hold_are_no_limits() -> None:
    text = text_of(slurm_answers(nodes=ok(f"{2**63}|{2**60}|gpu:a100:8|n1|main\n")))
    main = load(text).queues["main"]
    assert (main.max_cpus, main.limit("max_mem")) == (2**63 - 1, 2**63 - 2**20)


ANYTHING = st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=200)


@draws(60)
@given(data=st.data())
def test_whatever_is_answered_there_is_a_file_that_loads_or_one_error(data: Any) -> None:
    """Answers cut anywhere, with other text put in."""
    given_answers = dict(data.draw(st.sampled_from(list(CASES.values()))))
    for key in data.draw(st.sets(st.sampled_from(sorted(given_answers)), max_size=3)):
        whole = given_answers[key].stdout
        cut = data.draw(st.integers(0, len(whole)))
        given_answers[key] = ok(whole[:cut] + data.draw(ANYTHING) + whole[cut:])
    try:
        text = text_of(given_answers)
    except PipelineError:
        return
    load(text)


@draws(100)
@given(text=ANYTHING)
def test_any_text_can_be_a_value_or_a_comment(text: str) -> None:
    shown = write._clean(text)
    assert "\n" not in shown and shown.isprintable()
    if write._writable(text):
        assert yamlio.parse(f"{write._key(text)}: {write._value(text)}", "t") == {text: text}


def test_the_smallest_limit_wins_and_its_source_with_it() -> None:
    limits = {"max_nodes": facts.Known(4, "a")}
    facts.keep(limits, max_nodes=facts.Known(2, "b"), max_gpus=None)
    facts.keep(limits, max_nodes=facts.Known(3, "c"))
    assert limits == {"max_nodes": facts.Known(2, "b")}


# --- the command


@pytest.mark.parametrize("name", ["local", "add", "a/b", "../x", "x.yaml", "", "-x"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ConfigError, match="no name for a site"):
        probe.check_name(name)


class Counting(transport.Here):
    """Counts round trips, and keeps what was asked."""

    def __init__(self, given: Mapping[str, Completed]) -> None:
        super().__init__()
        self.given = given
        self.asked: list[list[Sequence[str]]] = []

    def run_all(self, argvs: Sequence[Sequence[str]]) -> list[Completed]:
        self.asked.append(list(argvs))
        return [*self.given.values()][: len(argvs)]


def test_all_questions_are_one_round_trip_and_none_waits_for_ever() -> None:
    given = slurm_answers()
    order = [*probe.VERSIONS, *slurm.QUESTIONS, *pbs.QUESTIONS, "machine"]
    link = Counting({key: given[key] for key in order})
    text = probe.ask(probe.Request("mine"), link, Path("/p"), DAY)
    assert load(text).scheduler == "slurm"
    assert len(link.asked) == 1 and all(argv[0] == "timeout" for argv in link.asked[0])


def add(project: Project, *words: str, code: int = 0) -> str:
    return project.run("sites", "add", *words, code=code)


def test_the_command_on_this_machine(tmp_path: Path) -> None:
    project = Project(tmp_path / "p", site_yaml("local", tmp_path / "p"), {})
    shown = add(project, "box", "--scheduler", "local", "--dry-run")
    assert "scheduler: local" in shown and not (project.root / "sites/box.yaml").exists()
    add(project, "box", "--scheduler", "local")
    assert "is there already. Use --force" in add(project, "box", code=2)
    assert "box" in project.run("sites") and "slots" in project.run("sites", "box")
    path = project.root / "sites/box.yaml"
    path.write_text("mine\n")
    add(project, "box", "--scheduler", "local", "--force")
    assert site.load(project.root, "box").max_cpus > 0
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_the_list_says_what_a_site_cannot_do() -> None:
    far = site.Site(site="far", scheduler="torque", host="login", history=False)
    assert list(site_view._notes("far", far, "far")) == [
        "default", "untested: from Torque's manual", "over ssh: login",
        "no history: only receipts tell how jobs ended",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "start", "expected"),
    [
        (["sites"], "", ["add", "example-pbs", "example-slurm", "local"]),
        (["sites"], "example-p", ["example-pbs"]),
        (["sites", "add"], "", []),
    ],
    ids=["all", "some", "new"],
)
def test_completion(
    typed: list[str], start: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    shell = ShellComplete(cli, {}, "pipeline", "_PIPELINE_COMPLETE")
    found = [item.value for item in shell.get_completions(typed, start)]
    assert [name for name in found if name in expected or not expected] == expected


def test_the_command_on_a_slurm_cluster(tmp_path: Path, slurm: Slurm) -> None:
    env = {"SLURM_CONF": slurm.env["SLURM_CONF"]}
    project = Project(tmp_path / "p", site_yaml("slurm", tmp_path / "p"), env)
    add(project, "real", "--scheduler", "slurm")
    found = site.load(project.root, "real")
    assert (found.scheduler, found.max_array) == ("slurm", 100000)
    assert set(found.queues) == {"main", "short"} and found.defaults.queue == "main"
    assert found.queues["short"].limit("max_walltime") == 600
    project.env["PIPELINE_SSH"] = f"ssh -F {slurm.ssh_config}"
    far = add(project, "far", "--host", "pipeline-slurm", "--scheduler", "slurm", "--dry-run")
    assert "host: pipeline-slurm" in far and load(far).queues == found.queues
    shown = project.run("sites", "real")
    assert "max walltime" in shown and "00:10:00" in shown
    # The plan holds jobs against it, and the cluster takes what the plan lets through.
    words = ["--site", "real", "--set", "resources.walltime=00:20:00"]
    refused = project.run("plan", *words, "--set", "resources.queue=short", code=2)
    assert "00:20:00 is over queue 'short''s 00:10:00" in refused and "use queue 'main'" in refused
    assert json.loads(project.run("plan", "--json", *words))["jobs"]
