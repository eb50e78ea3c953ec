"""What all emitters share."""

import ctypes

import pytest
from llvmlite import ir

from chainrule.backends.native import object_code, processor
from chainrule.backends.native.emit import builder
from chainrule.backends.native.ir_types import I64
from chainrule.backends.native.math.elementary import module_for


@pytest.mark.parametrize("known", [True, False], ids=["constants", "arguments"])
@pytest.mark.parametrize(
    ("first", "end", "turns"), [(0, 3, 3), (2, 3, 1), (0, 0, 0), (3, 3, 0), (5, 3, 0)]
)
def test_a_loop_over_nothing_has_no_turn(first, end, turns, known):
    target = processor.host()
    module = module_for("loop", target)
    function = ir.Function(module, ir.FunctionType(I64, [I64, I64]), "count")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    total = b.alloca(I64)
    b.store(I64(0), total)
    bounds = (I64(first), I64(end)) if known else function.args
    with builder.turns(b, *bounds):
        b.store(b.add(b.load(total, typ=I64), I64(1)), total)
    b.ret(b.load(total, typ=I64))
    library = object_code.load(object_code.compile_ir(str(module), target), ["count"])
    count = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 2)(library.address("count"))
    assert count(first, end) == turns
