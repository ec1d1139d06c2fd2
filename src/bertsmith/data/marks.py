"""Marks beside tokens: what a token continues, word, phrase or entity, where the pieces alone do not tell.

They travel with the ids, in the bits above them, so that whatever cuts or joins ids keeps them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

CONTINUES_WORD: Final = 1
CONTINUES_PHRASE: Final = 2
CONTINUES_ENTITY: Final = 4

_SHIFT: Final = 32


def marked(ids: NDArray[Any], marks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """[n]: ids, below 2^32, with their marks."""
    both: NDArray[np.int64] = ids.astype(np.int64) | (marks.astype(np.int64) << _SHIFT)
    return both


def ids_of(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """[n]: what `marked` was given, or ids without marks as they are."""
    ids: NDArray[np.int64] = values & ((1 << _SHIFT) - 1)
    return ids


def marks_of(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """[n]: the marks, 0 where there are none."""
    marks: NDArray[np.int64] = values >> _SHIFT
    return marks
