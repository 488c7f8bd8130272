"""The model, its optimizer and its loss."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from training.contract import BadInput
from training.settings import Model, Optimizer, Settings

# Logits are made for so many (token, vocabulary) pairs at a time: 512 MiB in fp32. Gemma's 262,144
# ids would otherwise cost about three times 4 GiB at micro-batch 2 and 2,048 tokens.
LOGITS_AT_A_TIME = 1 << 27


def pick_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_precision(wanted: str, device: torch.device) -> str:
    """`auto` is bf16-mixed where the hardware has bf16 (compute capability 8), else fp32.

    Raises BadInput when bf16-mixed is asked of a device without it.
    """
    able = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8
    if wanted == "bf16-mixed" and not able:
        raise BadInput(
            f"train.precision is bf16-mixed, and this {device.type} has no fast bf16",
            "Set it to auto or fp32, or run on an A100 or newer",
        )
    return ("bf16-mixed" if able else "fp32") if wanted == "auto" else wanted


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """bf16 arithmetic over fp32 weights, or nothing."""
    if precision == "bf16-mixed":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def build_model(settings: Settings) -> Any:
    """Gemma3ForCausalLM in fp32: fresh from the seed, or from pretrained weights, never in doubt.

    Raises BadInput when the weights are missing, incomplete or of another vocabulary.
    """
    import transformers

    model, wanted = None, settings.model
    if wanted.init == "random":
        torch.manual_seed(settings.seed)
        model = transformers.Gemma3ForCausalLM(_config(wanted, settings.eod))
    else:
        model = _pretrained(wanted)
    model.config.use_cache = False
    return model


def _config(model: Model, eod: int) -> Any:
    import transformers

    shape = model.shape or {}
    return transformers.Gemma3TextConfig(
        vocab_size=model.vocab_size,
        hidden_size=shape["hidden_size"],
        intermediate_size=shape["intermediate_size"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        head_dim=shape["head_dim"],
        query_pre_attn_scalar=shape["head_dim"],
        sliding_window=shape["sliding_window"],
        max_position_embeddings=model.seq_length,
        eos_token_id=eod,
        # None: a padding id's embedding gets no gradient, and every id of this vocabulary is text
        pad_token_id=None,
        bos_token_id=None,
    )


def _pretrained(model: Model) -> Any:
    import transformers

    remedy = (
        "Put the weights into the Hugging Face cache (hf download; HF_TOKEN for a gated model), or "
        "name a local directory in model.base"
    )
    try:
        # with loading info it returns a pair, which its annotation does not say
        pair: Any = transformers.Gemma3ForCausalLM.from_pretrained(
            model.base, dtype=torch.float32, output_loading_info=True
        )
        loaded, report = pair
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise BadInput(f"the weights of {model.base} cannot be loaded: {reason}", remedy) from error
    if missing := sorted(report["missing_keys"]):
        raise BadInput(
            f"{Path(model.base)} lacks {len(missing)} weights, {missing[0]} among them", remedy
        )
    if loaded.config.vocab_size != model.vocab_size:
        raise BadInput(
            f"{model.base} has a vocabulary of {loaded.config.vocab_size}, not {model.vocab_size}",
            "Correct model.vocab_size",
        )
    return loaded


def build_optimizer(model: torch.nn.Module, o: Optimizer) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves norms alone."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": o.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=o.lr, betas=o.betas, eps=o.eps)


def token_loss(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy in nats of predicting tokens[:, 1:] from what precedes them.

    `tokens` has shape (batch, length). Logits of large vocabularies are made in pieces and made
    again for the gradient, which costs time and saves gigabytes.
    """
    hidden = model.model(input_ids=tokens[:, :-1]).last_hidden_state.flatten(0, 1)
    targets = tokens[:, 1:].flatten()
    head = model.lm_head
    rows = max(LOGITS_AT_A_TIME // head.out_features, 1)
    if rows >= len(targets):
        return functional.cross_entropy(head(hidden).float(), targets)

    def piece(h: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(head(h).float(), t, reduction="sum")

    run: Callable[..., Any] = checkpoint
    total = torch.zeros((), device=hidden.device)
    for h, t in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True):
        total = total + run(piece, h, t, use_reentrant=False)
    return total / len(targets)
