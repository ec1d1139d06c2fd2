"""Several sets of samples as one, the small ones drawn more often than their size says. Knows not what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from bertsmith.text.languages import sampling_shares

Sample = TypeVar("Sample")


class Mixture(Sequence[Sample], Generic[Sample]):
    """An epoch of several parts in which a part of n samples has a share ~ n^alpha (Conneau et al. 2020, section 3.1).

    counts: [parts], how many places of an epoch each part has: the largest part stands in it once, a smaller one is
    repeated as often as its share asks, each of its samples as often as any other, or once more. A repeated sample has
    several indices, and so draws masks of its own at each place. All of it is a function of the sizes and of alpha, so
    that order, resume and workers are as they are for one corpus.

    >>> len(Mixture([range(900), range(100)], alpha=0.5)), Mixture([range(900), range(100)], alpha=0.5).counts.tolist()
    (1200, [900, 300])
    """

    def __init__(self, parts: Sequence[Sequence[Sample]], alpha: float):
        self.parts = parts
        self.counts = epoch_counts([len(part) for part in parts], alpha)
        self._ends = np.cumsum(self.counts)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        place = index % len(self)
        number = int(np.searchsorted(self._ends, place, side="right"))
        within = place - int(self._ends[number] - self.counts[number])
        part = self.parts[number]
        # Spread over the part: each sample gets as many places as any other, give or take one.
        return part[within * len(part) // int(self.counts[number])]


def epoch_counts(sizes: Sequence[int], alpha: float) -> NDArray[np.int64]:
    """[parts]: places of an epoch for parts of these sizes; the part that is repeated least has one for each sample."""
    shares = sampling_shares(sizes, alpha)
    epoch = (np.asarray(sizes) / shares).max()
    counts: NDArray[np.int64] = np.maximum(np.rint(shares * epoch).astype(np.int64), sizes)
    return counts
