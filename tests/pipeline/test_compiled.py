"""Compiled templates that are kept: found again, and never trusted where they are damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest

from pipeline.compiled import Templates, folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIPELINE_CACHE_DIR", str(tmp_path / "cache"))
    return folder()


def rendered(source: str, compiled: list[str]) -> str:
    """What a fresh environment makes of a template; `compiled` gets each source that it parsed."""

    class Counting(jinja2.Environment):
        def _parse(self, source: str, name: str | None, filename: str | None) -> Any:
            compiled.append(source)
            return super()._parse(source, name, filename)

    loader = jinja2.DictLoader({"a": source})
    return Counting(loader=loader, bytecode_cache=Templates()).get_template("a").render(x="1")


def test_the_second_command_compiles_nothing(cache: Path) -> None:
    compiled: list[str] = []
    assert [rendered("{{ x }}", compiled) for _ in range(3)] == ["1"] * 3
    assert len(compiled) == 1 and cache.stat().st_mode & 0o777 == 0o700
    assert rendered("{{ x }}!", compiled) == "1!" and len(compiled) == 2, "the source counts"


@pytest.mark.parametrize("change", [lambda b: b[: len(b) // 2], lambda b: b[:-1] + b"x",
                                    lambda b: b"", lambda b: b"x" * len(b)])  # fmt: skip
def test_a_damaged_file_is_written_again(cache: Path, change: object) -> None:
    compiled: list[str] = []
    rendered("{{ x }}", compiled)
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    path.write_bytes(change(whole))  # type: ignore[operator]
    assert rendered("{{ x }}", compiled) == "1"
    assert len(compiled) == 2 and path.read_bytes() == whole


def test_where_nothing_can_be_written_templates_are_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PIPELINE_CACHE_DIR", str(tmp_path / "file"))
    assert rendered("{{ x }}", []) == "1"
