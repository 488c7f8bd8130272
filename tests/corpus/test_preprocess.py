from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from corpus.config import Config
from corpus.encode import Encoder
from corpus.errors import CorpusError
from corpus.indexed import Reader, bin_path, idx_path
from corpus.lines import Batch
from corpus.merge import main as merge_main
from corpus.merge import merge
from corpus.preprocess import main, output_prefix, preprocess, read_task
from corpus.split import split
from corpus.tokenizers import Tokenizer
from corpus.vocabulary import Vocabulary

MakeConfig = Callable[..., Config]


def run_task(config: Config, number: int = 1, workers: int = 1) -> tuple[Path, dict[str, Any]]:
    return output_prefix(config, number), preprocess(read_task(config, number), workers)


def contents(prefix: Path) -> tuple[bytes, bytes]:
    return bin_path(prefix).read_bytes(), idx_path(prefix).read_bytes()


def chunk_texts(config: Config, number: int) -> list[str]:
    lines = read_task(config, number).chunk.read_bytes().splitlines()
    return [json.loads(line)["text"] for line in lines]


def write_chunks(folder: Path, lines: list[bytes], count: int = 1) -> str:
    source = folder / "lines.jsonl"
    source.write_bytes(b"".join(line + b"\n" for line in lines))
    split(source, folder / "own-chunks", count)
    return str(folder / "own-chunks")


@pytest.mark.parametrize("arm", ["vanilla", "stochastok", "patok"])
def test_documents_keep_their_text_and_end_with_eod(
    make_config: MakeConfig, tokenizer: Tokenizer, arm: str
) -> None:
    prefix, record = run_task(make_config(arm), 2)
    reader, texts = Reader(prefix), chunk_texts(make_config(arm), 2)
    assert prefix.parent.name == arm and prefix.name == "seapile_0002"
    assert reader.dtype is np.uint16
    assert len(reader) == len(texts) == record["documents"]
    for i, text in enumerate(texts):
        assert reader[i][-1] == 1 and 1 not in reader[i][:-1]
        assert tokenizer.decode(reader[i][:-1]) == text
        assert (reader[i][:-1].tolist() == tokenizer.encode(text).tolist()) == (arm == "vanilla")
    assert record["tokens_with_eod"] == len(reader.ids) == record["tokens"] + len(texts)
    assert record["text_bytes"] == sum(len(text.encode()) for text in texts)
    low, high = {"vanilla": (1, 1), "stochastok": (1.05, 1.1), "patok": (1.2, 1.7)}[arm]
    assert low <= record["growth"] <= high
    assert record["growth"] == round(record["tokens"] / record["vanilla_tokens"], 6)


def test_vanilla_is_byte_for_byte_what_megatron_makes(
    make_config: MakeConfig, gemma: Path, root: Path, tmp_path: Path
) -> None:
    """The digests are those of gigatoken's ids in megatron-core's files: see benchmarks/corpus.py,
    which makes them anew."""
    split(root / "data" / "sample" / "filipino.jsonl", tmp_path / "chunks", 1)
    config = make_config(
        corpus__chunk_dir=str(tmp_path / "chunks"), corpus__chunks=1,
        tokenizer__source=str(gemma), tokenizer__path=str(tmp_path / "tokenizer"),
        tokenizer__vocab_size=262144)
    prefix, record = run_task(config)
    assert (record["documents"], record["tokens"], record["encoder"]) == (228, 47901, "kernels")
    assert [hashlib.sha256(content).hexdigest() for content in contents(prefix)] == [
        "ff259d61d47eb2ac3d80f6dba540422cd7d72baa01f3754da76d1c9745449c33",
        "031e313a49c391a53727090c30370709c07df69096b580a3c7f91049c28257ff"]


