"""Files: atomic, hashed writes, and text in any of the usual compressions. Knows nothing of models or tables.

Nothing here leaves a half-written file behind: a file or folder appears under its name whole, synced to the disk, or
not at all.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from bertsmith.errors import DataError, FileFormatError, SettingsError


def _open_zstd(path: Path) -> IO[bytes]:
    import pyarrow

    stream: Any = pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")
    return cast("IO[bytes]", io.BufferedReader(stream))


PARTIAL, OLD = ".partial", ".old"
"""What the name of a folder ends in while it is being filled, and while another takes its place."""

COMPRESSIONS: dict[str, Callable[[Path], IO[bytes]]] = {
    ".gz": lambda path: cast("IO[bytes]", gzip.open(path)),
    ".xz": lambda path: cast("IO[bytes]", lzma.open(path)),
    ".zst": _open_zstd,
}


def bare_suffix(path: Path) -> str:
    """The suffix under the compression's: `.csv` for `reviews.csv.gz`."""
    return (path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path).suffix.lower()


def open_bytes(path: Path) -> IO[bytes]:
    """`path` for reading, decompressed by its suffix. Missing and unreadable files become a `DataError`."""
    opener = COMPRESSIONS.get(path.suffix.lower())
    try:
        return path.open("rb") if opener is None else opener(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`, or a `FileFormatError` that names the file and the place."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileFormatError(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise FileFormatError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def write_json(path: Path, value: Any) -> None:
    """`value` as readable JSON with a final newline; NaN and infinities are refused. Not atomic by itself."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def sync(path: Path) -> None:
    """Returns when the file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary sibling to write to; renamed over `path` when the block ends well, deleted when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~umask())
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary sibling folder to fill, which takes the place of `path` when the block ends well.

    A folder that is there already is renamed away, the new one renamed in, and what only the old one holds (logs, say)
    moved over; if that cannot be done, the old one is renamed back. At no moment does `path` mix files of both.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=PARTIAL, dir=path.parent))
    try:
        yield temporary
        for file in temporary.rglob("*"):
            file.chmod((0o777 if file.is_dir() else 0o666) & ~umask())
            sync(file)
        temporary.chmod(0o777 & ~umask())
        if path.exists():
            _swap(temporary, path)
        else:
            temporary.replace(path)
        sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(fresh: Path, path: Path) -> None:
    old = path.with_name(f"{fresh.name}{OLD}")
    path.rename(old)
    try:
        fresh.rename(path)
    except OSError:
        old.rename(path)
        raise
    _take_over(old, path)


def _take_over(old: Path, path: Path) -> None:
    for file in old.iterdir():
        if not (path / file.name).exists():
            file.rename(path / file.name)
    shutil.rmtree(old)


def recover_folder(path: Path) -> None:
    """Finish or undo what a process that died within `atomic_folder` left; for who alone writes there."""
    partial = f".{glob.escape(path.name)}.????????{PARTIAL}"
    for old in sorted(path.parent.glob(f"{partial}{OLD}")):
        if path.exists():
            _take_over(old, path)
        else:
            old.rename(path)
    # The second: of folders that were being replaced within one that was being filled.
    for pattern in (partial, f".{partial}.????????{PARTIAL}*"):
        for temporary in path.parent.glob(pattern):
            shutil.rmtree(temporary, ignore_errors=True)


def refuse_to_replace(folder: Path, markers: Mapping[str, str]) -> None:
    """A `SettingsError` where `folder` is a file, or holds one of the `markers`: file names, and what they show."""
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder}: a file is there; name a folder to write to")
    for name, meaning in markers.items():
        if (folder / name).exists():
            raise SettingsError(f"{folder}: holds {meaning} ({name}); name another folder to write to")


def take_lock(path: Path, doing: str) -> int:
    """The descriptor of a lock that the system frees when its process ends, however that ends, or that is closed.

    Raises `SettingsError` where another process has it, which is `doing` something in the folder.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(descriptor, 1000).decode(errors="replace").strip() or "another process"
        os.close(descriptor)
        raise SettingsError(
            f"{path.parent}: {owner} is {doing} there now; wait for it, or name another folder"
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return descriptor


def reason_of(error: OSError) -> str:
    """Why something could not be written, and what to do about it."""
    advice = ": free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
    return f"{error.strerror or error}{advice}"


def umask() -> int:
    """Permissions that new files of this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
