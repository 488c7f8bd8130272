"""A small study on disk: corpus, chunks and tokenizer, made once; a configuration for each arm."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from corpus.config import Config
from corpus.download import download
from corpus.jit import cache_directory
from corpus.sources import Source
from corpus.split import split
from corpus.tokenizer import Request, prepare, train_sentencepiece
from corpus.tokenizers import Tokenizer, load_tokenizer
from corpus.vocabulary import Vocabulary, load
from tests.corpus.gemma import GemmaMissing, find_gemma
from tests.require import require

ROOT = Path(__file__).resolve().parents[2]
VOCABULARY, EOD, CHUNKS = 1024, 1, 3
ARMS: dict[str, dict[str, Any]] = {
    "vanilla": {"name": "vanilla"},
    "stochastok": {"name": "stochastok", "expand_prop": 0.1},
    "patok": {"name": "patok", "affix_dir": str(ROOT / "data" / "affixes")},
}
MakeConfig = Callable[..., Config]


@pytest.fixture(scope="session")
def one_cache() -> Path:
    """Tables and kernels as a user keeps them: what is compiled once serves all tests."""
    return cache_directory(ROOT)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def sample() -> list[str]:
    """Texts of the sample corpus, enough to learn a vocabulary from."""
    lines = (ROOT / "data" / "sample" / "filipino.jsonl").read_bytes().splitlines()
    return [json.loads(line)["text"] for line in lines[:90]]


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory, sample: list[str]) -> Path:
    """A directory with corpus.jsonl, chunks/ and tokenizer/, as the first three stages leave it."""
    directory = tmp_path_factory.mktemp("study with a space")
    source = directory / "source.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in sample[:60]),
                      encoding="utf-8")
    download(Source(str(source)), directory / "corpus.jsonl")
    split(directory / "corpus.jsonl", directory / "chunks", CHUNKS)
    prepare(Request("train", directory / "tokenizer", VOCABULARY, EOD, directory / "corpus.jsonl"))
    return directory


@pytest.fixture(scope="session")
def tokenizer(study: Path) -> Tokenizer:
    """The study's tokenizer.json."""
    return load_tokenizer(study / "tokenizer")


@pytest.fixture(scope="session")
def vocabulary(study: Path, one_cache: Path) -> Vocabulary:
    """The study's tokenizer as the kernels see it."""
    return load(study / "tokenizer", one_cache)


@pytest.fixture(scope="session")
def sentencepiece_model(study: Path, sample: list[str]) -> Path:
    """The SentencePiece model that the study's tokenizer.json was converted from."""
    path = study / "sentencepiece" / "tokenizer.model"
    path.parent.mkdir()
    path.write_bytes(train_sentencepiece(iter(sample[:60]), VOCABULARY, EOD))
    return path


@pytest.fixture(scope="session")
def gemma() -> Path:
    """Gemma 3's tokenizer.json: 262144 entries and the image token, documents end with id 1."""
    try:
        return find_gemma()
    except GemmaMissing as reason:
        require("gemma", False, f"Gemma 3's tokenizer is not here: {reason}")
        raise


@pytest.fixture(scope="session")
def gemma_vocabulary(gemma: Path, one_cache: Path) -> Vocabulary:
    """Gemma 3's tokenizer as the kernels see it; its tables take half a minute to make."""
    return load(gemma, one_cache)


@pytest.fixture
def make_config(study: Path, tmp_path: Path) -> MakeConfig:
    """`make_config(arm, **changes)` writes a job's configuration; keys of changes are dotted."""

    def make(arm: str = "vanilla", **changes: Any) -> Config:
        parameters: dict[str, Any] = {
            "seed": 42, "variant": dict(ARMS[arm]),
            "corpus": {"file": str(study / "corpus.jsonl"), "chunk_dir": str(study / "chunks"),
                       "chunks": CHUNKS, "name": "seapile"},
            "tokenizer": {"source": "train", "path": str(study / "tokenizer"),
                          "vocab_size": VOCABULARY, "eod": EOD},
            "preprocess": {"output_dir": str(tmp_path / "processed"), "workers": 1,
                           "max_reject_share": 0.001},
        }
        for key, value in changes.items():
            *parents, last = key.split("__")
            place = parameters
            for parent in parents:
                place = place[parent]
            place[last] = value
        path = tmp_path / f"{arm}.yaml"
        path.write_text(yaml.safe_dump({"job": {"arm": arm}, "parameters": parameters}),
                        encoding="utf-8")
        return Config.load(path)

    return make
