"""Other libraries' models, read and written."""

from . import torch as torch

__all__ = ["torch"]
