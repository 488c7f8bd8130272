"""The fake's server, queues and node, with the keys and the kinds of values that were recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakepbs.fixture import FakePBS

RECORDINGS = Path(__file__).parents[1] / "recordings/openpbs"


def recorded(name: str) -> dict[str, Any]:
    text = (RECORDINGS / f"{name}.txt").read_text().partition("--- stdout\n")[2]
    text = text[text.index("{") :].partition("--- stderr")[0]
    found: dict[str, Any] = json.loads(text)
    return found


def kinds(value: Any) -> Any:
    """The types of what it holds, names of servers, queues and nodes left out."""
    if not isinstance(value, dict):
        return type(value)
    return {key: kinds(inner) for key, inner in value.items()}


@pytest.mark.parametrize(
    ("argv", "name", "key"),
    [
        (("qstat", "-B", "-f", "-F", "json"), "04-qstat-B", "Server"),
        (("qstat", "-Q", "-f", "-F", "json"), "05-qstat-Q-json", "Queue"),
        (("pbsnodes", "-av", "-F", "json"), "06-pbsnodes-json", "nodes"),
    ],
    ids=["server", "queues", "nodes"],
)
def test_what_it_prints_is_part_of_what_was_recorded(
    fakepbs: FakePBS, argv: tuple[str, ...], name: str, key: str
) -> None:
    done = fakepbs.run(*argv)
    assert done.returncode == 0 and not done.stderr
    own, real = json.loads(done.stdout), recorded(name)
    assert list(own) == list(real)
    [known] = real[key].values()
    for entry in own[key].values():
        for attribute, value in entry.items():
            if attribute != "resources_max":  # the recorded queue has no limits
                assert kinds(value) == kinds(known[attribute]), attribute


def test_without_history_there_is_no_line_of_it(fakepbs: FakePBS) -> None:
    told = json.loads(fakepbs.run("qstat", "-B", "-f", "-F", "json", HISTORY="0").stdout)
    assert "job_history_enable" not in told["Server"]["fake"]


@pytest.mark.parametrize("argv", [("qstat", "-B"), ("qstat", "-Q")])
def test_a_server_that_is_down(fakepbs: FakePBS, argv: tuple[str, ...]) -> None:
    done = fakepbs.run(*argv, "-f", "-F", "json", DOWN="1")
    assert done.returncode == 255 and "errno=15010" in done.stderr
    assert list(json.loads(done.stdout)) == ["timestamp", "pbs_version", "pbs_server"]


def test_pbsnodes_knows_one_form_only(fakepbs: FakePBS) -> None:
    assert fakepbs.run("pbsnodes", "-a").returncode == 2
