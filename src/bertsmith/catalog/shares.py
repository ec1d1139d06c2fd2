"""Train and test rows out of one file, for data sets that were published without a division; the same everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bertsmith.data.lines import Reading
from bertsmith.data.readers import Row

TEST_FRACTION = 0.1


def share(
    read: Callable[[Path, Reading], Iterator[Row]], keys_of: Callable[[Row], Sequence[str]], *, test: bool
) -> Callable[[Path, Reading], Iterator[Row]]:
    """A reader of one side of the file: a tenth for the test, else the rest.

    Rows that have a key in common, be it through others, fall on one side, which depends on their keys alone.
    """

    def read_share(path: Path, reading: Reading) -> Iterator[Row]:
        rows = list(read(path, reading))
        parent: dict[str, str] = {}
        for row in rows:
            first, *others = keys_of(row)
            for other in others:
                # The smallest key stands for all, whatever the order of the rows.
                low, high = sorted((_root(parent, first), _root(parent, other)))
                if low != high:
                    parent[high] = low
        for row in rows:
            if _is_test(_root(parent, keys_of(row)[0])) == test:
                yield row

    return read_share


def _root(parent: dict[str, str], key: str) -> str:
    while key in parent:
        key = parent[key]
    return key


def _is_test(key: str) -> bool:
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < TEST_FRACTION * 2**64
