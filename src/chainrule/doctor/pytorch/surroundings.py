"""What is set while PyTorch computes for the doctor, and reset afterwards."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

torch: Any = importlib.import_module("torch")


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """One thread, random numbers from this seed, no warnings: a fault may be what they warn of.

    Attention runs module by module: its fast path in evaluation passes over what was inserted.
    """
    threads, fast = torch.get_num_threads(), torch.backends.mha.get_fastpath_enabled()
    with torch.random.fork_rng(), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.backends.mha.set_fastpath_enabled(fast)
