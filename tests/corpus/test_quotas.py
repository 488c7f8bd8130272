"""Authentic and generated conversations under exact quotas."""

from __future__ import annotations

import json

import pytest
import yaml

from corpus.errors import CorpusError
from corpus.files import sha256_value
from corpus.quotas import Quotas, figures, main, mix

PLAN = Quotas(
    {"A1": 4000, "A2": 4000, "B1": 3501, "B2": 2600, "C1": 2600, "C2": 1212},
    {"authentic": 771, "generated": 17142},
)
SMALL = Quotas({"A1": 3, "B1": 2}, {"authentic": 1, "generated": 4})


def row(name, level, **more):
    return {"id": name, "level": level, "source": "celi", "question": f"{name}?",
            "response": f"risposta {name}"} | more


def generated(level, count, first=0):
    return [row(f"{level}-{n}", level, model="m", number=n, params={"finished": n % 2 == 0})
            for n in range(first, first + count)]


def test_the_plan_s_quotas_give_its_counts_and_shares():
    human = [row(f"h{n}", "A1") for n in range(771)]
    own = [r for level, quota in PLAN.levels.items()
           for r in generated(level, quota - (771 if level == "A1" else 0) + 5)]
    made = mix(human, own, set(), PLAN)
    found = figures(made, PLAN, 0)
    assert found["conversations"] == 17913
    assert found["levels"] == PLAN.levels
    assert found["origins"] == PLAN.origins
    shares = {level: round(share, 1) for level, share in found["level_share"].items()}
    assert shares == {"A1": 22.3, "A2": 22.3, "B1": 19.5, "B2": 14.5, "C1": 14.5, "C2": 6.8}
    assert {k: round(v, 1) for k, v in found["origin_share"].items()} == {
        "authentic": 4.3, "generated": 95.7
    }  # fmt: skip
    assert found["generated_by"] == ["m"]


def test_rejected_answers_make_room_for_the_next_of_their_level():
    own = [*generated("A1", 4), *generated("B1", 2)]
    made = mix([row("h", "A1")], own, {"A1-0"}, SMALL)
    assert [r["id"] for r in made] == ["h", "A1-1", "A1-2", "B1-0", "B1-1"]
    assert [r["origin"] for r in made] == ["authentic"] + ["generated"] * 4
    assert figures(made, SMALL, 1)["cut_short"] == 2


def test_authentic_replies_stay_as_they_are():
    human = row("h", "A1", response="  Sì!\n ")
    made = mix([human], [*generated("A1", 2), *generated("B1", 2)], set(), SMALL)
    assert made[0]["response"] == "  Sì!\n "


REFUSED = {
    "short": ([row("h", "A1")], generated("A1", 2), {"A1-1"}, SMALL,
              "A1 needs 2 generated responses and has 1 (2 less 1 rejected); B1 needs 2 generated "
              "responses and has 0"),
    "authentic": ([], [*generated("A1", 4), *generated("B1", 4)], set(), SMALL,
                  "there are 0 authentic conversations, not 1"),
    "strange": ([row("h", "A1")], [*generated("A1", 2), *generated("B1", 2), row("x", "D1")],
                set(), SMALL, "x has the level 'D1', which has no quota"),
    "twice": ([row("h", "A1")], [*generated("A1", 2), *generated("A1", 1), *generated("B1", 2)],
              set(), SMALL, "A1-0 stands there twice"),
    "sums": ([], [], set(), Quotas({"A1": 1}, {"authentic": 1, "generated": 1}),
             "the levels add up to 1 and the origins to 2"),
    "origins": ([], [], set(), Quotas({"A1": 1}, {"human": 1}), "It must name authentic and"),
}  # fmt: skip


@pytest.mark.parametrize(("human", "own", "rejected", "quotas", "said"), REFUSED.values(),
                         ids=REFUSED)
def test_what_is_short_or_strange_is_named(human, own, rejected, quotas, said):
    with pytest.raises(CorpusError) as caught:
        mix(human, own, rejected, quotas)
    assert said in str(caught.value)


@pytest.fixture
def job(tmp_path):
    """One authentic conversation, four responses in two shards."""
    def lines(path, rows):
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))

    human = [row("h", "A1")]
    lines(tmp_path / "q" / "authentic.jsonl", human)
    digest = sha256_value({"h": "risposta h"})
    (tmp_path / "q" / "questions.json").write_text(json.dumps({"authentic_sha256": digest}))
    lines(tmp_path / "r" / "responses_0001.jsonl", generated("A1", 2))
    lines(tmp_path / "r" / "responses_0002.jsonl", generated("B1", 2))
    lines(tmp_path / "r" / "templates.jsonl", [])
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"parameters": {
        "questions": {"output_dir": str(tmp_path / "q")},
        "generate": {"output_dir": str(tmp_path / "r"), "shards": 2},
        "mix": {"levels": dict(SMALL.levels), "origins": dict(SMALL.origins),
                "rejected": str(tmp_path / "r" / "templates.jsonl"),
                "output_dir": str(tmp_path / "m")}}}))  # fmt: skip
    return path


def test_the_program_joins_shards(job, tmp_path):
    assert main(["--config", str(job)]) == 0
    made = json.loads((tmp_path / "m" / "quotas.json").read_text())
    assert made["origins"] == {"authentic": 1, "generated": 4}
    assert len((tmp_path / "m" / "conversations.jsonl").read_text().splitlines()) == 5


def test_a_missing_shard_is_named_and_nothing_is_written(job, tmp_path, capsys):
    (tmp_path / "r" / "responses_0002.jsonl").unlink()
    assert main(["--config", str(job)]) == 65
    assert "lacks responses_0002.jsonl" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_authentic_replies_that_were_changed_are_refused(job, tmp_path, capsys):
    path = tmp_path / "q" / "authentic.jsonl"
    path.write_text(path.read_text().replace("risposta h", "risposta H"))
    assert main(["--config", str(job)]) == 65
    assert "is not as it was drawn" in capsys.readouterr().err
