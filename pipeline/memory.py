"""Memory that training takes on one GPU, predicted: states, activations, logits, and the rest.

Every part is a range of bytes. Its low end is what must be kept, its high end what today's programs
are known to keep or may; docs/training-memory.md compares both with what was measured.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from pipeline.shapes import Shape

GIB = 1 << 30
# Logits that training/hf makes at a time: (token, vocabulary) pairs.
PAIRS_AT_A_TIME = 1 << 27
# What no formula gives. The driver's context, cuBLAS and NCCL on a GPU: assumed. Python, torch and
# transformers on a CPU: measured, docs/training-memory.md.
LIBRARIES = {"gpu": (0.3 * GIB, 1.0 * GIB), "cpu": (0.3 * GIB, 0.8 * GIB)}
# Of activations, logits and transient buffers, what an allocator may hold besides: assumed.
FRAGMENTATION = 0.10
# Megatron with TransformerEngine keeps some outputs that a perfect fusion would make anew: assumed.
UNFUSED = 1.25


class Bytes(NamedTuple):
    """A range of bytes."""

    low: float
    high: float

    def plus(self, other: Bytes) -> Bytes:
        """The sum, end by end."""
        return Bytes(self.low + other.low, self.high + other.high)


class Setup(msgspec.Struct, frozen=True):
    """What decides how much memory a training takes on each of its GPUs."""

    shape: Shape
    length: int  # tokens of a sequence; behind an encoder those of `target` come to them
    micro: int  # sequences at a time on one GPU
    ranks: int = 1
    accumulation: int = 1  # micro-batches of an update
    form: Literal["one", "ddp", "fsdp", "megatron", "distributed"] = "one"
    # FSDP2 shares gradients out with each micro-batch, or keeps them whole until the last.
    sync: Literal["each", "last"] = "each"
    precision: Literal["mixed", "fp32"] = "mixed"  # mixed: 16-bit arithmetic, fp32 weights
    loss: Literal["plain", "chunked", "megatron"] = "plain"
    checkpointing: bool = False  # each layer keeps its input and is computed again
    pairs: int = PAIRS_AT_A_TIME  # of token and vocabulary, where the loss is chunked
    compiled: bool = False
    trainable: int | None = None  # parameters, where most are frozen; None: all
    device: Literal["gpu", "cpu"] = "gpu"
    target: int = 0  # tokens that a decoder behind an encoder writes

    @property
    def width(self) -> int:
        """Bytes of a number in arithmetic."""
        return 2 if self.precision == "mixed" else 4

    @property
    def tokens(self) -> int:
        """Of one micro-batch."""
        return self.micro * (self.length + self.target)

    @property
    def predicted(self) -> int:
        """Tokens of one micro-batch at which the output layer is."""
        return self.micro * (self.target or self.length)

    @property
    def nemo(self) -> bool:
        """Whether the weights are Megatron's: 16 bits, with an fp32 copy in the optimizer."""
        return self.form in ("megatron", "distributed")


def predict(setup: Setup) -> dict[str, Bytes]:
    """The parts and, last, their `total`: the most that one GPU holds at once.

    That is when the loss of a micro-batch after the first is taken backwards: gradients, all
    activations and the logits are there together.
    """
    parts = states(setup)
    parts["activations"] = activations(setup)
    parts["logits and loss"] = logits(setup)
    parts["buffers"] = buffers(setup)
    moving = sum(parts[key].high for key in ("activations", "logits and loss", "buffers"))
    parts["allocator"] = Bytes(0.0, FRAGMENTATION * moving)
    parts["libraries"] = Bytes(*LIBRARIES[setup.device])
    total = Bytes(0.0, 0.0)
    for part in parts.values():
        total = total.plus(part)
    return {**parts, "total": total}


