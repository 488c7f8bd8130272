"""What every kernel is handed: the tokenizer as arrays, and a thread's own working memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Words = NDArray[np.uint64]

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile `function`, to run without Python's lock and without numba's reference counts.

    Handing `Tables` on would count some twenty arrays each time, which takes longer than most of
    these functions. So no kernel makes an array; it is given all.
    """
    return cast(Function, njit(cache=True, nogil=True, _nrt=False)(function))


def inline(function: Function) -> Function:
    """`kernel`, for a function that becomes part of those that call it."""
    return cast(Function, njit(cache=True, nogil=True, _nrt=False, forceinline=True)(function))


SPACE = 0x20  # how a spelling writes the tokenizer's space mark, in one byte
NO_RANK = 0xFFFFFF
ID_BITS, RANK_BITS = 20, 24
LINE = 8  # 64-bit words in an entry of the memory of words: one cache line
KEY_BYTES, MOST_IDS = 24, 15  # what an entry holds: the word's bytes, and its ids three a word
MEMORY_BITS, FRONT_BITS, JOINT_BITS = 17, 14, 18


class Tables(NamedTuple):
    """A tokenizer. `V` entries, `P` ways to split one, `R` merge ranks, `N` nodes of a trie.

    A pair of tokens that merges is an entry `(left << 20 | right) << 24 | rank` of `pairs`, a hash
    table with linear probing; the smaller rank merges first, and `merged[rank]` is the result.
    """

    characters: Ints  # (0x110000,): id of a character, -1 where the vocabulary lacks it
    byte_ids: Ints  # (256,): id of a byte that stands for itself
    ascii_pairs: Ints  # (128 * 128,): rank of two such characters
    pairs: Words  # (a power of two,)
    merged: Ints  # (R,)
    piece_starts: Longs  # (V + 1,): where a token's spelling stands in `piece_bytes`
    piece_bytes: Bytes
    atoms: Bytes  # (V,): 1 for a token that stays whole
    added: Bytes  # (V,): 1 for an added token that is not special
    stable: Bytes  # (V,): 1 for a token that its own spelling is tokenised into
    split_starts: Longs  # (V + 1,): the ways to split a token
    split_left: Ints  # (P,)
    split_right: Ints  # (P,)
    classes: Bytes  # (256,): 0, or what a byte may begin: 1 a space, 2 an added token or a mark
    joined: Bytes  # (256,): 1 where no word may begin after this byte
    mark: Bytes  # the space mark in UTF-8
    trie_child: Ints  # (N,): first child of a node of the added tokens' trie, or -1
    trie_next: Ints  # (N,): its next sibling, or -1
    trie_byte: Bytes  # (N,)
    trie_token: Ints  # (N,): the token that ends here; -1 none, -2 a special one, which is text


class Scratch(NamedTuple):
    """A thread's memory: what it has seen, and room for one word."""

    memory: Words  # (2**17 * 8,): words and their ids
    front: Words  # (2**14,): pairs asked for lately, also those that do not merge
    joints: Words  # (2**18,): pairs of tokens, and whether their spelling becomes just them
    symbols: Ints  # (n,), for words of up to n bytes, and so are the following
    ranks: Ints
    after: Ints
    before: Ints
    spelled: Bytes
    heap: Longs  # (3 * n,)


def new_scratch(longest: int = 1 << 10) -> Scratch:
    """Working memory for words of up to `longest` bytes: 8 MiB, and 41 bytes a byte where used."""
    lines = np.zeros((LINE << MEMORY_BITS) + LINE, np.uint64)
    at = (-lines.ctypes.data // 8) % LINE  # entries begin where cache lines do
    ones = np.uint64(0xFFFFFFFFFFFFFFFF)
    small, nothing = np.empty(0, np.int32), np.empty(0, np.uint8)
    return grow(Scratch(lines[at : at + (LINE << MEMORY_BITS)], np.full(1 << FRONT_BITS, ones),
                        np.full(1 << JOINT_BITS, ones), small, small, small, small, nothing,
                        np.empty(0, np.int64)), longest)


def grow(scratch: Scratch, longest: int) -> Scratch:
    """The same memory with room for words of up to `longest` bytes."""
    if len(scratch.spelled) >= longest:
        return scratch
    symbols, ranks, after, before = np.empty((4, longest), np.int32)
    return scratch._replace(symbols=symbols, ranks=ranks, after=after, before=before,
                            spelled=np.empty(longest, np.uint8),
                            heap=np.empty(3 * longest, np.int64))


@intrinsic  # type: ignore[untyped-decorator]
def load64(context: Any, array: Any, index: Any) -> Any:
    """Eight bytes of a uint8 array from `index` on, little endian, wherever they stand."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.gep(data, [arguments[1]])
        wide = builder.bitcast(place, ir.IntType(64).as_pointer())
        return builder.load(wide, align=1)

    return types.uint64(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def lowest_bit(context: Any, word: Any) -> Any:
    """The place of the lowest bit of a word that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@inline
def pair_rank(pairs: Words, front: Words, left: int, right: int) -> int:
    """Rank of the merge of two tokens, or NO_RANK."""
    key = (np.uint64(left) << np.uint64(ID_BITS)) | np.uint64(right)
    mixed = key * np.uint64(0x9E3779B97F4A7C15)
    near = mixed >> np.uint64(64 - FRONT_BITS)
    entry = front[near]
    if entry >> np.uint64(RANK_BITS) == key:
        return np.int64(entry & np.uint64(NO_RANK))
    last = np.uint64(pairs.size - 1)
    at = (mixed >> np.uint64(20)) & last
    while True:
        entry = pairs[at]
        if entry == np.uint64(0xFFFFFFFFFFFFFFFF):
            entry = (key << np.uint64(RANK_BITS)) | np.uint64(NO_RANK)
            break
        if entry >> np.uint64(RANK_BITS) == key:
            break
        at = (at + np.uint64(1)) & last
    front[near] = entry
    return np.int64(entry & np.uint64(NO_RANK))


@kernel
def fill_pairs(pairs: Words, left: Ints, right: Ints, ranks: Ints) -> bool:
    """Enter pairs into the empty table `pairs`; False if one of them stands in it twice."""
    last = np.uint64(pairs.size - 1)
    for i in range(left.size):
        key = (np.uint64(left[i]) << np.uint64(ID_BITS)) | np.uint64(right[i])
        at = ((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & last
        while pairs[at] != np.uint64(0xFFFFFFFFFFFFFFFF):
            if pairs[at] >> np.uint64(RANK_BITS) == key:
                return False
            at = (at + np.uint64(1)) & last
        pairs[at] = (key << np.uint64(RANK_BITS)) | np.uint64(ranks[i])
    return True
