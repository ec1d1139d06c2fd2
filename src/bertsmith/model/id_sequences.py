"""Known sequences of ids found in a run of ids: whole words, the longest first, none over another. Knows no text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FoundSequence:
    """Sequence `number` stands at places `start` to `end` of the run."""

    start: int
    end: int
    number: int


class IdSequences:
    """sequences: none empty, each once. continuations: ids of pieces that go on a word; none follows a match."""

    def __init__(self, sequences: Sequence[tuple[int, ...]], continuations: frozenset[int]):
        assert len(set(sequences)) == len(sequences)
        self._numbers = {sequence: number for number, sequence in enumerate(sequences)}
        lengths: defaultdict[int, set[int]] = defaultdict(set)
        for sequence in sequences:
            lengths[sequence[0]].add(len(sequence))
        self._lengths = {first: sorted(own, reverse=True) for first, own in lengths.items()}
        self._firsts = np.array(sorted(lengths), dtype=np.int64)
        self._continuations = continuations

    def find(self, ids: NDArray[Any]) -> list[FoundSequence]:
        """From left to right; where several begin, the longest.

        >>> IdSequences([(7,), (7, 8)], frozenset({9})).find(np.array([7, 8, 7, 9, 7]))
        [FoundSequence(start=0, end=2, number=1), FoundSequence(start=4, end=5, number=0)]
        """
        found: list[FoundSequence] = []
        run, reached = ids.tolist(), 0
        for start in np.flatnonzero(np.isin(ids, self._firsts)).tolist():
            if start < reached:
                continue
            for length in self._lengths[run[start]]:
                here = tuple(run[start : start + length])  # fewer at the end of the run
                number, end = self._numbers.get(here), start + len(here)
                if number is not None and (end == len(run) or run[end] not in self._continuations):
                    found.append(FoundSequence(start, end, number))
                    reached = end
                    break
        return found
