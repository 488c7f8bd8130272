"""A scheduler on another host: what a command needs of it, in one round trip.

The run's manifest stays here. Receipts, progress files and logs are written there, by the tasks; a
look brings what changed of them into the same folders here (`pipeline.mirror`), so that everything
else works on files as it does on the host itself.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline import ssh
from pipeline.errors import NotStarted, Unreachable
from pipeline.mirror import Member, Mirror, packed, unpacked
from pipeline.schedulers.base import Completed
from pipeline.transport import NOT_FOUND, Patterns

COMMAND_S = 55  # of one command there; a hung scheduler must not hide the receipts
OVERLAP_S = 300  # receipts are asked for again so long: a file system may show one late
TAIL_BYTES = 64_000  # of a log that a look brings along
MOST_LOGS = 20  # of a look; more of them are brought when somebody asks
_TIMED_OUT = (124, 137)  # of `timeout`


class Remote:
    """One run on a host, in the folder `project` there; `root` is the project here."""

    def __init__(
        self, host: str, project: str, root: Path, state_dir: str = "", logs: str = "",
        outputs: Patterns | None = None,
    ) -> None:  # fmt: skip
        self.host, self.project = host, project.rstrip("/")
        self.root, self.state_dir, self.logs = root, state_dir, logs
        self.outputs = dict(outputs or {})
        self.ssh = ssh.Host(host)
        self.calls = 0
        self.mirror = Mirror(root, state_dir, host, self.project, logs)
        self._present: dict[str, set[int]] = {}

    def there(self, path: str) -> str:
        """A path of the project as the host sees it."""
        return path if path.startswith("/") else f"{self.project}/{path}"

    # --- commands

    def run(self, argv: Sequence[str], keep_fd: int | None = None) -> Completed:
        """One command. Raises NotStarted where it is not there, Unreachable without an answer."""
        return self._answered(self.run_all([argv])[0])

    def run_all(self, argvs: Sequence[Sequence[str]]) -> list[Completed]:
        """Commands in their order, in one round trip."""
        return _results(argvs, self.ask([self.enter(), *_steps(argvs)]))

    def ask_after(self, argvs: Sequence[Sequence[str]], tokens: Sequence[str]) -> list[Completed]:
        """`run_all`, once no submission is under way there. One under these tokens that has not
        arrived yet is refused when it does."""
        refused = f"{self._state()}/refused"
        marks = [f"mkdir -p -- {quoted(refused)} || exit 3"]
        marks += [f": >{quoted(f'{refused}/{token}')} || exit 3" for token in tokens]
        lines = [self.enter(must=True), *self._locked(), *marks, *_steps(argvs)]
        return _results(argvs, self.ask(lines))

    def launch(
        self, argv: Sequence[str], files: Mapping[str, Path], folders: Sequence[str], token: str,
        keep_fd: int | None = None,
    ) -> Completed:  # fmt: skip
        """Puts `files` (path there -> file here) and folders in their places and submits. Once it
        has arrived there it goes on to its end, also when the connection is cut."""
        refused = quoted(f"{self._state()}/refused/{token}")
        lines = [
            self.enter(must=True),
            *self._locked(),
            f'[[ ! -e {refused} ]] || {{ echo "it was given up meanwhile" >&2; exit 3; }}',
            *self._owned(),
            *(f"mkdir -p -- {quoted(self.there(folder))} || exit 3" for folder in folders),
            'mkdir "$T/in" && tar -xf "$T/data" -C "$T/in" || exit 3',
            *(f'place "$T/in/{i}" {quoted(self.there(path))}' for i, path in enumerate(files)),
            *_steps([argv]),
        ]
        numbered = {str(i): path for i, path in enumerate(files.values())}
        contents = {name: path.read_bytes() for name, path in numbered.items()}
        runnable = {name for name, path in numbered.items() if os.access(path, os.X_OK)}
        answer = self.ask(lines, packed(contents, runnable))
        return self._answered(_results([argv], answer)[0])

    def _answered(self, result: Completed) -> Completed:
        if result.returncode == NOT_FOUND and not result.stdout and result.argv[0] != "env":
            raise NotStarted(
                f"{result.argv[0]}: no such command on {self.host}. Load its module in "
                "~/.bash_profile there, or correct the site's scheduler"
            )
        if result.returncode in _TIMED_OUT:
            raise Unreachable(
                f"{result.argv[0]}: no answer within {COMMAND_S} s on {self.host}. Try again"
            )
        return result

    # --- files

    def look(self, argvs: Sequence[Sequence[str]]) -> list[Completed]:
        """`run_all`; then the receipts, progress files and ends of new failures' logs that
        changed there are here, too."""
        since = self.mirror.since()
        answer = self.ask([self.enter(), *_steps(argvs), *self._changes(since)])
        results = _results(argvs, answer)
        self._present = _listed(self.outputs, answer)
        if not self.mirror.take(answer):  # some were removed there, or shown very late
            self.mirror.replace(self.ask([self.enter(), *self._changes(0.0)]))
        return results

    def present(self, patterns: Patterns) -> dict[str, set[int]]:
        """Pattern -> the tasks whose file is there, as the last look saw it, else asked now."""
        lacking = {p: n for p, n in patterns.items() if p not in self._present}
        if lacking:
            self._present |= _listed(lacking, self.ask([self.enter(), *_listing(lacking)]))
        return {pattern: self._present[pattern] for pattern in patterns}

    def bring_logs(self, job: str, tasks: Sequence[int]) -> None:
        """The ends of some tasks' logs, and of what the scheduler itself wrote, to here."""
        folder = quoted(f"{self._logs()}/{job}")
        own = " ".join(f"{folder}/{task}.*.log" for task in tasks[:MOST_LOGS])
        lines = [
            f'shopt -s nullglob; for f in {own}; do keep {quoted(job)} "$f"; done',
            f'ls -1t -- {folder}/scheduler 2>/dev/null | head -n {MOST_LOGS} >"$T/own"',
            f'while IFS= read -r f; do keep {quoted(f"{job}/scheduler")} {folder}/scheduler/"$f"; '
            'done <"$T/own"',
        ]
        self.mirror.take_logs(self.ask([self.enter(), *lines]))

    def log(self, job: str, task: int, follow: bool, lines: int | None) -> Iterator[bytes]:
        """A task's newest log as it is, and with `follow` what is added to it."""
        self.calls += 1
        folder = quoted(f"{self._logs()}/{job}")
        return self.ssh.stream(
            f"{self.enter(must=True)}\n"
            f"file=$(ls -1t -- {folder}/{task}.*.log 2>/dev/null | head -n 1)"
            '\n[[ -n $file ]] || { echo "no log yet" >&2; exit 4; }\n'
            f'tail -n {lines or "+1"} {"-F " if follow else ""}-- "$file" 2>/dev/null'
        )

    # --- the script

    def ask(self, lines: Sequence[str], data: bytes = b"") -> dict[str, Member]:
        """One round trip; the files that the script left, by name."""
        self.calls += 1
        script = "\n".join([_FUNCTIONS, "work() (", *lines, "exit 0", ")", _PACK])
        answer = unpacked(self.ssh.exchange(script, data))
        if problem := answer.get("problem"):
            said = problem.text.strip().splitlines() or ["it did not say why"]
            raise NotStarted(f"{self.host}: {said[-1]}")
        return answer

    def enter(self, must: bool = False, make: bool = False) -> str:
        """Goes to the project; what only asks the scheduler works without it, too."""
        if make:
            refusal = f"{self.project} cannot be made. Correct project_dir in the site file"
            made = f"mkdir -p -- {quoted(self.project)} && cd -- {quoted(self.project)}"
            return f"{made} || {{ echo {quoted(refusal)} >&2; exit 3; }}"
        if not must:
            return f"cd -- {quoted(self.project)} 2>/dev/null || cd"
        lacking = f"{self.project} is not there. `pipeline sync` puts the project there"
        return (
            f"cd -- {quoted(self.project)} 2>/dev/null || {{ echo {quoted(lacking)} >&2; exit 3; }}"
        )

    def _locked(self) -> list[str]:
        """Holds the run's lock there, which a submission that goes on without us holds, too."""
        busy = (
            f"{self._state()}/.lock: another command holds it for 100 s, or nothing can be locked"
        )
        return [
            f"mkdir -p -- {quoted(self._state())} || exit 3",
            f"exec 9>>{quoted(self._state())}/.lock || exit 3",
            f"flock -w 100 9 || {{ echo {quoted(busy)} >&2; exit 3; }}",
        ]

    def _owned(self) -> list[str]:
        """Only one place drives a run: who was first has its name in a file there."""
        mark = self.mirror.mark()  # the host's name may change with the network
        here = f"{mark} {os.uname().nodename}:{self.root}"
        path = quoted(f"{self._state()}/driven-from")
        own = f"{self._state()} has a manifest of its own. Go on with this run on {self.host}"
        return [
            f"[[ ! -e {quoted(self._state())}/manifest.yaml ]] || {{",
            f"  echo {quoted(own)} >&2",
            "  exit 3",
            "}",
            f"[[ -s {path} ]] || printf '%s\\n' {quoted(here)} >{path} || exit 3",
            f"IFS=' ' read -r mark place <{path}",
            f"[[ $mark == {mark} ]] || {{",
            f'  echo "this run is driven from $place. Go on there, or remove "{path} >&2',
            "  exit 3",
            "}",
        ]

    def _changes(self, since: float) -> list[str]:
        """Lists what changed in the state folder, and keeps the ends of new failures' logs."""
        newer = f"-newerct @{max(0.0, since - OVERLAP_S):.3f}" if since else ""
        wanted = "-mindepth 2 -maxdepth 2 -type f ! -name '.*'"
        lines = [
            *_listing(self.outputs),
            f"cd -- {quoted(self._state())} 2>/dev/null || exit 0",
            # All names are counted: one that was removed there shows in nothing else.
            f"find receipts {wanted} -fprintf \"$T/all\" '%h\\n' {newer} -printf '%C@ %p\\0' "
            '2>/dev/null >"$T/found"',
            'sort -- "$T/all" | uniq -c >"$T/r/counts"',
            "sed -z 's/ .*//' \"$T/found\" | tr '\\0' '\\n' | sort -rn | head -n 1 "
            '>"$T/r/newest"',
            'sed -z \'s/^[^ ]* //\' "$T/found" >"$T/list"',
            f'find progress gates {wanted} {newer} -print0 2>/dev/null >>"$T/list"',
            'pwd >"$T/state"',
        ]
        if since:
            lines += [
                f"cd -- {quoted(self.project)} || exit 0",
                f"find {quoted(self._state())}/receipts {wanted} -name '*.fail-*' "
                f"-newerct @{since:.3f} -printf '%P\\0' 2>/dev/null | "
                f'head -z -n {MOST_LOGS} >"$T/failed"',
                "while IFS= read -r -d '' f; do",
                f'  keep "${{f%%/*}}" {quoted(self._logs())}/"${{f%.*}}.log"',
                'done <"$T/failed"',
            ]
        return lines

    def _state(self) -> str:
        return self.there(self.state_dir)

    def _logs(self) -> str:
        return self.there(self.logs)


