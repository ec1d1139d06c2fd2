"""Training and validation rows apart: the same for the same seed, by class, with equal texts on one side."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bertsmith.errors import DataError


@dataclass(frozen=True, slots=True)
class Split:
    """Row indices of both sides, ascending, and what a reader of the results should know.

    single: labels with one text alone, which is in training; absent: further labels without a validation row.
    num_repeats: rows with the text of an earlier one.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    single: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    num_repeats: int = 0

    def warnings(self, told: Collection[str] = ()) -> list[str]:
        """A sentence each. told: labels that were called rare already."""
        single, absent = ([label for label in labels if label not in told] for labels in (self.single, self.absent))
        found = []
        if single:
            found.append(f"classes with a single text, all in training: {', '.join(map(repr, single))}")
        if absent:
            found.append(f"classes without a validation row, being too small: {', '.join(map(repr, absent))}")
        if self.num_repeats:
            found.append(f"{self.num_repeats} rows repeat the text of another; equal texts were kept on one side")
        return found


def split_rows(texts: Sequence[str], labels: Sequence[str] | None, fraction: float, seed: int) -> Split:
    """About `fraction` of the rows, of each class its share, for validation; `labels=None` for rows without classes.

    Rows whose texts are equal up to case, white space and Unicode form stay on one side. Which texts go where depends
    on the seed and the texts, not on the order of the rows. A class with a single text stays in training. Raises
    `DataError` where a side would be empty.
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
    single = sorted(label for label, members in groups.items() if len(members) == 1)
    absent = sorted({*labels} - {labels[i] for i in validation} - {*single}) if labels is not None else []
    return Split(
        train,
        np.array(sorted(validation), dtype=np.int64),
        tuple(single if labels is not None else ()),
        tuple(absent),
        sum(len(rows) - 1 for members in groups.values() for rows in members),
    )


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


def normalized(text: str) -> str:
    """A text up to case, white space and Unicode form: equal ones are taken for the same."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
