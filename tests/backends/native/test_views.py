"""Views in machine code: how their elements are addressed."""

import numpy as np
import pytest

import chainrule as cr

BLOCK = np.arange(2 * 40 * 3 * 4, dtype=np.float32).reshape(2, 40, 3, 4)
FUNCTIONS = {
    "rows that were joined": lambda x: cr.reshape(x, (80, 12)).sum(axis=0),
    "rows that were split": lambda x: cr.reshape(x, (8, 10, 12)) * 2,
    "of another view": lambda x: cr.reshape(cr.reshape(x, (80, 12)), (4, 20, 12)).sum(axis=1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_reshape_of_an_array_is_read_without_dividing_places(name):
    """Divisions would keep LLVM from making vectors of the loop."""
    function, x = FUNCTIONS[name], cr.Tensor(BLOCK)
    step = cr.compile(function)
    np.testing.assert_array_equal(step(x).numpy(), function(x).numpy())
    assert "udiv" not in step.llvm(x).partition('define void @"run0"')[0]
