"""What a run folder holds is as it was written, or it is refused or recovered with a warning."""

import json
import os
import shutil
import threading
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from chainrule import files, nn, optim
from chainrule.errors import ArgumentError, ChainruleError, DtypeError, FileError
from chainrule.train import Run, predict
from chainrule.train.checkpoints import checkpoint
from chainrule.train.loop.trainer import Trainer
from commands import call, expect_one_error, table

FLIPS = 200
OUTPUTS = {"metrics.jsonl", "predictions.csv", "report.html", "result.json"}  # nothing reads them


@pytest.fixture
def copy(classified, tmp_path):
    """A run folder of two checkpoints whose files may be spoiled."""
    return shutil.copytree(classified.run, tmp_path / "run")


def predicted(folder):
    """The outputs for some rows, their bits, and what is said of them."""
    run = Run.open(folder)
    output = predict(run.model, run.task.read(table(), False)[0])
    return output.tobytes(), run.task.decoded(output)


def resumed(checkpoints):
    """What resuming takes of the newest checkpoint that is intact."""
    tensors, state = checkpoint.latest(checkpoints)
    return {g: {k: v.tobytes() for k, v in t.items()} for g, t in tensors.items()}, repr(state)


def flips(folder):
    """Places of bits, from a fixed seed: one in each file, the others as the sizes are."""
    rng = np.random.default_rng(14)
    every = sorted(p for p in folder.rglob("*") if p.is_file())
    sizes = np.array([p.stat().st_size for p in every])
    more = rng.choice(len(every), FLIPS - len(every), p=sizes / sizes.sum())
    for k in [*range(len(every)), *more.tolist()]:
        yield every[k], int(rng.integers(sizes[k])), int(rng.integers(8))


def test_no_flipped_bit_of_a_run_folder_is_silent(copy, tmp_path):
    expected, seen = predicted(copy), []
    (tmp_path / "alone").mkdir()
    for file, at, bit in flips(copy):
        inside = file.parent.parent.name == "checkpoints"
        if inside:  # of the two the older one is read alone
            link = tmp_path / "alone" / "step-000000001"
            link.unlink(missing_ok=True)
            link.symlink_to(file.parent)
            kept = resumed(tmp_path / "alone")
        whole = file.read_bytes()
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                if inside:
                    assert resumed(tmp_path / "alone") == kept, (file.name, at, bit)
                else:
                    assert predicted(copy) == expected, (file.name, at, bit)
                seen.append((file, "recovered" if caught else "same"))
            except ChainruleError:
                seen.append((file, "refused"))
        file.write_bytes(whole)
    assert len(seen) == FLIPS
    for file, what in seen:
        if file.suffix == ".safetensors":
            assert what == ("recovered" if file.parent == copy else "refused")
        if file.name in OUTPUTS:
            assert what == "same"
    others = [what for file, what in seen if file.suffix in (".toml", ".json")]
    assert others.count("refused") > len(others) // 2, "the others: blanks, 1e5 for 1E5, a result"


