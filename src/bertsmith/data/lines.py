"""Lines of text files, numbered and decoded, in bounded memory whatever the file holds; knows no format.

A `Reading` says what happens to input that is no clean UTF-8 text and counts what was met, over all files of one run.
"""

from __future__ import annotations

import lzma
import zlib
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from bertsmith.errors import DataError
from bertsmith.files import COMPRESSIONS, open_bytes
from bertsmith.runtime.interruption import raise_if_asked

ErrorPolicy = Literal["error", "replace", "skip"]
T = TypeVar("T")

BLOCK_BYTES = 1 << 20
MAX_LINE_BYTES = 16 << 20
_FAULTS_SHOWN = 10
_FAULTS_COUNTED = 10_000  # a file that is bad throughout need not be read to its end to be refused
_SAMPLE_LINES = 1000
_SAMPLE_CHARACTERS = 1 << 20

# What a file begins with that is no UTF-8 text, and the way out.
_SIGNATURES = {
    b"\xff\xfe\x00\x00": "UTF-32 text; re-save it as UTF-8 (iconv -f UTF-32 -t UTF-8)",
    b"\xff\xfe": "UTF-16 text; re-save it as UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "UTF-16 text; re-save it as UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"\x1f\x8b": "gzip data; name it with .gz at the end",
    b"\xfd7zXZ\x00": "xz data; name it with .xz at the end",
    b"\x28\xb5\x2f\xfd": "zstd data; name it with .zst at the end",
    b"BZh": "bzip2 data; unpack it first",
    b"PAR1": "Parquet data; name it with .parquet at the end",
    b"PK\x03\x04": "a zip archive or spreadsheet; unpack it, or export it as CSV",
    b"%PDF": "a PDF; extract its text first",
}


class Border(NamedTuple):
    """A place in a file where a record ends and another may begin: what stands before it, from the file's start.

    byte: of text files; of Parquet the row groups. row: of tables, counted as `Row.number` is.
    """

    byte: int = 0
    line: int = 0
    row: int = 0


class Span(NamedTuple):
    """Part of a file, between two borders: what one of several readers reads."""

    begin: Border
    until: Border

    def __str__(self) -> str:
        """For people: its rows where they are counted, else its lines."""
        unit, first, last = ("rows", self.begin.row, self.until.row)
        if not last:
            unit, first, last = ("lines", self.begin.line, self.until.line)
        return f"{unit} {first + 1:,} to {last:,}"


@dataclass(slots=True)
class Reading:
    """How one run reads its files and treats bad input, and what it met.

    `errors`: `error` stops at bad input and names its place; `replace` puts U+FFFD for what is no text and reads on;
    `skip` leaves out the line or row. `replace` cannot mend what has the wrong shape (a row with too few fields):
    that stops as `error` does. The three counters say how often what was skipped, replaced, or too long for one piece.
    `column_names`: those of CSV and TSV files, which then have no header. `span`: the part of the file to read; lines
    and rows keep their numbers.
    """

    errors: ErrorPolicy = "error"
    max_line_bytes: int = MAX_LINE_BYTES
    column_names: tuple[str, ...] = ()
    span: Span | None = None
    num_bytes: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    replaced: Counter[str] = field(default_factory=Counter)
    divided: Counter[str] = field(default_factory=Counter)

    def notices(self) -> list[str]:
        """What was skipped or mended, a sentence a kind, for people."""
        kinds = {"skipped": self.skipped, "mended": self.replaced}
        return [f"{verb}, {count} times: {kind}" for verb, counts in kinds.items() for kind, count in counts.items()]


class Line(NamedTuple):
    """One line without its end; `number` counts from 1. A line that is too long comes as several, `part` set."""

    number: int
    text: str
    part: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """Something bad at one place: `kind` is what is counted, `detail` what this place adds.

    `mendable`: the policy `replace` has mended the text that comes with it.
    """

    where: str
    kind: str
    detail: str = ""
    mendable: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.kind}{f' ({self.detail})' if self.detail else ''}"


class _RawLine(NamedTuple):
    """end: the byte of the file after it and its newline; of a part of a line that is still being read, None."""

    number: int
    data: bytes
    part: bool
    end: int | None


def read_lines(path: Path, reading: Reading) -> Iterator[Line]:
    """The lines of `path`: UTF-8, any of the three newlines, a byte order mark dropped, unpacked by the suffix.

    Bad lines are treated as `reading.errors` says; under `replace` a line longer than `reading.max_line_bytes` comes in
    parts. Raises `DataError` with file and line.
    """
    return sift(_decoded(path, reading), reading)


def texts_by_line(path: Path, reading: Reading) -> Iterator[str]:
    """As `read_lines`, one text for each line of the file: empty where it is skipped, its first part where it has some.

    So the n-th is line n, whatever else there is.
    """
    last = 0
    for line in sift(_decoded(path, reading), reading, instead=Line(0, "")):
        if not line.part or line.number != last:
            yield line.text
        last = line.number


def first_lines(path: Path) -> list[str]:
    """The first 1000 lines or million characters of `path`, mended: enough to recognise a format."""
    lines: list[str] = []
    size = 0
    for line in read_lines(path, Reading("replace", _SAMPLE_CHARACTERS)):
        lines.append(line.text)
        size += len(line.text)
        if len(lines) == _SAMPLE_LINES or size >= _SAMPLE_CHARACTERS:
            break
    return lines


def _decoded(path: Path, reading: Reading) -> Iterator[Line | Fault]:
    long_line = 0
    for number, data, part, _ in raw_lines(path, reading):
        where = f"{path}, line {number}"
        text, fault = decode(data, where)
        if part and number != long_line:
            fault, long_line = too_long(where, reading), number
        elif part and reading.errors != "replace":
            continue
        yield Line(number, text, part) if fault is None or mended(fault, reading) else fault


