"""Files that are complete or absent: written under a temporary name, flushed to disk, renamed."""

from __future__ import annotations

import contextlib
import csv
import glob
import hashlib
import io
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .dtypes import bfloat16
from .errors import FileError


@contextlib.contextmanager
def file_errors(action: str, path: Path) -> Iterator[None]:
    """Errors of the operating system as FileError."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise FileError(
            action,
            f"got {error.strerror or error} for {path}",
            "expected a path that can be read and written",
            "check the path, its permissions and the free space",
        ) from None


def write(path: Path, content: str | bytes) -> None:
    """Replace the content of a path in one step: a reader sees the old file or the new one.

    A link or a pipe at the path is replaced by a file; nothing is written through it.
    """
    data = _bytes(content)
    with file_errors("write", path):
        temporary = _temporary(path)
        try:
            temporary.unlink(missing_ok=True)
            with open(temporary, "xb") as file:  # x: not through a link either
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _flush_folder(path.parent)


def write_through(path: Path, content: str | bytes) -> None:
    """`write` for a path from the user: the target of a link is replaced, and a device or a pipe
    receives the content."""
    if is_stream(path):
        with file_errors("write", path), path.open("ab") as stream:
            stream.write(_bytes(content))
    else:
        write(Path(os.path.realpath(path)), content)


def _bytes(content: str | bytes) -> bytes:
    """The content as it is written; half of a pair of characters, which UTF-8 lacks, as \\udc80."""
    return content.encode(errors="backslashreplace") if isinstance(content, str) else content


def is_stream(path: Path) -> bool:
    """Whether a path is a device, a pipe, or an open file such as /dev/stdout."""
    is_open = os.path.abspath(path).startswith(("/dev/std", "/dev/fd/", "/proc/"))
    return is_open or (path.exists() and not path.is_file() and not path.is_dir())


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name; it appears at the path when it is complete."""
    temporary = _temporary(path)
    with file_errors("write", path):
        sweep(path.parent, glob.escape(path.name))
        temporary.mkdir()
    try:
        yield temporary
        with file_errors("write", path):
            os.rename(temporary, path)
            _flush_folder(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Callable[[], str | None]]:
    """Lock a folder against training by other processes; the lock ends with this process.

    Yields a function that says what happened to the folder, if it is no longer at its path.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such lock, and removes no folder that is in use
        yield lambda: None
        return
    with file_errors("train", folder):
        lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileError(
                "train",
                f"got {folder}, in which another process is training",
                "expected one process per run",
                "wait until it has ended, or stop it",
            ) from None
        except OSError:  # a file system without locks
            pass
        yield lambda: _moved(folder, lock)
    finally:
        os.close(lock)


def _moved(folder: Path, handle: int) -> str | None:
    """What happened to an open folder, if it is no longer at its path."""
    own = os.fstat(handle)
    with contextlib.suppress(OSError):
        if os.path.samestat(os.stat(folder), own):
            return None
    if not own.st_nlink:
        return "was removed"
    with contextlib.suppress(OSError):  # Linux knows its present name
        now = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if os.path.samestat(os.stat(now), own):
            return f"was renamed to {now}"
    return "was removed or renamed"


def is_locked(folder: Path) -> bool:
    """Whether a process is training in this folder."""
    try:
        with locked(folder):
            return False
    except FileError:
        return True


def sweep(folder: Path, name: str = "*") -> None:
    """Remove temporary files that killed processes have left there, for this name.

    Those of living processes stay, and of this one those of its other threads. A link is
    removed, not its target.
    """
    for stale in folder.glob(f".{name}.*.tmp"):
        *_, thread, process = stale.name.split(".")[:-1]
        if process.isascii() and process.isdigit() and not _at_work(int(process), thread):
            if stale.is_dir() and not stale.is_symlink():
                shutil.rmtree(stale)
            else:
                stale.unlink(missing_ok=True)  # another thread may sweep too


def _temporary(path: Path) -> Path:
    """The name for this thread, by which `sweep` knows later whether it has left the file."""
    return path.with_name(f".{path.name}.{threading.get_native_id()}.{os.getpid()}.tmp")


def _at_work(process: int, thread: str) -> bool:
    """Whether the process lives; of this process, whether another thread of that number does."""
    if process == os.getpid():
        living = {t.native_id for t in threading.enumerate()} - {threading.get_native_id()}
        return thread in map(str, living)
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # of another user
        return True
    return True


def _flush_folder(path: Path) -> None:
    if os.name == "posix":
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read(path: Path) -> bytes:
    """The bytes of a file; a pipe or a device, which might never end, is an error."""
    with _opened(path) as file:
        return file.read()


def checksum_of(path: Path) -> str:
    """The checksum of a file, which is read in pieces."""
    with _opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    if not os.path.lexists(path):
        raise FileError(
            "read",
            f"got {path}, which does not exist",
            "expected a file",
            "check the path and the current folder",
        )
    with file_errors("read", path), open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise FileError(
                "read",
                f"got {path}, which is a pipe or a device",
                "expected a file",
                "write its content to a file",
            )
        yield file


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe without a writer does not block the process."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def checksum(data: bytes) -> str:
    """SHA-256, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON whose numbers read back exactly; NaN and infinities as JavaScript writes them."""
    return json.dumps(value, indent=indent, ensure_ascii=False, default=_numpy_as_python)


def to_csv(columns: dict[str, list[Any]]) -> str:
    """Columns as the text of a CSV file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return out.getvalue()


