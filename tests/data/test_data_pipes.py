"""What is no file is refused at once: opening a pipe would wait, and a device never ends."""

import os
import signal

import pytest

from chainrule.data import read_image_files, read_table, read_text
from chainrule.errors import ChainruleError
from commands import call, table, write_csv

NAMES = ["x.csv", "x.tsv", "x.csv.gz", "x.parquet", "x.txt", "x.toml"]
SAYS = {"pipe": "a pipe or a device", "device": "a pipe or a device", "folder": "a folder"}
OTHER = {("folder", "x.txt"): "with no sub-folders", ("folder", "x.toml"): "directory"}


@pytest.fixture(autouse=True)
def _at_once():
    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def put(kind, path):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    return path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", SAYS)
def test_as_a_source(kind, name, tmp_path, capsys):
    path = put(kind, tmp_path / name)
    read = read_text if name in ("x.txt", "x.toml") else read_table
    with pytest.raises(ChainruleError, match=f"{name}, which is {SAYS[kind]};"):
        read(path)
    code, _, said = call(capsys, "train", path)
    assert code == 2
    assert OTHER.get((kind, name), SAYS[kind]) in said


def test_as_a_file_to_predict(tmp_path, capsys):
    data, run = write_csv(tmp_path / "t.csv", table()), tmp_path / "run"
    call(capsys, "train", data, "--target", "y", "--epochs", 1, "--out", run)
    os.mkfifo(tmp_path / "new.csv")
    for verb in ("predict", "evaluate"):
        code, _, said = call(capsys, verb, run, tmp_path / "new.csv")
        assert code == 2
        assert "new.csv, which is a pipe or a device; " in said


@pytest.mark.parametrize("kind", SAYS)
def test_as_an_image(kind, tmp_path):
    path = put(kind, tmp_path / "1.png")
    for source in ([path], *[tmp_path] * (kind != "folder")):
        with pytest.raises(ChainruleError, match=f"it is {SAYS[kind]}"):
            read_image_files(source)
