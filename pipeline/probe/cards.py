"""Which GPU a scheduler's words mean, for the site's key `gpu`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from pipeline.probe.facts import Node

# What pipeline.forecast knows the speed of -> the sizes in which it is made, in GiB as its name
# says. A GPU is the first one all of whose words are in its name.
SIZES: dict[str, tuple[int, ...]] = {
    "h200": (141,),
    "h100 pcie": (80,),
    "h100 nvl": (94,),
    "h100": (80, 96),
    "a100": (40, 64, 80),
    "l40s": (48,),
    "l4": (24,),
    "a10g": (24,),
    "a10": (24,),
    "v100": (16, 32),
    "t4": (16,),
}
_SIZE = re.compile(r"(?:gpu|mem|vram)*(\d{2,3})g(?:i?b)?|(?:gpu|mem|vram)+(\d{2,3})", re.ASCII)
_SLICE = re.compile(r"\dg\.\d+gb", re.ASCII | re.IGNORECASE)  # of MIG: neither speed nor size


class Card(msgspec.Struct, frozen=True):
    """A GPU's name, its memory in GiB, and how that is known."""

    name: str
    memory: int
    how: str


def words(text: str) -> list[str]:
    """`NVIDIA A100-SXM4-40GB` -> nvidia, a100, sxm4, 40gb."""
    return [word for word in re.split(r"[^a-z0-9]+", text.lower()) if word]


def model(text: str) -> str:
    """The GPU of SIZES that a text names, "" where it names none."""
    there = set(words(text))
    return next((key for key in SIZES if there >= set(key.split())), "")


def card(name: str, hints: Iterable[str] = ()) -> Card | None:
    """The GPU of that name, its memory by its name, by other words that are said of its node, or
    else the smallest in which it is made. None where nothing is known of its memory, or it is a
    slice of a GPU.
    """
    if _SLICE.search(name):
        return None
    own, others = _sizes(name), {size for hint in hints for size in _sizes(hint)}
    made = SIZES.get(model(name), ())
    if not made:
        return Card(name, min(own), "its name says it; its speed is not known") if own else None
    own |= {int(word) for word in words(name) if word.isdecimal()}  # a100-80
    for sizes, how in ((own, "its name says it"), (others, "its node's words say it")):
        if sizes & set(made):
            return Card(name, min(sizes & set(made)), how)
    several = f"made with {' or '.join(map(str, made))} GiB, and nobody tells which; correct it"
    return Card(name, made[0], several if len(made) > 1 else "as it is made")


def smallest(nodes: Sequence[Node]) -> Card | None:
    """Of all GPUs of some nodes the one with the least memory: what fits there fits in all."""
    found = {
        known
        for node in nodes if node.gpus
        for name in node.gpu.split("+")
        if (known := card(name, node.tags))
    }  # fmt: skip
    return min(found, key=lambda one: (one.memory, one.name), default=None)


def _sizes(text: str) -> set[int]:
    matches = filter(None, map(_SIZE.fullmatch, words(text)))
    return {int(match[1] or match[2]) for match in matches} - {0}
