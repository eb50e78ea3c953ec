"""What comes from outside and is printed: no terminal obeys it, no markup is taken from it."""

import json
import unicodedata
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import chainrule as cr
from chainrule import errors
from chainrule.cli import check, info
from chainrule.data import read_table
from chainrule.errors import ArgumentError, printable
from commands import call, terminal, write_csv

TITLE = "\x1b]0;pwned\x07"  # sets the title of the window
EVIL = f"[red]{TITLE}\x9b31m\u202e\x7f"
RAW = ("\x1b]0;", "\x07", "\x9b", "\u202e", "\x7f")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain × λ — naïve\xa0名\u202f1 000", None),
        ("می\u200cخواهم 👩\u200d🔬", None),
        ("\x1b[31m", "\\u001b[31m"),
        ("\x9b2J", "\\u009b2J"),
        ("a\x7f\x00", "a\\u007f\\u0000"),
        ("a\r\n\tb", "a\\r\\n\\tb"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("\u2028\ufeff\u00ad", "\\u2028\\ufeff\\u00ad"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\udb40\\udc41"),
    ],
)
def test_characters(text, shown):
    assert printable(text) == (text if shown is None else shown)


def test_lines_stay_where_they_are_wanted():
    assert printable("a\n\tb\x1b\r", lines=True) == "a\n\tb\\u001b\\r"


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_is_safe_and_json_stays_the_same(text):
    for shown in (printable(text), printable(text, lines=True)):
        bad = {c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Cf", "Zl", "Zp")}
        assert bad <= set("\n\t\u200c\u200d")
    raw = json.dumps([text], ensure_ascii=False)
    assert json.loads(printable(raw)) == json.loads(json.dumps([text]))


def test_errors_warnings_and_a_table_in_python():
    error = ArgumentError("fit", f"got {EVIL}", "a name", "another")
    error.layer = f"layers.{EVIL}"
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        errors.warn(EVIL)
    for shown in (str(error), str(found[0].message), repr(read_table({EVIL: [1]}))):
        assert not any(raw in shown for raw in RAW)
        assert "[red]" in shown


def evil_table(folder):
    k = np.arange(60)
    name = f"{EVIL}.csv"
    columns = {
        "x": k % 7 + k / 100,
        f"cat{EVIL}": np.where(k % 2, f"a{EVIL}", "b"),
        f"t{EVIL}": np.where(k % 3, f"u{TITLE}v", "w"),
    }
    return write_csv(folder / name, columns), list(columns)


def test_commands_in_a_terminal(tmp_path):
    source, (_, cat, target) = evil_table(tmp_path)
    new = write_csv(tmp_path / f"new{TITLE}.csv", {"x": [1.5], cat: [TITLE]})
    run = tmp_path / f"run{EVIL}"
    for code, arguments in (
        (0, ["train", source, "--target", target, "--epochs", "1", "--out", run]),
        (2, ["train", source]),
        (0, ["predict", run]),
        (0, ["predict", run, new]),
        (2, ["predict", run, source, "--out", source]),
    ):
        got, out = terminal(*arguments, cwd=tmp_path)
        assert got == code, out
        assert "\\u001b]0;pwned" in out
        assert not any(raw in out for raw in RAW), arguments


def test_messages_of_foreign_files(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source, (_, _, target) = evil_table(tmp_path)
    run = tmp_path / "run"
    call(capsys, "train", source, "--target", target, "--epochs", "1", "--out", run)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[data]\nsource = "x\\u001b]0;pwned\\u0007.csv"\n')
    other = tmp_path / "other.toml"
    other.write_text('[data]\n"y\\u001b]0;pwned\\u0007" = 1\n')
    weights = load_file(run / "model.safetensors")
    save_file({TITLE: np.zeros(1), **weights}, run / "model.safetensors")
    for arguments in (
        ["train", recipe],
        ["train", other],
        ["train", TITLE],
        ["predict", run],
        ["predict", TITLE],
        ["evaluate", run, f"{TITLE}.csv"],
        ["train", source, "--target", f"T{EVIL}"],
        ["train", source, "--target", target, "--drop", f"C{EVIL}"],
        ["bench", TITLE],
        ["check", TITLE],
        ["info", f"--{TITLE}"],
        ["train", "iris", "--lr", TITLE],
    ):
        code, out, err = call(capsys, *arguments)
        assert code == 2, arguments
        assert err.count("\n") == 1, err
        assert not any(raw in out + err for raw in RAW), arguments


def test_json_stays_json(tmp_path, capsys):
    source, (_, _, target) = evil_table(tmp_path)
    run = tmp_path / "run"
    call(capsys, "train", source, "--target", target, "--epochs", "1", "--out", run)
    _, out, _ = call(capsys, "predict", run, "--json")
    assert not any(raw in out for raw in RAW)
    assert {row["prediction"] for row in json.loads(out)["predictions"]} <= {f"u{TITLE}v", "w"}


def test_a_pipe_gets_the_names_as_they_are(tmp_path, capsys):
    source, (_, _, target) = evil_table(tmp_path)
    run = tmp_path / "run"
    call(capsys, "train", source, "--target", target, "--epochs", "1", "--out", run)
    _, out, _ = call(capsys, "predict", run)
    assert f"u{TITLE}v" in out


def test_brackets_are_no_markup(capsys, monkeypatch):
    verdict = cr.checking.Verdict("tanh", "vjp", 1, failure="[matmul] got [bold]shapes", reason="")
    check._print([verdict], 0.1)
    assert "wrong: [matmul] got [bold]shapes" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setattr(info, "_facts", lambda: {"cache": f"/a/[red]b{TITLE}"})
    info.info()
    out = capsys.readouterr().out
    assert "/a/[red]b\\u001b]0;pwned\\u0007" in out
