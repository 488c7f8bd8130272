"""Export a trained model to Hugging Face format: `python -m training.export --config FILE`.

Writes `<checkpoint-dir>/hf`, whole or not at all, with the study's tokenizer beside the weights.
The NeMo path has not been run on GPUs.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from training.artifacts import (
    MANIFEST,
    check_model,
    copy_tokenizer,
    read_manifest,
    tokenizer_files,
    write_manifest,
)
from training.config import load_settings, parse_arguments
from training.contract import BadInput, Exit, file_digest, publish_directory, run_program
from training.settings import Settings

SLIDING_WINDOW = 512  # Gemma 3 1B's; NeMo 2.5.3 leaves it out and readers then assume 4,096


def main(argv: list[str]) -> Exit:
    """Export what training left; a second run finds it done."""
    args = parse_arguments(argv, "Export a trained model to Hugging Face format.")
    settings = load_settings(args, world=1)
    tokenizer_files(settings.tokenizer_path)
    root = settings.train.checkpoint_dir
    source = final_model(root) if settings.backend == "hf" else newest_nemo(root)
    origin = {"source": source.name, "digest": digest_of(source)}
    target = root / "hf"
    if is_done(target, origin):
        print(f"{target} is exported already; nothing to do")
        return Exit.OK
    with publish_directory(target) as directory:
        if settings.backend == "hf":
            copy_final(source, directory)
        else:
            convert_nemo(source, directory)
        copy_tokenizer(settings.tokenizer_path, directory)
        config = check_model(directory)
        refuse_other_model(config, settings, directory)
        write_manifest(directory, origin)
    print(f"exported {source} to {target}")
    return Exit.OK


def is_done(target: Path, origin: dict[str, Any]) -> bool:
    """Whether a whole export of this very source is there."""
    try:
        manifest = read_manifest(target)
    except ValueError:
        return False
    return all(manifest.get(key) == value for key, value in origin.items())


def digest_of(source: Path) -> str:
    """What a source's content is known by: its manifest, or NeMo's own metadata."""
    for name in (MANIFEST, "weights/metadata.json", "weights/.metadata"):
        if (source / name).is_file():
            return file_digest(source / name)
    raise BadInput(f"{source} has no metadata", "Train again, or restore the checkpoint")


def final_model(root: Path) -> Path:
    """The finished model of the hf back end; BadInput when training has not ended."""
    final = root / "final"
    try:
        read_manifest(final)
    except ValueError as error:
        steps = sorted(path.name for path in root.glob("step_*")) or ["none"]
        raise BadInput(
            f"{root} holds no finished model ({error}; last checkpoint: {steps[-1]})",
            "Run training to its end first; it goes on from that checkpoint",
        ) from error
    return final


def copy_final(final: Path, directory: Path) -> None:
    """Copy a finished model's files, all but its manifest."""
    for path in sorted(final.iterdir()):
        if path.name != MANIFEST:
            shutil.copyfile(path, directory / path.name)


def newest_nemo(root: Path) -> Path:
    """The newest complete NeMo checkpoint; BadInput when there is none."""
    found = [
        path
        for path in sorted(root.glob("step_*"), reverse=True)
        if (path / "weights").is_dir() and not Path(f"{path}-unfinished").exists()
    ]
    if not found:
        raise BadInput(f"{root} holds no complete NeMo checkpoint", "Run training first")
    return found[0]


def convert_nemo(source: Path, directory: Path) -> None:
    """Let NeMo convert a checkpoint, then put right the window that it leaves out."""
    try:
        from nemo.collections import llm
    except ImportError as error:
        raise BadInput(
            f"exporting {source} needs NeMo, which this environment lacks",
            "Run the export inside the container of training/nemo/setup/setup_enroot.sh",
        ) from error
    llm.export_ckpt(path=source, target="hf", output_path=directory, overwrite=True)
    correct_window(directory / "config.json")


def correct_window(path: Path) -> None:
    """Set Gemma 3 1B's sliding window in an exported config.json."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["sliding_window"] = SLIDING_WINDOW
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def refuse_other_model(config: dict[str, Any], settings: Settings, directory: Path) -> None:
    """BadInput when a model has another vocabulary than the study says."""
    if config["vocab_size"] != settings.model.vocab_size:
        raise BadInput(
            f"{directory} has a vocabulary of {config['vocab_size']}, not "
            f"{settings.model.vocab_size}",
            "Export with the configuration that the model was trained with",
        )


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
