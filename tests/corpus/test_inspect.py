"""The command line: its figures against counts anew, what it shows, what it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from corpus.config import Config
from corpus.indexed import Reader, bin_path
from corpus.inspect import _parser, main
from corpus.merge import merge
from corpus.preprocess import output_prefix, preprocess, read_task
from corpus.tokenizers import Tokenizer
from tests.corpus.sets import EOD, encoded, halves, write_set

MakeConfig = Callable[..., Config]
Printed = Callable[..., str]
Written = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path, tokenizer: Tokenizer) -> Written:
    """`write_set` into a folder of this test's own."""
    return partial(write_set, tmp_path, tokenizer)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `arms` keeps what it made."""
    return tmp_path_factory.mktemp("kept") / "processed"


@pytest.fixture
def arms(make_config: MakeConfig, kept: Path, tmp_path: Path) -> dict[str, Path]:
    """The prefixes of two arms' sets of chunks, in the study's own layout; a copy for each test."""
    if not kept.is_dir():
        for arm in ("vanilla", "patok"):
            for number in (1, 2, 3):
                preprocess(read_task(make_config(arm), number))
        (tmp_path / "processed").rename(kept)
    shutil.copytree(kept, tmp_path / "processed")
    return {arm: output_prefix(make_config(arm), 1).with_name("seapile")
            for arm in ("vanilla", "patok")}


@pytest.fixture
def printed(
    study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Printed:
    """`printed(*words, code=0, columns=80)` runs the program and returns what it prints."""

    def inspect(*words: object, code: int = 0, columns: int = 80, tokenizer: bool = True) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.delenv("FORCE_COLOR", raising=False)
        given = ["--tokenizer", str(study / "tokenizer")] if tokenizer else []
        assert main([*map(str, words), *given]) == code
        out, err = capsys.readouterr()
        if code:
            assert re.fullmatch(r"error: [^\n]+\n", err), err
        return out + (err if code else "")

    return inspect


def loaded(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def test_figures_are_those_of_the_ids(
    arms: dict[str, Path], printed: Printed, tokenizer: Tokenizer
) -> None:
    found = loaded(printed(arms["patok"], "--json"))
    readers = [Reader(arms["patok"].with_name(f"seapile_000{n}")) for n in (1, 2, 3)]
    documents = [reader[i][:-1].tolist() for reader in readers for i in range(len(reader))]
    lengths = sorted(map(len, documents))
    tokens = Counter(token for ids in documents for token in ids)
    assert found["documents"] == len(documents) and found["tokens"] == sum(lengths)
    assert found["tokens_per_document"] == {
        "min": lengths[0], "median": lengths[(len(lengths) + 1) // 2 - 1],
        "p95": lengths[-(-95 * len(lengths) // 100) - 1], "max": lengths[-1]}
    by_size = Counter[str]()
    for token, count in tokens.items():
        piece = tokenizer.pieces[token]
        byte = re.fullmatch("<0x(..)>", piece)
        part = byte and int(byte[1], 16) >= 0x80
        by_size["-1" if part else "1" if byte else str(len(piece))] += count
    assert found["token_lengths"] == by_size
    assert sum(found["document_lengths"].values()) == len(documents)
    for power, count in found["document_lengths"].items():
        assert count == sum(int(power) <= size < max(2 * int(power), 1) for size in lengths)
    spelled = sum(int(size) * count for size, count in by_size.items() if size != "-1")
    mean = spelled / (sum(lengths) - by_size["-1"])
    assert found["characters_per_token"] == pytest.approx(mean, abs=1e-3)
    top = found["frequent"]
    assert [row["count"] for row in top] == sorted(tokens.values(), reverse=True)[:20]
    assert all(tokens[row["id"]] == row["count"] for row in top)
    records = [json.loads(arms["patok"].with_name(f"seapile_000{n}.json").read_bytes())
               for n in (1, 2, 3)]
    assert found["growth"] == pytest.approx(
        sum(lengths) / sum(record["vanilla_tokens"] for record in records), abs=1e-6)
    assert found["attempts"] == {
        "expansions_attempted": sum(record["attempted"] for record in records),
        "expansions_achieved": sum(record["achieved"] for record in records),
        "contractions_attempted": sum(record["contractions_attempted"] for record in records),
        "contractions_achieved": sum(record["contractions_achieved"] for record in records)}
    assert (found["dtype"], found["eod"], found["parts"]) == ("uint16", EOD, 3)
    assert found["variant"]["name"] == "patok" and found["missing_parts"] == []


def test_samples_are_documents_and_the_seed_chooses_them(
    arms: dict[str, Path], printed: Printed, tokenizer: Tokenizer, study: Path
) -> None:
    texts = [json.loads(line)["text"] for line in
             (study / "corpus.jsonl").read_bytes().splitlines()]

    def chosen(*words: object) -> list[int]:
        shown = loaded(printed(arms["patok"], "--json", *words))["samples"]
        for sample in shown:
            assert tokenizer.decode(sample["ids"]) == texts[sample["document"]]
            assert len(sample["ids"]) == len(sample["tokens"])
            if texts[sample["document"]].isascii():
                whole = texts[sample["document"]].replace("\n", "<U+000A>")
                assert "".join(sample["tokens"]) == whole
        return [sample["document"] for sample in shown]

    assert len(chosen()) == 3 and chosen() == chosen("--seed", 0)
    assert len(chosen("--sample", 20)) == 20 and chosen("--sample", 0) == []
    assert chosen("--sample", 999) == list(range(len(texts)))
    assert len({tuple(chosen("--seed", seed)) for seed in range(5)}) == 5
    assert chosen("--document", 25) == [25]


def test_a_chunk_and_a_merged_set(arms: dict[str, Path], printed: Printed) -> None:
    separate = loaded(printed(arms["patok"], "--json", "--sample", 0))
    merge(arms["patok"])
    merged = loaded(printed(arms["patok"], "--json", "--sample", 0))
    assert merged["parts"] == 1
    same = separate.keys() - {"parts", "rejects"}
    assert {key: merged[key] for key in same} == {key: separate[key] for key in same}
    one = loaded(printed(f"{arms['patok']}_0002.bin", "--json"))
    assert one["documents"] == len(Reader(arms["patok"].with_name("seapile_0002")))


def test_rejected_lines_are_told_by_reason(written: Written, printed: Printed,
                                           tokenizer: Tokenizer) -> None:
    prefix = written(encoded(tokenizer, "Isa."), rejected=5,
                     rejects={"blank line": 2, "not JSON": 3})
    assert re.search(r"rejected lines +5 \(not JSON: 3, blank line: 2\)", printed(prefix))


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_what_is_printed_fits(
    arms: dict[str, Path], written: Written, tokenizer: Tokenizer, printed: Printed, columns: int
) -> None:
    text = "漢字かな交じり文 " * 9 + "👩\u200d🌾 at 🍜" + "x" * 300 + " ito\tay\nsalita " + "漢" * 9
    own = written(encoded(tokenizer, text), "wide")
    for words in ([arms["patok"]], [own, "--document", 0], [arms["patok"], "--morphology"],
                  ["--compare", own, own, "--document", 0],
                  ["--compare", arms["vanilla"], arms["patok"]]):
        for line in printed(*words, columns=columns).splitlines():
            assert cell_len(line) <= columns, line


def shown_document(text: str) -> list[str]:
    """The lines behind the document's heading."""
    return text.split("tokens\n")[-1].splitlines()


