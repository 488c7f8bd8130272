"""Whether a model learns from its own kind: what a generator wrote, and the base trained on it.

    python -m training.lineage --config jobs/marco-lora/configs/lineage.yaml

A model that learns what a relative of its own wrote learns its habits back. Two models are related
where their names are the same, where one names the other as what it was made from, or where they
are of one family: one maker's series, whatever the size or version. The family comes from the
model's name and from config.json, of a folder or of the hub's local cache; standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.contract import (
    BadInput,
    Exit,
    Section,
    find_config,
    load_config,
    run_program,
    write_atomic,
)

# Family -> how the names of its models look, without the owner; the first that fits counts. Those
# that were trained from scratch on another's architecture (Minerva is a Mistral by shape) come
# before it and are families of their own.
NAMES = {
    "minerva": r"minerva",
    "deepseek-distill-qwen": r"deepseek.*distill.*qwen",
    "qwen": r"qwen|qwq",
    "mistral": r"mi[sx]tral|ministral|zephyr",
    "gemma": r"gemma",
    "llama": r"llama|vicuna|alpaca|llamantino|anita",
    "phi": r"\bphi-?\d",
    "gpt2": r"gpt-?2",
    "t5": r"t5",
    "bloom": r"bloom",
    "falcon": r"falcon",
    "olmo": r"olmo",
    "smollm": r"smollm",
    "deepseek": r"deepseek",
}
# What is made of a family's weights, under a name of its own, belongs to it.
MADE_OF = {"deepseek-distill-qwen": "qwen"}
# model_type of config.json -> family: for models whose name tells nothing.
TYPES = {
    "qwen": "qwen", "qwen2": "qwen", "qwen2_moe": "qwen", "qwen3": "qwen", "qwen3_moe": "qwen",
    "mistral": "mistral", "mixtral": "mistral", "llama": "llama", "gemma": "gemma",
    "gemma2": "gemma", "gemma3": "gemma", "gemma3_text": "gemma", "phi": "phi", "phi3": "phi",
    "gpt2": "gpt2", "gpt_neox": "gpt-neox", "t5": "t5", "bloom": "bloom", "falcon": "falcon",
    "olmo": "olmo", "olmo2": "olmo",
}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """What is known of a model. `made_from` is the name in its configuration, if it has another;
    `family` is empty where neither name nor configuration tells."""

    name: str
    family: str
    model_type: str
    architecture: str
    made_from: str
    configuration: str  # where config.json is; empty where none is at hand


def describe(name: str) -> Model:
    """A model by folder or name on the hub. Raises BadInput for a folder without config.json."""
    path = find_configuration(name)
    values: Mapping[str, Any] = {}
    if path:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadInput(f"{path} cannot be read: {error}", "Make the model anew") from error
    model_type = str(values.get("model_type") or "")
    made_from = str(values.get("_name_or_path") or "")
    named = made_from if made_from and not _same(made_from, name) else ""
    architectures = values.get("architectures") or [""]
    return Model(
        name=name,
        family=family(name, named, model_type),
        model_type=model_type,
        architecture=str(architectures[0]),
        made_from=named,
        configuration=str(path or ""),
    )


def family(name: str, made_from: str, model_type: str) -> str:
    """The family by name, else by what the model was made from, else by its model_type."""
    for told in (name, made_from):
        last = told.rstrip("/").rpartition("/")[2].lower()
        for found, pattern in NAMES.items():
            if re.search(pattern, last):
                return MADE_OF.get(found, found)
    return TYPES.get(model_type, model_type)


def find_configuration(name: str) -> Path | None:
    """config.json of a folder, or of a hub's model in the local cache; None where it is not there.

    The cache is `$HF_HUB_CACHE`, `$HF_HOME/hub` or `~/.cache/huggingface/hub`, and a model's
    revision `refs/main`, as huggingface_hub documents.
    """
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise BadInput(f"{folder} holds no config.json", "Name a model's folder")
        return folder / "config.json"
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    model = cache / f"models--{name.replace('/', '--')}"
    try:
        revision = (model / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    found = model / "snapshots" / revision / "config.json"
    return found if found.is_file() else None


def compare(generator: Model, base: Model) -> dict[str, Any]:
    """The verdict: `circular`, and why; `known` where both families are."""
    same_name = _same(generator.name, base.name)
    derived = any(
        one.made_from and _same(one.made_from, other.name)
        for one, other in ((generator, base), (base, generator))
    ) or bool(generator.made_from and _same(generator.made_from, base.made_from))
    same_family = bool(generator.family) and generator.family == base.family
    return {
        "generator": asdict(generator),
        "base": asdict(base),
        "same_name": same_name,
        "derived": derived,
        "same_family": same_family,
        "same_architecture": bool(generator.model_type)
        and generator.model_type == base.model_type,
        "known": bool(generator.family and base.family),
        "circular": same_name or derived or same_family,
    }


def _same(one: str, other: str) -> bool:
    def plain(name: str) -> str:
        return str(Path(name).resolve()) if Path(name).exists() else name.strip("/").lower()

    return plain(one) == plain(other)


def refuse_other_family(config: Section, verdict: Mapping[str, Any]) -> None:
    """BadInput where the study states a family (`generate.family`, `model.family`) and the models
    are of another: its own checks would rest on a wrong word."""
    for section, side in (("generate", "generator"), ("model", "base")):
        said = config.get(f"parameters.{section}.family", str, "")
        found = verdict[side]["family"]
        if said and found and said != found:
            raise BadInput(
                f"{section}.family is {said}, and {verdict[side]['name']} is of the family {found}",
                "Correct the study",
            )


def main(argv: list[str]) -> Exit:
    """Compare `generate.model` with `model.base` and write the verdict to `lineage.output`."""
    parser = argparse.ArgumentParser(description="Is the generator a relative of the base?")
    parser.add_argument("--config", required=True, help="the job's resolved configuration")
    config = load_config(find_config(parser.parse_args(argv).config, None))
    generator = config.get("parameters.generate.model", str)
    base = config.get("parameters.model.base", str)
    output = config.get("parameters.lineage.output", str)
    config.raise_problems()
    verdict = compare(describe(generator), describe(base))
    refuse_other_family(config, verdict)
    write_atomic(Path(output), json.dumps(verdict, indent=1) + "\n")
    kind = "related" if verdict["circular"] else "not related"
    told = f"{verdict['generator']['family'] or '?'} and {verdict['base']['family'] or '?'}"
    print(f"{generator} and {base} are {kind}: families {told}")
    return Exit.OK


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
