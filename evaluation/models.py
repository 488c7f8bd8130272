"""Open a model directory for scoring, with one of lm-eval's back ends."""

import gc
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.config import InputError
from evaluation.files import sha256
from evaluation.tasks import Notice, require
from evaluation.tokenizer import (
    Tokenizer,
    end_of_document,
    first_token,
    load_tokenizer,
    write_tokenizer,
)

BACKENDS = ("hf", "vllm", "api")
# Bytes of float32 logits in one batch: on a CPU they should stay near the caches; on a GPU the
# softmax beside them must fit into 40 GB next to a 1B model.
LOGIT_BYTES = {"cpu": 64 << 20, "cuda": 4 << 30}
MAX_ROWS = 256
GENERATION_ROWS = 64  # each keeps its keys and values



@dataclass(frozen=True, slots=True)
class Backend:
    """Which of lm-eval's models scores, and arguments for it beyond those given here."""

    name: str = "hf"
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """`lm` is lm-eval's model; `first` stands before every text, `eod` ends a document."""

    lm: Any
    tokenizer: Tokenizer
    eod: int
    first: int
    vocab_size: int
    context: int
    longest: int  # tokens of a sequence that the back end scores without cutting it

    def log_likelihoods(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], notice: Notice
    ) -> list[float]:
        """ln p(continuation | context) in nats for pairs of ids, through lm-eval's own batches.

        Raises InputError for an id outside the model's vocabulary: it would end in an index error
        on a CPU, in a hung GPU there.
        """
        top = max((max(ids) for pair in pairs for ids in pair if len(ids)), default=0)
        if top >= self.vocab_size:
            raise InputError(
                f"token id {top} is outside the model's vocabulary of {self.vocab_size}",
                "Use the tokenizer and the data that the model was trained with",
            )
        self.tell(notice)
        requests = [(("", ""), list(map(int, c)), list(map(int, t))) for c, t in pairs]
        found = self.lm._loglikelihood_tokens(requests, disable_tqdm=True)
        return [float(nats) for nats, _ in found]

    def tell(self, notice: Notice) -> None:
        """Call `notice` with the rows of each batch from now on, where the back end tells them."""
        if hasattr(self.lm, "notice"):
            self.lm.notice = notice


def model_directory(path: Path) -> Path:
    """`<path>/hf`, or `path` itself, whichever holds config.json; raises InputError for neither."""
    for candidate in (path / "hf", path):
        if (candidate / "config.json").is_file():
            return candidate
    if any((step / "weights").is_dir() for step in (path, *path.glob("step_*"))):
        raise InputError(
            f"{path} holds NeMo checkpoints, and none in Hugging Face format",
            "Run the export stage first: pipeline submit export",
        )
    if (path / "final" / "config.json").is_file() or any(path.glob("step_*")):
        raise InputError(
            f"{path} holds training checkpoints that are not exported",
            "Run the export stage first: pipeline submit export",
        )
    raise InputError(
        f"{path} holds no model: neither hf/config.json nor config.json is there",
        "Run the export stage, or name the directory that it wrote",
    )


def load_model(
    directory: Path, eod: int | None = None, backend: Backend | None = None
) -> LanguageModel:
    """The model of a directory in Hugging Face format, on the GPU where there is one.

    Weights are float32 unless `backend.arguments` name a dtype; a GPU multiplies them as TF32,
    which keeps the figures within about 1e-3 of the CPU's. Raises InputError where the directory
    cannot be loaded whole: weights that are missing would otherwise be drawn at random and scored
    as if they had been trained.
    """
    backend = backend or Backend()
    tokenizer = load_tokenizer(directory)
    eod = end_of_document(directory) if eod is None else eod
    vocab_size, context = _sizes(directory)
    if not 0 <= eod < vocab_size:
        raise InputError(
            f"the end-of-document id {eod} is outside the vocabulary of {vocab_size} "
            f"of {directory}",
            "Set tokenizer.eod to the tokenizer's end-of-document id",
        )
    with tempfile.TemporaryDirectory() as folder:
        written = write_tokenizer(directory, Path(folder), eod)
        lm = _open(backend, directory, written, context)
    context = int(backend.arguments.get("max_length", context))
    model = LanguageModel(
        lm, tokenizer, eod, first_token(directory, eod), vocab_size, context,
        # hf feeds all but the last token; the others want room for one that they make up.
        longest=context + 1 if backend.name == "hf" else context - 1,
    )  # fmt: skip
    _check_encoding(model, directory)
    return model


