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
    """bins: those that hold a decision, in order. ece: expected calibration error, from 0 to 1.

    log_loss: the mean of -log p over decisions that are right, of -log (1 - p) over those that are not, in nats.
    """

    bins: tuple[Bin, ...]
    ece: float
    num: int
    log_loss: float


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
    return Reliability(tuple(bins), error, len(scores), _log_loss(scores, hits))


def _log_loss(scores: NDArray[Any], hits: NDArray[Any]) -> float:
    """With probabilities kept from 0 and 1 by what a float can tell apart from them."""
    if not len(scores):
        return 0.0
    least = float(np.finfo(float).eps)
    came_true = np.clip(np.where(hits > 0, scores, 1 - scores), least, 1 - least)
    return float(-np.log(came_true).mean())