def test_boundaries_are_lines_where_there_is_no_colour(
    written: Written, tokenizer: Tokenizer, printed: Printed
) -> None:
    text = "Kumain ng 漢 siya.\nMasaya\tang \x1b[31m"
    prefix = written(encoded(tokenizer, text))
    out = printed(prefix, "--document", 0)
    assert "\x1b" not in out and "│ between tokens" in out
    pieces = [tokenizer.pieces[token].replace("▁", " ") for token in
              tokenizer.encode(text).tolist()]
    whole = "│".join(re.sub(r"^<0x([0-7].)>$", lambda byte: chr(int(byte[1], 16)), piece)
                     for piece in pieces)
    for hidden, mark in (("<0x", "<"), ("\x1b", "<U+001B>"), ("\n", "⏎"), ("\t", "⇥")):
        whole = whole.replace(hidden, mark)
    assert "".join(shown_document(out)) == whole
    assert "<E6>│<BC>│<A2>" in out


def test_boundaries_are_colours_in_a_terminal(
    written: Written, tokenizer: Tokenizer, study: Path, root: Path
) -> None:
    a, b = encoded(tokenizer, "Kumain siya")[0], encoded(tokenizer, "Kumain siya")[0]
    at = next(i for i, token in enumerate(b) if halves(tokenizer, token))
    b[at : at + 1] = halves(tokenizer, b[at])[0]
    prefixes = [str(written([ids], name)) for ids, name in ((a, "a"), (b, "b"))]

    def run(*words: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "corpus.inspect", *words, "--document", "0", "--tokenizer",
             str(study / "tokenizer")], cwd=root, capture_output=True, text=True, check=True,
            env={**os.environ, "COLUMNS": "80", "TERM": "xterm", **environment})
        return done.stdout

    coloured = run(prefixes[0], FORCE_COLOR="1")
    backgrounds = re.findall(r"\x1b\[30;(4[67])m([^\x1b]+)", coloured.split("tokens")[-1])
    assert "".join(token for _, token in backgrounds) == "Kumain siya"
    assert len(backgrounds) == len(a) - 1
    assert all(one[0] != two[0] for one, two in pairwise(backgrounds))
    assert "│" not in coloured
    plain = run(prefixes[0], FORCE_COLOR="1", NO_COLOR="1")
    assert "\x1b[30;" not in plain and plain.count("│") == 1 + len(a) - 2
    both = run("--compare", *prefixes, FORCE_COLOR="1")
    assert both.split("tokens")[-1].count("┃") == 1


