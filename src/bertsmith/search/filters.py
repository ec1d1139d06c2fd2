"""Filters: what a document's metadata has to be, as a mapping, read once and said in each store's own way.

{"year": 2024}, {"language": ["en", "de"]}, {"year": {"gte": 2020, "lt": 2025}}: all of them have to hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bertsmith.errors import DataError, nearest

BORDERS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


@dataclass(frozen=True, slots=True)
class Condition:
    """name: of a fact. among: it is one of these; None: any. borders: `gt`, `gte`, `lt` or `lte`, with a value."""

    name: str
    among: tuple[Any, ...] | None = None
    borders: tuple[tuple[str, Any], ...] = ()


def conditions_of(filters: Mapping[str, Any] | None) -> list[Condition]:
    """Raises `DataError` for a filter that says nothing clear."""
    found = []
    for name, wanted in (filters or {}).items():
        if isinstance(wanted, Mapping):
            for border, value in wanted.items():
                if border not in BORDERS:
                    raise DataError(f"filter {name!r}: no border {border!r}; {nearest(str(border), BORDERS)}")
                _check(name, value)
            found.append(Condition(name, borders=tuple(wanted.items())))
        else:
            values = tuple(wanted) if isinstance(wanted, Sequence) and not isinstance(wanted, str) else (wanted,)
            for value in values:
                _check(name, value)
            found.append(Condition(name, among=values))
    return found


def _check(name: str, value: Any) -> None:
    if not isinstance(value, str | int | float | bool):
        raise DataError(f"filter {name!r}: expected a text, a number or true or false, found {value!r:.60}")
