"""The loops of corpus.variants.patok, which says what they do.

The text of a document never changes, only where it is cut. So a document is its spelling, and
`tokens[i]` is the token that begins at byte i of it, or -1 within a token. A uniform byte that is
a token's first is a uniform token: drawing bytes until one is found takes as many draws as a token
has bytes, whatever the length of the document, and contracting moves nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from corpus.kernels.bpe import merge_word, tokens_of
from corpus.kernels.draws import Draws, below, happens, next32, restart
from corpus.kernels.stochastok import REDRAWS, split_randomly
from corpus.kernels.tables import (
    ID_BITS,
    JOINT_BITS,
    Bytes,
    Ints,
    Longs,
    Scratch,
    Tables,
    Words,
    inline,
    kernel,
)

Masks = NDArray[np.uint32]
# A token of `Room.tokens`: its id, what it is, and how it meets the token before it, where known.
_ID = (1 << ID_BITS) - 1
_ATOM, _AFFIX, _UNSTABLE = 1 << ID_BITS, 2 << ID_BITS, 4 << ID_BITS
_JOINED, _BROKEN = 8 << ID_BITS, 16 << ID_BITS
_KNOWN = _JOINED | _BROKEN
_ADDED = 8
LONGEST_FORM = 15  # bytes; a mask has a bit for each length
MARKED = 16  # the bits of forms with a space mark stand this much higher
_PLAIN = (2 << LONGEST_FORM) - 2


class Rules(NamedTuple):
    """Patok's parameters. `F` nodes of the affix forms' trie, `K` classes of bytes."""

    contract_prop: float
    expand_prop: float
    awareness: float
    awareness_if_overlap: float
    lengths: Longs  # num_toks_to_cont
    weights: np.ndarray  # contract_prob, cumulated, float64
    affix_tokens: Bytes  # (V,): 1 for an affix token
    marks: Bytes  # (V,): what `Room.tokens` says of a token from bit 20 on, and 8 for an added one
    byte_class: Bytes  # (256,): class of a byte, 0 for bytes that no form holds
    trie: Ints  # (F * K,): next node, 0 for none
    ends: Masks  # (F,): bits as in `Room.forms`, for the form that ends here
    classes: int  # K


class Room(NamedTuple):
    """Arrays for one document of up to `n` bytes."""

    text: Bytes
    tokens: Ints
    forms: Masks  # bit L: a form of L bytes begins here; bit 16 + L: one that has a space mark;
    # bit 0: two characters begin here that stand twice in a row
    old: Ints
    new: Ints
    after: Ints
    cuts: Longs  # (16,): where the parts of a span begin, and its end


def new_room(longest: int, expand_prop: float) -> Room:
    """Arrays for documents whose spellings have up to `longest` bytes."""
    size = longest + 32
    ids = size + math.floor(expand_prop * size)
    return Room(np.empty(size, np.uint8), np.empty(size, np.int32), np.empty(size, np.uint32),
                np.empty(ids, np.int32), np.empty(ids, np.int32),
                np.empty(ids, np.int32), np.empty(16, np.int64))


@kernel
def longest_spelling(tables: Tables, ids: Ints, bounds: Longs) -> tuple[int, int]:
    """Bytes of the longest document's spelling, and of all together."""
    longest = total = 0
    for d in range(bounds.size - 1):
        size = 0
        for i in range(bounds[d], bounds[d + 1]):
            size += tables.piece_starts[ids[i] + 1] - tables.piece_starts[ids[i]]
        longest = max(longest, size)
        total += size
    return longest, total


