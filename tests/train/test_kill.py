"""kill -9 at random moments of a run, then --resume: the weights are those of the undisturbed run.

CHAINRULE_KILLS sets how many; by default few, so that the suite stays short.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings

import pytest

from chainrule.train.checkpoints import checkpoint
from chainrule.train.runs.run import Run

KILLS = int(os.environ.get("CHAINRULE_KILLS", "6"))
COMMAND = [sys.executable, "-m", "chainrule", "train"]
SETTINGS = ["--epochs", "25", "--checkpoint-every", "0.05", "--quiet"]


def train(*arguments, kill_after=None):
    """The exit code and what stood on stderr."""
    command = [*COMMAND, *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=kill_after, check=False)
    except subprocess.TimeoutExpired as killed:  # run() sends SIGKILL
        return -signal.SIGKILL, killed.stderr
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    began = time.perf_counter()
    assert train("digits", "--out", folder, *SETTINGS)[0] == 0
    return (folder / "model.safetensors").read_bytes(), time.perf_counter() - began


def test_killed_runs_end_as_undisturbed_ones(tmp_path, undisturbed):
    expected, seconds = undisturbed
    chance = random.Random(0)
    kills = finished = 0
    folder = tmp_path / "run-0"
    while kills < KILLS or folder.exists():
        arguments = ["--resume", folder, "--checkpoint-every", "0.05", "--quiet"]
        if not folder.exists():
            arguments = ["digits", "--out", folder, *SETTINGS]
        after = chance.uniform(0.0, 1.2 * seconds) if kills < KILLS else None
        code, errors = train(*arguments, kill_after=after)
        assert code in (0, -signal.SIGKILL), errors
        kills += code == -signal.SIGKILL
        if folder.exists():
            check_readable(folder)
        if code == 0:
            assert not list(folder.rglob(".*.tmp"))
            assert (folder / "model.safetensors").read_bytes() == expected
            assert len(Run.open(folder).predict()["row"]) == 359
            finished += 1
            folder = tmp_path / f"run-{finished}"
    assert finished
    print(f"{kills} kills, {finished} runs finished")


def check_readable(folder):
    """Whatever stands in the folder can be read, and the newest checkpoint is whole."""
    assert (folder / "recipe.toml").read_text()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkpoint.latest(folder / "checkpoints")
    metrics = folder / "metrics.jsonl"
    for line in metrics.read_text().splitlines() if metrics.exists() else []:
        json.loads(line)
