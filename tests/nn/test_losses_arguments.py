"""Losses: what they refuse, mixed dtypes, and sets of which nothing counts.

Each in eager mode and in a compiled step, on both backends.
"""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError, RangeError, ShapeError

F = nn.functional
NAN = float("nan")
ONES, ROWS, ONE = np.ones((4, 3), np.float32), np.ones(4, np.float32), np.ones((4, 1), np.float32)
SIGNS = np.where(np.arange(12).reshape(4, 3) % 2, 1, -1).astype(np.float32)

SETTINGS = [
    # the loss, its tensors, a setting that is refused, what the message says
    ("huber_loss", (ONES, ONES), {"delta": 0}, "delta=0; expected a number above 0"),
    ("huber_loss", (ONES, ONES), {"delta": -1.0}, "delta=-1.0"),
    ("huber_loss", (ONES, ONES), {"delta": NAN}, "delta=nan"),
    ("smooth_l1_loss", (ONES, ONES), {"beta": -0.5}, "beta=-0.5; expected a number from 0"),
    ("triplet_margin_loss", (ONES, ONES, -ONES), {"margin": 0.0}, "margin=0.0"),
    ("triplet_margin_loss", (ONES, ONES, -ONES), {"margin": -1.0}, "margin=-1.0"),
    ("triplet_margin_loss", (ONES, ONES, -ONES), {"p": 0}, "p=0"),
    ("triplet_margin_loss", (ONES, ONES, -ONES), {"eps": -1e-3}, "eps"),
    ("cosine_embedding_loss", (ONES, ONES, ROWS), {"margin": 5.0}, "from -1 to 1"),
    ("gaussian_nll_loss", (ONES, ONES, ONES), {"eps": -1.0}, "eps"),
    ("poisson_nll_loss", (ONES, ONES), {"eps": -1.0}, "eps"),
    ("cross_entropy", (ONES, np.zeros(4, int)), {"label_smoothing": 1.5}, "from 0 to 1"),
    ("cross_entropy", (ONES, np.zeros(4, int)), {"label_smoothing": "a"}, "a number"),
    ("cross_entropy", (ONES, ONES / 3), {"ignore_index": 1}, "ignore_index=1"),
    ("mse_loss", (ONES, ONES), {"reduction": "average"}, "reduction"),
]


@pytest.mark.parametrize("case", SETTINGS, ids=lambda c: f"{c[0]} {c[2]}")
def test_settings_out_of_range(case):
    name, tensors, settings, says = case
    with pytest.raises(ArgumentError, match=rf"\[{name}\] .*{says}"):
        getattr(F, name)(*tensors, **settings)


