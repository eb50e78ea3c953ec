"""The functions of the public namespace, composed of the operations in `ops.py`."""

from . import methods as methods
