"""Training steps of chainrule and of the libraries that are installed, on one and two threads.

One process a figure; in each round every program runs once on a work, and the best round of each
counts: what virtual processors cost to talk to each other changes for ten seconds at a time, and
doubles some of the times. The control shows a longer spell. With one thread, every process is held
to one processor where the system can do so, since jax has no other sure way; jax also gets XLA's
flags for it.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from chainrule import backends
from chainrule.cli.bench import measure
from chainrule.cli.workloads import PRODUCT, SCRIPT, WORKLOADS, Images, Layers
from parts import HERE, arguments, facts, keep, processors

PEERS = HERE / "peers.py"
NOT_LAYERS = [name for name, work in WORKLOADS.items() if not isinstance(work, Layers)]
NOT_IMAGES = [name for name, work in WORKLOADS.items() if not isinstance(work, Images)]
# Which script runs a program, what it needs, and works that it does not do: torch.compile would
# compile each turn of a loop in Python, and gains nothing on rows of tables.
PROGRAMS = {
    "chainrule": (SCRIPT, (), ()),
    "torch": (SCRIPT, ("torch",), ()),
    "torch, channels last": (SCRIPT, ("torch",), NOT_IMAGES),
    "torch.compile": (PEERS, ("torch",), ("factors", "scan")),
    "jax.jit": (PEERS, ("jax", "optax"), ()),
    "scikit-learn": (PEERS, ("sklearn",), NOT_LAYERS),
    "product": (SCRIPT, (), ()),
    "control": (PEERS, (), ()),
}
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def caches(folder: str, threads: int) -> dict[str, str]:
    """Settings under which every program keeps compiled code in the folder."""
    return {
        "PYTHONDONTWRITEBYTECODE": "",  # compiled Python is kept, as it is of what pip installs
        "CHAINRULE_BACKEND": backends.current().name,
        "CHAINRULE_CACHE": f"{folder}/chainrule",
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/torch",
        "JAX_COMPILATION_CACHE_DIR": f"{folder}/jax",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "XLA_FLAGS": ONE_THREAD if threads == 1 else "",
    }


def row(name: str, threads: int, rounds: int, seconds: float) -> dict[str, object]:
    """What was measured of a work. The first round starts with cold caches, later ones do not."""
    programs = {
        program: script
        for program, (script, needs, not_done) in PROGRAMS.items()
        if name not in not_done and all(map(find_spec, needs))
    }
    taken: dict[str, list[dict[str, float]]] = {program: [] for program in programs}
    with tempfile.TemporaryDirectory() as folder, processors(threads):
        for k in range(rounds):
            for program, script in programs.items():
                found = measure(script, program, name, threads, seconds, **caches(folder, threads))
                taken[program].append(found)
                print(f"{threads} {name} round {k + 1} {program} {found}", file=sys.stderr)
    us = {program: min(t["us"] for t in times) for program, times in taken.items()}
    products, control = us.pop("product"), us.pop("control")
    return {
        "threads": threads,
        "work": name,
        "network": str(WORKLOADS[name]),
        "batch": WORKLOADS[name].batch,
        "floor_us": WORKLOADS[name].operations * products / (2 * PRODUCT**3),
        "product_us": products,
        "control_us": control,
        "control_rounds_us": [t["us"] for t in taken["control"]],
        "programs": {
            program: {
                "us": us[program],
                "rounds_us": [t["us"] for t in taken[program]],
                "cold_seconds": taken[program][0]["first"],
                "warm_seconds": statistics.median(t["first"] for t in taken[program][1:])
                if rounds > 1
                else None,
                "peak_bytes": max(t["peak"] for t in taken[program]),
            }
            for program in us
        },
    }


def rows(works: Sequence[str], rounds: int, seconds: float) -> list[dict[str, object]]:
    """What was measured of some works."""
    return [row(name, threads, rounds, seconds) for threads in (1, 2) for name in works]


def with_others(found: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """With the rows of other works, of an earlier measurement that was made in the same way."""
    same = [key for key in found if key not in ("date", "rows")]
    if any(found[key] != before[key] for key in same):
        raise SystemExit("other works were measured elsewhere, or otherwise: measure all of them")
    new = {(r["threads"], r["work"]): r for r in found["rows"]}
    old = {(r["threads"], r["work"]): r for r in before["rows"]}
    order = [(threads, name) for threads in (1, 2) for name in WORKLOADS]
    return {**found, "rows": [(old | new)[key] for key in order if key in old | new]}


if __name__ == "__main__":
    given = arguments(__doc__, WORKLOADS)
    rounds, seconds = (1, 0.5) if given.quick else (5, 2.0)
    found = {
        **facts("llvmlite", "torch", "jax", "optax", "scikit-learn"),
        "quick": given.quick,
        "rounds": rounds,
        "seconds": seconds,
        "rows": rows(given.works or list(WORKLOADS), rounds, seconds),
    }
    kept = given.out / "results" / "training.json"
    if given.works and kept.exists():
        found = with_others(found, json.loads(kept.read_text()))
    keep("training", found, given.out)
