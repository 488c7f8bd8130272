"""The stage table: what each kind of stage runs, in which environment, and what it reads."""

from __future__ import annotations

import msgspec

CONFIG = ("--config", "{config}")


class Kind(msgspec.Struct, frozen=True):
    """A row of the table. In `argv`, `{config}` is the job's configuration file, `{task}` the
    task's number, and `${...}` a value of the study."""

    argv: tuple[str, ...]
    sections: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()  # sections that it reads where the study has them
    env: str = "light"
    launcher: str = ""  # "torchrun": one process a GPU
    resumes: bool = False  # goes on from its last checkpoint, so that it may be a chain


KINDS: dict[str, Kind] = {
    "download": Kind(("python", "-m", "corpus.download", *CONFIG), ("corpus",)),
    "split": Kind(("python", "-m", "corpus.split", *CONFIG), ("corpus",)),
    "tokenizer": Kind(("python", "-m", "corpus.tokenizer", *CONFIG), ("corpus", "tokenizer")),
    "preprocess": Kind(
        ("python", "-m", "corpus.preprocess", *CONFIG, "--task", "{task}",
         "--workers", "${preprocess.workers}"),
        ("corpus", "tokenizer", "preprocess", "variant"),
    ),
    "merge": Kind(("python", "-m", "corpus.merge", *CONFIG), ("corpus", "preprocess", "variant")),
    "train": Kind(
        ("python", "training/${train.backend}/run_cpt.py", *CONFIG,
         "--data-path", "${train.data_path}", "--checkpoint-dir", "${train.checkpoint_dir}",
         "--wandb-name", "${wandb.name}", "--max-steps", "${train.max_steps}"),
        ("corpus", "tokenizer", "model", "optimizer", "batch", "train", "wandb"),
        ("curriculum_stages",),
        env="nemo",
        launcher="torchrun",
        resumes=True,
    ),
    "export": Kind(
        ("python", "-m", "training.export", *CONFIG,
         "--checkpoint-dir", "${train.checkpoint_dir}"),
        ("model", "train", "tokenizer"),
        env="nemo",
    ),
    "benchmarks": Kind(
        ("python", "-m", "evaluation.benchmarks", *CONFIG), ("corpus", "benchmark")
    ),
    "evaluate": Kind(
        ("python", "-m", "evaluation.evaluate", *CONFIG, "--task", "{task}"),
        ("corpus", "tokenizer", "model", "train", "benchmark", "evaluate"),
        env="hf",
    ),
    # hf: its figures need what a `light` environment does not have
    "analyze": Kind(("python", "-m", "evaluation.analyze", *CONFIG), ("analyze",), env="hf"),
    # No program of its own: the checks under its `gate` are all it does.
    "gate": Kind(("python", "-m", "ledger.gate", *CONFIG, "--task", "{task}")),
    "command": Kind((), resumes=True),  # where its study says so, with `chain`
}  # fmt: skip
