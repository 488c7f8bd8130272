"""Train an infilling language model (ILM): fill in the blanks of a text, and model what is left.

    python training/hf/ilm.py --config jobs/efcamdat-ilm/configs/train_C1.yaml

Donahue, Lee and Liang (2020). Examples are those of corpus/infilling.py. The loss of an update is
the mean over the tokens of answers and their ends, plus the mean over those of the context, each of
all examples of the update, so that `batch.accumulation` changes nothing but memory. Blanks, the
separator and padding are never targets; what has no targets adds nothing.

An evaluation is over the same examples each time, `validate.examples` of the held-out ones or as
many as there are. It tells means over tokens: `infill` (answers and their ends),
`infill_textonly` (answers) and `context`. `val/loss` and `val/perplexity` are those of
`validate.target`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started by path: its own folder must not shadow other modules
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import torch

from training.config import shape_keys
from training.contract import (
    BadInput,
    Exit,
    Section,
    file_digest,
    find_config,
    load_config,
    run_program,
)
from training.fit_settings import FitSettings, add_flags, override, read_fit
from training.hf.checkpoint import MODEL, gather_weights, load_weights, write_model
from training.hf.fitting import train
from training.hf.model import fresh, pretrained
from training.hf.task import IGNORED, Batch, Loss, Place
from training.infilling import ANSWER, CONTEXT, END, Examples, open_examples, read_index
from training.settings import Model

TARGETS = ("infill", "infill_textonly", "context")
TERMS = ("infill", "context")
SPECIAL = "infilling_tokens.json"  # beside a model: its seven tokens and their ids


@dataclass(frozen=True)
class IlmSettings:
    """What the study says beside the loop's settings."""

    seed: int
    directory: Path  # of the level's examples
    model: Model
    init_from: Path | None  # another run's model, in place of `model.base`
    terms: tuple[str, ...]
    target: str
    examples: int  # of an evaluation, at most
    size: int  # examples that go through the model at a time in an evaluation
    effective: int  # examples of an update


def main(argv: list[str]) -> Exit:
    """Train to the end, or as far as it goes; the exit code says which."""
    parser = argparse.ArgumentParser(description="Train an infilling language model.")
    add_flags(parser)
    args = parser.parse_args(argv)
    config = load_config(find_config(args.config, args.checkpoint_dir))
    override(config, args)
    settings = read_fit(config)
    own = read_own(config, settings)
    config.raise_problems()
    task = Infilling(own)
    guess = len(own.terms) * math.log(task.vocab_size)  # of one loss a term
    options = replace(
        settings.train,
        max_loss=settings.train.max_loss or 3 * guess,
        max_first_loss=settings.train.max_first_loss or 1.5 * guess,
    )
    return train(replace(settings, train=options), task)


def read_own(config: Section, settings: FitSettings) -> IlmSettings:
    """The sections that only this trainer reads; problems stay in `config`."""
    p = "parameters."
    terms: Any = config.mapping(p + "train").get("terms", list(TERMS))
    named = isinstance(terms, list) and bool(terms) and all(term in TERMS for term in terms)
    config.check(named, f"{p}train.terms is {terms!r}, not a list of {', '.join(TERMS)}")
    init_from = config.get(p + "model.init_from", str, "none")
    base = Path(config.get(p + "examples.output_dir", str))
    return IlmSettings(
        seed=settings.seed,
        directory=base / config.get(p + "level.name", str),
        model=read_model(config, given=init_from != "none"),
        init_from=None if init_from == "none" else Path(init_from),
        terms=tuple(dict.fromkeys(terms)) if named else TERMS,
        target=config.choice(p + "validate.target", TARGETS),
        examples=config.positive(p + "validate.examples"),
        size=settings.batch.eval,
        effective=settings.batch.effective,
    )


def read_model(config: Section, given: bool) -> Model:
    """The section `model`; its vocabulary comes from the examples. `given`: weights are another
    run's."""
    p = "parameters.model."
    init = config.choice(p + "init", ("weights", "random"), "weights")
    architecture = config.choice(p + "architecture", ("gpt2",), "gpt2")
    shape = None
    if init == "random" and not given:
        shape = {key: config.positive(f"{p}config.{key}") for key in shape_keys(architecture)}
    base = config.get(p + "base", str, "none")
    config.check(
        init == "random" or given or base != "none", f"{p}init is weights but {p}base names none"
    )
    length = config.positive("parameters.batch.seq_length")
    return Model(base, architecture, init, length, vocab_size=0, shape=shape)


