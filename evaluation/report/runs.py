"""What each arm's run left beside its results: curves, what was read, what it cost, versions."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.config import Config, InputError, load_config
from evaluation.files import text_digest
from ledger.results import row_files


@dataclass(frozen=True, slots=True)
class Run:
    """One arm: its `parameters`, as its training had them where that left its configuration; rows
    of metrics.jsonl as `curves` (metric -> steps and values); `status` and `identity` of the
    training; `data`, the sums of what preprocessing recorded."""

    arm: str
    run: str
    title: str
    parameters: dict[str, Any]
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)
    weights: str = ""  # SHA-256 of the final weights
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def tokens(self) -> int | None:
        """Tokens that were learned from: as the training counted them, where lengths change from
        step to step, else samples x sequence length."""
        if counted := self.status.get("consumed_tokens"):
            return int(counted)
        length = _deep(self.parameters, "model.seq_length")
        samples = self.status.get("consumed_samples")
        return int(samples) * int(length) if samples and length else None

    @property
    def epochs(self) -> float | None:
        """Passes over the training share of the arm's own tokens."""
        share = self.share
        if self.tokens is None or not self.data.get("tokens") or share is None:
            return None
        return float(self.tokens / (self.data["tokens"] * share))

    @property
    def share(self) -> float | None:
        """The part of the documents that is trained on."""
        split = _deep(self.parameters, "train.split")
        return float(split[0]) / float(sum(split)) if split else None

    @property
    def text_bytes(self) -> float | None:
        """Bytes of text behind the tokens that were learned from, repetitions counted."""
        if self.epochs is None or self.share is None:
            return None
        return self.epochs * float(self.data["bytes"]) * self.share


def _deep(values: dict[str, Any], path: str) -> Any:
    found: Any = values
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return found


def read_runs(config: Config, root: Path, jobs: list[Config]) -> list[Run]:
    """The runs of all the arms that a configuration names, from what its `jobs` were told and left;
    what is not there stays empty."""
    arms = config.top("arms", dict, {})
    recorded = _trained(jobs)
    if not set(arms) <= set(recorded):
        recorded = {}  # some were trained elsewhere: paths would differ for that alone
    found = []
    for arm, told in arms.items():
        parameters = recorded.get(arm, told.get("parameters") or {})
        folder = training_folder(root, told)
        manifest = _object(folder / "final" / "manifest.json") if folder else {}
        weights = (manifest.get("files") or {}).get("model.safetensors") or {}
        found.append(
            Run(
                arm, str(told.get("run") or arm), str(told.get("title") or arm), parameters,
                read_curves(folder / "metrics.jsonl") if folder else {},
                _object(folder / "status.json") if folder else {},
                manifest.get("identity") or {}, str(weights.get("sha256", "")),
                _data(root, parameters),
            )
        )  # fmt: skip
    return found


def _trained(jobs: list[Config]) -> dict[str, dict[str, Any]]:
    """Arm -> the parameters of its training as its job was told them, remedies included."""
    found = {}
    for config in jobs:
        if config.top("job.kind", str, "") == "train" and config.top("job.arm", str, ""):
            found[config.top("job.arm", str)] = config.top("parameters", dict)
    return found


def job_configs(config: Config, root: Path) -> list[Config]:
    """The configurations of a run's jobs, by name; one that is no configuration is passed over."""
    state = root / config.top("paths.state", str, "jobs")
    found = []
    for path in sorted((state / "configs").glob("*.yaml")):
        try:
            found.append(load_config(path))
        except InputError:
            continue  # a file of somebody else's; what it would tell is left out of the report
    return found


def training_folder(root: Path, told: dict[str, Any]) -> Path | None:
    """The folder that holds an arm's metrics.jsonl: an output of one of its jobs, in one, or beside
    one; else train.checkpoint_dir."""
    return next((path.parent for path in row_files(told, root)), None)


def read_curves(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Metric -> (step, value) rows of a metrics.jsonl; a last line cut short is left away.

    Raises InputError for a file that holds something else.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            step = int(row["step"])
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise InputError(f"{path}, line {number}, is no row of metrics", "Train again") from (
                error
            )
        for name, value in row.items():
            if name not in ("step", "time") and isinstance(value, int | float):
                curves.setdefault(name, []).append((step, float(value)))
    return curves


def _object(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none: what a run did not leave is not told."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _data(root: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """Sums over the records that preprocessing wrote beside an arm's tokens; empty without any."""
    named = _deep(parameters, "train.data_path")
    if not named:
        return {}
    prefix = root / str(named)
    parts = [_object(path) for path in sorted(prefix.parent.glob(f"{prefix.name}_[0-9]*.json"))]
    parts = [part for part in parts if "tokens_with_eod" in part]
    if not parts:
        return {}
    return {
        "documents": sum(int(part.get("documents", 0)) for part in parts),
        "bytes": sum(int(part.get("text_bytes", 0)) for part in parts),
        "tokens": sum(int(part["tokens_with_eod"]) for part in parts),
        "vanilla_tokens": sum(int(part.get("vanilla_tokens", 0)) for part in parts),
        "text": text_digest(str([part.get("chunk_sha256") for part in parts])),
        "tokenizer": str(parts[0].get("tokenizer_digest", "")),
        "seed": parts[0].get("seed"),
        "versions": parts[0].get("versions") or {},
    }
