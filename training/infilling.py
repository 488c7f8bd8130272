"""Examples for infilling as corpus/infilling.py writes them: mapped, never loaded; numpy only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.contract import BadInput

INDEX = "infilling.json"
TARGETS = ("pad", "context", "blank", "separator", "answer", "end")
CONTEXT, ANSWER, END = (TARGETS.index(name) for name in ("context", "answer", "end"))
REMAKE = "Prepare this level's examples again"


@dataclass(frozen=True)
class Examples:
    """One split of a level. Example n is the tokens `first[n]` to before `first[n + 1]`."""

    ids: npt.NDArray[np.integer]
    kinds: npt.NDArray[np.uint8]  # index into TARGETS
    first: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int32]  # (examples, 2): of answers and ends, and of context

    def __len__(self) -> int:
        return len(self.targets)

    def row(self, number: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        """The ids of an example and what each is."""
        start, stop = int(self.first[number]), int(self.first[number + 1])
        return self.ids[start:stop].astype(np.int64), self.kinds[start:stop]


def read_index(directory: Path) -> dict[str, Any]:
    """What is in a level's folder; BadInput when it is missing or another program's."""
    path = directory / INDEX
    try:
        index = dict(json.loads(path.read_text(encoding="utf-8")))
        made_for = tuple(index["targets"])
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{path} cannot be read ({error})", REMAKE) from error
    if made_for != TARGETS:
        raise BadInput(f"{path} marks tokens as {', '.join(made_for)}", REMAKE)
    return index


def open_examples(directory: Path, split: str, index: dict[str, Any]) -> Examples:
    """Map one split; BadInput when a file is missing or not what the index says."""
    arrays = {}
    for name in ("ids", "kinds", "examples", "targets"):
        path = directory / split / f"{name}.npy"
        try:
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise BadInput(f"{path} cannot be read ({error})", REMAKE) from error
    told = index["splits"][split]
    sizes = (len(arrays["ids"]), len(arrays["kinds"]), len(arrays["examples"]) - 1)
    if sizes != (told["tokens"], told["tokens"], told["examples"]):
        raise BadInput(f"{directory / split} holds other examples than {INDEX} says", REMAKE)
    return Examples(arrays["ids"], arrays["kinds"], arrays["examples"], arrays["targets"])
