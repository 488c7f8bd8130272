"""Where compiled kernels and tables are kept."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from corpus import jit
from corpus.text_encoder import TextEncoder
from corpus.vocabulary import Vocabulary, load


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (jit.VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """A place where nobody, not even root, can make a directory."""
    file = tmp_path / "file"
    file.write_bytes(b"")
    return file


def test_the_variable_comes_first(no_variables: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_variables.setenv(jit.VARIABLE, str(tmp_path / "a" / "b"))
    no_variables.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert jit.cache_directory(tmp_path) == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir() and not (tmp_path / "xdg").exists()


def test_then_the_users_cache(no_variables: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_variables.setenv("HOME", str(tmp_path / "home"))
    assert jit.cache_directory(tmp_path / "t") == tmp_path / "home" / ".cache" / "pipeline"
    no_variables.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert jit.cache_directory(tmp_path / "t") == tmp_path / "xdg" / "pipeline"
    assert not (tmp_path / "t").exists()


def test_then_a_place_beside_the_tokenizer(
    no_variables: pytest.MonkeyPatch, tmp_path: Path, blocked: Path
) -> None:
    no_variables.setenv("XDG_CACHE_HOME", str(blocked))
    assert jit.cache_directory(tmp_path / "t") == tmp_path / "t" / "cache"


def test_and_else_a_temporary_one_with_a_warning(
    no_variables: pytest.MonkeyPatch, blocked: Path, caplog: pytest.LogCaptureFixture,
    vocabulary: Vocabulary,
) -> None:
    no_variables.setenv(jit.VARIABLE, str(blocked / "cache"))
    with caplog.at_level(logging.WARNING):
        directory = jit.cache_directory(Path("unused"))
    assert f"{blocked / 'cache'} cannot be written" in caplog.text and jit.VARIABLE in caplog.text
    assert directory.is_dir() and directory != blocked / "cache"
    assert jit.cache_directory(Path("unused")) == directory
    found = load(vocabulary.path, directory)
    ids = TextEncoder(found).encode([b"Magandang umaga"])[0]
    assert ids.tolist() == TextEncoder(vocabulary).encode([b"Magandang umaga"])[0].tolist()


SHOW = """
import sys
from pathlib import Path
from corpus import jit
jit.use(Path(sys.argv[1]))
import numba
print(numba.config.CACHE_DIR)
import corpus.kernels.tables
jit.use(Path("/elsewhere"))
print(numba.config.CACHE_DIR)
"""


def test_compiled_code_is_kept_by_the_kernels_sources(root: Path, tmp_path: Path) -> None:
    """The name of its folder holds their digest, and the first call in a process decides."""
    output = subprocess.run(
        [sys.executable, "-c", SHOW, str(tmp_path)], check=True, capture_output=True, text=True,
        cwd=root, env=os.environ | {"PYTHONPATH": str(root)}).stdout.split()
    assert output == [str(tmp_path / f"jit-{jit._sources_digest()}")] * 2


def test_the_digest_is_of_every_kernel(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = tmp_path / "kernels"
    kernels.mkdir()
    for file in (root / "corpus" / "kernels").glob("*.py"):
        (kernels / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(jit, "__file__", str(tmp_path / "jit.py"))
    digest = jit._sources_digest.__wrapped__
    before = digest()
    assert before == jit._sources_digest()
    for file in sorted(kernels.glob("*.py")):
        with file.open("a") as stream:
            stream.write("# changed\n")
        assert digest() != before
        before = digest()


def test_one_compiles_while_the_others_wait(one_cache: Path) -> None:
    jit.use(one_cache)
    order: list[str] = []
    inside = threading.Event()

    def second() -> None:
        inside.wait(30)
        with jit.one_at_a_time():
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with jit.one_at_a_time():
        inside.set()
        thread.join(0.3)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


def test_without_locks_it_goes_on(
    one_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    jit.use(one_cache)
    monkeypatch.setattr("fcntl.flock", refuse)
    done = []
    with jit.one_at_a_time():
        done.append(1)
    assert done and "No locks available" in caplog.text
