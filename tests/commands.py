"""What the tests of runs share: calling the command, small tables, and the form of an error."""

import csv
import json
import os
import pty
import subprocess
import sys

import numpy as np
import pytest

from chainrule import files
from chainrule.cli import main

COMMAND = [sys.executable, "-m", "chainrule"]
ROWS = 80


def shell(*arguments, cwd=None, expect=0, **settings):
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        **settings,
    )
    assert done.returncode == expect, done.stderr
    return done


def terminal(*arguments, cwd=None):
    """The exit code, and what the command writes in a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd
    )
    os.close(theirs)
    out = b""
    try:
        while part := os.read(ours, 65536):
            out += part
    except OSError:  # its end is closed
        pass
    os.close(ours)
    return process.wait(), out.decode()


def call(capsys, *arguments):
    """The exit code, stdout and stderr of the command, run in this process."""
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments)])
    out = capsys.readouterr()
    return caught.value.code or 0, out.out, out.err


def table(rows=ROWS, seed=0):
    """Columns a, b, colour and when; y is a or b, whichever is larger; z a sum."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, rows)).round(3)
    colours = rng.choice(["red", "green", "blue"], rows)
    days = [f"2024-01-{k % 28 + 1:02}" for k in range(rows)]
    y = np.where(a > b, "first", "second")
    z = (2 * a - b + (colours == "red")).round(3)
    return {"a": a, "b": b, "colour": colours, "when": days, "y": y, "z": z}


def write_csv(path, columns):
    path.write_text(files.to_csv({k: list(v) for k, v in columns.items()}))
    return path


def read_csv(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def changed(columns, **changes):
    return {**columns, **changes}


def expect_one_error(capsys, arguments, says):
    code, out, err = call(capsys, *arguments, "--json")
    assert code == 2
    assert err.count("\n") == 1, err
    assert err.startswith("chainrule: [")
    assert err.count("; ") >= 2, "what arrived; expected …; what to try"
    assert says in err
    assert json.loads(out)["error"] in err
