"""A backward pass in words, with the numbers of the sample.

text            compact, for the terminal: each operation with its rule
story           for readers without calculus
probabilities   what the loss is: −log of a probability, a mean over samples
closing         its end: how large the gradients are, what a step would change
flow            what becomes of the gradient on its way back
reading         what both read of a derivation: names of values, gradients, shares of them
formulas        operations and rules of the table as formulas
words           what operations do, and how blame goes back through them
slopes          how much of the blame an operation lets through on the sample
loops           the step of a loop along time, as formulas
"""

from .flow import STEADY, VANISHING
from .story import sentences, story
from .text import text

__all__ = ["STEADY", "VANISHING", "sentences", "story", "text"]
