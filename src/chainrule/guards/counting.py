"""Objects that count their changes, so that a compiled step need not compare them at each call.

All of them raise one counter, `changes`. A step remembers the count at which its guards last said
that nothing had changed; while the count is still the same it asks none of them.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any


class ChangeCounter:
    """A number that is another one after each change; no number comes twice, in no thread.

    Changes are counted when they are done. Counted before, another thread could compare too early,
    find everything as it was, and remember a count that says so.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.count = 0

    def note(self) -> None:
        """Something has changed."""
        self.count = next(self._numbers)


changes = ChangeCounter()
_MISSING = object()


def _counted(change: Callable[..., Any]) -> Any:
    """The method of a dict, and then the change is counted."""

    @functools.wraps(change)
    def method(self: CountedDict, *args: Any, **kwargs: Any) -> Any:
        result = change(self, *args, **kwargs)
        changes.note()
        return result

    return method


class CountedDict(dict[Any, Any]):
    """A dict that counts its changes."""

    __setitem__ = _counted(dict.__setitem__)
    __delitem__ = _counted(dict.__delitem__)
    __ior__ = _counted(dict.__ior__)
    clear = _counted(dict.clear)
    pop = _counted(dict.pop)
    popitem = _counted(dict.popitem)
    setdefault = _counted(dict.setdefault)
    update = _counted(dict.update)


class CountedAttributes:
    """Base of objects that count the changes of their attributes: optimizers, modules."""

    def __setattr__(self, name: str, value: Any) -> None:
        before = vars(self).get(name, _MISSING)
        super().__setattr__(name, value)
        if value is not before:  # x.steps += 1 assigns the same tensor again
            changes.note()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        changes.note()


class SelfGuarded(CountedAttributes):
    """Base of objects that append a guard to the trace where they are called: modules.

    `Surroundings` does not compare their attributes.
    """
