"""The NeMo program as far as it goes without NeMo: values, refusals, versions."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from training.config import load_settings, parse_arguments
from training.contract import BadInput, ConfigLoader, ProgramError, run_program
from training.nemo import run_cpt

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "studies" / "filipino-cpt.yaml"
SETUP = ROOT / "training" / "nemo" / "setup" / "setup_enroot.sh"
LIGHT = {"numpy", "yaml", "training", *sys.stdlib_module_names}


@pytest.fixture
def plan(job: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The main study's own values, as the job of the baseline gets them."""
    job()  # writes two small token files; the study's own has twenty
    parameters = yaml.safe_load(STUDY.read_text())["parameters"]
    parameters["model"]["vocab_size"] = 262_144
    parameters["tokenizer"]["path"] = str(tmp_path / "tok")
    parameters["corpus"]["chunks"] = 2
    parameters["train"]["data_path"] = "data/seapile"
    parameters["train"]["checkpoint_dir"] = "/logs/checkpoints/gemma3-1b-baseline"
    parameters["wandb"] |= {"name": "gemma3-1b-baseline", "dir": "/logs/wandb"}
    path = tmp_path / "jobs" / "configs" / "run_cpt_baseline.yaml"
    path.parent.mkdir(parents=True)
    resources = {"nodes": 1, "gpus": 8}
    config = {"job": {"kind": "train"}, "resources": resources, "parameters": parameters}
    # written as text, so that 1e-4 reaches the program as the study has it
    path.write_text(yaml.safe_dump(config).replace("'1e-4'", "1e-4").replace("'1e-5'", "1e-5"))
    monkeypatch.chdir(tmp_path)
    return path


