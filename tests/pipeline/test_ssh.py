"""Real commands over a real sshd on loopback, through noise, delays, cuts and hostile answers."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import ssh
from pipeline.errors import ConfigError, NotStarted, Unreachable
from pipeline.job import mirrored
from pipeline.mirror import Member, Mirror, unpacked
from pipeline.remote import Remote
from tests.pipeline.clusters import WORK, Project, end_group, site_yaml
from tests.ssh.fixture import Sshd

LOCAL = "slots: 4\nmax_cpus: 4\nmax_mem: 8000000000\nmax_gpus: 0\n"


class Far:
    """A project here whose site is a host reached over SSH, and the project's folder there."""

    def __init__(
        self, folder: Path, server: Sshd, host: str = "cluster", queue: str = LOCAL
    ) -> None:
        self.there = folder / "it's there"  # a path that must be quoted
        for name in ("out", "control"):
            (self.there / name).mkdir(parents=True)
        (self.there / "work.sh").write_text(WORK)
        site = site_yaml("local", self.there, f"host: {host}\n{queue}")
        self.here = Project(folder / "here", site, server.env)
        (self.here.root / "work.sh").write_text(WORK)

    def ran(self) -> list[str]:
        path = self.there / "out/ran"
        return sorted(path.read_text().splitlines()) if path.exists() else []

    def finish(self) -> None:
        self.here.wait(lambda states: set(states["tell"]) == {"completed"})


ALL = sorted(
    ["make 1", "tell 1", *(f"cut_{a} {i}" for a in "ab" for i in range(1, 5)), "fit_a 1", "fit_b 1"]
)


@pytest.fixture
def far(tmp_path: Path, sshd: Sshd) -> Far:
    return Far(tmp_path, sshd)


@pytest.fixture
def remote(tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """A connection without a run."""
    for name, value in sshd.env.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "far").mkdir()
    return Remote("cluster", str(tmp_path / "far"), tmp_path / "near", "jobs/x", "jobs/x/logs")


# --- a run


def test_a_run_on_a_host_without_a_scheduler(far: Far) -> None:
    far.here.run("submit", "all")
    far.finish()
    assert far.ran() == ALL
    assert not list((far.there / "jobs/small").glob("manifest*"))  # the state is here
    detail = {job["name"]: job for job in far.here.status()["jobs"]}
    assert detail["cut_a"]["missing_outputs"] == ""


