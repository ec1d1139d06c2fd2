"""Learning merges: which two neighbouring pieces become one, again and again, over all words at once.

The words lie in flat arrays, one element a character, and are merged in place. Knows pieces and counts, not files or
special tokens.

Shapes: N is the number of characters in all distinct words; every array is [N] unless noted.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bertsmith.text.vocabulary import CONTINUATION_PREFIX

Criterion: TypeAlias = Literal["frequency", "likelihood"]
Positions: TypeAlias = NDArray[np.int32]

NONE: Final = -1  # no neighbour on this side; no piece here any more
PAIR_SHIFT: Final = 32  # a pair of piece numbers is one integer: left << 32 | right
RIGHT_MASK: Final = (1 << PAIR_SHIFT) - 1
SLACK_ENTRIES: Final = 1 << 20

# The score of a pair from how often it and its left and right pieces occur. Counts are exact and quotients correctly
# rounded, so equal scores compare equal.
SCORES: Final[dict[Criterion, Callable[[int, int, int], float]]] = {
    "frequency": lambda pair, left, right: pair,
    "likelihood": lambda pair, left, right: pair / (left * right),
}

_Entry: TypeAlias = tuple[float, str, str, int]  # negative bound of the score, left token, right token, pair


class MergeLearner:
    """Words as pieces: single characters at first, fewer and longer with every merge.

    words: distinct, none empty; counts: int64 [number of words]. criterion: `frequency` merges the most frequent pair;
    `likelihood` the one with the largest count(ab) / (count(a) count(b)), which gains most for a unigram model of the
    text (Schuster and Nakajima, 2012). Equals go by the pair's strings, so nothing depends on the order of `words`.
    min_frequency: pairs that occur less often are never merged.
    """

    def __init__(self, words: Sequence[str], counts: NDArray[np.int64], criterion: Criterion, min_frequency: int):
        self.score = SCORES[criterion]
        self.rarer_scores_higher = criterion == "likelihood"
        self.min_frequency = min_frequency
        lengths = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
        ends = np.cumsum(lengths)
        characters = np.frombuffer("".join(words).encode("utf-32-le"), dtype=np.uint32).astype(np.int64)
        is_first = np.zeros(len(characters), dtype=np.bool_)
        is_first[ends - lengths] = True
        forms, pieces = np.unique(characters * 2 + ~is_first, return_inverse=True)
        self.tokens = [CONTINUATION_PREFIX * (form & 1) + chr(form >> 1) for form in forms.tolist()]
        self.numbers = {token: number for number, token in enumerate(self.tokens)}

        # Of each piece, at the position of its first character: which it is, its neighbours', its word's count.
        self.piece = pieces.astype(np.int32)
        index = np.arange(len(characters), dtype=np.int32)
        self.previous = np.where(is_first, NONE, index - 1).astype(np.int32)
        self.next = index + 1
        self.next[ends - 1] = NONE
        self.weight = np.repeat(counts, lengths)

        order = np.argsort(self.piece, kind="stable").astype(np.int32)
        # By piece: its positions, ascending. Some are stale; `_positions` sorts them out when it comes by.
        self.positions = np.split(order, np.cumsum(np.bincount(self.piece))[:-1])
        self.totals: list[int] = np.bincount(self.piece, weights=self.weight).astype(np.int64).tolist()
        left = index[self.next != NONE]
        keys, sums = _sums(self._keys(left, self.next[left]), self.weight[left])
        self.pairs: dict[int, int] = dict(zip(keys, sums, strict=True))
        self.heap: list[_Entry] = []
        self._rebuild_heap()

    def new_tokens(self) -> Iterator[str]:
        """Merge the best pair, then the next, while there is one; every token that this makes for the first time."""
        while (pair := self._pop_best()) is not None:
            left, right = pair >> PAIR_SHIFT, pair & RIGHT_MASK
            token = self.tokens[left] + self.tokens[right].removeprefix(CONTINUATION_PREFIX)
            is_new = token not in self.numbers
            if is_new:
                self.numbers[token] = len(self.tokens)
                self.tokens.append(token)
                self.positions.append(np.empty(0, dtype=np.int32))
                self.totals.append(0)
            self._merge(left, right, self.numbers[token])
            if is_new:
                yield token

    def _merge(self, left: int, right: int, merged: int) -> None:
        first = self._pair_positions(left, right)
        second = self.next[first]
        weight = self.weight[first]
        del self.pairs[left << PAIR_SHIFT | right]

        # Where two merges are neighbours, the pair between them is counted once: as the left side of the second.
        before, after = self.previous[first], self.next[second]
        has_before = before != NONE
        has_after = after != NONE
        has_after[:-1] &= after[:-1] != first[1:]
        self._subtract(
            np.concatenate(
                [self._keys(before[has_before], first[has_before]), self._keys(second[has_after], after[has_after])]
            ),
            np.concatenate([weight[has_before], weight[has_after]]),
        )
        rarer = self._count_pieces(left, right, merged, int(weight.sum()))
        self.piece[first] = merged
        self.piece[second] = NONE
        self.next[first] = after
        self.previous[after[after != NONE]] = first[after != NONE]
        before = self.previous[first]
        self._add(
            np.concatenate(
                [self._keys(before[has_before], first[has_before]), self._keys(first[has_after], after[has_after])]
            ),
            np.concatenate([weight[has_before], weight[has_after]]),
        )
        # The same token may come about by merging other halves.
        known = self.positions[merged]
        self.positions[merged] = np.sort(np.concatenate([self._positions(merged), first])) if len(known) else first
        for piece in rarer:
            self._push_pairs_of(piece)

    def _count_pieces(self, left: int, right: int, merged: int, count: int) -> list[int]:
        """Bring the totals up to date; which of the pieces are now so much rarer that their pairs need new bounds."""
        self.totals[merged] += count
        rarer = []
        for piece in (left, right):
            before = self.totals[piece]
            self.totals[piece] -= count
            if self.rarer_scores_higher and _rounded_down(self.totals[piece]) < _rounded_down(before):
                rarer.append(piece)
        return rarer

    def _pair_positions(self, left: int, right: int) -> Positions:
        """Where `left` is followed by `right`, ascending and without overlaps: found from the rarer of the two."""
        if len(self.positions[left]) <= len(self.positions[right]):
            first = self._positions(left)
            second = self.next[first]
            first = first[(second != NONE) & (self.piece[second] == right)]
        else:
            second = self._positions(right)
            first = self.previous[second]
            first = first[(first != NONE) & (self.piece[first] == left)]
        if left == right and len(first) > 1:  # of a run, every other one
            follows = np.concatenate([[False], self.next[first[:-1]] == first[1:]])
            index = np.arange(len(first))
            first = first[(index - np.maximum.accumulate(np.where(follows, 0, index))) % 2 == 0]
        return np.asarray(first, dtype=np.int32)

    def _positions(self, piece: int) -> Positions:
        positions = self.positions[piece]
        self.positions[piece] = positions[self.piece[positions] == piece]
        return self.positions[piece]

    def _keys(self, left: Positions, right: Positions) -> NDArray[np.int64]:
        keys: NDArray[np.int64] = self.piece[left].astype(np.int64) << PAIR_SHIFT | self.piece[right]
        return keys

    def _subtract(self, keys: NDArray[np.int64], weights: NDArray[np.int64]) -> None:
        pairs = self.pairs
        for key, count in zip(*_sums(keys, weights), strict=True):
            if key in pairs:  # all but the pair that is being merged away
                pairs[key] -= count
                if not pairs[key]:
                    del pairs[key]

    def _add(self, keys: NDArray[np.int64], weights: NDArray[np.int64]) -> None:
        pairs = self.pairs
        for key, count in zip(*_sums(keys, weights), strict=True):
            pairs[key] = pairs.get(key, 0) + count
            self._push(key)

    def _entry(self, pair: int) -> _Entry:
        """What the heap says of a pair: a bound that its score stays under while its pieces get a little rarer."""
        left, right = pair >> PAIR_SHIFT, pair & RIGHT_MASK
        bound = self.score(self.pairs[pair], _rounded_down(self.totals[left]), _rounded_down(self.totals[right]))
        return -bound, self.tokens[left], self.tokens[right], pair

    def _push(self, pair: int) -> None:
        if self.pairs[pair] >= self.min_frequency:
            heapq.heappush(self.heap, self._entry(pair))

    def _push_pairs_of(self, piece: int) -> None:
        here = self._positions(piece)
        before, after = self.previous[here], self.next[here]
        has_before, has_after = before != NONE, after != NONE
        keys = np.concatenate(
            [self._keys(before[has_before], here[has_before]), self._keys(here[has_after], after[has_after])]
        )
        for pair in np.unique(keys).tolist():
            self._push(pair)

    def _rebuild_heap(self) -> None:
        self.heap = [self._entry(pair) for pair, count in self.pairs.items() if count >= self.min_frequency]
        heapq.heapify(self.heap)

    def _pop_best(self) -> int | None:
        """The pair with the highest score, of equal ones the first by its strings; `None` if none is left.

        Entries stay in the heap when their pair changes. One that promises more than its pair now has goes back with
        less; one that promises less is dropped, since whatever raised the pair has pushed another.
        """
        best: _Entry | None = None
        tried: list[_Entry] = []
        while self.heap and (best is None or self.heap[0] < best):
            entry = heapq.heappop(self.heap)
            _, left, right, pair = entry
            if self.pairs.get(pair, 0) < self.min_frequency or (tried and tried[-1] == entry):
                continue
            current = self._entry(pair)
            if current != entry:
                if current > entry:
                    self._push(pair)
                continue
            tried.append(entry)
            score = self.score(self.pairs[pair], self.totals[pair >> PAIR_SHIFT], self.totals[pair & RIGHT_MASK])
            exact = -score, left, right, pair
            best = exact if best is None else min(best, exact)
        for entry in tried:
            if best is None or entry[3] != best[3]:
                heapq.heappush(self.heap, entry)
        if len(self.heap) > 2 * len(self.pairs) + SLACK_ENTRIES:
            self._rebuild_heap()
        return None if best is None else best[3]


def _rounded_down(total: int) -> int:
    """`total` with all but its first six binary digits set to zero: at most 1/32 smaller."""
    dropped = max(0, total.bit_length() - 6)
    return total >> dropped << dropped


def _sums(keys: NDArray[np.int64], weights: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """The distinct keys, ascending, and the sum of each one's weights."""
    distinct, inverse = np.unique(keys, return_inverse=True)
    sums = np.bincount(inverse, weights=weights, minlength=len(distinct))  # exact below 2^53
    return distinct.tolist(), sums.astype(np.int64).tolist()
