"""lm-eval's `hf` model with three things of ours: whole weights, batches by size, progress."""

from pathlib import Path
from typing import Any

from evaluation.config import InputError
from evaluation.models import GENERATION_ROWS, LOGIT_BYTES, MAX_ROWS
from evaluation.tasks import require


class _WholeModels:
    """Stands where lm-eval looks for transformers' AutoModelForCausalLM."""

    @staticmethod
    def from_pretrained(directory: str, **options: Any) -> Any:
        """The model; raises InputError where its files lack weights that it has."""
        import transformers

        library: Any = transformers  # its annotations lack output_loading_info's pair
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
        network, loading = library.AutoModelForCausalLM.from_pretrained(
            directory, output_loading_info=True, **options
        )
        faults = [*loading["missing_keys"], *(key[0] for key in loading["mismatched_keys"])]
        if faults:
            raise InputError(
                f"the model {directory} lacks weights, or has them in another shape: "
                f"{', '.join(sorted(faults)[:3])} ({len(faults)} in all)",
                "Export it again",
            )
        return network


def open_transformer(directory: Path, arguments: dict[str, Any]) -> Any:
    """The model of a directory. `arguments` are lm-eval's; `batch_size`, where it is given, holds.

    Otherwise a batch has as many rows as its float32 logits allow (LOGIT_BYTES): the sizes depend
    on the text alone, so that two runs of the same score have the same batches and the same
    rounding, and nothing is spent on trials as in lm-eval's own `auto`.
    """
    import torch

    parent: Any = require("lm_eval.models.huggingface").HFLM
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
    automatic = arguments.get("batch_size", "auto") == "auto"

    class Model(parent):  # type: ignore[misc]  # lm-eval is not typed
        """HFLM that chooses its batches and tells the rows of each, without bars in the log."""

        AUTO_MODEL_CLASS = _WholeModels
        notice = staticmethod(lambda rows: None)

        def _loglikelihood_tokens(self, requests: Any, *given: Any, **more: Any) -> Any:
            if automatic and requests:
                width = max(len(context) + len(rest) for _, context, rest in requests)
                words = self.model.config.get_text_config().vocab_size
                room = LOGIT_BYTES.get(self.device.type, LOGIT_BYTES["cpu"])
                fitting = room // (4 * words * width)
                self.batch_size_per_gpu = max(1, min(MAX_ROWS, fitting))
            return super()._loglikelihood_tokens(requests, *given, **more)

        def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> Any:
            return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

        def generate_until(self, requests: Any, disable_tqdm: bool = True) -> Any:
            if automatic:
                self.batch_size_per_gpu = GENERATION_ROWS
            return super().generate_until(requests, disable_tqdm=disable_tqdm)

        def _model_call(self, inps: Any, *given: Any, **more: Any) -> Any:
            found = super()._model_call(inps, *given, **more)
            self.notice(len(inps))
            return found

        def _model_generate(self, context: Any, *given: Any, **more: Any) -> Any:
            found = super()._model_generate(context, *given, **more)
            self.notice(len(context))
            return found

    options = {"device": device, "dtype": "float32", **arguments}
    options["batch_size"] = 1 if automatic else options["batch_size"]
    return Model(pretrained=str(directory), **options)
