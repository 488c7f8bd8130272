"""Directories that hold results: their manifest, their tokenizer, and whether a model is whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from training.contract import BadInput, file_digest

MANIFEST = "manifest.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "source.json",
)


def write_manifest(directory: Path, facts: dict[str, Any]) -> None:
    """The last file into a directory: facts, and size and digest of all the others."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        for path in sorted(directory.iterdir())
        if path.is_file()
    }
    text = json.dumps({**facts, "files": files}, indent=1, sort_keys=True)
    (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a directory whose files all match it; ValueError saying what does not."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{directory / MANIFEST} cannot be read") from error
    for name, facts in manifest["files"].items():
        path = directory / name
        size = path.stat().st_size if path.is_file() else -1
        if size != facts["bytes"]:
            raise ValueError(f"{path} has {max(size, 0)} bytes of {facts['bytes']}")
        if file_digest(path) != facts["sha256"]:
            raise ValueError(f"{path} does not match its digest")
    return dict(manifest)


def tokenizer_files(directory: Path) -> list[Path]:
    """The files that a model needs beside it; BadInput when there is no tokenizer."""
    files = [directory / name for name in TOKENIZER_FILES if (directory / name).is_file()]
    if not any(path.name in ("tokenizer.json", "tokenizer.model") for path in files):
        raise BadInput(
            f"{directory} holds neither tokenizer.json nor tokenizer.model",
            "Run the tokenizer stage first, or correct tokenizer.path",
        )
    return files


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy a tokenizer's files beside a model."""
    for path in tokenizer_files(source):
        shutil.copyfile(path, target / path.name)


# Of a model's weights: the embedding, the prefix of a layer, and some that every layer has.
_LIKE_LLAMA = (
    "model.embed_tokens.weight",
    "model.layers.",
    ("self_attn.q_proj.weight", "mlp.down_proj.weight", "input_layernorm.weight"),
)
_NAMES = {
    "gpt2": (
        "transformer.wte.weight",
        "transformer.h.",
        ("attn.c_attn.weight", "mlp.c_proj.weight", "ln_1.weight"),
    )
}


def check_model(directory: Path) -> dict[str, Any]:
    """BadInput unless a directory holds a loadable model; returns its config.json.

    Compares config.json with the names and shapes in the safetensors headers and reads no weight.
    """
    try:
        config = dict(json.loads((directory / "config.json").read_text(encoding="utf-8")))
        shapes = tensor_shapes(directory)
        table, prefix, parts = _NAMES.get(config["model_type"], _LIKE_LLAMA)
        layers = config.get("num_hidden_layers") or config["n_layer"]
        embedding = shapes[table]
        wanted = [config["vocab_size"], config.get("hidden_size") or config["n_embd"]]
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(
            f"{directory} is no Hugging Face model: {error!r}", "Export it again"
        ) from error
    names = [f"{prefix}{layer}.{part}" for layer in range(layers) for part in parts]
    missing = [name for name in names if name not in shapes]
    if embedding != wanted or missing:
        fact = f"lacks {missing[0]}" if missing else f"embeds {embedding}, not {wanted}"
        raise BadInput(f"the model in {directory} {fact}", "Export it again")
    tokenizer_files(directory)
    return config


def tensor_shapes(directory: Path) -> dict[str, list[int]]:
    """Name and shape of each tensor in a directory's safetensors files, from their headers.

    A file begins with the header's length (uint64, little-endian) and the header in JSON. Raises
    ValueError when the file is not as long as its header says.
    """
    shapes: dict[str, list[int]] = {}
    for path in sorted(directory.glob("*.safetensors")):
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        end = max((facts["data_offsets"][1] for facts in header.values()), default=0)
        if path.stat().st_size != 8 + length + end:
            raise ValueError(f"{path.name} is not as long as its header says")
        shapes |= {name: facts["shape"] for name, facts in header.items()}
    return shapes
