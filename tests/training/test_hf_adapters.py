"""Guards around LoRA: targets, trainable share, the head through a resize, the load sequence."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training import small
from training.contract import BadInput
from training.hf import adapters
from training.hf.adapters import CAUSAL, SEQ2SEQ, Lora


def lora(**changes: Any) -> Lora:
    given: dict[str, Any] = {
        "task": SEQ2SEQ, "r": 2, "alpha": 4, "dropout": 0.1, "bias": "none",
        "targets": tuple(small.GATED), "modules_to_save": (), "tokens": (), "trainable_tokens": (),
        "most": 0.9,
    } | changes  # fmt: skip
    return Lora(**given)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def flan(kind: str, size: str) -> Any:
    """A T5 on the meta device: its real shapes, no weights."""
    import transformers

    sizes: dict[str, dict[str, Any]] = {
        "small": {"d_model": 512, "d_ff": 1024, "num_layers": 8, "num_heads": 6},
        "old-small": {"d_model": 512, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
        "base": {"d_model": 768, "d_ff": 2048, "num_layers": 12, "num_heads": 12},
        "old-base": {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
    }
    forward = "gated-gelu" if kind == "flan" else "relu"
    config = transformers.T5Config(vocab_size=32128, feed_forward_proj=forward, **sizes[size])
    with torch.device("meta"):
        model = transformers.T5ForConditionalGeneration(config)
        if kind == "flan":
            model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
            model.config.tie_word_embeddings = False
    return model


def count(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("kind", "size", "targets", "total", "trained"),
    [
        ("flan", "small", small.GATED, 76_961_152, 2_555_904),
        ("flan", "base", small.GATED, 247_577_856, 6_782_976),
        ("t5", "old-base", small.PLAIN, 222_903_552, 6_488_064),
        ("t5", "old-small", small.PLAIN, 60_506_624, 2_162_688),
        # what peft makes of FLAN's names on a T5 without gates, if nobody looks
        ("t5", "old-base", ["q", "k", "v", "o", "wo"], 222_903_552, 5_013_504),
        ("t5", "old-small", ["q", "k", "v", "o", "wo"], 60_506_624, 1_671_168),
    ],
)
def test_parameters_of_the_plans_models(
    kind: str, size: str, targets: list[str], total: int, trained: int
) -> None:
    model = flan(kind, size)
    assert count(model) == total
    adapted = adapters.add_adapter(model, lora(r=16, alpha=32, targets=tuple(targets)), None)
    assert sum(p.numel() for p in adapted.parameters() if p.requires_grad) == trained
    assert count(adapted) == total + trained


def tied_small() -> Any:
    """FLAN-T5-small as a bare resize leaves it: 32,101 rows, the head tied to them."""
    import transformers

    config = transformers.T5Config(
        vocab_size=32101, d_model=512, d_ff=1024, num_layers=8, num_heads=6,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    with torch.device("meta"):
        return transformers.T5ForConditionalGeneration(config)


def test_the_plans_two_shares() -> None:
    """Its 4.05 % is that of a tied head; its 46 % that of three trained copies of the table."""
    fixed = adapters.add_adapter(tied_small(), lora(r=16, alpha=32), None)
    assert count(fixed) == 63_053_696
    wanted = lora(r=16, alpha=32, modules_to_save=("embed_tokens", "lm_head"), most=0.1)
    with pytest.raises(BadInput) as caught:
        adapters.add_adapter(tied_small(), wanted, None)
    assert "51,863,040 of 112,360,832 parameters (46.2 %)" in str(caught.value)
    assert "Remove lora.modules_to_save" in str(caught.value)


def test_a_target_that_matches_nothing_is_refused_with_the_nearest(tmp_path: Path) -> None:
    model = adapters.load_base(small.t5(tmp_path, gated=False, tied=True), SEQ2SEQ)
    with pytest.raises(BadInput) as caught:
        adapters.add_adapter(model, lora(), None)
    assert "wi_0 (nearest: wi" in str(caught.value) and "wi_1 (nearest: wi" in str(caught.value)
    assert adapters.check_targets(model, small.PLAIN)["q"] == 3


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("rows", [60, 64, 90])
def test_the_head_stays_what_it_was(tmp_path: Path, tied: bool, rows: int) -> None:
    base = small.t5(tmp_path, tied=tied)
    model = adapters.load_base(base, SEQ2SEQ)
    ids = torch.randint(3, 60, (2, 9))
    before = model(input_ids=ids, labels=ids).logits
    assert adapters.head_is_tied(model) == tied
    facts = adapters.fit_vocabulary(model, rows)
    assert facts["head"] == ("tied" if tied else "separate")
    assert facts["vocabulary"] == max(rows, 64) and facts["resized"] == (rows > 64)
    after = model(input_ids=ids, labels=ids).logits
    assert torch.allclose(before, after[..., :64], atol=1e-5)
    again = adapters.load_base(base, SEQ2SEQ)
    adapters.fit_vocabulary(again, rows)
    assert torch.equal(again(input_ids=ids, labels=ids).logits, after)


def test_a_bare_resize_ties_the_head_and_breaks_the_loss(tmp_path: Path) -> None:
    """The plan's loss of 655: a separate head, a table on its own scale, a resize."""
    import transformers
    from safetensors.torch import load_file, save_file

    base = Path(small.t5(tmp_path))
    tensors = load_file(base / "model.safetensors")
    tensors["shared.weight"] *= 10
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    ids = torch.randint(3, 60, (2, 9))
    with adapters.quiet():
        bare: Any = transformers.AutoModelForSeq2SeqLM.from_pretrained(str(base))
        assert float(bare(input_ids=ids, labels=ids).loss) < 1.5 * math.log(64)
        bare.resize_token_embeddings(63)
    ours = adapters.load_base(str(base), SEQ2SEQ)
    adapters.fit_vocabulary(ours, 63)
    broken, sound = (float(m(input_ids=ids, labels=ids).loss) for m in (bare, ours))
    assert sound < 1.5 * math.log(64) < broken / 2