def states(setup: Setup) -> dict[str, Bytes]:
    """Weights, gradients and AdamW's states, by bytes a parameter.

    Megatron, bf16-mixed: 2 + 4 + 12 (an fp32 copy and two moments); its distributed optimizer
    shares out the 12. torch: 4 + 4 + 8, all of it shared out by FSDP2; automatic casting keeps a
    16-bit copy of each weight until the backward pass has used it. Frozen weights may be held in
    16 bits and have neither gradients nor states.
    """
    count = setup.shape.parameters
    learnt = count if setup.trainable is None else setup.trainable
    shards = setup.ranks if setup.form == "fsdp" else 1
    if setup.nemo:
        kept = 12 / (setup.ranks if setup.form == "distributed" else 1)
        return {
            "weights": _exactly(2 * count),
            "gradients": _exactly(4 * learnt),
            "optimizer": _exactly(kept * learnt),
        }
    casts = 2 * count if setup.precision == "mixed" and setup.form != "fsdp" else 0
    # What is frozen and already in 16 bits needs no copy for arithmetic.
    frozen = (count - learnt) * (2 if setup.precision == "mixed" else 0)
    high = (4 * count + casts) / shards
    low = high - (frozen + (frozen if casts else 0)) / shards
    return {
        "weights": Bytes(low, high),
        "gradients": _exactly(4 * learnt / shards),
        "optimizer": _exactly(8 * learnt / shards),
    }


def activations(setup: Setup) -> Bytes:
    """What the forward pass keeps for the backward one, of all layers.

    With checkpointing each layer keeps its input, and one layer at a time all of it (full
    recomputation of Korthikanti et al. 2022, section 5).
    """
    low, high = layer_bytes(setup)
    layers = setup.shape.layers
    if setup.checkpointing:
        given = setup.shape.hidden * (2 if setup.nemo else 4)
        low, high = given + low / layers, given + high / layers
    # Once: the final norm, and the input of the output layer.
    last = setup.shape.hidden * (12 if setup.precision == "fp32" else 10)
    found = Bytes(setup.tokens * (low * layers + last), setup.tokens * (high * layers + last))
    if setup.shape.of.encoder and not setup.checkpointing:
        return found.plus(crossed(setup))
    return found


def crossed(setup: Setup) -> Bytes:
    """What the decoder keeps for attending to the encoder, and, at the high end, all scores: a
    bias of relative positions is added to them, and programs differ in whether a fused kernel
    takes it. Without one torch keeps their softmax in fp32, a 16-bit copy where casting is
    automatic, the mask of dropout and what it lets through.
    """
    shape, w = setup.shape, setup.width
    h, q, kv, mixed = shape.hidden, shape.queries, shape.keys, setup.width == 2
    given, asked = setup.micro * setup.length, setup.micro * setup.target
    low = asked * ((2 * h + 2 * q) * w + 4 * shape.heads) + given * 2 * kv * w
    eager = asked * (8 * h + 4 + 2 * q * w + 4 * shape.heads + (2 * h if mixed else 0))
    eager += given * (2 * kv * w + (4 * h if mixed else 0))
    source, target = setup.length, setup.target
    scores = setup.micro * shape.heads * (source * source + target * target + target * source)
    each = 4 + 1 + w + (w if mixed else 0)
    return Bytes(shape.layers * low, shape.layers * (max(low, eager) + scores * each))


def layer_bytes(setup: Setup) -> Bytes:
    """Bytes that one layer keeps a token: fused, or operation by operation."""
    fused, eager = fused_bytes(setup.shape, setup.width), eager_bytes(setup.shape, setup.width)
    if setup.nemo:
        return Bytes(fused, UNFUSED * fused)
    # FSDP2 can hand layers inputs in 16 bits, which their products then need not copy.
    once = 6 * setup.shape.hidden * (setup.form == "fsdp" and setup.shape.of.gated)
    low = fused if setup.compiled else eager - (once if setup.precision == "mixed" else 0)
    return Bytes(min(low, eager), eager)


def fused_bytes(shape: Shape, width: int) -> float:
    """Bytes a token and layer that no implementation goes below without computing again.

    Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models",
    section 4.1, counts the inputs of every matrix product, norm and non-linearity: s b h (34 + 5 a
    s / h). Ours leaves out the 5 a s / h, since fused attention keeps no scores (but one fp32
    logarithm a head), and the two bytes of dropout masks; it counts fewer keys than queries (GQA),
    the second branch of a gated MLP, the norms of queries and keys, and as many norms as there are.
    """
    of, h, q, kv = shape.of, shape.hidden, shape.queries, shape.keys
    numbers = (of.norms + 2) * h  # inputs of norms, of the first product of attention and of MLP
    numbers += 2 * q + 2 * kv  # queries, keys, values, and what attention gives
    numbers += (q + kv) * of.qk_norm
    numbers += of.kept[0] * shape.intermediate
    return numbers * width + 4 * shape.heads


