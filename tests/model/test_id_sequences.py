"""Sequences of ids in a run: a slow search gives the same."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.model.id_sequences import FoundSequence, IdSequences

IDS = st.lists(st.integers(1, 4), max_size=12)
SEQUENCES = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), max_size=6, unique=True)


def slowly(sequences: list[tuple[int, ...]], continuations: set[int], ids: list[int]) -> list[FoundSequence]:
    found, at = [], 0
    while at < len(ids):
        here = [
            (len(sequence), number)
            for number, sequence in enumerate(sequences)
            if tuple(ids[at : at + len(sequence)]) == sequence
            and (at + len(sequence) == len(ids) or ids[at + len(sequence)] not in continuations)
        ]
        length, number = max(here, default=(1, -1))
        if here:
            found.append(FoundSequence(at, at + length, number))
        at += length
    return found


@given(SEQUENCES, st.sets(st.integers(3, 4)), IDS)
def test_as_a_slow_search(sequences: list[tuple[int, ...]], continuations: set[int], ids: list[int]) -> None:
    found = IdSequences(sequences, frozenset(continuations)).find(np.array(ids, dtype=np.int64))
    assert found == slowly(sequences, continuations, ids)


def test_sequences_that_begin_alike_are_not_tried_one_by_one() -> None:
    class Counted(tuple[int, ...]):
        """Counts how often one of them is compared."""

        num_comparisons = 0
        __hash__ = tuple.__hash__

        def __eq__(self, other: object) -> bool:
            Counted.num_comparisons += 1
            return tuple.__eq__(self, other)

    sequences = IdSequences([Counted((1, 2 + number)) for number in range(1000)], frozenset())
    Counted.num_comparisons = 0
    assert len(sequences.find(np.array([1, 900] * 10))) == 10
    assert Counted.num_comparisons <= 20
