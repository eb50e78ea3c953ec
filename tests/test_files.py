"""Files are complete or absent, also where several threads write the same one."""

import os
import subprocess
import sys
import threading

import pytest

from chainrule import files
from chainrule.errors import FileError


def in_threads(*functions):
    """Run them at once; their errors, None where there is none."""
    errors = [None] * len(functions)

    def run(k):
        try:
            functions[k]()
        except Exception as error:
            errors[k] = error

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_two_threads_write_the_same_file(tmp_path, monkeypatch):
    both, flush = threading.Barrier(2, timeout=10), os.fsync

    def together(handle):
        both.wait()
        flush(handle)

    monkeypatch.setattr(os, "fsync", together)
    path, contents = tmp_path / "page.html", ["a" * 5000, "b" * 9000]
    assert in_threads(*(lambda c=c: files.write(path, c) for c in contents)) == [None, None]
    assert path.read_text() in contents
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_two_threads_fill_the_same_folder(tmp_path):
    both = threading.Barrier(2, timeout=10)

    def fill():
        with files.new_folder(tmp_path / "run") as folder:
            both.wait()
            for name in "abc":
                (folder / name).write_text(name)
            both.wait()

    first, second = sorted(in_threads(fill, fill), key=lambda e: e is None)
    assert isinstance(first, FileError)
    assert second is None
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["a", "b", "c"]


def test_a_sweep_leaves_what_another_thread_writes(tmp_path):
    with files.new_folder(tmp_path / "run") as folder:
        assert in_threads(lambda: files.sweep(tmp_path)) == [None]
        assert folder.is_dir()
    assert (tmp_path / "run").is_dir()


@pytest.mark.parametrize("form", ["{name}.{process}", "{name}.{thread}.{process}"])
def test_a_sweep_removes_what_was_left(form, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ended = threading.Thread(target=lambda: None)
    ended.start()
    ended.join()
    for process in (gone.pid, os.getpid()):
        for name in ("run", "step-000000007", "a.b"):
            text = form.format(name=name, thread=ended.native_id, process=process)
            (tmp_path / f".{text}.tmp").write_text("")
    kept = tmp_path / f".run.1.{os.getppid()}.tmp"
    kept.write_text("")
    files.sweep(tmp_path)
    assert [*tmp_path.iterdir()] == [kept]