# What every script may use. What it leaves in $T/r is the answer, with the files of $T/list, whose
# names are relative to the folder in $T/state.
_FUNCTIONS = f"""
mkdir "$T/r"
n=0
step() {{  # COMMAND...: its output, errors and exit code, under its number
  timeout -k 5 {COMMAND_S} "$@" </dev/null >"$T/r/$n.out" 2>"$T/r/$n.err" 9>&-
  echo "$?" >"$T/r/$n.code"
  n=$((n + 1))
}}
keep() {{  # JOB FILE: the end of a log
  [[ -f $2 ]] || return 0
  mkdir -p -- "$T/r/logs/$1"
  tail -c {TAIL_BYTES} -- "$2" >"$T/r/logs/$1/${{2##*/}}"
  touch -r "$2" -- "$T/r/logs/$1/${{2##*/}}"
}}
place() {{  # FILE PATH: synced, then renamed
  local new=${{2%/*}}/.${{2##*/}}.tmp
  mkdir -p -- "${{2%/*}}" && cp -- "$1" "$new" && chmod "$(stat -c %a -- "$1")" -- "$new" &&
    sync -- "$new" && mv -f -- "$new" "$2" || {{
    rm -f -- "$new"
    echo "$2 cannot be written" >&2
    exit 3
  }}
}}
"""
_PACK = """
work 2>"$T/said" || cp -- "$T/said" "$T/r/problem"
if [[ -s $T/list ]]; then  # a file that a task renames meanwhile is left out
  tar -czf "$T/answer" --format=posix --pax-option=delete=atime,delete=ctime \\
    --ignore-failed-read --warning=none -C "$T/r" . \\
    -C "$(cat "$T/state")" --null --verbatim-files-from -T "$T/list" 2>/dev/null
else
  tar -czf "$T/answer" -C "$T/r" .
fi
"""


