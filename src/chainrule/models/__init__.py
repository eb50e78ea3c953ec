"""Whole models, ready to train.

language    `LanguageModel`: the next token of a text
recurrent   the recurrent layers that these are made of
sequences   `SequenceClassifier` and `Forecaster`: a class or the next values of a sequence
"""

from ..hints import hide_modules
from .language import LanguageModel
from .sequences import Forecaster, SequenceClassifier

__all__ = ["Forecaster", "LanguageModel", "SequenceClassifier"]

hide_modules(__name__)
