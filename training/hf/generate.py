"""Answer questions with a causal model, a shard of them a task: setup -> main -> answer.

    python training/hf/generate.py --config jobs/marco-lora/configs/generate.yaml --task 3

Each answer is drawn from the study's seed and its question's id, so neither the number of shards
nor the batch decides it. A run that was killed goes on behind its last whole row.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started by path: its own folder must not shadow other modules
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch

from training.contract import (
    BadInput,
    Exit,
    ProgramError,
    Progress,
    find_config,
    load_config,
    run_program,
)
from training.hf.device import pick_device
from training.hf.guards import Stop, catch_signals
from training.hf.sampling import Draw, uniforms
from training.responses import (
    CEFR,
    Generation,
    Row,
    Shard,
    digest,
    read_generation,
    read_questions,
    shard_of,
)

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def main(argv: list[str]) -> Exit:
    """Answer one shard; the exit code says how far it came."""
    parser = argparse.ArgumentParser(description="Answer questions with a causal model.")
    parser.add_argument("--config", required=True, help="the job's resolved configuration")
    parser.add_argument("--task", type=int, default=1, help="which shard, from 1")
    parser.add_argument("--section", default="generate", help="the parameters' section to follow")
    args = parser.parse_args(argv)
    settings = read_generation(load_config(find_config(args.config, None)), args.section)
    rows = shard_of(read_questions(settings.questions), args.task, settings.shards)
    made_from = digest(settings.facts(), rows, weights(settings.adapter))
    shard = Shard(settings.output_dir, args.task, made_from)
    if shard.finished():
        print(f"{shard.path} is complete; nothing to do")
        return Exit.OK
    with catch_signals() as stop, shard.opened():
        return answer(settings, rows, shard, stop)


def weights(adapter: str) -> list[Any]:
    """What tells one adapter from another: names, sizes and times of its files."""
    folder = Path(adapter)
    if not adapter:
        return []
    files = sorted(path for path in folder.glob("*") if path.is_file())
    if not files:
        raise BadInput(f"{folder} holds no adapter", "Run the training first")
    return [[path.name, path.stat().st_size, path.stat().st_mtime] for path in files]


def answer(settings: Generation, rows: Sequence[Row], shard: Shard, stop: Stop) -> Exit:
    """All rows of a shard that are not there yet, a batch at a time."""
    progress = Progress(len(rows), "items")
    progress.report(len(shard.done), "loading the model")
    if shard.done:
        print(f"{len(shard.done)} of {len(rows)} rows are there already", flush=True)
    start, tokens, before = time.perf_counter(), 0, len(shard.done)
    speaker = load(settings)
    for level, batch in batches(rows, speaker, settings):
        if all(row["id"] in shard.done for row, _ in batch):
            continue
        if stop.signal:
            print(f"stopped by {stop.signal} after {len(shard.done)} rows", file=sys.stderr)
            return Exit.PREEMPTED
        made = respond(speaker, level, batch, settings)
        shard.add(made)
        tokens += sum(row["params"]["tokens"] for row in made)
        each = (time.perf_counter() - start) / (len(shard.done) - before)
        left = each * (len(rows) - len(shard.done))
        rate = tokens / (time.perf_counter() - start)
        progress.report(len(shard.done), f"answering at {level}", rate, remaining=left)
    shard.publish({"model": settings.model, "adapter": settings.adapter,
                   "prompt": "chat" if speaker.chat else "plain"})  # fmt: skip
    print(f"{shard.path}: {len(rows)} responses of {settings.model}")
    return Exit.OK


@dataclass
class Speaker:
    """A model with its tokenizer; `chat` says whether prompts take its chat template."""

    model: Any
    tokenizer: Any
    chat: bool
    device: torch.device


def load(settings: Generation) -> Speaker:
    """Model and tokenizer, by path or name on the hub; BadInput where they cannot be had."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    device = pick_device()
    dtype = DTYPES[pick_dtype(settings.precision, device)]
    try:
        tokenizer = AutoTokenizer.from_pretrained(settings.model, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(settings.model, dtype=dtype)
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise BadInput(
            f"the model {settings.model} cannot be loaded: {said}",
            "Give a folder in Hugging Face format, or fetch it where there is a network",
        ) from error
    if settings.adapter:
        model = with_adapter(model, settings.adapter)
    model = model.to(device).eval()
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    ends = model.generation_config.eos_token_id
    # A model's own defaults (a penalty, a temperature) would bend what is drawn here.
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id if ends is None else ends,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
    )
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if settings.prompt == "chat" and not has_template:
        raise BadInput(
            f"{settings.model} has no chat template", "Set prompt to plain, or use a chat model"
        )
    chat = has_template and settings.prompt != "plain"
    return Speaker(model, tokenizer, chat, device)


