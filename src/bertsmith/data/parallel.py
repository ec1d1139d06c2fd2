"""Texts and their translations: lines of several files that belong together by their numbers, or rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from bertsmith.data.lines import Reading, texts_by_line
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

    Raises `DataError` for a line beyond the end of another file, a blank one aside, and for files that hold nothing
    together.
    """
    assert len(paths) > 1
    found = False
    for number, lines in enumerate(zip_longest(*(texts_by_line(path, reading) for path in paths)), start=1):
        texts = tuple((line or "").strip() for line in lines)
        if all(texts):
            found = True
            yield Translations(texts, paths[0], number)
        elif any(texts):
            _refuse_longer(paths, number, lines)
            reading.skipped[UNTRANSLATED] += 1
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


def _refuse_longer(paths: Sequence[Path], number: int, lines: Sequence[str | None]) -> None:
    """lines: of this number in each file; None where it has ended."""
    ended = next((path for path, line in zip(paths, lines, strict=True) if line is None), None)
    if ended is not None:
        longer = next(path for path, line in zip(paths, lines, strict=True) if line and line.strip())
        raise DataError(
            f"{longer}: line {number:,} has no translation, {ended} ends before it; parallel files have one line for "
            "each line of the others"
        )
