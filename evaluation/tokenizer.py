"""The tokenizer of a model directory, and what stands before every text.

`python -m evaluation.tokenizer MODEL FOLDER` writes the tokenizer that the evaluate stage uses, for
lm-eval's own command.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.config import InputError, guarded
from evaluation.files import write_json
from evaluation.pieces import Pieces

_PROBES = ("Sagot:", " aso at pusa", "Tanong: Ano?\nSagot:", " Ñandu — “isa”")


class Tokenizer:
    """A tokenizer.json; it adds no special token around a text."""

    def __init__(self, fast: Any) -> None:
        self.fast = fast
        self.pieces = Pieces(fast)

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        return list(self.fast.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens kept."""
        return str(self.fast.decode(list(ids), skip_special_tokens=False))


def load_tokenizer(directory: Path) -> Tokenizer:
    """tokenizer.json, else tokenizer.model; raises InputError where neither can be read."""
    from tokenizers import Tokenizer as Fast

    path, model = directory / "tokenizer.json", directory / "tokenizer.model"
    if not path.is_file() and not model.is_file():
        raise InputError(
            f"{directory} holds neither tokenizer.json nor tokenizer.model",
            "Export again: the export stage copies the tokenizer beside the model",
        )
    try:
        return Tokenizer(Fast.from_file(str(path)) if path.is_file() else _converted(model))
    except InputError:
        raise
    except Exception as error:  # both libraries raise bare Exception for a broken file
        raise InputError(
            f"the tokenizer in {directory} cannot be read ({error})", "Export it again"
        ) from error


def _converted(model: Path) -> Any:
    """A SentencePiece model as transformers turns it into a tokenizer.json.

    Raises InputError where the two cut a text differently.
    """
    from sentencepiece import SentencePieceProcessor
    from transformers import AutoTokenizer

    pieces = SentencePieceProcessor(model_file=str(model))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / model.name).symlink_to(model.resolve())
        about = {"tokenizer_class": "PreTrainedTokenizerFast"}
        write_json(Path(folder) / "tokenizer_config.json", about)
        fast = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    for text in _PROBES:
        if list(fast.encode(text, add_special_tokens=False).ids) != pieces.encode(text):
            raise InputError(
                f"{model} cannot be turned into a tokenizer.json that cuts {text!r} as it does",
                "Put the tokenizer.json that belongs to it beside it",
            )
    return fast


def end_of_document(directory: Path) -> int:
    """The eod id that source.json names, else config.json's (first) eos_token_id."""
    for name, key in (("source.json", "eod"), ("config.json", "eos_token_id")):
        value = _value(directory / name, key)
        value = value[0] if isinstance(value, list) and value else value
        if isinstance(value, int):
            return value
    raise InputError(
        f"{directory} names no end-of-document id",
        "Add eos_token_id to its config.json",
    )


def first_token(directory: Path, eod: int) -> int:
    """What stands before a text: `eod` for a model with this project's source.json beside it,
    whose documents followed one another in training; else config.json's bos_token_id, or `eod`."""
    bos = _value(directory / "config.json", "bos_token_id")
    own = (directory / "source.json").is_file()
    return bos if isinstance(bos, int) and not own else eod


def _value(path: Path, key: str) -> Any:
    """A key of a JSON file; None where the file or the key is not there."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8")).get(key)
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path} cannot be read ({error})", "Export it again") from error


def write_tokenizer(directory: Path, target: Path, eod: int | None = None) -> Path:
    """Write the tokenizer that prompts are encoded with: the model's own, behind `first_token`.

    lm-eval, vLLM and transformers all read it; with `tokenizer=<target>,add_bos_token=True`
    `lm_eval` sees the very ids that the evaluate stage does.
    """
    from tokenizers.processors import TemplateProcessing

    fast = load_tokenizer(directory).fast
    eod = end_of_document(directory) if eod is None else eod
    first = first_token(directory, eod)
    names = {token: fast.id_to_token(token) for token in (first, eod)}
    for token, name in names.items():
        if name is None:
            raise InputError(
                f"{directory} has no token with the id {token}",
                "Set tokenizer.eod to the tokenizer's end-of-document id",
            )
    fast.post_processor = TemplateProcessing(
        single=f"{names[first]} $A", special_tokens=[(names[first], first)]
    )
    target.mkdir(parents=True, exist_ok=True)
    fast.save(str(target / "tokenizer.json"))
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_bos_token": True,
        "bos_token": names[first],
        "eos_token": names[eod],
        "pad_token": names[eod],
    }
    write_json(target / "tokenizer_config.json", about)
    return target


def main(argv: list[str] | None = None) -> int:
    """Write the tokenizer of a model directory into another folder."""
    from evaluation.models import model_directory

    parser = argparse.ArgumentParser(description=__doc__, prog="python -m evaluation.tokenizer")
    parser.add_argument("model", type=Path, help="a model directory, or the one that holds its hf/")
    parser.add_argument("folder", type=Path, help="where to write tokenizer.json")
    args = parser.parse_args(argv)

    def program() -> int:
        print(write_tokenizer(model_directory(args.model), args.folder))
        return 0

    return guarded(program)


if __name__ == "__main__":
    sys.exit(main())
