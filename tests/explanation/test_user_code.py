"""Code that comes with the library and is explained as if the user had written it."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError
from chainrule.explanation.rows import rows_of
from chainrule.explanation.user_code import executed

SOURCE = """def loss(x):
    h = x * {factor}
    return (h ** 2).sum()
"""


def titles(function):
    explanation = cr.explain(function, cr.Tensor([1.0, 2.0]))
    return [step.title for step in explanation._derivation.steps]


def test_its_lines_are_shown():
    loss = executed(SOURCE.format(factor=3), "small")["loss"]
    assert titles(loss) == ["h = x * 3", "return (h ** 2).sum()"]


def test_two_texts_of_one_name_have_their_own_lines():
    first, second = (executed(SOURCE.format(factor=k), "same")["loss"] for k in (2, 3))
    assert titles(first)[0] == "h = x * 2"
    assert titles(second)[0] == "h = x * 3"
    assert executed(SOURCE.format(factor=2), "same")["loss"].__code__.co_filename == "same.py"


def test_an_error_in_it_names_its_line():
    loss = executed("def loss(x):\n    return x @ x[:, :1]\n", "wrong")["loss"]
    with pytest.raises(cr.ChainruleError, match=r"wrong\.py:2: return x @ x\[:, :1\]"):
        cr.explain(loss, cr.ones((2, 3)))


def test_variables_are_defined_in_it():
    assert executed("b = 2 * a", "doubled", a=4)["b"] == 8


def test_rows_of_arrays():
    x, y = np.arange(12).reshape(6, 2), np.arange(6)
    rows, targets = rows_of([x, y], 2, 3)
    assert rows.tolist() == [[4, 5], [6, 7], [8, 9]]
    assert targets.tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("sample", "batch", "says"),
    [
        (6, 1, "got sample 6; expected samples from 0 to 5; ask for sample 5"),
        (-1, 1, "got sample -1; expected samples from 0 to 5; ask for sample 5"),
        (4, 3, "got samples 4 to 6; expected samples from 0 to 5; ask for sample 3"),
        (0, 7, "got samples 0 to 6; expected samples from 0 to 5; ask for a batch of 6, or less"),
    ],
)
def test_rows_that_are_not_there(sample, batch, says):
    with pytest.raises(ArgumentError) as caught:
        rows_of([np.zeros((6, 2))], sample, batch)
    assert str(caught.value) == f"[explain] {says}"
