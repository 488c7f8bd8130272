"""The model and its optimizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from training import pace
from training.contract import BadInput
from training.curriculum import Stage
from training.settings import Model, Optimizer, Settings

# What a configuration may call itself, for each model.architecture of a study.
MODEL_TYPES = {
    "gemma3": ("gemma3_text",),
    "gpt2": ("gpt2",),
    "llama": ("llama",),
    "qwen": ("qwen2", "qwen3"),
}


def build_model(settings: Settings) -> Any:
    """A causal language model in fp32: fresh from the seed, or from pretrained weights, never in
    doubt.

    Raises BadInput when the weights are missing, incomplete, of another architecture or of another
    vocabulary.
    """
    wanted = settings.model
    if wanted.init == "random":
        model = fresh(wanted, settings.eod, settings.seed)
    else:
        model = pretrained(wanted)
    if getattr(model.config, "final_logit_softcapping", None):
        raise BadInput(
            f"{wanted.base} caps its logits, which the losses here do not", "Name another model"
        )
    model.config.architectures = [type(model).__name__]
    model.config.use_cache = False
    return model


def fresh(model: Model, eod: int | None, seed: int) -> Any:
    """A model with random weights in fp32."""
    import transformers

    torch.manual_seed(seed)
    automatic: Any = transformers.AutoModelForCausalLM
    return automatic.from_config(_config(model, eod), dtype=torch.float32)


def _config(model: Model, eod: int | None) -> Any:
    """The architecture's own configuration object with the study's shape in it.

    No dropout: a model that has never seen the text does not need it, and GPT-2's would be 0.1.
    """
    import transformers

    shape = model.shape or {}
    common: dict[str, Any] = {
        "vocab_size": model.vocab_size,
        "eos_token_id": eod,
        # None: a padding id's embedding gets no gradient, and every id of this vocabulary is text
        "pad_token_id": None,
        "bos_token_id": None,
    }
    if model.architecture == "gpt2":
        dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        return transformers.GPT2Config(
            n_embd=shape["hidden_size"],
            n_inner=shape["intermediate_size"],
            n_layer=shape["layers"],
            n_head=shape["heads"],
            n_positions=model.seq_length,
            **dropout,
            **common,
        )
    common |= {
        "hidden_size": shape["hidden_size"],
        "intermediate_size": shape["intermediate_size"],
        "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"],
        "num_key_value_heads": shape["kv_heads"],
        "head_dim": shape["head_dim"],
        "max_position_embeddings": model.seq_length,
    }
    if model.architecture == "gemma3":
        return transformers.Gemma3TextConfig(
            query_pre_attn_scalar=shape["head_dim"],
            sliding_window=shape["sliding_window"],
            **common,
        )
    kind = transformers.LlamaConfig if model.architecture == "llama" else transformers.Qwen3Config
    return kind(tie_word_embeddings=True, **common)


def pretrained(model: Model) -> Any:
    """The model of a directory or of the hub in fp32; BadInput as build_model says."""
    import transformers

    remedy = (
        "Put the weights into the Hugging Face cache (hf download; HF_TOKEN for a gated model), or "
        "name a local directory in model.base"
    )
    automatic: Any = transformers.AutoModelForCausalLM
    try:
        config: Any = transformers.AutoConfig.from_pretrained(model.base)
        if config.model_type not in MODEL_TYPES[model.architecture]:
            raise BadInput(
                f"{model.base} is a {config.model_type}, and model.architecture "
                f"{model.architecture}",
                "Correct model.architecture or model.base",
            )
        # with loading info it returns a pair, which its annotation does not say
        loaded, report = automatic.from_pretrained(
            model.base, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, SafetensorError) as error:
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


def build_optimizer(
    model: torch.nn.Module, o: Optimizer, fuse: bool = True
) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves norms alone; fused on CUDA unless told otherwise."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": o.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    # one kernel a step; the same numbers but rounding
    fused = fuse and parameters[0].device.type == "cuda"
    return torch.optim.AdamW(groups, lr=o.lr, betas=o.betas, eps=o.eps, fused=fused)


def set_stage(optimizer: torch.optim.Optimizer, stage: Stage) -> None:
    """Give an optimizer of build_optimizer a stage's values; its moments stay as they are."""
    decayed, *plain = optimizer.param_groups
    decayed["weight_decay"] = stage.weight_decay
    for group in (decayed, *plain):
        group["betas"], group["eps"] = stage.betas, stage.eps


def flops_per_token(model: Any, length: int) -> float:
    """What training.pace makes of a model: parameters that multiply, and in each layer the tokens
    that are looked at, which is the window where a layer has one."""
    config = model.config
    head, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    multiplying = sum(p.numel() for p in model.parameters())
    if head is not embedding:
        multiplying -= embedding.numel()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    kinds = getattr(config, "layer_types", None) or ["full"] * config.num_hidden_layers
    window = getattr(config, "sliding_window", None) or length
    seen = sum(min(window, length) if "sliding" in kind else length for kind in kinds)
    return pace.flops_per_token(multiplying, config.num_attention_heads, width, seen)
