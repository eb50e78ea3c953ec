"""The processor that code is made for: which instructions may be used, how wide its vectors are."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass

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
class Target:
    """triple: LLVM's name of machine and system; cpu, features: which instructions may be used."""

    triple: str
    cpu: str
    features: str

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
    """This processor; CHAINRULE_FEATURES=avx2 or sse does without the wider vectors."""
    return _host(os.environ.get("CHAINRULE_FEATURES", ""))


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
        return Target(triple, llvm.get_host_cpu_name(), _features(flags))
    # Tuning for "x86-64-v4" holds back 512-bit vectors; the host's name may be another model's.
    flags["prefer-256-bit"] = False
    level = 4 if all(map(flags.get, _V4)) else 3 if all(map(flags.get, _V3)) else 2
    if not flags.get("sse4.2"):
        level = 1
    cpu = f"x86-64-v{level}" if level > 1 else "x86-64"
    return Target(triple, cpu, _features(flags))


def _features(flags: dict[str, bool]) -> str:
    return ",".join(("+" if on else "-") + name for name, on in sorted(flags.items()))


def cross(triple: str, cpu: str = "generic", features: str = "") -> Target:
    """Another machine, such as "aarch64-unknown-linux-gnu"."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return Target(triple, cpu, features)
