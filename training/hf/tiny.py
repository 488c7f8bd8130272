"""Small causal models from a little text, for trying a study out: minutes become seconds.

A tokenizer (byte-level BPE) and a model with random weights, trained for some steps. What comes of
it is a folder in Hugging Face format like that of any model; it knows hardly more than its text.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from training.artifacts import read_manifest, write_manifest
from training.contract import BadInput, Section, file_digest, publish_directory
from training.rows import placed_rows

END, PAD = "<|end|>", "<|pad|>"
BRING = "Look at what the study names under text"
ARCHITECTURES = ("gpt2", "llama", "mistral", "qwen2")
# Made of turns; a model that knows it has a chat template.
CHAT = (
    "{% for turn in messages %}{{ '<|' + turn['role'] + '|>' + turn['content'] + '" + END + "' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class Tiny:
    """A model to make from the JSONL file `text`: with `chat`, of rows that have a question and a
    response, and `system` before them; else of rows that have a text."""

    path: str
    architecture: str
    text: str
    chat: bool
    system: str
    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    seq_length: int
    steps: int
    batch: int
    lr: float
    seed: int


def read_tiny(config: Section, key: str) -> Tiny:
    """The settings under `key`; problems stay in `config`."""
    made = Tiny(
        path=config.get(f"{key}.path", str),
        architecture=config.choice(f"{key}.architecture", ARCHITECTURES),
        text=config.get(f"{key}.text", str),
        chat=config.get(f"{key}.chat", bool, False),
        system=config.get(f"{key}.system", str, "You are a {role}."),
        vocab_size=config.positive(f"{key}.vocab_size", 512),
        hidden_size=config.positive(f"{key}.hidden_size", 64),
        layers=config.positive(f"{key}.layers", 2),
        heads=config.positive(f"{key}.heads", 4),
        seq_length=config.positive(f"{key}.seq_length", 256),
        steps=config.positive(f"{key}.steps", 100),
        batch=config.positive(f"{key}.batch", 8),
        lr=config.get(f"{key}.lr", float, 3e-3),
        seed=config.get("parameters.seed", int),
    )
    config.check(
        made.hidden_size % made.heads == 0,
        f"{key}.hidden_size {made.hidden_size} is no multiple of heads {made.heads}",
    )
    return made


def make(tiny: Tiny) -> Path:
    """Make a model's folder; nothing to do where it is there, made from the same."""
    import transformers

    target, source = Path(tiny.path), Path(tiny.text)
    if not source.is_file():
        raise BadInput(f"{source}: no such file", "Correct models.make, or bring the text")
    made_from = {**asdict(tiny), "text_sha256": file_digest(source)}
    try:
        if read_manifest(target).get("made_from") == made_from:
            return target
    except ValueError:
        pass  # it is not there, or not whole: it is made now
    transformers.utils.logging.disable_progress_bar()
    texts = conversations(tiny, source) if tiny.chat else plain(source)
    tokenizer = train_tokenizer(texts, tiny)
    model = train(build(tiny, len(tokenizer), tokenizer), texts, tokenizer, tiny)
    with publish_directory(target) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_manifest(folder, {"made_from": made_from})
    return target


def plain(source: Path) -> list[str]:
    """The texts of a corpus, each ended."""
    return [row["text"] + END for _, row in placed_rows(source, BRING, ("text",))]


def conversations(tiny: Tiny, source: Path) -> list[str]:
    """System, question and response as CHAT writes them."""
    return [
        f"<|system|>{tiny.system.format(role=row.get('role', ''))}{END}"
        f"<|user|>{row['question']}{END}<|assistant|>{row['response']}{END}"
        for _, row in placed_rows(source, BRING, ("question", "response"))
    ]


def train_tokenizer(texts: Sequence[str], tiny: Tiny) -> Any:
    """Byte-level BPE, so that any text can be written in it."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = [PAD, END] + (["<|system|>", "<|user|>", "<|assistant|>"] if tiny.chat else [])
    trainer = trainers.BpeTrainer(
        vocab_size=tiny.vocab_size, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=END, pad_token=PAD, model_max_length=tiny.seq_length
    )
    if tiny.chat:
        tokenizer.chat_template = CHAT
    return tokenizer


def build(tiny: Tiny, vocabulary: int, tokenizer: Any) -> Any:
    """The architecture with the study's shape and random weights of its seed."""
    import transformers

    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
           "bos_token_id": None, "vocab_size": vocabulary}  # fmt: skip
    if tiny.architecture == "gpt2":
        config: Any = transformers.GPT2Config(
            n_embd=tiny.hidden_size, n_layer=tiny.layers, n_head=tiny.heads,
            n_positions=tiny.seq_length, **ids,
        )  # fmt: skip
    else:
        config = transformers.AutoConfig.for_model(
            tiny.architecture, hidden_size=tiny.hidden_size, intermediate_size=2 * tiny.hidden_size,
            num_hidden_layers=tiny.layers, num_attention_heads=tiny.heads,
            num_key_value_heads=tiny.heads, max_position_embeddings=tiny.seq_length,
            tie_word_embeddings=True, **ids,
        )  # fmt: skip
    torch.manual_seed(tiny.seed)
    return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def train(model: Any, texts: Sequence[str], tokenizer: Any, tiny: Tiny) -> Any:
    """Next-token training on batches drawn from the texts, each cut at the model's length; of a
    conversation the answer alone is learned."""
    encoded = [
        tokenizer(text, add_special_tokens=False)["input_ids"][: tiny.seq_length] for text in texts
    ]
    answer = tokenizer.convert_tokens_to_ids("<|assistant|>") if tiny.chat else None
    learned = [
        [int(answer is None or answer in row[:place]) for place in range(len(row))]
        for row in encoded
    ]
    drawn = random.Random(tiny.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=tiny.lr)
    warm = max(1, tiny.steps // 10)
    model.train()
    for step in range(1, tiny.steps + 1):
        left = min(1.0, step / warm) * (1 - 0.9 * step / tiny.steps)
        optimizer.param_groups[0]["lr"] = tiny.lr * left
        chosen = drawn.choices(range(len(encoded)), k=tiny.batch)
        ids = filled([encoded[at] for at in chosen], tokenizer.pad_token_id)
        mask = filled([[1] * len(encoded[at]) for at in chosen], 0)
        labels = ids.masked_fill(filled([learned[at] for at in chosen], 0) == 0, -100)
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    print(f"{tiny.path}: {tiny.architecture}, {sum(p.numel() for p in model.parameters()):,} "
          f"parameters, loss {float(loss.detach()):.2f} after {tiny.steps} steps")  # fmt: skip
    return model.eval()


def filled(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """Rows of different length as one (rows, longest) tensor, filled up on the right."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])
