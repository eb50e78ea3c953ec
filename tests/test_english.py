"""Plain English: the odd patterns that can be searched for are in no file and no name."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("src", "tests", "benchmarks", "docs", "examples")
TEXTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *(p for f in FOLDERS for p in sorted((ROOT / f).rglob("*")) if p.suffix in (".py", ".md")),
]
SOURCES = sorted((ROOT / "src").rglob("*.py"))

LINES = {
    path.relative_to(ROOT): path.read_text().splitlines()
    for path in TEXTS
    if path.resolve() != Path(__file__).resolve()
}

OF_THINGS = (
    "batch|call|character|class|column|dimension|element|epoch|file|group|input|kernel|layer|line|"
    "loop|operation|output|parameter|process|row|run|sample|second|step|tensor|thread|token|window"
)

# A pattern, what it catches, what to write instead.
PATTERNS = {
    "anew": (r"\banew\b", "drawn anew", "again, new"),
    "seldom": (r"\bseldom\b", "seldom used", "rarely"),
    "besides": (r"\bbesides\b", "an output besides", "also, further, in addition to"),
    "mend": (r"\bmend(s|ed|ing)?\b", "mend the cell", "fix"),
    "somebody": (r"\b(some|no)body\b", "nobody reads it", "callers, no caller, another thread"),
    "for ever": (r"\bfor ever\b", "waits for ever", "forever"),
    "so many": (r"\b(so many times|with as many|in so many)\b", "in so many pieces", "N pieces"),
    "of which less": (r"\bof which (less|more)\b", "of which less is better", "lower is better"),
    "may be others": (r"\bmay be others\b", "results may be others", "may differ"),
    "of no use": (r"\bof no use\b", "a column of no use", "unusable"),
    "put back": (r"\bput back\b", "weights are put back", "restored"),
    "equal but": (r"\bequal but (on|for|in)\b", "equal but on axis 1", "equal except on axis 1"),
    "of one's own": (
        r"\bof (one's|your) own\b"
        r"|\b(loss|metric|optimizer|schedule|callback|forward|derivative) of (its|their) own\b",
        "a metric of your own",
        "a custom metric",
    ),
    "one an input": (
        rf"\b(one|once|a row|a number|one (call|label|process|thread|value)) an? ({OF_THINGS})\b",
        "a row an epoch",
        "a row per epoch",
    ),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_texts_have_no_odd_pattern(name):
    pattern, example, instead = PATTERNS[name]
    assert re.search(pattern, example), "the pattern catches its example"
    hits = [
        f"{path}:{k}: {line.strip()}"
        for path, lines in LINES.items()
        for k, line in enumerate(lines, 1)
        if re.search(pattern, line, re.IGNORECASE)
    ]
    assert not hits, "\n".join([f"write: {instead}", *hits])


# ── errors: `[operation] what arrived; expected …; what to try` ──────────────────────────────────

NO_ADVICE = {"check it", "choose one", "choose another", "choose another one"}


def opening(text: ast.expr) -> str | None:
    """The literal beginning of a text that an expression makes; None if it has none."""
    match text:
        case ast.Constant(value=str(literal)):
            return literal
        case ast.JoinedStr(values=[first, *_]) | ast.BinOp(left=first) | ast.IfExp(body=first):
            return opening(first)
    return None


def unclear(source: str) -> Iterator[tuple[int, str]]:
    """The errors that do not say what was expected, or give no advice that can be followed."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[_, _, expected, advice, *_]):
                if not name.endswith("Error") and name != "Refusal":
                    continue
                if not (opening(expected) or "expected").startswith("expected"):
                    yield expected.lineno, f"expected …, not {opening(expected)!r}"
                if opening(advice) in NO_ADVICE:
                    yield advice.lineno, f"a value, call or setting, not {opening(advice)!r}"


def test_errors_say_what_was_expected_and_what_to_try():
    hits = [f"{p.relative_to(ROOT)}:{k}: {s}" for p in SOURCES for k, s in unclear(p.read_text())]
    assert not hits, "\n".join(hits)


def test_an_unclear_error_is_caught():
    call = 'raise ArgumentError("fit", f"got {{n}}", {}, {})'
    assert not [*unclear(call.format("f'expected {m}'", "'use 3'"))]
    assert not [*unclear(call.format("error.needed", "error.advice"))]
    for needed in ("'a number'", "'a ' + kind", "f'a {kind} is needed'", "'a' if one else 'b'"):
        assert len([*unclear(call.format(needed, "'use 3'"))]) == 1, needed
    assert len([*unclear(call.format("'expected a number'", "'check it'"))]) == 1


# ── names ────────────────────────────────────────────────────────────────────────────────────────

PARTICIPLES = r"_*(found|given|made|told|kept|held)(_.*)?"


def names(source: str) -> Iterator[tuple[int, str]]:
    """The functions, classes, parameters, variables and attributes that a file defines."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr


def participles(source: str) -> list[tuple[int, str]]:
    """The names that say what was done with a thing, not what it is."""
    return [(line, name) for line, name in names(source) if re.fullmatch(PARTICIPLES, name)]


def test_names_are_nouns():
    """A thing is named for what it is: matches, arguments, saved; not for what was done with it."""
    hits = [
        f"{p.relative_to(ROOT)}:{line}: {name}"
        for p in SOURCES
        for line, name in participles(p.read_text())
    ]
    assert not hits, "\n".join(hits)


def test_a_participle_is_caught():
    source = "def f(given, *, made_by=1):\n    found = self.held = 2\n    for kept in x: _told = 1"
    caught = [name for _, name in participles(source)]
    assert sorted(caught) == ["_told", "found", "given", "held", "kept", "made_by"]