class Infilling:
    """The task of training/hf/fitting.py. `vocab_size` counts the seven special tokens."""

    metrics = (
        "val/loss", "val/perplexity",
        *(f"val/{name}_{what}" for name in TARGETS for what in ("loss", "perplexity")),
    )  # fmt: skip
    blame = "Look at model.base, and at the tokenizer that the examples were made with"

    def __init__(self, settings: IlmSettings) -> None:
        self.settings = settings
        self.index = read_index(settings.directory)
        length = self.index["seq_length"]
        if length > settings.model.seq_length:
            raise BadInput(
                f"{settings.directory} has examples of {length} tokens, and batch.seq_length is "
                f"{settings.model.seq_length}",
                "Prepare them again",
            )
        self.data = open_examples(settings.directory, "train", self.index)
        self.held_out = open_examples(settings.directory, "valid", self.index)
        self.chosen = choose(len(self.held_out), settings.examples, settings.seed)
        if not len(self.chosen) or not self.held_out.targets[self.chosen].sum(0).all():
            raise BadInput(
                f"the {len(self.chosen)} evaluation examples of {settings.directory} have no "
                "answers, or no context",
                "Raise validate.examples, or give the level more texts",
            )
        self.model: Any = None
        self.examples = len(self.data)
        self.vocab_size = int(self.index["vocab_size_with_special"])
        self.places: tuple[int, np.ndarray[Any, Any], np.ndarray[Any, Any]] | None = None

    def identity(self) -> dict[str, Any]:
        """What a resumed run must share."""
        own = self.settings
        rows: dict[str, Any] = {
            "examples": self.index["input_digest"],
            "train.terms": ", ".join(own.terms),
            "validate.target": own.target,
            "validate.examples": own.examples,
            "model.base": own.model.base,
            "model.init": own.model.init,
            "model.init_from": file_digest(weights_of(own.init_from)) if own.init_from else "none",
        }
        return rows | {f"model.config.{k}": v for k, v in (own.model.shape or {}).items()}

    def build(self, place: Place) -> dict[str, Any]:
        """Fresh from the seed, from pretrained weights with seven new rows, or from another run."""
        own, size = self.settings, int(self.index["vocab_size"])
        if own.init_from:
            weights_of(own.init_from)
            source = replace(own.model, base=str(own.init_from), vocab_size=self.vocab_size)
            self.model = pretrained(source)
            refuse_other_tokens(own.init_from, own.directory, self.index["special"])
        elif own.model.init == "random":
            self.model = fresh(replace(own.model, vocab_size=self.vocab_size), None, own.seed)
        else:
            self.model = pretrained(replace(own.model, vocab_size=size))
            add_rows(self.model, self.vocab_size)
        longest = self.model.config.n_positions
        if own.model.seq_length > longest:
            raise BadInput(
                f"batch.seq_length is {own.model.seq_length}, and the model reads {longest} tokens",
                "Lower it and prepare the examples again",
            )
        self.model.config.use_cache = False
        self.model.to(place.device)
        return {
            "level": own.directory.name,
            "initialised_from": str(own.init_from or own.model.base),
            "terms": list(own.terms),
            "evaluation_examples": len(self.chosen),
            "train_split": self.index["splits"]["train"],
        }

    def order(self, epoch: int) -> Sequence[int]:
        """Every example once, in an order of the seed and the epoch."""
        order = permutation(self.examples, self.settings.seed, epoch)
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        self.places = (epoch, order, places)
        found: Any = order
        return found  # type: ignore[no-any-return]

    def collate(self, numbers: Sequence[int], epoch: int) -> Batch:
        """A padded batch whose targets weigh 1 / those of their kind in the whole update."""
        if self.places is None or self.places[0] != epoch:
            self.order(epoch)
        assert self.places is not None
        _, order, places = self.places
        size = self.settings.effective
        first = int(places[numbers[0]]) // size * size
        update = order[first : first + size]
        answers, context = self.data.targets[update].sum(0).tolist()
        batch = pad_rows(self.data, numbers)
        weigh(batch, "infill" in self.settings.terms and answers,
              "context" in self.settings.terms and context)
        batch["share"] = torch.tensor(len(numbers) / len(update))
        return batch

    def count(self, batch: Batch) -> float:
        """The share of the update: its weights add up to one a term already."""
        return float(batch["share"])

    def loss(self, batch: Batch) -> Loss:
        """The share of the update's loss, and the sums of both terms for the rows."""
        losses = token_losses(self.model, batch)
        kinds = batch["kinds"][:, 1:]
        answer, context = is_answer(kinds), kinds == CONTEXT
        parts = {
            "infill_loss": (float(losses[answer].detach().sum()), float(answer.sum())),
            "context_loss": (float(losses[context].detach().sum()), float(context.sum())),
        }
        return Loss((losses * batch["weights"]).sum(), parts)

    def evaluate(self, place: Place) -> dict[str, float]:
        """Means over the tokens of all chosen examples, and what they make of perplexity."""
        sums = {name: [0.0, 0] for name in TARGETS}
        for first in range(0, len(self.chosen), self.settings.size):
            numbers = self.chosen[first : first + self.settings.size].tolist()
            batch = place.put(pad_rows(self.held_out, numbers))
            losses, kinds = token_losses(self.model, batch), batch["kinds"][:, 1:]
            for name, among in (
                ("infill", is_answer(kinds)),
                ("infill_textonly", kinds == ANSWER),
                ("context", kinds == CONTEXT),
            ):
                sums[name][0] += float(losses[among].double().sum())
                sums[name][1] += int(among.sum())
            place.pulse()
        values = {}
        for name, (total, count) in sums.items():
            values[f"val/{name}_loss"] = total / max(count, 1)
            values[f"val/{name}_perplexity"] = math.exp(min(total / max(count, 1), 700.0))
        target = self.settings.target
        return {
            "val/loss": values[f"val/{target}_loss"],
            "val/perplexity": values[f"val/{target}_perplexity"],
            **values,
        }

    def save(self, directory: Path) -> None:
        """The model with its tokenizer and the ids of its special tokens."""
        write_model(
            directory, self.model, gather_weights(self.model, True), self.settings.directory
        )
        text = json.dumps(self.index["special"], indent=1) + "\n"
        (directory / SPECIAL).write_text(text, encoding="utf-8")

    def load(self, directory: Path) -> None:
        """Weights of a checkpoint, copied: the file may be replaced while they are in use."""
        load_weights(directory, self.model)


