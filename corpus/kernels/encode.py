"""From the text of documents to ids.

A text is cut into words at places that no token of the vocabulary spans, so that encoding the
words by themselves is exact: before a space, unless a token holds the character before it and a
space together (Gemma 3's only one is ">▁</"), and around added tokens. Added tokens are found as
`tokenizers` finds them: the leftmost, of these the longest; the name of a special token is passed
over as text.
"""

from __future__ import annotations

from corpus.kernels.bpe import merge_word, tokens_of
from corpus.kernels.tables import SPACE, Bytes, Ints, Longs, Scratch, Tables, inline, kernel


@kernel
def _added(child: Ints, sibling: Ints, byte: Bytes, token_of: Ints, text: Bytes, at: int,
           stop: int) -> tuple[int, int]:
    """The longest added token that begins at `at`: its id as in `trie_token`, and its length."""
    node, token, length, i = 0, -1, 0, at
    while i < stop:
        node = child[node]
        while node >= 0 and byte[node] != text[i]:
            node = sibling[node]
        if node < 0:
            break
        i += 1
        if token_of[node] != -1:
            token, length = token_of[node], i - at
    return token, length


@kernel
def _is_mark(mark: Bytes, text: Bytes, at: int, stop: int) -> bool:
    if at + mark.size > stop:
        return False
    for k in range(mark.size):
        if text[at + k] != mark[k]:
            return False
    return True


@inline
def _word(tables: Tables, scratch: Scratch, text: Bytes, start: int, stop: int, marked: bool,
          out: Ints, at: int) -> int:
    """Ids of text[start:stop]; where it holds space marks of its own, they become spaces first."""
    if start == stop:
        return at
    if not marked:
        return tokens_of(tables, scratch, text, start, stop, out, at)
    spelled, size, i = scratch.spelled, 0, start
    while i < stop:
        if _is_mark(tables.mark, text, i, stop):
            spelled[size] = SPACE
            i += tables.mark.size
        else:
            spelled[size] = text[i]
            i += 1
        size += 1
    return merge_word(tables, scratch, spelled, 0, size, out, at)


@kernel
def encode_documents(tables: Tables, scratch: Scratch, text: Bytes, starts: Longs, out: Ints,
                     bounds: Longs) -> None:
    """Encode document d, text[starts[d]:starts[d + 1]], to out[bounds[d]:bounds[d + 1]].

    `text` is UTF-8 without zero bytes, with 24 bytes more behind it; `out` has room for an id a
    byte and 16 more. `bounds` has the shape of `starts` and is filled here.
    """
    classes, joined, mark = tables.classes, tables.joined, tables.mark
    at = 0
    bounds[0] = 0
    for document in range(starts.size - 1):
        i, stop = starts[document], starts[document + 1]
        begin, marked = i, False
        while begin < stop:
            token, length = -1, 0
            while i < stop:  # on to the end of the word
                kind = classes[text[i]]
                if kind == 0:
                    i += 1
                    continue
                size = 1
                if kind == 2:
                    token, length = _added(tables.trie_child, tables.trie_next, tables.trie_byte,
                                           tables.trie_token, text, i, stop)
                    if token >= 0:
                        break
                    if token == -2 or not _is_mark(mark, text, i, stop):
                        i += max(length, 1)
                        token = -1
                        continue
                    size = mark.size
                if i > begin and joined[text[i - 1]] == 0:
                    break
                marked |= size != 1
                i += size
            at = _word(tables, scratch, text, begin, i, marked, out, at)
            if token >= 0:
                out[at] = token
                at += 1
                i += length
            begin, marked = i, False
        bounds[document + 1] = at


@kernel
def finish(ids: Ints, bounds: Longs, eod: int, histogram: Longs, out: Ints) -> int:
    """Copy documents to `out`, each with `eod` behind it, and count every id of `out`.

    Returns the first id that `histogram` has no place for, or -1.
    """
    at = 0
    for document in range(bounds.size - 1):
        for i in range(bounds[document], bounds[document + 1]):
            token = ids[i]
            if token >= histogram.size:
                return token
            out[at] = token
            histogram[token] += 1
            at += 1
        out[at] = eod
        histogram[eod] += 1
        at += 1
    return -1