MODULES = {
    "CosineEmbeddingLoss": {"margin": 2.0},
    "CrossEntropyLoss": {"label_smoothing": -0.1},
    "GaussianNLLLoss": {"eps": -1.0},
    "HuberLoss": {"delta": 0.0},
    "MSELoss": {"reduction": "x"},
    "PoissonNLLLoss": {"eps": -1.0},
    "SmoothL1Loss": {"beta": -1.0},
    "TripletMarginLoss": {"margin": 0.0},
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_refuse_settings_when_they_are_made(name):
    with pytest.raises(ArgumentError):
        getattr(nn, name)(**MODULES[name])


def test_modules_take_settings_that_fit():
    nn.CrossEntropyLoss(weight=[1.0, 2.0], ignore_index=3, label_smoothing=0.1, reduction="sum")
    nn.GaussianNLLLoss(var=2.0, full=True)
    nn.KLDivLoss(reduction="batchmean", log_target=True)
    nn.BCEWithLogitsLoss(pos_weight=cr.ones(3))


SHAPES = [
    # the loss, its tensors, a factor of a shape that would enlarge the losses or fits nowhere
    ("binary_cross_entropy", (ONE, ONE), {"weight": ROWS}),
    ("binary_cross_entropy", (ONES, ONES), {"weight": ROWS}),
    ("binary_cross_entropy_with_logits", (ONE, ONE), {"weight": ROWS}),
    ("binary_cross_entropy_with_logits", (ONE, ONE), {"pos_weight": ROWS}),
    ("binary_cross_entropy_with_logits", (ONES, ONES), {"pos_weight": ONES[:2]}),
    ("binary_cross_entropy_with_logits", (ROWS, ROWS), {"weight": ONE}),
    ("cross_entropy", (ONES, np.zeros(4, int)), {"weight": [1.0]}),
    ("nll_loss", (-ONES, np.zeros(4, int)), {"weight": ROWS}),
    ("gaussian_nll_loss", (ONES, ONES), {"var": np.ones(3)}),
    ("gaussian_nll_loss", (ONE, ONE), {"var": np.ones((1, 5))}),
    ("gaussian_nll_loss", (ONES, ONES), {"var": np.ones((4, 2))}),
    ("gaussian_nll_loss", (ROWS, ROWS), {"var": np.ones((4, 1))}),
    ("cosine_embedding_loss", (ONES, ONES), {"target": ONE}),
    ("cosine_embedding_loss", (ONES, ONES), {"target": np.ones(3)}),
    ("margin_ranking_loss", (ROWS, ROWS), {"target": ONE}),
]


@pytest.mark.parametrize("case", SHAPES, ids=lambda c: f"{c[0]} {next(iter(c[2]))}")
def test_factors_that_would_broadcast_along_the_wrong_axis(case):
    name, tensors, given = case
    with pytest.raises(ShapeError, match=rf"\[{name}\]"):
        getattr(F, name)(*tensors, **given)


VALUES = [
    # the loss, its tensors, what the message says: an element that makes the loss meaningless
    ("binary_cross_entropy", (ONES / 2, 2 * ONES), "the target .*0 to 1"),
    ("binary_cross_entropy", (ONES / 2, -ONES), "the target .*0 to 1"),
    ("binary_cross_entropy", (1.5 * ONES, ONES), "the probability .*0 to 1"),
    ("binary_cross_entropy_with_logits", (ONES, 2 * ONES), "the target .*0 to 1"),
    ("binary_cross_entropy_with_logits", (ONES, SIGNS), r"the target .*\(target \+ 1\) / 2"),
    ("cross_entropy", (ONES, SIGNS), "the target .*softmax"),
    ("poisson_nll_loss", (ONES, SIGNS), "the target .*counts"),
    ("gaussian_nll_loss", (ONES, ONES, SIGNS), "the variance .*0 or more"),
    ("kl_div", (-ONES, SIGNS), "the target .*log_target=True"),
    ("hinge_embedding_loss", (ONES, 0 * ONES), r"the target .*1 or -1.*2 \* target - 1"),
    ("soft_margin_loss", (ONES, 0 * ONES), "the target .*1 or -1"),
    ("margin_ranking_loss", (ONES, ONES, 0 * ONES), "the target .*1 or -1"),
    ("cosine_embedding_loss", (ONES, ONES, 0 * ROWS), "the target .*1 or -1"),
]


@pytest.mark.parametrize("backend_name", ["eager", "reference", "native"])
@pytest.mark.parametrize("case", VALUES, ids=lambda c: f"{c[0]} {c[2][:15]}")
def test_values_without_meaning(case, backend_name, monkeypatch):
    name, tensors, says = case
    run = lambda *tensors: getattr(F, name)(*tensors)  # noqa: E731
    if backend_name != "eager":
        monkeypatch.setenv("CHAINRULE_BACKEND", backend_name)
        run = cr.compile(run)
    with pytest.raises(RangeError, match=rf"\[{name}\] got {says}"):
        run(*map(cr.Tensor, tensors))


@pytest.mark.parametrize("backend_name", ["reference", "native"])
def test_tensors_from_outside_are_looked_at_in_each_call(backend_name, monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", backend_name)
    target, x = cr.Tensor(ONES), cr.Tensor(ONES / 2)
    step = cr.compile(lambda: F.binary_cross_entropy(x, target))
    assert step().item() == pytest.approx(np.log(2))
    target[...] = 2 * ONES
    with pytest.raises(RangeError, match=r"the target .*0 to 1"):
        step()
    target[...] = 0 * ONES
    assert step().item() == pytest.approx(np.log(2))


@pytest.mark.parametrize("backend_name", ["reference", "native"])
def test_a_compiled_step_that_meets_such_a_value_changes_nothing(backend_name, monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", backend_name)
    layer = nn.Linear(3, 1)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)

    @cr.compile
    def step(x, y):
        loss = F.binary_cross_entropy(cr.sigmoid(layer(x)), y)
        loss.backward()
        optimizer.step()
        return loss

    step(ONES, ONE)
    before = layer.weight.numpy().copy()
    with pytest.raises(RangeError, match="0 to 1"):
        step(ONES, 2 * ONE)
    np.testing.assert_array_equal(layer.weight.numpy(), before)
    assert np.isfinite(float(step(ONES, ONE)))


def test_what_is_not_a_number_stays_one():
    """NaN in a prediction or target is for the loss to show, and not refused or hidden."""
    bad = np.where(np.eye(4, 3) > 0, np.nan, 0.5).astype(np.float32)
    for name, tensors in {
        "kl_div": (-ONES, bad),
        "binary_cross_entropy": (ONES / 2, bad),
        "mse_loss": (bad, ONES),
        "gaussian_nll_loss": (ONES, ONES, bad),
        "huber_loss": (bad, ONES),
        "binary_cross_entropy_with_logits": (ONES, bad),
        "smooth_l1_loss": (ONES, bad),
        "poisson_nll_loss": (ONES, bad),
    }.items():
        found = getattr(F, name)(*tensors, reduction="none").numpy()
        np.testing.assert_array_equal(np.isnan(found), np.isnan(bad), err_msg=name)


# ── nothing counts ───────────────────────────────────────────────────────────────────────────────

IGNORED = np.full(4, -100)
NOTHING = {
    # a loss of scores (4, 3) of which no target counts
    "cross_entropy": lambda s: F.cross_entropy(s, IGNORED),
    "cross_entropy weighted": lambda s: F.cross_entropy(s, IGNORED, weight=[1.0, 2.0, 3.0]),
    "cross_entropy smooth": lambda s: F.cross_entropy(s, IGNORED, label_smoothing=0.1),
    "cross_entropy of weight 0": lambda s: F.cross_entropy(s, np.zeros(4, int), weight=[0, 1, 1]),
    "nll_loss": lambda s: F.nll_loss(F.log_softmax(s), IGNORED),
    "nll_loss of weight 0": lambda s: F.nll_loss(
        F.log_softmax(s), np.zeros(4, int), weight=[0.0, 1.0, 1.0]
    ),
    "cross_entropy of no rows": lambda s: F.cross_entropy(s[:0], IGNORED[:0]),
    "mse_loss of no rows": lambda s: F.mse_loss(s[:0], ONES[:0]),
    "binary_cross_entropy of no rows": lambda s: F.binary_cross_entropy(s[:0], ONES[:0]),
    "kl_div of no rows": lambda s: F.kl_div(s[:0], ONES[:0], reduction="batchmean"),
    "a class of weight 0 and chance 0": lambda s: F.cross_entropy(
        cr.where(cr.Tensor([True, False, False]), -cr.inf, s), np.zeros(4, int), weight=[0, 1, 1]
    ),
}


@pytest.mark.parametrize("backend_name", ["eager", "reference", "native"])
@pytest.mark.parametrize("name", NOTHING)
def test_losses_of_which_nothing_counts_are_0_with_gradients_of_0(name, backend_name, monkeypatch):
    run = lambda s: cr.value_and_grad(NOTHING[name])(s)  # noqa: E731
    if backend_name != "eager":
        monkeypatch.setenv("CHAINRULE_BACKEND", backend_name)
        run = cr.compile(run)
    loss, gradient = run(cr.Tensor(SIGNS))
    assert loss.item() == 0.0
    np.testing.assert_array_equal(gradient.numpy(), np.zeros((4, 3)))


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("backend_name", ["reference", "native"])
def test_fit_goes_on_over_a_batch_whose_targets_are_all_ignored(
    backend_name, accumulate, monkeypatch
):
    monkeypatch.setenv("CHAINRULE_BACKEND", backend_name)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 3)).astype(np.float32), rng.integers(0, 2, 32)
    y[:16] = -100  # the first two of four batches
    model = nn.Linear(3, 2)
    before = model.weight.numpy().copy()
    loader = cr.data.DataLoader((x, y), 8, shuffle=False)
    history = cr.fit(
        model, loader, loss="cross_entropy", epochs=2, accumulate=accumulate, progress=False
    )
    assert np.isfinite(history["loss"]).all()
    assert not np.array_equal(model.weight.numpy(), before)


