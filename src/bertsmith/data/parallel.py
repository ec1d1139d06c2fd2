"""Texts and their translations: lines of several files that belong together by their numbers, or rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bertsmith.data.lines import Line, Reading, read_lines
from bertsmith.data.readers import TABLE_SUFFIXES, read_table
from bertsmith.errors import DataError, SettingsError, nearest
from bertsmith.files import bare_suffix

UNTRANSLATED = "line without a translation"
"""What `Reading.skipped` counts: a line that is blank, or was skipped, in one of the files."""


@dataclass(frozen=True, slots=True)
class Translations:
    """texts: one in each language, none blank. path, line: where the first stands, a row's number in a table."""

    texts: tuple[str, ...]
    path: Path
    line: int


def read_parallel(paths: Sequence[Path], reading: Reading) -> Iterator[Translations]:
    """The lines of two or more files, those of one number together; where one is blank or bad, all are skipped.

    Raises `DataError` for files of different lengths, and for such as hold nothing together.
    """
    assert len(paths) > 1
    streams = [read_lines(path, reading) for path in paths]
    lines = [next(stream, None) for stream in streams]
    last, found = 0, False
    while all(line is not None for line in lines):
        here = [line for line in lines if line is not None]
        last = max(line.number for line in here)
        if all(line.number == last for line in here):
            texts = tuple(line.text.strip() for line in here)
            if all(texts):
                found = True
                yield Translations(texts, paths[0], last)
            elif any(texts):
                reading.skipped[UNTRANSLATED] += 1
            last += 1
        else:
            reading.skipped[UNTRANSLATED] += 1
        lines = [_from(last, line, stream) for line, stream in zip(here, streams, strict=True)]
    _refuse_longer(paths, lines)
    if not found:
        raise DataError(f"{paths[0]}: no line with a translation in {', '.join(map(str, paths[1:]))}")


def read_translations(files: Sequence[Path], columns: Sequence[str], reading: Reading) -> Iterator[Translations]:
    """Pairs from two files of parallel lines, or from two columns of one table, its first two unless named.

    Raises `SettingsError` for another number of files, `DataError` for a table without such columns.
    """
    if len(files) == 2 and not columns:
        yield from read_parallel(files, reading)
        return
    if len(files) != 1 or bare_suffix(files[0]) not in TABLE_SUFFIXES or len(columns) not in (0, 2):
        raise SettingsError(
            f"translations come in two files of parallel lines, or in two columns of one table "
            f"({', '.join(TABLE_SUFFIXES)}), which columns may name; found {len(files)} files, {len(columns)} columns"
        )
    names, found = tuple(columns), False
    for row in read_table(files[0], reading):
        names = names or tuple(row.values)[:2]
        missing = [name for name in names if name not in row.values]
        if missing or len(names) < 2:
            what = f"no column {missing[0]!r}; {nearest(missing[0], row.values)}" if missing else "only one column"
            raise DataError(f"{row.where}: {what}")
        texts = tuple(str(row.values[name] or "").strip() for name in names)
        if all(texts):
            found = True
            yield Translations(texts, files[0], row.number)
        elif any(texts):
            reading.skipped[UNTRANSLATED] += 1
    if not found:
        raise DataError(f"{files[0]}: no row with texts in both {names[0]!r} and {names[1]!r}")


def _from(number: int, line: Line, stream: Iterator[Line]) -> Line | None:
    """The first line from `number` on; a line that comes in parts counts by its first."""
    following: Line | None = line
    while following is not None and following.number < number:
        following = next(stream, None)
    return following


def _refuse_longer(paths: Sequence[Path], lines: Sequence[Line | None]) -> None:
    ended = next(path for path, line in zip(paths, lines, strict=True) if line is None)
    for path, line in zip(paths, lines, strict=True):
        if line is not None:
            raise DataError(
                f"{path}: line {line.number:,} has no translation, {ended} ends before it; parallel files have one "
                "line for each line of the others"
            )
