"""From lines to ids: which lines are documents, and that the number of workers changes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corpus import lines as lines_module
from corpus.encode import Counts, Crew, Encoded, Encoder, Recipe, RejectedLine, _decode, text_of
from corpus.errors import CorpusError
from corpus.lines import Batch, Overlong, read_batches
from corpus.tokenizers import Tokenizer
from corpus.vocabulary import Vocabulary
from tests.draws import draws

EOD, SIZE = 1, 1024


def by_standard_library(line: bytes) -> str | None:
    """The text of a line as json has it, or None where it has none."""
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    text = record.get("text") if isinstance(record, dict) else None
    return text if isinstance(text, str) and text else None


def outcome(line: bytes) -> str:
    """The text of a line, or why it is none."""
    try:
        return text_of(line).decode()
    except RejectedLine as reason:
        return f"rejected: {reason}"


LINES: dict[bytes, str] = {
    b'{"text": "a"}': "a", b' \t{"x": 1, "text":\n"a"} \r': "a", b'{"\\u0074ext": "a"}': "a",
    b'{"text": "a", "text": "b"}': "b", b'{"text": 1, "text": "b"}': "b",
    b'{"text": "b", "text": 1}': "rejected: text is not a string",
    b'{"text": "a", "x": NaN, "y": [-Infinity, 1e999]}': "a", b'{"text": "\\ud83d\\ude00"}': "😀",
    b'{"text": "a", "x": "\\ud800"}': "a", b'{"text": "\x7f\xc2\x80"}': "\x7f\x80",
    b'{"text": "\\u2028\xe2\x80\xa8"}': "\u2028\u2028", b'{"text": "\xef\xbb\xbfa"}': "\ufeffa",
    b'{"text": "\\ud800"}': "rejected: lone surrogate in text",
    b'{"text": "\\ude00\\ud83d"}': "rejected: lone surrogate in text",
    b'{"text": "\xed\xa0\x80"}': "rejected: not UTF-8",
    b'{"text": "\xc0\x80"}': "rejected: not UTF-8",
    b'{"text": "\xf4\x90\x80\x80"}': "rejected: not UTF-8", b"\xff": "rejected: not UTF-8",
    b'{"text": "\\u0000"}': "rejected: NUL in text", b'{"text": "a\0b"}': "rejected: not JSON",
    b'{"text": "a\tb"}': "rejected: not JSON", b'{"text": "a", "x": "\x01"}': "rejected: not JSON",
    b'\xef\xbb\xbf{"text": "a"}': "rejected: not JSON", b'{"text": "\\q"}': "rejected: not JSON",
    b'{"text": "a"}{}': "rejected: not JSON", b'{"text": "a",}': "rejected: not JSON",
    b'{"text": "a", "x": 01}': "rejected: not JSON", b'{"text": "a"': "rejected: not JSON",
    b"{'text': 'a'}": "rejected: not JSON", b"nonsense": "rejected: not JSON",
    b"": "rejected: blank line", b" \t\r": "rejected: blank line",
    b"[1]": "rejected: not an object",
    b'"text"': "rejected: not an object", b"null": "rejected: not an object",
    b"{}": "rejected: no text key", b'{"Text": "a"}': "rejected: no text key",
    b'{"text": null}': "rejected: text is not a string",
    b'{"text": ["a"]}': "rejected: text is not a string",
    b'{"text": ""}': "rejected: empty text", b'{"text": " "}': " ",
}


@pytest.mark.parametrize("line", LINES, ids=repr)
def test_what_a_line_says(line: bytes) -> None:
    assert outcome(line) == LINES[line]


def test_a_line_that_is_too_long_is_no_document() -> None:
    assert outcome(Overlong(b'{"text": "a"}')) == "rejected: line too long"


@pytest.mark.parametrize("depth", [5_000, 100_000])
def test_a_line_that_nests_deep_is_no_document(depth: int) -> None:
    assert outcome(b'{"text": "a", "x": ' + b"[" * depth + b"]" * depth + b"}") == (
        "rejected: not JSON")


PARTS = st.sampled_from([
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b".", b"e", b"\\u", b"\\ud800",
    b"\\udc00", b"\xff", b"\xc3", b"\x01", b"\x7f", b"null", b"NaN", b'"text":', b'"text":"z",',
    b" ", b"\t", b"\\/", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"tru", b"\xf0\x9f\x98\x80", b"\0"])
WHOLE = [b'{"text":"ab\\u00e9\\n","x":[1,-2.5e3,"q\\"",{"y":null}],"z":true}',
         b'{"id":12,"m":{"a":"\xc3\xa9"},"text":"\xc3\xa9 x"}',
         b'{"text":"\\ud83d\\ude00 \xe2\x80\xa8"}']
CHANGES = st.lists(st.tuples(st.integers(0, 80), st.integers(0, 3), PARTS | st.binary(max_size=2)),
                   min_size=1, max_size=4)


def is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


@draws(2000)
@given(line=st.sampled_from(WHOLE), changes=CHANGES)
@example(line=b'{"text":"a","x":"y"}', changes=[(17, 1, b"\xff")])
def test_the_fast_decoder_agrees_with_the_standard_library(
    line: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    """Parts of a line are cut out or put in. In one thing the fast one is milder: fields that are
    not the text need not be UTF-8; the text is the same then.
    """
    for place, gone, new in changes:
        place = min(place, len(line))
        line = line[:place] + new + line[place + gone :]
    try:
        fast = _decode(line).text
    except (msgspec.DecodeError, UnicodeDecodeError):
        return  # the standard library decides
    mild = line if is_utf8(line) else line.decode(errors="replace").encode()
    assert fast == (by_standard_library(mild) or "")


@draws(300)
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
       ascii=st.booleans())
def test_any_text_comes_through(text: str, ascii: bool) -> None:
    line = json.dumps({"id": 1, "text": text}, ensure_ascii=ascii).encode()
    assert text_of(line) == text.encode()


def recipe(variant: dict[str, Any], first: int = 0) -> Recipe:
    return Recipe(variant, SIZE, EOD, 42, first)


@pytest.fixture(scope="module")
def patok(root: Path) -> dict[str, Any]:
    return {"name": "patok", "affix_dir": str(root / "data" / "affixes")}


@pytest.fixture(scope="module")
def chunk(tmp_path_factory: pytest.TempPathFactory, sample: list[str]) -> Path:
    """Documents with lines between them that are none."""
    path = tmp_path_factory.mktemp("chunk") / "chunk.jsonl"
    bad = [b"nonsense", b"", b'{"text": ""}', b'{"text": "' + b"x" * 70_000 + b'"}']
    lines = []
    for number, text in enumerate(sample * 3):
        lines.append(json.dumps({"text": text}).encode())
        if number % 5 == 0:
            lines.append(bad[number // 5 % len(bad)])
    path.write_bytes(b"\n".join(lines))
    return path


def batches(chunk: Path) -> Iterator[Batch]:
    return read_batches(chunk, 60_000, hashlib.sha256())


def together(parts: list[Encoded]) -> tuple[bytes, bytes, Counts, list[Any]]:
    counts = Counts()
    for part in parts:
        counts.add(part.counts)
    return (b"".join(part.ids.tobytes() for part in parts),
            b"".join(part.lengths.tobytes() for part in parts), counts,
            [reject for part in parts for reject in part.rejects])


@pytest.mark.parametrize("block", [900, 5_000, 1 << 19])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_and_batches_do_not_matter(
    vocabulary: Vocabulary, patok: dict[str, Any], chunk: Path, monkeypatch: pytest.MonkeyPatch,
    workers: int, block: int,
) -> None:
    alone = Crew(recipe(patok, 1000), vocabulary, 1)
    wanted = together(list(alone.encode(batches(chunk))))
    monkeypatch.setattr(lines_module, "_BATCH_BYTES", block)
    crew = Crew(recipe(patok, 1000), vocabulary, workers)
    assert together(list(crew.encode(batches(chunk)))) == wanted
    assert np.array_equal(crew.histogram(), alone.histogram())
    ids, lengths, counts, rejects = wanted
    assert counts.documents == 270 and len(rejects) == 54
    assert np.frombuffer(lengths, np.int32).sum() * 2 == len(ids)
    assert np.array_equal(np.bincount(np.frombuffer(ids, np.uint16), minlength=SIZE),
                          alone.histogram())


def test_what_comes_out_is_the_text_and_an_end(
    vocabulary: Vocabulary, tokenizer: Tokenizer, patok: dict[str, Any], sample: list[str]
) -> None:
    lines = [json.dumps({"text": text}).encode() for text in sample[:20]]
    lines.insert(3, b"nonsense \xff" + b"y" * 900)
    done = Encoder(recipe(patok, 50), vocabulary).encode(Batch(7, lines))
    assert done.ids.dtype == np.uint16 and done.lengths.sum() == len(done.ids)
    parts = np.split(done.ids, np.cumsum(done.lengths)[:-1])
    assert [tokenizer.decode(part[:-1]) for part in parts] == sample[:20]
    assert [part[-1] for part in parts] == [EOD] * 20
    (reject,) = done.rejects
    assert (reject.line, reject.document, reject.reason) == (11, 60, "not UTF-8")
    assert reject.excerpt.startswith("nonsense �y") and len(reject.excerpt) == 200
    assert done.counts.documents == 20
    assert done.counts.tokens == len(done.ids) - 20
    assert done.counts.text_bytes == sum(len(text.encode()) for text in sample[:20])
    assert done.counts.vanilla_tokens == sum(len(tokenizer.encode(text)) for text in sample[:20])


def test_a_documents_number_is_its_key(vocabulary: Vocabulary, sample: list[str]) -> None:
    """Document 9 of the corpus is the same in any chunk, and other than document 10."""
    line = json.dumps({"text": sample[0]}).encode()

    def ids(first_document: int, first: int) -> list[int]:
        encoder = Encoder(recipe({"name": "stochastok"}, first_document), vocabulary)
        return [int(token) for token in encoder.encode(Batch(first, [line])).ids]

    assert ids(9, 0) == ids(0, 9) == ids(4, 5) != ids(9, 1)


def test_a_batch_without_documents(vocabulary: Vocabulary) -> None:
    done = Encoder(recipe({"name": "stochastok"}), vocabulary).encode(Batch(0, [b"", b"x"]))
    assert (len(done.ids), len(done.lengths), len(done.rejects)) == (0, 0, 2)


def test_an_id_beyond_the_vocabulary_is_refused(vocabulary: Vocabulary, sample: list[str]) -> None:
    small = Recipe({"name": "vanilla"}, 300, EOD, 42, 0)
    line = json.dumps({"text": sample[0]}).encode()
    with pytest.raises(CorpusError, match="beyond vocab_size 300"):
        Encoder(small, vocabulary).encode(Batch(0, [line]))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_workers_failure_ends_the_crew(
    vocabulary: Vocabulary, sample: list[str], workers: int
) -> None:
    crew = Crew(Recipe({"name": "vanilla"}, 300, EOD, 42, 0), vocabulary, workers)
    line = json.dumps({"text": sample[0]}).encode()
    good = Batch(0, [b"no document"])
    with pytest.raises(CorpusError, match="beyond vocab_size"):
        list(crew.encode(iter([good, good, Batch(2, [line]), *[good] * 30])))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_readers_failure_ends_the_crew(vocabulary: Vocabulary, workers: int) -> None:
    def read() -> Iterator[Batch]:
        yield Batch(0, [b"no document"])
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(Crew(recipe({"name": "vanilla"}), vocabulary, workers).encode(read()))


def test_batches_under_way_are_few(vocabulary: Vocabulary) -> None:
    """Two a worker, and one that is being read."""
    taken = 0

    def read() -> Iterator[Batch]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield Batch(number, [b"no document"])

    crew = Crew(recipe({"name": "vanilla"}), vocabulary, 3)
    for done, _ in enumerate(crew.encode(read()), 1):
        assert taken <= done + 2 * 3
    assert taken == 100
