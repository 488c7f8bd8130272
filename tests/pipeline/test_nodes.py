"""Training over several nodes: rendered scripts that find their nodes and start on each of them.

pbs_tmrsh and scontrol are stand-ins; the nodes are names of this machine, torchrun is the real one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.job import Resources, Runtime
from tests.pipeline.test_scripts_run import Script

NODES = Resources(nodes=2, gpus=1, cpus=1, mem_bytes=2**30, walltime_s=3600)
# As pbs_tmrsh does: words are passed on as they are, variables are not, and the name must be one
# of PBS_NODEFILE. A task's output is not ours.
TMRSH = """#!/bin/bash
node=$1
shift
grep -Fxq -- "$node" "$PBS_NODEFILE" || exit 255
printf '%s\\n' "$node $*" >>"{tools}/started"
cd / && exec env -i PATH="$PATH" HOSTNAME=other PBS_JOBID="$PBS_JOBID" "$@" >/dev/null 2>&1
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
"$@" & "$@" & wait -n; code=$?; wait; exit "$code"
"""
TORCHRUN = """#!/bin/bash
printf '%s\\n' "$@" >>"$PWD/argv"
while [[ $1 != --no-python ]]; do shift; done
shift
exec "$@"
"""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "nodefile").write_text("localhost\nlocalhost\n127.0.0.1\n127.0.0.1\nlocalhost\n")
    program(folder, "nvidia-smi", "#!/bin/sh\necho GPU 0\n")
    program(folder, "pbs_tmrsh", TMRSH.format(tools=folder))
    program(folder, "srun", SRUN)
    program(folder, "scontrol", '#!/bin/sh\n[ "$3" = "n[1-2]" ] && printf "localhost\\nn2\\n"\n')
    return folder


def program(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    return str(folder / name)


def script(root: Path, tools: Path, *argv: str, **changes: Any) -> Script:
    """A training job over two nodes; PATH as a site file's line sets it."""
    runtime = Runtime(python=changes.pop("python", sys.executable),
                      activate=(f"export PATH={tools}:$PATH",))  # fmt: skip
    return Script(root, *argv, kind="train", launcher="torchrun", resources=NODES,
                  runtime=runtime, **{"scheduler": "pbs", **changes})  # fmt: skip


def run(made: Script, tools: Path, **env: str) -> tuple[int, str, str]:
    return made.run(None, PBS_JOBID="7.pbs", PBS_NODEFILE=str(tools / "nodefile"), **env)


def test_torchrun_meets_over_the_nodes_of_pbs(root: Path, tools: Path) -> None:
    program = 'echo "$RANK of $WORLD_SIZE, $GROUP_RANK, $KEY, $PWD" >r$RANK; echo from $RANK'
    made = script(root, tools, "bash", "-c", program)
    (root / ".env").write_text("KEY=it's secret\n")
    (root / ".env").chmod(0o600)
    code, out, err = run(made, tools)
    assert code == 0, err
    told = sorted((root / f"r{rank}").read_text() for rank in (0, 1))
    assert told == [f"{rank} of 2, {rank}, it's secret, {root}\n" for rank in (0, 1)]
    [started] = (tools / "started").read_text().splitlines()
    assert started.startswith("127.0.0.1 bash ") and "secret" not in started
    assert ("from 0" in out) != ("from 1" in out)
    other = (root / "logs" / "scheduler" / "1.7.pbs.127.0.0.1.log").read_text()
    assert "from 0" in other or "from 1" in other
    assert made.names() == ["1.7.pbs.ok"], "the file with the keys is gone"


def test_the_keys_are_this_users_alone(root: Path, tools: Path) -> None:
    stub = program(tools, "torchrun", TORCHRUN)
    made = script(root, tools, "bash", "-c", "ls -l jobs/receipts/split/.*.node >seen; true",
                  python=stub)  # fmt: skip
    assert run(made, tools)[0] == 0
    assert (root / "seen").read_text().startswith("-rw-------")
    argv = (root / "argv").read_text().splitlines()
    assert argv.count("--nnodes=2") == 2
    ends = {word for word in argv if word.startswith("--rdzv-endpoint=")}
    assert len(ends) == 1 and ends.pop().startswith("--rdzv-endpoint=localhost:")


def test_a_failure_on_another_node_ends_the_job_with_its_code(root: Path, tools: Path) -> None:
    stub = program(tools, "torchrun", TORCHRUN)
    fails = '[[ $HOSTNAME == n1 ]] || exit 70; trap "exit 1" TERM; while :; do sleep 0.1; done'
    made = script(root, tools, "bash", "-c", fails, python=stub)
    code, _, err = run(made, tools)
    assert code == 70
    assert "error: the program on node 127.0.0.1 ended with 70" in err
    assert json.loads((made.receipts / "1.7.pbs.fail-70").read_text())["exit"] == 70


@pytest.mark.parametrize(
    ("nodefile", "fact"),
    [("localhost\nlocalhost\n", "gave 1 nodes (localhost) of the 2"),
     ("a\nb\n\nb\nc\n", "gave 3 nodes (a b c) of the 2"), ("", "gave 0 nodes (none) of the 2")],
    ids=["chunks on one host", "too many", "none"],
)  # fmt: skip
def test_another_number_of_nodes_is_refused(
    root: Path, tools: Path, nodefile: str, fact: str
) -> None:
    (tools / "nodefile").write_text(nodefile)
    made = script(root, tools, "touch", "ran")
    code, _, err = run(made, tools)
    assert code == 65 and fact in err
    assert not (root / "ran").exists()


def test_without_pbs_tmrsh_it_says_what_to_do(root: Path, tools: Path) -> None:
    (tools / "pbs_tmrsh").unlink()
    code, _, err = run(script(root, tools, "true"), tools, PBS_EXEC="/nowhere")
    assert code == 65
    assert "error: pbs_tmrsh is not on n1, so nothing can be started on 127.0.0.1" in err


@pytest.mark.parametrize("name", ["localhost", "no-such-host.invalid"])
def test_slurms_names_of_the_nodes(root: Path, tools: Path, name: str) -> None:
    program(tools, "scontrol", f"#!/bin/sh\nprintf '{name}\\nn2\\n'\n")
    stub = program(tools, "torchrun", TORCHRUN)
    made = script(root, tools, "true", python=stub, scheduler="slurm")
    code, _, err = made.run(None, SLURM_JOB_ID="8", SLURM_JOB_NODELIST="n[1-2]")
    assert code == 0, err
    ends = {w for w in (root / "argv").read_text().splitlines() if "rdzv-endpoint" in w}
    meet = name if name == "localhost" else "n1"  # the script's own host
    assert len(ends) == 1 and ends.pop().startswith(f"--rdzv-endpoint={meet}:")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "project"