def test_boundaries_that_differ_are_thick(
    written: Written, tokenizer: Tokenizer, printed: Printed
) -> None:
    pieces = ["▁", "k", "um", "a", "in"], ["▁", "k", "u", "m", "a", "in"]
    a, b = ([*map(tokenizer.pieces.index, row), EOD] for row in pieces)
    words = ["--compare", written([a], "a"), written([b], "b"), "--document", 0]
    below, beside = printed(*words, columns=80), printed(*words, columns=120)
    assert shown_document(below) == ["A  │k│um│a│in", "B  │k│u┃m│a│in"]
    heading, row = shown_document(beside)
    assert heading.split() == ["A", "B"]
    assert row.split("  ")[0].strip() == "│k│um│a│in" and row.strip().endswith("│k│u┃m│a│in")


def test_long_documents_are_cut_short_at_the_same_place(
    arms: dict[str, Path], printed: Printed
) -> None:
    out = printed("--compare", arms["vanilla"], arms["patok"], "--sample", 1)
    lines = shown_document(out)
    a, b = ("".join(line[2:] for line in lines if line.startswith(name)) for name in "AB")
    assert a.endswith(" …") and b.endswith(" …")
    assert re.sub("[│┃]", "", a) == re.sub("[│┃]", "", b) != ""
    for one, two in zip(lines[::2], lines[1::2], strict=True):
        assert re.sub("[│┃]", "", one[2:]) == re.sub("[│┃]", "", two[2:])


def test_comparing_two_arms(arms: dict[str, Path], printed: Printed) -> None:
    words = ["--compare", arms["vanilla"], arms["patok"]]
    found = loaded(printed(*words, "--json"))
    assert found["same_text"] is True and found["difference"] is None
    assert found["boundaries"]["only_b"] > found["boundaries"]["only_a"] > 0
    assert found["alignment_a"]["occurrences"] == found["alignment_b"]["occurrences"] > 50
    assert [one["document"] for one in found["samples_a"]] == [
        one["document"] for one in found["samples_b"]]
    out = printed(*words)
    share = found["boundaries"]["both"] / sum(found["boundaries"].values())
    assert "same text  yes, 60 documents" in out and f"{share:.2%}" in out
    assert f"{found['alignment_b']['precision']:.1%}" in out


