"""`explain`: a backward pass as an object that shows itself in several forms.

A form is imported where it is asked for: every command of the command line imports this file.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import files
from ..errors import ArgumentError
from ..graph import Array
from ..optim.optimizer import Optimizer
from .derivation import Derivation
from .derive import derive
from .names import shown
from .update import with_update

if TYPE_CHECKING:
    from .mathematics import Mathematics


class Explanation:
    """The backward pass of a function on a sample; `explain` makes it.

    loss        its value
    gradients   ∂loss/∂variable by name, as arrays
    """

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._call = function, args, kwargs
        self._derivation = derive(function, args, kwargs)

    @property
    def loss(self) -> float:
        """The value of the loss."""
        return float(self._derivation.value(self._derivation.loss).item())

    @property
    def gradients(self) -> dict[str, Array]:
        """∂loss/∂variable, by the variable's name."""
        d = self._derivation
        return {name: np.array(d.value(node)) for name, node in d.gradients.items()}

    @cached_property
    def _shown(self) -> Derivation:
        return shown(self._derivation)

    def text(self) -> str:
        """The pass, compact, for a terminal: every operation with its rule and its numbers."""
        from . import prose

        return prose.text(self._shown)

    def story(self) -> str:
        """The pass for readers without calculus, with the numbers of the sample."""
        from . import prose

        return prose.story(self._shown)

    def unicode(self) -> str:
        """The pass as mathematics for a terminal, simplified as a textbook would, with shapes."""
        from . import mathematics

        return mathematics.unicode(self._equations)

    def latex(self) -> str:
        """The same as `unicode`, in LaTeX."""
        from . import mathematics

        return mathematics.latex(self._equations)

    @cached_property
    def _equations(self) -> Mathematics:
        from . import mathematics

        return mathematics.equations(self._shown)

    def numpy(self, update: Any = None) -> str:
        """The pass as a module in Python that needs NumPy alone: `loss_and_gradients(**arrays)`.

        It returns the loss and a dict of gradients by name; with an optimizer, or of a training
        step, also a dict of what is assigned: the new parameters and the new state.

        update   an optimizer of these parameters, whose step follows the backward pass
        """
        from . import source

        return source.numpy_source(self._with(update))

    def arrays(self, update: Any = None) -> dict[str, Array]:
        """What the function of `numpy(update)` is called with: parameters, data, random masks."""
        from . import source

        return {k: np.array(v) for k, v in source.source_arrays(self._with(update)).items()}

    def page(
        self, path: Any = None, *, title: str = "", text: str = "", words: Sequence[str] = ()
    ) -> str:
        """One HTML file that needs no network: the pass step by step, paths of blame, what if.

        The function is recorded again for each variant of the network, so what it prints comes
        again; of a network that is too large for a page there are no variants.

        path    where to write it; None: it is returned only
        title   of the page
        text    what to look at: a paragraph under the title
        words   what 0, 1, … in the data stand for, such as the words of a sentence
        """
        if not isinstance(path, (str, Path, NoneType)):
            raise ArgumentError(
                "explain",
                f"got path={type(path).__name__}",
                "expected a path to write to, or None",
                'e.page("explained.html")',
            )
        from .page.assembly import page_of

        out = page_of(*self._call, self._derivation, title, text, words)
        if path is not None:
            files.write_through(Path(path), out)
        return out

    def _repr_html_(self) -> str:
        """The page in a frame, for notebooks."""
        inside = html.escape(self.page(), quote=True)
        style = "width:100%;height:46rem;border:0"
        return f'<iframe title="explanation" style="{style}" srcdoc="{inside}"></iframe>'

    def __repr__(self) -> str:
        return self.text()

    def __reduce__(self) -> Any:
        raise ArgumentError(
            "explain",
            "got an explanation to copy or to pickle",
            "expected one of its forms, which are text",
            "save e.text(), e.numpy() and e.arrays(), or e.page(path)",
        )

    def _with(self, update: Any) -> Derivation:
        """The pass, with an optimizer's step after it."""
        if update is None:
            return self._derivation
        if not isinstance(update, Optimizer):
            raise ArgumentError(
                "explain",
                f"got update={type(update).__name__}",
                "expected an optimizer of the parameters",
                "numpy(update=optim.Adam(model.named_parameters()))",
            )
        return with_update(self._derivation, update)


def explain(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Explanation:
    """The backward pass of function(*args, **kwargs), explained.

    function   returns the loss (or a tuple that begins with it); or a training step, which calls
               backward() itself

    The function is recorded once, as by `cr.compile`; nothing is trained or assigned. Gradients are
    by the parameters that the function uses and the arguments that require a gradient; if there are
    none, by the floating arguments.
    """
    return Explanation(function, args, kwargs)
