from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from corpus.errors import CorpusError
from corpus.tokenizer import Request, main, prepare, train
from corpus.tokenizers import load_tokenizer


@pytest.fixture
def request_for(study: Path, tmp_path: Path) -> Request:
    return Request(str(study / "tokenizer"), tmp_path / "tokenizer", 1024, 1,
                   study / "corpus.jsonl")


def test_training_is_deterministic(sample: list[str]) -> None:
    assert train(iter(sample[:20]), 600, 1) == train(iter(sample[:20]), 600, 1)


@pytest.mark.parametrize("eod", [0, 1, 2, 3])
def test_eod_is_the_id_asked_for(sample: list[str], eod: int, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(train(iter(sample[:20]), 600, eod), encoding="utf-8")
    trained = load_tokenizer(path)
    assert trained.id_to_piece(eod) == "<eos>"
    assert trained.special == {0, 1, 2, 3}
    assert trained.vocab_size == 600


@pytest.mark.parametrize("kind", ["directory", "json", "model"])
def test_local_sources_are_copied(
    request_for: Request, study: Path, sentencepiece_model: Path, kind: str
) -> None:
    source = {"directory": study / "tokenizer", "json": study / "tokenizer" / "tokenizer.json",
              "model": sentencepiece_model}[kind]
    record = prepare(msgspec.structs.replace(request_for, source=str(source)))
    name = "tokenizer.model" if kind == "model" else "tokenizer.json"
    assert sorted(path.name for path in request_for.directory.iterdir()) == sorted(
        [name, "source.json", "tokenizer_config.json"])
    assert (record["file"], record["eod_piece"], record["vocab_size"]) == (name, "<eos>", 1024)
    assert record["digest"] == load_tokenizer(request_for.directory).digest()


def test_second_run_is_a_no_op_and_damage_is_repaired(request_for: Request) -> None:
    prepare(request_for)
    file = request_for.directory / "tokenizer.json"
    before = file.stat().st_mtime_ns
    prepare(request_for)
    assert file.stat().st_mtime_ns == before
    file.write_text("{}")
    prepare(request_for)
    assert load_tokenizer(file).vocab_size == 1024


@pytest.mark.parametrize(
    ("change", "says"),
    [({"vocab_size": 2048}, "vocab_size is 2048, but tokenizer.json has 1024 entries"),
     ({"eod": 300}, "not a special token"), ({"eod": 5000}, "not a special token"),
     ({"eod": 2}, "eos_token is <eos>, id 1"), ({"source": "./absent"}, "does not exist"),
     ({"source": "a/b/c"}, "does not exist"), ({"source": "train", "eod": 9}, "0, 1, 2 or 3"),
     ({"source": "train", "vocab_size": 90000}, "cannot be learnt"),
     ({"source": "train", "corpus": Path("absent")}, "Run the download stage")])
def test_differences_are_refused(request_for: Request, change: dict[str, object],
                                 says: str) -> None:
    with pytest.raises(CorpusError, match=says):
        prepare(msgspec.structs.replace(request_for, **change))
    assert not (request_for.directory / "source.json").exists()


def test_a_failed_change_keeps_what_was_there(request_for: Request) -> None:
    prepare(request_for)
    with pytest.raises(CorpusError):
        prepare(msgspec.structs.replace(request_for, vocab_size=2048))
    assert load_tokenizer(request_for.directory).vocab_size == 1024
    assert not list(request_for.directory.glob(".new-*"))


def test_special_tokens_past_the_vocabulary_need_not_count(
    request_for: Request, study: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(study / "tokenizer", source)
    content = json.loads((source / "tokenizer.json").read_bytes())
    content["added_tokens"].append(content["added_tokens"][0] | {"id": 1024, "content": "<image>"})
    (source / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    request = msgspec.structs.replace(request_for, source=str(source))
    assert prepare(request)["vocab_size"] == 1024
    assert prepare(msgspec.structs.replace(request, vocab_size=1025))["vocab_size"] == 1025
    assert load_tokenizer(source).encode("<image>").max() < 1024


def test_an_unreachable_hub_is_explained(
    request_for: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def refuse(name: str, token: str | None) -> list[str]:
        raise OSError("no route to host")

    monkeypatch.setattr(hub, "list_repo_files", refuse)
    with pytest.raises(CorpusError, match=r"no route to host.*HF_TOKEN"):
        prepare(msgspec.structs.replace(request_for, source="google/gemma-3-1b-pt"))


def test_command_line(make_config, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(make_config("vanilla").path)
    assert main(["--config", path]) == 0
    assert "1024 entries, documents end with 1 <eos>" in capsys.readouterr().out
    assert main(["--config", path, "--source", "./absent"]) == 65
    assert capsys.readouterr().err.startswith("error: ")
