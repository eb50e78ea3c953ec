"""Object code on disk, in the user's own cache folder, for processes that need the same."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from .processor import Target

_MAGIC = b"crnative"
_LIMIT = 200 * 2**20  # bytes of object code kept on disk
_MOST = 2000  # and entries
_TRIM_EVERY = 16  # writing one entry in 16, by its name, removes old ones


def cached(what: str, make: Callable[[], bytes], target: Target) -> bytes:
    """The result of `make` for a target, or of an earlier process.

    what   identifies it, so that it can be looked up without calling `make`

    Trouble with the disk is never an error.
    """
    folder = _folder()
    if folder is None:
        return make()
    path = folder / f"{_entry_name(what, target)}.o"
    payload = _read(path)
    if payload is None:
        payload = make()
        _write(path, payload)
    return payload


def _entry_name(what: str, target: Target) -> str:
    versions = (llvmlite.__version__, llvm.llvm_version_info, _generators())
    return hashlib.sha256(repr((target, versions, what)).encode()).hexdigest()


@functools.cache
def _generators() -> str:
    """A fingerprint of the code that writes the text: that of this folder and those in it."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _folder() -> Path | None:
    """The folder, made if need be; None where there can be none or others may write to it."""
    folder = _chosen()
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.is_dir() and _is_private(folder.stat()):
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


def _is_private(status: os.stat_result) -> bool:
    """Whether it belongs to this user and no other user may write to it."""
    if os.name == "nt":
        return True  # the rights of the user's own profile hold
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _read(path: Path) -> bytes | None:
    """The payload of an entry; None if it is absent, damaged, of another key or another user's."""
    with contextlib.suppress(OSError), open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if _is_private(status) and stat.S_ISREG(status.st_mode):
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
    import tempfile  # rarely needed, and slow to import

    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent)  # with rights 0600
        with open(handle, "wb") as file:
            file.write(_head(path, payload) + payload)
        os.replace(temporary, path)
        if int(path.stem[:8], 16) % _TRIM_EVERY == 0:
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
