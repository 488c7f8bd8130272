"""Byte-pair encoding of one word: merge the adjacent pair of the smallest rank, leftmost first.

That is what `tokenizers` and SentencePiece both do with the heaps of their own. Up to 32 symbols a
look over all ranks is faster than any heap; above, a heap keeps a word of n symbols at n log n.
"""

from __future__ import annotations

import numpy as np

from corpus.kernels.tables import (
    ID_BITS,
    KEY_BYTES,
    LINE,
    MEMORY_BITS,
    MOST_IDS,
    NO_RANK,
    Bytes,
    Ints,
    Longs,
    Scratch,
    Tables,
    Words,
    inline,
    kernel,
    load64,
    pair_rank,
)

_SHORT = 32


@kernel
def read_symbols(characters: Ints, byte_ids: Ints, ascii_pairs: Ints, text: Bytes, start: int,
                 stop: int, symbols: Ints, ranks: Ints) -> int:
    """The characters of text[start:stop] as ids, and the rank of each pair of ASCII ones.

    A character that the vocabulary lacks becomes its bytes. Ranks not known here are -1. Returns
    how many symbols there are.
    """
    count = 0
    before = 128
    i = start
    while i < stop:
        first = np.int64(text[i])
        if first < 128:
            token = characters[first]
            if token >= 0:
                if before < 128:
                    ranks[count - 1] = ascii_pairs[(before << 7) | first]
                elif count:
                    ranks[count - 1] = -1
                symbols[count] = token
                count += 1
                before = first
                i += 1
                continue
            size, point = 1, first
        elif first < 0xE0:
            size, point = 2, ((first & 0x1F) << 6) | (np.int64(text[i + 1]) & 0x3F)
        elif first < 0xF0:
            size = 3
            point = (((first & 0x0F) << 12) | ((np.int64(text[i + 1]) & 0x3F) << 6)
                     | (np.int64(text[i + 2]) & 0x3F))
        else:
            size = 4
            point = (((first & 0x07) << 18) | ((np.int64(text[i + 1]) & 0x3F) << 12)
                     | ((np.int64(text[i + 2]) & 0x3F) << 6) | (np.int64(text[i + 3]) & 0x3F))
        token = characters[point]
        if count:
            ranks[count - 1] = -1
        if token >= 0:
            symbols[count] = token
            count += 1
        else:
            for k in range(size):
                symbols[count] = byte_ids[text[i + k]]
                ranks[count] = -1
                count += 1
        before = 128
        i += size
    return count


@kernel
def merge_short(pairs: Words, merged: Ints, front: Words, symbols: Ints, ranks: Ints,
                count: int) -> int:
    """Merge `count` symbols in place; returns how many are left."""
    for i in range(count - 1):
        if ranks[i] < 0:
            ranks[i] = pair_rank(pairs, front, symbols[i], symbols[i + 1])
    while True:
        best, at = NO_RANK, -1
        for i in range(count - 1):
            if ranks[i] < best:
                best, at = ranks[i], i
        if at < 0:
            return count
        symbols[at] = merged[best]
        count -= 1
        for i in range(at + 1, count):
            symbols[i] = symbols[i + 1]
            ranks[i - 1] = ranks[i]
        if at + 1 < count:
            ranks[at] = pair_rank(pairs, front, symbols[at], symbols[at + 1])
        if at:
            ranks[at - 1] = pair_rank(pairs, front, symbols[at - 1], symbols[at])


@kernel
def _push(heap: Longs, size: int, entry: int) -> int:
    at = size
    while at:
        above = (at - 1) >> 1
        if heap[above] <= entry:
            break
        heap[at] = heap[above]
        at = above
    heap[at] = entry
    return size + 1


@kernel
def _pop(heap: Longs, size: int) -> int:
    """Remove the smallest entry, heap[0]; returns the new size."""
    size -= 1
    entry = heap[size]
    at = 0
    while True:
        below = 2 * at + 1
        if below >= size:
            break
        if below + 1 < size and heap[below + 1] < heap[below]:
            below += 1
        if entry <= heap[below]:
            break
        heap[at] = heap[below]
        at = below
    heap[at] = entry
    return size


