"""Benchmark files as tasks of lm-evaluation-harness: as YAML for its own command, and loaded here.

Both come from one table, `task_config`, so that `lm_eval --include_path <benchmarks>/lm_eval` asks
and counts what the evaluate stage does. The YAML reads its items from the folder above its own, so
that a benchmark folder can be moved as a whole.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from evaluation.benchmarks import MODES, read_items
from evaluation.config import InputError
from evaluation.files import write_text

FOLDER = "lm_eval"  # under the benchmark folder
LOADER = "items.py"
SLACK = 8  # tokens that an answer may take beyond the bytes of the longest right one
CORRECT = ("acc_bytes", "acc", "exact_match")  # lm-eval's metrics that are 0 or 1 for an item
_MEAN = {"aggregation": "mean", "higher_is_better": True}
_SOURCE = '''\
"""Reads a benchmark file for the task files beside it."""

import json
from pathlib import Path

import datasets


def load(file: str, **_: object) -> dict[str, datasets.Dataset]:
    """The items of `file`, which lies in the folder above, as the split `test`."""
    with (Path(__file__).parent.parent / file).open("rb") as lines:
        return {"test": datasets.Dataset.from_list([json.loads(line) for line in lines])}
'''


def task_config(path: Path, items: list[dict[str, Any]]) -> dict[str, Any]:
    """What lm-eval is told of a benchmark file, `<group>_<mode>.jsonl`, but for how to read it.

    An option's score is ln p(option | prompt) over the option's UTF-8 bytes (`acc_bytes`); `acc`
    compares the plain sums. A generation ends with its line. It may take as many tokens as the
    longest right answer has bytes, and some more: a token is a byte at least, so what the limit
    cuts off is longer than every answer, and cannot pass for one.
    """
    name = path.stem
    config = {
        "task": name,
        "dataset_kwargs": {"file": path.name},
        "test_split": "test",
        "doc_to_text": "prompt",
        "doc_to_target": "answer",
        "target_delimiter": " ",
        "num_fewshot": 0,
        "metadata": {"version": 1},
    }
    if name.endswith("_mcq"):
        metrics = [{"metric": metric, **_MEAN} for metric in ("acc_bytes", "acc")]
        return config | {
            "output_type": "multiple_choice", "doc_to_choice": "options", "metric_list": metrics,
        }  # fmt: skip
    limit = max(len(str(item["answer"]).encode()) for item in items) + SLACK
    spaces = [r"^\s+", r"\s+$"]
    return config | {
        "output_type": "generate_until",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": limit, "do_sample": False},
        "metric_list": [{"metric": "exact_match", **_MEAN, "regexes_to_ignore": spaces}],
    }


def write_tasks(folder: Path) -> list[Path]:
    """Write a task file for each benchmark file of a folder; returns their paths.

    Raises InputError for a benchmark file that cannot be read.
    """
    import yaml

    written = []
    files = [path for mode in MODES for path in sorted(folder.glob(f"*_{mode}.jsonl"))]
    for path in files:
        target = folder / FOLDER / f"{path.stem}.yaml"
        text = yaml.safe_dump(task_config(path, read_items(path)), sort_keys=False)
        write_text(target, f"custom_dataset: !function {Path(LOADER).stem}.load\n{text}")
        written.append(target)
    if written:
        write_text(folder / FOLDER / LOADER, _SOURCE)
    return written


def own_task(path: Path, items: list[dict[str, Any]]) -> Any:
    """A benchmark file as a task that lm-eval can run."""
    api, datasets = require("lm_eval.api.task"), require("datasets")

    def load(**_: object) -> dict[str, Any]:
        return {"test": datasets.Dataset.from_list(items)}

    return _ready(api.ConfigurableTask(config={**task_config(path, items), "custom_dataset": load}))


def library_tasks(name: str, include: str) -> dict[str, Any]:
    """The tasks of lm-eval's own library, or of the folder `include`, that a name stands for.

    Raises InputError for a name that neither has, and for data that cannot be had.
    """
    manager = _manager(name, include)
    try:
        loaded = manager.load([name])["tasks"]
    except Exception as error:  # whatever a task's own code and the data's server raise
        fact = " ".join(str(error).split())[:300]
        raise InputError(
            f"lm-eval's task {name!r} cannot be loaded ({type(error).__name__}: {fact})",
            "Fetch its data where there is a network: HF_HUB_OFFLINE=0",
        ) from error
    return {key: _ready(task) for key, task in loaded.items()}


def _manager(name: str, include: str) -> Any:
    """lm-eval's index that has the name: of `include` alone, or with its whole library, whose
    14,000 files take seconds to read."""
    index = require("lm_eval.tasks").TaskManager
    if include:
        manager = index(include_path=include, include_defaults=False)
        if name in manager.task_index:
            return manager
    manager = index(include_path=include or None)
    if name not in manager.task_index:
        raise InputError(
            f"{name!r} is neither a benchmark file nor a task that lm-eval knows",
            "Generate the benchmark, or look at `lm_eval ls tasks`; evaluate.include_path names a "
            "folder of task files of your own",
        )
    return manager


def _ready(task: Any) -> Any:
    """What lm-eval's own command does to a task before it runs it."""
    if task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=1234)
    return task


def require(module: str) -> Any:
    """A module of lm-eval, or one that it brings; raises InputError where it is not installed."""
    import importlib
    import logging

    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f"scoring needs lm-eval, which is not installed here ({error.name} is missing)",
            "pip install 'pipeline-studies[eval]'",
        ) from error
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return found


def correct_of(sample: dict[str, Any]) -> bool | None:
    """Whether lm-eval counted a sample as right; None for a task without such a metric."""
    for metric in CORRECT:
        if metric in sample["metrics"]:
            return bool(sample[metric])
    return None


Notice = Callable[[int], None]
