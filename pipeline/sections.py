"""The parameters that the built-in stage kinds read, typed.

A study's `parameters` is a mapping of sections. The sections named here are checked against these
structs; others belong to `command` stages, which read what they like, and must be referred to by
some stage (`reads`, or a `${...}`), so that a misspelt section is found on the laptop.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Beta = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1e6)]  # an upper end refuses .inf

NEEDS = {
    "vanilla": (),
    "stochastok": ("expand_prop",),
    "patok": (
        "contract_prop", "expand_prop", "affix_awareness", "num_toks_to_cont", "affix_dir",
    ),
}  # fmt: skip


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the sections."""


class Corpus(Section, frozen=True):
    source: str
    file: str
    chunk_dir: str
    chunks: Positive
    name: str
    language: str = ""
    text_key: str = "text"


class Tokenizer(Section, frozen=True):
    source: str
    path: str
    vocab_size: Positive
    eod: Annotated[int, msgspec.Meta(ge=0)]


class Variant(Section, frozen=True):
    name: Literal["vanilla", "stochastok", "patok"]
    expand_prop: Probability | None = None
    contract_prop: Probability | None = None
    affix_awareness: Probability | None = None
    affix_awareness_if_overlap: Probability | None = None
    num_toks_to_cont: list[Annotated[int, msgspec.Meta(ge=2)]] | None = None
    contract_prob: list[Probability] | None = None
    affix_dir: str | None = None

    def __post_init__(self) -> None:
        for key in NEEDS[self.name]:
            if getattr(self, key) is None:
                raise ValueError(f"{self.name} needs {key}, which is missing. Add it")
        lengths, weights = self.num_toks_to_cont, self.contract_prob
        if (lengths is None) != (weights is None):
            raise ValueError("num_toks_to_cont and contract_prob go together. Give both")
        if lengths is not None and weights is not None:
            if len(lengths) != len(weights):
                raise ValueError(
                    f"num_toks_to_cont has {len(lengths)} values and contract_prob {len(weights)}. "
                    "Give one probability a length"
                )
            if abs(sum(weights) - 1) > 1e-9:
                raise ValueError(f"contract_prob sums to {sum(weights):g}. It must sum to 1")


class Preprocess(Section, frozen=True):
    output_dir: str
    workers: Positive = 1
    max_reject_share: Probability = 0.001
    max_line_bytes: Positive = 1 << 24  # a longer line of the corpus is no document


class Model(Section, frozen=True):
    base: str
    architecture: Literal["gemma3", "gpt2", "llama", "qwen"]
    init: Literal["weights", "random"]
    seq_length: Positive
    vocab_size: Positive
    config: dict[str, Any] | None = None


class Optimizer(Section, frozen=True):
    name: Literal["adamw"]
    lr: Annotated[float, msgspec.Meta(gt=0, le=1e6)]
    min_lr: Share
    decay: Literal["cosine", "linear", "constant"]
    weight_decay: Share
    clip: Share
    warmup_steps: Annotated[int, msgspec.Meta(ge=0)] | None = None
    warmup_ratio: Probability | None = None
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1e-8

    def __post_init__(self) -> None:
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr:g} is above lr {self.lr:g}. Lower it")
        if (self.warmup_steps is None) == (self.warmup_ratio is None):
            raise ValueError("the warm-up is warmup_steps or warmup_ratio. Give one of the two")


class Batch(Section, frozen=True):
    global_size: Positive = msgspec.field(name="global")
    micro: Positive


class CurriculumStage(Section, frozen=True):
    """A row of `curriculum_stages`; what it does not name has the study's own value."""

    step: Annotated[int, msgspec.Meta(ge=0)]
    seq_len: Positive | None = None
    batch_size: Positive | None = None
    lr_scale: Annotated[float, msgspec.Meta(gt=0, le=1e6)] | None = None
    weight_decay: Share | None = None
    clip: Share | None = None
    betas: tuple[Beta, Beta] | None = None
    eps: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None


class EarlyStopping(Section, frozen=True):
    patience: Positive
    metric: Literal[
        "val/loss", "val/perplexity", "val/accuracy",
        "probe/loss", "probe/perplexity", "probe/accuracy",
    ] = "val/loss"  # fmt: skip
    mode: Literal["min", "max"] = "min"
    min_delta: Share = 0.0
    scope: Literal["global", "stage", "length"] = "global"  # another one: all starts anew


class Validation(Section, frozen=True):
    data_path: str | None = None  # token files of held-out text, instead of a share of `split`
    batch: Annotated[int, msgspec.Meta(ge=0)] = 0  # samples at a time; 0: as many as in training
    boundary: Literal["completed", "next"] = "completed"  # whose length, at a stage's end
    stage_ends: bool = False  # at each of them too
    at: list[Positive] = msgspec.field(default_factory=list)  # and after these updates
    probe: Annotated[int, msgspec.Meta(ge=0)] = 0  # a length that each looks at besides
    accuracy: bool = False


