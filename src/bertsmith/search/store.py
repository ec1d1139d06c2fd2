"""The embedded store: one SQLite file with documents, passages, their words (FTS5) and vectors. Knows no model.

Everything of a change is one transaction, synced when it is committed: after a crash it is there as a whole or not at
all. Readers see the last commit, whatever a writer is doing. Words are the numbers of a tokenizer's pieces, so that any
script is searched by BM25.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertsmith.errors import DataError, FileFormatError
from bertsmith.search.connection import connected, reason
from bertsmith.search.documents import Document
from bertsmith.search.filters import BORDERS, Condition
from bertsmith.text.tokenizer import Ids

FILE = "index.sqlite"
FORMAT_VERSION = 1
MOST_VARIABLES = 900
_IN_PATHS = re.compile(r"[ !#-\[\]-~]*")
"""Names that stand in the JSON as they are; others are escaped there, and not every SQLite has paths that find them."""
SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, text TEXT NOT NULL,
    metadata TEXT NOT NULL, sha256 TEXT NOT NULL
);
CREATE TABLE passages (
    number INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL REFERENCES documents (number),
    start INTEGER NOT NULL, "end" INTEGER NOT NULL, vector BLOB
);
CREATE INDEX passages_of_document ON passages (document);
CREATE VIRTUAL TABLE words USING fts5 (pieces, tokenize = 'ascii');
"""
"""Numbers are never given twice, so that a passage of a number is always the same."""


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """start, end: characters of the document's text, `text` what stands there."""

    document: str
    title: str
    text: str
    start: int
    end: int
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewPassage:
    """What a writer adds. vector: float32 [H], or None in an index of words alone."""

    start: int
    end: int
    pieces: Ids
    vector: NDArray[np.float32] | None


