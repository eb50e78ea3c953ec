"""Everything that README and docs show is run; generated pages equal what the code generates."""

import re
from pathlib import Path

import pytest

import chainrule as cr
from chainrule import derivatives, ops
from chainrule.explain import handbook

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


def pages_with_code():
    return [p for p in PAGES if BLOCK.search(p.read_text())]


@pytest.mark.parametrize("page", pages_with_code(), ids=lambda p: p.name)
def test_code_runs(page, capsys):
    """The blocks of a page run one after another; what `# prints:` announces is printed."""
    names = {"__name__": page.stem}
    for block in BLOCK.findall(page.read_text()):
        exec(compile(block, str(page), "exec"), names)
        announced = re.findall(r"^# prints: (.*)$", block, re.M)
        printed = capsys.readouterr().out.splitlines()
        if announced:
            assert [line.rstrip() for line in printed] == announced


def test_the_printed_table_is_the_code():
    assert (ROOT / "docs/derivatives.md").read_text() == "\n".join(handbook()) + "\n"


def test_the_tables_list_the_same_operations_in_the_same_order():
    assert list(derivatives.TABLE) == list(ops.TABLE)


def test_links_point_to_files():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_public_function_has_a_docstring():
    for name in cr.__all__:
        thing = getattr(cr, name)
        if callable(thing) and getattr(thing, "__module__", "").startswith("chainrule"):
            assert thing.__doc__, name