BASES = [
    pytest.param(lambda d: small.t5(d), SEQ2SEQ, small.GATED, id="flan"),
    pytest.param(lambda d: small.t5(d, gated=False, tied=True), SEQ2SEQ, small.PLAIN, id="t5"),
    pytest.param(
        lambda d: small.causal(d), CAUSAL, ["q_proj", "v_proj", "down_proj"], id="llama"
    ),
    pytest.param(lambda d: small.causal(d, "gpt2", tied=True), CAUSAL, ["c_attn"], id="gpt2"),
]


@pytest.mark.parametrize(("make", "task", "targets"), BASES)
@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained-token"])
@pytest.mark.parametrize("added", [["[Q]"], [f"[{i}]" for i in range(9)]], ids=["room", "resize"])
def test_an_adapter_loads_as_it_was(
    tmp_path: Path, make: Any, task: str, targets: list[str], trained: bool, added: list[str]
) -> None:
    base = make(tmp_path)
    tokenizer = adapters.load_tokenizer(base)
    tokenizer.add_tokens(added, special_tokens=True)
    model = adapters.load_base(base, task)
    facts = adapters.fit_vocabulary(model, len(tokenizer))
    assert facts["resized"] == (len(added) > 1)
    tokens = tuple(added[-1:]) if trained else ()
    wanted = lora(task=task, targets=tuple(targets), trainable_tokens=tokens)
    adapted = adapters.add_adapter(model, wanted, tokenizer)
    ids = torch.tensor([[len(tokenizer) - 1, 5, 6, 7, 1], [8, 9, 10, 11, 1]])
    named = {n: p for n, p in adapted.named_parameters() if p.requires_grad}
    assert all(("lora_" in n) or ("trainable_tokens" in n) for n in named)
    adapted(input_ids=ids, labels=ids).loss.backward()
    assert any("trainable_tokens" in n for n in named) == trained
    for name, parameter in named.items():
        if "lora_B" in name or "trainable_tokens" in name:  # A's gradient starts at 0
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in named.values():
            parameter += torch.randn(parameter.shape, generator=generator) * 0.1
    adapted.eval()
    wanted_logits = adapted(input_ids=ids, labels=ids).logits
    out = tmp_path / "adapter"
    out.mkdir()
    adapters.save_adapter(adapted, tokenizer, out)
    assert (out / adapters.WEIGHTS).is_file() and not list(out.glob("*.bin"))
    loaded, its = adapters.load_adapter(out)
    assert len(its) == len(tokenizer)
    assert torch.equal(loaded(input_ids=ids, labels=ids).logits, wanted_logits)
    assert adapters.head_is_tied(model) == (facts["head"] == "tied") or trained


def test_a_separate_heads_row_does_not_follow_the_table(tmp_path: Path) -> None:
    """peft gives the head the table's trained row when the configuration calls them tied."""
    base = small.t5(tmp_path)
    tokenizer = adapters.load_tokenizer(base)
    tokenizer.add_tokens(["[Q]"], special_tokens=True)
    model = adapters.load_base(base, SEQ2SEQ)
    head = model.lm_head.weight.detach().clone()
    wanted = lora(tokens=("[Q]",), trainable_tokens=("[Q]",))
    adapters.add_adapter(model, wanted, tokenizer)
    assert torch.equal(model.get_output_embeddings().weight, head)


def test_too_large_a_share_and_unknown_tokens_are_refused(tmp_path: Path) -> None:
    base = small.t5(tmp_path)
    tokenizer = adapters.load_tokenizer(base)
    with pytest.raises(BadInput, match="would be trained, more than 10 %"):
        adapters.add_adapter(adapters.load_base(base, SEQ2SEQ), lora(most=0.1), tokenizer)
    with pytest.raises(BadInput, match=r"names \[Q\], which the tokenizer does not have"):
        adapters.token_ids(tokenizer, ["[Q]"])


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    for call in (
        lambda: adapters.load_base(str(tmp_path), SEQ2SEQ),
        lambda: adapters.load_tokenizer(tmp_path / "none"),
        lambda: adapters.load_adapter(tmp_path),
    ):
        with pytest.raises(BadInput):
            call()


@pytest.mark.parametrize("name", ["optimizer.pt", "pytorch_model.bin", "training_args.pth"])
def test_stale_checkpoints_are_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "checkpoint-500").mkdir()
    (tmp_path / "checkpoint-500" / name).write_bytes(b"")
    with pytest.raises(BadInput) as caught:
        adapters.refuse_stale(tmp_path)
    assert f"checkpoint-500 ({name})" in str(caught.value)
    assert ".venv/bin/pip install --upgrade torch" in str(caught.value)


@pytest.mark.parametrize(("written", "stale"), [("2.5.1+cu121", True), ("2.6.0", False)])
def test_checkpoints_of_an_older_torch_are_refused(
    tmp_path: Path, written: str, stale: bool
) -> None:
    (tmp_path / "step_00000500").mkdir()
    (tmp_path / "step_00000500" / "versions.json").write_text(json.dumps({"torch": written}))
    adapters.refuse_stale(tmp_path / "none")
    if stale:
        with pytest.raises(BadInput, match=r"written by torch 2\.5\.1"):
            adapters.refuse_stale(tmp_path)
    else:
        adapters.refuse_stale(tmp_path)
