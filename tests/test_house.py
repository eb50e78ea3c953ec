"""Rules of the house that no linter has: long files, layout by hand, one name for one thing."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))

LINES = 400
REASON = r"\b[Ll]onger than other files: \w+"


def too_long(source: str) -> bool:
    """Whether a file is long without a reason in its docstring or first comment."""
    head = ast.get_docstring(ast.parse(source)) or ""
    comment = re.match(r"(#[^\n]*\n)*", source)
    reasons = head + (comment.group() if comment else "")
    return source.count("\n") > LINES and not re.search(REASON, reasons)


def test_a_long_file_says_why():
    hits = [str(p.relative_to(ROOT)) for p in SOURCES if too_long(p.read_text())]
    assert not hits, f"over {LINES} lines: split it, or say why: 'Longer than other files: …'"


def test_a_long_file_without_a_reason_is_caught():
    lines = "x = 1\n" * (LINES + 1)
    assert too_long(lines)
    assert not too_long(
        '"""A table.\n\nLonger than other files: one row per operation.\n"""\n' + lines
    )
    assert not too_long("# Longer than other files: one row per operation.\n" + lines)
    assert not too_long("x = 1\n" * LINES)


def test_the_formatter_decides_the_layout():
    skips = [
        f"{path.relative_to(ROOT)}:{k}"
        for folder in ("src", "tests", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for k, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"#\s*fmt:\s*(skip|off)", line) and path.name != Path(__file__).name
    ]
    assert len(skips) < 60, skips


# ── each folder lists its files ──────────────────────────────────────────────────────────────────


def unlisted(folder: Path, text: str) -> list[str]:
    """The files and folders of a folder that a text does not name."""
    names = {p.stem for p in folder.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    return sorted(n for n in names if n[0] != "_" and not re.search(rf"\b{n}\b", text))


def test_a_folder_lists_its_files():
    package = ROOT / "src" / "chainrule"
    rooms = (ROOT / "docs" / "decisions" / "009-rooms.md").read_text()
    hits = [f"docs/decisions/009-rooms.md: {n}" for n in unlisted(package, rooms)]
    for init in sorted(package.rglob("*/__init__.py")):
        text = ast.get_docstring(ast.parse(init.read_text())) or ""
        path = init.relative_to(package)
        hits += [f"{path}: {n}" for n in unlisted(init.parent, text)]
    assert not hits, "\n".join(hits)


def test_an_unlisted_file_is_caught(tmp_path):
    for name in ("__init__.py", "a.py", "b.py", "c.txt"):
        (tmp_path / name).touch()
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "__init__.py").touch()
    assert unlisted(tmp_path, "`a`: ab") == ["b", "room"]


# ── one name, one thing: within compiled steps and backends ──────────────────────────────────────

# Names that are an interface: each of these files has its own.
INTERFACES = {
    "emit": (
        r"backends/native/emit/\w+\.py",
        "writes one kind of loop; a row of plan/kinds.py names the file",
    ),
    "build": (
        r"backends/(reference|native/__init__)\.py",
        "builds a program for one backend; a row of backends.BACKENDS names the module",
    ),
}


def top_level(source: str) -> Iterator[str]:
    """The functions, classes and constants that a file defines outside of functions and classes."""
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Assign(targets=targets):
                for target in targets:
                    yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name


def homonyms(files: dict[str, str]) -> dict[str, list[str]]:
    """The names that several of the files define, with those files."""
    where = defaultdict(list)
    for path, source in files.items():
        for name in {*top_level(source)}:
            where[name].append(path)
    return {
        name: paths
        for name, paths in where.items()
        if len(paths) > 1
        and not (name in INTERFACES and all(re.fullmatch(INTERFACES[name][0], p) for p in paths))
    }


def test_one_name_is_one_thing():
    package = ROOT / "src" / "chainrule"
    rooms = [*(package / "compile").rglob("*.py"), *(package / "backends").rglob("*.py")]
    hits = homonyms({str(p.relative_to(package)): p.read_text() for p in sorted(rooms)})
    assert not hits, "\n".join(f"{name}: {', '.join(paths)}" for name, paths in hits.items())


@pytest.mark.parametrize(
    "source",
    ["def plan(): ...", "class plan: ...", "plan = 1", "plan: int = 1", "a, plan = 1, 2"],
)
def test_two_things_of_one_name_are_caught(source):
    assert homonyms({"compile/a.py": source, "backends/b.py": "plan = 0"}) == {
        "plan": ["compile/a.py", "backends/b.py"]
    }


def test_an_interface_is_no_second_thing():
    emit = "def emit(): ..."
    rooms = "backends/native/emit/pad.py", "backends/native/emit/concat.py"
    assert not homonyms(dict.fromkeys(rooms, emit))
    assert homonyms(dict.fromkeys((*rooms, "backends/native/cache.py"), emit))
