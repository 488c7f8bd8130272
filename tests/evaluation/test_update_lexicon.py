"""What scripts/update_lexicon.py derives, and that the shipped files are what it derives."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from evaluation.config import InputError
from evaluation.lexicon import LEXICON, load_lexicon

SCRIPT = LEXICON.parent.parent.parent / "scripts" / "update_lexicon.py"
HEADER = "form\troot\taffix\tkind\tsegmentation\trules\tgloss\n"


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("update_lexicon", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


UPDATE = loaded()


def test_the_shipped_morphemes_are_derived_from_the_lexicon() -> None:
    lines = LEXICON.with_name("morphemes.tsv").read_text(encoding="utf-8").splitlines()
    rows = UPDATE.morpheme_rows(load_lexicon())
    assert lines == [UPDATE.MORPHEMES_HEADER, *("\t".join(row) for row in rows)]


@pytest.mark.parametrize(
    ("form", "segmentation", "stem"),
    [
        ("kumakain", "k-um-a-kain", "kain"),
        ("dumarating", "d-um-a-rating", "rating"),
        ("kabataan", "ka-bata-an", "bata"),
        ("labimpito", "labim-pito", "pito"),
        ("pinakamataas", "pinaka-ma-taas", "taas"),
        ("mandirigma", "man-di-rigma", "rigma"),
        ("basurero", "basur-ero", "basur"),
        ("makikita", "ma-ki-kita", "kita"),
        ("makakain", None, None),  # maka-kain, ma-ka-kain
        ("mamili", None, None),  # a nasal that two segments share
        ("dalhin", None, None),  # a vowel is lost
        ("araw-araw", None, None),
        ("nilinis", None, None),  # ni- is no affix of data/affixes
    ],
)
def test_words_with_certain_boundaries(
    form: str, segmentation: str | None, stem: str | None
) -> None:
    lines = LEXICON.with_name("morphemes.tsv").read_text(encoding="utf-8").splitlines()
    found = {cells[0]: cells for cells in (line.split("\t") for line in lines)}
    if segmentation is None:
        assert form not in found
    else:
        assert (found[form][1], found[form][3]) == (segmentation, stem)


def test_a_row_that_the_rules_do_not_derive_is_named(tmp_path: Path) -> None:
    path = tmp_path / LEXICON.name
    path.write_text(f"{HEADER}umkain\tkain\t-um-\tinfix\tum-kain\t-\teat\n", encoding="utf-8")
    with pytest.raises(InputError, match="gives kumain, not umkain"):
        UPDATE.update(tmp_path, frequencies=False)
    assert not (tmp_path / "morphemes.tsv").exists()


def test_it_writes_what_it_derives_and_prints_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / LEXICON.name
    path.write_text(f"{HEADER}kumain\tkain\t-um-\tinfix\tk-um-ain\t-\teat\n", encoding="utf-8")
    assert UPDATE.update(tmp_path, frequencies=False) == 0
    written = (tmp_path / "morphemes.tsv").read_text(encoding="utf-8").splitlines()
    assert written[1:] == ["kumain\tk-um-ain\tkain\tkain\teat"]
    assert "1 forms of 1 roots" in capsys.readouterr().out


def test_frequencies_are_of_single_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("wordfreq")
    fake.get_frequency_dict = lambda language: {"kumain": 1e-5}  # type: ignore[attr-defined]
    fake.freq_to_zipf = lambda frequency: 4.0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wordfreq", fake)
    words = [word for word in load_lexicon() if word.form in {"kumain", "mag-aral"}]
    assert UPDATE.frequency_rows(words) == [("kumain", "4.00")]
    monkeypatch.setitem(sys.modules, "wordfreq", None)
    with pytest.raises(InputError, match="pip install wordfreq==3.1.1"):
        UPDATE.frequency_rows(words)
