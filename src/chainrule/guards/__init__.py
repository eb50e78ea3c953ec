"""Guards of compiled steps: whether recording a function again would give the same graph.

A compiled function runs Python once, while it is recorded. What Python code decides by then is part
of the graph: numbers, attributes, settings, which layers there are. Each call of the step must
therefore notice when something of this has changed. Three things do:

- `surroundings`: the function's outer variables (`variables`; `functions`: which code a call runs)
  and what is in the objects, dicts and lists there (`snapshots`). All are compared at each call, in
  one pass (`identity`).
- Guards: objects of this library that know themselves what their code decides by. They count their
  changes (`counting`), so they are asked only after something has changed somewhere.
- Tensors need neither: the graph reads and assigns them at each call, and they have no attributes
  of Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .snapshots import Snapshot
from .variables import Variable


class Guard(Protocol):
    """An object's answers about a recording that its code took part in.

    The code appends a guard to `Trace.guards` where it decides by something other than tensors: a
    module when it is called, an optimizer when it steps, a group when it is asked whether a setting
    is 0. The guard takes down then what the decision depends on. There may be many for one object.

    variables   outer variables of its code. They are compared at each call of the step, so only of
                code outside of this library: its own does not change
    snapshots   objects, dicts, lists and arrays that can change without being counted; compared at
                each call too. Everything else the guard depends on has to raise `counting.changes`
                when it changes
    """

    @property
    def variables(self) -> Sequence[Variable]: ...

    @property
    def snapshots(self) -> Sequence[Snapshot]: ...

    def expect_unchanged(self) -> None:
        """Raise TraceError if the recorded code has changed something that the guard depends on.

        Called once, when the function has been recorded. Such a change would happen at the
        recording only, and not at each call. What can be undone is undone before the error.
        """

    def unchanged(self) -> bool:
        """Whether recording the code again would decide the same, and so give the same graph.

        Objects are compared by identity, numbers and texts by value. Called only after the count
        of changes has moved, so it may take some microseconds; it has no effects. A change that it
        misses gives wrong results, one that it reports without need costs a compilation.
        """
        ...
