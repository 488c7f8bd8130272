"""A base model with random weights, on disk, for studies in miniature: an adapter needs a base that
loads again as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from training.artifacts import copy_tokenizer, read_manifest, write_manifest
from training.contract import BadInput, Section, publish_directory
from training.hf.adapters import CAUSAL, SEQ2SEQ, load_tokenizer, quiet


@dataclass(frozen=True)
class BaseModel:
    """Weights by path or hub name; or, with `init: random`, an architecture of transformers, its
    configuration and a tokenizer's directory. `tied` false gives the head weights of its own."""

    base: str
    random: bool = False
    architecture: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: str = ""
    tied: bool = True


def read_base(config: Section) -> BaseModel:
    """The section `model`; problems stay in `config`. `base` is `none` where weights are random."""
    p = "parameters.model."
    random = config.choice(p + "init", ("weights", "random"), "weights") == "random"
    base = config.get(p + "base", str, "none")
    config.check(random or base != "none", f"{p}init is weights but {p}base names none")
    if not random:
        return BaseModel(base)
    shape = config.mapping(p + "config")
    config.check(bool(shape), f"{p}config is missing: the model's shape")
    return BaseModel(
        base, True, config.get(p + "architecture", str), shape,
        config.get(p + "tokenizer", str), config.get(p + "tied", bool, True),
    )  # fmt: skip


def write_base(made: BaseModel, task: str, seed: int, directory: Path) -> None:
    """Write the random model and its tokenizer to `directory`, unless it is there whole already.

    Its vocabulary is a multiple of 64, at least a row more than the tokenizer has: T5's is padded
    too.
    """
    import transformers

    try:
        read_manifest(directory)
        return
    except ValueError:
        pass  # not there yet, or cut short
    tokenizer = load_tokenizer(made.tokenizer)
    shape = dict(made.config) | {"vocab_size": 64 * (len(tokenizer) // 64 + 1)}
    for name in ("pad_token_id", "eos_token_id", "bos_token_id"):
        shape[name] = getattr(tokenizer, name)
    if task == SEQ2SEQ:
        shape["decoder_start_token_id"] = tokenizer.pad_token_id
    try:
        config = transformers.AutoConfig.for_model(
            made.architecture, tie_word_embeddings=made.tied, **shape
        )
    except (ValueError, TypeError) as error:
        raise BadInput(
            f"model.config is none of {made.architecture}: {str(error).splitlines()[0]}",
            "Use the names of its configuration in transformers",
        ) from error
    kinds: Any = {
        SEQ2SEQ: transformers.AutoModelForSeq2SeqLM,
        CAUSAL: transformers.AutoModelForCausalLM,
    }
    torch.manual_seed(seed)
    model = kinds[task].from_config(config, dtype=torch.float32)
    if not made.tied:
        untie(model)
    with publish_directory(directory) as folder, quiet():
        model.save_pretrained(folder)
        copy_tokenizer(Path(made.tokenizer), folder)
        write_manifest(folder, {"seed": seed, "architecture": made.architecture})


def untie(model: Any) -> None:
    """Give the head weights of its own; logits then have a variance of about 1."""
    head, width = model.get_output_embeddings(), model.get_input_embeddings().weight.shape[1]
    head.weight = torch.nn.Parameter(torch.randn_like(head.weight) * width**-0.5)
    model.config.tie_word_embeddings = False
