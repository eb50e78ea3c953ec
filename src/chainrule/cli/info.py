"""`chainrule info`: what is installed and what this machine offers."""

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
    """Versions, the processor, the backends, and what the native one has found.

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
        table.add_row(name, Text(printable(text)))  # brackets in a path are no style
    Console().print(table)


def processors() -> int:
    """Those that this process may run on."""
    affinity: Any = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def threads() -> int:
    """How many a compiled step uses: CHAINRULE_THREADS, or as many as there are processors."""
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
    """What the native backend compiles with and for, and where it keeps the result."""
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
