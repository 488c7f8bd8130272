"""A project's copy on a host: what is put there, what is left alone, what never goes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.errors import NotStarted, StateError, Unreachable
from pipeline.remote import Remote
from pipeline.sync import LARGEST, Sync
from tests.require import require
from tests.ssh.fixture import Sshd

ODD = ["a b/it's.py", 'quo"te$(touch canary).txt', "-dash/-x", "new\nline", "back\\slash", "é/ñ.py"]


class Both:
    """A project here, and where its copy will be."""

    def __init__(self, folder: Path) -> None:
        self.here, self.there = folder / "here", folder / "far away/project"
        self.here.mkdir()
        self.put("corpus/a.py", "a = 1\n")
        self.put("studies/s.yaml", "study: s\n")

    def put(self, path: str, text: str, there: bool = False) -> Path:
        file = (self.there if there else self.here) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def sync(self, secrets: tuple[tuple[str, str], ...] = ()) -> Sync:
        return Sync(Remote("cluster", str(self.there), self.here), self.here, ".env", secrets)

    def apply(self, overwrite: bool = False) -> Sync:
        copy = self.sync()
        copy.apply(copy.compare(), overwrite)
        return copy

    def files(self) -> set[str]:
        found = (p for p in self.there.rglob("*") if p.is_file())
        names = {str(p.relative_to(self.there)) for p in found}
        return {name for name in names if not name.startswith(".pipeline-sync/")}


@pytest.fixture(params=["tar", "rsync"])
def both(
    request: pytest.FixtureRequest, tmp_path: Path, sshd: Sshd,
    monkeypatch: pytest.MonkeyPatch,
) -> Both:  # fmt: skip
    """Once with rsync on both sides, once as if it were on none."""
    for name, value in sshd.env.items():
        monkeypatch.setenv(name, value)
    if request.param == "rsync":
        require("ssh", bool(shutil.which("rsync")), "rsync is not installed")
    else:
        real = shutil.which
        monkeypatch.setattr(
            "pipeline.sync.shutil.which",
            lambda name, *rest: None if name == "rsync" else real(name, *rest),
        )
    return Both(tmp_path)


def test_what_is_here_is_there_afterwards(both: Both) -> None:
    for path in ODD:
        both.put(path, f"content of {path}")
    script = both.put("scripts/run.sh", "#!/bin/bash\n")
    script.chmod(0o755)
    copy = both.apply()
    assert both.files() == {"corpus/a.py", "studies/s.yaml", "scripts/run.sh", *ODD}
    for path in ODD:
        assert (both.there / path).read_text() == f"content of {path}"
    assert os.access(both.there / "scripts/run.sh", os.X_OK)
    assert copy.unchanged()
    assert not copy.compare().of("put", "update", "delete", "changed there")


def test_only_what_changed_is_sent(both: Both) -> None:
    both.apply()
    both.put("corpus/a.py", "a = 2\n")
    both.put("corpus/b.py", "b = 1\n")
    copy = both.sync()
    assert not copy.unchanged()
    found = copy.compare()
    assert found.of("update") == ["corpus/a.py"]
    assert found.of("put") == ["corpus/b.py"]
    assert found.of("same") == ["studies/s.yaml"]
    copy.apply(found)
    assert (both.there / "corpus/a.py").read_text() == "a = 2\n"


def test_only_what_it_put_is_deleted(both: Both) -> None:
    both.put("old/gone.py", "x")
    both.apply()
    theirs = both.put("old/theirs.py", "y", there=True)
    results = both.put("results/table.csv", "z", there=True)
    (both.here / "old/gone.py").unlink()
    both.apply()
    assert not (both.there / "old/gone.py").exists()
    assert theirs.exists() and results.exists()


def test_a_file_that_was_put_and_changed_there_is_not_deleted(both: Both) -> None:
    both.put("old.py", "x")
    both.apply()
    both.put("old.py", "their own work", there=True)
    (both.here / "old.py").unlink()
    assert both.sync().compare().of("changed there") == ["old.py"]


def test_a_change_there_stops_it(both: Both) -> None:
    both.apply()
    both.put("corpus/a.py", "mended there\n", there=True)
    both.put("corpus/a.py", "mended here\n")
    copy = both.sync()
    with pytest.raises(StateError, match=r"corpus/a\.py: changed on cluster"):
        copy.bring_up_to_date()
    assert (both.there / "corpus/a.py").read_text() == "mended there\n"
    both.apply(overwrite=True)
    assert (both.there / "corpus/a.py").read_text() == "mended here\n"


def test_a_project_that_is_there_already_is_taken_over(both: Both) -> None:
    shutil.copytree(both.here, both.there)
    found = both.sync().compare()
    assert found.of("same") == ["corpus/a.py", "studies/s.yaml"]


def test_keys_and_large_files_stay_here(both: Both) -> None:
    for path in (".env", "sub/.env.local", "server.pem", "id_ed25519"):
        both.put(path, "HF_TOKEN=hf_secretsecret")
    large = both.put("data/large.bin", "")
    os.truncate(large, LARGEST + 1)
    found = both.sync().compare()
    assert set(found.left_out) == {
        ".env", "sub/.env.local", "server.pem", "id_ed25519", "data/large.bin"
    }  # fmt: skip
    both.apply()
    assert both.files() == {"corpus/a.py", "studies/s.yaml"}


def test_a_file_with_a_secret_in_it_is_refused(both: Both) -> None:
    both.put("corpus/a.py", "token = 'hf_secretsecret'\n")
    copy = both.sync((("HF_TOKEN", "hf_secretsecret"),))
    with pytest.raises(StateError, match="the value of HF_TOKEN") as refused:
        copy.apply(copy.compare())
    assert "hf_secretsecret" not in str(refused.value)
    assert both.files() == set()


def test_with_git_what_it_ignores_stays_here(both: Both) -> None:
    subprocess.run(["git", "init", "-q"], cwd=both.here, check=True)
    both.put(".gitignore", "*.tmp\n/jobs/\n")
    both.put("new.py", "")
    both.put("x.tmp", "")
    both.put("jobs/README.md", "")
    both.apply()
    assert both.files() == {".gitignore", "new.py", "corpus/a.py", "studies/s.yaml"}


def test_a_full_disk_there_loses_nothing(both: Both) -> None:
    if os.getuid():
        pytest.skip("mounting a small file system needs root")
    both.there.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(both.there)])
    if mounted.returncode:
        pytest.skip("this machine does not let root mount")
    try:
        both.apply()
        both.put("corpus/a.py", "b" * 3_000_000)
        with pytest.raises(Exception, match=r"cluster: ") as told:
            both.apply()
        assert "Traceback" not in str(told.value)
        assert (both.there / "corpus/a.py").read_text() == "a = 1\n"
        both.put("corpus/a.py", "a = 3\n")
        both.apply()
        assert (both.there / "corpus/a.py").read_text() == "a = 3\n"
    finally:
        subprocess.run(["umount", str(both.there)], check=True)


def test_a_folder_that_cannot_be_made_is_named(both: Both) -> None:
    both.there.parent.parent.joinpath("far away").write_text("a file")
    with pytest.raises((NotStarted, Unreachable), match="far away"):
        both.apply()
    assert not Path("canary").exists()
