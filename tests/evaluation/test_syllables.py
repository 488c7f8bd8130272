import re

import pytest

from evaluation.lexicon import load_lexicon
from evaluation.syllables import syllables


@pytest.mark.parametrize(
    ("word", "split"),
    [
        ("bahay", "ba-hay"),
        ("tao", "ta-o"),
        ("kain", "ka-in"),
        ("buksan", "buk-san"),
        ("sobre", "sob-re"),
        ("eksperto", "eks-per-to"),
        ("timbre", "tim-bre"),
        ("sentro", "sen-tro"),
        ("eksplosibo", "eks-plo-si-bo"),
        ("trabaho", "tra-ba-ho"),
        ("pinggan", "ping-gan"),
        ("ngiti", "ngi-ti"),
        ("panglinis", "pang-li-nis"),
        ("mag-aral", "mag-a-ral"),
        ("pag-usapan", "pag-u-sa-pan"),
        ("kapuluan", "ka-pu-lu-an"),
        ("ekstra", "eks-tra"),
    ],
)
def test_known_words(word: str, split: str) -> None:
    assert "-".join(syllables(word)) == split


def test_every_word_of_the_lexicon_keeps_its_letters_and_has_a_vowel_a_syllable() -> None:
    for word in load_lexicon():
        parts = syllables(word.form)
        assert "".join(parts) == word.form.replace("-", "")
        assert all(len(re.findall("[aeiou]", part)) == 1 for part in parts)


def test_a_part_without_a_vowel_is_refused() -> None:
    with pytest.raises(ValueError, match="no vowel"):
        syllables("mag-brr")
