"""Other libraries' models, read and written.

torch      PyTorch's weights
flattened  layers that read a flattened image, whose columns PyTorch has in another order
"""

from ..hints import hide_modules
from . import torch as torch

__all__ = ["torch"]

hide_modules(__name__, "torch")
