"""Other libraries' models, read and written."""

from ..hints import hide_modules
from . import torch as torch

__all__ = ["torch"]

hide_modules(__name__, "torch")
