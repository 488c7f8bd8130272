"""What `plan` predicts of trainings: of the study's own configuration, and of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from pipeline import forecast, plan, site, study
from pipeline.cli import cli
from pipeline.forecast import Forecast
from pipeline.memory import GIB
from pipeline.plan import Plan
from pipeline.site import Gpu, Site

ROOT = Path(__file__).parents[2]
PBS = site.load(ROOT, "example-pbs")


def made(name: str, *profiles: str, at: Site = PBS, sets: list[str] | None = None) -> Plan:
    """A plan of one of the studies."""
    loaded = study.load(ROOT / f"studies/{name}.yaml", list(profiles), sets or [])
    return plan.make(loaded, at)


def only(of: Plan, job: str) -> Forecast:
    """The forecast of one job."""
    return next(one for one in forecast.forecasts(of) if one.job == job)


def on(name: str, size: str) -> Site:
    """The example site with another GPU."""
    return msgspec.structs.replace(PBS, gpu=Gpu(name, size))


def test_the_main_study() -> None:
    trainings = forecast.forecasts(made("filipino-cpt"))
    assert [one.job for one in trainings] == ["train_vanilla", "train_stochastok", "train_patok"]
    one = trainings[0]
    assert (one.parameters, one.gpus, one.sequences, one.length) == (999_885_952, 8, 2, 2048)
    assert (one.accumulation, one.tokens) == (16, 5_242_880_000)
    assert one.memory["total"].low / GIB < 28 and one.memory["total"].high / GIB > 20
    assert (one.of, one.fits, one.warning) == (40 * GIB, "yes", "")
    assert one.checkpoints == 60 * 999_885_952
    # 6.65e9 operations a token on 8 x 312e12 a second, at 50 and 30 % of that.
    least = 6_653_627_136 * 5_242_880_000 / (8 * 312e12) / 3600
    assert one.hours == pytest.approx((least / 0.5, least / 0.3))
    assert one.claim_needs == pytest.approx((least / 48, least / 24))


FITS = [
    ("a100-80", "80GiB", [], "yes", ""),
    ("l4", "24GiB", [], "tight", "may need 19.6-30.2 GiB of 24 GiB: batch.micro=1 (13.4-19.1 GiB)"),
    ("small", "16GiB", [], "no", "needs 19.6-30.2 GiB of 16 GiB: batch.micro=1 (13.4-19.1 GiB)"),
    ("tiny", "8GiB", [], "no",
     "needs 19.6-30.2 GiB of 8 GiB. Even batch.micro=1 leaves 13.4-19.1 GiB. Use a larger GPU, or "
     "more"),
    ("micro-1", "12GiB", ["batch.micro=1"], "no",
     "needs 13.4-19.1 GiB of 12 GiB. Use a larger GPU, or more"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("size", "sets", "fits", "warning"), [f[1:] for f in FITS], ids=[f[0] for f in FITS]
)
def test_whether_it_fits_and_what_helps(
    size: str, sets: list[str], fits: str, warning: str
) -> None:
    one = only(made("filipino-cpt", at=on("a100", size), sets=sets), "train_vanilla")
    assert (one.fits, one.warning) == (fits, warning)


def trained(changes: dict[str, Any], size: str = "24GiB") -> Forecast:
    """The main study's training with torch instead, and with other keys of `train`."""
    job = made("filipino-cpt").job("train_vanilla")
    parameters = job.config["parameters"]
    parameters = {**parameters, "train": {**parameters["train"], "backend": "hf", **changes}}
    other = msgspec.structs.replace(job, config={**job.config, "parameters": parameters})
    found = forecast.forecast(other, Gpu("a100", size))
    assert found
    return found


def test_ways_out_with_torch() -> None:
    assert trained({"loss": "plain"}, "40GiB").fits == "yes"
    one = trained({"loss": "plain"})
    assert one.fits == "no"
    ways = ["batch.micro=1", "train.loss=chunked", "train.activation_checkpointing=true"]
    assert list(one.remedies) == ways
    assert all(size.high <= 24 * GIB for size in one.remedies.values())
    waiting = trained({"gradient_sync": "last"})
    assert waiting.fits == "tight" and "train.gradient_sync=each" in waiting.remedies
    assert trained({"gradient_sync": "each"}).fits == trained({}).fits == "yes"
    spread = trained({"loss": "plain", "parallel": "ddp"}, "40GiB")
    assert "train.parallel=fsdp2" in spread.remedies
    together = list(trained({"loss": "plain", "parallel": "ddp"}, "12GiB").remedies)
    assert together == [
        "batch.micro=1 with train.loss=chunked with train.parallel=fsdp2 with "
        "train.activation_checkpointing=true"
    ]


def test_recomputation_takes_time_and_saves_memory() -> None:
    kept, again = trained({}), trained({"activation_checkpointing": True})
    assert kept.hours and again.hours
    assert again.hours[0] == pytest.approx(kept.hours[0] * 4 / 3)
    assert again.memory["total"].high < kept.memory["total"].low


@pytest.mark.parametrize(
    ("name", "speeds"),
    [
        ("a100-40", (312.0, 19.5)), ("NVIDIA A100-SXM4-40GB", (312.0, 19.5)),
        ("H100 PCIe", (756.0, 51.0)), ("h100-80", (989.0, 67.0)), ("NVIDIA L4", (121.0, 30.3)),
        ("NVIDIA L40S", (362.0, 91.6)), ("tesla-t4", (65.0, 8.1)), ("rtx 4090", None), ("", None),
    ],
)  # fmt: skip
def test_the_speed_of_a_gpu(name: str, speeds: tuple[float, float] | None) -> None:
    assert forecast.peak(name) == speeds


