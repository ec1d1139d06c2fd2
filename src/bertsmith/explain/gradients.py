"""Explanations from gradients: integrated along the way from [MASK]s to the text, or at the text alone.

The integral is computed here, not by captum: that library takes the first axis of a tensor for examples, and a packed
batch has tokens there (docs/decisions/017-explanations.md). Shapes: W words, T tokens, E embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertsmith.explain.subject import Subject

NODES = 8
"""Gradients on a stretch of the way."""
CLOSE_ENOUGH = 0.01
"""Of the difference that the attributions have to add up to."""
NOTHING = 1e-3
"""Of the larger score: a difference below this is none, and what is missing of it cannot be told from rounding."""


@dataclass(frozen=True, slots=True)
class Completeness:
    """Attributions add up to the difference between the text's score and the baseline's (Sundararajan et al. 2017,
    section 3); error: what is missing or too much, as a fraction of that difference. num_steps: gradients that were
    taken.
    """

    sum: float
    difference: float
    error: float
    num_steps: int

    @property
    def holds(self) -> bool:
        return self.error <= CLOSE_ENOUGH


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """scores: float64 [W], what each word adds to the explained number."""

    scores: NDArray[np.float64]
    completeness: Completeness | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Stretch:
    """A part of the way, from `begin` to `end`, of 0 to 1. by_token: [T], its attributions. gain: what they should be
    together, the score at its end less that at its begin.
    """

    begin: float
    end: float
    by_token: NDArray[np.float64]
    gain: float

    @property
    def error(self) -> float:
        return abs(float(self.by_token.sum()) - self.gain)


def integrated_gradients(subject: Subject, max_steps: int = 256) -> Attribution:
    """Sundararajan et al. 2017, equation 1: the integral of the gradients on the straight way from the baseline.

    The baseline has [MASK] for every word and keeps special tokens, as texts in training had them. Of a sure prediction
    the score jumps somewhere on the way; so completeness is asked of each stretch of it, and those that lack it are
    halved until the whole is close enough, or `max_steps` gradients were taken.
    """
    at_baseline, at_text = subject.scores_at(torch.stack([subject.baseline, subject.vectors]))
    difference = float(at_text - at_baseline)
    allowed = CLOSE_ENOUGH * max(abs(difference), NOTHING * max(abs(at_text), abs(at_baseline), NOTHING))
    num_nodes = min(NODES, max_steps)
    stretches = _walked(subject, [(0.0, 1.0)], num_nodes)
    num_steps = num_nodes
    while sum(stretch.error for stretch in stretches) > allowed:
        room = (max_steps - num_steps) // (2 * num_nodes)
        worst = sorted(stretches, key=lambda stretch: -stretch.error)[:room]
        worst = [stretch for stretch in worst if stretch.error > allowed / len(stretches) / 2]
        if not worst:
            break
        halves = [
            border
            for stretch in worst
            for middle in [(stretch.begin + stretch.end) / 2]
            for border in ((stretch.begin, middle), (middle, stretch.end))
        ]
        kept = [stretch for stretch in stretches if all(stretch is not one for one in worst)]
        stretches = kept + _walked(subject, halves, num_nodes)
        num_steps += num_nodes * len(halves)
    by_token = np.sum([stretch.by_token for stretch in stretches], axis=0)
    error = abs(float(by_token.sum()) - difference) / float(allowed / CLOSE_ENOUGH)
    completeness = Completeness(float(by_token.sum()), difference, error, num_steps)
    return Attribution(subject.by_word(by_token), completeness)


def _walked(subject: Subject, borders: Sequence[tuple[float, float]], num_nodes: int) -> list[_Stretch]:
    """Each stretch by Gauss-Legendre quadrature, `num_nodes` gradients and the scores at its ends."""
    way = subject.vectors - subject.baseline
    places, weights = np.polynomial.legendre.leggauss(num_nodes)

    def at(shares: NDArray[np.float64]) -> Tensor:
        points = torch.tensor(shares, dtype=way.dtype, device=way.device)[:, None, None]
        return subject.baseline + points * way

    found = []
    for begin, end in borders:
        nodes = begin + (end - begin) * (places + 1) / 2
        gradients = subject.gradients(at(nodes))
        sizes = torch.tensor(weights * (end - begin) / 2, dtype=way.dtype, device=way.device)
        by_token = (way * (sizes[:, None, None] * gradients).sum(0)).sum(-1).double().cpu().numpy()
        first, last = subject.scores_at(at(np.array([begin, end])))
        found.append(_Stretch(begin, end, by_token, float(last - first)))
    return found


def gradient_x_input(subject: Subject) -> Attribution:
    """The product of each token's vector and the score's gradient by it (Shrikumar et al. 2016), summed by word."""
    gradients = subject.gradients(subject.vectors[None])[0]
    return Attribution(subject.by_word((gradients * subject.vectors).sum(-1).double().cpu().numpy()))