def quoted(*words: str) -> str:
    """Words for a shell."""
    return shlex.join(words)


def _steps(argvs: Sequence[Sequence[str]]) -> list[str]:
    return [f"step {shlex.join(argv)}" for argv in argvs]


def _results(argvs: Sequence[Sequence[str]], answer: Mapping[str, Member]) -> list[Completed]:
    return [
        Completed(
            tuple(argv), int(answer[f"{i}.code"].text), answer[f"{i}.out"].text,
            answer[f"{i}.err"].text,
        )
        for i, argv in enumerate(argvs)
    ]  # fmt: skip


def _listing(patterns: Patterns) -> list[str]:
    """Numbers of the tasks whose file is there; one listing a folder where it has them all."""
    lines = []
    for i, (pattern, tasks) in enumerate(patterns.items()):
        folder, _, name = pattern.rpartition("/")
        before, task, after = name.partition("{task4}")
        if "{task4}" in folder or "{task4}" in after:
            start, *rest = pattern.split("{task4}")
            path = quoted(start) + "".join(f'"$four"{quoted(part)}' for part in rest)
            lines.append(
                f'for ((t = 1; t <= {tasks}; t++)); do printf -v four %04d "$t"; '
                f'[[ -e {path} ]] && echo "$t"; done >"$T/r/there.{i}"'
            )
            continue
        expected = (
            f"seq -f {quoted(before.replace('%', '%%') + '%04.0f' + after.replace('%', '%%'))}"
        )
        wanted = f"{expected} 1 {tasks}" if task else f"printf '%s\\n' {quoted(name)}"
        lines += [
            f'{wanted} >"$T/wanted"; ls -1UNA -- {quoted(folder or ".")} >"$T/names" 2>/dev/null',
            f'grep -Fxn -f "$T/names" -- "$T/wanted" | cut -d: -f1 >"$T/r/there.{i}"',
        ]
    return lines


def _listed(patterns: Patterns, answer: Mapping[str, Member]) -> dict[str, set[int]]:
    """What `_listing` found; a file without a task's number is there for all tasks or for none."""
    found = {}
    for i, (pattern, tasks) in enumerate(patterns.items()):
        numbers = {int(word) for word in answer[f"there.{i}"].text.split()}
        if "{task4}" not in pattern and numbers:
            numbers = set(range(1, tasks + 1))
        found[pattern] = numbers
    return found
