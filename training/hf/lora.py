"""LoRA on a pretrained model: T5-like from input to target, or causal from prompt to response.

    python training/hf/lora.py --config jobs/configs/train_flan-t5-small.yaml

The loop is training/hf/fitting.py, the guards are in training/hf/adapters.py: docs/fine-tuning.md.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started by path: its own folder must not shadow other modules
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch

from training.contract import Exit, load_config, run_program
from training.fit_settings import FitSettings, add_flags, override, read_fit
from training.hf import adapters, fitting
from training.hf.adapters import SEQ2SEQ, Lora, read_lora
from training.hf.device import LOWER
from training.hf.examples import Encoded, Examples, encode, read_examples
from training.hf.fresh_base import read_base, write_base
from training.hf.generate_text import Decoding, generate, read_decoding
from training.hf.task import IGNORED, Batch, Loss, Place, in_groups, pad, shuffled, token_loss


def main(argv: list[str]) -> Exit:
    """Train to the end, or as far as it goes; the exit code says which."""
    parser = argparse.ArgumentParser(description="Train a LoRA adapter (one GPU or a CPU).")
    add_flags(parser)
    args = parser.parse_args(argv)
    config = load_config(Path(args.config))
    override(config, args)
    settings = read_fit(config)
    lora = read_lora(config)
    model = read_base(config)
    examples, decoding = read_examples(config, lora.task), read_decoding(config)
    config.raise_problems()
    adapters.refuse_stale(settings.train.checkpoint_dir)
    base = model.base
    if model.random:
        base = str(settings.train.checkpoint_dir / "base")
        write_base(model, lora.task, settings.seed, Path(base))
    task = LoraTask(base, lora, examples, decoding, settings)
    return fitting.train(settings, task)


class LoraTask:
    """Prompt and response, as training/hf/task.py wants a task."""

    blame = adapters.BLAME

    def __init__(
        self,
        base: str,
        lora: Lora,
        examples: Examples,
        decoding: Decoding | None,
        settings: FitSettings,
    ) -> None:
        """Reads tokenizer and examples; no weights yet."""
        self.base, self.lora, self.data, self.decoding = base, lora, examples, decoding
        self.seed, self.eval_batch = settings.seed, settings.batch.eval
        self.model: Any = None
        self.tokenizer = adapters.load_tokenizer(base)
        if lora.tokens:
            self.tokenizer.add_tokens(list(lora.tokens), special_tokens=True)
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.train = encode(examples.train, examples, self.tokenizer, lora.task)
        most = examples.most_validation
        held_out = encode(examples.validation, examples, self.tokenizer, lora.task, most)
        self.validation = sorted(held_out, key=lambda row: row.group)  # those of a group together
        self.groups = sorted({row.group for row in held_out} - {""})
        self.examples, self.vocab_size = len(self.train), len(self.tokenizer)
        generated = ("val/rougeL", "val/bleu4") if decoding else ()
        by_group = (f"val/loss.{group}" for group in self.groups)
        self.metrics: tuple[str, ...] = ("val/loss", "val/perplexity", *generated, *by_group)

    def identity(self) -> dict[str, Any]:
        lora = {f"lora.{key}": value for key, value in asdict(self.lora).items() if key != "most"}
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in lora.items()}  # as in JSON
        return {"model.base": self.base, **plain, **self.data.identity()}

    def build(self, place: Place) -> dict[str, Any]:
        torch.manual_seed(self.seed)  # the adapter's first matrices
        held = LOWER.get(place.precision, torch.float32)
        dtype = held if self.lora.frozen == "auto" else torch.float32
        model = adapters.load_base(self.base, self.lora.task, dtype)
        facts = adapters.fit_vocabulary(model, len(self.tokenizer))
        self.vocab_size = facts["vocabulary"]
        matched = adapters.check_targets(model, self.lora.targets)
        self.model = adapters.add_adapter(model, self.lora, self.tokenizer).to(place.device)
        self.model.config.use_cache = False
        return {**facts, "matched": matched, "trainable_share": share(self.model)}

    def order(self, epoch: int) -> Sequence[int]:
        return shuffled(self.examples, self.seed, epoch)

    def collate(self, numbers: Sequence[int], epoch: int) -> Batch:
        return self._batch([self.train[number] for number in numbers])

    def _batch(self, rows: Sequence[Encoded]) -> Batch:
        padding = self.tokenizer.pad_token_id
        return {
            "input_ids": pad([row.ids for row in rows], padding),
            "attention_mask": pad([[1] * len(row.ids) for row in rows], 0),
            "labels": pad([row.labels for row in rows], IGNORED),
        }

    def count(self, batch: Batch) -> float:
        labels = batch["labels"]
        # a causal model's first label is never predicted
        return int(((labels if self.lora.task == SEQ2SEQ else labels[:, 1:]) != IGNORED).sum())

    def loss(self, batch: Batch) -> Loss:
        given = {name: batch[name] for name in ("input_ids", "attention_mask")}
        labels = batch["labels"]
        if self.lora.task == SEQ2SEQ:
            shifted = self.model.get_base_model().prepare_decoder_input_ids_from_labels(labels)
            return Loss(token_loss(self.model(**given, decoder_input_ids=shifted).logits, labels))
        return Loss(token_loss(self.model(**given).logits[:, :-1], labels[:, 1:]))

    def evaluate(self, place: Place) -> dict[str, float]:
        """The loss with the reference before the model's eyes, and the overlap of what it writes
        by itself with the reference."""
        rows = self.validation
        sums = [self._summed([r for r in rows if r.group == g], place) for g in self.groups or [""]]
        loss = sum(total for total, _ in sums) / max(sum(count for _, count in sums), 1)
        values = {"val/loss": loss, "val/perplexity": math.exp(min(loss, 700.0))}
        for group, (total, count) in zip(self.groups, sums, strict=False):
            values[f"val/loss.{group}"] = total / max(count, 1)
        if self.decoding:
            from evaluation.overlap import corpus_bleu, mean_rouge_l

            told = generate(self.model, self.tokenizer, rows, self.decoding, place, self.eval_batch)
            references = [row.reference for row in rows]
            values["val/rougeL"] = mean_rouge_l(told, references)
            values["val/bleu4"] = corpus_bleu(told, references)
        return values

    def _summed(self, rows: Sequence[Encoded], place: Place) -> tuple[float, float]:
        """The loss summed over the targets of rows, and how many these are."""
        total = count = 0.0
        for batch in in_groups(
            len(rows), self.eval_batch, lambda numbers: self._batch([rows[n] for n in numbers])
        ):
            total += float(self.loss(place.put(batch)).total)
            count += self.count(batch)
            place.pulse()
        return total, count

    def save(self, directory: Path) -> None:
        adapters.save_adapter(self.model, self.tokenizer, directory)

    def load(self, directory: Path) -> None:
        adapters.put_adapter(self.model, directory)


def share(model: torch.nn.Module) -> float:
    """The trainable share of all parameters."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return trained / sum(p.numel() for p in model.parameters())


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
