"""Keys: their file, each variable by the step that needs it, and that no value is ever told."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from pipeline.doctor import host, secrets
from pipeline.doctor.check import Facts, Scope
from tests.pipeline.doctored import asked, bad, by_name, facts, scope
from tests.pipeline.test_doctor_host import paths

SECRET = "hf_" + "q7" * 12


def look(of: Scope, env: str = "|||missing|yes", **answers: str) -> Facts:
    return facts(paths=paths(of, env=env), **answers)


@pytest.mark.parametrize(
    ("variables", "env_file", "scheduler", "status", "words"),
    [
        ("", "set HF_TOKEN", "pbs", "ok", "set"),
        ("login HF_TOKEN", "", "pbs", "ok", "set"),
        ("env HF_TOKEN", "", "pbs", "fail", "does not reach them"),
        ("env HF_TOKEN", "", "slurm", "ok", "set"),
        ("env HF_TOKEN", "", "local", "fail", "reach them"),
        ("", "", "slurm", "fail", "not set; download downloads hf://aisingapore/SEA-PILE-v2"),
        ("", "set HF_TOKEN2", "slurm", "fail", "not set"),
    ],
)  # fmt: skip
def test_the_hubs_token(
    variables: str, env_file: str, scheduler: str, status: str, words: str
) -> None:
    of = scope("download", scheduler=scheduler)
    found = by_name(secrets.checks(of, look(of, variables=variables, env_file=env_file)))
    assert found["HF_TOKEN"].status == status and words in found["HF_TOKEN"].fact
    assert found["HF_TOKEN"].needed_by == ("download",)


@pytest.mark.parametrize(
    ("stages", "profiles", "sets", "wanted"),
    [
        (("download",), (), (), ("download",)),
        (("tokenizer",), (), (), ("tokenizer",)),
        (("train",), (), (), ("train_vanilla", "train_stochastok", "train_patok")),
        (("preprocess",), (), (), ()),
        (("all",), ("demo",), (), ()),
        (("download",), (), ("corpus.source=data/sample/filipino.jsonl",), ()),
        (("tokenizer",), (), ("tokenizer.source=data/tokenizer.json",), ()),
        (("train",), (), ("model.base=/models/gemma",), ()),
    ],
)
def test_which_job_needs_the_hubs_token(
    stages: tuple[str, ...], profiles: tuple[str, ...], sets: tuple[str, ...],
    wanted: tuple[str, ...],
) -> None:  # fmt: skip
    of = scope(*stages, profiles=profiles, sets=sets)
    found = by_name(secrets.checks(of, look(of)))
    assert (found["HF_TOKEN"].needed_by if "HF_TOKEN" in found else ()) == wanted


def test_weights_that_are_cached_need_no_token() -> None:
    of = scope("train")
    found = by_name(secrets.checks(of, look(of, cached="google/gemma-3-1b-pt\n")))
    assert "HF_TOKEN" not in found


def test_offline_and_a_download() -> None:
    of = scope("download")
    found = by_name(secrets.checks(of, look(of, env_file="set HF_TOKEN\nset HF_HUB_OFFLINE")))
    assert found["HF_HUB_OFFLINE"].status == "warn"


@pytest.mark.parametrize(
    ("variables", "sets", "status"),
    [
        ("", (), "warn"),
        ("login WANDB_API_KEY", (), "ok"),
        ("netrc WANDB_API_KEY", (), "ok"),
        ("", ("wandb.mode=offline",), None),
    ],
)
def test_the_key_of_weights_and_biases(
    variables: str, sets: tuple[str, ...], status: str | None
) -> None:
    of = scope("train", sets=sets)
    found = by_name(secrets.checks(of, look(of, variables=variables)))
    assert (found["WANDB_API_KEY"].status if "WANDB_API_KEY" in found else None) == status


@pytest.mark.parametrize(
    ("env", "status"),
    [
        ("600|1000|9|regular file|yes", "ok"),
        ("400|1000|9|regular file|yes", "ok"),
        ("640|1000|9|regular file|yes", "fail"),
        ("4600|1000|9|regular file|yes", "fail"),
    ],
)
def test_the_files_mode(env: str, status: str) -> None:
    of = scope("analyze")
    found = by_name(secrets.checks(of, look(of, env)))
    assert found[".env"].status == status
    assert (found[".env"].remedy == f"chmod 600 {of.path('.env')}") == (status == "fail")


ODD = "warning: line 3 of /p/.env is not KEY=VALUE and is passed over"


def test_the_files_owner_and_lines() -> None:
    of = scope("analyze")
    found = by_name(secrets.checks(of, look(of, "600|7|9|regular file|yes", env_file=ODD)))
    assert found[".env owner"].status == "fail" and found[".env lines"].status == "warn"
    found = by_name(secrets.checks(of, look(of, "600|1000|9|regular file|yes", env_file="dos")))
    assert found[".env line ends"].status == "fail"


def test_it_is_asked_for_real_and_no_value_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in secrets.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    lines = [
        f"HF_TOKEN={SECRET}", "# WANDB=1", "", "EMPTY=", "QUOTED=''", f"this {SECRET} is odd",
        "  export  OTHER=\"a b\" # c", "$(touch x)=1", "LAST=`touch x`",
    ]  # fmt: skip
    (tmp_path / ".env").write_text("\n".join(lines))
    (tmp_path / ".env").chmod(0o600)
    cached = tmp_path / ".cache/huggingface/hub/models--google--gemma-3-1b-pt/snapshots/a1"
    cached.mkdir(parents=True)
    of = scope("download", "train", project=tmp_path)
    answers = asked([*host.questions(of), *secrets.questions(of)], tmp_path)
    told = "".join(a.stdout + a.stderr for a in answers.answers.values())
    assert SECRET not in told and "touch" not in told
    odd = [
        f"warning: line {n} of {tmp_path}/.env is not KEY=VALUE and is passed over" for n in (6, 8)
    ]
    assert answers.text("env_file").split("\n")[:-1] == [
        *odd, "set HF_TOKEN", "set OTHER", "set LAST",
    ]  # fmt: skip
    assert answers.text("cached") == "google/gemma-3-1b-pt\n"
    found = by_name(secrets.checks(of, answers))
    assert found["HF_TOKEN"].needed_by == ("download",)
    assert found[".env lines"].fact == "no KEY=VALUE in line 6, 8"
    assert found["WANDB_API_KEY"].status == "warn" and "reach them" in found["WANDB_API_KEY"].fact
    assert SECRET not in json.dumps(msgspec.to_builtins(list(found.values())))
    assert not list(tmp_path.glob("**/x")) and bad(secrets.checks(of, answers))