def test_rates_are_tried_on_batches_that_count():
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    y = np.where(np.arange(40) < 20, -100, x[:, 0] > 0)
    batches = cr.data.DataLoader((x, y), 10)
    found = cr.train.find_lr(nn.Linear(3, 2), batches, loss="cross_entropy", steps=20)
    assert min(found.losses) > 0
    assert len(found.losses) >= 8


def test_classes_that_all_have_the_weight_0():
    loss, model = nn.CrossEntropyLoss(weight=[0.0, 0.0]), nn.Linear(3, 2)
    before = model.weight.numpy().copy()
    history = cr.fit(model, (ONES, np.arange(4) % 2), loss=loss, epochs=1, progress=False)
    assert history["loss"] == [0.0]
    np.testing.assert_array_equal(model.weight.numpy(), before)


# ── mixed dtypes ─────────────────────────────────────────────────────────────────────────────────

ONE_AND_SEVEN = {
    # of a whole prediction 1 and a target 0.7 (sign losses: 1), computed by PyTorch of floats
    "l1_loss": 0.3,
    "mse_loss": 0.09,
    "smooth_l1_loss": 0.045,
    "huber_loss": 0.045,
    "poisson_nll_loss": 2.0182818284590454,
    "kl_div": -0.949672460755713,
    "binary_cross_entropy_with_logits": 0.6132616875182228,
}


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "bool"])
@pytest.mark.parametrize("name", ONE_AND_SEVEN)
def test_whole_predictions_do_not_cut_off_the_target(name, dtype):
    for wide, out in (("float32", "float32"), ("float64", "float64"), ("float16", "float32")):
        found = getattr(F, name)(np.ones(3, dtype), np.full(3, 0.7, wide))
        assert found.dtype == out
        tolerance = 2e-3 if wide == "float16" else 1e-6
        assert found.item() == pytest.approx(ONE_AND_SEVEN[name], rel=tolerance)


