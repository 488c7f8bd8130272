"""The stage table agrees with the sections, the environments and docs/payloads.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from pipeline.kinds import KINDS
from pipeline.sections import SECTIONS
from pipeline.site import EnvName

ROOT = Path(__file__).parents[2]
BUILT_IN = [kind for kind in KINDS if kind != "command"]


@pytest.mark.parametrize("kind", list(KINDS))
def test_its_sections_and_environment_exist(kind):
    row = KINDS[kind]
    assert set(row.sections) <= set(SECTIONS)
    assert row.env in get_args(EnvName)
    assert row.launcher in ("", "torchrun")


@pytest.mark.parametrize("kind", BUILT_IN)
def test_its_program_gets_the_configuration(kind):
    argv = KINDS[kind].argv
    assert argv[0] == "python"
    assert argv[argv.index("--config") + 1] == "{config}"


@pytest.mark.parametrize("kind", BUILT_IN)
def test_what_its_argv_names_is_a_field_of_a_section(kind):
    for word in KINDS[kind].argv:
        for section, key in re.findall(r"\$\{(\w+)\.(\w+)\}", word):
            assert key in SECTIONS[section].__struct_encode_fields__


@pytest.mark.parametrize("kind", list(KINDS))
def test_it_is_documented(kind):
    table = (ROOT / "docs/payloads.md").read_text("utf-8")
    assert re.search(rf"^\| {kind} \|", table, re.MULTILINE)


def test_every_section_is_read_by_some_kind():
    assert {s for kind in KINDS.values() for s in kind.sections} == set(SECTIONS)


def test_a_command_brings_its_own_program():
    assert KINDS["command"].argv == ()