DAMAGE = {
    "cut": (lambda data: data[: len(data) // 2], "not readable as safetensors"),
    "foreign": (lambda data: b"PK\x03\x04 not this", "not readable as safetensors"),
    "a bit": (lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], "checksum differs"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_weights_are_those_of_the_checkpoint(name, copy, capsys):
    expected = predicted(copy)
    change, says = DAMAGE[name]
    file = copy / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(change(whole))
    with pytest.warns(UserWarning, match=f"{says}.*: using the weights of the checkpoint after"):
        assert predicted(copy) == expected
    shutil.move(copy / "checkpoints", copy / "gone")
    expect_one_error(capsys, ["predict", copy], says)
    shutil.move(copy / "gone", copy / "checkpoints")
    assert call(capsys, "train", "--resume", copy, "--quiet")[0] == 0
    assert file.read_bytes() == whole


def test_weights_that_are_not_finite_are_refused(copy, capsys):
    weights = load_file(copy / "model.safetensors")
    name = sorted(weights)[0]
    weights[name] = np.full_like(weights[name], np.nan)
    save_file(weights, copy / "model.safetensors")
    shutil.rmtree(copy / "checkpoints")
    expect_one_error(capsys, ["predict", copy], f"values in {name} that are not finite")


def test_weights_without_a_checksum_load_with_a_note(copy):
    expected = predicted(copy)
    save_file(load_file(copy / "model.safetensors"), copy / "model.safetensors")
    with pytest.warns(UserWarning, match=r"model.safetensors without a checksum.*--resume"):
        assert predicted(copy) == expected


def test_a_weight_file_is_whole_for_other_readers(copy):
    found = load_file(copy / "model.safetensors")
    own = Run.open(copy).model.state_dict()
    assert {k: v.tobytes() for k, v in found.items()} == {k: v.tobytes() for k, v in own.items()}


def test_checkpoints_of_earlier_versions_are_read(tmp_path):
    path = checkpoint.save(tmp_path, 3, {"model": {"w": np.arange(3.0)}}, {"step": 3})
    save_file({"w": np.arange(3.0)}, path / "model.safetensors")
    whole = json.loads((path / "state.json").read_text())
    del whole["checksum"]
    whole["sha256"]["model"] = files.checksum((path / "model.safetensors").read_bytes())
    whole["checksum"] = files.checksum(files.to_json(whole).encode())
    (path / "state.json").write_text(files.to_json(whole))
    tensors, state = checkpoint.latest(tmp_path)
    assert state == {"step": 3}
    np.testing.assert_array_equal(tensors["model"]["w"], np.arange(3.0))


# Weights of another kind


KINDS = {
    "int64": (np.int64, DtypeError),
    "bool": (np.bool_, DtypeError),
    "uint8": (np.uint8, DtypeError),
    "float64": (np.float64, None),
    "float16": (np.float16, None),
    "bfloat16": (ml_dtypes.bfloat16, None),
}


@pytest.mark.parametrize("name", KINDS)
def test_weights_are_floats(name):
    dtype, error = KINDS[name]
    layer = nn.Linear(2, 1)
    before = layer.state_dict()
    values = {"weight": np.array([[0, 1]], dtype), "bias": np.array([1.0], np.float32)}
    if error is None:
        layer.load_state_dict(values)
        assert layer.weight.tolist() == [[0.0, 1.0]]
        return
    with pytest.raises(error, match=rf"got {name}\[2,1\] for weight|got {name}\[1,2\] for weight"):
        layer.load_state_dict(values)
    assert {k: v.tobytes() for k, v in layer.state_dict().items()} == {
        k: v.tobytes() for k, v in before.items()
    }


def test_the_state_of_an_optimizer_is_floats():
    optimizer = optim.Adam(nn.Linear(2, 1).named_parameters())
    state = optimizer.state_dict()
    name = next(k for k, v in state.items() if v.ndim == 2)
    with pytest.raises(
        DtypeError, match=rf"got int64\[.*\] for {name}; expected float32, or another"
    ):
        optimizer.load_state_dict({**state, name: state[name].astype(np.int64)})
    optimizer.load_state_dict({**state, name: state[name].astype(np.float64)})


def test_weights_that_become_infinite_are_refused():
    layer = nn.Linear(1, 1, bias=False)
    with pytest.raises(ArgumentError, match=r"for weight with values beyond float32"):
        layer.load_state_dict({"weight": np.array([[1e300]])})
    layer.load_state_dict({"weight": np.array([[np.inf]])})  # it was infinite before


def test_a_run_with_weights_of_whole_numbers_is_refused(copy, capsys):
    weights = load_file(copy / "model.safetensors")
    name = sorted(weights)[0]
    weights[name] = weights[name].astype(np.int64)
    (copy / "model.safetensors").write_bytes(files.tensors_to_bytes(weights))
    expect_one_error(
        capsys, ["predict", copy], f"for {name}; expected float32, or another floating"
    )


# Links and pipes in a folder that comes from elsewhere


WRITTEN = ["model.safetensors", "metrics.jsonl", "predictions.csv", "result.json", "report.html"]


def test_nothing_is_written_through_a_link_or_a_pipe(copy, tmp_path, capsys):
    target = tmp_path / "precious"
    target.write_text("as it was")
    for name in WRITTEN[:-1]:
        (copy / name).unlink()
        (copy / name).symlink_to(target)
    (copy / WRITTEN[-1]).unlink()
    os.mkfifo(copy / WRITTEN[-1])
    assert call(capsys, "train", "--resume", copy, "--quiet")[0] == 0
    assert target.read_text() == "as it was"
    for name in WRITTEN:
        assert (copy / name).is_file(), name
        assert not (copy / name).is_symlink(), name


def test_checkpoints_elsewhere_are_not_written(copy, tmp_path, capsys):
    shutil.move(copy / "checkpoints", tmp_path / "elsewhere")
    (copy / "checkpoints").symlink_to(tmp_path / "elsewhere")
    expect_one_error(capsys, ["train", "--resume", copy], "checkpoints, which is a link")


@pytest.mark.parametrize("where", ["../elsewhere", "nowhere"])
def test_a_link_in_the_place_of_what_a_killed_process_left(where, copy, tmp_path, capsys):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("")
    for place in (copy, copy / "checkpoints"):
        for process in (99999999, os.getpid()):
            for name in (".x", ".metrics.jsonl", ".step-000000999"):
                for thread in ("", f".{threading.get_native_id()}"):
                    (place / f"{name}{thread}.{process}.tmp").symlink_to(where)
    assert call(capsys, "train", "--resume", copy, "--quiet")[0] == 0
    assert [p.name for p in elsewhere.iterdir()] == ["kept"]
    assert not list(copy.rglob(".*"))


@pytest.mark.parametrize("name", ["recipe.toml", "data.json"])
def test_a_pipe_is_refused_at_once(name, copy, capsys):
    (copy / name).unlink()
    os.mkfifo(copy / name)
    commands = [["predict", copy], ["evaluate", copy], ["train", "--resume", copy]]
    if name == "recipe.toml":
        commands.append(["train", copy / name])
    for command in commands:
        expect_one_error(capsys, command, f"{name}, which is a pipe or a device")


@pytest.mark.parametrize("name", ["model.safetensors", "state.json"])
def test_a_pipe_in_the_place_of_weights_is_passed_over(name, copy):
    expected = predicted(copy)
    step, *_ = (copy / "checkpoints").iterdir()
    shutil.copytree(step, copy / "checkpoints" / "step-999999999")
    file = copy / name if name in WRITTEN else copy / "checkpoints" / "step-999999999" / name
    file.unlink()
    os.mkfifo(file)
    read = predicted if name in WRITTEN else lambda copy: checkpoint.latest(copy / "checkpoints")
    with pytest.warns(UserWarning, match="which is a pipe"):
        found = read(copy)
    assert found == expected or name == "state.json"


def test_data_that_is_a_pipe(copy, csv_file, tmp_path, capsys):
    recipe = (copy / "recipe.toml").read_text()
    pipe = tmp_path / "t.csv"
    os.mkfifo(pipe)
    (copy / "recipe.toml").write_text(recipe.replace(str(csv_file), str(pipe)))
    for command in (["evaluate", copy], ["train", "--resume", copy]):
        expect_one_error(capsys, command, "t.csv, which is a pipe or a device")


def test_a_file_is_read_through_a_link(copy, tmp_path):
    """Tools that keep large files elsewhere leave links: reading them harms nothing."""
    expected = predicted(copy)
    shutil.move(copy / "model.safetensors", tmp_path / "kept elsewhere")
    (copy / "model.safetensors").symlink_to(tmp_path / "kept elsewhere")
    assert predicted(copy) == expected


# A folder that goes while it is trained in


def put_a_file(folder):
    shutil.rmtree(folder)
    folder.write_text("")


def put_a_link(folder):
    elsewhere = folder.with_name("elsewhere")
    (elsewhere / "checkpoints").mkdir(parents=True)
    shutil.rmtree(folder)
    folder.symlink_to(elsewhere)


def put_another(folder):
    folder.rename(folder.with_name("moved"))
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "recipe.toml").write_text("")


@pytest.mark.parametrize(
    "when", ["step", "optimizer.safetensors", "model.safetensors", "report.html"]
)
def test_a_removal_that_meets_a_file_being_written(when, tmp_path, monkeypatch, capsys):
    """Then rm -r leaves the folder, but nothing else in it: the run makes it whole again."""
    place, real, gone = tmp_path / "run", files.write, []

    def write(path, content):
        if (path.name == when or (when == "step" and path.name == "best.safetensors")) and not gone:
            for inside in place.iterdir():
                if inside.is_file():
                    inside.unlink()
                elif inside not in path.parents:
                    shutil.rmtree(inside)
            if when == "step":
                shutil.rmtree(path.parent)
            gone.append(path)
        real(path, content)

    monkeypatch.setattr(files, "write", write)
    code, _, said = call(capsys, "train", "iris", "--epochs", 2, "--out", place, "--quiet")
    assert gone
    if when in ("report.html", "step"):
        why = {"report.html": "model.safetensors was removed during", "step": "No such file"}[when]
        assert (code, why in said, "--resume" in said) == (2, True, True)
        assert call(capsys, "train", "--resume", place, "--quiet")[0] == 0
    else:
        assert code == 0
    whole = tmp_path / "whole"
    assert call(capsys, "train", "iris", "--epochs", 2, "--out", whole, "--quiet")[0] == 0
    assert Run.open(place).predict() == Run.open(whole).predict()
    for name in ("recipe.toml", "data.json"):
        assert (place / name).read_bytes() == (whole / name).read_bytes()


AWAY = {
    "removed": (shutil.rmtree, "was removed during training"),
    "renamed": (lambda folder: folder.rename(folder.with_name("moved")), "moved\n"),
    "parent removed": (lambda folder: shutil.rmtree(folder.parent), "was removed during"),
    "a file": (put_a_file, "was removed during"),
    "a link": (put_a_link, "was removed during"),
    "another folder": (put_another, "moved\n"),
}
WHEN = ["step", "checkpoint", "end", "model.safetensors", "report.html"]


GOES = [(name, when) for name in AWAY for when in WHEN if when == "step" or "re" in name[:2]]


@pytest.mark.parametrize(("name", "when"), [*GOES, ("another folder", "report.html")])
def test_a_folder_that_goes_ends_the_run_with_an_error(name, when, tmp_path, monkeypatch, capsys):
    away, says = AWAY[name]
    place = tmp_path / "parent" / "run"
    left = []

    def go():
        if not left:
            away(place)
            left.append({p: p.read_bytes() for p in place.rglob("*") if p.is_file()})

    real = files.write

    def write(path, content):
        if path.name == when or (when == "checkpoint" and path.name == "optimizer.safetensors"):
            go()
        real(path, content)

    def after(owner, method):
        done = getattr(owner, method)

        def call_and_go(*arguments):
            found = done(*arguments)
            go()
            return found

        monkeypatch.setattr(owner, method, call_and_go)

    monkeypatch.setattr(files, "write", write)
    if when == "step":
        after(Trainer, "_note")
    if when == "end":
        after(Trainer, "save")
    arguments = ["train", "iris", "--epochs", 2, "--out", place, "--quiet"]
    code, _, err = call(capsys, *arguments, "--checkpoint-every", 0.001)
    assert left, "it has gone"
    assert code == 2
    assert err.startswith(f"chainrule: [train] got {place}, which ")
    assert says in err
    if name in ("a link", "another folder", "a file"):  # nothing is put there
        written = {p: p.read_bytes() for p in place.rglob("*") if p.is_file()}
        assert when in ("model.safetensors", "report.html") or written == left[0]


FAILING = {"full": OSError(28, "No space left on device"), "rights": PermissionError(13, "Denied")}


@pytest.mark.parametrize(
    ("file", "what"),
    [*zip(["state.json", *WRITTEN], [*FAILING] * 3, strict=True)],
)
def test_what_cannot_be_written_is_an_error_with_a_way_on(
    file, what, tmp_path, monkeypatch, capsys
):
    place, real = tmp_path / "run", os.replace

    def replace(source, target):
        if target == place / file or (file == "state.json" == Path(target).name):
            raise FAILING[what]
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        code, _, err = call(capsys, "train", "iris", "--epochs", 2, "--out", place, "--quiet")
    assert code == 2
    assert f"got {FAILING[what].strerror} for {place}" in err
    if not place.exists():  # before the first checkpoint: there was nothing to keep
        assert file == "metrics.jsonl"
        assert "--resume" not in err
        return
    assert f"then continue with chainrule train --resume {place}" in err
    assert not list(place.rglob("*.tmp"))
    assert call(capsys, "train", "--resume", place, "--quiet")[0] == 0
    assert call(capsys, "predict", place)[0] == 0


def test_the_end_of_each_callback_is_called_also_after_one_that_raises():
    import chainrule as cr

    ended = []

    class Ends(cr.train.Callback):
        def on_end(self, run):
            ended.append(self)
            raise FileError("write", "got a full disk", "space", "free some")

    x = np.zeros((4, 2), np.float32) + np.arange(4, dtype=np.float32)[:, None]
    with pytest.raises(FileError):
        cr.fit(
            nn.Linear(2, 1),
            (x, x[:, :1]),
            loss="mse",
            epochs=1,
            progress=False,
            callbacks=[Ends(), Ends()],
        )
    assert len(ended) == 2
