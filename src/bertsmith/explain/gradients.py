"""Explanations from gradients: integrated along the way from [MASK]s to the text, or at the text alone.

The integral is computed here, not by captum: that library takes the first axis of a tensor for examples, and a packed
batch has tokens there (docs/decisions/016-explanations.md). Shapes: W words, T tokens, E embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bertsmith.explain.subject import Subject

FIRST_STEPS = 16
CLOSE_ENOUGH = 0.01
"""Of the difference that the attributions add up to; further steps are taken until they do."""
NOTHING = 1e-4
"""A difference below this is none; what is missing of it cannot be told from rounding."""


@dataclass(frozen=True, slots=True)
class Completeness:
    """Attributions add up to the difference between the text's score and the baseline's (Sundararajan et al. 2017,
    section 3); error: what is missing or too much, as a fraction of that difference. num_steps: of the integral.
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


def integrated_gradients(subject: Subject, max_steps: int = 256) -> Attribution:
    """Sundararajan et al. 2017, equation 1, by Gauss-Legendre quadrature; steps double until it is close enough.

    The baseline has [MASK] for every word and keeps special tokens, as texts in training had them.
    """
    way = subject.vectors - subject.baseline
    whole = np.array([np.zeros(subject.num_words), np.ones(subject.num_words)], dtype=np.bool_)
    at_baseline, at_text = subject.scores(whole)
    difference, num_steps = float(at_text - at_baseline), min(FIRST_STEPS, max_steps)
    while True:
        places, weights = np.polynomial.legendre.leggauss(num_steps)
        shares = torch.tensor((places + 1) / 2, dtype=way.dtype, device=way.device)
        sizes = torch.tensor(weights / 2, dtype=way.dtype, device=way.device)
        mean = torch.zeros_like(way)
        # Not all at once: a long text at many steps would be vectors by the gigabyte.
        for part in torch.arange(num_steps).split(FIRST_STEPS):
            points = subject.baseline + shares[part, None, None] * way
            mean += (sizes[part, None, None] * subject.gradients(points).vectors).sum(0)
        by_token = (way * mean).sum(-1).double().cpu().numpy()
        total = float(by_token.sum())
        error = abs(total - difference) / max(abs(difference), NOTHING)
        if error <= CLOSE_ENOUGH or 2 * num_steps > max_steps:
            return Attribution(subject.by_word(by_token), Completeness(total, difference, error, num_steps))
        num_steps *= 2


def gradient_x_input(subject: Subject) -> Attribution:
    """The product of each token's vector and the score's gradient by it (Shrikumar et al. 2016), summed by word."""
    gradients = subject.gradients(subject.vectors[None]).vectors[0]
    return Attribution(subject.by_word((gradients * subject.vectors).sum(-1).double().cpu().numpy()))
