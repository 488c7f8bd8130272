import pytest

from evaluation.report.tables import Table, escaped, latex, markdown

TABLE = Table("k", "50 % & more", ["arm", "x", "said"], [["a_b", "-1.5", "in"]], 1, "n", True)


def test_markdown_lines_up() -> None:
    assert markdown(TABLE) == (
        "| arm | x    | said |\n|-----|------|------|\n| a_b | -1.5 | in   |\n\nn"
    )


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert "| a\\|b |" in markdown(Table("k", "", ["x"], [["a|b"]]))


def test_latex_is_a_booktabs_table() -> None:
    text = latex(TABLE)
    assert r"\caption{50 \% \& more}" in text and r"\label{tab:k}" in text
    assert r"\begin{tabular}{lrl}" in text and r"a\_b & $-$1.5 & in \\" in text


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("-4.5 pp [-9.0, +1.2]", r"$-$4.5 pp [$-$9.0, +1.2]"), ("a - b", "a - b"),
        ("levels 3-5", "levels 3-5"),
        ("p < 0.001", r"p \textless{} 0.001"), ("{x}^2_3#~\\", r"\{x\}\textasciicircum{}2\_3\#"
         r"\textasciitilde{}\textbackslash{}"),
    ],
)  # fmt: skip
def test_latex_s_own_letters_are_escaped(text: str, out: str) -> None:
    assert escaped(text) == out
