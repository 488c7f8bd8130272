"""LoRA adapters with the guards that a training without them fails in silence for.

peft adapts what its target names match and says nothing of a name that matches no module; a
resized vocabulary ties a separate head to the input table; `modules_to_save` makes whole tables
trainable. Each is refused or prevented here.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from training.contract import BadInput, Section

SEQ2SEQ, CAUSAL = "SEQ_2_SEQ_LM", "CAUSAL_LM"
WEIGHTS = "adapter_model.safetensors"
# What makes a first loss far above ln V, and what to do about it.
BLAME = (
    "Logits are on a wrong scale, most likely since the head was tied to the input table (a "
    "resized vocabulary does that): look at `head` in status.json, and at model.base's weights"
)


@dataclass(frozen=True)
class Lora:
    """An adapter: scale alpha/r, on the modules whose last names are `targets`.

    `tokens` are added to the tokenizer; the rows of `trainable_tokens` learn, all others of the
    table stay as they are. `most` bounds the trainable share of all parameters. `frozen` is in
    what the base model's weights are held: fp32, or auto, the 16 bits of a mixed precision, which
    takes half of the memory; what learns stays in fp32.
    """

    task: str
    r: int
    alpha: float
    dropout: float
    bias: str
    targets: tuple[str, ...]
    modules_to_save: tuple[str, ...]
    tokens: tuple[str, ...]
    trainable_tokens: tuple[str, ...]
    most: float
    frozen: str = "fp32"


def read_lora(config: Section) -> Lora:
    """The section `lora`; problems stay in `config`."""
    p = "parameters.lora."
    lora = Lora(
        task=config.choice(p + "task_type", (SEQ2SEQ, CAUSAL)),
        r=config.positive(p + "r"),
        alpha=config.get(p + "alpha", float),
        dropout=config.get(p + "dropout", float, 0.0),
        bias=config.choice(p + "bias", ("none", "all", "lora_only"), "none"),
        targets=words(config, p + "target_modules"),
        modules_to_save=words(config, p + "modules_to_save"),
        tokens=words(config, p + "tokens"),
        trainable_tokens=words(config, p + "trainable_tokens"),
        most=config.get(p + "max_trainable_share", float, 0.1),
        frozen=config.choice(p + "frozen", ("fp32", "auto"), "fp32"),
    )
    config.check(bool(lora.targets), f"{p}target_modules names none")
    config.check(0 <= lora.dropout < 1, f"{p}dropout is {lora.dropout}, not between 0 and 1")
    config.check(0 < lora.most <= 1, f"{p}max_trainable_share is {lora.most}, not between 0 and 1")
    return lora


def words(config: Section, key: str) -> tuple[str, ...]:
    """A list of words, by default none."""
    found: Any = config.values
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    good = found is None or (isinstance(found, list) and all(isinstance(w, str) for w in found))
    config.check(good, f"{key} is {found!r}, not a list of words")
    return tuple(found or ()) if good else ()


# ---- the base model ---------------------------------------------------------------------------


def load_base(base: str, task: str, dtype: torch.dtype = torch.float32) -> Any:
    """A pretrained model, its head as the weights have it; BadInput if it cannot be had."""
    import transformers

    kinds: Any = {
        SEQ2SEQ: transformers.AutoModelForSeq2SeqLM,
        CAUSAL: transformers.AutoModelForCausalLM,
    }
    remedy = (
        "Put the weights into the Hugging Face cache (hf download; HF_TOKEN for a gated model), or "
        "name a local directory in model.base"
    )
    try:
        with quiet():
            model, report = kinds[task].from_pretrained(
                base, dtype=dtype, output_loading_info=True
            )
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise BadInput(f"the weights of {base} cannot be loaded: {reason}", remedy) from error
    if missing := sorted(report["missing_keys"]):
        raise BadInput(f"{base} lacks {len(missing)} weights, {missing[0]} among them", remedy)
    model.config.tie_word_embeddings = head_is_tied(model)
    return model


def load_tokenizer(path: str | Path) -> Any:
    """A tokenizer; BadInput if it cannot be had."""
    import transformers

    automatic: Any = transformers.AutoTokenizer
    try:
        with quiet():
            return automatic.from_pretrained(str(path))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise BadInput(
            f"the tokenizer of {path} cannot be loaded: {reason}",
            "Put it into the Hugging Face cache, or name a local directory",
        ) from error


def head_is_tied(model: Any) -> bool:
    """Whether the output head is the input table itself.

    transformers 5 says so of every T5 by its configuration, FLAN-T5's separate head included.
    """
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    return head is not None and head.weight is table.weight


def fit_vocabulary(model: Any, tokens: int) -> dict[str, Any]:
    """Give the table a row for each of the tokenizer's ids; facts for status.json.

    Tables are padded (T5 has 32,128 rows for 32,100 ids), so mostly nothing is to be done. Where
    rows lack, the new ones are the mean of the others, which is the same at every load, and a
    separate head stays separate. Raises BadInput when the resize changed the head's kind.
    """
    table = model.get_input_embeddings().weight
    rows, tied = table.shape[0], head_is_tied(model)
    if tokens > rows:
        model.config.tie_word_embeddings = tied  # a resize ties what the configuration says is tied
        with quiet():
            model.resize_token_embeddings(tokens, mean_resizing=False)
        places = [model.get_input_embeddings().weight]
        if not tied and model.get_output_embeddings() is not None:
            places.append(model.get_output_embeddings().weight)
        with torch.no_grad():
            for weight in places:
                weight[rows:] = weight[:rows].mean(0)
    if head_is_tied(model) != tied:
        raise BadInput(
            f"a resize from {rows} to {tokens} rows changed the head from "
            f"{'tied' if tied else 'separate'} to {'separate' if tied else 'tied'}",
            "Use a base whose table has rows to spare, or another version of transformers",
        )
    return {
        "vocabulary": max(rows, tokens),
        "tokenizer": tokens,
        "resized": tokens > rows,
        "head": "tied" if tied else "separate",
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Without progress bars and transformers' remarks; what they say is checked here."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


# ---- the adapter ------------------------------------------------------------------------------


def check_targets(model: torch.nn.Module, targets: Sequence[str]) -> dict[str, int]:
    """How many modules each target matches, as peft matches them; BadInput if one matches none."""
    names = [name for name, module in model.named_modules() if hasattr(module, "weight")]
    counts = {
        target: sum(name == target or name.endswith(f".{target}") for name in names)
        for target in targets
    }
    if absent := [target for target, count in counts.items() if not count]:
        ends = sorted({name.rsplit(".", 1)[-1] for name in names if not name.endswith("norm")})
        near = [
            f"{target} (nearest: {', '.join(difflib.get_close_matches(target, ends, 3, 0.0))})"
            for target in absent
        ]
        raise BadInput(
            f"of lora.target_modules {', '.join(near)} match{'es' * (len(near) == 1)} no module of "
            f"the model",
            "Name its own modules; peft would adapt the others and say nothing",
        )
    return counts


def add_adapter(model: Any, lora: Lora, tokenizer: Any) -> Any:
    """The model with a fresh adapter, everything else frozen.

    Raises BadInput when a target matches nothing or too large a share would be trained.
    """
    import peft

    check_targets(model, lora.targets)
    ids = token_ids(tokenizer, lora.trainable_tokens)
    table = next(n for n, m in model.named_modules() if m is model.get_input_embeddings())
    config = peft.LoraConfig(
        task_type=lora.task,
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        bias=lora.bias,  # type: ignore[arg-type]
        target_modules=list(lora.targets),
        modules_to_save=list(lora.modules_to_save) or None,
        trainable_token_indices={table: ids} if ids else None,
    )
    with quiet():
        made: Any = peft.get_peft_model(model, config)
    share_table(model)
    check_share(made, lora.most)
    return made


def token_ids(tokenizer: Any, tokens: Sequence[str]) -> list[int]:
    """The ids of tokens of the vocabulary; BadInput for one that is none."""
    known = tokenizer.get_vocab() if tokens else {}
    if absent := [token for token in tokens if token not in known]:
        raise BadInput(
            f"lora.trainable_tokens names {', '.join(absent)}, which the tokenizer does not have",
            "Add it under lora.tokens too, or correct it",
        )
    return [int(known[token]) for token in tokens]


def share_table(model: Any) -> None:
    """Let encoder and decoder look up in the table where peft has wrapped it alone: T5's have
    modules of their own, which would never see the trained rows. Where head and table are one,
    peft wraps them all."""
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    wrapped = hasattr(table, "token_adapter") and not hasattr(head, "token_adapter")
    if wrapped and getattr(model.config, "is_encoder_decoder", False):
        model.set_input_embeddings(table)


def check_share(model: torch.nn.Module, most: float) -> None:
    """BadInput when more than `most` of the parameters would be trained."""
    total = sum(p.numel() for p in model.parameters())
    trained = {n: p.numel() for n, p in model.named_parameters() if p.requires_grad}
    share = sum(trained.values()) / total
    if share > most:
        largest = max(trained, key=lambda name: trained[name])
        raise BadInput(
            f"{sum(trained.values()):,} of {total:,} parameters ({100 * share:.1f} %) would be "
            f"trained, more than {100 * most:g} %; the largest is {largest}",
            "Remove lora.modules_to_save, lower lora.r, or raise lora.max_trainable_share",
        )


def save_adapter(model: Any, tokenizer: Any, directory: Path) -> None:
    """The adapter in safetensors and its tokenizer, without any table of the base model."""
    with quiet():
        model.save_pretrained(str(directory), safe_serialization=True, save_embedding_layers=False)
        tokenizer.save_pretrained(str(directory))
    (directory / "README.md").unlink(missing_ok=True)  # peft's empty form


def put_adapter(model: Any, directory: Path) -> None:
    """Put a saved adapter's weights into a model that has one."""
    import peft

    with quiet():
        peft.set_peft_model_state_dict(model, load_file(directory / WEIGHTS))


