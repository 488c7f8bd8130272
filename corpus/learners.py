"""Texts of learners with their level and native language, from the forms that EFCAMDAT comes in.

`.jsonl`: an object a line. `.csv` and `.tsv`: a header and rows. Both under the keys or columns
that `columns` names. `.xml`: the corpus' own export, `<writing level="7"><learner
nationality="br"/><text>...</text></writing>`, where what teachers corrected stands inside the text
as `<change><selection>as written</selection><tag><symbol>..</symbol><correct>..</correct></tag>
</change>`: the learner's own words are kept. Any of them may end in `.gz`. All are streamed.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from xml.etree import ElementTree  # expat 2.4 and newer bounds what entities become

import msgspec

from corpus.errors import CorpusError

SUFFIXES = (".jsonl", ".csv", ".tsv", ".xml")
_LONGEST = 1 << 27  # characters of a field of a CSV file; the library's own bound is 131,072
_NOT_WRITTEN = ("symbol", "correct")  # what the teacher added
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)  # the export escapes some of the page's own markup
_COLUMNS = {"text": "text", "level": "level", "l1": "l1"}


class Writing(NamedTuple):
    """One text as the corpus has it; `where` is what messages call its place."""

    text: str
    level: str
    l1: str
    where: str


def files_of(source: Path) -> list[Path]:
    """The corpus' files: `source` itself, or those in it, sorted. Raises CorpusError if none."""
    found = [source] if source.is_file() else sorted(source.iterdir()) if source.is_dir() else []
    files = [path for path in found if _kind(path)]
    if not files:
        raise CorpusError(
            f"{source}: no such file, or no {', '.join(SUFFIXES)} file in it. It is licensed: "
            "get it from its makers and put it there, or set corpus.source to where it is.")
    return files


def columns_of(given: Mapping[str, Any]) -> dict[str, str]:
    """What the keys are called: the study's names over text, level and l1."""
    if unknown := sorted(given.keys() - _COLUMNS.keys()):
        raise CorpusError(f"corpus.columns.{unknown[0]} is not known. Name text, level and l1.")
    return _COLUMNS | {key: str(value) for key, value in given.items()}


def writings(files: list[Path], columns: Mapping[str, str]) -> Iterator[Writing]:
    """Every text of `files`, in order. Raises CorpusError that names the place of what is wrong."""
    readers = {".jsonl": _read_jsonl, ".csv": _read_table, ".tsv": _read_table, ".xml": _read_xml}
    for path in files:
        try:
            with path.open("rb") as raw:
                packed = path.suffix == ".gz"
                stream: Any = gzip.GzipFile(fileobj=raw) if packed else raw
                yield from readers[_kind(path)](stream, path, columns)
        except (EOFError, gzip.BadGzipFile) as fault:
            raise CorpusError(f"{path} is cut off or not compressed ({fault}). Fetch it again."
                              ) from fault
        except UnicodeDecodeError as fault:
            raise CorpusError(f"{path} is not UTF-8 ({fault}). Convert it.") from fault


def _kind(path: Path) -> str:
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    return suffix if suffix in SUFFIXES and not path.name.startswith(".") else ""


def _read_jsonl(stream: BinaryIO, path: Path, columns: Mapping[str, str]) -> Iterator[Writing]:
    decoder = msgspec.json.Decoder()
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            record = decoder.decode(line)
        except msgspec.DecodeError as fault:
            raise CorpusError(f"{where} is not JSON ({fault}). Repair or remove that line."
                              ) from fault
        if not isinstance(record, dict):
            raise CorpusError(f"{where} is not a JSON object. Give one object a line.")
        yield _writing(record, columns, where)


def _read_table(stream: BinaryIO, path: Path, columns: Mapping[str, str]) -> Iterator[Writing]:
    csv.field_size_limit(_LONGEST)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    delimiter = "\t" if _kind(path) == ".tsv" else ","
    rows = csv.DictReader(text, delimiter=delimiter, strict=True)
    try:
        for row in rows:
            yield _writing(row, columns, f"{path}:{rows.line_num}")
    except csv.Error as fault:
        raise CorpusError(f"{path}:{rows.line_num} is no row of a table ({fault}). Repair it."
                          ) from fault
    finally:
        text.detach()  # whoever opened the stream closes it


def _writing(record: Mapping[str, Any], columns: Mapping[str, str], where: str) -> Writing:
    text, level = record.get(columns["text"]), record.get(columns["level"])
    if not isinstance(text, str):
        names = ", ".join(str(name) for name in record) or "none"
        raise CorpusError(f"{where} has no text under {columns['text']!r}; it has {names}. Set "
                          "corpus.columns.text.")
    if not isinstance(level, str | int) or isinstance(level, bool):
        raise CorpusError(f"{where} has no level under {columns['level']!r}. Set "
                          "corpus.columns.level.")
    return Writing(text, str(level).strip(), str(record.get(columns["l1"]) or "").strip(), where)


def _read_xml(stream: BinaryIO, path: Path, columns: Mapping[str, str]) -> Iterator[Writing]:
    try:
        events = ElementTree.iterparse(stream, ("start", "end"))  # noqa: S314 (see the import)
        _, root = next(events)
        number = 0
        for event, element in events:
            if event != "end" or element.tag != "writing":
                continue
            number += 1
            name = element.get("id") or number
            body, learner = element.find("text"), element.find("learner")
            level = element.get("level")
            if body is None or level is None:
                raise CorpusError(f"{path}: writing {name} has no "
                                  f"{'text' if body is None else 'level'}. Repair or remove it.")
            l1 = "" if learner is None else learner.get("nationality") or ""
            yield Writing(_BREAK.sub("\n", "".join(_written(body))), level.strip(), l1.strip(),
                          f"{path}: writing {name}")
            root.clear()  # what was read is let go
    except ElementTree.ParseError as fault:
        raise CorpusError(f"{path} is not XML ({fault}). Fetch it again, or repair that place."
                          ) from fault


def _written(element: ElementTree.Element) -> Iterator[str]:
    """The pieces of what the learner wrote."""
    yield element.text or ""
    for child in element:
        if child.tag == "br":
            yield "\n"
        elif child.tag not in _NOT_WRITTEN:
            yield from _written(child)
        yield child.tail or ""
