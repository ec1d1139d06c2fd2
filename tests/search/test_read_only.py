"""An index that may be read but not written: on a read-only file system, or another user's."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from toys import toy_tokenizer

from bertsmith.errors import DataError, FileFormatError
from bertsmith.search.documents import Document
from bertsmith.search.index import Index
from bertsmith.search.store import FILE

NOBODY = 65534
DYING = """
import os, sys
from pathlib import Path
from bertsmith.search.documents import Document
from bertsmith.search.index import Index
Index.open(Path(sys.argv[1])).upsert([Document("b", "Ba bu.")])
os._exit(0)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Of an index of one document, where every user may look."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        made = Index.create(Path(place) / "an index? 100%", toy_tokenizer())
        made.upsert([Document("a", "Ba be bi.")])
        made.close()
        made.folder.chmod(0o555)
        yield made.folder
        made.folder.chmod(0o755)


@contextmanager
def without_rights() -> Iterator[None]:
    """As a user whom the folder's mode binds, which it does not the first of all users."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def found(index: Index) -> int:
    pieces = index.tokenizer.pieces_batch(["ba"])[0]
    return len(index.by_words(pieces.tolist(), 10, []))


def test_an_index_that_cannot_be_written_is_searched(folder: Path) -> None:
    with without_rights():
        index = Index.open(folder)
        assert found(index) == 1
        with pytest.raises(DataError, match=r"readonly.*what was there stays"):
            index.upsert([Document("b", "be")])
        index.close()


def test_what_a_writer_has_put_in_is_seen_by_who_cannot_write(folder: Path) -> None:
    folder.chmod(0o755)
    writer = Index.open(folder)
    writer.upsert([Document("b", "Ba bu.")])
    folder.chmod(0o555)
    with without_rights():
        index = Index.open(folder)
        assert found(index) == 2
        index.close()
    writer.close()


def test_changes_that_only_a_writer_can_put_in_are_not_passed_by(folder: Path) -> None:
    folder.chmod(0o755)
    subprocess.run([sys.executable, "-c", DYING, folder], check=True, timeout=60)
    (folder / f"{FILE}-shm").unlink()
    folder.chmod(0o555)
    with without_rights(), pytest.raises(FileFormatError, match=f"{FILE}-wal .* open the index there once"):
        Index.open(folder)
    folder.chmod(0o755)
    index = Index.open(folder)
    assert found(index) == 2
    index.close()
