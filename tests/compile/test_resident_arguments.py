"""Arguments of a step whose tensors stay with it: what is compared, placed and copied."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import TraceError


def test_arguments_that_are_not_whole_arrays_are_read_anew():
    raw = np.ones((6, 4), np.float32)
    for view in (raw.T, raw[::2], raw):
        raw[...] = 1
        t, f = cr.asarray(view, copy=False), cr.compile(lambda x: x * 2)
        for value in (1, 1, 9, 3):
            raw[...] = value
            assert f(t).numpy().max() == 2 * value


def test_after_a_call_that_failed_at_its_arguments_they_are_placed_again(monkeypatch):
    f = cr.compile(lambda x, y: x - y)
    a, b = np.full(3, 5, np.float32), np.full(3, 2, np.float32)
    f(a, b), f(a, b)
    memory = next(iter(f._steps.values()))[0].executable.memory
    for good in (0, 1):
        calls = iter([memory.place] * good)

        def place(*given, calls=calls):
            next(calls, fails)(*given)

        with monkeypatch.context() as patch:
            patch.setattr(memory, "place", place)
            with pytest.raises(MemoryError):
                f(2 * a, 3 * b)
        for x in (a, 2 * a, a):
            assert f(x, b).tolist() == (x - b).tolist()


def fails(*given):
    raise MemoryError


class LeftError(Exception):
    """Carries a tensor out of a trace."""


def test_a_tensor_left_over_from_a_trace_is_no_argument():
    def leaves(x):
        raise LeftError(x)

    f, x = cr.compile(lambda x: x + 1), cr.ones(2)
    with pytest.raises(LeftError) as error:
        cr.compile(leaves)(x)
    for _ in range(3):
        with pytest.raises(TraceError, match="after its trace had ended"):
            f(*error.value.args)
        f(x)