@kernel
def _spell(starts: Longs, pieces: Bytes, marks: Bytes, ids: Ints, own: bool, room: Room) -> int:
    """Fill `text` and `tokens`; returns the bytes of the document's spelling.

    Where the kernels' encoder made the ids (`own`), tokens that meet would be made of their two
    spellings too: within a word by the argument of `_join`, between words because no token spans
    them. Only around added tokens nothing is known.
    """
    size, loose = 0, True
    for i in range(ids.size):
        token = ids[i]
        begin = starts[token]
        length = starts[token + 1] - begin
        for k in range(length):
            room.text[size + k] = pieces[begin + k]
            room.tokens[size + k] = -1
        mark = np.int32(marks[token])
        added = mark & _ADDED != 0
        room.tokens[size] = token | (mark & 7) << ID_BITS
        if not (loose or added):
            room.tokens[size] |= _JOINED
        loose = added or not own
        size += length
    for k in range(24):
        room.text[size + k] = 0
    return size


@inline
def _character(first: int) -> int:
    """Bytes of the UTF-8 character that begins with this byte."""
    if first < 0x80:
        return 1
    if first < 0xE0:
        return 2
    return 3 if first < 0xF0 else 4


@inline
def _pair(text: Bytes, at: int) -> int:
    """Bytes of the two characters that begin at `at`."""
    first = _character(text[at])
    return first + _character(text[at + first])


@inline
def _repeats(text: Bytes, at: int, size: int) -> bool:
    """Whether the two characters at `at` stand there twice."""
    if text[at] < 0x80 and text[at + 1] < 0x80:
        return at + 3 < size and text[at] == text[at + 2] and text[at + 1] == text[at + 3]
    if 0x80 <= text[at] < 0xC0 or at + _character(text[at]) >= size:  # within the last character
        return False
    pair = _pair(text, at)
    if at + 2 * pair > size:
        return False
    for k in range(pair):
        if text[at + k] != text[at + pair + k]:
            return False
    return True


@kernel
def _mark_places(rules: Rules, room: Room, size: int) -> None:
    """Fill `forms` for the whole document."""
    text = room.text
    for i in range(size):
        mask, node, at = np.uint32(0), 0, i
        while at < size:
            kind = rules.byte_class[text[at]]
            if kind == 0:
                break
            node = rules.trie[node * rules.classes + kind]
            if node == 0:
                break
            mask |= rules.ends[node]
            at += 1
        room.forms[i] = mask | np.uint32(_repeats(text, i, size))


@inline
def _ones(bits: int) -> int:
    count = 0
    while bits:
        bits &= bits - 1
        count += 1
    return count


@inline
def _within(mask: int, bytes_left: int) -> int:
    """The lower half of a mask, without forms longer than `bytes_left`."""
    return mask & _PLAIN & ((2 << min(bytes_left, LONGEST_FORM)) - 1)


@inline
def _overlap(room: Room, start: int, stop: int) -> bool:
    """Whether two forms within text[start:stop] begin at one place."""
    for i in range(start, stop):
        mask = _within(np.int64(room.forms[i]), stop - i)
        if mask & (mask - 1):
            return True
    return False


@kernel
def _choose(rules: Rules, room: Room, size: int, count: int,
            draws: Draws) -> tuple[int, int]:
    """Steps 1 and 2: the span of bytes to contract, or (-1, -1)."""
    chance = np.float64(next32(draws)) / 4294967296.0
    row = 0
    while row + 1 < rules.weights.size and chance >= rules.weights[row]:
        row += 1
    wanted = min(rules.lengths[row], count)
    for _ in range(REDRAWS):
        start = below(draws, size)
        stop = start
        seen = 0
        while True:
            # A byte within a token is no start; nor is one with too few tokens behind it.
            if room.tokens[start] >= 0:
                stop, seen, found = start, 0, 0
                while found < wanted and stop < size:
                    seen |= room.tokens[stop]
                    found += 1
                    stop += 1
                    while stop < size and room.tokens[stop] < 0:
                        stop += 1
                if found == wanted:
                    break
            start = below(draws, size)
        if seen & _ATOM:
            continue
        if seen & _AFFIX == 0:
            return start, stop
        awareness = rules.awareness
        if _overlap(room, start, stop):
            awareness = rules.awareness_if_overlap
        if not happens(draws, awareness):
            return start, stop
    return -1, -1


