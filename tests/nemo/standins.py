"""CPU stand-ins for what NeMo 2.5.3 takes from CUDA and from TransformerEngine. Tests only.

`install()` must run before anything of NeMo is imported. What stands in for what:

- TransformerEngine's fused layers and attention: plain torch on top of megatron-core's own
  parallel layers, with the same parameters under the same names.
- TransformerEngine's FusedAdam: AdamW in plain torch, whose step is counted in the parameter group
  (with torch's own, megatron-core 0.14 saves a checkpoint that it cannot load).
- `torch.cuda`: the device is the CPU, streams and events do nothing, random state is the CPU's.
- The names of CUDA's tensor types, which the distributed optimizer asks for.

Megatron, NeMo, Lightning, their checkpoints and converters are the real ones. What a GPU alone
shows (NCCL, fused kernels, overlap of communication, speed, memory) is not tested by this.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode


class Nothing(contextlib.nullcontext[None]):
    """A stream or an event: every call on it does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


class OnCpu(TorchFunctionMode):
    """Every tensor that is asked for on CUDA is made on the CPU."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if str(kwargs.get("device", "")).startswith("cuda"):
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)


class FusedAdam(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter, 2019, algorithm 2), with one step count for each group."""

    def __init__(
        self, params: Any, lr: float, weight_decay: float, betas: Any, eps: float, **_: Any
    ) -> None:
        super().__init__(
            params, {"lr": lr, "weight_decay": weight_decay, "betas": betas, "eps": eps}
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            (first, second), count = group["betas"], group.get("step", 0) + 1
            group["step"] = count
            for weight in (w for w in group["params"] if w.grad is not None):
                state = self.state[weight]
                if not state:
                    state["exp_avg"] = torch.zeros_like(weight)
                    state["exp_avg_sq"] = torch.zeros_like(weight)
                mean, square = state["exp_avg"], state["exp_avg_sq"]
                mean.lerp_(weight.grad, 1 - first)
                square.mul_(second).addcmul_(weight.grad, weight.grad, value=1 - second)
                root = (square / (1 - second**count)).sqrt_().add_(group["eps"])
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.addcdiv_(mean, root, value=-group["lr"] / (1 - first**count))


def install() -> None:
    """Put the stand-ins in their places."""
    OnCpu().__enter__()
    _cuda()
    _engine()


def _cuda() -> None:
    cuda = torch.cuda
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats", "manual_seed"):
        setattr(cuda, name, lambda *_, **__: None)
    for name in ("max_memory_allocated", "max_memory_reserved", "memory_allocated"):
        setattr(cuda, name, lambda *_, **__: 0)
    cuda.current_device = lambda: torch.device("cpu")  # type: ignore[assignment,return-value]
    cuda.Stream = cuda.Event = Nothing  # type: ignore[assignment,misc]
    cuda.stream = Nothing  # type: ignore[assignment]
    cuda.current_stream = cuda.default_stream = Nothing  # type: ignore[assignment]
    cuda.get_rng_state = cuda.random.get_rng_state = lambda *_, **__: torch.get_rng_state()
    cuda.set_rng_state = lambda state, *_, **__: torch.set_rng_state(state)
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    torch.nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    plain = torch.Tensor.type

    def named(self: torch.Tensor, *args: Any, **more: Any) -> Any:
        made = plain(self, *args, **more)
        if not isinstance(made, str) or made.startswith("torch.cuda."):
            return made
        return made.replace("torch.", "torch.cuda.", 1)

    torch.Tensor.type = named  # type: ignore[assignment,method-assign]


def normed(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """RMS norm with a weight around zero, computed in fp32 as TransformerEngine does."""
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * scale * (1 + weight.float())).to(x.dtype)


def _engine() -> None:
    """The classes of megatron.core.extensions.transformer_engine, on megatron-core's layers."""
    import megatron.core.tensor_parallel.random as rng
    from megatron.core import optimizer
    from megatron.core.extensions import transformer_engine as engine
    from megatron.core.optimizer import distrib_optimizer
    from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear
    from megatron.core.transformer import transformer_block

    rng._get_cuda_rng_state = lambda *_, **__: torch.get_rng_state()
    rng._set_cuda_rng_state = lambda state, *_, **__: torch.set_rng_state(state)
    rng.CudaRNGStatesTracker.fork = lambda *_, **__: contextlib.nullcontext()

    class TENorm(torch.nn.Module):
        def __init__(self, config: Any, hidden_size: int, eps: float = 1e-5) -> None:
            super().__init__()
            self.eps = eps
            self.weight = torch.nn.Parameter(torch.zeros(hidden_size, dtype=config.params_dtype))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return normed(x, self.weight, self.eps)

    class TELayerNormColumnParallelLinear(ColumnParallelLinear):  # type: ignore[misc]
        def __init__(self, input_size: int, output_size: int, *, config: Any, **more: Any) -> None:
            super().__init__(input_size, output_size, config=config, **more)
            self.eps = config.layernorm_epsilon
            zeros = torch.zeros(input_size, dtype=config.params_dtype)
            self.layer_norm_weight = torch.nn.Parameter(zeros)

        def forward(self, x: torch.Tensor) -> Any:
            return super().forward(normed(x, self.layer_norm_weight, self.eps))

    class TERowParallelLinear(RowParallelLinear):  # type: ignore[misc]
        pass

    class TEDotProductAttention(torch.nn.Module):
        """Causal; `window_size` (left, right) keeps `left` keys before the query's own."""

        def __init__(self, config: Any, softmax_scale: float | None = None, **_: Any) -> None:
            super().__init__()
            self.window = config.window_size[0] if config.window_size else None
            self.scale = softmax_scale

        def forward(
            self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any
        ) -> torch.Tensor:
            place = torch.arange(query.shape[0])
            back = place[:, None] - place[None, :]
            seen = (back >= 0) & (back <= (len(place) if self.window is None else self.window))
            # (sequence, batch, heads, width) -> (batch, heads, sequence, width)
            q, k, v = (x.permute(1, 2, 0, 3) for x in (query, key, value))
            made = F.scaled_dot_product_attention(
                q, k, v, attn_mask=seen, scale=self.scale, enable_gqa=True
            )
            return made.permute(2, 0, 1, 3).flatten(2)

    linears = (TELayerNormColumnParallelLinear, TERowParallelLinear)
    for own in (TENorm, *linears, TEDotProductAttention):
        old = getattr(engine, own.__name__)
        for module in [m for n, m in sys.modules.items() if n.startswith("megatron")]:
            if getattr(module, own.__name__, None) is old:
                setattr(module, own.__name__, own)
    transformer_block.LayerNormImpl = TENorm
    optimizer.Adam = distrib_optimizer.Adam = FusedAdam
    distrib_optimizer.HAVE_APEX_OR_TE = distrib_optimizer.USING_TE_OPTIMIZER = True
