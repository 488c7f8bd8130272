"""What a generation is told, and the file that it fills row by row. Standard library only.

A shard's rows go to a hidden partial file, a batch at a time. A run that was killed leaves whole
lines and perhaps one that is cut; the next run keeps the whole ones and goes on. The file gets its
name when every row is there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ledger.rows import Row as Row
from training.contract import BadInput, Section, sync_directory, write_atomic
from training.metrics import warn
from training.rows import placed_rows

CEFR = ("A1", "A2", "B1", "B2", "C1", "C2")
PROMPTS = ("auto", "chat", "plain")
PRECISIONS = ("auto", "bf16", "fp16", "fp32")
_QUESTION = ("id", "level", "source", "question")


@dataclass(frozen=True)
class Level:
    """How a level is answered: whom the model is told to be, and how its answer is drawn."""

    role: str
    max_new_tokens: int
    temperature: float
    top_p: float


@dataclass(frozen=True)
class Generation:
    """Which model answers which questions, and how. `adapter` is a folder of peft's, or empty.

    `prompt` is chat (the model's own template, with `system` before the question), plain (the text
    `plain`), or auto: chat where the model has a template. `stop` ends a plain answer.
    """

    model: str
    adapter: str
    questions: Path
    output_dir: Path
    shards: int
    batch_size: int
    precision: str
    prompt: str
    system: str
    plain: str
    stop: str
    levels: dict[str, Level]
    seed: int

    @property
    def name(self) -> str:
        """The model as a row names it, with its adapter."""
        return f"{self.model} + {self.adapter}" if self.adapter else self.model

    def facts(self) -> dict[str, Any]:
        """What the responses follow from, beside the questions."""
        hidden = {"questions", "output_dir", "batch_size"}
        return {key: value for key, value in asdict(self).items() if key not in hidden}


def read_generation(config: Section, section: str) -> Generation:
    """The settings under `parameters.<section>`; BadInput with every problem of them."""
    p = f"parameters.{section}."
    made = Generation(
        model=config.get(p + "model", str),
        adapter=config.get(p + "adapter", str, ""),
        questions=Path(config.get(p + "questions", str)),
        output_dir=Path(config.get(p + "output_dir", str)),
        shards=config.positive(p + "shards"),
        batch_size=config.positive(p + "batch_size", 8),
        precision=config.choice(p + "precision", PRECISIONS, "auto"),
        prompt=config.choice(p + "prompt", PROMPTS, "auto"),
        system=config.get(p + "system", str, "You are a {role}."),
        plain=config.get(p + "plain", str, "{system}\n\n{question}\n"),
        stop=config.get(p + "stop", str, ""),
        levels={level: _level(config, f"{p}levels.{level}") for level in CEFR},
        seed=config.get("parameters.seed", int),
    )
    for name in config.mapping(f"{p}levels"):
        config.check(name in CEFR, f"{p}levels.{name} is none of {', '.join(CEFR)}")
    for key in ("system", "plain"):
        _check_slots(config, p + key, getattr(made, key), key)
    config.raise_problems()
    return made


def _level(config: Section, key: str) -> Level:
    if not config.has(key):
        config.check(False, f"{key} is missing: every level needs a prompt and its sampling")
        return Level("", 1, 0.0, 1.0)
    level = Level(
        role=config.get(f"{key}.role", str),
        max_new_tokens=config.positive(f"{key}.max_new_tokens"),
        temperature=config.get(f"{key}.temperature", float),
        top_p=config.get(f"{key}.top_p", float, 1.0),
    )
    config.check(level.temperature >= 0, f"{key}.temperature is {level.temperature}, below 0")
    config.check(0 < level.top_p <= 1, f"{key}.top_p is {level.top_p}, not above 0 and up to 1")
    return level


def _check_slots(config: Section, key: str, text: str, name: str) -> None:
    slots = {"system": {"role": ""}, "plain": {"system": "", "question": "", "role": ""}}[name]
    try:
        text.format(**slots)
    except (KeyError, IndexError, ValueError):
        config.check(False, f"{key} has a slot other than {{{'}, {'.join(slots)}}}")


def read_questions(path: Path) -> list[Row]:
    """Rows with text under id, level, source and question, each with its `number`, from 0."""
    rows: list[Row] = []
    for where, row in placed_rows(path, "Run the stage that writes it", _QUESTION):
        if row["level"] not in CEFR:
            raise BadInput(f"{where} has no good level", "Repair the line")
        rows.append({**row, "number": len(rows)})
    if not rows:
        raise BadInput(f"{path} holds no questions", "Run the stage that writes it")
    return rows


def shard_of(rows: Sequence[Row], task: int, shards: int) -> list[Row]:
    """The rows of shard `task` (from 1): every `shards`-th, so that all have all levels."""
    if not 1 <= task <= shards:
        raise BadInput(f"there is no shard {task} of {shards}", "Give --task 1 or more")
    return list(rows[task - 1 :: shards])


def digest(*values: Any) -> str:
    """SHA-256 of JSON values in a canonical form, in hex."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Shard:
    """`<folder>/responses_0001.jsonl`, and the partial file that it grows in.

    `made_from` is a digest: what another one has left is thrown away.
    """

    def __init__(self, folder: Path, task: int, made_from: str) -> None:
        self.path = folder / f"responses_{task:04d}.jsonl"
        self.facts = self.path.with_suffix(".json")
        self.partial = folder / f".{self.path.name}.part"
        self.made_from = made_from
        self.done: set[str] = set()
        self._stream: BinaryIO

    def finished(self) -> bool:
        """Whether the file is there whole, made from the same."""
        try:
            facts = json.loads(self.facts.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        size = self.path.stat().st_size if self.path.is_file() else -1
        return bool(facts["made_from"] == self.made_from and facts["bytes"] == size)

    @contextmanager
    def opened(self) -> Iterator[Shard]:
        """The partial file, held against a second run, cut behind its last whole line.

        Raises BadInput where another run holds it. A file system without locks lets both in.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.partial.open("a+b") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BadInput(f"another run writes {self.path}", "Wait for it, or stop it") from (
                    error
                )
            except OSError as error:  # NFS and Lustre may be mounted without locks
                warn(f"{self.partial} cannot be locked: {error}")
            self._stream = stream
            self._resume()
            yield self

    def _resume(self) -> None:
        self._stream.seek(0)
        head, *lines = self._stream.read().split(b"\n")  # the last has no newline: cut, or empty
        whole = lines[:-1]
        if _parsed(head).get("made_from") != self.made_from or not lines:
            if head:
                warn(f"{self.partial} was made from something else and is written anew")
            self._stream.truncate(0)
            self._append([{"made_from": self.made_from}])
            return
        rows = [_parsed(line) for line in whole]
        good = next((at for at, row in enumerate(rows) if "id" not in row), len(rows))
        self._stream.truncate(len(b"".join(line + b"\n" for line in (head, *whole[:good]))))
        self.done = {row["id"] for row in rows[:good]}

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows, durably; those that are there already are left out."""
        new = [row for row in rows if row["id"] not in self.done]
        self._append(new)
        self.done |= {row["id"] for row in new}

    def _append(self, rows: Sequence[Row]) -> None:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self._stream.write(text.encode())
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def publish(self, facts: dict[str, Any]) -> None:
        """Give the rows their name; the facts are written last."""
        self._stream.seek(0)
        rows = self._stream.read().split(b"\n", 1)[1].decode()
        write_atomic(self.path, rows)
        told = {"made_from": self.made_from, "rows": len(self.done), "bytes": len(rows.encode())}
        write_atomic(self.facts, json.dumps(told | facts, indent=1) + "\n")
        self.partial.unlink()
        sync_directory(self.path.parent)


def _parsed(line: bytes) -> Row:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}
