"""Affixation against lists that were written by hand, and properties that hold for any root."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.affixer import (
    EXCEPTIONS,
    RULES,
    Affix,
    attach,
    copies,
    derive,
    exceptions,
    explain,
    first_vowel,
    kind_of,
    objection,
    parse_affix,
)

# One a line: root + affix = form, or forms where the rules leave a choice. Written by hand.
BY_HAND = """
kain + -um- = kumain
sulat + -um- = sumulat
alis + -um- = umalis
inom + -um- = uminom
uwi + -um- = umuwi
ngiti + -um- = ngumiti
takbo + -um- = tumakbo
yakap + -um- = yumakap
dating + -um- = dumating
hingi + -um- = humingi
graduwet + -um- = grumaduwet gumraduwet
kain + -in- = kinain
sulat + -in- = sinulat
basa + -in- = binasa
inom + -in- = ininom
alis + -in- = inalis
ngatngat + -in- = nginatngat
trabaho + -in- = trinabaho tinrabaho
plantsa + -in- = plinantsa pinlantsa
luto + ni- = niluto
linis + ni- = nilinis
yakap + ni- = niyakap
kain + -um- CV- = kumakain
sulat + -um- CV- = sumusulat
alis + -um- CV- = umaalis
inom + -um- CV- = umiinom
uwi + -um- CV- = umuuwi
ngiti + -um- CV- = ngumingiti
takbo + -um- CV- = tumatakbo
dating + -um- CV- = dumadating dumarating
daan + -um- CV- = dumadaan dumaraan
kain + -in- CV- = kinakain
basa + -in- CV- = binabasa
isip + -in- CV- = iniisip
nguya + -in- CV- = nginunguya
luto + ni- CV- = niluluto
kain + CV- = kakain
alis + CV- = aalis
ngiti + CV- = ngingiti
takbo + CV- = tatakbo
dating + CV- = dadating darating
luto + mag- = magluto
aral + mag- = mag-aral
ingat + mag- = mag-ingat
gupit + mag- = maggupit
trabaho + mag- = magtrabaho
ehersisyo + mag- = mag-ehersisyo
luto + nag- = nagluto
usap + nag- = nag-usap
luto + mag- CV- = magluluto
aral + mag- CV- = mag-aaral
luto + nag- CV- = nagluluto
isip + nag- CV- = nag-iisip
trabaho + nag- CV- = nagtatrabaho nagtratrabaho
plano + nag- CV- = nagpaplano nagplaplano
dasal + nag- CV- = nagdadasal nagdarasal
diwang + nag- CV- = nagdidiwang nagdiriwang
tulog + ma- = matulog
ayos + ma- = maayos
ganda + ma- = maganda
dami + ma- = madami marami
dunong + ma- = madunong marunong
dilim + ma- = madilim marilim
dinig + na- = nadinig narinig
tulog + na- CV- = natutulog
dinig + ma- CV- = madidinig madirinig maririnig
dumi + ma- CV- = madudumi madurumi marurumi
tahi + i- = itahi
abot + i- = iabot
uwi + i- = iuwi
dagdag + i- = idagdag iragdag
sulat + i- CV- = isusulat
abot + i- CV- = iaabot
sulat + i- -in- = isinulat
bigay + i- -in- = ibinigay
bigay + i- -in- CV- = ibinibigay
tayo + i- -in- CV- = itinatayo
lagay + ini- = inilagay
lagay + ini- CV- = inilalagay
kain + -in = kainin
tanong + -in = tanungin
ayos + -in = ayusin
putol + -in = putulin
lakad + -in = lakadin lakarin
tawid + -in = tawidin tawirin
bayad + -in = bayadin bayarin
gutom + -in = gutumin
pagod + -in = pagudin pagurin
basa + -hin = basahin
bago + -hin = baguhin
sabi + -hin = sabihin
bura + -hin = burahin
plano + -hin = planuhin
trabaho + -hin = trabahuhin
talo + -nin = talunin
kain + CV- -in = kakainin
inom + CV- -in = iinumin
basa + CV- -hin = babasahin
tanong + CV- -in = tatanungin
tulong + -an = tulungan
bayad + -an = bayadan bayaran
hugas + -an = hugasan
aklat + -an = aklatan
higa + -an = higaan
upo + -an = upuan
turo + -an = turuan
laro + -an = laruan
punta + -han = puntahan
tinda + -han = tindahan
takbo + -han = takbuhan
tawa + -nan = tawanan
paa + -nan = paanan
tulong + -in- -an = tinulungan
bayad + -in- -an = binayadan binayaran
punta + -in- -han = pinuntahan
sama + -in- -han = sinamahan
tulong + -in- CV- -an = tinutulungan
punta + -in- CV- -han = pinupuntahan
tulong + CV- -an = tutulungan
hugas + CV- -an = huhugasan
ligaw + ni- CV- -an = nililigawan
bata + ka- -an = kabataan
bayan + ka- -an = kabayanan
ayos + ka- -an = kaayusan
ibig + ka- -an = kaibigan
dagat + ka- -an = kadagatan karagatan
dunong + ka- -an = kadunungan karunungan
unlad + ka- -an = kaunladan kaunlaran
lungkot + ka- -an = kalungkutan
loob + ka- -an = kaluuban kalooban
poot + ka- -an = kapuutan kapootan
ganda + ka- -han = kagandahan
gulo + ka- -han = kaguluhan
babae + ka- -han = kababaehan kababaihan
lalaki + ka- -han = kalalakihan
sala + ka- -nan = kasalanan
laro + ka- = kalaro
usap + ka- = kausap
alis + ka- CV- = kaaalis
dating + ka- CV- = kadadating kadarating kararating
kain + pag- = pagkain
alis + pag- = pag-alis
unlad + pag- = pag-unlad
dating + pag- = pagdating
luto + pag- CV- = pagluluto
aral + pag- CV- = pag-aaral
aral + pag- -an = pag-aralan
usap + pag- -an = pag-usapan
usap + pinag- -an = pinag-usapan
usap + pinag- CV- -an = pinag-uusapan
bili + pang- = pambili pamili
bahay + pang- = pambahay pamahay
palo + pang- = pampalo pamalo
punas + pang- = pampunas pamunas
dikit + pang- = pandikit panikit
linis + pang- = panlinis
sulat + pang- = pansulat panulat
tulak + pang- = pantulak panulak
regalo + pang- = panregalo
gamot + pang- = panggamot
hiwa + pang- = panghiwa
kulay + pang- = pangkulay pangulay
masa + pang- = pangmasa
nayon + pang- = pangnayon
wika + pang- = pangwika
araw + pang- = pang-araw pangaraw
ulo + pang- = pang-ulo pangulo
prito + pang- = pamprito
bili + mang- = mambili mamili
palo + mang- = mampalo mamalo
tahi + mang- = mantahi manahi
sakit + mang- = mansakit manakit
kuha + mang- = mangkuha manguha
isda + mang- = mang-isda mangisda
gulo + mang- = manggulo
hiram + mang- = manghiram
ligaw + mang- = manligaw
daya + mang- = mandaya manaya
bili + nang- = nambili namili
patay + nang- = nampatay namatay
bili + mang- CV- = mambibili mamimili
basa + mang- CV- = mambabasa mamamasa
isda + mang- CV- = mang-iisda mangingisda
awit + mang- CV- = mang-aawit mangangawit
sulat + mang- CV- = mansusulat manunulat
gamot + mang- CV- = manggagamot
kailangan + mang- CV- = mangkakailangan mangangailangan
laro + mang- CV- = manlalaro
daya + mang- CV- = mandadaya mandaraya mananaya
dagat + mang- CV- = mandadagat mandaragat mananagat
tahi + nang- CV- = nantatahi nananahi
tawag + nang- CV- -an = nantatawagan nananawagan
bahagi + pang- CV- = pambabahagi pamamahagi
api + mapang- = mapang-api mapangapi
sira + mapang- = mapansira mapanira
bili + maka- = makabili
alis + maka- = makaalis
dating + maka- = makadating makarating
tulog + naka- = nakatulog
tulog + nakaka- = nakakatulog
abot + paki- = pakiabot
dala + paki- = pakidala pakirala
basa + paki- = pakibasa
sama + maki- = makisama
usap + makipag- = makipag-usap
laro + nakipag- = nakipaglaro
luto + taga- = tagaluto
salita + tagapag- = tagapagsalita
alaga + tagapag- = tagapag-alaga
ulan + tag- = tag-ulan
init + tag- = tag-init
gutom + tag- = taggutom
ari + may- = may-ari
isa + labing- = labing-isa
pito + labing- = labimpito
dalawa + labing- = labindalawa
walo + labing- = labingwalo
laki + kasing- = kasinlaki
bilis + kasing- = kasimbilis
ganda + kasing- = kasingganda
tao + sangka- -han = sangkatauhan
bayan + sang- -an = sambayanan
daigdig + sang- -an = sandaigdigan
ganda + pinaka- = pinakaganda
taas + pinakama- = pinakamataas
ganda + napaka- = napakaganda
hinga + nagpa- = nagpahinga
hinga + nagpapa- = nagpapahinga
kita + ipina- = ipinakita
kain + pa- -in = pakainin
araw + R- = araw-araw
taon + R- = taon-taon
halo + R- = halo-halo
bahay + R- -an = bahay-bahayan
tulog + R- -an = tulog-tulugan
akit + ka- R- = kaakit-akit
dapat + ka- R- = kadapat-dapat karapat-dapat
balik + pa- R- = pabalik-balik
tapang + mag- R- -an = magtapang-tapangan
basura + -ero = basurero
tinda + -era = tindera
gitara + -ista = gitarista
basketbol + -ista = basketbolista
"""
# What single roots do: root + affix = form (rules).
EXCEPTIONAL = """
dala + -hin = dalhin (syncope)
bukas + -an = buksan (syncope)
sunod + -in = sundin (syncope)
gawa + -in = gawin (syncope)
bili + -hin = bilhin (syncope)
bigay + -an = bigyan (syncope)
lagay + -an = lagyan (syncope)
sakit + -an = saktan (syncope)
takip + -an = takpan (syncope)
laba + -han = labhan (syncope)
sakay + -an = sakyan (syncope)
tira + -han = tirhan (syncope)
tingin + -an = tingnan (syncope)
dinig + -in = dinggin (syncope)
simula + -an = simulan (syncope)
wala + ka- -an = kawalan (syncope)
hingi + -in = hingin (syncope)
bukas + -in- CV- -an = binubuksan (syncope)
dala + CV- -hin = dadalhin (syncope)
sala + ka- -an = kasalan (syncope)
tanim + -an = tamnan (syncope,metathesis)
silid + -an = sidlan (syncope,metathesis)
talab + -an = tablan (syncope,metathesis)
tanim + -in- -an = tinamnan (syncope,metathesis)
loko + -hin = lokohin (o-kept)
pabor + -an = paboran (o-kept)
loko + ka- -han = kalokohan (o-kept)
"""


def table(text: str) -> list[tuple[str, str, str]]:
    rows = [re.fullmatch(r"(\S+) \+ (.+) = (.+)", line) for line in text.strip().splitlines()]
    return [(row[1], row[2], row[3]) for row in rows if row]


def test_the_lists_are_read_whole_and_long_enough() -> None:
    assert len(table(BY_HAND)) == len(BY_HAND.strip().splitlines()) >= 200
    assert len(table(EXCEPTIONAL)) == len(EXCEPTIONAL.strip().splitlines())


@pytest.mark.parametrize(("root", "affix", "forms"), table(BY_HAND))
def test_attach_gives_each_allowed_spelling(root: str, affix: str, forms: str) -> None:
    assert sorted(attach(root, affix)) == sorted(forms.split())


@pytest.mark.parametrize(("root", "affix", "result"), table(EXCEPTIONAL))
def test_what_single_roots_do_is_found_but_not_allowed(root: str, affix: str, result: str) -> None:
    form, rules = result.rstrip(")").split(" (")
    assert form not in attach(root, affix)
    (found,) = (one for one in exceptions(root, affix) if one.form == form)
    assert found.rules == tuple(rules.split(","))
    assert explain(root, affix, form) == [found]


@pytest.mark.parametrize(
    ("root", "affix", "form", "segments", "stem", "rules"),
    [
        ("sulat", "-um-", "sumulat", "s-um-ulat", "sulat", ()),
        ("alis", "-um-", "umalis", "um-alis", "alis", ()),
        ("kain", "-um- CV-", "kumakain", "k-um-a-kain", "kain", ()),
        ("dating", "-um- CV-", "dumarating", "d-um-a-rating", "rating", ("d-r",)),
        ("ngiti", "-um- CV-", "ngumingiti", "ng-um-i-ngiti", "ngiti", ()),
        ("trabaho", "nag- CV-", "nagtatrabaho", "nag-ta-trabaho", "trabaho", ("cluster",)),
        ("bago", "-hin", "baguhin", "bagu-hin", "bagu", ("o-u",)),
        ("dunong", "ka- -an", "karunungan", "ka-runung-an", "runung", ("d-r", "o-u")),
        ("bili", "pang-", "pambili", "pam-bili", "bili", ("assimilation",)),
        ("bili", "mang-", "mamili", "mam-ili", "ili", ("substitution",)),
        ("bili", "mang- CV-", "mamimili", "mam-i-mili", "mili", ("substitution",)),
        ("isda", "mang- CV-", "mangingisda", "mang-i-ngisda", "ngisda", ("substitution",)),
        ("bigay", "i- -in- CV-", "ibinibigay", "i-b-in-i-bigay", "bigay", ()),
        ("usap", "pinag- -an", "pinag-usapan", "p-in-ag-usap-an", "usap", ()),
        ("taas", "pinakama-", "pinakamataas", "pinaka-ma-taas", "taas", ()),
        ("basura", "-ero", "basurero", "basur-ero", "basur", ("final-vowel",)),
        ("dapat", "ka- R-", "karapat-dapat", "ka-rapat-dapat", "dapat", ("d-r",)),
        ("babae", "ka- -han", "kababaihan", "ka-babai-han", "babai", ("e-i",)),
    ],
)
def test_a_derivation_tells_segments_stem_and_rules(
    root: str, affix: str, form: str, segments: str, stem: str, rules: tuple[str, ...]
) -> None:
    (found,) = (one for one in derive(root, affix) if one.form == form)
    assert (found.segments, found.stem, found.rules) == (tuple(segments.split("-")), stem, rules)


@pytest.mark.parametrize(
    ("text", "affix", "kind"),
    [
        ("mag-", Affix(prefix="mag"), "prefix"),
        ("-um-", Affix(infix="um"), "infix"),
        ("-an", Affix(suffix="an"), "suffix"),
        ("ka- -an", Affix(prefix="ka", suffix="an"), "circumfix"),
        ("i- -in-", Affix(prefix="i", infix="in"), "circumfix"),
        ("CV-", Affix(copy="CV"), "reduplication"),
        ("-in- CV- -an", Affix(infix="in", copy="CV", suffix="an"), "reduplication"),
        ("mag- R- -an", Affix(prefix="mag", copy="R", suffix="an"), "reduplication"),
    ],
)
def test_an_affix_is_its_parts_and_has_a_kind(text: str, affix: Affix, kind: str) -> None:
    assert parse_affix(text) == affix
    assert kind_of(text) == kind


@pytest.mark.parametrize(
    "text", ["", "mag", "-", "-an ka-", "mag- nag-", "Mag-", "m2-", "mag-  -an", "-an mag-"]
)
def test_what_is_no_affix_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no affix"):
        parse_affix(text)


@pytest.mark.parametrize(("root", "affix"), [("kain", "-hin"), ("kain", "-han"), ("tulog", "-nan")])
def test_a_suffix_that_needs_a_vowel_attaches_to_no_consonant(root: str, affix: str) -> None:
    assert attach(root, affix) == ()


def test_first_vowel_of_a_word_without_one_is_its_end() -> None:
    assert first_vowel("brr") == 3
    assert [first_vowel(word) for word in ("alis", "kain", "ngiti", "trabaho")] == [0, 1, 2, 2]


@pytest.mark.parametrize(
    ("root", "made"),
    [("kain", "ka"), ("alis", "a"), ("ngiti", "ngi"), ("plano", "pa pla"), ("tsismis", "ti tsi")],
)
def test_the_copy_is_the_first_consonant_and_vowel(root: str, made: str) -> None:
    assert copies(root) == tuple(made.split())


def test_an_objection_names_what_the_rules_make() -> None:
    assert objection("kumain", "kain", "-um-", ("k", "um", "ain"), ()) is None
    assert objection("kunin", "kuha", "-in", ("kun", "in"), ("irregular",)) is None
    said = objection("umkain", "kain", "-um-", ("um", "kain"), ())
    assert said == "-um- + kain gives kumain, not umkain"
    said = objection("kumain", "kain", "-um-", ("kum", "ain"), ())
    assert said == "kumain is k-um-ain by no rule"
    said = objection("tanungin", "tanong", "-in", ("tanung", "in"), ())
    assert said == "tanungin is tanung-in by o-u"
    said = objection("kumain", "kain", "-um-", ("kum", "ain"), ("irregular",))
    assert said == "kumain is k-um-ain by no rule"
    assert objection("kainhin", "kain", "-hin", ("kain", "hin"), ()) is not None


ONE = "(?:[bdghklmnprstwy]|ng)"
ROOTS = st.from_regex(rf"{ONE}?[aeiou](?:{ONE}?[aeiou]){{0,3}}[bdgklmnpst]?", fullmatch=True)
AFFIXES = st.sampled_from([affix for _, affix, _ in table(BY_HAND)])


@given(ROOTS, AFFIXES)
def test_segments_spell_the_form_and_without_rules_hold_the_root(root: str, affix: str) -> None:
    for found in derive(root, affix) + exceptions(root, affix):
        assert "".join(found.segments) == found.form.replace("-", "")
        assert list(found.rules) == [rule for rule in RULES if rule in found.rules]
        assert found.stem in "".join(found.segments) or parse_affix(affix).infix
        if not found.rules:
            assert found.stem == root
        if not EXCEPTIONS.isdisjoint(found.rules):
            assert found in exceptions(root, affix)


@given(ROOTS, st.sampled_from(["mag-", "-um-", "CV-", "i-", "-an", "ka- -an", "-in- CV- -an"]))
def test_some_spelling_of_every_root_with_a_plain_affix(root: str, affix: str) -> None:
    forms = attach(root, affix)
    assert forms
    assert len(set(forms)) == len(forms)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", form) for form in forms)
