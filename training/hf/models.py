"""Have a study's models at hand before the jobs that use them, and say what they are.

    python training/hf/models.py --config jobs/marco-lora/configs/models.yaml

Each name under `models.names` is a dotted parameter that holds a folder or a name on the hub. What
is on the hub is fetched into its cache once, so that an array's tasks do not all ask for it at the
same time; with HF_HUB_OFFLINE=1 it must be there. `models.make` describes small models to make
instead, for trying the study out. `models.output` says what was found, with the hub's revisions.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started by path: its own folder must not shadow other modules
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from training.contract import (
    BadInput,
    Exit,
    Progress,
    Section,
    find_config,
    load_config,
    run_program,
    write_atomic,
)
from training.lineage import describe

NEEDED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


def main(argv: list[str]) -> Exit:
    """Make or fetch every model, then write what they are."""
    parser = argparse.ArgumentParser(description="Make or fetch a study's models.")
    parser.add_argument("--config", required=True, help="the job's resolved configuration")
    config = load_config(find_config(parser.parse_args(argv).config, None))
    named = {key: config.get(f"parameters.{key}", str) for key in words(config, "models.names")}
    output = Path(config.get("parameters.models.output", str))
    make_all(config)
    config.raise_problems()
    progress, found = Progress(len(named), "items"), {}
    for number, (key, name) in enumerate(named.items()):
        progress.report(number, f"looking for {name}")
        revision = "" if Path(name).is_dir() else fetch(name)
        found[key] = {**asdict(describe(name)), "revision": revision}
        print(f"{key}: {name} {revision}".rstrip())
    write_atomic(output, json.dumps(found, indent=1) + "\n")
    return Exit.OK


def words(config: Section, key: str) -> list[str]:
    """A list of texts under `parameters`."""
    value: Any = config.values["parameters"]
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        config.check(False, f"parameters.{key} is {value!r}, not a list of names")
        return []
    return value


def make_all(config: Section) -> None:
    """The small models that the study describes, if it does."""
    wanted = list(config.mapping("parameters.models.make"))
    if not wanted:
        return
    from training.hf.tiny import make, read_tiny

    read = [read_tiny(config, f"parameters.models.make.{name}") for name in wanted]
    config.raise_problems()
    for tiny in read:
        make(tiny)


def fetch(name: str) -> str:
    """Bring a model of the hub into its local cache; returns the revision."""
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise BadInput(f"{name} is no folder and no name on the hub", "Bring the model there")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise BadInput("huggingface_hub is not installed", "pip install huggingface_hub") from error
    try:
        folder = snapshot_download(name, allow_patterns=NEEDED)
    except Exception as error:  # its errors have no common base: of the network, the hub, the cache
        said = " ".join(str(error).split())[:200]
        raise BadInput(
            f"{name} cannot be fetched: {said}",
            f"Where there is a network: hf download {name}; HF_TOKEN for a gated model",
        ) from error
    return Path(folder).name


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
