"""The study's data: affix lists, the corpus, chunks, token files. `corpus.verify` looks at them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from pipeline.doctor.check import (
    MARK,
    Check,
    Facts,
    Question,
    Scope,
    Status,
    environment_of,
    login,
    said,
    shell,
)
from pipeline.job import Job, host_path

SECTION = "data"
AFFIXES = {"prefix.txt": 97, "infix.txt": 2, "suffix.txt": 21}
_LONGEST = 1 << 20  # bytes of an affix list that are looked at

# A line a file: its name, then lines, whether it is UTF-8, DOS line ends, blank or doubled lines.
_LISTS = r"""
for file; do
  [[ -f $file ]] || { echo missing; continue; }
  utf8=no; iconv -f UTF-8 -t UTF-8 -- "$file" >/dev/null 2>&1 && utf8=yes
  dos=no; ! grep -q $'\r' -- "$file" || dos=yes
  echo "$(grep -c '' -- "$file") $utf8 $dos $(LC_ALL=C sort -- "$file" | uniq -d | grep -c '')" \
    "$(grep -c '^[[:space:]]*$' -- "$file")"
done
"""
_SOURCE = (
    'for p; do if [[ -e $p ]] || compgen -G "$p" >/dev/null; then echo yes; else echo no; fi; done'
)
_VERIFY = f"""cd -- "$1" || exit 65; shift
ACTIVATE
answer=$(PYTHONPATH="$PWD${{PYTHONPATH:+:$PYTHONPATH}}" "$@"); code=$?
printf '{MARK}%s\\n' "$answer"
exit "$code"
"""


class Finding(msgspec.Struct, frozen=True):
    """As `corpus.verify` prints it."""

    path: str
    status: Literal["ok", "absent", "warn", "fail"]
    fact: str
    remedy: str = ""


class Held(msgspec.Struct, frozen=True):
    """A set of token files that is there."""

    prefix: str
    tokens: int
    record: dict[str, Any]


class Verified(msgspec.Struct, frozen=True):
    """An answer of `corpus.verify`; `next` is the chunk that it stopped before, 0 at the end."""

    findings: list[Finding]
    sets: list[Held] = []
    read: int = 0
    next: int = 0


def questions(scope: Scope) -> Iterator[Question]:
    """The lists, local corpora, and one process of the light environment for everything else."""
    if files := _lists(scope):
        yield Question("lists", shell(_LISTS, *files))
    if sources := _sources(scope):
        yield Question("sources", shell(_SOURCE, *(scope.path(s) for s in sources)))
    words = [w for d, n in chunk_folders(scope) for w in ("--chunks", d, n)]
    words += [w for p, n in token_sets(scope) for w in ("--set", p, n)]
    if words and (argv := verify(scope, *words)):
        yield Question("verify", argv)


def checks(scope: Scope, facts: Facts) -> Iterator[Check]:
    """Lists, sources, chunks and sets, then sets that were made under other values."""
    yield from _affixes(scope, facts)
    for source, word in zip(_sources(scope), facts.text("sources").split(), strict=False):
        there = word == "yes"
        yield Check(
            SECTION, "corpus source", "ok" if there else "fail", source,
            "" if there else "No such file there. Set corpus.source", scope.names(("download",)),
        )  # fmt: skip
    if not chunk_folders(scope) and not token_sets(scope):
        return
    answer = verified(facts)
    if answer is None:
        why = said(facts.get("verify")) if "verify" in facts.answers else "in a container"
        yield Check(
            SECTION, "chunks and token files", "warn", f"not looked at: {why}",
            "Mend the light environment (see above), or run `python -m corpus.verify` in it",
        )  # fmt: skip
        return
    for finding in answer.findings:
        yield _finding(scope, finding)
    for held in answer.sets:
        yield from _stale(scope, held)


def verify(scope: Scope, *words: str) -> tuple[str, ...]:
    """The command that runs `corpus.verify` in the light environment; empty where that is in a
    container."""
    job = next((j for j in scope.plan.jobs if environment_of(scope.plan, j) == "light"), None)
    if job is None or job.runtime.container:
        return ()
    script = _VERIFY.replace("ACTIVATE", "\n".join(job.runtime.activate))
    argv = (job.runtime.python, "-m", "corpus.verify", "--json", *words)
    return login(script, job.project_dir, *argv)


def verified(facts: Facts, key: str = "verify") -> Verified | None:
    """Its answer; None where there is none."""
    for line in facts.marked(key):
        with contextlib.suppress(msgspec.MsgspecError):
            return msgspec.json.decode(line, type=Verified)
    return None


def tokens(facts: Facts) -> dict[str, int]:
    """Prefix -> ids of a set that is there."""
    answer = verified(facts)
    return {held.prefix: held.tokens for held in answer.sets} if answer else {}


def chunk_folders(scope: Scope) -> list[tuple[str, str]]:
    """(folder, how many chunks the study wants) on the host."""
    found = {}
    for job in scope.jobs:
        corpus = job.config["parameters"].get("corpus")
        if job.kind in ("split", "preprocess") and corpus:
            found[_host(scope, job, corpus["chunk_dir"])] = str(corpus["chunks"])
    return list(found.items())


def token_sets(scope: Scope) -> list[tuple[str, str]]:
    """(prefix, how many parts) of the sets that the jobs write or train on."""
    found = {}
    for job in scope.jobs:
        p = job.config["parameters"]
        if job.kind in ("preprocess", "merge", "train") and "corpus" in p:
            found[_prefix(scope, job)] = str(p["corpus"]["chunks"])
    return list(found.items())


def _prefix(scope: Scope, job: Job) -> str:
    p = job.config["parameters"]
    if job.kind == "train":
        return _host(scope, job, p["train"]["data_path"])
    folder, arm = p["preprocess"]["output_dir"], job.arm or p["variant"]["name"]
    return _host(scope, job, f"{folder}/{arm}/{p['corpus']['name']}")


def _host(scope: Scope, job: Job, path: str) -> str:
    return scope.path(host_path(job, path))


def _lists(scope: Scope) -> list[str]:
    folders = {
        _host(scope, job, str(variant["affix_dir"]))
        for job in scope.jobs
        if (variant := job.config["parameters"].get("variant") or {}).get("affix_dir")
    }
    return [f"{folder}/{name}" for folder in sorted(folders) for name in AFFIXES]


def _sources(scope: Scope) -> list[str]:
    sources = [
        str(job.config["parameters"]["corpus"]["source"])
        for job in scope.jobs
        if job.kind == "download"
    ]
    return [source for source in dict.fromkeys(sources) if "://" not in source]


def _affixes(scope: Scope, facts: Facts) -> Iterator[Check]:
    names = tuple(
        job.name for job in scope.jobs
        if (job.config["parameters"].get("variant") or {}).get("affix_dir")
    )  # fmt: skip
    for path, line in zip(_lists(scope), facts.text("lists").splitlines(), strict=False):
        words = line.split()
        want = AFFIXES[path.rpartition("/")[2]]
        problem, remedy = "", ""
        status: Status = "fail"
        if len(words) < 5:
            problem, remedy = "missing", "It is part of the project: git checkout it"
        else:
            count, utf8, dos, doubled, blank = words[:5]
            remedy = f"The plan has {want} lines: git checkout it"
            if utf8 != "yes":
                problem, remedy = "is not UTF-8", "Save it as UTF-8, or git checkout it"
            elif dos == "yes":
                problem, remedy = "has DOS line ends", f"sed -i 's/\\r$//' {path}"
            elif count != str(want):
                problem, status = f"{count} lines, not {want}", "warn"
            elif doubled != "0" or blank != "0":
                problem, status = f"{doubled} doubled and {blank} blank lines", "warn"
        yield Check(
            SECTION, f"affixes {scope.short(path)}", status if problem else "ok",
            problem or f"{want} lines", remedy if problem else "", names,
        )  # fmt: skip


def _finding(scope: Scope, finding: Finding) -> Check:
    """A finding of `corpus.verify` as a check; what is absent is well where a job will make it."""
    path, fact, remedy = finding.path, finding.fact, finding.remedy
    makers = tuple(
        job.name for job in scope.jobs
        if any(path.startswith(_host(scope, job, out)) for out in _made(scope, job))
    )  # fmt: skip
    users = tuple(
        job.name for job in scope.jobs
        if job.kind == "train" and path.startswith(_prefix(scope, job))
    )  # fmt: skip
    status: Status = "ok" if finding.status == "absent" else finding.status
    if finding.status == "absent" and makers:
        fact = f"not made yet; {makers[0]} makes them"
    elif finding.status == "absent":
        fact, status = "not made yet", "warn"
        remedy = "Submit the stage that makes them first"
    return Check(SECTION, scope.short(path), status, fact, remedy, makers + users)


def _made(scope: Scope, job: Job) -> tuple[str, ...]:
    p = job.config["parameters"]
    if job.kind == "split":
        return (str(p["corpus"]["chunk_dir"]),)
    return (_prefix(scope, job),) if job.kind in ("preprocess", "merge") else ()


def _stale(scope: Scope, held: Held) -> Iterator[Check]:
    """Whether a set was made with what the study says now."""
    for job in scope.jobs:
        if job.kind != "preprocess" or _prefix(scope, job) != held.prefix:
            continue
        p, record = job.config["parameters"], held.record
        now = {
            "seed": p.get("seed"), "tasks": p["corpus"]["chunks"], "eod": p["tokenizer"]["eod"],
            "vocab_size": p["tokenizer"]["vocab_size"],
            **{f"variant.{k}": v for k, v in p["variant"].items()},
        }  # fmt: skip
        made = record.get("variant")
        variant = made if isinstance(made, dict) else {}
        then = {**record, **{f"variant.{k}": v for k, v in variant.items()}}
        differing = [k for k, v in now.items() if k in then and then[k] != v and v is not None]
        if differing:
            told = ", ".join(f"{key} {then[key]!r} -> {now[key]!r}" for key in differing)
            yield Check(
                SECTION, scope.short(held.prefix), "fail", f"made under other values ({told})",
                f"Make it again (pipeline submit preprocess --force --variant {job.arm}), or "
                "restore the values", (job.name,),
            )  # fmt: skip
