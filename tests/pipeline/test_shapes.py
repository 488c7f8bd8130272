"""Parameters and operations of models against their makers' numbers."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.shapes import KNOWN, Shape, at, count, counts, shape_of, trained


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
    ("gpt2-xl", 1_557_611_200, shape("gpt2", "50257 1600 48 25 25 64 6400", positions=1024)),
    ("llama-2-7b", 6_738_415_616, shape("llama", "32000 4096 32 32 32 128 11008", tied=False)),
    ("llama-3.2-1b", 1_235_814_400, shape("llama", "128256 2048 16 32 8 64 8192")),
    ("mistral-7b", 7_241_732_096, shape("mistral", "32000 4096 32 32 8 128 14336", tied=False)),
    ("minerva-3b", 2_894_236_160, known("sapienzanlp/Minerva-3B-base-v1.0")),
    ("qwen2.5-3b", 3_085_938_688, known("Qwen/Qwen2.5-3B-Instruct")),
    ("qwen2.5-7b", 7_615_616_512, known("Qwen/Qwen2.5-7B")),
    ("t5-small", 60_506_624, known("t5-small")),
    ("t5-base", 222_903_552, known("google-t5/t5-base")),
    ("flan-t5-small", 76_961_152, known("google/flan-t5-small")),
    ("flan-t5-base", 247_577_856, known("google/flan-t5-base")),
    ("t5-large", 737_668_096, shape("t5", "32128 1024 24 16 16 64 4096")),
    ("t5-v1.1-xl", 2_849_757_184,
     shape("t5-v1.1", "32128 2048 24 32 32 64 5120", tied=False)),
    ("qwen2.5-0.5b", 494_032_768, shape("qwen2", "151936 896 24 14 2 64 4864")),
    ("qwen3-0.6b", 596_049_920, shape("qwen", "151936 1024 28 16 8 128 3072")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "of"), [p[1:] for p in PUBLISHED], ids=[p[0] for p in PUBLISHED]
)
def test_parameters_are_the_published_ones(parameters: int, of: Shape) -> None:
    assert of.parameters == parameters


SEVEN = ["q", "k", "v", "o", "wi_0", "wi_1", "wo"]
LORA = [
    ("flan-t5-small", "google/flan-t5-small", SEVEN, 2_555_904),
    ("flan-t5-base", "google/flan-t5-base", SEVEN, 6_782_976),
    # T5 of the first version has one matrix, wi, where FLAN-T5 has two.
    ("t5-base-seven-names", "t5-base", SEVEN, 5_013_504),
    ("t5-base-wi", "t5-base", ["q", "k", "v", "o", "wi", "wo"], 6_488_064),
    ("t5-small-seven-names", "t5-small", SEVEN, 1_671_168),
    ("t5-small-wi", "t5-small", ["q", "k", "v", "o", "wi", "wo"], 2_162_688),
    ("minerva", "sapienzanlp/Minerva-3B-base-v1.0", ["q_proj", "k_proj", "v_proj", "o_proj"],
     8_519_680),
    ("gpt2", "gpt2", ["c_attn"], 589_824),
    ("nothing-matches", "gpt2", ["q_proj"], 0),
]  # fmt: skip


@pytest.mark.parametrize(("base", "targets", "trainable"), [c[1:] for c in LORA],
                         ids=[c[0] for c in LORA])  # fmt: skip
def test_parameters_of_adapters(base: str, targets: list[str], trainable: int) -> None:
    parameters = {"model": {"base": base}, "lora": {"r": 16, "target_modules": targets}}
    of = known(base)
    assert trained(parameters, of) == trainable
    assert counts(parameters)["total"] == of.parameters + trainable


def test_modules_that_are_trained_whole() -> None:
    # FLAN-T5-small with a vocabulary of 32,101 and a tied head, whose embeddings and head are
    # copied: 46 % of it are trained.
    model = {**KNOWN["google/flan-t5-small"], "vocab_size": 32_101, "tied": True}
    lora = {"r": 16, "target_modules": SEVEN, "modules_to_save": ["embed_tokens", "lm_head"]}
    found = counts({"model": model, "lora": lora})
    assert (found["base"], found["trainable"], found["total"]) == (
        60_497_792, 51_863_040, 112_360_832,
    )  # fmt: skip
    assert counts({"model": model, "lora": {**lora, "target_modules": "all-linear"}}) == found
    assert counts({"model": {"base": "somebody/else"}}) == {}


def test_operations_with_an_encoder() -> None:
    of = known("google/flan-t5-small")
    one = of.flops(512, target=128) * 640
    encoder, decoder = 8 * 2_360_320, 8 * 3_147_264
    keys = 8 * 2 * 512 * 384
    work = 512 * (encoder + keys) + 128 * (decoder - keys + of.embedding)
    scores = 12 * 8 * 384 * (512**2 + 128**2 + 512 * 128)
    assert one == pytest.approx(6 * work + scores)
    assert of.flops(512, trainable=0, target=128) * 640 == pytest.approx(4 * work + scores)


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


def test_known_weights_have_their_own_shape() -> None:
    """What a study says of a random model, for a demo, is not that of the weights."""
    model = {"base": "google/flan-t5-small", "architecture": "t5", "tied": True, "layers": 1}
    found = shape_of({"model": model})
    assert found and found.parameters == 76_961_152
    random = shape_of({"model": {**model, "init": "random"}})
    assert random and random.parameters < 30e6


def test_a_shape_in_transformers_words() -> None:
    words = {"d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 8, "num_heads": 6,
             "vocab_size": 32_128, "feed_forward_proj": "gated-gelu"}  # fmt: skip
    model = {"base": "none", "init": "random", "architecture": "t5", "tied": False}
    found = shape_of({"model": {**model, "config": words}})
    assert found == known("google/flan-t5-small")
    relu = shape_of({"model": {**model, "config": {**words, "feed_forward_proj": "relu"}}})
    assert relu and relu.family == "t5"


def test_what_a_study_adds_to_a_known_model() -> None:
    more = shape_of({"model": {"base": "gpt2", "special_tokens": 7}})
    assert more
    assert more.parameters == known("gpt2").parameters + 7 * 768


UNKNOWN = [
    ("nothing", {}),
    ("no-mapping", {"model": [1]}),
    ("unknown-base", {"model": {"base": "somebody/else"}}),
    ("unknown-family", {"model": {**KNOWN["gpt2"], "architecture": "mamba"}}),
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
