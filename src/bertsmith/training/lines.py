"""Lines of JSON that a run adds to a file: none is written by halves, and none that finds no room stops anybody."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bertsmith.files import reason_of


class Lines:
    """Those of `path`, read from its beginning and added to at its end.

    What cannot be written waits for room and is tried again with the next line; `note` hears of it once.
    """

    def __init__(self, path: Path, note: Callable[[str], None]):
        self._path = path
        self._note = note
        self._file = path.open("a+b", buffering=0)
        self._waiting: list[bytes] = []
        self._was_told = False
        whole = list(self._whole())
        self._num_written, self._num_bytes = len(whole), sum(map(len, whole))
        self._file.truncate(self._num_bytes)

    def __len__(self) -> int:
        return self._num_written + len(self._waiting)

    def add(self, record: Mapping[str, Any]) -> None:
        """One line more; a value that JSON does not know is an error."""
        self._waiting.append(json.dumps(record, allow_nan=False).encode() + b"\n")
        self._write()

    def records(self) -> Iterator[dict[str, Any]]:
        """What each line that is on the disk says."""
        return map(json.loads, self._whole())

    def keep_first(self, number: int) -> None:
        """Forget all lines but so many."""
        del self._waiting[max(0, number - self._num_written) :]
        if number < self._num_written:
            kept = list(self._whole())[:number]
            self._num_written, self._num_bytes = len(kept), sum(map(len, kept))
            self._file.truncate(self._num_bytes)

    def close(self) -> None:
        """With a last attempt to write what waits; of what is lost `note` hears."""
        self._write()
        self._file.close()
        if self._waiting:
            self._note(f"warning: {self._path}: the last {len(self._waiting):,} lines found no room")

    def _write(self) -> None:
        data = b"".join(self._waiting)
        try:
            _write_all(self._file.fileno(), data)
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._num_bytes)
            if not self._was_told:
                self._note(
                    f"warning: {self._path}: cannot be written: {reason_of(error)}; training goes on, and its lines "
                    "are written when they can be"
                )
            self._was_told = True
        else:
            self._num_written, self._num_bytes = len(self), self._num_bytes + len(data)
            self._waiting.clear()

    def _whole(self) -> Iterator[bytes]:
        """Up to the first that is none: a run that is killed may leave a half."""
        self._file.seek(0)
        for line in self._file.readall().splitlines(keepends=True):
            try:
                json.loads(line)
            except ValueError:
                return
            if not line.endswith(b"\n"):
                return
            yield line


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
