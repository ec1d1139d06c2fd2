"""Where a verb speaks: tables and sentences for people, one JSON document for scripts. Knows no verb."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bertsmith.runtime.processes import speaks
from bertsmith.runtime.progress import Progress, number, progress_for


class Output:
    """Human output on stdout and progress on stderr; with `as_json` the result alone on stdout, all else on stderr.

    Of several processes only the first one speaks.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False):
        self.as_json = as_json and speaks()
        self.quiet = quiet or not speaks()
        self.progress: Progress = progress_for(sys.stderr, quiet=self.quiet)

    def say(self, text: str) -> None:
        """A line for people."""
        if not self.quiet:
            print(text, file=self._human)

    def styled(self, parts: Iterable[tuple[str, str]]) -> None:
        """A text of stretches with a style each, as rich names styles; plain where there is no terminal."""
        if self.quiet:
            return
        if not self._human.isatty():
            print("".join(text for text, _ in parts), file=self._human)
            return
        Console(file=self._human, markup=False, highlight=False).print(Text.assemble(*parts))

    def table(self, title: str, rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> None:
        """A table for people: drawn on a terminal, its title and tab-separated lines elsewhere."""
        if self.quiet:
            return
        cells = [[cell(value) for value in row] for row in rows]
        if not self._human.isatty():
            for line in [[title], list(header), *cells]:
                if line:
                    print("\t".join(line), file=self._human)
            return
        table = Table(title=title, title_justify="left", title_style="bold", show_header=bool(header))
        for column in header or ("",) * max(map(len, cells), default=0):
            table.add_column(column)
        for line in cells:
            table.add_row(*line)
        Console(file=self._human, markup=False).print(table)

    def facts(self, title: str, facts: Mapping[str, Any]) -> None:
        """Named facts for people, a row each; nested ones under dotted names, empty ones left out."""
        self.table(title, rows_of(facts))

    def result(self, value: Any) -> None:
        """What the verb found: the one JSON document, where it was asked for."""
        if self.as_json:
            print(json.dumps(value, ensure_ascii=False, allow_nan=False, default=_jsonable), file=sys.stdout)

    @property
    def _human(self) -> TextIO:
        return sys.stderr if self.as_json else sys.stdout


def rows_of(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    """Nested facts as rows of two.

    >>> rows_of({"kind": "corpus", "skipped": {"blank": 3}, "note": None})
    [('kind', 'corpus'), ('skipped.blank', 3)]
    """
    rows: list[tuple[str, object]] = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            rows += rows_of(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple) and any(isinstance(part, str) and " " in part for part in value):
            rows += [(prefix + name, part) for part in value]  # sentences: a line each
        elif isinstance(value, list | tuple):
            rows += [(prefix + name, ", ".join(map(cell, value)))] if value else []
        elif value is not None:
            rows.append((prefix + name, value))
    return rows


def cell(value: object) -> str:
    """A value as people read it in a table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def _jsonable(value: object) -> object:
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} in a verb's result")
