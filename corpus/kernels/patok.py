"""The loops of corpus.variants.patok, which says what they do.

The text of a document never changes, only where it is cut. So a document is its spelling: a bit of
`begins` for each byte at which a token begins, and there `tokens[i]`. A uniform byte that is a
token's first is a uniform token: drawing bytes until one is found takes as many draws as a token
has bytes, whatever the length of the document, and contracting moves nothing. What the loops look
for (tokens, affix forms, repeats) they find by the lowest set bit of a word of 64 bytes; looking at
one byte after another costs a mispredicted branch each time.
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
    lowest_bit,
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
    begins: Words  # a bit a byte: a token begins here; and one more, behind the last
    tokens: Ints  # where one begins
    starts_form: Words  # a bit a byte: an affix form begins here
    forms: Masks  # where one does: bit L for a form of L bytes, 16 + L for one with a space mark
    repeats: Words  # a bit a byte: two characters begin here that stand twice in a row
    old: Ints
    new: Ints
    after: Ints
    cuts: Longs  # (16,): where the parts of a span begin, and its end
    spots: Longs  # where its tokens begin, and its end


def new_room(longest: int, expand_prop: float, most_tokens: int) -> Room:
    """Arrays for documents whose spellings have up to `longest` bytes, and spans of tokens."""
    size, words = longest + 32, longest // 64 + 3
    ids = size + math.floor(expand_prop * size)
    return Room(np.empty(size, np.uint8), np.empty(words, np.uint64), np.empty(size, np.int32),
                np.empty(words, np.uint64), np.empty(size, np.uint32), np.empty(words, np.uint64),
                np.empty(ids, np.int32), np.empty(ids, np.int32), np.empty(ids, np.int32),
                np.empty(16, np.int64), np.empty(most_tokens + 1, np.int64))


@inline
def _window(bits: Words, at: int, stop: int) -> np.uint64:
    """The bits of places at, at + 1, ... as the bits 0, 1, ... of a word; none from `stop` on."""
    place, shift = at >> 6, np.uint64(at & 63)
    word = bits[place] >> shift
    if shift:
        word |= bits[place + 1] << (np.uint64(64) - shift)
    if stop - at < 64:
        word &= (np.uint64(1) << np.uint64(stop - at)) - np.uint64(1)
    return word


@inline
def _next(bits: Words, at: int, stop: int) -> int:
    """The first place from `at` on whose bit is set, or `stop`."""
    while at < stop:
        word = _window(bits, at, stop)
        if word:
            return at + lowest_bit(word)
        at += 64
    return stop


@inline
def _put(bits: Words, at: int) -> None:
    bits[at >> 6] |= np.uint64(1) << np.uint64(at & 63)


@inline
def _clear(bits: Words, at: int) -> None:
    bits[at >> 6] &= ~(np.uint64(1) << np.uint64(at & 63))


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
    size, loose, clean = 0, True, 0
    for i in range(ids.size):
        token = ids[i]
        begin = starts[token]
        length = starts[token + 1] - begin
        while clean <= ((size + length) >> 6) + 1:
            room.begins[clean] = room.starts_form[clean] = room.repeats[clean] = np.uint64(0)
            clean += 1
        for k in range(length):
            room.text[size + k] = pieces[begin + k]
        _put(room.begins, size)
        mark = np.int32(marks[token])
        added = mark & _ADDED != 0
        room.tokens[size] = token | (mark & 7) << ID_BITS
        if not (loose or added):
            room.tokens[size] |= _JOINED
        loose = added or not own
        size += length
    if size:
        _put(room.begins, size)
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
    """Fill `forms` and `repeats` for the whole document."""
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
        if mask:
            room.forms[i] = mask
            _put(room.starts_form, i)
        if _repeats(text, i, size):
            _put(room.repeats, i)


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
    i = _next(room.starts_form, start, stop)
    while i < stop:
        mask = _within(np.int64(room.forms[i]), stop - i)
        if mask & (mask - 1):
            return True
        i = _next(room.starts_form, i + 1, stop)
    return False


@kernel
def _choose(rules: Rules, room: Room, size: int, count: int,
            draws: Draws) -> int:
    """Steps 1 and 2: how many tokens to contract, which begin at `spots`, or 0."""
    chance = np.float64(next32(draws)) / 4294967296.0
    row = 0
    while row + 1 < rules.weights.size and chance >= rules.weights[row]:
        row += 1
    wanted = min(rules.lengths[row], count)
    for _ in range(REDRAWS):
        start = stop = seen = 0
        while True:
            start = below(draws, size)
            # A byte within a token is no start; nor is one with too few tokens behind it.
            if room.begins[start >> 6] >> np.uint64(start & 63) & np.uint64(1):
                stop, seen, found = start, 0, 0
                while found < wanted and stop < size:
                    room.spots[found] = stop
                    seen |= room.tokens[stop]
                    found += 1
                    stop = _next(room.begins, stop + 1, size)
                if found == wanted:
                    room.spots[found] = stop
                    break
        if seen & _ATOM:
            continue
        if seen & _AFFIX == 0:
            return wanted
        awareness = rules.awareness
        if _overlap(room, start, stop):
            awareness = rules.awareness_if_overlap
        if not happens(draws, awareness):
            return wanted
    return 0


@inline
def _pick_form(rules: Rules, room: Room, start: int, stop: int, draws: Draws) -> tuple[int, int]:
    """Step 4: where the chosen form begins and ends; (start, start) for none."""
    plain = marked = 0
    i = _next(room.starts_form, start, stop)
    while i < stop:
        mask = np.int64(room.forms[i])
        plain += _ones(_within(mask, stop - i))
        marked += _ones(_within(mask >> MARKED, stop - i))
        i = _next(room.starts_form, i + 1, stop)
    if plain == 0 or not happens(draws, rules.awareness):
        return start, start
    shift = MARKED if marked else 0
    left = below(draws, marked if marked else plain)
    i = _next(room.starts_form, start, stop)
    while i < stop:
        mask = _within(np.int64(room.forms[i]) >> shift, stop - i)
        while mask:
            if left == 0:
                return i, i + lowest_bit(np.uint64(mask))
            mask &= mask - 1
            left -= 1
        i = _next(room.starts_form, i + 1, stop)
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
        i = _next(room.repeats, part, after)
        while i < after:
            pair = _pair(room.text, i)
            if i + 2 * pair <= after:
                if i > part:
                    cuts[count] = i
                    count += 1
                cuts[count] = i + pair
                count += 1
                break
            i = _next(room.repeats, i + 1, after)
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
        end = _next(room.begins, begin + 1, last)
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
def _contract(tables: Tables, rules: Rules, scratch: Scratch, room: Room, count: int, size: int,
              draws: Draws) -> tuple[bool, int]:
    """Cut the `count` tokens at `spots` anew; whether they changed, and how many more they are."""
    start, stop = room.spots[0], room.spots[count]
    parts = _cuts(rules, room, start, stop, draws)
    starts, tokens, new = tables.piece_starts, room.tokens, room.new
    made, spot = 0, 0
    for part in range(parts):
        first = room.cuts[part]
        while room.spots[spot + 1] <= first:
            spot += 1
        made = _join(tables, scratch, room, first, room.cuts[part + 1], room.spots[spot], stop,
                     made)
    changed = made != count
    for i in range(min(made, count)):
        # As long as nothing has changed, token i begins where the new one does.
        changed |= (tokens[room.spots[i]] ^ new[i]) & _ID != 0
    if not changed:
        return False, 0
    last = tokens[room.spots[count - 1]] & _ID
    kept = tokens[start] & _KNOWN if (tokens[start] ^ new[0]) & _ID == 0 else 0
    for i in range(count):
        _clear(room.begins, room.spots[i])
    at = start
    for i in range(made):
        token = new[i] & _ID
        tokens[at] = new[i] | np.int32(rules.marks[token] & 7) << ID_BITS
        _put(room.begins, at)
        at += starts[token + 1] - starts[token]
    tokens[start] |= kept
    if stop < size and last != new[made - 1] & _ID:
        tokens[stop] &= ~_KNOWN
    return True, made - count


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
            chosen = _choose(rules, room, size, count, draws)
            if chosen:
                changed, more = _contract(tables, rules, scratch, room, chosen, size, draws)
                contracted += changed
                count += more
        found, i = 0, _next(room.begins, 0, size)
        while i < size:
            room.old[found] = room.tokens[i] & _ID
            found += 1
            i = _next(room.begins, i + 1, size)
        attempts = math.floor(rules.expand_prop * count)
        end, changed_tokens = split_randomly(
            tables.split_starts, tables.split_left, tables.split_right, rules.affix_tokens,
            room.old, count, attempts, draws, room.after, out, out_bounds[d])
        expansions += attempts
        expanded += changed_tokens
        out_bounds[d + 1] = end
    return expansions, expanded, contractions, contracted
