"""The processor that code is made for; LLVM IR to object code, kept on disk, to addresses.

A `Target` says which instructions may be used. `cached` compiles IR, or finds the object code of an
earlier process in the user's own cache folder; `load` makes its functions callable.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llvmlite
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

_MAGIC = b"crnative"
_LIMIT = 200 * 2**20  # bytes of object code kept on disk
_MOST = 2000  # and entries
_SELDOM = 16  # one entry in so many, by its name, has the folder looked through when it is written


# ── the processor ────────────────────────────────────────────────────────────────────────────────


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

    def lanes(self, bits: int) -> int:
        """How many elements of so many bits a vector holds."""
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
            "avx2, sse or nothing is needed",
            "unset it to use all that the processor has",
        )
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    triple = llvm.get_process_triple()
    if os.name == "nt":  # what MCJIT loads is ELF on every system
        triple += "-elf"
    flags = {
        name: on and not name.startswith(_WITHOUT[limit] or ("?",))
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


def _machine(target: Target) -> Any:
    host()  # initialises the native target; `cross` did so for the others
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="small"
    )


# ── compiling ────────────────────────────────────────────────────────────────────────────────────


def _optimised(text: str, machine: Any) -> Any:
    """The module after verification and LLVM's O3 pipeline with both vectorisers."""
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = True
    # A loop that is written out before the vectoriser sees it is often not vectorised any more.
    options.loop_interleaving, options.loop_unrolling = True, False
    builder = llvm.create_pass_builder(machine, options)
    passes = builder.getModulePassManager()
    passes.run(module, builder)
    _free(passes)
    return module


def _free(passes: Any) -> None:
    """Free a pass manager: 60 to 300 kB with what its passes hold.

    In llvmlite 0.50 its class inherits `_dispose` from the wrong base, so close() frees nothing.
    """
    if type(passes)._dispose is not llvm.ffi.ObjectRef._dispose:
        passes.close()
        return
    llvm.newpassmanagers.NewPassManager._dispose(passes)
    passes.detach()


def compile_ir(text: str, target: Target) -> bytes:
    """LLVM IR to object code. Only operations that carry `contract` may be fused (FMA)."""
    machine = _machine(target)
    return bytes(machine.emit_object(_optimised(text, machine)))


def assembly(text: str, target: Target) -> str:
    """What `compile_ir` makes, as text to be read."""
    machine = _machine(target)
    return str(machine.emit_assembly(_optimised(text, machine)))


class Library:
    """Functions in memory for as long as this object lives."""

    def __init__(self, object_code: bytes, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        for name in self.names:  # LLVM would end the process when asked for one that is not there
            if name.encode() + b"\0" not in object_code:
                raise KeyError(name)
        # JITLink puts code beside its constants, as the small code model needs.
        self._jit = llvm.create_lljit_compiler(_machine(host()), use_jit_link=True)
        library = llvm.JITLibraryBuilder().add_current_process().add_object_img(object_code)
        for name in self.names:
            library.export_symbol(name)
        self._tracker = library.link(self._jit, "program")

    def address(self, name: str) -> int:
        """Where the function begins, for ctypes."""
        if name not in self.names:
            raise KeyError(name)
        return int(self._tracker[name])


def load(object_code: bytes, names: Iterable[str]) -> Library:
    """Object code made for this processor -> its functions of these names."""
    return Library(object_code, names)


# ── the cache on disk ────────────────────────────────────────────────────────────────────────────


def cached(what: str, make: Callable[[], bytes], target: Target) -> bytes:
    """What `make` makes for a target, or what it made in an earlier process.

    what   tells it from all else; then it need not be made to look it up

    Trouble with the disk is never an error.
    """
    folder = _folder()
    if folder is None:
        return make()
    path = folder / f"{_key(what, target)}.o"
    found = _read(path)
    if found is None:
        found = make()
        _write(path, found)
    return found


def _key(what: str, target: Target) -> str:
    made_by = (llvmlite.__version__, llvm.llvm_version_info, _generators())
    return hashlib.sha256(repr((target, made_by, what)).encode()).hexdigest()


@functools.cache
def _generators() -> str:
    """A fingerprint of the code that writes the text: this folder's."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _folder() -> Path | None:
    """The folder, made if need be; None where there can be none or others may write to it."""
    folder = _chosen()
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.is_dir() and _own(folder.stat()):
            return folder
    return None


def stored() -> tuple[str, int]:
    """The folder, or why nothing is kept there, and the bytes of object code in it."""
    folder = _folder()
    if folder is None:
        return f"none: {_chosen()} {_why_not(_chosen())}", 0
    size = sum(size for _, size, _ in _entries(folder))
    return (str(folder) if os.access(folder, os.W_OK) else f"{folder}, read-only"), size


def _why_not(folder: Path) -> str:
    if folder.exists() and not folder.is_dir():
        return "is no folder"
    if folder.is_dir():
        return "is another user's, or others may write to it (chmod 700)"
    return "cannot be made"


def _chosen() -> Path:
    chosen = os.environ.get("CHAINRULE_CACHE")
    return Path(chosen).expanduser() if chosen else _user_cache() / "chainrule"


def _user_cache() -> Path:
    home = Path(os.path.expanduser("~"))
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    if sys.platform == "darwin":
        return home / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")


def _own(status: os.stat_result) -> bool:
    """Whether it belongs to this user and nobody else may write to it."""
    if os.name == "nt":
        return True  # the rights of the user's own profile hold
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _read(path: Path) -> bytes | None:
    """The payload of an entry; None if it is absent, damaged, of another key or somebody else's."""
    with contextlib.suppress(OSError), open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if _own(status) and stat.S_ISREG(status.st_mode):
            content = file.read()
            head, payload = content[: len(_MAGIC) + 32], content[len(_MAGIC) + 32 :]
            if head == _head(path, payload):
                os.utime(path)  # it was used: among the last to go
                return payload
    return None


def _without_waiting(path: str, flags: int) -> int:
    """Open an entry; a pipe in its place would keep the process waiting."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _write(path: Path, payload: bytes) -> None:
    """Write the whole entry under another name, then rename: readers see all of it or nothing."""
    import tempfile  # seldom needed, and slow to import

    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent)  # with rights 0600
        with open(handle, "wb") as file:
            file.write(_head(path, payload) + payload)
        os.replace(temporary, path)
        if int(path.stem[:8], 16) % _SELDOM == 0:
            _trim(path.parent)
    except OSError:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _head(path: Path, payload: bytes) -> bytes:
    return _MAGIC + hashlib.sha256(path.stem.encode() + payload).digest()


def _entries(folder: Path) -> Iterator[tuple[float, int, str]]:
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):
            if entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                yield status.st_mtime, status.st_size, entry.path


def _trim(folder: Path) -> None:
    """Remove what was not used for longest until the rest is within the limits."""
    entries = sorted(_entries(folder))
    total = sum(size for _, size, _ in entries)
    for left, (_, size, path) in zip(range(len(entries), 0, -1), entries, strict=True):
        if total <= _LIMIT and left <= _MOST:
            return
        os.unlink(path)
        total -= size