@kernel
def merge_long(pairs: Words, merged: Ints, scratch: Scratch, count: int) -> int:
    """`merge_short` for any length: a heap of `rank << 32 | place` over a linked list.

    An entry is stale when the rank of what now stands at its place is another.
    """
    after, before, heap, ranks = scratch.after, scratch.before, scratch.heap, scratch.ranks
    front, symbols = scratch.front, scratch.symbols
    size = 0
    for i in range(count):
        after[i], before[i] = i + 1, i - 1
        ranks[i] = NO_RANK
        if i + 1 < count:
            ranks[i] = pair_rank(pairs, front, symbols[i], symbols[i + 1])
            if ranks[i] != NO_RANK:
                size = _push(heap, size, (np.int64(ranks[i]) << 32) | i)
    while size:
        entry = heap[0]
        size = _pop(heap, size)
        at, rank = entry & 0xFFFFFFFF, np.int32(entry >> 32)
        if ranks[at] != rank:
            continue
        gone = after[at]
        symbols[at] = merged[rank]
        ranks[gone] = NO_RANK
        behind = after[gone]
        after[at] = behind
        ranks[at] = NO_RANK
        if behind < count:
            before[behind] = at
            ranks[at] = pair_rank(pairs, front, symbols[at], symbols[behind])
            if ranks[at] != NO_RANK:
                size = _push(heap, size, (np.int64(ranks[at]) << 32) | at)
        ahead = before[at]
        if ahead >= 0:
            ranks[ahead] = pair_rank(pairs, front, symbols[ahead], symbols[at])
            if ranks[ahead] != NO_RANK:
                size = _push(heap, size, (np.int64(ranks[ahead]) << 32) | ahead)
    kept, at = 0, 0
    while at < count:
        symbols[kept] = symbols[at]
        kept += 1
        at = after[at]
    return kept


@kernel
def merge_word(tables: Tables, scratch: Scratch, text: Bytes, start: int, stop: int, out: Ints,
               at: int) -> int:
    """Write the ids of the spelling text[start:stop] to out[at:]; returns where they end."""
    symbols, ranks = scratch.symbols, scratch.ranks
    count = read_symbols(tables.characters, tables.byte_ids, tables.ascii_pairs, text, start, stop,
                         symbols, ranks)
    if count <= _SHORT:
        count = merge_short(tables.pairs, tables.merged, scratch.front, symbols, ranks, count)
    else:
        count = merge_long(tables.pairs, tables.merged, scratch, count)
    for i in range(count):
        out[at + i] = symbols[i]
    return at + count


@inline
def tokens_of(tables: Tables, scratch: Scratch, text: Bytes, start: int, stop: int, out: Ints,
              at: int) -> int:
    """`merge_word` through the thread's memory of words; `text` has 24 bytes behind `stop`.

    The memory never grows: a word takes the place of the one that shares its entry. Its key is the
    whole word, so that a hit is exact; no text holds a zero byte, so shorter words are no prefixes.
    """
    size = stop - start
    if size > KEY_BYTES:
        return merge_word(tables, scratch, text, start, stop, out, at)
    ones = np.uint64(0xFFFFFFFFFFFFFFFF)
    key0, key1, key2 = load64(text, start), np.uint64(0), np.uint64(0)
    if size <= 8:
        key0 &= ones >> np.uint64(64 - 8 * size)
    else:
        key1 = load64(text, start + 8)
        if size <= 16:
            key1 &= ones >> np.uint64(128 - 8 * size)
        else:
            key2 = load64(text, start + 16) & (ones >> np.uint64(192 - 8 * size))
    mixed = key0 * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(32)) ^ key1) * np.uint64(0xD6E8FEB86659FD93)
    mixed = (mixed ^ (mixed >> np.uint64(32)) ^ key2) * np.uint64(0x9E3779B97F4A7C15)
    line = (mixed >> np.uint64(64 - MEMORY_BITS)) * np.uint64(LINE)
    memory = scratch.memory
    low = np.uint64((1 << ID_BITS) - 1)
    step = np.uint64(ID_BITS)
    if (memory[line] == key0 and memory[line + np.uint64(1)] == key1
            and memory[line + np.uint64(2)] == key2):
        value = memory[line + np.uint64(3)]
        count = np.int64(value >> np.uint64(60))
        out[at] = np.int32(value & low)
        out[at + 1] = np.int32((value >> step) & low)
        out[at + 2] = np.int32((value >> (step + step)) & low)
        done = 3
        while done < count:
            line += np.uint64(1)
            value = memory[line + np.uint64(3)]
            out[at + done] = np.int32(value & low)
            out[at + done + 1] = np.int32((value >> step) & low)
            out[at + done + 2] = np.int32((value >> (step + step)) & low)
            done += 3
        return at + count
    end = merge_word(tables, scratch, text, start, stop, out, at)
    count = end - at
    if count > MOST_IDS:
        return end
    memory[line], memory[line + np.uint64(1)], memory[line + np.uint64(2)] = key0, key1, key2
    for part in range((count + 2) // 3):
        value = np.uint64(count) << np.uint64(60) if part == 0 else np.uint64(0)
        for k in range(3):
            if 3 * part + k < count:
                value |= np.uint64(out[at + 3 * part + k]) << np.uint64(ID_BITS * k)
        memory[line + np.uint64(3 + part)] = value
    return end


@kernel
def mark_stable(tables: Tables, scratch: Scratch, stable: Bytes, out: Ints) -> None:
    """Fill `stable` of shape (V,): 1 for a token that its own spelling is tokenised into."""
    for token in range(stable.size):
        start, stop = tables.piece_starts[token], tables.piece_starts[token + 1]
        stable[token] = 0
        if tables.atoms[token] == 0:
            end = merge_word(tables, scratch, tables.piece_bytes, start, stop, out, 0)
            stable[token] = end == 1 and out[0] == token
