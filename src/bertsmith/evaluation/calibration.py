"""Whether probabilities can be believed: of the answers given with 80%, are 80% right? Knows no task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 15


@dataclass(frozen=True, slots=True)
class Bin:
    """Decisions with a probability above `low` and up to `high`: how many, their mean probability, the share right."""

    low: float
    high: float
    num: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """bins: those that hold a decision, in order. ece: expected calibration error, from 0 to 1."""

    bins: tuple[Bin, ...]
    ece: float
    num: int


def reliability(confidences: NDArray[Any], right: NDArray[Any], num_bins: int = NUM_BINS) -> Reliability:
    """The bins of a reliability diagram and the expected calibration error (Guo et al. 2017, sections 2 and 4.1).

    confidences: [n] the probability of each decision; right: [n] 0 or 1. ECE is the mean, over bins of equal width and
    weighted by their decisions, of the distance between mean probability and share right.
    """
    scores, hits = np.asarray(confidences, dtype=float), np.asarray(right, dtype=float)
    places = np.clip(np.ceil(scores * num_bins).astype(int) - 1, 0, num_bins - 1)
    bins = []
    for place in np.unique(places).tolist():
        inside = places == place
        mean, share = float(scores[inside].mean()), float(hits[inside].mean())
        bins.append(Bin(place / num_bins, (place + 1) / num_bins, int(inside.sum()), mean, share))
    error = sum(part.num * abs(part.accuracy - part.confidence) for part in bins) / max(1, len(scores))
    return Reliability(tuple(bins), error, len(scores))
