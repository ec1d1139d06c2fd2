"""Exact search among vectors: cosines by matrix products of blocks, the best of each kept. Knows no store.

Shapes: n vectors, q queries, H numbers a vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

BLOCK_ROWS = 1 << 16
"""Of which the scores of all queries are held at a time."""


@dataclass(frozen=True)
class Nearest:
    """numbers, scores: [q, k], best first; where there are fewer, numbers are -1."""

    numbers: NDArray[np.int64]
    scores: NDArray[np.float32]


def normalized(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of length 1; a vector of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    found: NDArray[np.float32] = (vectors / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return found


def nearest(
    queries: NDArray[np.float32], numbers: NDArray[np.int64], vectors: NDArray[np.float32], limit: int
) -> Nearest:
    """The `limit` vectors [n, H] with the highest products with each query [q, H]; of equal ones the lower number."""
    best_scores = torch.empty(len(queries), 0)
    best_rows = torch.empty(len(queries), 0, dtype=torch.int64)
    asked = torch.from_numpy(np.ascontiguousarray(queries)).T
    with torch.inference_mode():
        for start in range(0, len(vectors), BLOCK_ROWS):
            block = torch.from_numpy(vectors[start : start + BLOCK_ROWS])
            scores = (block @ asked).T
            found = scores.topk(min(limit, len(block)), dim=1)
            best_scores = torch.cat([best_scores, found.values], dim=1)
            best_rows = torch.cat([best_rows, found.indices + start], dim=1)
            kept = best_scores.topk(min(limit, best_scores.shape[1]), dim=1)
            best_scores, best_rows = kept.values, best_rows.gather(1, kept.indices)
    rows, scores_found = best_rows.numpy(), best_scores.numpy()
    order = np.lexsort((rows, -scores_found), axis=1)
    rows, scores_found = np.take_along_axis(rows, order, 1), np.take_along_axis(scores_found, order, 1)
    return Nearest(numbers[rows], scores_found)
