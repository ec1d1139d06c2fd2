"""Training and validation rows apart: the same for the same seed, by class, with equal texts on one side."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bertsmith.errors import DataError


@dataclass(frozen=True, slots=True)
class Split:
    """Row indices of both sides, ascending, and what a reader of the results should know."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    warnings: tuple[str, ...]


def split_rows(texts: Sequence[str], labels: Sequence[str] | None, fraction: float, seed: int) -> Split:
    """About `fraction` of the rows, of each class its share, for validation; `labels=None` for rows without classes.

    Rows whose texts are equal up to case, white space and Unicode form stay on one side. Which texts go where depends
    on the seed and the texts, not on the order of the rows. A class with a single text stays in training, with a
    warning. Raises `DataError` where a side would be empty.
    """
    assert 0 < fraction < 1
    groups = _groups(texts, labels)
    sizes = {label: sum(map(len, members)) for label, members in groups.items()}
    wanted = _shares(sizes, fraction)
    validation: list[int] = []
    for label, members in groups.items():
        room = wanted[label]
        for rows in sorted(members, key=lambda rows: _digest(f"{seed}\0{normalized(texts[rows[0]])}"))[1:]:
            if len(rows) <= room:
                validation += rows
                room -= len(rows)
    train = np.setdiff1d(np.arange(len(texts)), validation)
    if not validation or not len(train):
        raise DataError(
            f"{len(texts)} rows with {sum(map(len, groups.values()))} different texts are too few to split off "
            f"{fraction:.0%} for validation; give a validation file"
        )
    return Split(train, np.array(sorted(validation), dtype=np.int64), tuple(_warnings(groups, labels, validation)))


def leaked(train_texts: Iterable[str], other_texts: Iterable[str]) -> int:
    """How many of `other_texts` also occur in `train_texts`, up to case, white space and Unicode form."""
    seen = {_digest(normalized(text)) for text in train_texts}
    return sum(_digest(normalized(text)) in seen for text in other_texts)


def _groups(texts: Sequence[str], labels: Sequence[str] | None) -> dict[str, list[list[int]]]:
    """Rows with equal texts, by the most frequent label of the group."""
    rows_of: defaultdict[bytes, list[int]] = defaultdict(list)
    for i, text in enumerate(texts):
        rows_of[_digest(normalized(text))].append(i)
    groups: defaultdict[str, list[list[int]]] = defaultdict(list)
    for rows in rows_of.values():
        counts = Counter(labels[i] for i in rows) if labels is not None else Counter([""])
        groups[min(counts, key=lambda label: (-counts[label], label))].append(rows)
    return dict(groups)


def _shares(sizes: dict[str, int], fraction: float) -> dict[str, int]:
    """Whole numbers of rows that add up to `fraction` of all, by largest remainder."""
    exact = {label: size * fraction for label, size in sizes.items()}
    shares = {label: int(value) for label, value in exact.items()}
    missing = max(1, round(fraction * sum(sizes.values()))) - sum(shares.values())
    by_remainder = sorted(exact, key=lambda label: (shares[label] - exact[label], label))
    for label in by_remainder[: max(0, missing)]:
        shares[label] += 1
    return shares


def _warnings(groups: dict[str, list[list[int]]], labels: Sequence[str] | None, validation: list[int]) -> list[str]:
    warnings = []
    if labels is not None:
        single = sorted(label for label, members in groups.items() if len(members) == 1)
        if single:
            warnings.append(f"classes with a single text, all in training: {', '.join(map(repr, single))}")
        absent = sorted(set(labels) - {labels[i] for i in validation} - set(single))
        if absent:
            warnings.append(f"classes without a validation row, being too small: {', '.join(map(repr, absent))}")
    repeated = sum(len(rows) - 1 for members in groups.values() for rows in members)
    if repeated:
        warnings.append(f"{repeated} rows repeat the text of another; equal texts were kept on one side")
    return warnings


def normalized(text: str) -> str:
    """A text up to case, white space and Unicode form: equal ones are taken for the same."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
