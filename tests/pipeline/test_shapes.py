"""Parameters and operations of models against their makers' numbers."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.shapes import KNOWN, Shape, at, count, shape_of


def shape(architecture: str, sizes: str, **more: Any) -> Shape:
    """A shape from `vocab hidden layers heads kv_heads head_dim intermediate`."""
    keys = ("vocab_size", "hidden_size", "layers", "heads", "kv_heads", "head_dim",
            "intermediate_size")  # fmt: skip
    given = dict(zip(keys, map(int, sizes.split()), strict=True))
    found = shape_of({"model": {"architecture": architecture, **given, **more}})
    assert found
    return found


def known(base: str) -> Shape:
    """A shape by the name of its weights."""
    found = shape_of({"model": {"base": base}})
    assert found
    return found


PUBLISHED = [
    ("gemma-3-1b", 999_885_952, known("google/gemma-3-1b-pt")),
    ("gpt2", 124_439_808, known("gpt2")),
    ("minerva-3b", 2_894_236_160, known("sapienzanlp/Minerva-3B-base-v1.0")),
    ("gpt2-xl", 1_557_611_200, shape("gpt2", "50257 1600 48 25 25 64 6400", positions=1024)),
    ("llama-2-7b", 6_738_415_616, shape("llama", "32000 4096 32 32 32 128 11008", tied=False)),
    ("llama-3.2-1b", 1_235_814_400, shape("llama", "128256 2048 16 32 8 64 8192")),
    ("mistral-7b", 7_241_732_096, shape("mistral", "32000 4096 32 32 8 128 14336", tied=False)),
    ("qwen2.5-0.5b", 494_032_768, shape("qwen2", "151936 896 24 14 2 64 4864")),
    ("qwen3-0.6b", 596_049_920, shape("qwen", "151936 1024 28 16 8 128 3072")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "of"), [p[1:] for p in PUBLISHED], ids=[p[0] for p in PUBLISHED]
)
def test_parameters_are_the_published_ones(parameters: int, of: Shape) -> None:
    assert of.parameters == parameters


def test_operations_of_a_token() -> None:
    gemma = known("google/gemma-3-1b-pt")
    assert gemma.flops(2048) == 6 * 999_885_952 + 12 * 26 * 4 * 256 * 2048
    assert gemma.flops(2048, trainable=0) == gemma.flops(2048) - 2 * 999_885_952


def test_a_table_that_is_only_looked_up_costs_nothing() -> None:
    sizes = "1000 64 2 4 4 16 256"
    tied, untied = (shape("llama", sizes, tied=tied) for tied in (True, False))
    assert untied.parameters == tied.parameters + 1000 * 64
    assert untied.flops(128) == tied.flops(128)
    assert shape("gpt2", sizes, positions=512).flops(128) == shape(
        "gpt2", sizes, positions=64
    ).flops(128)


def test_what_a_study_adds_to_a_known_model() -> None:
    more = shape_of({"model": {"base": "gpt2", "special_tokens": 7}})
    assert more
    assert more.parameters == known("gpt2").parameters + 7 * 768


UNKNOWN = [
    ("nothing", {}),
    ("no-mapping", {"model": [1]}),
    ("unknown-base", {"model": {"base": "somebody/else"}}),
    ("unknown-family", {"model": {**KNOWN["gpt2"], "architecture": "t5"}}),
    ("layers-none", {"model": {**KNOWN["gpt2"], "layers": 0}}),
    ("layers-bool", {"model": {**KNOWN["gpt2"], "layers": True}}),
    ("layers-text", {"model": {**KNOWN["gpt2"], "layers": "12"}}),
    ("too-many", {"model": {**KNOWN["gpt2"], "hidden_size": 10**400}}),
    ("no-vocabulary", {"model": {k: v for k, v in KNOWN["gpt2"].items() if k != "vocab_size"}}),
]  # fmt: skip


@pytest.mark.parametrize("parameters", [u[1] for u in UNKNOWN], ids=[u[0] for u in UNKNOWN])
def test_what_is_no_shape_is_none(parameters: dict[str, Any]) -> None:
    assert shape_of(parameters) is None


def test_the_vocabulary_may_be_the_tokenizer_s() -> None:
    model = {k: v for k, v in KNOWN["gpt2"].items() if k != "vocab_size"}
    found = shape_of({"model": model, "tokenizer": {"vocab_size": 50_257}})
    assert found
    assert found.parameters == 124_439_808


def test_values_by_their_path() -> None:
    parameters = {"a": {"b": 3, "c": "x", "d": True, "e": -1}, "f": 2}
    assert at(parameters, "a.c", str) == "x"
    assert at(parameters, "a.b.c", int) is None
    assert [count(parameters, path) for path in ("a.b", "a.c", "a.d", "a.e", "f", "g")] == [
        3, None, None, None, 2, None,
    ]  # fmt: skip
