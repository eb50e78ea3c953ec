"""Recipes: what is written reads back; each broken rule is one error that names the setting."""

import dataclasses
import math
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule import nn
from chainrule.errors import ArgumentError, ChainruleError, FileError
from chainrule.train import fit
from chainrule.train.runs.augmentation import PRESETS
from chainrule.train.runs.recipe import OPTIMIZERS, SECTIONS, Recipe

MOST = 2**63 - 1
text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
above = st.floats(0, allow_infinity=False, exclude_min=True)
share = st.floats(0, 1, exclude_min=True, exclude_max=True)
sizes = st.lists(st.integers(1, MOST), min_size=1, max_size=4)
VALID = {
    "source": text,
    "target": text,
    "drop": st.lists(text, max_size=3),
    "category": st.lists(text, max_size=3),
    "decimal": st.sampled_from([".", ","]),
    "task": st.sampled_from(["classification", "regression"]),
    "test": share,
    "valid": share,
    "size": st.tuples(st.integers(1, 999), st.integers(1, 999)).map(list),
    "max_pixels": st.integers(1, MOST),
    "max_unreadable": st.floats(0, 1, exclude_max=True),
    "length": st.integers(2, MOST),
    "encoding": text,
    "tokens": st.sampled_from(["characters", "bytes"]),
    "model": st.sampled_from(["mlp", "cnn", "gru", "lstm", "transformer"]),
    "hidden": sizes,
    "channels": sizes,
    "embedding": st.integers(1, MOST),
    "heads": st.integers(1, MOST),
    "dropout": st.floats(0, 1, exclude_max=True),
    "loss": st.sampled_from(["mse", "mae", "huber"]),
    "epochs": st.integers(1, MOST),
    "batch_size": st.integers(1, MOST),
    "optimizer": st.sampled_from(list(OPTIMIZERS)),
    "lr": above,
    "weight_decay": st.floats(0, allow_infinity=False),
    "schedule": st.sampled_from(["cosine", "constant"]),
    "clip_norm": above,
    "carry": st.booleans(),
    "label_smoothing": st.floats(0, 1, exclude_max=True),
    "class_weight": st.just("balanced"),
    "augment": st.sampled_from(PRESETS)
    | st.fixed_dictionaries({"shift": st.integers(0, 9), "flip": st.booleans()}),
    "monitor": st.sampled_from(["valid_loss", "valid_accuracy", "valid_f1"]),
    "patience": st.integers(1, MOST),
    "guard": st.booleans(),
    "probes": st.booleans(),
    "seed": st.integers(0, MOST),
}
NAMES = [f.name for f in dataclasses.fields(Recipe)]
HOME = {name: section for section, names in SECTIONS.items() for name in names}


def test_the_table_has_every_setting():
    assert list(VALID) == NAMES


@given(st.fixed_dictionaries({}, optional=VALID))
def test_what_is_written_reads_back(tmp_path_factory, values):
    recipe = Recipe(**values)
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_bytes(recipe.to_toml().encode())
    found = Recipe.read(path)
    if found.source != recipe.source:  # a name that leads somewhere is made absolute
        assert (path.parent / recipe.source).exists()
        found.source = recipe.source
    assert found == recipe
    assert found.to_toml() == recipe.to_toml()
    written = tomllib.loads(recipe.to_toml())
    assert written.pop("format") == 1
    flat = {name: (HOME[name], value) for name, value in values.items()}
    assert {n: (s, v) for s, vs in written.items() for n, v in vs.items()} == {
        "source": ("data", ""),
        **flat,
    }


WHOLE = [0, -1, 1.0, True, "1", [1], math.nan, 2**63]
SHARE = [1, 1.0, -0.1, 2, math.nan, math.inf, True, "0.5", 10**400]
ABOVE = [0, 0.0, -1e-3, math.nan, math.inf, True, "1", [1.0], 10**400]
SIZES = [[], 5, [0], [1.0], [True], ["3"], "3", [[1]], {"a": 1}]
WRONG = {
    "source": [5, True, ["a"], 1.5],
    "target": [5, False, ["a"]],
    "drop": ["a", 5, [1], [["a"]]],
    "category": ["a", 5, [1]],
    "decimal": ["", ";", 5, [","]],
    "task": ["Classification", "", 5, ["regression"]],
    "test": [*SHARE, 0, 0.0],
    "valid": [*SHARE, 0, 0.0],
    "size": [*SIZES, [28], [1, 2, 3]],
    "max_pixels": WHOLE,
    "max_unreadable": SHARE,
    "length": [1, *WHOLE],
    "encoding": [5, True, ["utf-8"]],
    "tokens": ["words", "", 5, ["bytes"]],
    "model": ["MLP", "rnn", 5, ["mlp"]],
    "hidden": SIZES,
    "channels": SIZES,
    "embedding": WHOLE,
    "heads": WHOLE,
    "dropout": SHARE,
    "loss": ["MSE", "cross_entropy", 5],
    "epochs": WHOLE,
    "batch_size": WHOLE,
    "optimizer": ["Adam", "", 5, {}],
    "lr": ABOVE,
    "weight_decay": [v for v in ABOVE if v != 0],
    "schedule": ["linear", 5],
    "clip_norm": ABOVE,
    "carry": [1, 0, "true", "yes", [True]],
    "guard": [1, 0, "on"],
    "probes": ["full", 400],
    "label_smoothing": SHARE,
    "class_weight": ["Balanced", "", 1.0, [1.0, 2.0]],
    "monitor": ["loss", "accuracy", "valid_mae", "", 1],
    "augment": [
        *("Light", "", 5, ["full"], True, {}),
        *({"flop": True}, {"flip": 1}, {"rotate": "a"}, {"shift": 1.5}, {"mixup": 0}, {"hue": -1}),
    ],
    "patience": WHOLE,
    "seed": [-1, 1.0, True, "1", 2**63],
}


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_rule_names_the_setting(tmp_path, name):
    assert WRONG[name]
    for value in WRONG[name]:
        with pytest.raises(ArgumentError) as caught:
            Recipe(**{name: value})
        assert str(caught.value).startswith(f"[recipe] got {name} = {value!r}; ")
        assert name in caught.value.advice
        assert caught.value.needed.startswith(("expected a ", "expected one of "))
        text = toml(value)
        if text is not None:
            path = written(tmp_path, f"[{HOME[name]}]\n{name} = {text}")
            with pytest.raises(ArgumentError, match=rf"got {name} = "):
                Recipe.read(path)


