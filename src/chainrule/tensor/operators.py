"""Which operation each of Python's operators stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self

from .. import ops
from ..dtypes import is_boolean, is_floating, kind_rank
from ..errors import DtypeError
from ..graph import Dtype, spec_text


class Operators:
    """The operators, for a class that can do an operation (`_bind`).

    `_binary` and `_matmul` promote and broadcast first; `_assign` is for the in-place operators.
    """

    __slots__ = ()
    __hash__ = object.__hash__

    dtype: Any
    _bind: ClassVar[Callable[..., Any]]
    _binary: ClassVar[Callable[..., Any]]
    _matmul: ClassVar[Callable[..., Any]]
    _assign: ClassVar[Callable[..., None]]

    if TYPE_CHECKING:

        @property
        def shape(self) -> Any: ...
        @property
        def dtype(self) -> Dtype: ...

    def __neg__(self) -> Self:
        return self._bind(ops.negative, (self,), {})

    def __pos__(self) -> Self:
        return self._bind(ops.alias, (self,), {})

    def __abs__(self) -> Self:
        return self._bind(ops.abs, (self,), {})

    def __invert__(self) -> Self:
        return self._bind(ops.bitwise_invert, (self,), {})

    def __add__(self, other: Any) -> Self:
        return self._binary(ops.add, self, other)

    def __radd__(self, other: Any) -> Self:
        return self._binary(ops.add, other, self)

    def __sub__(self, other: Any) -> Self:
        return self._binary(ops.subtract, self, other)

    def __rsub__(self, other: Any) -> Self:
        return self._binary(ops.subtract, other, self)

    def __mul__(self, other: Any) -> Self:
        return self._binary(ops.multiply, self, other)

    def __rmul__(self, other: Any) -> Self:
        return self._binary(ops.multiply, other, self)

    def __truediv__(self, other: Any) -> Self:
        return self._binary(ops.divide, self, other)

    def __rtruediv__(self, other: Any) -> Self:
        return self._binary(ops.divide, other, self)

    def __floordiv__(self, other: Any) -> Self:
        return self._binary(ops.floor_divide, self, other)

    def __rfloordiv__(self, other: Any) -> Self:
        return self._binary(ops.floor_divide, other, self)

    def __mod__(self, other: Any) -> Self:
        return self._binary(ops.remainder, self, other)

    def __rmod__(self, other: Any) -> Self:
        return self._binary(ops.remainder, other, self)

    def __pow__(self, other: Any) -> Self:
        kind = type(other)
        keeps_dtype = is_floating(self.dtype) or (kind is int and not is_boolean(self.dtype))
        if (kind is int or kind is float) and other == 2 and keeps_dtype:
            return self._bind(ops.square, (self,), {})
        return self._binary(ops.power, self, other)

    def __rpow__(self, other: Any) -> Self:
        return self._binary(ops.power, other, self)

    def __and__(self, other: Any) -> Self:
        return self._binary(ops.bitwise_and, self, other)

    def __rand__(self, other: Any) -> Self:
        return self._binary(ops.bitwise_and, other, self)

    def __or__(self, other: Any) -> Self:
        return self._binary(ops.bitwise_or, self, other)

    def __ror__(self, other: Any) -> Self:
        return self._binary(ops.bitwise_or, other, self)

    def __xor__(self, other: Any) -> Self:
        return self._binary(ops.bitwise_xor, self, other)

    def __rxor__(self, other: Any) -> Self:
        return self._binary(ops.bitwise_xor, other, self)

    def __lshift__(self, other: Any) -> Self:
        return self._binary(ops.bitwise_left_shift, self, other)

    def __rlshift__(self, other: Any) -> Self:
        return self._binary(ops.bitwise_left_shift, other, self)

    def __rshift__(self, other: Any) -> Self:
        return self._binary(ops.bitwise_right_shift, self, other)

    def __rrshift__(self, other: Any) -> Self:
        return self._binary(ops.bitwise_right_shift, other, self)

    def __eq__(self, other: Any) -> Self:  # type: ignore[override]
        return self._binary(ops.equal, self, other)

    def __ne__(self, other: Any) -> Self:  # type: ignore[override]
        return self._binary(ops.not_equal, self, other)

    def __lt__(self, other: Any) -> Self:
        return self._binary(ops.less, self, other)

    def __le__(self, other: Any) -> Self:
        return self._binary(ops.less_equal, self, other)

    def __gt__(self, other: Any) -> Self:
        return self._binary(ops.less, other, self)

    def __ge__(self, other: Any) -> Self:
        return self._binary(ops.less_equal, other, self)

    def __matmul__(self, other: Any) -> Self:
        return self._matmul(self, other)

    def __rmatmul__(self, other: Any) -> Self:
        return self._matmul(other, self)

    def _in_place(self, new: Any) -> Self:
        """Keep the dtype; a result of a wider kind (a float for an integer) is an error."""
        if new.dtype != self.dtype:
            if kind_rank(new.dtype) > kind_rank(self.dtype):
                raise DtypeError(
                    "assign",
                    f"got {spec_text(new)} for {spec_text(self)}",
                    "expected a result of the same kind",
                    "write x = x + y instead of x += y, or convert one with astype",
                )
            new = ops.astype(new, dtype=self.dtype)
        self._assign(new)
        return self

    def __iadd__(self, other: Any) -> Self:
        return self._in_place(self + other)

    def __isub__(self, other: Any) -> Self:
        return self._in_place(self - other)

    def __imul__(self, other: Any) -> Self:
        return self._in_place(self * other)

    def __itruediv__(self, other: Any) -> Self:
        return self._in_place(self / other)

    def __ifloordiv__(self, other: Any) -> Self:
        return self._in_place(self // other)

    def __imod__(self, other: Any) -> Self:
        return self._in_place(self % other)

    def __ipow__(self, other: Any) -> Self:
        return self._in_place(self**other)

    def __imatmul__(self, other: Any) -> Self:
        return self._in_place(self @ other)

    def __iand__(self, other: Any) -> Self:
        return self._in_place(self & other)

    def __ior__(self, other: Any) -> Self:
        return self._in_place(self | other)

    def __ixor__(self, other: Any) -> Self:
        return self._in_place(self ^ other)

    def __ilshift__(self, other: Any) -> Self:
        return self._in_place(self << other)

    def __irshift__(self, other: Any) -> Self:
        return self._in_place(self >> other)
