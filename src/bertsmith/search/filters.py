"""Filters: what a document's metadata has to be, as a mapping, read once and said in each store's own way.

{"year": 2024}, {"language": ["en", "de"]}, {"year": {"gte": 2020, "lt": 2025}}: all of them have to hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bertsmith.errors import DataError, nearest

BORDERS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
MOST_NAMES, MOST_VALUES = 100, 10_000
"""Of a query, together: stores have limits of their own, which they tell less clearly."""
LARGEST_NUMBER = 2**63 - 1
"""A whole number of 64 bits, as stores have them."""


@dataclass(frozen=True, slots=True)
class Condition:
    """name: of a fact. among: it is one of these; None: any. borders: `gt`, `gte`, `lt` or `lte`, with a value."""

    name: str
    among: tuple[Any, ...] | None = None
    borders: tuple[tuple[str, Any], ...] = ()


def conditions_of(filters: Mapping[str, Any] | None) -> list[Condition]:
    """Raises `DataError` for a filter that says nothing clear."""
    if len(filters or {}) > MOST_NAMES:
        raise DataError(f"{len(filters or {}):,} filters, at most {MOST_NAMES} are taken at once")
    found, num_values = [], 0
    for name, wanted in (filters or {}).items():
        if isinstance(wanted, Mapping):
            for border, value in wanted.items():
                if border not in BORDERS:
                    raise DataError(f"filter {name!r}: no border {border!r}; {nearest(str(border), BORDERS)}")
                _check(name, value)
            found.append(Condition(name, borders=tuple(wanted.items())))
        else:
            values = tuple(wanted) if isinstance(wanted, Sequence) and not isinstance(wanted, str) else (wanted,)
            num_values += len(values)
            if num_values > MOST_VALUES:
                raise DataError(f"filter {name!r:.60}: more than {MOST_VALUES:,} values in all filters")
            for value in values:
                _check(name, value)
            found.append(Condition(name, among=values))
    return found


def _check(name: str, value: Any) -> None:
    if not isinstance(value, str | int | float | bool):
        raise DataError(f"filter {name!r}: expected a text, a number or true or false, found {value!r:.60}")
    if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
        raise DataError(f"filter {name!r:.60}: {value!r:.40} is beyond the whole numbers of 64 bits")