def test_the_plans_own_command_line(plan: Path) -> None:
    argv = (
        "--data-path data/seapile --checkpoint-dir /logs/checkpoints/gemma3-1b-baseline "
        "--wandb-name gemma3-1b-baseline --max-steps 10000 --dry-run"
    )
    done = subprocess.run(
        [sys.executable, str(ROOT / "training/nemo/run_cpt.py"), *argv.split()],
        capture_output=True,
        text=True,
        check=False,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    wanted = {
        "devices": 8,
        "global_batch_size": 256,
        "micro_batch_size": 2,
        "accumulation": 16,
        "tokens_per_step": 524_288,
        "total_tokens": 5_242_880_000,
        "logits_bytes_fp32": 4_294_967_296,
        "checkpoints": 10,
        "validations": 20,
        "log_points": 1000,
        "precision": "bf16-mixed",
        "checkpoint_dir": "/logs/checkpoints/gemma3-1b-baseline",
        "learning_rate_at": {"0": 0.0, "500": 1e-4, "5250": 5.5e-5, "10000": 1e-5},
    }
    assert {key: values[key] for key in wanted} == wanted
    assert values["optimizer"] | {"weight_decay": 0.1, "clip": 1.0} == values["optimizer"]
    assert set(values["data"]["prefixes"]) == {"data/seapile_0001", "data/seapile_0002"}
    assert values["wandb"]["project"] == "gemma3-seapile-cpt"


def values(plan: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    assert run_program(run_cpt.main, ["--config", str(plan), "--dry-run", *flags]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_the_remedy_for_memory(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    halved = values(plan, capsys, "--micro-batch-size", "1")
    assert (halved["global_batch_size"], halved["accumulation"]) == (256, 32)
    assert halved["logits_bytes_fp32"] == 2_147_483_648


def test_a_dry_run_tells_what_happens_between_documents(
    plan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = {"reset_position_ids": True, "reset_attention_mask": True, "eod_mask_loss": False}
    told = values(plan, capsys)["data"]
    assert {key: told[key] for key in wanted} == wanted
    config = yaml.load(plan.read_text(), Loader=ConfigLoader)
    config["parameters"]["train"] |= {"eod_mask_loss": True, "reset_position_ids": False}
    plan.write_text(yaml.safe_dump(config))
    told = values(plan, capsys)["data"]
    assert (told["eod_mask_loss"], told["reset_position_ids"]) == (True, False)


def test_a_dry_run_tells_missing_data(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = values(plan, capsys, "--data-path", "data/absent")
    assert "data/absent_0001.bin" in told["data"]["problem"]


@pytest.mark.parametrize(
    ("section", "key", "value", "fact"),
    [
        ("batch", "global", 250, "no multiple of micro 2 x 8 devices"),
        ("model", "vocab_size", 2048, "model.vocab_size is 2048, not 262144"),
        ("train", "precision", "fp32", "train.precision is fp32"),
        ("train", "pipeline_parallel", 2, "only 1 is supported"),
        ("train", "checkpoint_dir", "/logs/steps", "contains 'step'"),
        ("train", "activation_checkpointing", True, "train.activation_checkpointing is for the hf"),
        ("train", "early_stopping", {"patience": 3}, "train.early_stopping is for the hf back end"),
        ("train", "loss", "chunked", "train.loss is for the hf back end"),
    ],
)
def test_what_the_recipe_cannot_do_is_refused(
    plan: Path,
    capsys: pytest.CaptureFixture[str],
    section: str,
    key: str,
    value: Any,
    fact: str,
) -> None:
    config = yaml.safe_load(plan.read_text())
    config["parameters"][section][key] = value
    config["parameters"]["optimizer"] |= {"lr": 1e-4, "min_lr": 1e-5, "eps": 1e-8}
    plan.write_text(yaml.safe_dump(config))
    assert run_program(run_cpt.main, ["--config", str(plan), "--dry-run"]) == 65
    assert fact in capsys.readouterr().err


@pytest.mark.parametrize(
    ("nemo", "core", "accepted"),
    [
        ("2.5.3", "0.14.0", True),
        ("2.5.0", "0.14.1", True),
        ("2.6.2", "0.15.0", False),
        ("2.5.3", "0.16.1", False),
        (None, None, False),
    ],
)
def test_the_version_guard(
    monkeypatch: pytest.MonkeyPatch, nemo: str | None, core: str | None, accepted: bool
) -> None:
    def version(name: str) -> str:
        found = {"nemo_toolkit": nemo, "megatron-core": core}[name]
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(run_cpt, "has_module", lambda name: name == "modelopt")
    if accepted:
        run_cpt.check_versions()
        monkeypatch.setattr(run_cpt, "has_module", lambda name: False)
        with pytest.raises(BadInput, match="pip install nvidia-modelopt==0.37.0"):
            run_cpt.check_versions()
        return
    with pytest.raises(BadInput) as caught:
        run_cpt.check_versions()
    assert f"nemo_toolkit {nemo or 'absent'}" in str(caught.value)
    assert "nemo_toolkit==2.5.3 megatron-core==0.14.0" in str(caught.value)
    assert "container nvcr.io/nvidia/nemo:25.09" in str(caught.value)
    tag = run_cpt.IMAGE.removeprefix("nvcr.io/")
    assert f"NEMO_IMAGE:-{tag}}}" in SETUP.read_text(), "the container that is set up"


def test_setup_checks_converts_once_and_knows_the_end(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "ckpt"
    argv = ["--config", str(plan), "--checkpoint-dir", str(root), "--max-steps", "20"]
    settings = load_settings(parse_arguments(argv, "test"))
    commands: list[list[str]] = []

    def run(command: list[str], env: dict[str, str], check: bool) -> Any:
        commands.append(command)
        assert "WORLD_SIZE" not in env and not check
        (root / "base").mkdir()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setenv("WORLD_SIZE", "8")
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 65))
        with pytest.raises(ProgramError, match="were not imported") as caught:
            run_cpt.setup(settings, argv)
        assert caught.value.code == 65
    capsys.readouterr()
    monkeypatch.setattr(subprocess, "run", run)
    for _ in range(2):
        assert len(run_cpt.setup(settings, argv)) == 2
        assert "takes no notice of train.reset_position_ids" in capsys.readouterr().err
    assert [command[-1] for command in commands] == ["--import-base"]
    record = json.loads((root / "run.json").read_text())
    (root / "run.json").write_text(json.dumps(record | {"step": 20}))
    assert run_cpt.setup(settings, argv) == []
    (root / "run.json").write_text(json.dumps(record | {"max_steps": 30}))
    with pytest.raises(BadInput, match=r"train\.max_steps 30 -> 20"):
        run_cpt.setup(settings, argv)


def test_only_the_first_of_all_processes_does_the_work(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "ckpt"
    argv = ["--config", str(plan), "--checkpoint-dir", str(root)]
    settings = load_settings(parse_arguments(argv, "test"))
    monkeypatch.setenv("RANK", "8")
    monkeypatch.setenv("LOCAL_RANK", "0")  # the first of the second node
    with pytest.raises(BadInput, match="has not come within 0 s"):
        run_cpt.wait_for_base(root / "base", limit_s=0)
    (root / "base").mkdir(parents=True)
    assert len(run_cpt.setup(settings, argv)) == 2
    assert not (root / "run.json").exists()


def test_several_nodes_need_torchrun(
    plan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = plan.read_text()
    assert "nodes: 1" in text
    plan.write_text(text.replace("nodes: 1", "nodes: 2"))
    told = values(plan, capsys)
    assert (told["nodes"], told["devices"], told["accumulation"]) == (2, 16, 8)
    monkeypatch.setattr(run_cpt, "check_versions", lambda: None)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert run_program(run_cpt.main, ["--config", str(plan)]) == 65
    assert "asks for 2 nodes, and this process was not started by" in capsys.readouterr().err


def test_it_imports_nothing_that_nemo_pins_away() -> None:
    """What run_cpt.py pulls in before NeMo: standard library, numpy, yaml."""
    for name in (
        "nemo/run_cpt",
        "nemo/plan",
        "contract",
        "data",
        "health",
        "metrics",
        "resume",
        "schedule",
    ):
        tree = ast.parse((ROOT / "training" / f"{name}.py").read_text())
        for node in tree.body:
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            assert {n.split(".")[0] for n in names} <= LIGHT, name