def load_adapter(directory: Path, base: str = "") -> tuple[Any, Any]:
    """Model and tokenizer of a trained adapter, whose logits are those at the training's end.

    The order matters: the adapter's own tokenizer, which has the added tokens; the base model; rows
    for all ids; the adapter. `base` stands for the adapter's own where the weights have moved.
    """
    import peft

    refuse_stale(directory)
    try:
        config = json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{directory} holds no adapter", "Train one, or correct the path") from error
    tokenizer = load_tokenizer(directory)
    model = load_base(base or config["base_model_name_or_path"], config["task_type"])
    fit_vocabulary(model, len(tokenizer))
    with quiet():
        adapted: Any = peft.PeftModel.from_pretrained(model, str(directory))
    share_table(model)
    return adapted.eval(), tokenizer


# ---- checkpoints of others --------------------------------------------------------------------

PICKLED = ("*.bin", "*.pt", "*.pth")
FIRST_SAFE = (2, 6)  # torch; before it, reading a pickled file could run what is in it


def refuse_stale(root: Path) -> None:
    """BadInput when pickled checkpoints lie in a directory or one below it (CVE-2025-32434), or
    ones that an older torch wrote. Only safetensors are read here."""
    folders = [root, *sorted(p for p in root.glob("*") if p.is_dir())] if root.is_dir() else []
    stale = [
        f"{folder} ({told})"
        for folder in folders
        if (told := next((p.name for kind in PICKLED for p in sorted(folder.glob(kind))), ""))
    ]
    for folder in folders:
        with contextlib.suppress(OSError, ValueError, KeyError):
            written = json.loads((folder / "versions.json").read_text())["torch"]
            if version(written) < FIRST_SAFE:
                stale.append(f"{folder} (written by torch {written})")
    if stale:
        raise BadInput(
            f"stale checkpoints: {', '.join(stale)}",
            "Remove them, and have torch 2.6 or newer: `.venv/bin/pip install --upgrade torch` "
            "with the pip of the environment, not the system's",
        )


def version(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: 2.13.0+cpu is (2, 13, 0)."""
    return tuple(int(number) for number in re.findall(r"\d+", text.split("+")[0])[:3])
