"""Each example runs, on a small budget and small data of the form that it reads."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def run(name, *arguments):
    return example(name)([str(a) for a in arguments])


@pytest.fixture
def rhyme(tmp_path):
    path = tmp_path / "rhyme.txt"
    path.write_text("one two three four five six seven\n" * 200)
    return path


def test_every_example_is_tested():
    text = Path(__file__).read_text()
    assert [p.stem for p in FOLDER.glob("*.py") if f'run("{p.stem}"' not in text] == []


def test_a_character_language_model(rhyme, capsys):
    small = ["--hidden", 32, "--window", 16, "--streams", 8, "--epochs", 12, "--write", 40]
    assert run("character_language_model", rhyme, *small) < 1.5
    assert "one two" in capsys.readouterr().out


def test_a_small_gpt(rhyme, capsys):
    sizes = ["--batch", 8, "--context", 16, "--channels", 16, "--heads", 2, "--depth", 1]
    assert run("small_gpt", rhyme, *sizes, "--steps", 200, "--write", 20) < 3.0
    assert "held out: " in capsys.readouterr().out


def test_a_sequence_classifier(tmp_path):
    """Two speakers, who differ in the slope of their channels."""
    draw = np.random.default_rng(0)
    for part, count in (("TRAIN", 60), ("TEST", 30)):
        rows = ["# a comment", "@data"]
        for k in range(count):
            steps = draw.choice([7, 12])
            slope = np.linspace(0, 1 - 2 * (k % 2), steps)
            channels = slope + 0.3 * draw.normal(size=(3, steps))
            rows.append(":".join([*(",".join(map(str, c)) for c in channels), str(k % 2 + 1)]))
        (tmp_path / f"JapaneseVowels_{part}.ts").write_text("\n".join(rows))
    assert run("sequence_classifier", tmp_path, "--epochs", 12, "--hidden", 8) > 0.9


def test_a_forecast(tmp_path):
    """A daily course, and one of three and a half days."""
    hours = np.arange(60 * 24)
    course = np.sin(hours * 2 * np.pi / 24) + np.sin(hours * 2 * np.pi / 84)
    rows = [f"hour {k},{value:.4f}" for k, value in zip(hours, course, strict=True)]
    (tmp_path / "hours.csv").write_text("\n".join(["date,value", *rows]))
    assert run("forecast", tmp_path / "hours.csv", "--epochs", 9, "--hidden", 16) < 0.8


def test_gradients_vanish_and_explode_on_demand(tmp_path, capsys):
    out = tmp_path / "norms.svg"
    shares = run(
        "vanishing_gradients", "--gain", 0.5, 1, 2, "--linear", "--steps", 21, "--out", out
    )
    for gain, share in shares.items():
        assert share == pytest.approx(gain**20, rel=1e-3)
    printed = re.findall(r"vanishes|stays|explodes", capsys.readouterr().out)
    assert printed == ["vanishes", "stays", "explodes"]
    assert out.read_text().startswith("<svg")
    bent = run("vanishing_gradients", "--gain", 1, "--steps", 21, "--out", out)
    assert bent[1.0] < 0.9, "the slope of tanh is below 1"


def test_a_segmentation(capsys):
    small = ["--images", 100, "--size", 16, "--width", 4, "--depth", 2, "--epochs", 20]
    assert run("segmentation", *small) > 0.4
    printed = capsys.readouterr().out
    assert "disc: intersection over union" in printed
    assert len(re.findall(r"^[.o#]{16}   [.o#]{16}$", printed, re.M)) == 8


def test_a_transfer(capsys):
    """Features of digits help to read mirrored ones."""
    results = run("transfer", "--width", 8, "--epochs", 5, "--steps", 40)
    new, unchanged, head, both = results.values()
    assert unchanged < head
    assert new < both
    assert "20 to learn from" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "package"), [("sequence_classifier", "sktime"), ("forecast", "vega-datasets")]
)
def test_where_the_data_comes_from_is_said(name, package):
    """Where the package with the data is not installed."""
    code = (
        "import importlib.util, runpy, sys; "
        "importlib.util.find_spec = lambda name, package=None: None; "
        "runpy.run_path(sys.argv.pop(), run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(FOLDER / f"{name}.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"pip install --no-deps {package}" in done.stderr
