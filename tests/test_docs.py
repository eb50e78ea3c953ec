"""Everything that README and docs show is run; generated pages equal what the code generates."""

import contextlib
import doctest
import io
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import chainrule as cr
from chainrule import backends, derivatives, ops
from chainrule.cli import main
from chainrule.explanation import handbook
from chainrule.train import Recipe
from chainrule.train.runs.augmentation import SETTINGS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$(?:\n+```text\n(.*?)^```$)?", re.M | re.S)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.M)


def pages_with_code():
    return [p for p in PAGES if BLOCK.search(p.read_text())]


@pytest.fixture
def notices(monkeypatch):
    """As in a new process: no notice was given, and no logger has a handler."""
    log = logging.getLogger("chainrule")
    before = log.level, log.handlers[:]
    if "native" in backends.available():
        from chainrule.backends import native

        monkeypatch.setattr(native, "_noticed", set())
    yield
    log.setLevel(before[0])
    log.handlers[:] = before[1]


@pytest.mark.usefixtures("notices")
@pytest.mark.parametrize("page", pages_with_code(), ids=lambda p: p.name)
def test_code_runs(page, capsys, monkeypatch, tmp_path):
    """The blocks of a page run one after another, in one namespace and one empty folder.

    What `# prints:` announces is printed, and so is a text block right below, and what stands below
    a command after `$ `; `...` stands for anything.
    """
    monkeypatch.chdir(tmp_path)
    if page.name == "how-a-step-runs.md":
        monkeypatch.setenv("CHAINRULE_BACKEND", "native")
    names, text = {"__name__": page.stem}, page.read_text()
    for found in BLOCK.finditer(text):
        kind, block, below = found.groups()
        if kind == "console":
            for command, shown in COMMAND.findall(block):
                expect(shown, console(command), command)
            continue
        above = "\n" * text.count("\n", 0, found.start(2))  # so that an error names the page's line
        exec(compile(above + block, str(page), "exec"), names)
        announced = re.findall(r"^# prints: (.*\n)", block, re.M)
        printed = capsys.readouterr().out
        if announced or below:
            expect("".join(announced) + (below or ""), printed, block)


def console(command):
    """What a command prints, notes first; by a shell if it needs one."""
    wide = {"COLUMNS": "100", "NO_COLOR": "1"}
    if command.startswith("chainrule ") and not set(command) & set("|&;<>$"):
        out, notes = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(notes),
            contextlib.suppress(SystemExit),
        ):
            for name, value in wide.items():
                patch.setenv(name, value)
            main(shlex.split(command)[1:])
        return notes.getvalue() + out.getvalue()
    ours = f'chainrule() {{ "{sys.executable}" -m chainrule "$@"; }}\n'
    done = subprocess.run(
        ["sh", "-c", ours + command],
        capture_output=True,
        text=True,
        env={**os.environ, **wide},
        timeout=120,
    )
    return done.stderr + done.stdout


def expect(shown, printed, where):
    """Compare line by line, but for spaces at their ends; nothing shown is nothing claimed."""
    shown, printed = (
        "".join(f"{line.rstrip()}\n" for line in text.splitlines()) for text in (shown, printed)
    )
    fits = doctest.OutputChecker().check_output(shown, printed, doctest.ELLIPSIS)
    assert fits or not shown, f"{where}\nshows\n{shown}\nand printed\n{printed}"


@pytest.mark.parametrize(
    ("shown", "fits"), [("1\n2\n", True), ("1\n", False), ("1...\n", True), ("1...3\n", False)]
)
def test_what_a_page_shows_has_to_be_printed(shown, fits):
    if fits:
        expect(shown, "1 \n2\n", "")
    else:
        with pytest.raises(AssertionError, match="and printed"):
            expect(shown, "1 \n2\n", "")


def test_the_first_command_of_the_readme(tmp_path, monkeypatch):
    """It prints what is shown, numbers apart, and reaches the accuracy that the page names."""
    monkeypatch.chdir(tmp_path)
    shown = re.search(r"^```text\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)[1]
    printed = console("chainrule train digits")
    form = [{re.sub(r"[\d.:]+", "0", line) for line in t.splitlines()} for t in (shown, printed)]
    assert form[0] <= form[1], printed
    assert float(re.search(r"test: accuracy ([\d.]+)", printed)[1]) > 0.965
    assert (tmp_path / "runs/digits-1/report.html").exists()


def test_the_recipe_that_is_explained_has_every_key(tmp_path):
    text = (ROOT / "docs/command-line.md").read_text()
    table, whole = re.findall(r"^```toml\n(.*?)^```$", text, re.M | re.S)
    (tmp_path / "recipe.toml").write_text(whole)
    recipe = Recipe.read(tmp_path / "recipe.toml")
    assert all(value is not None for value in vars(recipe).values())
    (tmp_path / "recipe.toml").write_text(table)
    assert set(Recipe.read(tmp_path / "recipe.toml").augment) < set(SETTINGS)


def test_the_printed_table_is_the_code():
    assert (ROOT / "docs/derivatives.md").read_text() == "\n".join(handbook()) + "\n"


def test_functions_without_a_row_are_told_by_the_rows_that_they_need():
    page = [*handbook()]
    assert "| `relu(x)` | `[x ≤ 0: 0, else x]` | `where` |" in page
    assert "| `silu(x)` | `x · sigmoid(x)` | `sigmoid`, `multiply` |" in page
    (softmax,) = (line for line in page if line.startswith("| `softmax(x)` | eˣ / ∑eˣ"))
    # exp(x − log Σ exp(x − max)): no gradient flows through the maximum
    assert softmax.endswith("| `subtract`, `exp`, `sum`, `log`, `add`, `broadcast_to` |")


def test_the_printed_results_are_what_was_kept(tmp_path):
    shutil.copytree(ROOT / "benchmarks/results", tmp_path / "results")
    script = ROOT / "benchmarks/run.py"
    subprocess.run([sys.executable, script, "page", "--out", tmp_path], check=True)
    made = [path for path in tmp_path.iterdir() if path.is_file()]
    assert tmp_path / "RESULTS.md" in made
    for path in made:
        assert path.read_text() == (ROOT / "benchmarks" / path.name).read_text()


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