def permutation(size: int, seed: int, epoch: int) -> np.ndarray[Any, Any]:
    """The numbers below `size` in an order of the seed and the epoch; 8 bytes each."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    order: np.ndarray[Any, Any] = torch.randperm(size, generator=generator).numpy()
    return order


def choose(size: int, wanted: int, seed: int) -> np.ndarray[Any, Any]:
    """At most `wanted` of the numbers below `size`, the same ones for each evaluation, in order."""
    return np.sort(permutation(size, seed, 0)[:wanted])


def pad_rows(data: Examples, numbers: Sequence[int]) -> dict[str, torch.Tensor]:
    """Examples as `ids` and `kinds`, (examples, longest), filled up with 0 on the right.

    No attention mask is needed: no token sees what is behind it.
    """
    rows = [data.row(int(number)) for number in numbers]
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    kinds = torch.zeros(len(rows), longest, dtype=torch.uint8)
    for at, (row, what) in enumerate(rows):
        ids[at, : len(row)] = torch.from_numpy(row)
        kinds[at, : len(row)] = torch.from_numpy(np.array(what))
    return {"ids": ids, "kinds": kinds}


def is_answer(kinds: torch.Tensor) -> torch.Tensor:
    """Where a token is of an answer or its end."""
    return (kinds == ANSWER) | (kinds == END)


def weigh(batch: dict[str, torch.Tensor], answers: int, context: int) -> None:
    """Add `weights`, (examples, longest - 1): of each predicted token 1 over the number of its kind
    in the update, 0 of what is no target. A number of 0 leaves that kind out."""
    kinds = batch["kinds"][:, 1:]
    weights = torch.zeros(kinds.shape)
    if answers:
        weights[is_answer(kinds)] = 1 / answers
    if context:
        weights[kinds == CONTEXT] = 1 / context
    batch["weights"] = weights


def token_losses(model: Any, batch: Batch) -> torch.Tensor:
    """Cross entropy in nats of each token but the first from those before it, shape (examples,
    longest - 1); 0 where the token is no target."""
    kinds = batch["kinds"][:, 1:]
    labels = torch.where(is_answer(kinds) | (kinds == CONTEXT), batch["ids"][:, 1:], IGNORED)
    logits = model(input_ids=batch["ids"]).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, -2).float(), labels.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return losses.view(labels.shape)


def add_rows(model: Any, size: int) -> None:
    """Lengthen the embedding, to which the head is tied, by the special tokens' rows.

    Each is the mean of the others: a random one would be far more likely than any word, since
    GPT-2's logits are far below 0 (Hewitt 2021, "Initializing New Word Embeddings for Pretrained
    Language Models").
    """
    old = model.get_input_embeddings().weight.detach().clone()
    model.resize_token_embeddings(size, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[len(old) :] = old.mean(0)


def weights_of(directory: Path) -> Path:
    """The weights of another run's model; BadInput when they are not there."""
    path = directory / MODEL
    if not path.is_file():
        raise BadInput(
            f"{path} is missing, and model.init_from names its folder",
            "Train that model first, or correct model.init_from",
        )
    return path


def refuse_other_tokens(model: Path, examples: Path, special: dict[str, int]) -> None:
    """BadInput unless a model was trained for infilling with the tokens of these examples."""
    try:
        known = json.loads((model / SPECIAL).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{model} has no {SPECIAL}, so it is no infilling model",
            "Name a model of this trainer in model.init_from",
        ) from error
    if known != special:
        raise BadInput(
            f"{model} has other special tokens than the examples",
            "Prepare the examples with that model's tokenizer",
        )
    if _tables(model) != _tables(examples):
        raise BadInput(
            f"{model} was trained with another tokenizer than the examples in {examples}",
            "Name that model's own in tokenizer.source, and prepare the examples again",
        )


def _tables(directory: Path) -> dict[str, Any]:
    """What decides how a tokenizer cuts text; a decoder, say, may differ."""
    path = directory / "tokenizer.json"
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return {key: table[key] for key in ("model", "normalizer", "pre_tokenizer")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{path} is no tokenizer: {type(error).__name__}",
            "Each model and each folder of examples has the tokenizer that it was made with",
        ) from error


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