class Store:
    """The file in `folder`; several may be open at once, in any number of processes. Raises `FileFormatError`."""

    def __init__(self, folder: Path, facts: Mapping[str, Any] | None = None):
        """facts: of an index to be made; None: it is there."""
        self.path = folder / FILE
        if facts is None and not self.path.is_file():
            raise FileFormatError(f"{folder}: no index there ({FILE} is missing); make one with bertsmith index")
        self._lock = RLock()
        self._counted = (-1, 0)
        try:
            self._connection = connected(self.path, is_new=facts is not None)
        except sqlite3.DatabaseError as error:
            raise FileFormatError(f"{self.path}: {reason(error)}") from None
        try:
            if facts is not None:
                self._make(facts)
            self.facts = self._facts()
            self._connection.execute("CREATE VIRTUAL TABLE temp.spread USING fts5vocab ('main', 'words', 'row')")
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise FileFormatError(f"{self.path}: {reason(error)}") from None
        if self.facts.get("format_version") != FORMAT_VERSION:
            raise FileFormatError(f"{self.path}: made by another version of bertsmith; make the index anew")

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _make(self, facts: Mapping[str, Any]) -> None:
        with self._writing() as cursor:
            if cursor.execute("SELECT count(*) FROM sqlite_master WHERE name = 'facts'").fetchone()[0]:
                return  # another process was quicker
            for statement in SCHEMA.split(";\n"):
                if statement.strip():
                    cursor.execute(statement)
            values = {"format_version": FORMAT_VERSION, "revision": 0, **facts}
            cursor.executemany(
                "INSERT INTO facts VALUES (?, ?)", [(name, json.dumps(value)) for name, value in values.items()]
            )

    def _facts(self) -> dict[str, Any]:
        return {name: json.loads(value) for name, value in self._connection.execute("SELECT name, value FROM facts")}

    # Writing

    def put(self, documents: Sequence[tuple[Document, Sequence[NewPassage]]]) -> None:
        """These documents with their passages, in the place of earlier ones with the same ids."""
        with self._writing() as cursor:
            self._remove(cursor, [document.id for document, _ in documents])
            for document, passages in documents:
                values = (
                    document.id,
                    document.title,
                    document.text,
                    json.dumps(dict(document.metadata)),
                    document.sha256,
                )
                cursor.execute(
                    "INSERT INTO documents (id, title, text, metadata, sha256) VALUES (?, ?, ?, ?, ?)", values
                )
                number = cursor.lastrowid
                for passage in passages:
                    vector = None if passage.vector is None else np.ascontiguousarray(passage.vector, "<f4").tobytes()
                    cursor.execute(
                        'INSERT INTO passages (document, start, "end", vector) VALUES (?, ?, ?, ?)',
                        (number, passage.start, passage.end, vector),
                    )
                    cursor.execute(
                        "INSERT INTO words (rowid, pieces) VALUES (?, ?)", (cursor.lastrowid, words_of(passage.pieces))
                    )
            self._touch(cursor)

    def delete(self, ids: Sequence[str]) -> int:
        """How many of these documents were there and are no more."""
        with self._writing() as cursor:
            removed = self._remove(cursor, ids)
            if removed:
                self._touch(cursor)
        return removed

    def set_fact(self, name: str, value: Any) -> None:
        with self._writing() as cursor:
            cursor.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))
        self.facts[name] = value

    def _remove(self, cursor: sqlite3.Cursor, ids: Sequence[str]) -> int:
        removed = 0
        for id_ in ids:
            row = cursor.execute("SELECT number FROM documents WHERE id = ?", (id_,)).fetchone()
            if row is not None:
                removed += 1
                cursor.execute("DELETE FROM words WHERE rowid IN (SELECT number FROM passages WHERE document = ?)", row)
                cursor.execute("DELETE FROM passages WHERE document = ?", row)
                cursor.execute("DELETE FROM documents WHERE number = ?", row)
        return removed

    def _touch(self, cursor: sqlite3.Cursor) -> None:
        cursor.execute("UPDATE facts SET value = CAST(value AS INTEGER) + 1 WHERE name = 'revision'")

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Cursor]:
        """A transaction, for which other writers wait."""
        with self._lock:
            cursor = self._connection.cursor()
            try:
                cursor.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                raise DataError(
                    f"{self.path}: cannot be written now: {error}; another process may be writing"
                ) from None
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    cursor.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise DataError(f"{self.path}: could not be written: {error}; what was there stays") from None
                raise

    # Reading

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Within it all that is read is of one moment."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN")
            try:
                yield
            except sqlite3.DatabaseError as error:
                raise FileFormatError(f"{self.path}: damaged: {error}") from None
            finally:
                self._connection.rollback()  # nothing was written

    @property
    def revision(self) -> int:
        """Grows with every change."""
        return int(self._one("SELECT CAST(value AS INTEGER) FROM facts WHERE name = 'revision'"))

    @property
    def num_documents(self) -> int:
        return int(self._one("SELECT count(*) FROM documents"))

    @property
    def num_passages(self) -> int:
        return int(self._one("SELECT count(*) FROM passages"))

    def sha256_of(self, ids: Sequence[str]) -> dict[str, str]:
        """Of those documents that are there."""
        found: dict[str, str] = {}
        for start in range(0, len(ids), MOST_VARIABLES):
            part = ids[start : start + MOST_VARIABLES]
            places = ",".join("?" * len(part))
            with self._lock:
                found |= dict(
                    self._connection.execute(f"SELECT id, sha256 FROM documents WHERE id IN ({places})", part)
                )
        return found

    def document(self, id_: str) -> Document | None:
        with self._lock:
            row = self._connection.execute(
                "SELECT id, text, title, metadata FROM documents WHERE id = ?", (id_,)
            ).fetchone()
        return None if row is None else Document(row[0], row[1], row[2], json.loads(row[3]))

    def fact_names(self) -> set[str]:
        """Of all documents, which are all read for it."""
        with self._lock:
            rows = self._connection.execute("SELECT DISTINCT key FROM documents d, json_each(d.metadata)")
            return {name for (name,) in rows}

    def by_words(self, pieces: Sequence[int], limit: int, conditions: Sequence[Condition]) -> list[tuple[int, float]]:
        """Numbers of the passages with the highest BM25 (k1 1.2, b 0.75) for any of these different pieces."""
        words = [_word(piece) for piece in pieces]
        with self._lock:
            telling = self._telling(words)
            found = self._by_words(telling, limit, conditions)
            # Passages without any of them stand below all others, and are wanted where those are few.
            return found if len(found) == limit or telling == words else self._by_words(words, limit, conditions)

    def _telling(self, words: Sequence[str]) -> list[str]:
        """Those in at most half of the passages. The others weigh nothing in FTS5's BM25, and are most of its work."""
        revision = self.revision
        if self._counted[0] != revision:  # looked at first: what is written between the two is counted again
            self._counted = revision, self.num_passages
        most = self._counted[1] / 2
        counted = (self._connection.execute("SELECT doc FROM spread WHERE term = ?", (word,)) for word in words)
        counts = [row.fetchone() or (0,) for row in counted]
        return [word for word, (count,) in zip(words, counts, strict=True) if count <= most]

    def _by_words(self, words: Sequence[str], limit: int, conditions: Sequence[Condition]) -> list[tuple[int, float]]:
        if not words:
            return []
        asked = " OR ".join(f'"{word}"' for word in words)
        where, values = _where(conditions)
        narrowed = (
            f"AND rowid IN (SELECT p.number FROM passages p JOIN documents d ON d.number = p.document WHERE {where})"
            if where
            else ""
        )
        rows = self._connection.execute(
            f"SELECT rowid, -bm25(words) FROM words WHERE words MATCH ? {narrowed} ORDER BY bm25(words), rowid LIMIT ?",
            (asked, *values, limit),
        )
        return [(int(number), float(score)) for number, score in rows]

    def numbers(self, conditions: Sequence[Condition] = ()) -> NDArray[np.int64]:
        """Of all passages, or of those whose documents meet the conditions; rising."""
        where, values = _where(conditions)
        query = "SELECT number FROM passages"
        if where:
            query = f"SELECT p.number FROM passages p JOIN documents d ON d.number = p.document WHERE {where}"
        with self._lock:
            rows = self._connection.execute(f"{query} ORDER BY 1", values)
            return np.fromiter((row[0] for row in rows), dtype=np.int64)

    def vectors_after(self, number: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Numbers [n] and vectors [n, width] of all passages with a higher number."""
        with self._lock:
            count = int(self._one("SELECT count(*) FROM passages WHERE number > ?", (number,)))
            numbers, vectors = np.empty(count, np.int64), np.empty((count, width), np.float32)
            rows = self._connection.execute(
                "SELECT number, vector FROM passages WHERE number > ? ORDER BY number", (number,)
            )
            for place, (found, blob) in enumerate(rows):
                if blob is None or len(blob) != 4 * width:
                    raise FileFormatError(
                        f"{self.path}: passage {found} has no vector of {width} numbers; it is damaged"
                    )
                numbers[place], vectors[place] = found, np.frombuffer(blob, "<f4")
        return numbers, vectors

    def passages(self, numbers: Sequence[int]) -> dict[int, StoredPassage]:
        """By number, those that are there."""
        found = {}
        for start in range(0, len(numbers), MOST_VARIABLES):
            part = [int(number) for number in numbers[start : start + MOST_VARIABLES]]
            places = ",".join("?" * len(part))
            with self._lock:
                rows = self._connection.execute(
                    'SELECT p.number, d.id, d.title, substr(d.text, p.start + 1, p."end" - p.start), p.start, p."end", '
                    "d.metadata FROM passages p JOIN documents d ON d.number = p.document "
                    f"WHERE p.number IN ({places})",
                    part,
                ).fetchall()
            for number, id_, title, text, begin, end, metadata in rows:
                found[number] = StoredPassage(id_, title, text, begin, end, json.loads(metadata))
        return found

    def _one(self, query: str, values: Sequence[Any] = ()) -> Any:
        with self._lock:
            return self._connection.execute(query, values).fetchone()[0]


def words_of(pieces: Ids) -> str:
    """A passage's pieces as words of FTS5."""
    return " ".join(map(_word, np.asarray(pieces).tolist()))


def _word(piece: int) -> str:
    return f"p{piece}"


def _where(conditions: Sequence[Condition]) -> tuple[str, list[Any]]:
    """SQL on `documents d`, and its values."""
    parts: list[str] = []
    values: list[Any] = []
    for condition in conditions:
        fact, path = "json_extract(d.metadata, ?)", f'$."{condition.name}"'
        if not _IN_PATHS.fullmatch(condition.name):
            fact, path = "(SELECT value FROM json_each(d.metadata) WHERE key = ?)", condition.name
        if condition.among is not None:
            parts.append(f"{fact} IN ({','.join('?' * len(condition.among))})")
            values += [path, *condition.among]
        for border, value in condition.borders:
            parts.append(f"{fact} {BORDERS[border]} ?")
            values += [path, value]
    return " AND ".join(parts), values
