"""The derivation as mathematics: equations, simplified as a textbook has them.

printing     equations as Unicode text and as LaTeX
folding      equal layers, written once
equations    the equations of a backward pass
parts        which step and which use of the chain rule a node belongs to
equation     what they are: data, by step
naming       which nodes inside a step are worth a name
sharing      names for what appears several times
elements     nodes of a graph as expressions
opening      larger operations taken apart; one step of a loop
symbols      letters for the user's names
writing      expressions as text, with matrices where possible
forms        the forms of factors and axes that decide how they are written
notation     how the parts are written, in Unicode or LaTeX
means        constants that are numbers of samples
facts        what is known of nodes before they are written
operations   what an element of each operation's result is made of
windows      the same for convolutions and pooling
reader       what these rules are
algebra      makes expressions, simplified by identities
fractions    numbers, as fractions where floating point can be one
places       places on axes
expression   what expressions are
"""

from .equation import Equation, Mathematics
from .equations import equations
from .folding import Section, folded
from .printing import latex, legend, text, unicode

__all__ = [
    "Equation",
    "Mathematics",
    "Section",
    "equations",
    "folded",
    "latex",
    "legend",
    "text",
    "unicode",
]