def with_adapter(model: Any, adapter: str) -> Any:
    """The model with a LoRA adapter merged into it."""
    try:
        from peft import PeftModel
    except ImportError as error:
        raise BadInput("peft is not installed", "pip install peft") from error
    return PeftModel.from_pretrained(model, adapter).merge_and_unload()


def pick_dtype(wanted: str, device: torch.device) -> str:
    """`auto`: bf16 from compute capability 8 on, fp16 on older GPUs, fp32 on a CPU."""
    if wanted != "auto":
        return wanted
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"


def prompt_of(speaker: Speaker, row: Row, settings: Generation) -> str:
    """The text that the model goes on from."""
    role = settings.levels[row["level"]].role
    system = settings.system.format(role=role)
    if not speaker.chat:
        return settings.plain.format(system=system, question=row["question"], role=role)
    turns = [
        {"role": "system", "content": system}, {"role": "user", "content": row["question"]},
    ]  # fmt: skip
    return str(
        speaker.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    )


def batches(
    rows: Sequence[Row], speaker: Speaker, settings: Generation
) -> Iterator[tuple[str, list[tuple[Row, str]]]]:
    """(level, rows with their prompts) of at most batch_size each, shortest prompts first.

    What is in a batch follows from the shard alone, not from the rows that are there already.
    """
    for level in CEFR:
        own = [(row, prompt_of(speaker, row, settings)) for row in rows if row["level"] == level]
        own.sort(key=lambda pair: (len(pair[1]), pair[0]["number"]))
        for first in range(0, len(own), settings.batch_size):
            yield level, own[first : first + settings.batch_size]


@torch.inference_mode()
def respond(
    speaker: Speaker, level: str, batch: Sequence[tuple[Row, str]], settings: Generation
) -> list[Row]:
    """The rows of one batch with prompt, sampling and response."""
    from transformers import LogitsProcessorList

    how = settings.levels[level]
    names = [row["id"] for row, _ in batch]
    encoded = speaker.tokenizer(
        [prompt for _, prompt in batch], return_tensors="pt", padding=True,
        add_special_tokens=not speaker.chat,
    )  # fmt: skip
    ids = encoded["input_ids"].to(speaker.device)
    draw = Draw(uniforms(settings.seed, names, how.max_new_tokens), ids.shape[1],
                how.temperature, how.top_p)  # fmt: skip
    try:
        made = speaker.model.generate(
            input_ids=ids,
            attention_mask=encoded["attention_mask"].to(speaker.device),
            logits_processor=LogitsProcessorList([draw]),
            max_new_tokens=how.max_new_tokens,
        )
    except torch.OutOfMemoryError as error:
        raise ProgramError(
            Exit.OUT_OF_MEMORY,
            f"out of memory with {len(batch)} answers at a time",
            "Halve batch_size of the generation",
        ) from error
    ends = speaker.model.generation_config.eos_token_id
    rows = []
    for (row, prompt), answered in zip(batch, made[:, ids.shape[1] :].tolist(), strict=True):
        kept = until(answered, {ends} if isinstance(ends, int) else set(ends or ()))
        text, stopped = cut(speaker.tokenizer.decode(kept, skip_special_tokens=True), settings.stop)
        params = {"max_new_tokens": how.max_new_tokens, "temperature": how.temperature,
                  "top_p": how.top_p, "seed": settings.seed, "tokens": len(kept),
                  "finished": stopped or len(kept) < len(answered)}  # fmt: skip
        asked = {key: row[key] for key in ("id", "number", "level", "source", "question")}
        rows.append({**asked, "prompt": prompt, "params": params, "response": text,
                     "model": settings.name})  # fmt: skip
    return rows


def until(tokens: Sequence[int], ends: set[int]) -> list[int]:
    """The tokens before the first that ends an answer."""
    at = next((n for n, token in enumerate(tokens) if token in ends), len(tokens))
    return list(tokens[:at])


def cut(text: str, stop: str) -> tuple[str, bool]:
    """The text before `stop`, without white space around it, and whether `stop` was there."""
    before, found, _ = text.partition(stop) if stop else (text, "", "")
    return before.strip(), bool(found)


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
