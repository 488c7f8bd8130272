"""A Slurm of a few lines of bash: it queues and forgets, and a test says when tasks end, and how.

Its commands take milliseconds and its state is files, so that a command can be killed at a hundred
places in a minute. How the real one behaves is tested on the real one.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from pipeline.ranges import from_ranges

_SBATCH = r"""#!/bin/bash
exec 8>>"$FAKE/lock"
flock 8
for word; do case $word in --job-name=*) name=${word#*=} ;; esac; done
size=0
while read -r line; do
  [[ ! $line =~ ^#SBATCH\ --array=1-([0-9]+) ]] || size=${BASH_REMATCH[1]}
done <"${!#}"
id=$(($(<"$FAKE/next") + 1))
echo "$id" >"$FAKE/next"
echo "$name $size" >"$FAKE/jobs/$id"
echo "$name" >>"$FAKE/submitted"
if [[ -e $FAKE/mute ]]; then
  echo "sbatch: error: Unable to contact slurm controller (connect failure)" >&2
  exit 1
fi
echo "$id"
"""
_SQUEUE = r"""#!/bin/bash
for path in "$FAKE"/jobs/*; do
  [[ -e $path ]] || continue
  read -r name size <"$path"
  id=${path##*/}
  tasks=
  ((size == 0)) || tasks="_[1-$size]"
  if [[ ${!#} == ArrayJobID* ]]; then
    echo "$id|$name"
  else
    echo "$id$tasks|PENDING|0|Priority||0:00|$name"
  fi
done
"""
_SCANCEL = r"""#!/bin/bash
[[ ! -e $FAKE/jobs/$1 ]] || mv "$FAKE/jobs/$1" "$FAKE/cancelled/$1"
"""
_SACCT = r"""#!/bin/bash
for path in "$FAKE"/cancelled/*; do
  [[ -e $path ]] || continue
  read -r name size <"$path"
  id=${path##*/}
  tasks=
  ((size == 0)) || tasks="_[1-$size]"
  if [[ $* == *JobID,JobName* ]]; then
    echo "$id|$name"
  else
    echo "$id$tasks|CANCELLED by 1000|0:0|None|None assigned|0|$name"
  fi
done
"""


class FakeSlurm:
    """Its folder and programs. `ran`: (job, task, token, how) of every task that ended."""

    def __init__(self, folder: Path) -> None:
        self.state, self.bin = folder / "slurm", folder / "bin"
        self.bin.mkdir(parents=True)
        texts = {
            "sbatch": _SBATCH, "squeue": _SQUEUE, "scancel": _SCANCEL, "sacct": _SACCT,
        }  # fmt: skip
        for name, text in texts.items():
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)
        for name in ("jobs", "cancelled"):
            (self.state / name).mkdir(parents=True, exist_ok=True)
        (self.state / "next").write_text("0")

    def queued(self) -> list[tuple[str, str, str]]:
        """(id, job, token) of what is in the queue, oldest first."""
        found = []
        for path in sorted((self.state / "jobs").iterdir(), key=lambda p: int(p.name)):
            job, _, token = path.read_text().split()[0].rpartition(".")
            found.append((path.name, job, token))
        return found

    def submitted(self) -> list[str]:
        """The tokens of all that was ever accepted."""
        path = self.state / "submitted"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.rpartition(".")[2] for line in lines]

    def drain(self, state_dir: Path, failing: Collection[tuple[str, int]] = ()) -> None:
        """All that is queued runs, task by task, and leaves the queue."""
        for job_id, job, token in self.queued():
            for index, task in enumerate(_tasks(state_dir, job, token), 1):
                own = f"{job_id}_{index}" if len(_tasks(state_dir, job, token)) > 1 else job_id
                kind = "fail-1" if (job, task) in failing else "ok"
                folder = state_dir / "receipts" / job
                folder.mkdir(parents=True, exist_ok=True)
                content = {"job": job, "task": task, "id": own, "token": token}
                (folder / f"{task}.{own}.{kind}").write_text(json.dumps(content))
                with (self.state / "ran").open("a") as file:
                    file.write(f"{job} {task} {kind}\n")
            (self.state / "jobs" / job_id).unlink()

    def ran(self) -> list[str]:
        """`cut 3 ok` for every task that ended, sorted."""
        path = self.state / "ran"
        return sorted(path.read_text().splitlines()) if path.exists() else []


def _tasks(state_dir: Path, job: str, token: str) -> list[int]:
    """The tasks of an attempt, from the intent that must be there before it is queued."""
    for path in (state_dir / "attempts").glob(f"{job}.*.json"):
        intent = json.loads(path.read_text())
        if intent["attempt"]["token"] == token:
            return from_ranges(intent["attempt"]["tasks"])
    raise AssertionError(f"{job} {token} was queued and its intent is not on the disk")
