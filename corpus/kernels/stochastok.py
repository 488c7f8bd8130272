"""The loop of corpus.variants.stochastok: tokens are split at uniform places, as they grow."""

from __future__ import annotations

import math

from corpus.kernels.draws import Draws, below, restart
from corpus.kernels.tables import Bytes, Ints, Longs, Tables, Words, kernel

REDRAWS = 100


@kernel
def split_randomly(starts: Longs, lefts: Ints, rights: Ints, spared: Bytes, ids: Ints, count: int,
                   attempts: int, draws: Draws, after: Ints, out: Ints,
                   at: int) -> tuple[int, int]:
    """Make `attempts` attempts on ids[:count]; the new sequence goes to out[at:].

    `ids` and `after` have room for count + attempts. A token t with spared[t] is drawn again, up
    to 100 times; then the attempt is given up. Returns where the output ends and how many attempts
    split a token. The parts of a split are a slot's old and a new slot, ordered by a linked list;
    so a uniform slot is a uniform position, and an attempt costs the same in any document.
    """
    for i in range(count):
        after[i] = i + 1
    last, slots = count, count
    for _ in range(attempts):
        slot = below(draws, slots)
        if spared.size:
            for _ in range(REDRAWS):
                if spared[ids[slot]] == 0:
                    break
                slot = below(draws, slots)
            if spared[ids[slot]]:
                continue
        first = starts[ids[slot]]
        ways = starts[ids[slot] + 1] - first
        if ways == 0:
            continue
        way = first + (below(draws, ways) if ways > 1 else 0)
        ids[slot], ids[slots] = lefts[way], rights[way]
        after[slots] = after[slot]
        after[slot] = slots
        slots += 1
    slot = 0
    for i in range(slots):
        out[at + i] = ids[slot]
        slot = after[slot]
    return at + slots, slots - last


@kernel
def stochastok_documents(tables: Tables, ids: Ints, bounds: Longs, documents: Words, draws: Draws,
                         expand_prop: float, work: Ints, after: Ints, out: Ints,
                         out_bounds: Longs) -> tuple[int, int]:
    """Split tokens of every document; attempts made and achieved.

    Document d is ids[bounds[d]:bounds[d + 1]], number documents[d] of the corpus; its new ids are
    out[out_bounds[d]:out_bounds[d + 1]]. `out` has room for (1 + expand_prop) ids an id.
    """
    attempted, achieved = 0, 0
    out_bounds[0] = 0
    for d in range(bounds.size - 1):
        count = bounds[d + 1] - bounds[d]
        for i in range(count):
            work[i] = ids[bounds[d] + i]
        restart(draws, documents[d])
        attempts = math.floor(expand_prop * count)
        end, changed = split_randomly(
            tables.split_starts, tables.split_left, tables.split_right, tables.mark[:0], work,
            count, attempts, draws, after, out, out_bounds[d])
        out_bounds[d + 1] = end
        attempted += attempts
        achieved += changed
    return attempted, achieved
