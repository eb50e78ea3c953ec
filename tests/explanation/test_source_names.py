"""In emitted source d_x is the gradient of x: of every variable, by differences."""

import ast

import numpy as np
import pytest
from test_source import NETWORKS, classes, normal

import chainrule as cr
from chainrule.nn import functional
from sources import emitted, in_float64

STEP = 1e-5


class Shifted(ast.NodeTransformer):
    """Each variable x outside of loops is `x = moved("x", x)` after it is assigned."""

    def visit_For(self, node):
        return node

    def visit_Assign(self, node):
        names = [n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)]
        moved = [
            f"{n} = moved('{n}', {n})" for n in names if n not in ("_", "gradients", "updated")
        ]
        return [node, *ast.parse("\n".join(moved)).body]


def shifted(source):
    """(shift, arrays) -> the loss with shift[x] added to x, and all variables."""
    tree = ast.parse(source)
    function = tree.body[-1]
    Shifted().generic_visit(function)
    result = function.body[-1]
    result.value = ast.parse(f"{ast.unparse(result.value)}, locals()", mode="eval").body
    space = {}
    exec(compile(ast.fix_missing_locations(tree), "<shifted>", "exec"), space)

    def run(shift, arrays):
        space["moved"] = lambda name, value: value + shift[name] if name in shift else value
        (loss, *_), values = space["loss_and_gradients"](**arrays)
        return loss, values

    return run


@pytest.mark.parametrize("name", NETWORKS)
def test_d_x_is_the_gradient_of_x(name):
    cr.random.seed(1)
    build, shape = NETWORKS[name]
    model = in_float64(build())
    source, arrays = emitted(
        lambda x, y: functional.cross_entropy(model(x), y, label_smoothing=0.1),
        normal(*shape),
        classes(3, shape[0]),
    )
    check(source, arrays, 5)


def test_it_is_in_what_a_user_writes_by_hand():
    w = cr.Tensor(np.random.default_rng(0).normal(size=(3, 3)))
    w.requires_grad = True

    def f(x):
        h = cr.tanh(x @ w)
        for _ in range(3):
            h = h + cr.sin(h @ w) * h
        part = h[:, 1:]
        return (part * part).mean() + 0.1 * (w * w).sum() + (h.T / cr.norm(h)).sum()

    check(*emitted(f, normal(4, 3)), 4)


def check(source, arrays, least):
    function = shifted(source)
    loops = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.For)]
    targets = [t for loop in loops for n in ast.walk(loop) for t in getattr(n, "targets", ())]
    looping = {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    values = function({}, arrays)[-1]
    rng, done = np.random.default_rng(0), 0
    for text, value in values.items():
        gradient = values.get(f"d_{text}")
        if gradient is None or np.asarray(value).dtype.kind != "f" or text in looping:
            continue
        gradient = np.broadcast_to(gradient, np.shape(value))  # it is the same along an axis
        toward = rng.normal(size=np.shape(value))
        up, down = (function({text: s * STEP * toward}, arrays)[0] for s in (1, -1))
        found = (up - down) / (2 * STEP)
        expected = float(np.sum(gradient * toward))
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-7), text
        done += 1
    assert done >= least
