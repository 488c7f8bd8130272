"""Fetch the corpus and write it as JSON Lines: one `{"text": ...}` object a line.

The output appears only when it is complete; `<output>.json`, written last, says how many documents
and bytes it has, its SHA-256 and what it was made from. A second run finds both and does nothing.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from corpus.config import Config
from corpus.errors import CorpusError, Parser, UsageError, run
from corpus.files import (
    BLOCK,
    atomic,
    only_run,
    read_json,
    require_space,
    sha256_file,
    sha256_value,
    size_of,
    write_json,
)
from corpus.progress import Progress
from corpus.sources import Input, Source, describe, least_output, local_files, obtain, texts

SEAPILE = "hf://aisingapore/SEA-PILE-v2"


def sidecar(output: Path) -> Path:
    """The file beside `output` that marks it as complete."""
    return output.with_name(output.name + ".json")


def download(source: Source, output: Path) -> dict[str, Any]:
    """Write the documents of `source` to `output` and return what its sidecar says.

    Documents whose text is empty are left out and counted. Raises CorpusError on a source that is
    missing, short, corrupt or without documents, and on a full disk; `output` is then as it was.
    What was fetched stays in `.<output>.parts` until the output is complete.
    """
    about = describe(source)
    digest = sha256_value({"version": 1, "source": about})
    known = read_json(sidecar(output))
    workspace = output.with_name(f".{output.name}.parts")
    if known and known.get("input_digest") == digest and _matches(output, known):
        _remove(workspace)
        return known
    if not source.is_remote:
        _refuse_own(output, local_files(source.location))
        record = _write(obtain(source, workspace), source, output)
    else:
        with only_run(workspace):
            try:
                record = _write(obtain(source, workspace), source, output)
            except BaseException:
                if not any(workspace.iterdir()):
                    workspace.rmdir()
                raise
    record |= {"version": 1, "input_digest": digest, "source": about}
    write_json(sidecar(output), record)
    _remove(workspace)
    return record


def verify(output: Path) -> int:
    """Count the lines of `output`; its first must be an object with a non-empty "text".

    Raises CorpusError if it is not, if the last line is cut off, or if there is none.
    """
    lines, last = 0, b""
    with output.open("rb") as stream:
        first = stream.readline()
        stream.seek(0)
        while block := stream.read(BLOCK):
            lines += block.count(b"\n")
            last = block[-1:]
    if not first:
        raise CorpusError(f"{output} is empty. Run the download again.")
    try:
        record = json.loads(first)
    except ValueError as fault:
        raise CorpusError(f"{output}: line 1 is not JSON ({fault}). Run the download again."
                          ) from fault
    text = record.get("text") if isinstance(record, dict) else None
    if not isinstance(text, str) or not text:
        raise CorpusError(f'{output}: line 1 has no "text" with something in it. Run the download '
                          "again.")
    if last != b"\n":
        raise CorpusError(f"{output}: its last line is cut off. Run the download again.")
    return lines


def _remove(workspace: Path) -> None:
    """Give back the space of fetched files, which only an unfinished run needs."""
    if workspace.is_dir():
        for leftover in workspace.iterdir():
            leftover.unlink()
        workspace.rmdir()


def _refuse_own(output: Path, files: list[Path]) -> None:
    if output.exists() and any(output.samefile(file) for file in files):
        raise CorpusError(f"{output} is both the output and a part of the source. Write it to "
                          "another folder.")


def _matches(output: Path, known: dict[str, Any]) -> bool:
    return size_of(output) == known.get("bytes") and sha256_file(output) == known.get("sha256")


def _write(inputs: list[Input], source: Source, output: Path) -> dict[str, Any]:
    require_space(output.parent, least_output(inputs, source.text_key))
    digest, documents, size, empty = hashlib.sha256(), 0, 0, 0
    progress = Progress(None, "documents", "writing documents")
    with atomic(output) as stream:
        for text, where in texts(inputs, source.text_key):
            if not text:
                empty += 1
                continue
            line = _line(text, where)
            stream.write(line)
            digest.update(line)
            documents, size = documents + 1, size + len(line)
            progress.update(documents)
        if not documents:
            raise CorpusError(f"{source.location} holds no documents. Correct corpus.source.")
        sidecar(output).unlink(missing_ok=True)  # it tells of the file that is replaced now
    progress.finish(documents)
    record = {"documents": documents, "bytes": size, "sha256": digest.hexdigest(),
              "empty_left_out": empty}
    fetched = [{"url": file.url, "sha256": file.sha256} for file in inputs if file.url]
    return record | ({"fetched": fetched} if fetched else {})


def _line(text: str, where: str) -> bytes:
    try:
        # The bytes that json.dumps would give, in an eighth of the time.
        return b'{"text": ' + msgspec.json.encode(text) + b"}\n"
    except UnicodeEncodeError as fault:
        raise CorpusError(f"{where} holds half a surrogate pair, which is no character. Repair or "
                          "remove that document.") from fault


def _main(argv: Sequence[str] | None) -> None:
    parser = Parser(prog="corpus.download", description="Fetch a corpus as JSON Lines.")
    parser.add_argument("--config", type=Path, help="the job's resolved configuration")
    parser.add_argument("--output", type=Path, help="the JSONL file to write")
    parser.add_argument("--language", help="language code; fil stands for SEA-PILE's tl too")
    parser.add_argument("--source", help=f"path, glob, http(s):// or hf://owner/name[@rev][:dir] "
                                         f"(without --config: {SEAPILE})")
    parser.add_argument("--text-key", help="key or column that holds the text")
    parser.add_argument("--verify", action="store_true", help="only check a file that is there")
    flags = parser.parse_args(argv)
    config = Config.load(flags.config) if flags.config else Config({}, Path("the command line"))
    if flags.output is None and flags.config is None:
        raise UsageError("give --output FILE, or --config.")
    output = flags.output or config.path_parameter("corpus.file")
    if not flags.verify:
        download(Source(
            location=flags.source or config.parameter("corpus.source", str, SEAPILE),
            language=flags.language or config.parameter("corpus.language", str, ""),
            text_key=flags.text_key or config.parameter("corpus.text_key", str, "text"),
        ), output)
    print(f"{output}: {verify(output)} documents, {output.stat().st_size} bytes")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(_main, argv)


if __name__ == "__main__":
    sys.exit(main())
