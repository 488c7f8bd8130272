import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from evaluation.config import InputError
from evaluation.models import Backend, LanguageModel, fingerprint, load_model, model_directory
from tests.evaluation.server import completions


@pytest.fixture
def copy(model_dir: Path, tmp_path: Path) -> Path:
    """A model directory that a test may break."""
    return Path(shutil.copytree(model_dir / "hf", tmp_path / "hf"))


def test_either_directory_is_accepted(model_dir: Path, tmp_path: Path) -> None:
    assert model_directory(model_dir) == model_dir / "hf"
    assert model_directory(model_dir / "hf") == model_dir / "hf"
    with pytest.raises(InputError, match="holds no model"):
        model_directory(tmp_path)


def test_a_model_is_float32_and_knows_its_sizes(model_dir: Path) -> None:
    model = load_model(model_dir / "hf")
    assert (model.vocab_size, model.context, model.eod) == (400, 256, 1)
    assert {str(p.dtype) for p in model.lm.model.parameters()} == {"torch.float32"}
    assert model.first == 1  # not config.json's <bos>: it has this project's source.json


def test_arguments_reach_lm_evals_model(model_dir: Path) -> None:
    model = load_model(model_dir / "hf", backend=Backend("hf", {"dtype": "bfloat16"}))
    assert {str(p.dtype) for p in model.lm.model.parameters()} == {"torch.bfloat16"}


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("step_00000010/weights", "holds NeMo checkpoints.*Run the export stage first"),
        ("step_00000010", "training checkpoints that are not exported.*Run the export stage"),
        ("other", "holds no model"),
    ],
    ids=["nemo", "hf", "nothing"],
)
def test_a_checkpoint_that_is_not_exported_names_the_stage(
    made: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / made).mkdir(parents=True)
    with pytest.raises(InputError, match=message):
        model_directory(tmp_path)


def test_a_server_needs_an_address(model_dir: Path) -> None:
    with pytest.raises(InputError, match=r"Give evaluate\.backend_args\.base_url"):
        load_model(model_dir / "hf", backend=Backend("api"))


def test_a_server_gives_the_same_log_likelihoods(model_dir: Path, model: LanguageModel) -> None:
    pairs = [([1, 300, 301], [302, 303]), ([1, 310], [311]), ([1], [320, 321, 322, 323])]
    with completions(model) as url:
        served = load_model(model_dir / "hf", backend=Backend("api", {"base_url": url}))
        found = served.log_likelihoods(pairs, lambda rows: None)
    assert found == pytest.approx(model.log_likelihoods(pairs, lambda rows: None), abs=1e-4)


def test_an_id_beyond_the_vocabulary_is_refused(model: LanguageModel) -> None:
    with pytest.raises(InputError, match="token id 400 is outside the model's vocabulary of 400"):
        model.log_likelihoods([([1], [400])], lambda rows: None)


def test_missing_weights_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    gone = next(name for name in weights if "down_proj" in name)
    del weights[gone]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks weights.*down_proj"):
        load_model(copy)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_broken_file_is_refused_in_one_line(name: str, copy: Path) -> None:
    (copy / name).write_bytes(b"{broken")
    with pytest.raises(InputError) as caught:
        load_model(copy, eod=1)
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)


def test_an_eod_outside_the_vocabulary_is_refused(model_dir: Path) -> None:
    with pytest.raises(InputError, match="id 400 is outside the vocabulary of 400"):
        load_model(model_dir / "hf", eod=400)


def test_a_fingerprint_changes_with_any_file(copy: Path) -> None:
    before = fingerprint(copy)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= before.keys()
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    after = fingerprint(copy)
    assert [name for name in before if before[name] != after[name]] == ["config.json"]
