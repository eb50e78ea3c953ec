"""The command line, run as a user runs it."""

import json
import os
import signal
import subprocess
import sys
from importlib import metadata

import pytest
import typer

import chainrule
from chainrule import backends, checking, derivatives
from chainrule.backends.native import code_cache
from chainrule.cli import app, main, plain

COMMAND = [sys.executable, "-m", "chainrule"]


def run(*arguments, expect=0, **environment):
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == expect, done.stderr
    return done


def test_check_says_how_many_rows_agree():
    out = run("check").stdout
    rows = sum(not r.reason for r in derivatives.TABLE.values())
    assert f"{rows} rows" in out
    assert out.rstrip().endswith("all agree")


def test_check_as_json_lists_every_row():
    found = json.loads(run("check", "--json", "--seed", "3").stdout)
    assert [r["name"] for r in found["rows"]] == list(derivatives.TABLE)
    assert found["failed"] == []
    assert found["checked"] > 50


def test_check_of_some_and_of_unknown_operations():
    assert len(json.loads(run("check", "tanh", "matmul", "--json").stdout)["rows"]) == 2
    wrong = run("check", "tanhh", expect=2)
    assert wrong.stderr.startswith("chainrule: [check] got tanhh; ")
    assert "Traceback" not in wrong.stderr
    assert "error" in json.loads(run("check", "tanhh", "--json", expect=2).stdout)


def test_unknown_operations_suggest_the_nearest():
    for arguments in (("tanhh",), ("tanhh", "--page")):
        assert "did you mean tanh" in run("check", *arguments, expect=2).stderr
    assert "did you mean" not in run("check", "qqqq", "softmax", expect=2).stderr


def test_page_of_named_rows():
    lines = run("check", "tanh", "take", "--page").stdout.splitlines()
    assert lines[0] == "## Elementwise, one argument"
    assert [line for line in lines if line.startswith("| `")] == [
        "| `tanh` | elementwise | x | `1 − y²` |",
        "| `take` | linear | x | `rows reshape(indices, shape=(3,)): reshape(g, shape=(3,2))` |",
    ]
    page = run("check", "--page").stdout
    assert "- `[condition: a, else b]` is a where the condition holds" in page
    assert "- `rows i: v` is row-sparse" in page
    assert "scan.py" not in page


def test_check_exits_with_1_when_a_row_is_wrong(monkeypatch, capsys):
    wrong = checking.Verdict("tanh", "elementwise", 3, "input 0: off", "")
    monkeypatch.setattr(checking, "check_row", lambda row, **_: wrong)
    with pytest.raises(SystemExit) as caught:
        main(["check", "tanh"])
    assert caught.value.code == 1
    assert "1 wrong: tanh" in capsys.readouterr().out


def test_info():
    facts = json.loads(run("info", "--json").stdout)
    assert facts["chainrule"] == chainrule.__version__
    assert facts["processors"] >= 1
    assert "numpy" in run("info").stdout


def test_info_of_the_native_backend(tmp_path):
    (tmp_path / "one.o").write_bytes(bytes(5))
    found = run(
        "info",
        "--json",
        CHAINRULE_BACKEND="native",
        CHAINRULE_THREADS="3",
        CHAINRULE_FEATURES="avx2",
        CHAINRULE_CACHE=str(tmp_path),
    )
    facts = json.loads(found.stdout)
    assert facts["backends"] == ["reference", "native"]
    assert facts["backend"] == "native"
    assert facts["llvmlite"] == metadata.version("llvmlite")
    assert int(facts["llvm"].split(".")[0]) > 10
    assert facts["vector_bits"] in (128, 256)
    assert facts["threads"] == 3
    assert facts["cache"] == str(tmp_path)
    assert facts["cache_bytes"] == 5


@pytest.mark.skipif(os.name == "nt", reason="rights of POSIX")
def test_info_says_why_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "code"))
    assert code_cache.stored() == (str(tmp_path / "code"), 0)
    (tmp_path / "code").chmod(0o777)
    assert code_cache.stored()[0].startswith(
        f"none: {tmp_path / 'code'} is another user's, or others"
    )
    (tmp_path / "code").chmod(0o500)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert code_cache.stored()[0] == f"{tmp_path / 'code'}, read-only"
    (tmp_path / "file").touch()
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "file"))
    assert code_cache.stored() == (f"none: {tmp_path / 'file'} is no folder", 0)
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "file" / "below"))
    assert code_cache.stored() == (f"none: {tmp_path / 'file' / 'below'} cannot be made", 0)


