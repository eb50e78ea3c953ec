"""Changes of programs (benchmarks/programs): patches, remedies, random ones; a collection."""

import json
import sys

import numpy as np
import pytest

from programs import patches, remedies, training
from programs.collection import Collection
from programs.program import Program
from programs.random_search import best_of_random, random_remedy
from recipes import IMAGES, TABLE, load


def test_a_patch():
    new = patches.patched(
        IMAGES,
        [
            {"set": {"optimizer.lr": 0.5, "layers.0.activation": "tanh", "batch": 4}},
            {"set": {"layers.3.l2": None, "shuffle": False}, "delete": [1]},
            {"insert": [[1, {"type": "batchnorm"}], [4, {"type": "activation"}]]},
            {"prep": [{"op": "standardise", "on": "x"}]},
        ],
    )
    conv, flat, dense = (dict(IMAGES["layers"][n]) for n in (0, 2, 3))
    del dense["l2"]
    conv["activation"] = "tanh"
    assert new["layers"] == [conv, {"type": "batchnorm"}, flat, dense, {"type": "activation"}]
    assert new["optimizer"] == {**IMAGES["optimizer"], "lr": 0.5}
    assert (new["batch"], new["shuffle"]) == (4, False)
    assert new["data"] == {"kind": "images", "prep": [{"op": "standardise", "on": "x"}]}
    assert IMAGES["layers"][3]["l2"] == 0.01
    assert "prep" not in IMAGES["data"]


ADAM, NORM = {"name": "adam", "lr": 0.001}, {"type": "batchnorm"}
CHANGES = [
    (("rate", "optimizer.lr", 0.01), {"set": {"optimizer.lr": 0.01}}),
    (("optimizer", "optimizer", ADAM), {"set": {"optimizer": ADAM}}),
    (("clip", "optimizer", 1.0), {"set": {"optimizer.clipnorm": 1.0}}),
    (("batch", "batch", 32), {"set": {"batch": 32}}),
    (("epochs", "epochs", 40), {"set": {"epochs": 40}}),
    (("activation", "layers.0", "relu"), {"set": {"layers.0.activation": "relu"}}),
    (("output_activation", "layers.3", "softmax"), {"set": {"layers.3.activation": "softmax"}}),
    (("loss", "loss", "cce_logits"), {"set": {"loss": {"name": "cce_logits"}}}),
    (("reduction", "loss", "mean"), {"set": {"loss.reduction": "mean"}}),
    (
        ("initialisation", "layers.0", "normal(0.1)"),
        {"set": {"layers.0.init": "normal(0.1)", "layers.0.bias_init": None}},
    ),
    (("scale", "data.inputs", "minmax"), {"prep": [{"op": "minmax", "on": "x"}]}),
    (("scale", "data.targets", "standardise"), {"prep": [{"op": "standardise", "on": "y"}]}),
    (
        ("scale", "data.inputs", {"op": "minmax", "whole": True}),
        {"prep": [{"op": "minmax", "whole": True, "on": "x"}]},
    ),
    (("remove", "layers.1", None), {"delete": [1]}),
    (("insert", "layers.4", NORM), {"insert": [[4, NORM]]}),
    (("dropout", "layers.2", 0.2), {"set": {"layers.2.rate": 0.2}}),
    (("l2", "layers.3", 0.0), {"set": {"layers.3.l2": 0.0}}),
    (("width", "layers.0", 16), {"set": {"layers.0.size": 16}}),
    (("shuffle", "data", True), {"set": {"shuffle": True}}),
]


@pytest.mark.parametrize(("change", "item"), CHANGES)
def test_a_change_as_a_patch(change, item):
    assert remedies.as_patch([change], TABLE) == item


def test_every_change_is_tested():
    assert {change[0] for change, _ in CHANGES} == remedies.CHANGES.keys()


