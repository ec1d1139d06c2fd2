"""One file dealt out to training and test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from bertsmith.catalog.shares import TEST_FRACTION, share
from bertsmith.data.lines import Reading
from bertsmith.data.readers import Row

KEY = st.integers(0, 30).map(str)


def sides(pairs: list[tuple[str, ...]]) -> tuple[list[Row], list[Row]]:
    def read(path: Path, reading: Reading) -> Iterator[Row]:
        return (Row({"keys": pair}, path, number) for number, pair in enumerate(pairs, start=1))

    def keys_of(row: Row) -> tuple[str, ...]:
        keys: tuple[str, ...] = row.values["keys"]
        return keys

    train, test = (share(read, keys_of, test=test)(Path("a"), Reading()) for test in (False, True))
    return list(train), list(test)


@given(st.lists(st.tuples(KEY, KEY), max_size=40), st.randoms())
def test_no_key_is_on_both_sides_and_no_row_is_lost_whatever_the_order(
    pairs: list[tuple[str, str]], random: Random
) -> None:
    train, test = sides(list(pairs))
    keys = [{key for row in side for key in row.values["keys"]} for side in (train, test)]
    assert not keys[0] & keys[1]
    assert sorted(row.number for row in train + test) == list(range(1, len(pairs) + 1))
    shuffled = random.sample(pairs, len(pairs))
    assert sorted(row.values["keys"] for row in sides(shuffled)[1]) == sorted(row.values["keys"] for row in test)


def test_about_a_tenth_is_held_out() -> None:
    test = sides([(f"text {i}",) for i in range(2000)])[1]
    assert abs(len(test) / 2000 - TEST_FRACTION) < 0.02


def test_keys_hang_together_through_others() -> None:
    """Each pair shares a key with the next one, so all are on one side."""
    train, test = sides([(str(i), str(i + 1)) for i in range(200)])
    assert not train or not test