def test_info_without_the_native_backend(monkeypatch, capsys):
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    monkeypatch.delenv("CHAINRULE_BACKEND", raising=False)
    with pytest.raises(SystemExit):
        main(["info", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert facts["backends"] == ["reference"]
    assert "threads" not in facts


@pytest.mark.parametrize(
    "wrong",
    [{"CHAINRULE_BACKEND": "gpu"}, {"CHAINRULE_THREADS": "0"}, {"CHAINRULE_FEATURES": "avx9"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_info_of_a_wrong_setting_is_one_line(wrong):
    ((name, value),) = wrong.items()
    error = run("info", expect=2, **wrong).stderr
    assert error.startswith(f"chainrule: [compile] got {name}={value!r}; ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [(), ("--help",), ("check", "--help"), ("bench", "--help"), ("info", "-h"), ("-h",)],
)
def test_help(arguments):
    done = run(*arguments, expect=2 if not arguments else 0)
    assert "Usage" in done.stdout + done.stderr


def test_a_wrong_option_points_to_the_help_of_its_command():
    for arguments in (("train", "iris", "--epochs"), ("train", "iris", "--epochs", "many")):
        assert run(*arguments, expect=2).stderr.endswith("see chainrule train --help\n")


def test_version():
    assert run("--version").stdout == f"chainrule {chainrule.__version__}\n"


@pytest.mark.parametrize("arguments", [("check", "sign", "tanh"), ("check", "--page")])
def test_a_terminal_that_knows_ascii_alone(arguments):
    out = run(*arguments, LC_ALL="C", PYTHONIOENCODING="ascii").stdout
    assert out.isascii()
    assert "constant between its jumps" in out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_the_signs_of_mathematics(encoding):
    settings = {"LC_ALL": "C", "PYTHONIOENCODING": encoding}
    command = [*COMMAND, "explain", "neuron", "--form"]

    def printed(form, *more):
        done = subprocess.run(
            [*command, form, *more], capture_output=True, env={**os.environ, **settings}, check=True
        )
        return done.stdout.decode(encoding)

    text = printed("text")
    assert "?" not in text
    assert "[-0.25 -0.5]" in text
    equations = printed("unicode")
    assert "?" not in equations
    assert {"ascii": "^2", "latin-1": "²"}[encoding] in equations
    escaped = printed("text", "--json")
    assert "\\u2212" in escaped
    assert "−" in json.loads(escaped)["text"]


def test_raised_and_lowered_signs_are_marked_once():
    plain.register()
    text = "e⁻¹² + x₁₂ᵀ ≤ ∂a · √b, 名😀é"
    assert text.encode("ascii", plain.PLAIN) == b"e^-12 + x_12^T <= da * sqrtb, ???"
    escaped = f'"{text}"'.encode("ascii", plain.JSON)
    assert json.loads(escaped) == text


def test_a_narrow_terminal_loses_nothing():
    out = run("check", "call", COLUMNS="40").stdout
    assert "…" not in out
    assert "runsitsgraphagain,recorded,andcarriesgback" in "".join(out.split())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
@pytest.mark.parametrize(
    "arguments", [("check", "tanh"), ("check", "--page"), ("info",), ("check", "tanhh", "--json")]
)
def test_a_full_disk_is_one_line(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("chainrule: [output] got No space left")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("check", "--seed", "x"),
        ("check", "--sed", "1"),
        ("predict",),
        ("train", "iris", "--epochs", "many"),
        ("train", "iris", "wine"),
        ("train", "x" * 300 + ".csv"),
        ("predict", "x" * 300),
        ("predict", "two\nlines"),
    ],
)
def test_a_wrong_call_is_one_line(arguments):
    done = run(*arguments, "--json", expect=2)
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("chainrule: [")
    assert done.stderr.count("; ") == 2
    assert "[output]" not in done.stderr
    assert done.stderr == f"chainrule: {json.loads(done.stdout)['error']}\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_take_nothing(closed):
    for arguments, code in (("check tanh", 0), ("check tanhh --json", 2)):
        line = f"{sys.executable} -m chainrule {arguments} {closed}"
        done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert "Traceback" not in done.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="needs SIGPIPE")
def test_a_reader_that_goes_away_ends_it_quietly():
    with subprocess.Popen(
        [*COMMAND, "check", "--page"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        running.stdout.close()
        assert running.stderr.read() == ""
    assert running.returncode == -signal.SIGPIPE


def single_valued():
    """Every option that keeps one value, of every command."""
    for name, command in typer.main.get_command(app).commands.items():
        for p in command.params:
            if p.opts[0].startswith("--") and not (p.multiple or p.is_flag):
                yield name, p.opts[0], "3" if p.type.name in ("integer", "float") else "some"


@pytest.mark.parametrize(("command", "option", "value"), sorted(single_valued()))
def test_an_option_with_two_values_is_an_error(command, option, value, capsys):
    for second in ([option, value], [f"{option}={value}"]):
        with pytest.raises(SystemExit) as caught:
            main([command, option, value, *second])
        assert caught.value.code == 2
        assert f"[{command}] got {option} 2 times; expected one value;" in capsys.readouterr().err


def test_options_that_take_several_values():
    several = {o for _, o, _ in single_valued()} & {"--drop", "--category", "--hidden"}
    assert not several
    assert len(set(single_valued())) > 20
