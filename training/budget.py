"""What is held equal between the arms of a study: the tokens that they learn from, or the text.

Arms that cut the same text into more tokens read less of it in as many updates. With
`train.budget: text` an arm's `max_steps` becomes that of the study times its own training tokens
over those of `train.reference_data`, the same documents cut as the study's `max_steps` counts them:
all arms then pass over the text equally often, and learn from different numbers of tokens.
"""

from __future__ import annotations

from pathlib import Path

from training.contract import BadInput, Section

BUDGETS = ("tokens", "text")


def apply(config: Section) -> None:
    """Set `parameters.train.max_steps` to what the budget comes to; nothing where it is tokens.

    Raises BadInput where the reference's token files are missing, or hold other documents. What is
    wrong with the configuration itself stays in `config`.
    """
    p = "parameters.train."
    if config.choice(p + "budget", BUDGETS, "tokens") != "text":
        return
    own = Path(config.get(p + "data_path", str))
    reference = Path(config.get(p + "reference_data", str))
    steps = config.positive(p + "max_steps")
    split = config.numbers(p + "split", 3, (98.0, 1.0, 1.0))
    chunks = "parameters.corpus.chunks"
    if config.problems:
        return
    parts = config.positive(chunks) if config.has(chunks) else None
    mine, theirs = (training_tokens(path, parts, split) for path in (own, reference))
    if mine[0] != theirs[0]:
        raise BadInput(
            f"{own} holds {mine[0]} training documents and {reference} {theirs[0]}",
            "Preprocess both from the same chunks, or set train.budget to tokens",
        )
    config.values["parameters"]["train"]["max_steps"] = max(1, round(steps * mine[1] / theirs[1]))


def training_tokens(
    data_path: Path, chunks: int | None, split: tuple[float, ...]
) -> tuple[int, int]:
    """Documents and tokens of the training share of all parts of `data_path`."""
    from training.data import open_shard, resolve_prefixes, split_bounds

    documents = tokens = 0
    for prefix in resolve_prefixes(data_path, chunks):
        shard = open_shard(prefix)
        first, last = split_bounds(shard.documents, split)[0]
        documents += last - first
        tokens += int(shard.lengths[first:last].sum(dtype="int64"))
    if not tokens:
        raise BadInput(f"{data_path} has no tokens to train on", "Preprocess it again")
    return documents, tokens
