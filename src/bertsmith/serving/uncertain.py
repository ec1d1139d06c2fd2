"""Requests that a model was unsure of, kept as JSON lines to be labelled. Knows no route and no web.

Without texts a line says how long they were, their hash, what was predicted and how sure the model was. Whoever can
guess a short text can check the guess by its hash: the file is for those who may know the texts.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, Self

from bertsmith.errors import DataError, SettingsError
from bertsmith.files import take_lock
from bertsmith.tasks import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """One line. model, sha256: who was asked; predicted: the labels of its decisions; confidence: of the least sure.

    below: the confidence under which requests were kept. num_characters: of each text. request_sha256: of the request's
    fields as JSON. request, prediction: their fields, where texts are kept.
    """

    time: str
    model: str
    sha256: str
    task: str
    predicted: tuple[str, ...]
    confidence: float
    below: float
    num_characters: tuple[int, ...]
    request_sha256: str
    request: Mapping[str, Any] | None = None
    prediction: Mapping[str, Any] | None = None

    def line(self) -> bytes:
        """The request's fields stand beside the others, so that the file is a table of requests."""
        values = asdict(self)
        values = {name: value for name, value in values.items() if value is not None and name != "request"}
        # A lone surrogate becomes an escape, as JSON allows and UTF-8 does not.
        return (json.dumps(values | dict(self.request or {}), ensure_ascii=False, allow_nan=False) + "\n").encode(
            "utf-8", "backslashreplace"
        )

    @classmethod
    def of_line(cls, values: Mapping[str, Any]) -> Self:
        """Raises `KeyError`, `TypeError` or `ValueError` for what `line` has not written."""
        own = {field.name for field in fields(cls)} - {"request"}
        known: dict[str, Any] = {name: value for name, value in values.items() if name in own}
        known |= {name: tuple(known[name]) for name in ("predicted", "num_characters")}
        known |= {name: float(known[name]) for name in ("confidence", "below")}
        rest = {name: value for name, value in values.items() if name not in own}
        return cls(**known, request=rest or None)


class UncertainFile:
    """A file that grows by whole lines up to `max_bytes`, written by one process; safe to use from several threads.

    A full disk or a full file ends the keeping, which is told once, and never a request. num_kept, num_left_out: of the
    requests that were offered and unsure.
    """

    def __init__(self, path: Path, *, below: float = 0.7, keep_texts: bool = False, max_bytes: int = 100_000_000):
        if path.is_dir():
            raise SettingsError(f"{path}: a folder is there; name a file to keep uncertain requests in")
        self.path, self.below, self.keep_texts, self.max_bytes = path, below, keep_texts, max_bytes
        self.num_kept = self.num_left_out = 0
        self._lock, self._is_open = Lock(), True
        path.parent.mkdir(parents=True, exist_ok=True)
        self._owned = take_lock(path.with_name(f".{path.name}.lock"), f"keeping requests in {path.name}")
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = _cut_to_whole_lines(self._file)

    def offer(
        self, model: str, sha256: str, task: Task[Any, Any], requests: Sequence[Any], predictions: Sequence[Any]
    ) -> None:
        """Keep those of the requests that their predictions were unsure of."""
        for request, prediction in zip(requests, predictions, strict=True):
            decided = task.decided(prediction)
            if decided.confidence is None or not decided.confidence < self.below:
                continue
            said = asdict(request)
            kept = Kept(
                datetime.now(UTC).isoformat(timespec="milliseconds"),
                model,
                sha256,
                task.name,
                decided.labels,
                float(decided.confidence),
                self.below,
                tuple(map(len, task.texts(request))),
                hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest(),
                said if self.keep_texts else None,
                asdict(prediction) if self.keep_texts else None,
            )
            self._append(kept.line())

    def close(self) -> None:
        """Nothing is kept from now on; the file may be another process's."""
        with self._lock:
            if self._is_open:
                self._is_open = False
                os.close(self._file)
                os.close(self._owned)

    def _append(self, line: bytes) -> None:
        with self._lock:
            if not self._is_open or self._size + len(line) > self.max_bytes:
                self._leave_out(f"holds the most that it may, {self.max_bytes:,} bytes")
                return
            try:
                written = os.write(self._file, line)
                if written < len(line):
                    os.ftruncate(self._file, self._size)
                    raise OSError("the disk is full")
            except OSError as error:
                self._leave_out(str(error))
                return
            self._size += len(line)
            self.num_kept += 1

    def _leave_out(self, reason: str) -> None:
        if not self.num_left_out:
            log.warning("%s: %s; requests that the model is unsure of are no longer kept", self.path, reason)
        self.num_left_out += 1


def _cut_to_whole_lines(file: int) -> int:
    """The size of a file after what a process that was killed left of a line is cut off."""
    size = os.fstat(file).st_size
    end = size
    while end:
        start = max(0, end - 65536)
        block = os.pread(file, end - start, start)
        if (place := block.rfind(b"\n")) >= 0:
            end = start + place + 1
            break
        end = start
    if end < size:
        os.ftruncate(file, end)
    return end


def is_kept(path: Path) -> bool:
    """Whether the first line of a file is one that `UncertainFile` wrote."""
    try:
        with path.open("rb") as file:
            Kept.of_line(json.loads(file.readline(1_000_000)))
    except (OSError, KeyError, TypeError, ValueError, RecursionError):
        return False
    return True


def read_kept(path: Path) -> list[Kept]:
    """All lines. Raises `DataError` for one that is damaged."""
    kept = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                kept.append(Kept.of_line(json.loads(line)))
            except (KeyError, TypeError, ValueError, RecursionError, AttributeError) as error:
                raise DataError(f"{path}, line {number}: no kept request ({error!r:.80})") from None
    return kept