def with_nulls(value: Any) -> Any:
    """The value with null for NaN and infinities, which JSON lacks."""
    if isinstance(value, dict):
        return {k: with_nulls(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_nulls(v) for v in value]
    return None if isinstance(value, (float, np.floating)) and not np.isfinite(value) else value


def _numpy_as_python(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")


def from_json(path: Path) -> Any:
    """The content of a JSON file."""
    try:
        return json.loads(read(path))
    except (ValueError, RecursionError) as error:
        raise FileError(
            "read",
            f"got {path}, which is not JSON ({error})",
            "expected a file that chainrule wrote",
            "train again, or restore an intact copy",
        ) from None


def tensors_to_bytes(tensors: Mapping[str, Any]) -> bytes:
    """Named arrays in the safetensors format: numbers only, no code runs when it is read.

    The metadata contains a checksum, SHA-256 of the whole file with zeros in its place, which stays
    with the file when it is moved or copied.
    """
    from safetensors.numpy import save

    arrays = {name: np.asarray(t, order="C") for name, t in tensors.items()}
    data = save(arrays, metadata={SEAL: _UNSEALED})
    place = data.index(_UNSEALED.encode())
    return data[:place] + checksum(data).encode() + data[place + len(_UNSEALED) :]


SEAL = "chainrule_sha256"
_UNSEALED = "0" * 64


def seal_of(data: bytes) -> str | None:
    """The checksum in the metadata of a safetensors file; files of earlier versions have none."""
    size = int.from_bytes(data[:8], "little")
    try:
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    except (ValueError, AttributeError, RecursionError):
        return None
    return metadata.get(SEAL) if isinstance(metadata, dict) else None


def _expect_as_written(data: bytes, path: Path) -> None:
    seal = seal_of(data)
    if seal is None:
        return
    before, _, after = data.partition(seal.encode())
    actual = hashlib.sha256(before + _UNSEALED.encode())
    actual.update(after)
    if actual.hexdigest() != seal:
        raise FileError(
            "read",
            f"got {path}, which has changed since it was written: its checksum differs",
            "expected the bytes that chainrule wrote",
            "restore an intact copy, or train again",
        )


_DTYPES = {
    "BF16": bfloat16,
    "F16": "f2",
    "F32": "f4",
    "F64": "f8",
    "BOOL": "?",
    "I8": "i1",
    "I16": "i2",
    "I32": "i4",
    "I64": "i8",
    "U8": "u1",
    "U16": "u2",
    "U32": "u4",
    "U64": "u8",
}


def tensors_from_bytes(data: bytes, path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The inverse; a truncated, changed or foreign file is an error."""
    from safetensors import SafetensorError, deserialize

    try:
        tensors = {
            name: np.frombuffer(t["data"], np.dtype(_DTYPES[t["dtype"]])).reshape(t["shape"])
            for name, t in deserialize(data)  # type: ignore[no-untyped-call]
        }
        _expect_as_written(data, path)
        return tensors
    except (SafetensorError, KeyError) as error:
        raise FileError(
            "read",
            f"got {path}, {len(data)} bytes, not readable as safetensors ({error})",
            "expected a complete file of weights",
            "restore an intact copy, or train again",
        ) from None