def _sizes(directory: Path) -> tuple[int, int]:
    """Vocabulary and context of a model, from its config.json."""
    from transformers import AutoConfig

    try:
        settings = AutoConfig.from_pretrained(directory, local_files_only=True).get_text_config()
        return int(settings.vocab_size), int(settings.max_position_embeddings)
    except Exception as error:  # a broken file raises OSError, ValueError, KeyError and others
        raise _unloadable(directory, error) from error


def _open(backend: Backend, directory: Path, tokenizer: Path, context: int) -> Any:
    """lm-eval's model. Every back end gets the same tokenizer, so all score the same ids."""
    common = {"tokenizer": str(tokenizer), "add_bos_token": True}
    try:
        if backend.name == "hf":
            from evaluation.transformer import open_transformer

            return open_transformer(directory, {**common, **backend.arguments})
        if backend.name == "vllm":
            module, name = "lm_eval.models.vllm_causallms", "VLLM"
            given: dict[str, Any] = {
                "pretrained": str(directory), "batch_size": "auto", "dtype": "float32",
            }  # fmt: skip
        else:
            module, name = "lm_eval.models.openai_completions", "LocalCompletionsAPI"
            # lm-eval keeps one token of max_length for itself.
            given = {"model": str(directory), "max_length": context + 1,
                     "tokenizer_backend": "huggingface"}  # fmt: skip
            if "base_url" not in backend.arguments:
                raise InputError("the back end `api` has no server",
                                 "Give evaluate.backend_args.base_url, e.g. "
                                 "http://node:8000/v1/completions")  # fmt: skip
        return getattr(require(module), name)(**{**common, **given, **backend.arguments})
    except (InputError, MemoryError):
        raise
    except Exception as error:  # whatever the model's own code raises
        if type(error).__name__ == "OutOfMemoryError":
            raise
        raise _unloadable(directory, error) from error


def _unloadable(directory: Path, error: Exception) -> InputError:
    fact = " ".join(str(error).split())[:300]
    return InputError(
        f"the model {directory} cannot be loaded ({type(error).__name__}: {fact})",
        "Export it again, or correct evaluate.backend_args",
    )


def _check_encoding(model: LanguageModel, directory: Path) -> None:
    """lm-eval must see `first` and then the tokenizer's own ids, cut between prompt and answer.

    lm-eval scores what follows the prompt's number of tokens; where a token held the end of the
    prompt and the beginning of the answer, it would score another text than the answer.
    """
    prompt, answer = "Tanong: Ano?\nSagot:", " aso"
    alone, whole = model.tokenizer.encode(prompt), model.tokenizer.encode(prompt + answer)
    if list(model.lm.tok_encode(prompt)) != [model.first, *alone]:
        raise InputError(
            f"the back end does not encode a prompt as the tokenizer in {directory} does",
            "Leave tokenizer and add_bos_token out of evaluate.backend_args",
        )
    if whole[: len(alone)] != alone:
        raise InputError(
            f"the tokenizer in {directory} joins the colon before an answer with the answer",
            "lm-eval cannot score such a model; train the tokenizer so that words begin with "
            "their space",
        )


def release(model: LanguageModel) -> None:
    """Let go of a model's memory before the next one is loaded; the caller drops it, too."""
    import torch

    if hasattr(model.lm, "_model"):
        model.lm._model = None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def fingerprint(directory: Path) -> dict[str, str]:
    """The SHA-256 of each file of a model that a score depends on."""
    names = ("*.json", "*.safetensors", "*.bin", "*.model")
    files = sorted({path for name in names for path in directory.glob(name)})
    return {path.name: sha256(path) for path in files}
