"""What a login node, or a host without a scheduler, tells of itself: one shell script, one answer.

The script runs in a login shell, since that is where modules and their programs come from. Every
line that is not its own, such as a greeting, stands before its first mark or under none it asked.
"""

from __future__ import annotations

import re

import msgspec

from pipeline.probe.facts import GIB

MARK = "@@pipeline "
SCRIPT = r"""
say() { printf '\n@@pipeline %s\n' "$1"; }
say user; id -un
say groups; id -Gn
say host; hostname -f 2>/dev/null || hostname
say project
name=${1##*/}
for folder in "$2" "$1" "$HOME/$name" "${SCRATCH:-/nowhere}/$name" "${WORK:-/nowhere}/$name"; do
  [ -d "$folder/studies" ] && [ -d "$folder/job_templates" ] && {
    printf '%s\n' "$folder"; project=$folder; break; }
done
say venvs
for name in .venv .venv-hf; do [ -x "$project/$name/bin/python" ] && echo "$name"; done
say python; command -v python3; python3 --version 2>&1
say cores; nproc
say memory; awk '/^MemTotal:/ {print $2}' /proc/meminfo
say net; ls /sys/class/net 2>/dev/null
for tool in enroot apptainer singularity; do
  command -v "$tool" >/dev/null || continue
  say "tool $tool"
  timeout 10 "$tool" version 2>/dev/null || timeout 10 "$tool" --version 2>/dev/null
done
say images; command -v enroot >/dev/null && timeout 10 enroot list 2>/dev/null
say missing
for tool in rsync sha256sum flock timeout; do command -v "$tool" >/dev/null || echo "$tool"; done
say disks
for place in "$project" "$HOME" "$SCRATCH" "$WORK" /scratch; do
  [ -n "$place" ] && [ -d "$place" ] || continue
  printf '%s\t' "$place"; timeout 10 df -PTk "$place" 2>/dev/null | tail -n 1
done
say gpus; timeout 15 nvidia-smi -L 2>/dev/null
say modules
timeout 20 bash -lc 'module -t avail 2>&1' 2>/dev/null </dev/null |
  grep -iE '^(.*/)?(cuda|apptainer|singularity|enroot|python|anaconda|mini(conda|forge))' |
  head -n 30
say end
"""
LIMIT_S = 50  # of the whole script; its slow parts come last, and have limits of their own

_NOT_MODULES = re.compile(r":\s*$|command not found|\s")
_INTERFACE = re.compile(r"(?:hsn|ib)\w*", re.ASCII)


class Disk(msgspec.Struct, frozen=True):
    """A file system that data may lie on."""

    place: str
    kind: str
    free: int  # bytes

    def words(self) -> str:
        """`/scratch/me: lustre, 2100 GB free`."""
        return f"{self.place}: {self.kind}, {self.free / 1e9:.0f} GB free"


class Machine(msgspec.Struct, frozen=True):
    """A host as its login shell shows it."""

    user: str = ""
    groups: tuple[str, ...] = ()
    host: str = ""
    project: str = ""
    venvs: tuple[str, ...] = ()
    python: str = ""
    python_version: str = ""
    cores: int = 0
    mem_bytes: int = 0
    interface: str = ""
    tools: dict[str, str] = {}
    images: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    disks: tuple[Disk, ...] = ()
    gpus: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


def argv(root: str, project: str) -> list[str]:
    """The command; it looks for the project at `project`, where it is here, and beside a home."""
    return ["timeout", str(LIMIT_S), "bash", "-lc", SCRIPT, "probe", root, project]


def parse(text: str) -> Machine:
    """What the script printed; what it could not tell, or had no time for, is empty."""
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(MARK):
            lines = parts.setdefault(line.removeprefix(MARK), [])
        elif line.strip():
            lines.append(line.strip() if "\t" not in line else line)
    one = {key: values[0] if values else "" for key, values in parts.items()}
    python = parts.get("python", [])
    memory = one.get("memory", "")
    return Machine(
        user=one.get("user", ""),
        groups=tuple(one.get("groups", "").split()),
        host=one.get("host", ""),
        project=one.get("project", ""),
        venvs=tuple(parts.get("venvs", ())),
        python=python[0] if python and python[0].startswith("/") else "",
        python_version=python[-1] if python else "",
        cores=int(cores) if (cores := one.get("cores", "")).isdecimal() else 0,
        mem_bytes=int(memory) * 1024 if memory.isdecimal() else 0,
        interface=next((n for n in parts.get("net", ()) if _INTERFACE.fullmatch(n)), ""),
        tools={k.removeprefix("tool "): v for k, v in one.items() if k.startswith("tool ")},
        images=tuple(parts.get("images", ())),
        missing=tuple(parts.get("missing", ())),
        disks=tuple(filter(None, map(_disk, parts.get("disks", ())))),
        gpus=tuple(line for line in parts.get("gpus", ()) if line.startswith("GPU ")),
        modules=tuple(m for m in parts.get("modules", ()) if not _NOT_MODULES.search(m)),
    )


def _disk(line: str) -> Disk | None:
    """`PLACE<tab>FILESYSTEM TYPE BLOCKS USED AVAILABLE CAPACITY MOUNTED`, in blocks of 1024."""
    place, _, rest = line.partition("\t")
    match = re.search(r" (\S+) +\d+ +\d+ +(\d+) +\d+% ", rest, re.ASCII)
    return Disk(place, match[1], int(match[2]) * 1024) if match else None


def share(machine: Machine, part: float) -> int:
    """A part of the machine's memory, in whole GiB, at least one."""
    return max(1, int(machine.mem_bytes * part / GIB)) * GIB
