"""The store: BM25 by hand, filters, changes as a whole, and what is no index."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bertsmith.errors import DataError, FileFormatError
from bertsmith.search.documents import Document
from bertsmith.search.filters import conditions_of
from bertsmith.search.store import FILE, NewPassage, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path, {"width": 2})
    yield made
    made.close()


def put(store: Store, id_: str, *pieces: int, **metadata: str | int | float | bool) -> None:
    vector = np.array([1.0, 0.0], dtype=np.float32)
    store.put([(Document(id_, "text", "", metadata), [NewPassage(0, 4, np.array(pieces), vector)])])


def test_bm25_is_the_one_worked_by_hand(store: Store) -> None:
    for id_, pieces in {"a": (7, 8), "b": (8, 9, 9, 9), "c": (5, 5), "d": (6, 6, 6, 6)}.items():
        put(store, id_, *pieces)
    # Passages 4, their mean length 3. Piece 7 is in 1 of them: its weight is ln((4 - 1 + 0.5) / (1 + 0.5)) = 0.8473.
    # Once in 2 pieces: 2.2 / (1 + 1.2 * (0.25 + 0.75 * 2 / 3)) = 2.2 / 1.9 = 1.1579; together 0.9811.
    ((number, score),) = store.by_words([7], 10, [])
    assert number == 1
    assert score == pytest.approx(math.log(3.5 / 1.5) * 2.2 / 1.9)
    # Piece 9, three times in 4: 3 * 2.2 / (3 + 1.2 * (0.25 + 0.75 * 4 / 3)) = 6.6 / 4.5.
    ((number, score),) = store.by_words([9], 10, [])
    assert (number, score) == (2, pytest.approx(math.log(3.5 / 1.5) * 6.6 / 4.5))
    assert [number for number, _ in store.by_words([7, 9], 10, [])] == [2, 1]


def test_pieces_of_most_passages_are_asked_for_only_where_others_find_too_little(store: Store) -> None:
    for id_, pieces in {"a": (5, 6), "b": (5, 7), "c": (5, 5), "d": (5, 6)}.items():
        put(store, id_, *pieces)
    assert [number for number, _ in store.by_words([5, 6], 2, [])] == [1, 4]
    assert [number for number, _ in store.by_words([5, 6], 10, [])] == [1, 4, 3, 2]
    assert [number for number, _ in store.by_words([5], 1, [])] == [3]


def test_passages_are_counted_once_a_revision(store: Store) -> None:
    put(store, "a", 5, 6)
    put(store, "b", 5)
    said: list[str] = []
    store._connection.set_trace_callback(said.append)
    assert [[number for number, _ in store.by_words([6], 1, [])] for _ in range(3)] == [[1]] * 3
    assert sum("count(*) FROM passages" in one for one in said) == 1
    another = Store(store.path.parent)  # as another process
    put(another, "c", 6)
    another.close()
    assert store._telling(["p5", "p6"]) == []
    put(store, "d", 7)
    assert store._telling(["p5", "p6"]) == ["p5", "p6"]
    assert sum("count(*) FROM passages" in one for one in said) == 3


def test_pieces_are_told_apart_whatever_their_digits(store: Store) -> None:
    for id_, piece in {"a": 1, "b": 11, "c": 111, "d": 21}.items():
        put(store, id_, piece)
    assert [number for number, _ in store.by_words([11], 10, [])] == [2]
    assert store.by_words([], 10, []) == []


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, [1, 2, 3]),
        ({"year": 2024}, [1]),
        ({"year": [2024, 1999]}, [1, 2]),
        ({"year": {"gte": 1999, "lt": 2024}}, [2]),
        ({"lang": "en", "year": {"gt": 0}}, [1]),
        ({"is_new": True}, [3]),
        ({"nothing": 1}, []),
        ({'a "quoted"\\name': "x"}, [3]),
        ({"语言": "中文"}, [3]),
        ({"two\nlines": {"lt": 3}}, [3]),
        ({"lang": "' OR 1=1 --"}, []),
        ({"a\0b": 1}, []),
    ],
)
def test_filters_narrow(store: Store, filters: dict[str, object], found: list[int]) -> None:
    put(store, "a", 5, year=2024, lang="en")
    put(store, "b", 5, year=1999, lang="de")
    put(store, "c", 5, is_new=True, **{'a "quoted"\\name': "x", "语言": "中文", "two\nlines": 2})
    conditions = conditions_of(filters)
    assert store.numbers(conditions).tolist() == found
    assert sorted(number for number, _ in store.by_words([5], 10, conditions)) == found


def test_a_filter_that_says_nothing_clear_is_refused() -> None:
    with pytest.raises(DataError, match="no border 'ge'; did you mean 'gte'"):
        conditions_of({"year": {"ge": 1}})
    with pytest.raises(DataError, match="expected a text, a number or true or false"):
        conditions_of({"year": [None]})
    for filters in ({"year": 2**63}, {"year": [1, -(2**70)]}, {"year": {"lt": 2**63}}):
        with pytest.raises(DataError, match="beyond the whole numbers of 64 bits"):
            conditions_of(filters)
    with pytest.raises(DataError, match="101 filters, at most 100"):
        conditions_of({str(number): 1 for number in range(101)})
    with pytest.raises(DataError, match="more than 10,000 values"):
        conditions_of({"a": range(6_000), "b": range(6_000)})


def test_as_many_filters_as_are_taken_are_answered(store: Store) -> None:
    put(store, "a", 5, year=2024)
    every = conditions_of(
        {"year": [2024] * 9_900, **{str(n): {"gt": 0, "gte": 0, "lt": 1, "lte": 1} for n in range(99)}}
    )
    assert store.numbers(every).tolist() == []
    assert store.numbers(conditions_of({"year": {"lt": 2**63 - 1, "gt": -(2**63 - 1)}})).tolist() == [1]


def test_a_changed_document_takes_the_place_of_its_former_self(store: Store) -> None:
    put(store, "a", 5)
    put(store, "b", 5)
    before = store.revision
    put(store, "a", 6)
    assert store.revision == before + 1
    assert store.num_documents == store.num_passages == 2
    assert [number for number, _ in store.by_words([6], 10, [])] == [3], "a number is given once"
    assert store.delete(["a", "nobody"]) == 1
    assert store.numbers().tolist() == [2]
    assert store.by_words([6], 10, []) == []


def test_a_change_that_fails_leaves_nothing(store: Store) -> None:
    put(store, "a", 5)
    bad = NewPassage(0, 4, np.array([5]), np.array([1.0, 0.0], dtype=np.float32))
    with pytest.raises(Exception, match="NOT NULL"):
        store.put([(Document("b", "text"), [bad]), (Document("c", None), [])])  # type: ignore[arg-type]
    assert store.num_documents == 1
    assert store.sha256_of(["a", "b"]).keys() == {"a"}


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="no index there"):
        Store(tmp_path)
    (tmp_path / FILE).write_bytes(b"not a database at all" * 100)
    with pytest.raises(FileFormatError, match="not an index, or damaged"):
        Store(tmp_path)


def test_a_damaged_page_is_a_clear_error(tmp_path: Path) -> None:
    made = Store(tmp_path, {"width": 2})
    for number in range(50):
        put(made, str(number), *range(100))
    made.close()
    data = bytearray((tmp_path / FILE).read_bytes())
    data[8192:] = b"\xff" * (len(data) - 8192)
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(FileFormatError, match="damaged"):
        opened = Store(tmp_path)
        with opened.reading():
            opened.by_words([5], 100, [])
            opened.vectors_after(0, 2)