class Train(Section, frozen=True):
    backend: Literal["nemo", "hf"]
    data_path: str
    checkpoint_dir: str
    max_steps: Positive
    checkpoint_every: Positive
    validate_every: Positive
    log_every: Positive
    precision: Literal["bf16-mixed", "fp16-mixed", "fp32", "auto"]
    split: tuple[Share, Share, Share]
    validate_batches: Annotated[int, msgspec.Meta(ge=0)] = 50  # 0: all held-out text
    validation: Validation = Validation()
    keep_checkpoints: Positive = 3
    keep_best: bool = True
    early_stopping: EarlyStopping | None = None
    max_loss: Share = 0.0  # 0: three times ln(vocabulary)
    tensorboard: bool = False
    # At the end of a document inside a sample, in Megatron's words.
    reset_position_ids: bool = True
    reset_attention_mask: bool = True
    eod_mask_loss: bool = False
    # How it is computed; no value of these changes what is learned.
    loss: Literal["auto", "plain", "chunked", "liger", "cce"] = "auto"
    parallel: Literal["auto", "none", "ddp", "fsdp2"] = "auto"
    gradient_sync: Literal["auto", "each", "last"] = "auto"
    activation_checkpointing: bool = False
    compile: bool = False
    tensor_parallel: Positive = 1
    pipeline_parallel: Positive = 1
    # What is held equal between the arms; of `text` max_steps counts the reference's tokens.
    budget: Literal["tokens", "text"] = "tokens"
    reference_data: str = ""

    def __post_init__(self) -> None:
        if self.checkpoint_every % self.validate_every:
            raise ValueError(
                f"checkpoint_every {self.checkpoint_every} is no multiple of validate_every "
                f"{self.validate_every}, so a checkpoint would have no validation loss. Align them"
            )
        if self.validation.data_path is not None:
            if self.split[0] == 0 or any(self.split[1:]):
                raise ValueError(
                    f"split {list(self.split)} holds out a part of data_path, and "
                    "validation.data_path has the held-out text. Set it to [1, 0, 0]"
                )
        elif min(self.split[:2]) == 0:
            raise ValueError(
                f"split {list(self.split)} leaves nothing to train on or to validate on. "
                "Give both a share"
            )
        if self.budget == "text" and not self.reference_data:
            raise ValueError(
                "budget is text, so max_steps counts the tokens of reference_data, which is "
                "missing. Name an arm's data"
            )
        if self.tensor_parallel * self.pipeline_parallel != 1:
            raise ValueError(
                "tensor_parallel x pipeline_parallel must be 1: the training back ends are data "
                "parallel. Set both to 1"
            )


class Wandb(Section, frozen=True):
    project: str
    name: str
    mode: Literal["online", "offline", "disabled"] = "online"
    dir: str = ""


class Sizes(Section, frozen=True):
    """Questions a part: each of the four categories of pacute, of all levels, of CUTE's tasks."""

    affixation: Positive = 280
    composition: Positive = 280
    manipulation: Positive = 320
    syllabification: Positive = 160
    hierarchical: Positive = 200
    cute: Positive = 100
    langgame: Positive = 1000
    addition: Positive = 1000


class Benchmark(Section, frozen=True):
    output_dir: str
    groups: list[Literal["pacute", "hierarchical", "cute", "langgame", "addition"]]
    languages: list[Literal["fil", "en"]] = msgspec.field(default_factory=lambda: ["fil", "en"])
    shots: Annotated[int, msgspec.Meta(ge=0, le=8)] = 4
    sizes: Sizes = Sizes()
    corpus: str = ""


class Evaluate(Section, frozen=True):
    model: str
    benchmarks: list[str]
    mode: Literal["mcq", "gen", "both"]
    reference_data: str
    arm_data: str
    output_dir: str
    heldout: Literal["validation", "none"] = "validation"
    backend: Literal["hf", "vllm", "api"] = "hf"
    backend_args: dict[str, Any] | None = None  # for lm-eval's model, as they are
    tokenisations: Annotated[int, msgspec.Meta(ge=0)] = 16  # of an option, drawn; 0 for none
    include_path: str = ""  # a folder of lm-eval task files
    tasks: Positive = 1  # of an array over benchmarks


class Analyze(Section, frozen=True):
    results_dir: str
    baseline: str


SECTIONS: dict[str, type[Section]] = {
    "corpus": Corpus,
    "tokenizer": Tokenizer,
    "variant": Variant,
    "preprocess": Preprocess,
    "model": Model,
    "optimizer": Optimizer,
    "batch": Batch,
    "train": Train,
    "wandb": Wandb,
    "benchmark": Benchmark,
    "evaluate": Evaluate,
    "analyze": Analyze,
}