@inline
def _pick_form(rules: Rules, room: Room, start: int, stop: int, draws: Draws) -> tuple[int, int]:
    """Step 4: where the chosen form begins and ends; (start, start) for none."""
    plain = marked = 0
    for i in range(start, stop):
        mask = np.int64(room.forms[i])
        if mask > 1:
            plain += _ones(_within(mask, stop - i))
            marked += _ones(_within(mask >> MARKED, stop - i))
    if plain == 0 or not happens(draws, rules.awareness):
        return start, start
    shift = MARKED if marked else 0
    left = below(draws, marked if marked else plain)
    for i in range(start, stop):
        mask = _within(np.int64(room.forms[i]) >> shift, stop - i)
        while mask:
            if left == 0:
                length = 0
                while mask & 1 == 0:
                    mask >>= 1
                    length += 1
                return i, i + length
            mask &= mask - 1
            left -= 1
    return start, start


@kernel
def _cuts(rules: Rules, room: Room, start: int, stop: int, draws: Draws) -> int:
    """Steps 4 and 5: fill `cuts` with where parts of the span begin, and `stop`; how many parts."""
    begin, end = _pick_form(rules, room, start, stop, draws)
    cuts, count, part = room.cuts, 0, start
    while part < stop:
        after = stop
        if part < begin:
            after = begin
        elif part < end:
            after = end
        cuts[count] = part
        count += 1
        for i in range(part, after):
            if room.forms[i] & np.uint32(1):
                pair = _pair(room.text, i)
                if i + 2 * pair <= after:
                    if i > part:
                        cuts[count] = i
                        count += 1
                    cuts[count] = i + pair
                    count += 1
                    break
        part = after
    cuts[count] = stop
    return count


@inline
def _stays(tables: Tables, scratch: Scratch, room: Room, left: int, right: int, at: int) -> bool:
    """Whether the spelling of two tokens that meet at text[at] is tokenised into just these two.

    The thread's memory of joints answers for pairs met before.
    """
    key = (np.uint64(left) << np.uint64(ID_BITS)) | np.uint64(right)
    place = (key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - JOINT_BITS)
    entry = scratch.joints[place]
    if entry >> np.uint64(1) == key:
        return entry & np.uint64(1) != 0
    starts = tables.piece_starts
    first = at - (starts[left + 1] - starts[left])
    last = at + (starts[right + 1] - starts[right])
    end = merge_word(tables, scratch, room.text, first, last, room.old, 0)
    stays = end == 2 and room.old[0] == left and room.old[1] == right
    scratch.joints[place] = (key << np.uint64(1)) | np.uint64(stays)
    return stays


@inline
def _token_end(room: Room, at: int, last: int) -> int:
    """Where the token ends that begins at byte `at`; `last` ends one."""
    at += 1
    while at < last and room.tokens[at] < 0:
        at += 1
    return at


@inline
def _join(tables: Tables, scratch: Scratch, room: Room, start: int, stop: int, begin: int,
          last: int, at: int) -> int:
    """Step 6 for the part text[start:stop]: tokens to room.new[at:]; returns where they end.

    A token begins at byte `begin`, at or before `start`, and one ends at `last`. Whole tokens of
    the part are kept, what is left of tokens that were cut is tokenised by itself; and where at
    every joint the two tokens would stay as they are, the whole is what byte-pair encoding makes of
    the part. (Were there a merge across a joint, take the first: all merges before it lie within
    tokens, so it would happen in the spelling of the two tokens at this joint alone.) Otherwise the
    part is tokenised anew.
    """
    tokens, new = room.tokens, room.new
    first, sound, i, before_whole = at, True, start, False
    while i < stop and sound:
        end = _token_end(room, begin, last)
        joint, token = at, tokens[begin]
        whole = i == begin and end <= stop
        if whole:
            new[at] = token & _ID
            sound = token & _UNSTABLE == 0
            at += 1
        else:
            at = tokens_of(tables, scratch, room.text, i, min(end, stop), new, at)
            for k in range(joint + 1, at):
                new[k] |= _JOINED
        if joint > first:
            if not (whole and before_whole):
                sound &= _stays(tables, scratch, room, new[joint - 1] & _ID, new[joint] & _ID, i)
            else:
                if token & _KNOWN == 0:
                    stays = _stays(tables, scratch, room, new[joint - 1] & _ID, token & _ID, i)
                    token |= _JOINED if stays else _BROKEN
                    tokens[i] = token
                sound &= token & _JOINED != 0
            new[joint] |= _JOINED
        before_whole = whole
        i = begin = end
    if sound:
        return at
    at = merge_word(tables, scratch, room.text, start, stop, new, first)
    for k in range(first + 1, at):
        new[k] |= _JOINED
    return at