def test_other_texts_end_with_1(
    arms: dict[str, Path], written: Written, tokenizer: Tokenizer, printed: Printed
) -> None:
    a = written(encoded(tokenizer, "Isa.", "Kumain siya."), "a")
    b = written(encoded(tokenizer, "Isa.", "Kumanta siya."), "b")
    out = printed("--compare", a, b, code=1)
    assert "same text         no" in out and "first difference  document 1, byte 4" in out
    assert "A goes on         in siya." in out and "Document 1" in out
    assert "the first difference is in document 1" in out.splitlines()[-1]
    longer = written(encoded(tokenizer, "Isa.", "Kumain siya.\nUmulan ng malakas kahapon."), "c")
    for columns in (80, 120):
        assert "kahapon" in printed("--compare", a, longer, code=1, columns=columns)
    more = written(encoded(tokenizer, "Isa.", "Kumain siya.", "Tatlo."), "d")
    assert "B goes on         Tatlo." in printed("--compare", a, more, code=1)
    found = loaded(printed("--compare", a, b, "--json", code=1).rpartition("error:")[0])
    assert found["same_text"] is False and found["difference"]["document"] == 1
    assert found["boundaries"] is None


def test_morphology_of_a_set_and_of_a_tokenizer(
    arms: dict[str, Path], printed: Printed
) -> None:
    of_set = loaded(printed(arms["patok"], "--morphology", "--json"))
    alone = loaded(printed("--morphology", "--json"))
    assert alone["dataset"] is None and alone["tokenizer"] == of_set["tokenizer"]
    assert alone["tokenizer"]["words"] == alone["words"] >= 300
    assert of_set["dataset"]["recall"] > of_set["tokenizer"]["recall"] > 0
    assert of_set["dataset"]["fertility"] > of_set["tokenizer"]["fertility"] > 1
    assert [row["kind"] for row in alone["affixes"]] == ["prefix", "infix", "suffix"]
    compared = loaded(printed("--compare", arms["vanilla"], arms["patok"], "--json"))
    assert compared["alignment_b"] == of_set["dataset"]
    out = printed(arms["patok"], "--morphology")
    assert "this set's own cuts" in out and f"{of_set['dataset']['recall']:.1%}" in out
    assert "this set's own cuts" not in printed("--morphology")


def test_lists_of_ones_own(written: Written, tokenizer: Tokenizer, printed: Printed,
                           tmp_path: Path) -> None:
    words = tmp_path / "words.tsv"
    words.write_text("form\tsegmentation\troot\tstem\tgloss\nevler\tev-ler\tev\tev\thouse\n")
    for kind in ("prefix", "infix", "suffix"):
        (tmp_path / f"{kind}.txt").write_text("ng\n" if kind == "suffix" else "")
    prefix = written(encoded(tokenizer, "evler kumain"))
    found = loaded(printed(prefix, "--morphology", "--json", "--lexicon", words,
                           "--affixes", tmp_path))
    assert found["words"] == found["dataset"]["occurrences"] == 1
    assert [row["affixes"] for row in found["affixes"]] == [0, 0, 1]
    assert printed(prefix, "--morphology", "--lexicon", words, "--affixes", tmp_path)


def test_empty_sets_and_empty_documents(written: Written, printed: Printed) -> None:
    nothing, empty = written([], "nothing"), written([[EOD], [EOD]], "empty")
    found = loaded(printed(nothing, "--json"))
    assert (found["documents"], found["tokens_per_document"], found["growth"]) == (0, None, None)
    found = loaded(printed(empty, "--json"))
    assert (found["documents"], found["tokens"]) == (2, 0)
    assert found["document_lengths"] == {"0": 2} and found["frequent"] == []
    assert [sample["tokens"] for sample in found["samples"]] == [[], []]
    for prefix in (nothing, empty):
        assert printed(prefix) and printed(prefix, "--morphology")
        assert "same text" in printed("--compare", prefix, prefix)