def toml(value):
    """The value as TOML has it; None where it has no such value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, str):
        return f'"{value}"'
    return None if isinstance(value, dict) or abs(value) >= 2**63 else repr(value)


def written(tmp_path, content):
    path = tmp_path / "recipe.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


UNREADABLE = {
    "": None,
    "format = 1": None,
    "format = 2": (FileError, "of format 2; expected format 1; install the version"),
    'format = "1"': (FileError, "of format '1'"),
    "[train]\nepohcs = 3": (ArgumentError, r"got 'epohcs' in \[train\] of .*did you mean epochs"),
    "[train]\nzzz = 3": (ArgumentError, "got 'zzz'.*one of loss, epochs, batch_size.*remove it"),
    "[data]\nepochs = 3": (ArgumentError, r"got 'epochs' in \[data\].*move it to \[train\]"),
    "epochs = 3": (ArgumentError, r"got 'epochs'.*sections data, model, tr.*move it to \[train\]"),
    'model = "mlp"': (ArgumentError, r"got 'model'.*move it to \[model\]"),
    "[trian]\nepochs = 3": (ArgumentError, "got 'trian'.*did you mean train"),
    "[[train]]\nepochs = 3": (ArgumentError, "got 'train'"),
    "[zzz]": (ArgumentError, "got 'zzz'.*remove it"),
    "[train\n": (FileError, "which is not TOML"),
    "[train]\nepochs = 3\nepochs = 4": (FileError, "which is not TOML"),
    b"[data]\nsource = '\xff'": (FileError, "which is not TOML"),
}


@pytest.mark.parametrize("content", UNREADABLE)
def test_a_file_that_is_no_recipe(tmp_path, content):
    path = written(tmp_path, content)
    if UNREADABLE[content] is None:
        assert Recipe.read(path) == Recipe()
        return
    kind, says = UNREADABLE[content]
    with pytest.raises(kind, match=rf"\[recipe\] got .*{says}|\[recipe\] {says}"):
        Recipe.read(path)


@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda t: t.encode(errors="replace")))
def test_any_bytes_are_a_recipe_or_one_error(tmp_path_factory, content):
    path = written(tmp_path_factory.mktemp("recipe"), content)
    try:
        assert isinstance(Recipe.read(path), Recipe)
    except ChainruleError as error:
        assert str(error).count("; ") >= 2  # noqa: PT017 - it may also be a recipe


def test_a_missing_file(tmp_path):
    with pytest.raises(FileError, match=r"\[read\] got .*none.toml, which does not exist"):
        Recipe.read(tmp_path / "none.toml")


def test_a_path_is_relative_to_the_recipe(tmp_path, monkeypatch):
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "data.csv").write_text("a,b")
    (tmp_path / "up.csv").write_text("a,b")
    monkeypatch.chdir("/")
    for source, expected in (
        ("data.csv", folder / "data.csv"),
        ("../up.csv", tmp_path / "up.csv"),
        (str(tmp_path / "up.csv"), tmp_path / "up.csv"),
    ):
        path = written(folder, f'[data]\nsource = "{source}"')
        assert Recipe.read(path).source == str(expected.resolve())
    for source in ("digits", "none.csv", "x" * 5000, "a\\u0000b"):
        path = written(folder, f'[data]\nsource = "{source}"')
        assert Recipe.read(path).source == source.replace("\\u0000", "\0")


def test_what_is_left_out_is_completed_and_nothing_else():
    recipe = Recipe(source="a.csv", epochs=3, dropout=0)
    full = recipe.completed({"epochs": 9, "dropout": 0.5, "lr": 1, "hidden": (4, 5)})
    assert full == Recipe(source="a.csv", epochs=3, dropout=0.0, lr=1.0, hidden=[4, 5])
    assert (type(full.lr), type(full.dropout), recipe.lr) == (float, float, None)
    with pytest.raises(ArgumentError, match="got lr = -1"):
        recipe.completed({"lr": -1})


@pytest.mark.parametrize("name", ["guard", "probes"])
def test_a_switch_is_true_or_false(name):
    with pytest.raises(ArgumentError, match=f"leave out {name}, which is true by default"):
        Recipe("moons", **{name: "yes"})
    for value in ("yes", 0, 1, None):
        with pytest.raises(ArgumentError, match=f"got {name}=.*expected True or False"):
            fit(nn.Linear(2, 1), [], loss="mse", **{name: value})