def mended(fault: Fault, reading: Reading) -> bool:
    """Whether the policy lets what comes with `fault` be used as mended; counted if so."""
    if not fault.mendable or reading.errors != "replace":
        return False
    reading.replaced[fault.kind] += 1
    return True


def sift(items: Iterable[T | Fault], reading: Reading, *, instead: T | None = None) -> Iterator[T]:
    """The good items. Faults among them are skipped and counted, or told in one `DataError`.

    instead: what comes in the place of a skipped one. The error shows the first ten and says how many there are, or
    that there are at least so many. Raises `InterruptedRunError` where a signal has come.
    """
    faults: list[Fault] = []
    num_faults = 0
    for item in items:
        raise_if_asked()
        if not isinstance(item, Fault):
            if not faults:
                yield item
        elif reading.errors == "skip":
            reading.skipped[item.kind] += 1
            if instead is not None:
                yield instead
        else:
            num_faults += 1
            if num_faults <= _FAULTS_SHOWN:
                faults.append(item)
            elif num_faults == _FAULTS_COUNTED:
                break
    if faults:
        shown = [str(fault) for fault in faults]
        rest, at_least = num_faults - len(faults), "at least " if num_faults == _FAULTS_COUNTED else ""
        more = [f"... and {at_least}{rest:,} more, {at_least}{num_faults:,} in all"] if rest else []
        replace = "'replace' to put U+FFFD for what is no text, or " if faults[0].mendable else ""
        skip = "'skip' (--errors skip) to leave out and count what is bad"
        advice = f"mend the file, or choose the errors policy {replace}{skip}"
        raise DataError("\n".join([*shown, *more, advice]))


def decode(data: bytes, where: str) -> tuple[str, Fault | None]:
    """The text of `data`, with U+FFFD for what is none, and what was wrong with it."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        detail = f"byte {error.start + 1}: 0x{data[error.start]:02x}"
        return data.decode("utf-8", "replace").replace("\0", "\ufffd"), Fault(where, "invalid UTF-8", detail, True)
    if "\0" in text:
        detail = f"column {text.index(chr(0)) + 1}"
        return text.replace("\0", "\ufffd"), Fault(where, "NUL character", detail, True)
    return text, None


def too_long(where: str, reading: Reading) -> Fault:
    """The fault of a line that does not fit."""
    return Fault(where, "line too long", f"over {reading.max_line_bytes:,} bytes; break it into lines", True)


def raw_lines(path: Path, reading: Reading) -> Iterator[_RawLine]:
    """The undecoded lines of `path`; memory is bounded by `reading.max_line_bytes`, longer lines come in parts."""
    number, rest, part = 1 + (reading.span.begin.line if reading.span else 0), b"", False
    limit, read = reading.max_line_bytes, 0
    for position, block in _blocks(path, reading):
        end, read = position - len(rest), position + len(block)
        lines = (rest + block).splitlines(keepends=True)
        # The last line may go on in the next block, or its carriage return may belong to a newline there.
        rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        for line in lines:
            data = line.rstrip(b"\r\n")
            end += len(line)
            if len(data) > limit:
                data, part = (yield from _full_parts(number, data, limit)), True
            yield _RawLine(number, data, part, end)
            number, part = number + 1, False
        data = rest.removesuffix(b"\r")
        if len(data) > limit:
            # Without its end, which would otherwise become a part of its own, and an empty one.
            rest, part = (yield from _full_parts(number, data, limit)) + rest[len(data) :], True
    if rest:
        yield _RawLine(number, rest.rstrip(b"\r\n"), part, read)


def _full_parts(number: int, data: bytes, limit: int) -> Generator[_RawLine, None, bytes]:
    """Parts of `limit` bytes off a line that is longer; returns what is left."""
    while len(data) > limit:
        end = _character_start(data, limit)
        yield _RawLine(number, data[:end], True, None)
        data = data[end:]
    return data


def _character_start(data: bytes, end: int) -> int:
    """The nearest place at or before `end` that does not cut a UTF-8 character."""
    for start in range(end, max(end - 4, 0), -1):
        if data[start] & 0xC0 != 0x80:
            return start
    return end


def _blocks(path: Path, reading: Reading) -> Iterator[tuple[int, bytes]]:
    """Pieces of the file's text, or of its span's, each with its place."""
    position, end = (0, None) if reading.span is None else (reading.span.begin.byte, reading.span.until.byte)
    with open_bytes(path) as stream:
        if position:
            stream.seek(position)
        while True:
            try:
                block = stream.read(BLOCK_BYTES if end is None else min(BLOCK_BYTES, end - position))
            except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
                raise unreadable(path, position, error) from None
            if not block:
                return
            start, position = position, position + len(block)
            if start == 0:
                refuse_foreign(path, block)
                block = block.removeprefix(b"\xef\xbb\xbf")
            reading.num_bytes += len(block)
            yield position - len(block), block


def unreadable(path: Path, position: int, error: Exception) -> DataError:
    """The error for a stream that breaks at byte `position` of its unpacked text."""
    if path.suffix.lower() not in COMPRESSIONS:
        return DataError(f"{path}: cannot be read past byte {position:,}: {error}")
    if position == 0:
        return DataError(f"{path}: expected {path.suffix} data as the name says; damaged or wrongly named: {error}")
    return DataError(f"{path}: damaged or truncated after {position:,} bytes of text: {error}; fetch it again")


def refuse_foreign(path: Path, head: bytes) -> None:
    """A `DataError` if `head`, the first bytes of `path`, shows it to be something else than UTF-8 text."""
    for signature, what in _SIGNATURES.items():
        if head.startswith(signature):
            raise DataError(f"{path}: expected UTF-8 text, found {what}")
