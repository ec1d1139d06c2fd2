"""Conversations in an SQLite file: a message and its reply are kept together or not at all. Or nowhere."""

from __future__ import annotations

import json
import sqlite3
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock

from bertsmith.assistant.dialogue import Turn
from bertsmith.errors import FileFormatError
from bertsmith.search.connection import connected

MOST_CONVERSATIONS = 10_000
"""That are remembered where nothing is kept; the one that was used longest ago is forgotten first."""
MOST_TURNS = 200
"""That are remembered of each of them, the last ones."""
MOST_CHARACTERS = 50_000_000
"""That are remembered of all of them, whoever writes them; the same conversations go first."""
SCHEMA = """CREATE TABLE IF NOT EXISTS turns (
    number INTEGER PRIMARY KEY, conversation TEXT NOT NULL, time TEXT NOT NULL, speaker TEXT NOT NULL,
    text TEXT NOT NULL, facts TEXT NOT NULL
)"""
INDEX = "CREATE INDEX IF NOT EXISTS turns_of_conversation ON turns (conversation, number)"


class TranscriptFile:
    """The file, made where it is not there. Raises `FileFormatError` for one that is something else."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = RLock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # As a new one though it may be there: who cannot write it is told now, and not when something is said.
            self._connection = connected(path, is_new=True)
        except sqlite3.DatabaseError as error:
            raise FileFormatError(f"{path}: not a file of transcripts: {error}") from None
        try:
            for statement in (SCHEMA, INDEX):
                self._connection.execute(statement)
            self._connection.execute("SELECT conversation, time, speaker, text, facts FROM turns LIMIT 1")
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise FileFormatError(f"{path}: not a file of transcripts: {error}") from None

    def turns(self, conversation: str, last: int | None = None) -> list[Turn]:
        """All or the `last` ones, in the order in which they were said. Raises `FileFormatError` for damage."""
        asked = "SELECT speaker, text, facts FROM turns WHERE conversation = ? ORDER BY number DESC LIMIT ?"
        try:
            with self._lock:
                rows = self._connection.execute(asked, (conversation, -1 if last is None else last)).fetchall()
            return [Turn(speaker, text, json.loads(facts)) for speaker, text, facts in reversed(rows)]
        except (sqlite3.DatabaseError, ValueError) as error:
            raise FileFormatError(f"{self.path}: the conversation cannot be read: {error}") from None

    def add(self, conversation: str, turns: Sequence[Turn]) -> None:
        """All of them, on the disk when this returns. Raises `FileFormatError` where they cannot be written."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        rows = [(conversation, now, turn.speaker, turn.text, json.dumps(dict(turn.facts))) for turn in turns]
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(
                    "INSERT INTO turns (conversation, time, speaker, text, facts) VALUES (?, ?, ?, ?, ?)", rows
                )
                self._connection.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                self._connection.rollback()
                raise FileFormatError(f"{self.path}: the conversation could not be kept: {error}") from None

    def close(self) -> None:
        with self._lock:
            self._connection.close()


class RememberedTranscripts:
    """In memory alone, until the process ends."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, deque[Turn]] = OrderedDict()
        self._num_characters = 0

    def turns(self, conversation: str, last: int | None = None) -> list[Turn]:
        turns = list(self._turns.get(conversation, ()))
        return turns if last is None else turns[max(0, len(turns) - last) :]

    def add(self, conversation: str, turns: Sequence[Turn]) -> None:
        kept = self._turns.setdefault(conversation, deque())
        kept.extend(turns)
        self._num_characters += _size(turns)
        while len(kept) > MOST_TURNS:
            self._num_characters -= len(kept.popleft().text)
        self._turns.move_to_end(conversation)
        while len(self._turns) > MOST_CONVERSATIONS or (
            len(self._turns) > 1 and self._num_characters > MOST_CHARACTERS
        ):
            _, forgotten = self._turns.popitem(last=False)
            self._num_characters -= _size(forgotten)


def _size(turns: Iterable[Turn]) -> int:
    return sum(len(turn.text) for turn in turns)