def eager_bytes(shape: Shape, width: int) -> float:
    """Bytes a token and layer that transformers' models keep in plain torch, with fused attention.

    Counted off their modelling code, operation by operation, and equal to what autograd's
    saved-tensor hooks see (tests/pipeline/test_memory.py). Beyond the fused count: an RMSNorm keeps
    its input and the normalised value in fp32; automatic casting makes a 16-bit copy of the input
    for every product; a gated MLP keeps the activation and its product, GPT-2's GELU five values.
    """
    of, h, q, kv = shape.of, shape.hidden, shape.queries, shape.keys
    mixed = width == 2
    if of.layer_norm:
        found = float(of.norms * (4 * h + 8) + 2 * width * h)  # input, mean, deviation
    else:
        found = of.norms * (8 * h + 4) + (5 * 2 * h if mixed else 2 * 4 * h)
    if of.qk_norm:
        normalised = 4 if shape.family == "gemma3" else width
        found += (4 + normalised) * (q + kv) + 4 * (shape.heads + shape.kv_heads)
    found += width * (2 * q + 2 * kv) + 4 * shape.heads
    if of.encoder:  # masks of dropout, a byte a value, behind each part of a layer and in the MLP
        found += 3 * h + shape.intermediate
        found += 12 * shape.intermediate * mixed  # its MLP is in fp32 halfway, where casting is on
    return found + of.kept[1] * shape.intermediate * width


def logits(setup: Setup) -> Bytes:
    """The output layer and the loss, at their largest.

    Plain cross-entropy: the fp32 logits three times over (their logarithms, the loss's gradient and
    that of the logits), or the logits' gradient beside the output matrix's. In pieces: the same of
    one piece, and in fp32 the gradient of the output matrix, to which a piece's is added; of a
    fused kernel that gradient alone. Megatron's loss keeps 16-bit logits and works in place on one
    fp32 copy; at most it is a plain one.
    """
    shape, w = setup.shape, setup.width
    pairs = setup.predicted * shape.vocab
    matrix = shape.embedding if setup.trainable is None else 0
    if setup.loss == "megatron":
        return Bytes(pairs * (2 + 4), pairs * 12)
    if setup.loss == "plain" or pairs <= setup.pairs:
        return _exactly(max(pairs * 12, pairs * 4 + matrix * w))
    least = setup.pairs * 8 if setup.device == "cpu" else 0
    return Bytes(least + 4 * matrix, setup.pairs * 12 + (4 + 2 * w) * matrix)


def buffers(setup: Setup) -> Bytes:
    """Weights and gradients that are whole for a moment, and a layer on its way back.

    FSDP2 gathers the embedding, which stays, and one layer or two, whose gradients are whole before
    they are shared out in fp32. Where that waits for the last of several micro-batches, all
    gradients are whole until then. DDP's buckets are the gradients themselves
    (`gradient_as_bucket_view`).
    """
    shape, count = setup.shape, setup.shape.parameters
    back = setup.tokens * layer_bytes(setup).high
    if setup.form != "fsdp" or setup.ranks == 1:
        return Bytes(0.0, back)
    learnt = count if setup.trainable is None else setup.trainable
    rest = count - shape.layers * (shape.decoder_layer + shape.layer * shape.of.encoder)
    least, most = (min(rest + units * shape.decoder_layer, count) for units in (1, 2))
    if setup.accumulation > 1 and setup.sync == "last":
        return Bytes(least * setup.width + 4 * learnt, most * setup.width + 4 * learnt + back)
    return Bytes(least * setup.width, most * (setup.width + 4) + back)


def _exactly(size: float) -> Bytes:
    return Bytes(float(size), float(size))