def test_a_remedy_of_several_changes():
    remedy = [("loss", "loss", "mse"), ("reduction", "loss", "sum"), ("remove", "layers.1", None)]
    treated = Program(TABLE, load).treated([*remedy, ("scale", "data.inputs", "standardise")])
    assert treated.recipe["loss"] == {"name": "mse", "reduction": "sum"}
    assert [layer["type"] for layer in treated.recipe["layers"]] == ["dense", "dropout", "dense"]
    assert treated.arrays.x.std(0) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("luck", "loss", 1), "got the change 'luck'"),
        (("remove", "layers.4", None), "expected layers.0 to layers.3"),
        (("insert", "layers.5", NORM), "expected layers.0 to layers.4"),
        (("dropout", "layers.0", 0.5), "layers.0 is dense; expected dropout"),
        (("activation", "layers.0", "reluu"), "got 'reluu' for layers.0"),
        (("scale", "data", "minmax"), "expected data.inputs or data.targets"),
    ],
)
def test_a_change_that_cannot_be_made(change, message):
    with pytest.raises(ValueError, match=message):
        remedies.as_patch([change], TABLE)


@pytest.mark.parametrize("recipe", [IMAGES, TABLE])
def test_random_remedies_fit_the_program(recipe):
    program = Program({**recipe, "epochs": 1, "batch": 37}, load)
    drawn = [random_remedy(program, np.random.default_rng(k)) for k in range(60)]
    assert drawn == [random_remedy(program, np.random.default_rng(k)) for k in range(60)]
    assert {len(remedy) for remedy in drawn} == {1, 2, 3}
    assert len({change[0] for remedy in drawn for change in remedy}) >= 13
    for remedy in drawn:
        json.dumps(remedies.as_patch(remedy, program.recipe))
        assert len({change[:2] for change in remedy}) == len(remedy)
    for remedy in drawn[:15]:
        changed = program.treated([c for c in remedy if c[0] not in ("scale", "epochs")])
        assert training.train(changed).steps >= 1


@pytest.mark.parametrize(("scores", "better"), [(range(1000), True), (range(1000, 0, -1), False)])
def test_the_best_random_remedy(scores, better):
    """That of the highest score, within the time; none, if none is above the program's own."""

    class Made:
        def __init__(self):
            self.left = list(scores)

        def program(self, name):
            plain = lambda spec: load({k: v for k, v in spec.items() if k != "prep"})  # noqa: E731
            return Program({**TABLE, "epochs": 1, "batch": 37}, plain)

        def score(self, name, arrays, outputs, test_outputs):
            return float(self.left.pop(0))

    collection = Made()
    remedy = best_of_random(collection, "a", 0.3, 0)
    assert (remedy is not None) == better
    assert len(collection.left) <= len(scores) - 2


# ── a collection ─────────────────────────────────────────────────────────────────────────────────


def test_a_collection(tmp_path):
    (tmp_path / "data.py").write_text(
        "import numpy as np\n"
        "def load(spec):\n"
        "    x, y = np.eye(4), np.arange(4) % 2\n"
        "    return {'x': x * spec['by'], 'y': y, 'x_test': x, 'y_test': y}\n"
    )
    (tmp_path / "build.py").write_text(
        "import data\n"
        "def score_of(metric, out, y, train_mean):\n"
        "    return metric, out, y.tolist(), float(train_mean), data.__file__\n"
    )
    program = {**TABLE, "data": {"by": 3}}
    cases = [
        {"id": "a", "program": program, "patch": [{"set": {"data.by": 5}}]},
        {"id": "b", "program": program, "patch": [], "control": True},
    ]
    for case in cases:
        case["metric"] = {"name": "r2", "on": "test" if case["id"] == "a" else "train"}
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    before = sys.path[:]
    collection = Collection(tmp_path / "cases.json")
    programs = {(name, which): p for name, which, p in collection.programs()}
    assert [*programs] == [("a", "faulty"), ("a", "fixed"), ("b", "faulty")]
    largest = [p.arrays.x.max() for p in programs.values()]
    assert largest == [3.0, 5.0, 3.0]
    arrays = programs["a", "fixed"].arrays
    expected = "r2", "tested", [0, 1, 0, 1], 0.5, str(tmp_path / "data.py")
    assert collection.score("a", arrays, "trained", "tested") == expected
    assert collection.score("b", arrays, "trained", "tested")[1] == "trained"
    assert (sys.path, "data" in sys.modules) == (before, False)
