"""A template fills in text. It reads no file outside its folder and calls nothing of Python's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline import render
from pipeline.errors import ConfigError
from tests.golden.cases import make_job
from tests.pipeline.hostile.values import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "outside.sh.j2").write_text("# OUTSIDE")
    return Path(shutil.copytree(ROOT / "job_templates", tmp_path / "templates"))


def result(folder: Path, template: str) -> str:
    """The script of a job whose stage's template is this one."""
    (folder / "stages/split.sh.j2").write_text(template)
    return render.render(make_job(), templates=folder)


def test_a_template_of_one_s_own_is_used(folder: Path) -> None:
    text = 'payload=(true)  # {{ job.name | q }} {{ "x" * 3 }}'
    assert "payload=(true)  # 'split' xxx" in result(folder, text)


@pytest.mark.parametrize(
    "name",
    ["../outside.sh.j2", "/etc/passwd", "../../../../etc/passwd", "stages/../../outside.sh.j2",
     "./../outside.sh.j2", "link.sh.j2", "linked/outside.sh.j2", "nothing.sh.j2", ""],
)  # fmt: skip
@pytest.mark.parametrize("how", ["include", "extends", "import"])
def test_nothing_outside_its_folder_is_read(folder: Path, name: str, how: str) -> None:
    (folder / "link.sh.j2").symlink_to(folder.parent / "outside.sh.j2")
    (folder / "linked").symlink_to(folder.parent)
    more = " as x" if how == "import" else ""
    with pytest.raises(ConfigError) as error:
        result(folder, f'{{% {how} "{name}"{more} %}}')
    assert "there is no such template" in str(error.value)
    assert "OUTSIDE" not in str(error.value) and "root:" not in str(error.value)


def test_a_folder_that_is_a_link_itself_is_fine(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "by_link").symlink_to(folder)
    assert render.render(make_job(), templates=tmp_path / "by_link")


@pytest.mark.parametrize(
    "expression",
    ["job.__class__.__mro__", "job.__struct_fields__", "''.__class__.__mro__[1].__subclasses__()",
     "job.config.__init__.__globals__", "cycler.__init__.__globals__.os.popen('touch CANARY')",
     "lipsum.__globals__['os'].system('touch CANARY')", "self.__init__.__globals__",
     "job|attr('__class__')", "'{0.__class__}'.format(job)", "''|format(x=job.__class__) ~ job.x",
     "1 / 0", "'a' + 1", "[][5]", "{}.x.y", "range(10**9)|list", "job.name.nothing()", "nothing",
     "job.config.clear()"],
)  # fmt: skip
def test_an_expression_that_reaches_for_more_is_an_error(folder: Path, expression: str) -> None:
    with pytest.raises(ConfigError, match=r"split\.sh\.j2|templates"):
        result(folder, f"# {{{{ {expression} }}}}")


@pytest.mark.parametrize(
    "text", ["{% include 'stages/split.sh.j2' %}", "{% for %}", "{{", "{% x %}", "{# "]
)
def test_a_template_that_is_none_is_an_error_at_its_place(folder: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="templates"):
        result(folder, text)


def test_a_template_of_no_text_is_an_error(folder: Path) -> None:
    (folder / "stages/split.sh.j2").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="templates"):
        render.render(make_job(), templates=folder)


@pytest.mark.parametrize("field", ["kind", "launcher"])
def test_no_kind_leads_out_of_the_folder(folder: Path, field: str) -> None:
    """A study's kinds are those of a table; a job made otherwise gets no further."""
    (folder.parent / "x.sh.j2").write_text("# OUTSIDE")
    job = make_job(**{field: "../../x"})
    try:
        assert "OUTSIDE" not in render.render(job, templates=folder)
    except ConfigError as error:
        assert "OUTSIDE" not in str(error)
