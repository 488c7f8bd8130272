"""Which of the project's files some jobs need: the programs that they name with all that these
import, and the data that ships and is named.

Nothing is run for it: names are those of modules and paths in the scripts and configurations, and
of imports and texts in the programs.
"""

from __future__ import annotations

import ast
import itertools
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pipeline.job import Job, host_path

DATA = "data"  # the folder of what ships; programs that read it by themselves name it, too
_MODULE = re.compile(r"(?<=[\s'\"])-m\s+'?([A-Za-z_]\w*)")
_PATH = re.compile(r"[^\s'\"`$=;:,&|<>(){}\[\]]+")


class Project:
    """A project's files: what git tracks or would track."""

    def __init__(self, root: Path, files: Iterable[str]) -> None:
        self.root, self.files = root, frozenset(files)
        self.folders = {parent for path in self.files for parent in _parents(path)}
        self.packages = {
            path.split("/")[0] for path in self.files if re.fullmatch(r"\w+/__init__\.py", path)
        }

    def inside(self, folder: str) -> Iterator[str]:
        """All files in a folder."""
        return (path for path in self.files if path.startswith(f"{folder}/"))

    def matching(self, pattern: str) -> Iterator[str]:
        """The files that a path stands for, with `*` and `{task4}` in it, or that are below it."""
        path = posixpath.normpath(pattern.replace("{task4}", "*"))
        own = (file for file in self.files if fnmatchcase(file, path))
        return itertools.chain(own, self.inside(path))

    def named(self, text: str, job: Job) -> Iterator[str]:
        """The files that a text of a job names, alone or with the folder that they are in."""
        for word in (text, *_PATH.findall(text)):
            path = posixpath.normpath(host_path(job, word))
            if path in self.files:
                yield path
            elif "/" in path and path in self.folders:  # `data` alone is where things are written
                yield from self.inside(path)


def needed(project: Project, jobs: Sequence[Job], scripts: Mapping[str, str]) -> set[str]:
    """The files that jobs need. `scripts`: the texts of all their scripts, by any name."""
    found: set[str] = set()
    for text in scripts.values():
        for name in _MODULE.findall(text):
            found |= _module(project, name, "")
    for job in jobs:
        for text in _texts((job.argv, _told(job.config))):
            found |= set(project.named(text, job))
        for one in job.inputs:
            found |= set(project.matching(host_path(job, one.path)))
    found = _with_imports(project, found)
    found |= {note for path in found if (note := _note(path)) in project.files}
    return {path for path in found if (project.root / path).is_file()}  # git lists deleted ones too


def _note(path: str) -> str:
    """What tells where data comes from, beside it."""
    return f"{posixpath.dirname(path)}/README.md" if path.startswith(f"{DATA}/") else ""


def _told(config: Mapping[str, Any]) -> list[Any]:
    """What a configuration says of files; its paths are folders to write to."""
    return [config.get(key) for key in ("parameters", "gate", "report")]


def _with_imports(project: Project, start: set[str]) -> set[str]:
    """Some files with all that they import; of a package all files, and its data."""
    found: set[str] = set()
    waiting = set(start)
    while waiting:
        path = waiting.pop()
        found.add(path)
        new: set[str] = set()
        if path.split("/")[0] in project.packages:
            new |= set(project.inside(path.split("/")[0]))
        if path.endswith(".py"):
            tree = _tree(project.root / path)
            for name in _imports(tree):
                new |= _module(project, name, posixpath.dirname(path))
            new |= _data(project, tree)
        waiting |= new - found
    return found


def _module(project: Project, name: str, folder: str) -> set[str]:
    """The files of a module by the first word of its name, as a program in `folder` finds it."""
    found: set[str] = set()
    for place in {folder, ""}:
        base = f"{place}/{name}" if place else name
        if f"{base}.py" in project.files:
            found.add(f"{base}.py")
        if f"{base}/__init__.py" in project.files:
            found |= set(project.inside(base))
    return found


def _tree(path: Path) -> ast.AST:
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, FileNotFoundError):  # of another Python, or deleted
        return ast.Module([], [])


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def _data(project: Project, tree: ast.AST) -> set[str]:
    """Data that a program names: by its whole path, or by parts after the word "data"."""
    words = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    texts = {word.strip("/") for word in words if isinstance(word, str)}
    found = {path for path in project.files if path.startswith(f"{DATA}/") and path in texts}
    folders = [path for path in project.folders if path.startswith(f"{DATA}/")]
    parts = texts if DATA in texts else set()
    for folder in folders:
        if folder in texts or folder.rpartition("/")[2] in parts:
            found |= set(project.inside(folder))
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for child in value:
            yield from _texts(child)
    elif isinstance(value, str):
        yield value


def _parents(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path
