"""A tensor's value outside of chainrule: as NumPy, Python numbers, text, DLPack and pickle."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from ..dtypes import bool_, float32, int64, is_bfloat16, is_integer
from ..errors import ArgumentError, DtypeError, ShapeError, user_line
from ..graph import Array, spec_text
from ..handle import Handle

_PLAIN = (bool_, float32, int64)  # dtypes of Python's numbers: not printed


class Values(Handle):
    """Conversions of a tensor. Each raises TraceError for a traced tensor, which has no value."""

    __slots__ = ()

    def numpy(self) -> Array:
        """Its value as a read-only NumPy array (copy it to write)."""
        view = self._concrete("numpy").view()
        view.flags.writeable = False
        return view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        value = self.numpy()
        if dtype is not None and dtype != value.dtype:
            if copy is False:
                raise ArgumentError(
                    "asarray",
                    f"got {value.dtype} for {dtype}, copy=False",
                    "expected the same dtype, which needs no copy",
                    "leave copy out",
                )
            return value.astype(dtype)
        return value.copy() if copy else value

    def __dlpack__(
        self,
        /,
        *,
        stream: Any = None,
        max_version: Any = None,
        dl_device: Any = None,
        copy: bool | None = None,
    ) -> Any:
        value = self.numpy()
        if (max_version or (0,))[0] < 1:  # the older protocol cannot say "read-only"
            if copy is None:
                copy = True
            elif not copy:  # requested explicitly
                value = self._concrete("__dlpack__")
        return value.__dlpack__(
            stream=stream, max_version=max_version, dl_device=dl_device, copy=copy
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def item(self) -> Any:
        """Its one element as a Python number."""
        value = self._concrete("item")
        if value.size != 1:
            raise ShapeError(
                "item", f"got {spec_text(self)}", "expected one element", "index it, or use numpy()"
            )
        return value.item()

    def tolist(self) -> Any:
        """Its value as nested Python lists."""
        return self._concrete("tolist").tolist()

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ShapeError(
                "bool",
                f"got {spec_text(self)}",
                "expected one element, true or false",
                "use x.all() or x.any(), or cr.where to choose for each",
                user_line(),
            )
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if not is_integer(self.dtype):
            raise DtypeError(
                "index", f"got {spec_text(self)}", "expected an integer", "use int(x) to round"
            )
        return int(self.item())

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("len", "got a scalar", "expected an axis", "use size instead")
        return self.shape[0]

    def __contains__(self, x: Any) -> bool:
        return bool((self._concrete("in", leaves=False) == np.asarray(x)).any())

    def __repr__(self) -> str:
        if self._value is None:
            return f"Tensor(traced {spec_text(self)})"
        value = self._value.astype(np.float32) if is_bfloat16(self.dtype) else self._value
        text = np.array2string(value, separator=", ", prefix="Tensor(")
        grad = ", requires_grad=True" if self.requires_grad else ""
        plain = self.size and self.dtype in _PLAIN
        if not self.size:
            text = f"{text}, shape={self.shape}"
        return f"Tensor({text}{'' if plain else f', dtype={self.dtype}'}{grad})"

    def __format__(self, spec: str) -> str:
        return format(self._concrete("item").item(), spec) if spec else str(self)

    def __reduce__(self) -> Any:
        return type(self), (self._concrete("pickle"), None, self.requires_grad and self.is_leaf)

    def __deepcopy__(self, memo: Any) -> Self:
        make: Any = type(self)
        out: Self = make(
            self._concrete("deepcopy").copy(), None, self.requires_grad and self.is_leaf
        )
        return out
