"""The kinds of dtypes have names, and the functions that are methods are all declared and set."""

import inspect
import re
from pathlib import Path

import pytest

import chainrule as cr
from chainrule import dtypes
from chainrule.functions import methods
from chainrule.tensor import Tensor
from chainrule.tensor.operators import Operators

SOURCES = Path(dtypes.__file__).parent
KINDS = {  # by the Array API's name of the kind
    dtypes.is_boolean: "bool",
    dtypes.is_signed: "signed integer",
    dtypes.is_unsigned: "unsigned integer",
    dtypes.is_integer: "integral",
    dtypes.is_floating: "real floating",
    dtypes.is_exact: ("bool", "integral"),
    dtypes.is_half: (dtypes.float16, dtypes.bfloat16),
    dtypes.is_bfloat16: dtypes.bfloat16,
    dtypes.is_ieee_floating: (dtypes.float16, dtypes.float32, dtypes.float64),
}


@pytest.mark.parametrize("predicate", KINDS, ids=lambda p: p.__name__)
def test_a_predicate_is_true_of_the_dtypes_of_its_kind(predicate):
    for dtype in dtypes.DTYPES:
        assert predicate(dtype) == cr.isdtype(dtype, KINDS[predicate]), dtype


def test_every_predicate_is_tested():
    named = {n for n, _ in inspect.getmembers(dtypes, inspect.isfunction) if n.startswith("is_")}
    assert named == {p.__name__ for p in KINDS}


def test_a_set_says_the_same_as_its_predicate():
    assert {d for d in dtypes.DTYPES if dtypes.is_floating(d)} == dtypes.FLOATING


def test_kinds_are_ordered_as_they_promote():
    ranks = [dtypes.kind_rank(d) for d in (cr.bool, cr.uint8, cr.int64, cr.bfloat16)]
    assert ranks == [0, 1, 2, 3]
    assert {dtypes.kind_rank(d) for d in dtypes.FLOATS} == {3}


def test_the_engine_asks_no_dtype_for_its_letter():
    """bfloat16 has the letter V: a comparison with "f" is a defect. NumPy arrays may be asked."""
    engine = [*SOURCES.glob("*.py"), *(SOURCES / "functions").glob("*.py")]
    engine += [*(SOURCES / "tensor").glob("*.py"), *(SOURCES / "nn").rglob("*.py")]
    asking = {p.name for p in engine if re.search(r"dtype\.kind\b", p.read_text())}
    assert asking == {"convert.py", "dtypes.py"}


def test_every_declared_method_is_set_and_every_set_one_is_declared():
    declared = {
        name
        for owner in (Tensor, Operators)
        for name, annotation in vars(owner)["__annotations__"].items()
        if "ClassVar" in annotation
    }
    assigned = set(re.findall(r"^Tensor\.(\w+) =", inspect.getsource(methods), re.M))
    assert assigned == {n for n in declared if n not in ("_bind", "_assign")}
    assert all(callable(getattr(Tensor, name)) for name in declared)