def test_whole_targets_and_other_tensors_are_promoted():
    assert F.l1_loss(cr.Tensor([1.5]), np.array([2])).item() == 0.5
    assert F.mse_loss(np.array([1], np.uint8), np.array([3], np.uint8)).item() == 4.0
    assert F.mse_loss(np.ones(1, np.float16), np.full(1, 1e5, np.float32)).item() > 9e9
    assert F.soft_margin_loss(np.array([1], np.uint8), np.array([-1], np.int8)).item() == (
        pytest.approx(np.log1p(np.e))
    )
    found = F.gaussian_nll_loss(np.array([1]), np.array([0.5]), np.array([2]))
    assert found.item() == pytest.approx(0.5 * (np.log(2) + 0.125))
    found = F.nll_loss(np.array([[-1, -2]]), np.array([1]), weight=[0.5, 0.25], reduction="sum")
    assert found.item() == 0.5
    found = F.cosine_embedding_loss(
        np.array([[3, 4]]), np.array([[4, 3]]), np.array([-1]), margin=0.5
    )
    assert found.item() == pytest.approx(0.46)


@pytest.mark.parametrize("dtype", ["float64", "int64", "int8"])
def test_signs_as_targets_do_not_widen_the_loss(dtype):
    signs = SIGNS.astype(dtype)
    assert F.hinge_embedding_loss(ONES, signs).dtype == "float32"
    assert F.cosine_embedding_loss(ONES, ONES, signs[:, 0]).dtype == "float32"


def test_one_variance_per_row():
    """var (N,) of means (N, 1) and (N, D), as in PyTorch, by the formula."""
    rng = np.random.default_rng(0)
    v = rng.uniform(0.5, 2, 4)
    for shape in ((4, 1), (4, 3), (4, 4), (2, 4, 3)):
        x, y = rng.normal(size=(2, *shape))
        given = np.broadcast_to(v, shape[:-1])
        wanted = 0.5 * (np.log(given[..., None]) + (x - y) ** 2 / given[..., None])
        for var in (given, given[..., None], np.broadcast_to(given[..., None], shape)):
            found = F.gaussian_nll_loss(x, y, var, reduction="none")
            np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12)
    assert F.gaussian_nll_loss([1.0], [1.0], 1.0).item() == 0.0


def test_factors_that_fit():
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(4, 3)), rng.uniform(size=(4, 3))
    each = np.logaddexp(0, x) - t * x
    for shape in ((), (3,), (1,), (4, 1), (1, 3), (4, 3)):
        w = rng.uniform(0.5, 2, shape)
        found = F.binary_cross_entropy_with_logits(x, t, weight=w, reduction="none")
        np.testing.assert_allclose(found.numpy(), each * w, rtol=1e-12)
        p = 1 / (1 + np.exp(-x))
        found = F.binary_cross_entropy(p, t, weight=w, reduction="none")
        np.testing.assert_allclose(found.numpy(), each * w, rtol=1e-9)


@pytest.mark.parametrize(
    ("scores", "target", "advice"),
    [
        ((2, 5), (3,), "one class number per row"),
        ((2, 5), (2, 1), r"squeeze the targets, y\[\.\.\., 0\]"),
        ((2, 5), (2, 5), r"argmax\(-1\)"),
        ((2, 5, 4, 3), (2, 4, 3), r"moveaxis\(scores, 1, -1\)"),
    ],
)
def test_the_advice_fits_the_shapes(scores, target, advice):
    with pytest.raises(ShapeError, match=advice):
        nn.functional.cross_entropy(cr.zeros(scores), cr.zeros(target, dtype="int64"))
