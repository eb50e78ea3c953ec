"""Names from outside: whatever they contain, every form is printable, and programs run."""

import enum

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError
from sources import agrees_with_eager

NAMES = [
    'a\nraise SystemExit("run")',
    "\x1b[31mred",
    'l\u00e4yer\n"""',
    "\u202ebidi",
    "%$#&{}^~\\",
    "\ud800",
    "\x0c\x1c\u2028\r",
    "\U000e0001tag",
]
X = np.random.default_rng(0).normal(size=(4, 3)).astype("f8")


def model_of(name):
    own = type('Own\n"""\x1b[31m', (nn.Linear,), {})
    return nn.Sequential(**{name: nn.Linear(3, 4), "last": own(4, 2)})


def printable(text):
    """Whether a text has neither commands to terminals nor lone surrogates."""
    text.encode()
    return all(c.isprintable() or c in "\n\xa0" for c in text)


@pytest.mark.parametrize("name", NAMES)
def test_forms_of_any_name_are_printable(name):
    model = model_of(name)
    e = cr.explain(lambda x: (model(x) ** 2).mean(), cr.Tensor(X))
    for form in (e.text, e.story, e.unicode, e.latex, e.__repr__, e.numpy):
        assert printable(form()), form
    plain = model_of("other")
    other = cr.explain(lambda x: (plain(x) ** 2).mean(), cr.Tensor(X))
    assert len(e.text().splitlines()) == len(other.text().splitlines())
    assert len(e.unicode().splitlines()) == len(other.unicode().splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_programs_of_any_name_run(name):
    model = nn.Sequential(**{name: nn.Linear(3, 2)})
    agrees_with_eager(
        lambda x: (model(x) ** 2).mean(),
        cr.Tensor(X.astype("f4")),
        model=model,
        optimizer=cr.optim.SGD(model.named_parameters(), lr=0.1),
    )


def test_latex_escapes_what_it_would_read():
    model = model_of("%$#&{}")
    latex = cr.explain(lambda x: model(x).mean(), cr.Tensor(X)).latex()
    assert r"\%\$\#\&\{\}" in latex
    assert "%$" not in latex


def test_operations_of_any_name_are_told_in_one_line():
    double = cr.defop("my\n\x1b[31m", lambda x: x * 2, lambda x: 2 + 0 * x)
    e = cr.explain(lambda x: double(x).sum(), cr.Tensor(X))
    for form in (e.text, e.story, e.unicode, e.latex, e.numpy):
        assert printable(form()), form
    assert "my\\n\\u001b[31m" in e.text()


class Colour(enum.IntEnum):
    RED = 2


RED, LARGEST = Colour.RED, float("inf")
added = np.frompyfunc(lambda x: x + 1, 1, 1)


@pytest.mark.parametrize("meaning", [added, lambda x: x * RED])
def test_what_has_no_text_is_refused(meaning):
    op = cr.defop("op", meaning, lambda x: 2 + 0 * x, shape=lambda x: (x.shape, x.dtype))
    with pytest.raises(ArgumentError, match="whose meaning uses"):
        cr.explain(lambda x: op(x).sum(), cr.Tensor(X)).numpy()


def test_an_infinite_constant():
    clipped = cr.defop("clipped", lambda x: np.minimum(x, LARGEST), lambda x: 1 + 0 * x)
    agrees_with_eager(lambda x: clipped(x).sum(), cr.Tensor(X))
