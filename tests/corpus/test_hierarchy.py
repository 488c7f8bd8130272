from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.hierarchy import paragraphs, parse, sentences, words

SIGNS = list("ab Zé.!?…,'’-\"()12 \n\r\t🙂👍🏽\u2028\u0301")
TEXTS = st.text(st.one_of(st.sampled_from(SIGNS), st.characters()), max_size=80)


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text, (0, len(text)))]


@given(TEXTS)
def test_every_sign_is_in_one_word_one_sentence_and_one_paragraph(text: str) -> None:
    covered: list[int] = []
    end = 0
    for paragraph in parse(text):
        assert paragraph.span[0] >= end
        end = paragraph.span[0]
        for sentence in paragraph.sentences:
            assert end <= sentence.span[0] < sentence.span[1] <= paragraph.span[1]
            assert text[slice(*sentence.span)] == text[slice(*sentence.span)].strip()
            end = sentence.span[0]
            for word in sentence.words:
                assert end <= word[0] < word[1] <= sentence.span[1]
                covered += range(*word)
                end = word[1]
            end = sentence.span[1]
        end = paragraph.span[1]
    assert covered == [at for at, sign in enumerate(text) if not sign.isspace()]


def test_paragraphs_are_lines_without_the_space_around_them() -> None:
    text = "  Hi Ana,\r\n\r\n \t\nI am fine. \n\nBye\n"
    assert [text[slice(*span)] for span in paragraphs(text)] == ["Hi Ana,", "I am fine.", "Bye"]


@pytest.mark.parametrize(("text", "expected"), [
    ("Hi! my name is Ana. i am 20.", ["Hi!", "my name is Ana.", "i am 20."]),
    ('"Really?" he said.', ['"Really?"', "he said."]),
    ("I met Mr. Smith. He is old.", ["I met Mr. Smith.", "He is old."]),
    ("J. Brown and I. We left.", ["J. Brown and I.", "We left."]),
    ("It is 3.50 here. Good.", ["It is 3.50 here.", "Good."]),
    ("1. First thing. 2. Second.", ["1. First thing.", "2. Second."]),
    ("well... maybe. So... Yes", ["well... maybe.", "So...", "Yes"]),
    ("at 5 p.m. today. Come at 6 p.m. We eat.", ["at 5 p.m. today.", "Come at 6 p.m.", "We eat."]),
    ("end.Next", ["end.Next"]),
    ("What?!) Yes", ["What?!)", "Yes"]),
    ("do you? no. i do not", ["do you?", "no.", "i do not"]),
    ("", []), (" \n ", []), ("...", ["..."]),
], ids=range(14))
def test_where_a_sentence_ends(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


@pytest.mark.parametrize(("text", "expected"), [
    ("I don't know.", ["I", "don't", "know", "."]),
    ("a well-known o’clock", ["a", "well-known", "o’clock"]),
    ("1,000.50 or 3.5, ok?!", ["1,000.50", "or", "3.5", ",", "ok", "?!"]),
    ("nice 🙂👍🏽!", ["nice", "🙂👍🏽!"]),
    ("'some' students' e-mail", ["'", "some", "'", "students", "'", "e-mail"]),
], ids=["contraction", "hyphen", "numbers", "emoji", "quotes"])
def test_words(text: str, expected: list[str]) -> None:
    assert [text[slice(*span)] for span in words(text, (0, len(text)))] == expected
