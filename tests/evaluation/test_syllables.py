"""Syllables against a list that was written by hand, and properties that hold for any word."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.lexicon import load_lexicon
from evaluation.syllables import shows_syllables, syllables

# Each word with a hyphen between its syllables; a hyphen of the spelling is written =.
BY_HAND = """
ba-hay ta-o ka-in i-sa a-so u-lo i-i-nom a-a-lis u-u-wi o-o sa-an da-an bu-o to-to-o no-o
li-it ta-as lo-ob po-ot ki-lay ka-hoy a-raw si-saw gi-liw ba-tis tu-big a-poy la-ngit ha-ngin
bu-wan bi-tu-in da-gat bun-dok i-log gu-bat bu-lak-lak
ngi-ti ngu-ya nga-lan pa-nga-lan ka-ngi-ti-an ngu-mi-ti ngi-ngi-ti nga-yon
ping-gan ling-go bang-ko ting-nan pang-li-nis pang-kat sing-sing bu-nga da-la-ngin tung-kol
mang-ga-ga-mot ma-ngi-ngis-da nang-ga-ling sang-ka-ta-u-han kong-re-so ing-les sang-gol
buk-san dal-hin sun-din tam-nan sid-lan sak-tan lag-yan big-yan as-nan tak-bo ak-lat
pin-to la-pis san-dok lam-bat kam-bing
mag-lu-to mag=a-ral mag=a-a-ral pag=u-sa-pan nag=i-i-sip tag=u-lan pang=a-raw may=a-ri
a-raw=a-raw ba-hay=ba-ha-yan pa-u-lit=u-lit ka-a-kit=a-kit un-ti=un-ti
ka-ba-ta-an ka-pu-lu-an ka-u-ga-li-an ma-ka-a-lis ka-ka-u-sap
ku-ma-ka-in i-si-nu-su-lat i-bi-ni-bi-gay ti-nu-tu-lu-ngan ki-na-ka-u-sap na-mi-mi-li
ma-mi-mi-li pi-na-ka-ma-ta-as na-pa-ka-gan-da nag-si-si-mu-la ka-ru-nu-ngan ka-ra-ga-tan
ta-nu-ngin lu-tu-in ba-gu-hin la-ka-rin ba-ya-ran
tra-ba-ho pla-no pri-to gra-du-wet kla-se tsi-ne-las tsis-mis tse-ke plan-tsa mar-tsa sin-tso
dyar-yo
sob-re lib-ro pob-re kop-ya prob-le-ma rep-leks sek-re-to lit-ra-to mik-ro-po-no tek-las
kot-se tit-ser mak-ro sak-lo-lo
tim-bre sen-tro tem-plo si-lin-dro a-sam-ble-a kon-tra kum-ple-to som-bre-ro im-plu-wen-si-ya
kom-pro-mi-so in-dus-tri-ya mi-nis-tro ma-es-tro re-his-tro kong-kre-to
eks-per-to ek-sa-men ins-pi-ras-yon trans-por-tas-yon kons-ti-tus-yon ins-ti-tus-yon abs-trak
eks-plo-si-bo eks-tra eks-klu-si-bo mons-tru-o eks-tran-he-ro
mag-tra-ba-ho mag-plan-tsa pag-pri-to mag-kla-se pam-pri-to
bi-ya-he ku-wen-to si-yu-dad pi-ya-no di-yos e-lek-si-yon nas-yon es-pes-yal kar-ni-ser-ya
gi-ta-ris-ta ba-su-re-ro kar-pin-te-ro es-ku-we-la-han e-her-sis-yo re-li-hi-yon
"""
SPLITS = BY_HAND.split()
# What a careless rule would make of some of them.
WRONG = ["bu-la-klak", "lap-is", "asn-an", "eks-a-men", "u-nti=u-nti", "magt-ra-ba-ho", "n-gi-ti"]


def joined(split: str) -> str:
    return split.replace("-", "").replace("=", "-")


@pytest.mark.parametrize("split", SPLITS)
def test_words_split_by_hand(split: str) -> None:
    assert syllables(joined(split)) == re.split("[-=]", split)


@pytest.mark.parametrize("split", WRONG)
def test_wrong_splits_are_not_what_the_rules_make(split: str) -> None:
    assert syllables(joined(split)) != re.split("[-=]", split)


def test_the_list_is_long_enough() -> None:
    assert len(set(SPLITS)) >= 150


def test_every_word_of_the_lexicon_keeps_its_letters_and_has_a_vowel_a_syllable() -> None:
    for word in load_lexicon():
        parts = syllables(word.form)
        assert "".join(parts) == word.form.replace("-", "")
        assert all(len(re.findall("[aeiou]", part)) == 1 for part in parts)


CONSONANT = "[bdghklmnprstwy]"
MANY = rf"{CONSONANT}{{0,2}}([aeiou](ng|{CONSONANT}){{0,4}}){{1,6}}"


@given(st.from_regex(MANY, fullmatch=True))
def test_syllables_spell_the_word_and_start_with_one_consonant_or_a_cluster(word: str) -> None:
    parts = syllables(word)
    assert "".join(parts) == word
    assert all(len(re.findall("[aeiou]", part)) == 1 for part in parts)
    for left, right in pairwise(parts):
        onset = re.match(r"(ng|[^aeiou])*", right)
        assert onset is not None
        letters = re.findall("ng|.", onset.group())
        closing = re.findall("ng|.", re.split("[aeiou]", left)[1])
        assert len(letters) <= 2  # no syllable inside a word starts with three
        assert letters or not closing  # a consonant is not left behind by a vowel


@given(st.from_regex(rf"{CONSONANT}[aeiou]({CONSONANT}[aeiou]){{0,3}}", fullmatch=True))
def test_a_copied_first_syllable_is_a_syllable_of_its_own(root: str) -> None:
    copy = syllables(root)[0]
    assert syllables(copy + root) == [copy, *syllables(root)]
    assert syllables(f"mag{copy}{root}") == ["mag", copy, *syllables(root)]


@pytest.mark.parametrize("word", ["mag-brr", "ng", "", "a-"])
def test_a_part_without_a_vowel_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="no vowel"):
        syllables(word)


@pytest.mark.parametrize(
    ("form", "root", "shown"),
    [
        ("magtrabaho", "trabaho", True),
        ("nagtatrabaho", "trabaho", False),
        ("katrabaho", "trabaho", False),
        ("trabaho", "trabaho", True),
        ("ngumingiti", "ngiti", True),
        ("iplano", "plano", False),
        ("kumakain", "kain", True),
        ("prinito", "prito", True),
    ],
)
def test_where_a_cluster_at_the_roots_start_hides_the_syllables(
    form: str, root: str, shown: bool
) -> None:
    assert shows_syllables(form, root) is shown
