"""Runs that are stopped and go on, bit for bit as if they had not been; damaged checkpoints."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import files, nn, optim
from chainrule.dtypes import DTYPES
from chainrule.errors import ArgumentError, ChainruleError, FileError
from chainrule.train.checkpoints import checkpoint
from running import (
    DATA,
    EPOCHS,
    OPTIMIZERS,
    SCHEDULES,
    STEPS,
    WAYS,
    Ends,
    Job,
    V,
    X,
    Y,
    everything,
    fit,
)

# Going on


@pytest.mark.filterwarnings("ignore:.fit.")  # networks of a few units may die
@settings(max_examples=30)
@given(st.data())
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path_factory, data):
    draw = data.draw
    job = Job(
        draw(st.sampled_from(list(DATA))),
        draw(st.sampled_from(list(OPTIMIZERS))),
        draw(st.sampled_from(list(SCHEDULES))),
        patience=draw(st.sampled_from([None, 1, 2])),
        valid=draw(st.sampled_from([V, None])),
        metrics=draw(st.sampled_from([(), ("f1",)])),
        accumulate=draw(st.sampled_from([1, 3])),
        clip_norm=draw(st.sampled_from([None, 0.5])),
        compile=draw(st.booleans()),
        restore_best=draw(st.sampled_from([None, True])),
    )
    folder = tmp_path_factory.mktemp("run")
    expected = job.start(1)
    cuts = draw(st.lists(st.integers(0, STEPS * EPOCHS), min_size=1, max_size=3))
    for k, at in enumerate(sorted(cuts)):
        job.until(
            at,
            draw(st.sampled_from(WAYS)),
            folder,
            seed=k + 2 if checkpoint.latest(folder) else 1,  # without one it begins again
            checkpoint_every=draw(st.sampled_from([0, 100])),
        )
    if not checkpoint.latest(folder):  # killed before the first one: it starts over
        assert job.start(1, folder) == expected
    else:
        assert job.start(77, folder) == expected
    assert len(list(folder.iterdir())) <= checkpoint.KEPT


STEPWISE = Job(optimizer="SGD", schedule="StepLR", valid=V, patience=3, compile=False)


@pytest.fixture(scope="module")
def stepwise():
    return STEPWISE.start(1)


@pytest.mark.parametrize("at", range(STEPS * EPOCHS + 1))
@pytest.mark.parametrize("how", ["stop", "save, kill", "kill"])
def test_every_step_is_one_to_stop_at(tmp_path, stepwise, at, how):
    STEPWISE.until(at, how, tmp_path, checkpoint_every=0)
    begun = checkpoint.latest(tmp_path) is not None
    assert STEPWISE.start(2 if begun else 1, tmp_path) == stepwise


@pytest.mark.parametrize("data", DATA)
def test_data_of_each_kind_goes_on_inside_an_epoch(tmp_path, data):
    job = Job(data, compile=False)
    expected = job.start(1)
    for at in (2, 5, 11):
        job.until(at, "stop", tmp_path, seed=at if at > 2 else 1)
    assert job.start(9, tmp_path) == expected


def names(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*")}


@pytest.mark.parametrize("patience", [None, 1])
def test_a_finished_run_is_left_as_it_is(tmp_path, patience):
    job = Job(schedule="StepLR", optimizer="SGD", valid=V, patience=patience)
    expected = job.start(1, tmp_path)
    assert job.history.stopped == ("patience" if patience else "epochs")
    before = names(tmp_path)
    assert job.start(2, tmp_path) == expected
    assert names(tmp_path) == before
    assert job.start(3, tmp_path, epochs=1)["tensors"] == expected["tensors"]


def test_more_epochs_go_on(tmp_path):
    job = Job(schedule="StepLR", valid=V, restore_best=True)
    expected = job.start(1, epochs=7)
    job.start(1, tmp_path, epochs=3)
    assert job.start(2, tmp_path, epochs=7) == expected


def test_seconds_add_up(tmp_path):
    job = Job()
    job.until(6, "stop", tmp_path)
    first = checkpoint.latest(tmp_path)[1]["seconds"]
    job.start(2, tmp_path)
    assert checkpoint.latest(tmp_path)[1]["seconds"] > first > 0


def test_a_new_run_does_not_mix_with_an_old_one(tmp_path):
    job = Job()
    job.start(1, tmp_path)
    before = names(tmp_path)
    with pytest.raises(
        FileError, match=r"\[checkpoint\] got .*; expected an empty folder.*resume=True"
    ):
        job.start(2, tmp_path, resume=False)
    assert names(tmp_path) == before


def test_what_a_checkpoint_does_not_fit(tmp_path):
    Job(schedule="StepLR").until(5, "stop", tmp_path)
    before = names(tmp_path)
    for other, says in (("none", "no"), ("ReduceLROnPlateau", "ReduceLROnPlateau")):
        with pytest.raises(ArgumentError, match=rf"\[resume\] got {says} schedule, and a check"):
            Job(schedule=other).start(2, tmp_path)
    Job().until(5, "stop", tmp_path / "another")
    model = Job().network()
    optimizer = optim.SGD(model.named_parameters(), lr=0.1)
    state = everything(model, optimizer)
    with pytest.raises(ArgumentError, match=r"\[load_state_dict\] .* of the same optimizer"):
        fit(model, (X, Y), optimizer=optimizer, checkpoint=tmp_path / "another", resume=True)
    assert everything(model, optimizer) == state
    with pytest.raises(ChainruleError, match=r"\[load_state_dict\] .* same architecture"):
        fit(nn.Linear(5, 3), (X, Y), checkpoint=tmp_path / "another", resume=True)
    assert {p: t for p, t in names(tmp_path).items() if p in before} == before


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_folder_that_cannot_be_used_is_told_before_training(tmp_path, where):
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        FileError, match=r"\[checkpoint\] got .* a path that can be read and written"
    ):
        fit(nn.Linear(5, 3), (X, Y), checkpoint=tmp_path / where, callbacks=[Ends(0, "kill")])


# Damage


def two(folder):
    """A run with checkpoints at steps 5 and 6."""
    Job().until(6, "stop", folder, checkpoint_every=0)
    older, newest = sorted(folder.iterdir())
    assert (older.name, newest.name) == ("step-000000005", "step-000000006")
    return older, newest


def rewrite(change):
    def damage(path):
        whole = json.loads((path / "state.json").read_text())
        change(whole)
        (path / "state.json").write_text(files.to_json(whole))

    return damage


def cut(name, share):
    def damage(path):
        data = (path / name).read_bytes()
        (path / name).write_bytes(data[: int(len(data) * share)])

    return damage


def foreign(path):
    data = files.tensors_to_bytes({"other": np.ones(3)})
    (path / "model.safetensors").write_bytes(data)


def emptied(path):
    shutil.rmtree(path)
    path.mkdir()


def a_file(path):
    shutil.rmtree(path)
    path.write_text("not a folder")


DAMAGES = {
    "truncated tensors": cut("model.safetensors", 0.7),
    "empty tensors": cut("optimizer.safetensors", 0),
    "no tensors": lambda path: (path / "random.safetensors").unlink(),
    "foreign tensors": foreign,
    "truncated state": cut("state.json", 0.9),
    "empty state": cut("state.json", 0),
    "no state": lambda path: (path / "state.json").unlink(),
    "empty object": lambda path: (path / "state.json").write_text("{}"),
    "a list": lambda path: (path / "state.json").write_text("[]"),
    "null": lambda path: (path / "state.json").write_text("null"),
    "not text": lambda path: (path / "state.json").write_bytes(b"\xff\xfe\x00"),
    "newer": rewrite(lambda whole: whole.update(format=99)),
    "without format": rewrite(lambda whole: whole.pop("format")),
    "without state": rewrite(lambda whole: whole.pop("state")),
    "another number": rewrite(lambda whole: whole["state"].update(step=3)),
    "odd checksums": rewrite(lambda whole: whole.update(sha256=7)),
    "empty folder": emptied,
    "a file": a_file,
}


@pytest.fixture(scope="module")
def undisturbed():
    return Job().start(1)


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over(tmp_path, undisturbed, name):
    older, newest = two(tmp_path)
    DAMAGES[name](newest)
    with pytest.warns(UserWarning, match="skipping a damaged checkpoint: ") as caught:
        assert Job().start(9, tmp_path) == undisturbed
    told = str(caught[0].message)
    assert "format 99" in told if name == "newer" else newest.name in told
    shutil.rmtree(tmp_path)
    older, newest = two(tmp_path)
    for path in (older, newest):
        DAMAGES[name](path)
    with pytest.warns(UserWarning), pytest.raises(FileError, match=newest.name):  # noqa: PT030
        Job().start(9, tmp_path)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    two(folder)
    return folder


def plain(found):
    tensors, state = found
    arrays = {g: {k: v.tobytes() for k, v in t.items()} for g, t in tensors.items()}
    return arrays, repr(state)


@settings(max_examples=150)
@given(st.data())
def test_no_flipped_bit_goes_unseen(pair, data):
    newest = sorted(pair.iterdir())[-1]
    file = data.draw(st.sampled_from(sorted(newest.iterdir())))
    whole = file.read_bytes()
    expected = plain(checkpoint.latest(pair))
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    broken = bytearray(whole)
    broken[at] ^= 1 << bit
    try:
        file.write_bytes(broken)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = checkpoint.latest(pair)
        if caught:
            assert found[1]["step"] == 5
        else:
            assert plain(found) == expected, "1e5 and 1E5 are the same number"
    finally:
        file.write_bytes(whole)


def test_what_a_killed_process_left_is_removed(tmp_path, undisturbed):
    two(tmp_path)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f".step-000000007.{gone.pid}.tmp"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    assert Job().start(9, tmp_path) == undisturbed
    assert not list(tmp_path.glob(".*"))


# Writing that fails


@pytest.mark.parametrize("same_step", [False, True])
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch, same_step):
    """It is full at the first, the second … flush of a save, until the save gets through."""
    for allowed in range(20):
        folder = tmp_path / str(allowed)
        Job().until(3, "stop", folder)
        expected = plain(checkpoint.latest(folder))
        real, calls = os.fsync, []

        def full(number, real=real, calls=calls, allowed=allowed):
            calls.append(number)
            if len(calls) > allowed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(number)

        error = None
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            try:
                Job().until(3 if same_step else 6, "save, stop", folder, seed=5)
            except FileError as caught:
                error = caught
        assert not list(folder.glob(".*"))
        found = plain(checkpoint.latest(folder))
        if error is None:
            break
        assert "[write] got No space left on device for" in str(error)
        assert found == expected or len(calls) == 2 * 5 + 1, "whole, but for the folder's flush"
    assert allowed == 2 * 5 + 1, "each file and its folder, then the folder of checkpoints"


def test_a_limit_of_file_size_is_told(tmp_path):
    Job().until(3, "stop", tmp_path)
    expected = plain(checkpoint.latest(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(FileError, match=r"\[write\] got File too large .*free space"):
            Job().start(2, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.glob(".*"))
    assert plain(checkpoint.latest(tmp_path)) == expected


def test_no_checkpoint_is_written_over(tmp_path):
    for value in range(15):
        path = checkpoint.save(tmp_path, 7, {"a": {"x": np.array(value)}}, {"value": value})
        assert checkpoint.latest(tmp_path)[1] == {"value": value}
        assert path.exists()
        assert len(list(tmp_path.iterdir())) <= checkpoint.KEPT
    checkpoint.save(tmp_path, 8, {}, {"value": 8})
    assert checkpoint.latest(tmp_path)[1] == {"value": 8}
    newer = tmp_path / "step-000000009"
    shutil.copytree(path, newer)
    shutil.copytree(path, tmp_path / "step-000000010")
    assert checkpoint.save(tmp_path, 8, {}, {"value": 9}).exists(), "although others sort after it"


@given(st.data())
def test_tensors_of_every_dtype_come_back(data):
    dtype = data.draw(st.sampled_from(DTYPES))
    shape = data.draw(st.sampled_from([(), (0,), (3, 0), (1,), (2, 3), (2, 1, 3)]))
    array = np.array(data.draw(st.integers(0, 1)), dtype) * np.ones(shape, dtype)
    array = array.astype(dtype)[..., ::-1] if shape else array.astype(dtype)
    found = files.tensors_from_bytes(files.tensors_to_bytes({"a.b/c": array}), Path("f"))
    assert list(found) == ["a.b/c"]
    assert (found["a.b/c"].dtype, found["a.b/c"].shape) == (dtype, shape)
    np.testing.assert_array_equal(found["a.b/c"].astype(float), array.astype(float))


@given(st.binary(max_size=200))
def test_any_bytes_are_told_not_to_be_tensors(content):
    with pytest.raises(FileError, match="not readable as safetensors"):
        files.tensors_from_bytes(content, Path("file"))
