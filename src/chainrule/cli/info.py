"""`chainrule info`: versions, processors, backends."""

from __future__ import annotations

import json
import os
import platform
from typing import Annotated, Any

import ml_dtypes
import numpy as np
import typer

import chainrule

from .. import backends
from ..errors import printable


def info(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Versions, the processor, the backends, and the cache of compiled code.

    Example: chainrule info --json
    """
    facts = _facts()
    if as_json:
        print(json.dumps(facts))
        return
    from rich.console import Console  # slow to import
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        table.add_row(name, Text(printable(text)))  # Text: brackets in a path are no style
    Console().print(table)


def processors() -> int:
    """The number of processors that this process may use."""
    affinity: Any = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def threads() -> int:
    """The number of threads of a compiled step: CHAINRULE_THREADS, or one per processor."""
    if "native" in backends.available():
        from ..backends.native.run import team

        return team.threads()
    return processors()


def _facts() -> dict[str, Any]:
    return {
        "chainrule": chainrule.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "ml_dtypes": ml_dtypes.__version__,
        **{name: _version(name) for name in ("llvmlite", "torch", "jax")},
        "machine": platform.machine(),
        "system": platform.platform(),
        "processors": processors(),
        "backends": backends.available(),
        "backend": backends.current().name,
        **(_native() if "native" in backends.available() else {}),
    }


def _version(package: str) -> str:
    from importlib import metadata  # slow to import

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _native() -> dict[str, Any]:
    """The compiler and the target of the native backend, and its cache."""
    from llvmlite import binding

    from ..backends.native import code_cache, processor

    folder, size = code_cache.stored()
    return {
        "llvm": ".".join(map(str, binding.llvm_version_info)),
        "vector_bits": processor.host().vector_bits,
        "threads": threads(),
        "cache": folder,
        "cache_bytes": size,
    }