def test_a_status_is_one_round_trip(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    far.here.run("submit", "all")
    far.finish()
    assert far.here.status()["scheduler_calls"] == 1


def test_why_and_logs_come_from_there(far: Far) -> None:
    (far.there / "control/exit_cut_a_3").write_text("7")
    far.here.run("submit", "all")
    far.here.wait(lambda s: "failed" in s["cut_a"] and "blocked" in s["tell"])
    said = far.here.run("why", "cut_a", "3")
    assert "told to fail" in said and "exit code 7" in said
    assert "told to fail" in far.here.run("logs", "cut_a", "3")
    (far.there / "control/exit_cut_a_3").unlink()
    far.here.run("resubmit", "--failed")
    far.finish()
    assert far.ran() == ALL


def test_cancelling_there(far: Far) -> None:
    (far.there / "control/sleep_make").write_text("60")
    far.here.run("submit", "make")
    far.here.wait(lambda s: "running" in s["make"])
    far.here.run("cancel", "make")
    far.here.wait(lambda s: "cancelled" in s["make"])


def test_cancelling_in_the_first_training_starts_no_other(tmp_path: Path, sshd: Sshd) -> None:
    """One training at a time, as on a host with one GPU: whoever ends the running one by hand only
    makes room for the next. cancel takes what waits first, then the script, then its children."""
    far = Far(tmp_path, sshd, queue=LOCAL.replace("slots: 4", "slots: 1"))
    for name in ("fit_a", "fit_b"):
        (far.there / f"control/sleep_{name}").write_text("60")
    far.here.run("submit", "all")
    far.here.wait(lambda s: "running" in s["fit_a"])
    assert "queued" in far.here.states()["fit_b"]
    far.here.run("cancel", "--all")
    states = far.here.wait(
        lambda s: all(set(s[name]) == {"cancelled"} for name in ("fit_a", "fit_b", "tell"))
    )
    assert states["make"] == {"completed": "1"}
    time.sleep(2)  # a supervisor that went on would have started it
    assert not [line for line in far.ran() if line.startswith(("fit", "tell"))]
    assert not list((far.there / "jobs/small/receipts").glob("fit_b/*.run"))


def test_real_slurm_over_ssh(
    tmp_path: Path,
    slurm_env: dict[str, str],
    sshd: Sshd,
) -> None:
    sshd.stop()
    options = ("KbdInteractiveAuthentication no", "UsePAM no")
    sshd.start(*options, f"SetEnv SLURM_CONF={slurm_env['SLURM_CONF']}")
    far = Far(tmp_path, sshd)
    site = site_yaml("slurm", far.there, "host: cluster\n")
    (far.here.root / "sites/default.yaml").write_text(site)
    (far.there / "control/exit_cut_b_2").write_text("1")
    far.here.run("submit", "all")
    far.here.wait(lambda s: "blocked" in s["tell"], seconds=200)
    (far.there / "control/exit_cut_b_2").unlink()
    far.here.run("resubmit", "--failed")
    far.here.wait(lambda s: set(s["tell"]) == {"completed"}, seconds=200)
    assert far.ran() == ALL


def test_only_one_place_drives_a_run(far: Far, tmp_path: Path, sshd: Sshd) -> None:
    far.here.run("submit", "make")
    other = Project(
        tmp_path / "other", (far.here.root / "sites/default.yaml").read_text(), sshd.env
    )
    (other.root / "work.sh").write_text(WORK)
    assert "driven from" in other.run("submit", "make", code=3)


# --- the line


def test_noise_at_login_does_not_matter(far: Far, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    noise = "echo 'Welcome! \\0 $(touch canary)'; printf '\\377\\000\\n'; echo oops >&2\n"
    (home / ".bash_profile").write_text(noise)
    (home / ".bashrc").write_text(noise)
    config = Path(far.here.env["PIPELINE_SSH"].split()[-1])
    config.write_text(config.read_text())
    remote_home = far.there / "home.sh"
    remote_home.write_text(noise)
    far.here.env["PIPELINE_SSH"] = f"{sys.executable} {_noisy(tmp_path, far)}"
    far.here.run("submit", "make")
    far.here.wait(lambda s: set(s["make"]) == {"completed"})


def _noisy(folder: Path, far: Far) -> Path:
    """An ssh before whose output and after whose output other things are printed."""
    real = far.here.env["PIPELINE_SSH"]
    path = folder / "noisy.py"
    path.write_text(
        "import os, subprocess, sys\n"
        "words = sys.argv[1:]\n"
        "if '-G' not in words and '-O' not in words:\n"
        "    os.write(1, b'Last login: \\xff\\x00 today\\nno newline at the end')\n"
        f"code = subprocess.call({real.split()!r} + words)\n"
        "os.write(1, b'goodbye\\n')\n"
        "sys.exit(code)\n"
    )
    return path


def test_a_slow_line_costs_time_and_nothing_else(far: Far) -> None:
    _use(far, "slow")
    far.here.run("submit", "make")
    far.here.wait(lambda s: set(s["make"]) == {"completed"})
    started = time.monotonic()
    assert far.here.status()["scheduler_calls"] == 1
    assert time.monotonic() - started < 60  # it came back at all: no question waits for a person


def test_a_jump_host(far: Far) -> None:
    _use(far, "behind")
    far.here.run("submit", "make")
    far.here.wait(lambda s: set(s["make"]) == {"completed"})


def _use(far: Far, host: str) -> None:
    path = far.here.root / "sites/default.yaml"
    path.write_text(path.read_text().replace("host: cluster", f"host: {host}"))


def test_a_line_cut_in_mid_status_leaves_things_unknown(
    far: Far,
    sshd: Sshd,
) -> None:
    _use(far, "cutting")
    (far.there / "control/sleep_make").write_text("5")
    far.here.run("submit", "make")
    far.here.wait(lambda s: "running" in s["make"])
    sshd.cut.touch()
    found = far.here.status()
    assert {job["name"]: job["state"] for job in found["jobs"]}["make"] == "unknown"
    sshd.cut.unlink()
    far.here.wait(lambda s: set(s["make"]) == {"completed"})


@pytest.mark.parametrize("when", [0.05, 0.2, 0.4, 0.8])
def test_a_line_cut_in_mid_submit_doubles_nothing(
    far: Far,
    sshd: Sshd,
    when: float,
) -> None:
    _use(far, "cutting")
    far.here.run("sync", code=None)
    process = far.here.start("submit", "make")
    time.sleep(when)
    sshd.cut.touch()
    _, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    sshd.cut.unlink()
    far.here.status()  # settles what was left
    if process.returncode:
        far.here.run("submit", "make", code=None)
    far.here.wait(lambda s: set(s["make"]) == {"completed"})
    time.sleep(1)
    assert far.ran() == ["make 1"]


@pytest.mark.parametrize("when", [0.2, 0.5, 0.9])
def test_a_command_killed_in_mid_submit_doubles_nothing(far: Far, when: float) -> None:
    far.here.run("sync")
    process = far.here.start("submit", "make")
    time.sleep(when)
    end_group(process)
    far.here.run("submit", "make", code=None)
    far.here.wait(lambda s: set(s["make"]) == {"completed"})
    time.sleep(1)
    assert far.ran() == ["make 1"]


def test_what_was_given_up_is_refused_when_it_arrives(remote: Remote, tmp_path: Path) -> None:
    remote.ask_after([["true"]], ["tlate"])
    with pytest.raises(NotStarted, match="given up"):
        remote.launch(["touch", str(tmp_path / "ran")], {}, [], "tlate")
    assert not (tmp_path / "ran").exists()
    remote.launch(["touch", str(tmp_path / "ran")], {}, [], "tother")
    assert (tmp_path / "ran").exists()


def test_who_gives_up_waits_for_a_submission_under_way(remote: Remote, tmp_path: Path) -> None:
    script = tmp_path / "submit.sh"
    script.write_text(f"sleep 2\necho L9 >{tmp_path}/queued\n")
    code = (
        "import sys; from pathlib import Path; from pipeline.remote import Remote\n"
        f"r = Remote('cluster', {remote.project!r}, Path({str(remote.root)!r}), 'jobs/x', 'l')\n"
        f"r.launch(['bash', {str(script)!r}], {{}}, [], 'tslow')\n"
    )
    first = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    until = time.monotonic() + 60
    while not (Path(remote.project) / "jobs/x/driven-from").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    found = remote.ask_after([["cat", f"{tmp_path}/queued"]], ["tslow"])
    assert found[0].stdout == "L9\n"
    assert first.wait(60) == 0


def test_a_hung_command_does_not_hide_the_rest(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions = "pipeline.remote._FUNCTIONS"
    from pipeline import remote as module

    monkeypatch.setattr(functions, module._FUNCTIONS.replace("-k 5 55", "-k 1 1"))
    found = remote.run_all([["sleep", "60"], ["echo", "here"]])
    assert found[0].returncode == 124
    assert found[1].stdout == "here\n"


def test_output_of_any_kind_comes_through(remote: Remote) -> None:
    odd = "a'b\"c $(touch canary) `x` \\ * \n new -n é ‮"
    done = remote.run(["printf", "%s", odd])
    assert done.stdout == odd
    assert not (Path(remote.project) / "canary").exists()
    done = remote.run(["head", "-c", "3000000", "/dev/zero"])
    assert done.stdout == "\0" * 3_000_000


def test_a_missing_command_is_told_with_its_remedy(remote: Remote) -> None:
    with pytest.raises(NotStarted, match="no such command on cluster"):
        remote.run(["qsub-that-is-not-there"])


# --- who is at the other end


def test_a_changed_host_key_is_an_error(far: Far, sshd: Sshd) -> None:
    far.here.run("submit", "make")
    other = sshd.folder / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    sshd.trust(other.with_suffix(".pub"))
    subprocess.run(
        ["ssh", "-F", sshd.config, "-o", f"ControlPath={sshd.folder}/pipeline/%C", "-O", "exit",
         "cluster"], check=False, capture_output=True,
    )  # fmt: skip
    said = far.here.run("submit", "fit", "--force", code=None)
    assert "host key" in said and "ssh-keygen -R" in said


def test_an_unknown_host_key_is_an_error_too(remote: Remote, sshd: Sshd) -> None:
    (sshd.folder / "known").write_text("")
    with pytest.raises(NotStarted, match="pipeline connect cluster"):
        remote.run(["true"])


def test_no_key_means_connect_first(remote: Remote, sshd: Sshd) -> None:
    (sshd.folder / "id.pub").write_text("")
    with pytest.raises(NotStarted, match="Run `pipeline connect cluster`"):
        remote.run(["true"])


def test_a_host_that_is_down(remote: Remote, sshd: Sshd) -> None:
    sshd.stop()
    with pytest.raises(NotStarted, match="cannot be reached"):
        remote.run(["true"])


@pytest.mark.parametrize("name", ["", "-oProxyCommand=touch canary", "a b"])
def test_what_is_no_host_name(name: str) -> None:
    with pytest.raises(ConfigError):
        ssh.Host(name)


def test_connect_asks_once_and_stays(
    far: Far,
    sshd: Sshd,
    tmp_path: Path,
) -> None:
    """A login that wants a code from a person: only `connect` asks, and only once."""
    if os.getuid() != 0 or not Path("/etc/pam.d").is_dir():
        pytest.skip("a PAM service of its own needs root")
    name = f"pl-mfa-{os.getpid()}"
    service, program = Path(f"/etc/pam.d/{name}"), tmp_path / name
    checker, asked = tmp_path / "check.sh", tmp_path / "asked"
    checker.write_text('#!/bin/bash\nread -r code\n[ "$code" = 424242 ]\n')
    checker.chmod(0o755)
    service.write_text(
        f"auth required pam_exec.so quiet expose_authtok {checker}\nauth required pam_permit.so\n"
        "account required pam_permit.so\nsession required pam_permit.so\n"
    )
    try:
        sshd.stop()
        program.symlink_to(os.path.realpath("/usr/sbin/sshd"))
        sshd.start(
            "UsePAM yes", "KbdInteractiveAuthentication yes",
            "AuthenticationMethods publickey,keyboard-interactive:pam", program=str(program),
        )  # fmt: skip
        assert "pipeline connect cluster" in far.here.run("submit", "make", code=3)
        askpass = tmp_path / "askpass.sh"
        askpass.write_text(f"#!/bin/bash\necho asked >>{asked}\necho 424242\n")
        askpass.chmod(0o755)
        far.here.env |= {"SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force"}
        assert "connected" in far.here.run("connect")
        far.here.env["SSH_ASKPASS"] = "/bin/false"
        far.here.run("submit", "make")
        far.here.wait(lambda s: set(s["make"]) == {"completed"})
        assert asked.read_text() == "asked\n"
        assert "already" in far.here.run("connect")
        assert "disconnected" in far.here.run("connect", "--close")
        assert "pipeline connect" in far.here.run("submit", "fit", "--force", code=None)
    finally:
        service.unlink()


# --- frames


NONCE = "0123456789abcdef"


def frame(answer: bytes) -> bytes:
    digest = hashlib.sha256(answer).hexdigest()
    return f"\n{NONCE} {len(answer)} {digest}\n".encode() + answer + f"\n{NONCE} end\n".encode()


@pytest.mark.parametrize(
    "answer", [b"", b"x", b"\n" * 5, bytes(range(256)) * 50, f"\n{NONCE} 3 x\n".encode()]
)
def test_a_frame_is_found_in_any_noise(answer: bytes) -> None:
    for before in (b"", b"motd\n", b"\xff\x00no newline", f"\n{NONCE}+\n".encode()):
        assert ssh.unframed(before + frame(answer) + b"bye", NONCE) == answer


def test_a_frame_cut_anywhere_is_no_answer() -> None:
    whole = frame(b"some answer of a host")
    end = whole.index(b"\n" + NONCE.encode() + b" end")
    for cut in range(end):
        assert ssh.unframed(whole[:cut], NONCE) is None


def test_a_frame_with_something_in_between_is_no_answer() -> None:
    whole = frame(b"some answer of a host")
    for place in range(whole.index(b"some"), whole.index(b"host") + 4):
        assert ssh.unframed(whole[:place] + b"Broadcast message" + whole[place:], NONCE) is None


def archive(*names: str, link: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 2
            made.addfile(entry, io.BytesIO(b"hi"))
        if link:
            entry = tarfile.TarInfo("receipts/x/1.a.ok")
            entry.type, entry.linkname = tarfile.SYMTYPE, link
            made.addfile(entry)
    return out.getvalue()


def test_an_answer_writes_nowhere_but_into_its_folder(tmp_path: Path) -> None:
    names = [
        "../../evil", "/etc/evil", "receipts/../../evil", "receipts/x/../../../evil", "receipts//e",
        "receipts/x/1.A.ok", "elsewhere/x/1", "receipts/x/y/z", "logs/../../evil",
    ]  # fmt: skip
    mirror = Mirror(tmp_path / "here", "jobs/x", "h", "/p", "jobs/x/logs")
    mirror.take(unpacked(archive(*names, link="/etc/passwd")))
    written = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert written == {"here/jobs/x/receipts/x/1.A.ok"}


def test_an_answer_that_is_no_archive() -> None:
    for answer in (b"", b"no archive", archive("a")[:-20]):
        with pytest.raises(Unreachable):
            unpacked(answer)


def test_an_answer_that_is_too_large_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.mirror.MOST_BYTES", 5)
    with pytest.raises(Unreachable, match="the host's answer is over"):
        unpacked(archive("a", "b", "c"))


@pytest.mark.parametrize("text", ["", "nan", "1e999", "-1", "x", "9" * 400])
def test_numbers_that_are_none_are_passed_over(tmp_path: Path, text: str) -> None:
    mirror = Mirror(tmp_path, "jobs/x", "h", "/p", "jobs/x/logs")
    answer = {n: Member(text.encode(), 0.0) for n in ("newest", "counts")}
    assert mirror.take(answer)
    assert mirror.since() == 0.0


def test_the_copy_follows_what_is_removed_there(remote: Remote) -> None:
    folder = Path(remote.project) / "jobs/x/receipts/make"
    copy = remote.root / "jobs/x/receipts/make"
    folder.mkdir(parents=True)
    for name in ("1.A.ok", "2.A.run", "3.A.fail-1"):
        (folder / name).write_text("{}")
    os.utime(folder / "1.A.ok", (1.5e9, 1.5e9))
    remote.look([])
    assert sorted(p.name for p in copy.iterdir()) == ["1.A.ok", "2.A.run", "3.A.fail-1"]
    assert (copy / "1.A.ok").stat().st_mtime == 1.5e9
    (folder / "2.A.run").unlink()
    (folder / "2.A.ok").write_text("{}")
    (folder / "3.A.fail-1").unlink()
    remote.look([])
    assert sorted(p.name for p in copy.iterdir()) == ["1.A.ok", "2.A.ok"]


def test_a_look_brings_only_what_changed(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(remote.project) / "jobs/x/receipts/make"
    folder.mkdir(parents=True)
    for task in range(1, 200):
        (folder / f"{task}.A.ok").write_text("{}")
    seen: list[int] = []
    real = Mirror.take

    def counting(self: Mirror, answer: object) -> bool:
        seen.append(sum(name.startswith("receipts/") for name in answer))  # type: ignore[attr-defined]
        return real(self, answer)  # type: ignore[arg-type]

    monkeypatch.setattr(Mirror, "take", counting)
    monkeypatch.setattr("pipeline.remote.OVERLAP_S", 0)
    remote.look([])
    time.sleep(0.05)
    (folder / "200.A.ok").write_text("{}")
    remote.look([])
    # Some more than the new one: what was written in the moment of the first look comes again.
    assert seen[0] == 199 and seen[1] < 20


def test_outputs_are_asked_for_by_one_listing(remote: Remote) -> None:
    data = Path(remote.project) / "data 100%"
    data.mkdir()
    for task in (1, 3, 12):
        (data / f"x_{task:04d}.bin").write_text("")
        (data / f"{task:04d}").mkdir()
        (data / f"{task:04d}/y").write_text("")
    (data / "whole").write_text("")
    patterns = {
        "data 100%/x_{task4}.bin": 12, "data 100%/{task4}/y": 12, "data 100%/whole": 4,
        "data 100%/absent": 4, "nowhere/x_{task4}": 4,
    }  # fmt: skip
    found = remote.present(patterns)
    assert list(found.values()) == [{1, 3, 12}, {1, 3, 12}, {1, 2, 3, 4}, set(), set()]


def test_sigint_ends_a_followed_log(far: Far) -> None:
    (far.there / "control/sleep_make").write_text("30")
    far.here.run("submit", "make")
    far.here.wait(lambda s: "running" in s["make"])
    process = far.here.start("logs", "make", "-f")
    assert process.stdout is not None
    assert "make 1 on" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode in (130, -signal.SIGINT)
    far.here.run("cancel", "make")


@pytest.fixture(autouse=True)
def _no_canary() -> Iterator[None]:
    yield
    assert not Path("canary").exists()


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("jobs/x/logs", "jobs/x/logs"),
        ("/far/project/jobs/x/logs", "jobs/x/logs"),
        ("/scratch/logs", "jobs/x/host/scratch/logs"),
        ("/far/project2/logs", "jobs/x/host/far/project2/logs"),
    ],
)
def test_where_a_hosts_files_are_seen_from_here(path: str, place: str) -> None:
    here = Path("/here")
    assert mirrored(here, "jobs/x", "/far/project/", path) == here / place


def test_logs_outside_of_the_project_are_read_too(far: Far, tmp_path: Path) -> None:
    path = far.here.root / "sites/default.yaml"
    path.write_text(path.read_text() + f"log_dir: {tmp_path / 'the logs'}\n")
    (far.there / "control/exit_make_1").write_text("9")
    far.here.run("submit", "make")
    far.here.wait(lambda s: "failed" in s["make"])
    assert "told to fail" in far.here.run("why", "make")
    assert "told to fail" in far.here.run("logs", "make")