@inline
def _contract(tables: Tables, rules: Rules, scratch: Scratch, room: Room, start: int, stop: int,
              size: int, draws: Draws) -> tuple[bool, int]:
    """Cut text[start:stop] anew; whether its tokens changed, and by how many they became more."""
    parts = _cuts(rules, room, start, stop, draws)
    starts, tokens, new = tables.piece_starts, room.tokens, room.new
    made, begin = 0, start
    for part in range(parts):
        first = room.cuts[part]
        end = _token_end(room, begin, stop)
        while end <= first:
            begin = end
            end = _token_end(room, begin, stop)
        made = _join(tables, scratch, room, first, room.cuts[part + 1], begin, stop, made)
    before, last, changed = 0, 0, False
    at = start
    for i in range(start, stop):
        if tokens[i] >= 0:
            # As long as nothing has changed, token `before` begins where the new one does.
            changed |= before >= made or (tokens[i] ^ new[before]) & _ID != 0
            last = tokens[i] & _ID
            before += 1
    if not changed and before == made:
        return False, 0
    kept = tokens[start] & _KNOWN if (tokens[start] ^ new[0]) & _ID == 0 else 0
    for i in range(start, stop):
        tokens[i] = -1
    for i in range(made):
        token = new[i] & _ID
        tokens[at] = new[i] | np.int32(rules.marks[token] & 7) << ID_BITS
        at += starts[token + 1] - starts[token]
    tokens[start] |= kept
    if stop < size and last != new[made - 1] & _ID:
        tokens[stop] &= ~_KNOWN
    return True, made - before


@kernel
def patok_documents(tables: Tables, rules: Rules, scratch: Scratch, ids: Ints, bounds: Longs,
                    documents: Words, own: bool, draws: Draws,
                    room: Room, out: Ints, out_bounds: Longs) -> tuple[int, int, int, int]:
    """Contract and expand every document: expansions attempted and achieved, then contractions.

    Document d is ids[bounds[d]:bounds[d + 1]], number documents[d] of the corpus; its new ids are
    out[out_bounds[d]:out_bounds[d + 1]]. `out` has room for a token a byte of all spellings.
    """
    expansions = expanded = contractions = contracted = 0
    out_bounds[0] = 0
    for d in range(bounds.size - 1):
        restart(draws, documents[d])
        size = _spell(tables.piece_starts, tables.piece_bytes, rules.marks,
                      ids[bounds[d] : bounds[d + 1]], own, room)
        _mark_places(rules, room, size)
        count = bounds[d + 1] - bounds[d]
        attempts = math.floor(rules.contract_prop * count)
        contractions += attempts
        for _ in range(attempts):
            start, stop = _choose(rules, room, size, count, draws)
            if start >= 0:
                changed, more = _contract(tables, rules, scratch, room, start, stop, size,
                                          draws)
                contracted += changed
                count += more
        found = 0
        for i in range(size):
            if room.tokens[i] >= 0:
                room.old[found] = room.tokens[i] & _ID
                found += 1
        attempts = math.floor(rules.expand_prop * count)
        end, changed_tokens = split_randomly(
            tables.split_starts, tables.split_left, tables.split_right, rules.affix_tokens,
            room.old, count, attempts, draws, room.after, out, out_bounds[d])
        expansions += attempts
        expanded += changed_tokens
        out_bounds[d + 1] = end
    return expansions, expanded, contractions, contracted
