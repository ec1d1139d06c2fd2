"""Reviews from a table, and a vector for each: what all parts of the analysis begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bertsmith.data.readers import Row, read_table
from bertsmith.errors import DataError, nearest
from bertsmith.text.sentences import split_sentences

Vectors: TypeAlias = NDArray[np.float32]
COLUMNS = ("user", "item", "date", "stars", "text")


@dataclass(frozen=True)
class Review:
    """day: when it was written, as a number of days, so that two can be compared. stars: 1 to 5."""

    user: str
    item: str
    day: int
    stars: float
    text: str

    @property
    def liked(self) -> bool:
        return self.stars >= 4

    def sentences(self) -> list[str]:
        return [self.text[start:end] for start, end in split_sentences(self.text)]


def read_reviews(path: Path) -> list[Review]:
    """The reviews in a CSV, TSV, JSONL or Parquet file with `COLUMNS`, oldest first; dates as 2024-05-31."""
    return sorted((_review(row) for row in read_table(path)), key=lambda review: review.day)


def _review(row: Row) -> Review:
    missing = [name for name in COLUMNS if row.values.get(name) in (None, "")]
    if missing:
        raise DataError(f"{row.where}: no {' and no '.join(missing)}; a review has {', '.join(COLUMNS)}")
    values = row.values
    try:
        day, stars = date.fromisoformat(str(values["date"])[:10]).toordinal(), float(values["stars"])
    except ValueError as error:
        raise DataError(f"{row.where}: {error}; write dates as 2024-05-31 and stars as numbers from 1 to 5") from None
    if not 1 <= stars <= 5:
        raise DataError(f"{row.where}: {stars:g} stars; expected 1 to 5")
    return Review(str(values["user"]), str(values["item"]), day, stars, str(values["text"]))


def of_item(reviews: Sequence[Review], item: str) -> list[Review]:
    """The reviews of one item, which must have some."""
    found = [review for review in reviews if review.item == item]
    if not found:
        raise DataError(f"no reviews of {item!r}; {nearest(item, {review.item for review in reviews})}")
    return found


def unit(vectors: Vectors) -> Vectors:
    """Each of [..., H] with length 1, so that a product is a cosine; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