def test_fp32_is_slower() -> None:
    slow, fast = trained({"precision": "fp32"}), trained({"precision": "auto"})
    assert slow.hours and fast.hours
    assert slow.hours[0] / fast.hours[0] == pytest.approx(312 / 19.5)


def test_without_a_known_gpu_nothing_is_said_of_fit_and_hours() -> None:
    one = only(made("filipino-cpt", at=site.reference(ROOT)), "train_patok")
    assert (one.of, one.fits, one.hours, one.claim_needs, one.warning) == (
        None, "unknown", None, None, "",
    )  # fmt: skip
    assert one.memory["total"].low > 0


def test_on_a_cpu_the_job_s_own_memory_is_the_limit() -> None:
    one = only(made("filipino-cpt", "demo"), "train_vanilla")
    assert (one.gpus, one.of, one.fits, one.hours) == (0, 3 * 10**9, "yes", None)
    assert one.memory["total"].high < 1.1e9


def test_infilling_models_of_another_study() -> None:
    trainings = forecast.forecasts(made("efcamdat-ilm"))
    assert len(trainings) == 6  # not the stages that only judge
    one = trainings[0]
    assert one.parameters == 124_439_808 + 7 * 768
    assert one.tokens == 10_000 * 8 * 256
    # The study's table: 0.5 + 0.5 + 1 for the states, 7-8 GB in all.
    states = sum(one.memory[key].high for key in ("weights", "gradients", "optimizer"))
    assert states == 16 * one.parameters
    assert one.memory["total"].low < 8e9 and one.memory["total"].high > 6.5e9


GPUS_OF_LORA = [("t4", "15GB", "yes"), ("l4", "24GB", "yes"), ("a100", "40GB", "yes")]


@pytest.mark.parametrize(("name", "size", "fits"), GPUS_OF_LORA, ids=[g[0] for g in GPUS_OF_LORA])
def test_the_gpus_of_the_lora_study(name: str, size: str, fits: str) -> None:
    one = only(made("marco-lora", name, at=on(name, size)), "train")
    assert one.parameters == 2_894_236_160
    # r (in + out) of q, k, v and o in 32 layers: 16 a matrix.
    adapters = 32 * 16 * (2 * (2560 + 2560) + 2 * (2560 + 640))
    assert one.memory["optimizer"].high == 8 * adapters
    assert (one.trainable, one.checkpoints) == (adapters, 4 * 12 * adapters)  # three and one more
    assert one.memory["weights"].low == pytest.approx(2 * one.parameters, rel=0.02)


def test_a_curriculum_takes_the_memory_of_its_largest_stage() -> None:
    one = only(made("wiki-curriculum"), "train_curriculum")
    assert one.tokens == 1_626_624_000  # the plan's own sum
    assert one.sequences * one.length == 16_384


def test_what_is_unknown_has_no_forecast() -> None:
    of = made("filipino-cpt", sets=["model.base=somebody/else"])
    assert forecast.forecasts(of) == []


def test_models_with_an_encoder() -> None:
    trainings = {
        one.job: one for one in forecast.forecasts(made("socratic-t5", at=on("a10g", "24GB")))
    }
    sizes = {name: (one.parameters, one.trainable) for name, one in trainings.items()}
    assert sizes == {
        "train_flan-t5-small": (76_961_152, 2_555_904),
        "train_flan-t5-base": (247_577_856, 6_782_976),
        "train_t5-base": (222_903_552, 6_488_064),  # wi where the others have wi_0 and wi_1
    }  # fmt: skip
    assert all(
        one.memory["optimizer"].high == 8 * (one.trainable or 0) for one in trainings.values()
    )


def test_a_smaller_micro_batch_keeps_an_accumulation_that_is_given() -> None:
    one = only(made("marco-lora", "memory-constrained", at=on("t4", "4GB"),
                    sets=["batch.train=2", "batch.accumulation=8"]), "train")  # fmt: skip
    assert one.fits == "no"
    assert "batch.train=1 with batch.accumulation=16" in "".join([*one.remedies, one.warning])


def test_plan_shows_it(tmp_path: Path) -> None:
    text = (ROOT / "sites/example-pbs.yaml").read_text("utf-8")
    small = tmp_path / "small.yaml"
    small.write_text(text.replace("memory: 40GiB", "memory: 16GiB"), "utf-8")
    result = CliRunner().invoke(cli, ["plan", "--site", str(small)])
    assert result.exit_code == 0, result.output
    shown = " ".join(result.stdout.split())
    assert "2 x 2,048 tokens x 16 5,243 M 19.6-30.2 of 16 GiB 7.76-12.9 24-48 (at 8-16%)" in shown
    assert (
        "warning: train_vanilla, train_stochastok, train_patok: needs 19.6-30.2 GiB of 16 GiB: "
        "batch.micro=1 (13.4-19.1 GiB)"
    ) in shown
    assert "hours at 30% to 50% of the GPUs' peak" in shown


def test_plan_in_json() -> None:
    result = CliRunner().invoke(cli, ["plan", "--site", "example-pbs", "--json"])
    found = json.loads(result.stdout)
    assert found["makespans"] == {
        "8": [80.33, 153.67], "16": [56.33, 105.67], "32": [36.33, 61.67],
    }  # fmt: skip
    one = found["trainings"][2]
    assert (one["job"], one["fits"], one["warning"], one["epochs"]) == (
        "train_patok", "yes", "", None,
    )  # fmt: skip
    assert set(one["memory"]) == {
        "weights", "gradients", "optimizer", "activations", "logits and loss", "buffers",
        "allocator", "libraries", "total",
    }  # fmt: skip