@pytest.mark.parametrize("arm", ["vanilla", "stochastok", "patok"])
def test_workers_do_not_matter(
    make_config: MakeConfig, tmp_path: Path, arm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corpus.lines._BATCH_BYTES", 3000)
    prefix, one = run_task(make_config(arm))
    alone = contents(prefix)
    config = make_config(arm, preprocess__output_dir=str(tmp_path / "again"))
    prefix, two = run_task(config, workers=2)
    assert contents(prefix) == alone
    assert one == two


@pytest.mark.parametrize("arm", ["stochastok", "patok"])
def test_chunking_does_not_matter(
    make_config: MakeConfig, study: Path, tmp_path: Path, arm: str
) -> None:
    merged = []
    for count in (1, 3):
        split(study / "corpus.jsonl", tmp_path / f"chunks{count}", count)
        config = make_config(arm, corpus__chunk_dir=str(tmp_path / f"chunks{count}"),
                             corpus__chunks=count,
                             preprocess__output_dir=str(tmp_path / f"{count}"))
        for number in range(1, count + 1):
            run_task(config, number)
        prefix = output_prefix(config, 1).with_name("seapile")
        merge(prefix)
        merged.append(contents(prefix))
    assert merged[0] == merged[1]


def test_seed_and_document_choose_the_stream(make_config: MakeConfig, tmp_path: Path) -> None:
    text = json.dumps({"text": "Nagkakatipon ang magkakapatid sa tahanan. " * 5}).encode()
    chunks = write_chunks(tmp_path, [text] * 4, 2)

    def cuts(seed: int) -> list[list[int]]:
        config = make_config("stochastok", corpus__chunk_dir=chunks, corpus__chunks=2, seed=seed)
        readers = [Reader(run_task(config, number)[0]) for number in (1, 2)]
        return [reader[i].tolist() for reader in readers for i in range(len(reader))]

    first = cuts(42)
    assert len({tuple(ids) for ids in first}) == 4  # the same text, never the same stream
    assert cuts(42) == first
    assert all(one != other for one, other in zip(first, cuts(43), strict=True))


BAD = {
    b"not json": "not JSON", b"": "blank line", b"[1]": "not an object", b'{"a": 1}': "no text key",
    b'{"text": 3}': "text is not a string", b'{"text": ""}': "empty text",
    b'{"text": "a\\u0000b"}': "NUL in text", b'{"text": "\\udc00"}': "lone surrogate in text",
    b'{"text": "\xff"}': "not UTF-8",
}


def test_bad_lines_are_listed_and_do_not_shift_the_streams(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    good = [json.dumps({"text": f"Mabuhay ang ika-{n} na araw ng pagdiriwang."}).encode()
            for n in range(len(BAD))]
    mixed = [line for pair in zip(good, BAD, strict=True) for line in pair]
    config = make_config("stochastok", corpus__chunk_dir=write_chunks(tmp_path, mixed),
                         corpus__chunks=1, preprocess__max_reject_share=0.5)
    prefix, record = run_task(config)
    assert record["rejects"] == dict.fromkeys(sorted(BAD.values()), 1)
    assert record["documents"] == len(good) == len(Reader(prefix))
    rejects = [json.loads(line) for line in
               prefix.with_name("seapile_0001.rejects.jsonl").read_bytes().splitlines()]
    assert [(reject["line"], reject["document"], reject["reason"]) for reject in rejects] == [
        (2 * n + 2, 2 * n + 1, reason) for n, reason in enumerate(BAD.values())]
    neutral = [line for one in good for line in (one, good[0])]
    config = make_config("stochastok", corpus__chunk_dir=write_chunks(tmp_path, neutral),
                         corpus__chunks=1)
    ids = [Reader(prefix)[i].tolist() for i in range(len(good))]
    reader = Reader(run_task(config)[0])
    assert [reader[2 * i].tolist() for i in range(len(good))] == ids


def test_too_many_bad_lines_fail_and_leave_nothing(
    make_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [b'{"text": "isa"}'] * 9 + [b"oops"]
    config = make_config(corpus__chunk_dir=write_chunks(tmp_path, lines), corpus__chunks=1)
    assert main(["--config", str(config.path), "--task", "1"]) == 65
    assert "1 of 10 lines are no documents (not JSON: 1; the first is line 10: 'oops')" in (
        capsys.readouterr().err)
    assert list(output_prefix(config, 1).parent.iterdir()) == []
    config = make_config(corpus__chunk_dir=config.parameter("corpus.chunk_dir", str),
                         corpus__chunks=1, preprocess__max_reject_share=0.1)
    assert run_task(config)[1]["rejected"] == 1


def test_a_finished_task_is_skipped_until_something_changes(make_config: MakeConfig) -> None:
    config = make_config("stochastok")
    prefix, record = run_task(config)
    before = idx_path(prefix).stat().st_mtime_ns
    assert run_task(config)[1] == record
    assert idx_path(prefix).stat().st_mtime_ns == before
    bin_path(prefix).write_bytes(b"short")
    run_task(config)
    assert len(Reader(prefix)) == record["documents"]
    changed = make_config("stochastok", variant={"name": "stochastok", "expand_prop": 0.3})
    assert run_task(changed)[1]["attempted"] > record["attempted"]


def test_a_chunk_that_changed_since_the_split_is_refused(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    chunks = write_chunks(tmp_path, [b'{"text": "isa"}', b'{"text": "dalawa"}'])
    config = make_config(corpus__chunk_dir=chunks, corpus__chunks=1)
    chunk = read_task(config, 1).chunk
    chunk.write_bytes(chunk.read_bytes().replace(b"isa", b"ISA"))
    with pytest.raises(CorpusError, match="not the chunk that"):
        run_task(config)
    assert list(output_prefix(config, 1).parent.iterdir()) == []


def test_a_tokenizer_that_is_not_there_is_prepared_by_the_first_task(
    make_config: MakeConfig, study: Path, tmp_path: Path
) -> None:
    config = make_config(tokenizer__path=str(tmp_path / "fresh"))
    assert main(["--config", str(config.path), "--task", "1"]) == 0
    made, known = (
        json.loads((path / "source.json").read_bytes())["digest"]
        for path in (tmp_path / "fresh", study / "tokenizer")
    )
    assert made == known


@pytest.mark.parametrize(
    ("changes", "argv", "code", "says"),
    [({}, [], 2, "Give --task N, from 1 to 3"), ({}, ["--task", "4"], 65, "no task 4"),
     ({}, ["--task", "0"], 65, "no task 0"), ({}, ["--task", "1", "--workers", "0"], 2, "workers"),
     ({"corpus__chunks": 5}, ["--task", "1"], 65, "has 3 chunks, but corpus.chunks is 5"),
     ({"corpus__chunk_dir": "absent"}, ["--task", "1"], 65, "Run the split stage"),
     ({"tokenizer__eod": 2}, ["--task", "1"], 65, "was made for eod 1"),
     ({"seed": -1}, ["--task", "1"], 65, "parameters.seed is -1"),
     ({"variant": {"name": "patak"}}, ["--task", "1"], 65, "vanilla, stochastok, patok"),
     ({"variant": {"name": "stochastok", "expand_pro": 1}}, ["--task", "1"], 65, "expand_prop")])
def test_mistakes_are_one_line(
    make_config: MakeConfig, capsys: pytest.CaptureFixture[str], changes: dict[str, Any],
    argv: list[str], code: int, says: str,
) -> None:
    config = make_config(**changes)
    assert main(["--config", str(config.path), *argv]) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and says in lines[0]


def test_an_id_beyond_the_vocabulary_is_refused(
    make_config: MakeConfig, vocabulary: Vocabulary
) -> None:
    recipe = msgspec.structs.replace(read_task(make_config(), 1).recipe, vocab_size=300)
    with pytest.raises(CorpusError, match="beyond vocab_size 300"):
        Encoder(recipe, vocabulary).encode(Batch(0, [b'{"text": "Magandang umaga"}']))


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_in_the_middle_leaves_no_final_file(
    make_config: MakeConfig, root: Path, tmp_path: Path, sample: list[str], workers: int
) -> None:
    lines = [json.dumps({"text": f"{n} {text}"}).encode() for n in range(150) for text in sample]
    config = make_config("patok", corpus__chunk_dir=write_chunks(tmp_path, lines),
                         corpus__chunks=1)
    folder = output_prefix(config, 1).parent
    process = subprocess.Popen(
        [sys.executable, "-m", "corpus.preprocess", "--config", config.path, "--task", "1",
         "--workers", str(workers)], cwd=root, start_new_session=True)
    while not any(path.stat().st_size for path in folder.glob(".seapile_0001.bin.*.tmp")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert [path for path in folder.iterdir() if not path.name.startswith(".")] == []
    deadline = time.monotonic() + 20
    while session_lives(process.pid):
        assert time.monotonic() < deadline, "workers outlived their task"
        time.sleep(0.1)
    vanilla = make_config("vanilla", corpus__chunk_dir=str(tmp_path / "own-chunks"),
                          corpus__chunks=1)
    vanilla.values["job"]["arm"] = "patok"  # the same files, made quickly
    prefix, _ = run_task(vanilla)
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{prefix.name}.{kind}" for kind in ("bin", "idx", "json")]


def session_lives(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def test_merge_joins_and_refuses_gaps(
    make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config("stochastok")
    prefix = output_prefix(config, 1).with_name("seapile")
    assert merge_main(["--prefix", str(prefix)]) == 65
    parts = [run_task(config, number)[0] for number in (1, 2, 3)]
    assert merge_main(["--prefix", str(prefix), "--config", str(config.path)]) == 2
    assert merge_main(["--config", str(config.path)]) == 0
    readers = [Reader(part) for part in parts]
    joined = Reader(prefix)
    assert [joined[i].tolist() for i in range(len(joined))] == [
        reader[i].tolist() for reader in readers for i in range(len(reader))]
    capsys.readouterr()
    idx_path(parts[1]).unlink()
    assert merge_main(["--prefix", str(prefix)]) == 65
    assert "lacks parts 2 of 3" in capsys.readouterr().err


def test_help_needs_no_heavy_packages(root: Path) -> None:
    code = ("import sys; import corpus.preprocess, corpus.download, corpus.tokenizer, corpus.merge;"
            "print({'torch', 'transformers', 'tokenizers', 'sentencepiece', 'huggingface_hub',"
            "'pyarrow'} & set(sys.modules))")
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True,
                          check=True)
    assert done.stdout.strip() == "set()"
