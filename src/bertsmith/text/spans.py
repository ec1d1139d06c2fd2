"""Spans of a text: the likeliest by scores of their ends, and where one text is in another. Knows numbers and strings.

Shapes: n pieces of a text, k spans.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """first, last: int [k], the pieces that a span begins and ends with. scores: float32 [k], highest first."""

    first: NDArray[np.intp]
    last: NDArray[np.intp]
    scores: NDArray[np.float32]


def best_spans(
    starts: NDArray[np.float32],
    ends: NDArray[np.float32],
    *,
    may_start: NDArray[np.bool_],
    runs: NDArray[Any],
    max_pieces: int,
    num_best: int,
) -> Spans:
    """The `num_best` spans of at most `max_pieces` with the highest sum of a start's and an end's score.

    starts, ends: [n]. may_start: [n], where a span may begin. runs: [n] numbers; a span has one number throughout, so
    none crosses a gap in the text. Of equal scores the earlier start, then the shorter span, comes first.
    """
    num_pieces = len(starts)
    if not num_pieces:
        return Spans(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.float32))
    width = min(max_pieces, num_pieces)
    # Row i, column d: the span from piece i to piece i + d.
    scores = starts[:, None] + _bands(ends, width, -np.inf)
    allowed = may_start[:, None] & (_bands(runs, width, -1) == runs[:, None])
    scores = np.where(allowed, scores, -np.inf).ravel()
    count = min(num_best, int(np.isfinite(scores).sum()))
    chosen = np.sort(np.argpartition(-scores, count - 1)[:count]) if count else np.empty(0, np.intp)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
    first, length = np.divmod(chosen, width)
    return Spans(first, first + length, scores[chosen].astype(np.float32))


def _bands(values: NDArray[Any], width: int, beyond: float) -> NDArray[Any]:
    """[n, width]: in row i the values from place i on, `beyond` after the last."""
    return sliding_window_view(np.append(values, np.full(width - 1, beyond, values.dtype)), width)


def nearest_occurrence(text: str, part: str, stated: int) -> int | None:
    """Where in `text` the `part` begins, of several places the nearest to `stated`; None if nowhere.

    >>> nearest_occurrence("to be or not to be", "be", 12)
    16
    """
    before, after = text.rfind(part, 0, max(0, stated) + len(part)), text.find(part, max(0, stated))
    if before < 0 or after < 0:
        return None if max(before, after) < 0 else max(before, after)
    return before if stated - before <= after - stated else after
