"""Connections to an SQLite file: to be written, or only read where it lies. Knows nothing of what is in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

BUSY_SECONDS = 60
"""For another writer to finish its batch."""
_UNWRITABLE = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_READONLY_CANTINIT,
    sqlite3.SQLITE_READONLY_DIRECTORY,
    sqlite3.SQLITE_READONLY_RECOVERY,
}


def connected(path: Path, *, is_new: bool) -> sqlite3.Connection:
    """To the file at `path`; where nothing can be written beside it, as it lies there."""
    try:
        return _opened(path.absolute().as_uri() + ("" if is_new else "?mode=rw"), "journal_mode = WAL")
    except sqlite3.OperationalError as error:
        beside = path.with_name(f"{path.name}-wal")
        if is_new or error.sqlite_errorcode not in _UNWRITABLE:
            raise
        if beside.exists() and beside.stat().st_size:
            raise sqlite3.OperationalError(
                f"{error}; its last changes lie in {beside.name} and are put in only where the folder can be written: "
                "open the index there once"
            ) from None
        # Nobody may write it while it is read so: in a folder that cannot be written nobody does.
        return _opened(f"{path.absolute().as_uri()}?immutable=1")


def _opened(uri: str, *pragmas: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        for pragma in (*pragmas, "synchronous = FULL", "foreign_keys = ON", f"mmap_size = {1 << 30}"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def is_empty(path: Path) -> bool:
    """Whether the file has no table: the process that made it died before its first commit."""
    try:
        connection = connected(path, is_new=False)
    except sqlite3.DatabaseError:
        return False  # who opens it says what is wrong with it
    with closing(connection):
        return not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def reason(error: sqlite3.DatabaseError) -> str:
    """An operation that failed says nothing of the file."""
    return str(error) if isinstance(error, sqlite3.OperationalError) else f"not an index, or damaged: {error}"
