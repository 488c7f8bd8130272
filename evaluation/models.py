"""Load a model directory: weights, tokenizer, end-of-document id, device."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from evaluation.config import InputError
from evaluation.files import sha256

# Bytes of float32 logits in one batch: on a CPU they should stay near the caches; on a GPU the copy
# and the softmax beside them must fit into 40 GB next to a 1B model.
LOGIT_BYTES = {"cpu": 64 << 20, "cuda": 4 << 30}


class Tokenizer(Protocol):
    """What evaluation needs of a tokenizer; it adds no BOS and no other special token."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens kept."""


class _FastTokenizer:
    """tokenizer.json, through `tokenizers`."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer as Fast

        self._fast = Fast.from_file(str(path))

    def encode(self, text: str) -> list[int]:
        return list(self._fast.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._fast.decode(list(ids), skip_special_tokens=False))


class _PieceTokenizer:
    """tokenizer.model, through `sentencepiece`."""

    def __init__(self, path: Path) -> None:
        from sentencepiece import SentencePieceProcessor

        self._pieces = SentencePieceProcessor(model_file=str(path))

    def encode(self, text: str) -> list[int]:
        return list(self._pieces.encode(text, add_bos=False, add_eos=False))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._pieces.decode(list(ids)))


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A causal model in float32 on `device`; `eod` stands before and after every document."""

    network: Any
    tokenizer: Tokenizer
    eod: int
    device: str
    vocab_size: int
    context: int

    def rows(self, width: int) -> int:
        """How many sequences of `width` tokens fit into a batch by their logits' size."""
        return max(1, LOGIT_BYTES[self.device] // (4 * self.vocab_size * width))


def model_directory(path: Path) -> Path:
    """`<path>/hf`, or `path` itself, whichever holds config.json; raises InputError for neither."""
    for candidate in (path / "hf", path):
        if (candidate / "config.json").is_file():
            return candidate
    raise InputError(
        f"{path} holds no model: neither hf/config.json nor config.json is there",
        "Run the export stage, or name the directory that it wrote",
    )


def load_tokenizer(directory: Path) -> Tokenizer:
    """tokenizer.json, else tokenizer.model; raises InputError where neither can be read."""
    for name, kind in (("tokenizer.json", _FastTokenizer), ("tokenizer.model", _PieceTokenizer)):
        if (directory / name).is_file():
            try:
                return kind(directory / name)
            except Exception as error:  # both libraries raise bare Exception for a broken file
                raise InputError(
                    f"the tokenizer {directory / name} cannot be read ({error})", "Export it again"
                ) from error
    raise InputError(
        f"{directory} holds neither tokenizer.json nor tokenizer.model",
        "Export again: the export stage copies the tokenizer beside the model",
    )


def end_of_document(directory: Path) -> int:
    """The eod id that source.json names, else config.json's (first) eos_token_id."""
    for name, key in (("source.json", "eod"), ("config.json", "eos_token_id")):
        path = directory / name
        if not path.is_file():
            continue
        try:
            value = json.loads(path.read_text(encoding="utf-8")).get(key)
        except (OSError, ValueError, AttributeError) as error:
            raise InputError(f"{path} cannot be read ({error})", "Export it again") from error
        value = value[0] if isinstance(value, list) and value else value
        if isinstance(value, int):
            return value
    raise InputError(
        f"{directory} names no end-of-document id",
        "Add eos_token_id to its config.json",
    )


def load_model(directory: Path, eod: int | None = None) -> LanguageModel:
    """The model of a directory in Hugging Face format, on the GPU where there is one.

    Weights are float32; a GPU multiplies them as TF32, which keeps the figures within about 1e-3 of
    the CPU's. Raises InputError where the directory cannot be loaded whole: weights that
    are missing would otherwise be drawn at random and scored as if they had been trained.
    """
    import torch

    tokenizer = load_tokenizer(directory)
    network = _load_weights(directory)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
    settings = network.config.get_text_config()
    eod = end_of_document(directory) if eod is None else eod
    if not 0 <= eod < settings.vocab_size:
        raise InputError(
            f"the end-of-document id {eod} is outside the vocabulary of {settings.vocab_size} "
            f"of {directory}",
            "Set tokenizer.eod to the tokenizer's end-of-document id",
        )
    return LanguageModel(
        network=network.to(device).eval(),
        tokenizer=tokenizer,
        eod=eod,
        device=device,
        vocab_size=settings.vocab_size,
        context=settings.max_position_embeddings,
    )


def _load_weights(directory: Path) -> Any:
    import torch
    import transformers

    library: Any = transformers  # its annotations lack output_loading_info's pair
    logging = library.utils.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        network, loading = library.AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a broken directory raises OSError, ValueError, KeyError and others
        fact = " ".join(str(error).split())[:300]
        raise InputError(
            f"the model {directory} cannot be loaded ({type(error).__name__}: {fact})",
            "Export it again",
        ) from error
    faults = [*loading["missing_keys"], *(key[0] for key in loading["mismatched_keys"])]
    if faults:
        raise InputError(
            f"the model {directory} lacks weights, or has them in another shape: "
            f"{', '.join(sorted(faults)[:3])} ({len(faults)} in all)",
            "Export it again",
        )
    return network


def fingerprint(directory: Path) -> dict[str, str]:
    """The SHA-256 of each file of a model that a score depends on."""
    names = ("*.json", "*.safetensors", "*.bin", "*.model")
    files = sorted({path for name in names for path in directory.glob(name)})
    return {path.name: sha256(path) for path in files}
