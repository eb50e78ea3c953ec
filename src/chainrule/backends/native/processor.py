"""The processor that code is made for: its instructions, the width of its vectors, its caches."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, replace
from pathlib import Path

import llvmlite.binding as llvm

from ...errors import ArgumentError

_V3 = ("avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
# What CHAINRULE_FEATURES takes away, by how the names begin.
_WITHOUT = {
    "": (),
    "avx2": ("avx512", "avx10", "amx"),
    "sse": ("avx", "amx", "fma", "f16c", "xop", "vaes", "vpclmul", "gfni"),
}
# Arithmetic on float16, with which LLVM would do two operations in one and not round in between.
_OF_HALVES = ("avx512fp16", "fullfp16")


@dataclass(frozen=True)
class Cache:
    """Bytes, the lines that one set has, bytes of a line."""

    bytes: int
    ways: int
    line: int = 64

    @property
    def way(self) -> int:
        """Addresses this many bytes apart fall into the same set."""
        return self.bytes // self.ways


@dataclass(frozen=True)
class Caches:
    """The data caches of a core, of the first level and of the second; smallish ones by default."""

    first: Cache = Cache(32 * 1024, 8)
    second: Cache = Cache(512 * 1024, 8)


@dataclass(frozen=True)
class Target:
    """What code is made for.

    triple         LLVM's name of machine and system
    cpu, features  which instructions may be used
    winograd       whether kernels of 3 × 3 may be done by tiles
    """

    triple: str
    cpu: str
    features: str
    caches: Caches = Caches()
    winograd: bool = True

    def has(self, feature: str) -> bool:
        return f"+{feature}" in self.features.split(",")

    @property
    def x86(self) -> bool:
        return self.triple.startswith("x86_64")

    @property
    def vector_bits(self) -> int:
        """The width of the widest vector that ordinary arithmetic has."""
        return 512 if self.has("avx512f") else 256 if self.has("avx2") else 128

    @property
    def registers(self) -> int:
        """How many vectors the processor can name."""
        return 16 if self.x86 and not self.has("avx512f") else 32

    @property
    def load_cost(self) -> float:
        """How much of a multiply-add's time a load from the first-level cache takes, of vectors.

        Of AVX2, what a Zen 4 was measured to take; those of Intel take 1.
        """
        return 1.0 if self.vector_bits == 512 else 1.5

    @property
    def fma(self) -> bool:
        """Whether a fused multiply-add is one instruction."""
        return self.has("fma") if self.x86 else self.triple.startswith(("aarch64", "arm64"))

    @property
    def converts_halves(self) -> bool:
        """Whether float16 to float32, and back, is one instruction."""
        return self.has("f16c") if self.x86 else self.triple.startswith(("aarch64", "arm64"))

    def lanes(self, bits: int) -> int:
        """The number of elements of `bits` bits in a vector."""
        return self.vector_bits // bits


def host() -> Target:
    """This processor; CHAINRULE_FEATURES=avx2 or sse does without the wider vectors.

    CHAINRULE_WINOGRAD=0 does all convolutions directly.
    """
    target = _host(os.environ.get("CHAINRULE_FEATURES", ""))
    return replace(target, winograd=os.environ.get("CHAINRULE_WINOGRAD", "1") != "0")


@functools.cache
def _host(limit: str) -> Target:
    if limit not in _WITHOUT:
        raise ArgumentError(
            "compile",
            f"got CHAINRULE_FEATURES={limit!r}",
            "expected avx2, sse or nothing",
            "unset it to use all that the processor has",
        )
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    triple = llvm.get_process_triple()
    if os.name == "nt":  # what MCJIT loads is ELF on every system
        triple += "-elf"
    flags = {
        name: on and not name.startswith((*_WITHOUT[limit], *_OF_HALVES))
        for name, on in llvm.get_host_cpu_features().items()
    }
    if not triple.startswith("x86_64"):
        return Target(triple, llvm.get_host_cpu_name(), _features(flags), _caches())
    # Tuning for "x86-64-v4" holds back 512-bit vectors; the host's name may be another model's.
    flags["prefer-256-bit"] = False
    level = 4 if all(map(flags.get, _V4)) else 3 if all(map(flags.get, _V3)) else 2
    if not flags.get("sse4.2"):
        level = 1
    cpu = f"x86-64-v{level}" if level > 1 else "x86-64"
    return Target(triple, cpu, _features(flags), _caches())


def _caches() -> Caches:
    """As Linux lists those of the first processor; the defaults where it does not."""
    levels: dict[str, Cache] = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            kind, level, size, ways, line = (
                (folder / name).read_text().strip()
                for name in (
                    "type",
                    "level",
                    "size",
                    "ways_of_associativity",
                    "coherency_line_size",
                )
            )
            if kind in ("Data", "Unified") and int(ways) > 0:
                levels[level] = Cache(int(size.removesuffix("K")) * 1024, int(ways), int(line))
        except (OSError, ValueError):  # another system's, or a container that hides it
            continue
    usual = Caches()
    return Caches(levels.get("1", usual.first), levels.get("2", usual.second))


def _features(flags: dict[str, bool]) -> str:
    return ",".join(("+" if on else "-") + name for name, on in sorted(flags.items()))


def cross(triple: str, cpu: str = "generic", features: str = "") -> Target:
    """Another machine, such as "aarch64-unknown-linux-gnu"."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return Target(triple, cpu, features)