def test_a_set_that_is_not_whole_says_so(arms: dict[str, Path], printed: Printed) -> None:
    for path in arms["patok"].parent.glob("seapile_0002*"):
        path.unlink()
    assert "Not whole: parts 2 are not there." in printed(arms["patok"])


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [([], 2, "Give one prefix, not 0"), (["{set}", "{set}"], 2, "Give one prefix, not 2"),
     (["--compare", "{set}"], 2, "Give two prefixes, A and B, not 1"),
     (["--morphology", "{set}", "{set}"], 2, "Give one prefix, not 2"),
     (["--compare", "--morphology", "{set}", "{set}"], 2, "Leave --morphology away"),
     (["{set}", "--document", "60"], 2, "there is no document 60; there are 60"),
     (["{set}", "--document", "-1"], 2, "there is no document -1"),
     (["{set}", "--sample", "-1"], 2, "--sample is -1"), (["--sampel", "{set}"], 2, "--sampel"),
     (["{set}", "--sample", "x"], 2, "invalid int value"),
     (["{set}_0009"], 65, "there is neither"), (["--compare", "{set}", "x"], 65, "x_0001.bin"),
     (["{set}", "--morphology", "--lexicon", "absent"], 65, "absent: no such file"),
     (["--morphology", "--affixes", "absent"], 65, "prefix.txt: no such file")])
def test_mistakes_are_one_line(
    arms: dict[str, Path], printed: Printed, words: list[str], code: int, says: str
) -> None:
    given = [word.replace("{set}", str(arms["vanilla"])) for word in words]
    assert says in printed(*given, code=code)


def test_what_is_corrupt_is_one_line(
    arms: dict[str, Path], written: Written, tokenizer: Tokenizer, printed: Printed
) -> None:
    part = arms["vanilla"].with_name("seapile_0001")
    bin_path(part).write_bytes(bin_path(part).read_bytes()[:-7])
    assert "not what its .idx says" in printed(arms["vanilla"], code=65)
    assert "an id is 60000" in printed(written([[5, 60000, EOD]], "beyond"), code=65)
    assert "has 1 EODs in the 2 documents" in printed(written([[5, EOD], [5]], "open"), code=65)
    other = written([[5, EOD]], "other", tokenizer_digest="0" * 64)
    assert "is not the tokenizer that" in printed(other, code=65)
    assert "was not found near it" in printed(other, code=65, tokenizer=False)
    assert "no such file" in printed("--morphology", "--tokenizer", "absent", code=65,
                                     tokenizer=False)


def test_a_reader_that_goes_away_is_no_error(arms: dict[str, Path], root: Path,
                                             study: Path) -> None:
    words = [sys.executable, "-m", "corpus.inspect", str(arms["patok"]), "--sample", "60",
             "--tokenizer", str(study / "tokenizer")]
    for extra in ([], ["--json"]):
        process = subprocess.Popen([*words, *extra], cwd=root, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        assert process.stdout and process.stderr
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 0)
        process.stderr.close()


def test_pipeline_inspect_runs_it_and_returns_its_exit_code(
    arms: dict[str, Path], root: Path, study: Path
) -> None:
    words = [sys.executable, "-m", "pipeline", "inspect", str(arms["vanilla"]), "--tokenizer",
             str(study / "tokenizer"), "--json", "--document"]
    done = subprocess.run([*words, "7"], cwd=root, capture_output=True, text=True, check=True)
    assert loaded(done.stdout)["samples"][0]["document"] == 7 and done.stderr == ""
    done = subprocess.run([*words, "60"], cwd=root / "docs", capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(root)})
    assert done.returncode == 2 and "there is no document 60" in done.stderr


def test_the_help_of_pipeline_inspect_names_every_option() -> None:
    from pipeline.cli import cli

    help_text = CliRunner().invoke(cli, ["inspect", "--help"]).output
    options = {option for action in _parser()._actions for option in action.option_strings}
    assert [option for option in options if option not in help_text] == []
